"""May be skipped: what a function is given, made abstract: what people type, "f32[b,28,28,1]", and what they pass.

`recording` runs functions on shapes only. `parse_spec` reads the strings, `abstract` makes all arrays of the arguments
abstract, and `separate` takes them out of the rest.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from minilinen.spelling import near
from minilinen.tracing.equations.formula import SYMBOLS
from minilinen.tracing.errors import SpecError
from minilinen.tracing.spec import KEYS, LONG_DTYPES, SHORT_DTYPES, is_array

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
    raise SpecError(text=text, why="it has no dtype followed by [dimensions]")
  dtype = _parse_dtype(text, match[1])
  parts = [part.strip() for part in match[2].split(",")] if match[2].strip() else []
  if any(not part for part in parts):
    raise SpecError(text=text, why="a dimension between two commas is empty")
  if any(re.fullmatch(r"-\d+", part) for part in parts):
    raise SpecError(text=text, why="a dimension is negative")
  if all(re.fullmatch(r"[0-9]+", part) for part in parts):
    return jax.ShapeDtypeStruct(tuple(map(int, parts)), dtype)
  try:
    shape = jax.export.symbolic_shape(",".join(parts), scope=scope)
  except Exception as error:
    raise SpecError(text=text, why=f"its dimensions do not parse ({str(error).splitlines()[0]})") from None
  if any(isinstance(dimension, int) and dimension < 0 for dimension in shape):
    raise SpecError(text=text, why="a dimension is negative")
  return jax.ShapeDtypeStruct(shape, dtype)


def _parse_dtype(text: str, name: str) -> Any:
  if name in KEYS:
    return jax.eval_shape(lambda: jax.random.key(0, impl=KEYS[name])).dtype
  try:
    return jax.dtypes.canonicalize_dtype(jax.numpy.dtype(LONG_DTYPES.get(name, name)))
  except TypeError:
    known = sorted([*LONG_DTYPES, *KEYS])
    close = near(name.lower(), [*known, *SHORT_DTYPES])
    hint = f", the nearest is {close[0]!r}" if close else ""
    raise SpecError(
      text=text, why=f"{name!r} is no dtype{hint} (short names are {', '.join(known)})"
    ) from None


def abstract(tree: Any) -> Any:
  """Arrays and spec strings in a pytree as `ShapeDtypeStruct`s; everything else as it is.

  All spec strings share one scope of symbolic dimensions, so "b" is the same b everywhere. Python numbers, booleans
  and other objects stay, and so does the order of dicts: a model may branch on the ones and loop over the others.
  """

  def leaf(value: Any) -> Any:
    if isinstance(value, str) and looks_like_spec(value):
      return parse_spec(value, SYMBOLS)
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
