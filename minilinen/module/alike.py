"""May be skipped: whether modules do the same, so that `nn.jit` may use a body that was compiled for others.

A compiled body is used again where whatever decides what it does is equal: the classes of the modules, their settings
and what `setup` has made of them, and which of them is which; not their parents, nor what they are called. Values are
compared with their types, for 1 and 1.0 compute differently. What cannot be compared is equal to nothing: better
compiled again than wrong.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax import core

from minilinen.core.frozen_dict import FrozenDict
from minilinen.module.base import ModuleBase
from minilinen.module.context import captures, interceptors

Known = dict[int, int]
"""The number of each module, and function, that was met, by `id`: the next time it is known by that."""

_OWN = {"parent", "scope", "_state", "name", "_adopted_from"}
_VALUES = (
  ModuleBase, bool, int, float, complex, str, bytes, tuple, list, dict, FrozenDict, np.ndarray, jax.Array,
  types.FunctionType,
)  # fmt: skip


def fingerprint(modules: Sequence[ModuleBase], others: Sequence[ModuleBase]) -> Any:
  """Equal if a body that was compiled for some modules does the same for others; it holds no module.

  Args:
    modules: all that have a scope.
    others: those of them that are arguments, in order.
  """
  known = {id(module): number for number, module in enumerate(modules)}
  listening = tuple(interceptors), tuple(captures)[:1]
  return tuple(_parts(m, known) for m in modules), tuple(known[id(m)] for m in others), listening


def _parts(module: ModuleBase, known: Known) -> Any:
  """What decides how a module computes.

  Of attributes that are no fields only such count that can be compared by value: others may be made anew each time.
  """
  state, fields = module._state, module.__dataclass_fields__
  attributes = [
    (name, comparable(value, known))
    for name, value in module.__dict__.items()
    if name not in _OWN and (name in fields or isinstance(value, _VALUES))
  ]
  return type(module), tuple(attributes), state.in_compact, state.setup_done, tuple(state.cursors.items())


def comparable(value: Any, known: Known) -> Any:
  """A value as something that is equal, with an equal hash, if it does the same."""
  if id(value) in known:
    return _Met(known[id(value)])
  if isinstance(value, ModuleBase):
    return value.name, _parts(value, known)
  if isinstance(value, (tuple, list)):
    return type(value), tuple(comparable(v, known) for v in value)
  if isinstance(value, (dict, FrozenDict)):
    return type(value), tuple((k, comparable(v, known)) for k, v in value.items())
  if isinstance(value, (np.ndarray, np.generic, jax.Array)):
    return _of_array(value)
  if isinstance(value, (float, complex)):
    return type(value), repr(value)  # 0.0 == -0.0
  if isinstance(value, types.FunctionType) and "<locals>" in value.__qualname__:
    return _Function(value, known)
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    parts = ((f.name, comparable(getattr(value, f.name, None), known)) for f in dataclasses.fields(value))
    return type(value), tuple(parts)
  try:
    hash(value)
  except TypeError:
    return object()
  return type(value), value


@dataclasses.dataclass(frozen=True)
class _Met:
  """Something that was met before."""

  number: int


def _of_array(value: Any) -> Any:
  if isinstance(value, core.Tracer) or value.dtype == object:
    return object()
  is_key = jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key)
  numbers = np.asarray(jax.random.key_data(value) if is_key else value).tobytes()
  weak = getattr(value, "weak_type", False)
  return type(value), value.shape, str(value.dtype), weak, numbers


class _Function:
  """A function that was made in another, perhaps anew each time: by its code, and the values that it uses."""

  __slots__ = ("_function", "_parts")

  def __init__(self, function: types.FunctionType, known: Known):
    known = {**known, id(function): len(known)}
    cells = (cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell))
    outside = {n: function.__globals__.get(n) for n in sorted(_names(function.__code__))}
    used = (*cells, function.__defaults__, function.__kwdefaults__, outside, vars(function))
    self._function = function
    self._parts = function.__code__, tuple(comparable(value, known) for value in used)

  def __eq__(self, other: object) -> bool:
    same = isinstance(other, _Function)
    return same and (self._function is other._function or self._parts == other._parts)

  def __hash__(self) -> int:
    return hash(self._function.__code__)


def _is_filled(cell: types.CellType) -> bool:
  try:
    return cell.cell_contents is not cell
  except ValueError:
    return False


def _names(code: types.CodeType) -> Iterator[str]:
  """The names of globals and attributes in a function's code, and in that of functions in it."""
  yield from code.co_names
  for constant in code.co_consts:
    if isinstance(constant, types.CodeType):
      yield from _names(constant)
