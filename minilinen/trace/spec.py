"""What a trace keeps in the place of an array: its shape, dtype and sharding.

The recorder describes every argument, result and variable with `describe`, which turns
any Python value into plain data (a `Value`) that holds no array and no tracer.
`abstract` goes the other way for inputs: it turns what people type, "f32[b,28,28,1]",
into what JAX traces with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import jax
import numpy as np

Dimension = int | str


@dataclass(frozen=True)
class Spec:
  """An array without its numbers.

  Attributes:
    shape: sizes; a symbolic size is its formula as text ("b*t").
    dtype: name of the dtype ("float32", "key<fry>").
    weak_type: whether JAX may promote it away, as it does Python numbers.
    sharding: the partition spec as text, "" where there is none.
  """

  shape: tuple[Dimension, ...]
  dtype: str
  weak_type: bool = False
  sharding: str = ""

  def __str__(self) -> str:
    return f"{short_dtype(self.dtype)}[{','.join(map(str, self.shape))}]"

  @property
  def size(self) -> int:
    """How many numbers the array holds.

    Raises:
      TypeError: if a dimension is symbolic.
    """
    total = 1
    for dimension in self.shape:
      if isinstance(dimension, str):
        raise TypeError(f"the size of {self} is a formula: its dimension {dimension!r} has no number")
      total *= dimension
    return total

  @property
  def nbytes(self) -> int:
    """How many bytes the array holds; a random key counts its raw words."""
    return self.size * itemsize(self.dtype)


@dataclass(frozen=True)
class Node:
  """A value of a class of the user's (a dataclass, a named tuple, a pytree) and its parts."""

  type: str
  parts: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Opaque:
  """A value that is kept by name only: a function, a class, any other object."""

  type: str
  text: str = ""


@dataclass(frozen=True)
class ModuleRef:
  """A module that stands in an argument or a field: its class and its path, if it has one."""

  module: str
  path: tuple[str, ...] | None = None


Value = Any
"""Spec, Node, Opaque, ModuleRef, None, bool, int, float, complex, str, or a tuple, list
or str-keyed dict of Values."""

_SHORT = {
  "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16",
  "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8", "int4": "i4",
  "uint64": "u64", "uint32": "u32", "uint16": "u16", "uint8": "u8", "uint4": "u4",
  "complex64": "c64", "complex128": "c128", "bool": "bool",
}  # fmt: skip
_LONG = {short: long for long, short in _SHORT.items()}


def short_dtype(dtype: str) -> str:
  """JAX's short name of a dtype, as its jaxprs print it ("f32").

  >>> short_dtype("bfloat16")
  'bf16'
  """
  return _SHORT.get(dtype, dtype)


def itemsize(dtype: str) -> int:
  """Bytes of one element of a dtype, given by name; 4-bit integers count as one byte."""
  if dtype.startswith("key<"):
    return {"key<fry>": 8, "key<rbg>": 16, "key<urbg>": 16}.get(dtype, 8)
  return jax.dtypes.canonicalize_dtype(np.dtype(dtype)).itemsize if dtype in _LONG else jax.numpy.dtype(dtype).itemsize


_interned: dict[tuple[Any, ...], Spec] = {}


def spec_of(array: Any) -> Spec:
  """The spec of an array, a tracer, a `ShapeDtypeStruct` or an abstract value."""
  shape, dtype = array.shape, array.dtype
  weak_type = getattr(array, "weak_type", False)
  key = (shape, dtype, weak_type)
  found = _interned.get(key)
  if found is None:
    dims = tuple(int(d) if isinstance(d, (int, np.integer)) else str(d) for d in shape)
    found = Spec(dims, str(dtype), bool(weak_type))
    if all(isinstance(d, int) for d in dims):
      _interned[key] = found
  return found


def describe(value: Any) -> Value:
  """Any Python value as plain data, with a `Spec` where an array stands.

  >>> import jax.numpy as jnp
  >>> describe({"x": jnp.ones((2, 3)), "train": True})
  {'x': Spec(shape=(2, 3), dtype='float32', weak_type=False, sharding=''), 'train': True}
  """
  if value is None or isinstance(value, (bool, int, float, complex, str)):
    return value
  if isinstance(value, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)):
    return spec_of(value)
  if isinstance(value, tuple) and hasattr(value, "_fields"):
    return Node(type(value).__name__, {n: describe(v) for n, v in zip(value._fields, value)})
  if isinstance(value, (tuple, list)):
    return type(value)(map(describe, value)) if type(value) in (tuple, list) else [*map(describe, value)]
  if isinstance(value, Mapping):
    return {k if isinstance(k, str) else repr(k): describe(v) for k, v in value.items()}
  if isinstance(value, Spec | Node | Opaque | ModuleRef):
    return value
  described = getattr(type(value), "__trace_describe__", None)
  if described is not None:
    return described(value)
  if is_dataclass(value) and not isinstance(value, type):
    parts = {f.name: describe(getattr(value, f.name)) for f in fields(value) if f.repr}
    return Node(type(value).__name__, parts)
  if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
    return Opaque("dtype", str(np.dtype(value)))
  name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
  return Opaque(type(value).__name__, name or _text(value))


def _text(value: Any) -> str:
  """A short repr without the address, so that two runs describe a value alike."""
  try:
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:80]
  except Exception:
    return ""


class SpecError(ValueError):
  """A string that should say a shape and dtype, as in "f32[8,28,28,1]", does not."""

  def __init__(self, text: str, why: str):
    super().__init__(
      f"{text!r} is no array spec: {why}. A spec is a dtype and its dimensions, numbers or"
      ' names: "f32[8,28,28,1]", "bf16[b,t,512]", "i32[]", "u32[2]".'
    )


_SPEC = re.compile(r"\s*([A-Za-z_]\w*)\s*\[(.*)\]\s*")


def looks_like_spec(text: str) -> bool:
  """Whether a string argument is meant as a spec: it has a bracket in it."""
  return "[" in text


def parse_spec(text: str, scope: jax.export.SymbolicScope | None = None) -> jax.ShapeDtypeStruct:
  """Reads "f32[8,28,28,1]"; names in the dimensions are symbolic ("f32[b,2*t,512]").

  Args:
    text: a dtype by short or long name, and dimensions in brackets.
    scope: where symbolic dimensions live; inputs that are traced together need one.

  Raises:
    SpecError: if the text is no spec.

  >>> parse_spec("bf16[8, 3]")
  ShapeDtypeStruct(shape=(8, 3), dtype=bfloat16)
  """
  match = _SPEC.fullmatch(text)
  if match is None:
    raise SpecError(text, "it has no dtype followed by [dimensions]")
  name, inside = match.groups()
  try:
    dtype = jax.numpy.dtype(_LONG.get(name, name))
  except TypeError:
    close = ", ".join(sorted(_LONG))
    raise SpecError(text, f"{name!r} is no dtype (short names are {close})") from None
  parts = [part.strip() for part in inside.split(",")] if inside.strip() else []
  if any(not part for part in parts):
    raise SpecError(text, "a dimension between two commas is empty")
  if any(re.fullmatch(r"-\d+", part) for part in parts):
    raise SpecError(text, "a dimension is negative")
  if all(part.isdigit() for part in parts):
    return jax.ShapeDtypeStruct(tuple(map(int, parts)), dtype)
  try:
    return jax.ShapeDtypeStruct(jax.export.symbolic_shape(",".join(parts), scope=scope), dtype)
  except Exception as error:
    raise SpecError(text, f"its dimensions do not parse ({str(error).splitlines()[0]})") from None


def abstract(tree: Any) -> Any:
  """Arrays and spec strings in a pytree as `ShapeDtypeStruct`s; everything else as it is.

  All spec strings of the tree share one scope of symbolic dimensions, so "b" is the same
  b everywhere. Python numbers, booleans and other objects stay: a model may branch on them.
  """
  scope = jax.export.SymbolicScope()

  def leaf(value: Any) -> Any:
    if isinstance(value, str) and looks_like_spec(value):
      return parse_spec(value, scope)
    if isinstance(value, (np.ndarray, np.generic)):
      return jax.ShapeDtypeStruct(value.shape, jax.dtypes.canonicalize_dtype(value.dtype))
    return value

  return jax.tree.map(leaf, tree)
