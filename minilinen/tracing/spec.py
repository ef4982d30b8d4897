"""May be skipped: what a trace keeps in the place of an array: its shape, dtype and sharding.

The recorder describes every argument, result and variable with `describe`, which turns
any Python value into plain data (a `Value`) that holds no array and no tracer. `inputs` goes the other way.
"""

from __future__ import annotations

import contextlib
import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from minilinen.tracing.equations import formula
from minilinen.tracing.equations.formula import Count
from minilinen.tracing.paths import Path

Dimension = int | str


@dataclass(frozen=True)
class Spec:
  """An array without its numbers.

  Attributes:
    shape: sizes; a symbolic size is its formula as text ("b*t").
    dtype: name of the dtype ("float32", "key<fry>").
    weak_type: whether JAX may promote it away, as it does Python numbers.
    sharding: the partition spec as text, "" where there is none.
    shard: sizes of the part that one device holds, None where each holds all.
  """

  shape: tuple[Dimension, ...]
  dtype: str
  weak_type: bool = False
  sharding: str = ""
  shard: tuple[int, ...] | None = field(default=None, repr=False)

  def __str__(self) -> str:
    return f"{short_dtype(self.dtype)}[{','.join(map(str, self.shape))}]"

  @property
  def size(self) -> Count:
    """How many numbers the array holds: a formula if a dimension is symbolic.

    >>> Spec(("b", 3), "float32").size, Spec((2, 3), "float32").nbytes
    (3*b, 24)
    """
    return math.prod(map(formula.parse, self.shape))

  @property
  def nbytes(self) -> Count:
    """How many bytes the array holds; a random key counts its raw words."""
    return self.size * itemsize(self.dtype)

  @property
  def shard_nbytes(self) -> Count:
    """How many bytes of the array one device holds."""
    return self.nbytes if self.shard is None else math.prod(self.shard) * itemsize(self.dtype)


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
  path: Path | None = None


Value = Any
"""Spec, Node, Opaque, ModuleRef, None, bool, int, float, complex, str, or a tuple, list
or str-keyed dict of Values."""

SHORT_DTYPES = {
  "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16",
  "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8", "int4": "i4",
  "uint64": "u64", "uint32": "u32", "uint16": "u16", "uint8": "u8", "uint4": "u4",
  "complex64": "c64", "complex128": "c128", "bool": "bool", "[('float0', 'V')]": "float0",
}  # fmt: skip
LONG_DTYPES = {short: long for long, short in SHORT_DTYPES.items() if short != "float0"}
KEYS = {"key<fry>": "threefry2x32", "key<rbg>": "rbg", "key<urbg>": "unsafe_rbg"}
_FLOAT0 = "[('float0', 'V')]"  # what JAX gives integers for a derivative
_OWN_BYTES = {"key<fry>": 8, "key<rbg>": 16, "key<urbg>": 16, _FLOAT0: 0}


def short_dtype(dtype: str) -> str:
  """JAX's short name of a dtype, as its jaxprs print it ("f32").

  >>> short_dtype("bfloat16")
  'bf16'
  """
  return SHORT_DTYPES.get(dtype, dtype)


def itemsize(dtype: str) -> int:
  """Bytes of one element of a dtype, given by name; a key counts its raw words, a 4-bit number one byte.

  >>> itemsize("bfloat16"), itemsize("key<fry>")
  (2, 8)
  """
  return _OWN_BYTES[dtype] if dtype in _OWN_BYTES else jax.numpy.dtype(dtype).itemsize


_ARRAYS = (Tracer, jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)
_interned: dict[Any, Spec] = {}


def is_array(value: Any) -> bool:
  """Whether a value is an array, a tracer, a NumPy scalar or a `ShapeDtypeStruct`."""
  return isinstance(value, _ARRAYS)


def spec_of(array: Any) -> Spec:
  """The spec of an array, a tracer, a `ShapeDtypeStruct` or an abstract value."""
  if isinstance(array, Tracer):
    key = aval = array.aval
  else:
    aval = array
    partition = getattr(getattr(aval, "sharding", None), "spec", None) or ()
    mesh = tuple(aval.sharding.mesh.shape.items()) if partition else ()
    key = (aval.shape, aval.dtype, getattr(aval, "weak_type", False), partition, mesh)
  found = _interned.get(key)
  if found is None:
    found = _spec(aval)
    if len(_interned) > 4096:
      _interned.clear()
    if all(isinstance(size, int) for size in found.shape):
      _interned[key] = found
  return found


def _spec(aval: Any) -> Spec:
  sharding = getattr(aval, "sharding", None)
  partition = tuple(getattr(sharding, "spec", None) or ())
  sizes = tuple(int(d) if isinstance(d, (int, np.integer)) else str(d) for d in aval.shape)
  named = any(axes is not None for axes in partition)
  text = f"P({', '.join(map(repr, partition))})" if named else ""
  mesh = dict(sharding.mesh.shape) if partition else {}  # type: ignore[union-attr]
  weak = bool(getattr(aval, "weak_type", False))
  return Spec(sizes, str(aval.dtype), weak, text, _shard(sizes, partition, mesh))


def _shard(
  sizes: tuple[Dimension, ...], partition: tuple[Any, ...], mesh: dict[str, int]
) -> tuple[int, ...] | None:
  """The sizes of what one device of a mesh holds, None if that is all or a size has no number."""
  if not all(isinstance(size, int) for size in sizes):
    return None
  shard: list[Any] = list(sizes)
  for n, axes in enumerate(partition):
    names = axes if isinstance(axes, tuple) else (axes,)
    shard[n] = -(-shard[n] // math.prod(mesh.get(name, 1) for name in names))
  return tuple(shard) if tuple(shard) != sizes else None


def describe(value: Any, around: tuple[int, ...] = ()) -> Value:
  """Any Python value as plain data, with a `Spec` where an array stands. Raises nothing.

  Args:
    value: the value.
    around: the ids of the objects that it is a part of; such an object in itself is kept by name.

  >>> import jax.numpy as jnp
  >>> describe({"x": jnp.ones((2, 3)), "train": True})
  {'x': Spec(shape=(2, 3), dtype='float32', weak_type=False, sharding=''), 'train': True}
  """
  kind = type(value)
  if value is None or kind in _PLAIN:
    return value
  if kind in _NESTED:
    return _describe_parts(value, around)
  if isinstance(value, _ARRAYS):
    return spec_of(value)
  if _is_typed_number(value):
    return spec_of(jax.typeof(value))
  own = getattr(kind, "__trace_describe__", None)
  if own is not None:
    return own(value)
  if isinstance(value, (Spec, Node, Opaque, ModuleRef)):
    return value
  if isinstance(value, Mapping):
    return _describe_parts(value, around)
  if id(value) in around:
    return Opaque(kind.__name__, "itself")
  try:
    parts = _parts(value)
    return (
      _opaque(value) if parts is None else Node(kind.__name__, _describe_dict(parts, (*around, id(value))))
    )
  except Exception:
    return Opaque(kind.__name__)


def _is_typed_number(value: Any) -> bool:
  """Whether a value is one of the Python numbers with a dtype that some of JAX's transforms return."""
  return isinstance(value, (int, float, complex)) and hasattr(value, "dtype")


_PLAIN = frozenset({bool, int, float, complex, str})
_NESTED = frozenset({dict, list, tuple, Path})


def _describe_parts(value: Any, around: tuple[int, ...]) -> Value:
  """A dict, list or tuple with its parts described."""
  kind = type(value)
  if not value:
    return () if kind is Path else kind() if kind in _NESTED else {}
  if id(value) in around:
    return Opaque(kind.__name__, "itself")
  around = (*around, id(value))
  if kind is list:
    return [describe(part, around) for part in value]
  if kind is tuple or kind is Path:
    return tuple([describe(part, around) for part in value])
  return _describe_dict(value, around)


def _describe_dict(value: Mapping[Any, Any], around: tuple[int, ...]) -> dict[str, Value]:
  name = str if all(isinstance(key, str) for key in value) else repr
  return {name(key): describe(part, around) for key, part in value.items()}


def _parts(value: Any) -> Mapping[str, Any] | None:
  """The parts of a named tuple, a dataclass or a pytree of the user's by name; None if it has none."""
  if isinstance(value, tuple):
    names = getattr(value, "_fields", range(len(value)))
    return {str(name): part for name, part in zip(names, value)}
  if is_dataclass(value) and not isinstance(value, type):
    return {f.name: getattr(value, f.name) for f in fields(value) if f.repr and hasattr(value, f.name)}
  if isinstance(value, list):
    return {str(i): part for i, part in enumerate(value)}
  if callable(value):
    return None
  leaves, structure = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda x: x is not value)
  if jax.tree_util.treedef_is_leaf(structure):
    return None
  return {jax.tree_util.keystr(path, simple=True): part for path, part in leaves}


_named = functools.lru_cache(maxsize=4096)(Opaque)  # the same initializers stand in every layer


def _opaque(value: Any) -> Opaque:
  """A value of which only a name is kept."""
  if isinstance(value, np.dtype) or isinstance(getattr(value, "dtype", None), np.dtype):
    return _named("dtype", np.dtype(value).name)
  if isinstance(value, type) and issubclass(value, np.generic):
    return _named("dtype", np.dtype(value).name)
  if isinstance(value, (set, frozenset)):
    return _named(type(value).__name__, _short("{" + ", ".join(sorted(map(repr, value))) + "}"))
  function = value.func if isinstance(value, functools.partial) else value
  name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
  if isinstance(name, str):
    return _named(type(value).__name__, name)
  return _named(type(value).__name__, "" if type(value).__repr__ is object.__repr__ else _short(repr(value)))


def made_by(function: Any) -> Opaque:
  """A function by its full name and what it was made from: an initializer with its settings.

  >>> made_by(functools.partial(jax.numpy.full, fill_value=2))
  Opaque(type='jax.numpy.full', text='fill_value=2')
  """
  given = _closed_over(function)
  while (inner := getattr(function, "__wrapped__", getattr(function, "func", None))) is not None:
    function, given = inner, {**_closed_over(inner), **given}
  name = getattr(function, "__qualname__", type(function).__qualname__)
  home = getattr(function, "__module__", None) or type(function).__module__
  return _named(f"{home}.{name}", ", ".join(f"{key}={text}" for key, text in given.items()))


def _closed_over(function: Any) -> dict[str, str]:
  """What a function closes over, or a partial sets, as far as it is said in a word or two."""
  cells = getattr(function, "__closure__", None) or ()
  given: dict[str, Any] = {}
  if isinstance(function, functools.partial):
    given = {**{str(i): arg for i, arg in enumerate(function.args)}, **function.keywords}
  for name, cell in zip(getattr(getattr(function, "__code__", None), "co_freevars", ()), cells):
    with contextlib.suppress(ValueError):  # a cell that is still empty
      given[name] = cell.cell_contents
  words = {
    name: describe(value) for name, value in given.items() if value is not None and not callable(value)
  }
  return {
    name: value.text if isinstance(value, Opaque) else _short(str(value)) for name, value in words.items()
  }


def _short(text: str) -> str:
  """A repr without addresses, so that two runs describe a value alike, and not a long one."""
  return re.sub(r" at 0x[0-9a-f]+", "", text)[:80]


def boxed(value: Value) -> tuple[Value, Value]:
  """What a described box holds and the names of its axes; of any other value, the value and None.

  >>> boxed(Node("Partitioned", {"value": Spec((3,), "int8"), "names": ("in",)}))
  (Spec(shape=(3,), dtype='int8', weak_type=False, sharding=''), ('in',))
  """
  if isinstance(value, Node) and {"value", "names"} <= value.parts.keys():
    return value.parts["value"], value.parts["names"]
  return value, None
