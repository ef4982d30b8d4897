"""May be skipped: whether modules do the same, so that `nn.jit` may use a body that was compiled for others.

A compiled body is used again where whatever decides what it does is equal: the classes of the modules, their settings
and what `setup` has made of them, and which of them is which; not their parents, nor what they are called. Values are
compared with their types, for 1 and 1.0 compute differently. What cannot be compared is equal to nothing: better
compiled again than wrong. Only of JAX's arrays that `setup` made values do not matter: the body makes them again, of
the variables that go in. An array that its code takes from outside, by name, counts.
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
from minilinen.module.call import raw_method
from minilinen.module.context import captures, interceptors
from minilinen.module.life import ModuleLife

Known = dict[int, int]
"""The number of each module, and function, that was met, by `id`: the next time it is known by that."""

_OWN = {"parent", "scope", "_state", "name", "_adopted_from"}
_ARRAYS = (np.ndarray, np.generic, jax.Array)
_VALUES = (
  ModuleLife, bool, int, float, complex, str, bytes, tuple, list, dict, FrozenDict, *_ARRAYS, types.FunctionType,
)  # fmt: skip


def fingerprint(modules: Sequence[ModuleLife], others: Sequence[ModuleLife]) -> Any:
  """Equal if a body that was compiled for some modules does the same for others; it holds no module.

  Args:
    modules: all that have a scope.
    others: those of them that are arguments, in order.
  """
  known = {id(module): number for number, module in enumerate(modules)}
  listening = tuple(interceptors), tuple(captures)[:1]
  return tuple(_parts(m, known) for m in modules), tuple(known[id(m)] for m in others), listening


def _parts(module: ModuleLife, known: Known) -> Any:
  """What decides how a module computes.

  Of attributes that are no fields only such count that can be compared by value: others may be made anew each time.
  """
  state, fields = module._state, module.__dataclass_fields__
  again = state.from_setup if state.setup_done and not state.in_setup else ()
  attributes = [
    (name, comparable(value, known, name in again))
    for name, value in module.__dict__.items()
    if name not in _OWN and (name in fields or isinstance(value, _VALUES))
  ]
  setup = raw_method(type(module).setup)
  used = tuple(comparable(v, known) for v in (_used(setup) if again else ()) if isinstance(v, _ARRAYS))
  doing = state.in_compact, state.setup_done, tuple(state.cursors.items())
  return type(module), tuple(attributes), used, doing


def comparable(value: Any, known: Known, made_again: bool = False) -> Any:
  """A value as something that is equal, with an equal hash, if it does the same.

  JAX's arrays that are `made_again` in the body only have to be of one shape and type.
  """
  if id(value) in known:
    return _Met(known[id(value)])
  if isinstance(value, ModuleLife):
    return value.name, _parts(value, known)
  if isinstance(value, (tuple, list)):
    return type(value), tuple(comparable(v, known, made_again) for v in value)
  if isinstance(value, (dict, FrozenDict)):
    return type(value), tuple((k, comparable(v, known, made_again)) for k, v in value.items())
  if isinstance(value, _ARRAYS):
    kind = jax.Array if isinstance(value, jax.Array) else type(value)
    numbers = None if made_again and kind is jax.Array else _numbers(value)
    return kind, value.shape, str(value.dtype), getattr(value, "weak_type", False), numbers
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


def _numbers(array: Any) -> Any:
  if isinstance(array, core.Tracer) or array.dtype == object:
    return object()
  is_key = jax.numpy.issubdtype(array.dtype, jax.dtypes.prng_key)
  return np.asarray(jax.random.key_data(array) if is_key else array).tobytes()


class _Function:
  """A function that was made in another, perhaps anew each time: by its code, and the values that it uses."""

  __slots__ = ("_function", "_parts")

  def __init__(self, function: types.FunctionType, known: Known):
    known = {**known, id(function): len(known)}
    used = (*_used(function), function.__defaults__, function.__kwdefaults__, vars(function))
    self._function = function
    self._parts = function.__code__, tuple(comparable(value, known) for value in used)

  def __eq__(self, other: object) -> bool:
    same = isinstance(other, _Function)
    return same and (self._function is other._function or self._parts == other._parts)

  def __hash__(self) -> int:
    return hash(self._function.__code__)


def _used(function: Any) -> Iterator[Any]:
  """The values from outside that a function speaks of."""
  yield from (cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell))
  yield from (function.__globals__.get(name) for name in sorted(_names(function.__code__)))


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
