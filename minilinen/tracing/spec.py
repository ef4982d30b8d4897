"""May be skipped: what a trace keeps in the place of an array: its shape, dtype and sharding.

The recorder describes every argument, result and variable with `describe`, which turns
any Python value into plain data (a `Value`) that holds no array and no tracer.
`abstract` goes the other way for inputs: it turns what people type, "f32[b,28,28,1]",
into what JAX traces with.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from minilinen.spelling import near
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

_SHORT = {
  "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16",
  "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8", "int4": "i4",
  "uint64": "u64", "uint32": "u32", "uint16": "u16", "uint8": "u8", "uint4": "u4",
  "complex64": "c64", "complex128": "c128", "bool": "bool", "[('float0', 'V')]": "float0",
}  # fmt: skip
_LONG = {short: long for long, short in _SHORT.items() if short != "float0"}
_KEYS = {"key<fry>": "threefry2x32", "key<rbg>": "rbg", "key<urbg>": "unsafe_rbg"}
_FLOAT0 = "[('float0', 'V')]"  # what JAX gives integers for a derivative
_OWN_BYTES = {"key<fry>": 8, "key<rbg>": 16, "key<urbg>": 16, _FLOAT0: 0}


def short_dtype(dtype: str) -> str:
  """JAX's short name of a dtype, as its jaxprs print it ("f32").

  >>> short_dtype("bfloat16")
  'bf16'
  """
  return _SHORT.get(dtype, dtype)


def itemsize(dtype: str) -> int:
  """Bytes of one element of a dtype, given by name; a key counts its raw words, a 4-bit number one byte.

  >>> itemsize("bfloat16"), itemsize("key<fry>")
  (2, 8)
  """
  return _OWN_BYTES[dtype] if dtype in _OWN_BYTES else jax.numpy.dtype(dtype).itemsize


_ARRAYS = (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)
_interned: dict[tuple[Any, ...], Spec] = {}


def is_array(value: Any) -> bool:
  """Whether a value is an array, a tracer, a NumPy scalar or a `ShapeDtypeStruct`."""
  return isinstance(value, _ARRAYS)


def separate(tree: Any, wanted: Callable[[Any], bool]) -> tuple[list[Any], Callable[[list[Any]], Any]]:
  """Some of the leaves of a pytree, and a function that puts others in their place; dicts keep their order.

  >>> leaves, fill = separate({"x": 1.0, "train": True}, lambda leaf: isinstance(leaf, float))
  >>> leaves, fill([2.0])
  ([1.0], {'x': 2.0, 'train': True})
  """
  leaves, structure = jax.tree.flatten(tree)
  places = [i for i, leaf in enumerate(leaves) if wanted(leaf)]

  def fill(others: list[Any]) -> Any:
    filled = list(leaves)
    for i, other in zip(places, others, strict=True):
      filled[i] = other
    return _in_order_of(tree, jax.tree.unflatten(structure, filled))

  return [leaves[i] for i in places], fill


def _in_order_of(tree: Any, made: Any) -> Any:
  """A pytree that JAX made of another, which sorted the dicts in it, with each dict in its order of before."""
  if isinstance(tree, Mapping):
    parts = {key: _in_order_of(part, made[key]) for key, part in tree.items()}
    return parts if type(tree) is dict else _of_kind(made, parts)
  if is_array(tree):
    return made
  parts, structure = jax.tree.flatten(made, is_leaf=lambda x: x is not made)
  if jax.tree_util.treedef_is_leaf(structure):
    return made
  before = jax.tree.leaves(tree, is_leaf=lambda x: x is not tree)
  ordered = [_in_order_of(*pair) for pair in zip(before, parts, strict=True)]
  same = all(a is b for a, b in zip(ordered, parts))
  return made if same else jax.tree.unflatten(structure, ordered)


def _of_kind(made: Any, parts: dict[Any, Any]) -> Any:
  """A mapping of a class of its own with these parts, or as it is if its class can't be called with a dict."""
  if isinstance(made, dict):
    ordered = copy.copy(made)
    ordered.clear()
    ordered.update(parts)
    return ordered
  try:
    ordered = type(made)(parts)
  except Exception:
    return made
  return ordered if jax.tree.structure(ordered) == jax.tree.structure(made) else made


def spec_of(array: Any) -> Spec:
  """The spec of an array, a tracer, a `ShapeDtypeStruct` or an abstract value."""
  aval = jax.typeof(array) if isinstance(array, Tracer) else array
  sharding = getattr(aval, "sharding", None)
  partition = tuple(getattr(sharding, "spec", None) or ())
  mesh = tuple(sharding.mesh.shape.items()) if partition else ()  # type: ignore[union-attr]
  key = (aval.shape, aval.dtype, getattr(aval, "weak_type", False), partition, mesh)
  found = _interned.get(key)
  if found is None:
    sizes = tuple(int(d) if isinstance(d, (int, np.integer)) else str(d) for d in aval.shape)
    named = any(axes is not None for axes in partition)
    text = f"P({', '.join(map(repr, partition))})" if named else ""
    found = Spec(sizes, str(aval.dtype), bool(key[2]), text, _shard(sizes, partition, dict(mesh)))
    if all(isinstance(size, int) for size in sizes):
      _interned[key] = found
  return found


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
  if isinstance(value, _ARRAYS):
    return spec_of(value)
  if _is_typed_number(value):
    return spec_of(jax.typeof(value))
  own = getattr(kind, "__trace_describe__", None)
  if own is not None:
    return own(value)
  if isinstance(value, (Spec, Node, Opaque, ModuleRef)):
    return value
  if id(value) in around:
    return Opaque(kind.__name__, "itself")
  around = (*around, id(value))
  if kind is tuple or kind is Path:
    return tuple([describe(part, around) for part in value])
  if kind is list:
    return [describe(part, around) for part in value]
  if isinstance(value, Mapping):
    return _describe_dict(value, around)
  try:
    parts = _parts(value)
    return _opaque(value) if parts is None else Node(kind.__name__, _describe_dict(parts, around))
  except Exception:
    return Opaque(kind.__name__)


def _is_typed_number(value: Any) -> bool:
  """Whether a value is one of the Python numbers with a dtype that some of JAX's transforms return."""
  return isinstance(value, (int, float, complex)) and hasattr(value, "dtype")


_PLAIN = frozenset({bool, int, float, complex, str})


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


def _opaque(value: Any) -> Opaque:
  """A value of which only a name is kept."""
  if isinstance(value, np.dtype) or isinstance(getattr(value, "dtype", None), np.dtype):
    return Opaque("dtype", np.dtype(value).name)
  if isinstance(value, type) and issubclass(value, np.generic):
    return Opaque("dtype", np.dtype(value).name)
  if isinstance(value, (set, frozenset)):
    return Opaque(type(value).__name__, _short("{" + ", ".join(sorted(map(repr, value))) + "}"))
  function = value.func if isinstance(value, functools.partial) else value
  name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
  if isinstance(name, str):
    return Opaque(type(value).__name__, name)
  return Opaque(type(value).__name__, "" if type(value).__repr__ is object.__repr__ else _short(repr(value)))


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
  return Opaque(f"{home}.{name}", ", ".join(f"{key}={text}" for key, text in given.items()))


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


class SpecError(ValueError):
  """A string that should say a shape and dtype, as in "f32[8,28,28,1]", does not."""

  def __init__(self, text: str, why: str):
    super().__init__(
      f"{text!r} is no array spec: {why}. A spec is a dtype and its dimensions, numbers or"
      ' names: "f32[8,28,28,1]", "bf16[b,t,512]", "i32[]", "u32[2]".'
    )


_SPEC = re.compile(r"\s*([A-Za-z_]\w*(?:<\w+>)?)\s*\[(.*)\]\s*")
_START = re.compile(r"\s*[A-Za-z_]\w*(<\w+>)?\[")


def looks_like_spec(text: str) -> bool:
  """Whether a string argument is meant as a spec: a word with a bracket behind it."""
  return _START.match(text) is not None


def parse_spec(text: str, scope: jax.export.SymbolicScope | None = None) -> jax.ShapeDtypeStruct:
  """Reads "f32[8,28,28,1]"; names in the dimensions are symbolic ("f32[b,2*t,512]").

  Args:
    text: a dtype by short or long name ("f32", "float32", "key<fry>"), and dimensions in brackets.
    scope: where symbolic dimensions live; inputs that are traced together need one.

  Raises:
    SpecError: if the text is no spec.

  >>> parse_spec("bf16[8, 3]")
  ShapeDtypeStruct(shape=(8, 3), dtype=bfloat16)
  """
  match = _SPEC.fullmatch(text)
  if match is None:
    raise SpecError(text, "it has no dtype followed by [dimensions]")
  dtype = _parse_dtype(text, match[1])
  parts = [part.strip() for part in match[2].split(",")] if match[2].strip() else []
  if any(not part for part in parts):
    raise SpecError(text, "a dimension between two commas is empty")
  if any(re.fullmatch(r"-\d+", part) for part in parts):
    raise SpecError(text, "a dimension is negative")
  if all(re.fullmatch(r"[0-9]+", part) for part in parts):
    return jax.ShapeDtypeStruct(tuple(map(int, parts)), dtype)
  try:
    shape = jax.export.symbolic_shape(",".join(parts), scope=scope)
  except Exception as error:
    raise SpecError(text, f"its dimensions do not parse ({str(error).splitlines()[0]})") from None
  if any(isinstance(dimension, int) and dimension < 0 for dimension in shape):
    raise SpecError(text, "a dimension is negative")
  return jax.ShapeDtypeStruct(shape, dtype)


def _parse_dtype(text: str, name: str) -> Any:
  if name in _KEYS:
    return jax.eval_shape(lambda: jax.random.key(0, impl=_KEYS[name])).dtype
  try:
    return jax.dtypes.canonicalize_dtype(jax.numpy.dtype(_LONG.get(name, name)))
  except TypeError:
    known = sorted([*_LONG, *_KEYS])
    close = near(name.lower(), [*known, *_SHORT])
    hint = f", the nearest is {close[0]!r}" if close else ""
    raise SpecError(text, f"{name!r} is no dtype{hint} (short names are {', '.join(known)})") from None


_SYMBOLS = jax.export.SymbolicScope()
"""One for all: in a scope of its own each "b" would be another, and JAX keeps for ever what it traced for it."""


def abstract(tree: Any) -> Any:
  """Arrays and spec strings in a pytree as `ShapeDtypeStruct`s; everything else as it is.

  All spec strings share one scope of symbolic dimensions, so "b" is the same b everywhere. Python numbers, booleans
  and other objects stay, and so does the order of dicts: a model may branch on the ones and loop over the others.
  """

  def leaf(value: Any) -> Any:
    if isinstance(value, str) and looks_like_spec(value):
      return parse_spec(value, _SYMBOLS)
    if isinstance(value, (np.ndarray, np.generic)):
      return jax.ShapeDtypeStruct(value.shape, jax.dtypes.canonicalize_dtype(value.dtype))
    if isinstance(value, jax.Array) and not isinstance(value, Tracer):
      return _abstract_array(value)
    return value

  return _in_order_of(tree, jax.tree.map(leaf, tree))


def _abstract_array(array: jax.Array) -> jax.ShapeDtypeStruct:
  sharding = array.sharding if isinstance(array.sharding, jax.sharding.NamedSharding) else None
  return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding, weak_type=_is_weak(array))


def _is_weak(array: Any) -> bool:
  return bool(getattr(array, "weak_type", False))
