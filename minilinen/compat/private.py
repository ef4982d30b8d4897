"""May be skipped: private names of Flax's that projects reach for, as thin adapters; others are refused by name."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import jax
from jax import lax

from minilinen.compat.other_errors import OTHER_ERRORS
from minilinen.functions.axes import as_tuple, ascending_axes, conv_dimension_numbers
from minilinen.module import intercept_methods
from minilinen.module.base import ModuleBase
from minilinen.module.context import running


def _conv_dimension_numbers(input_shape: Any) -> lax.ConvDimensionNumbers:
  return conv_dimension_numbers(len(input_shape))


def _canonicalize_axes(rank: int, axes: Any) -> tuple[int, ...]:
  return ascending_axes(axes, rank)


def _process_inputs(args: Any, kwargs: Any) -> Any:
  """The inputs of a call as a table shows them: one alone without a tuple around it."""
  values = (*args, kwargs) if kwargs else args
  return values[0] if len(values) == 1 else values


class _ModuleStack:
  """The modules that are running, None below them: the last is the parent of what is made now.

  `append` and `pop` change what that is for as long as the caller likes; `append(None)` makes models.
  """

  def __init__(self) -> None:
    self._below: ContextVar[tuple[Any, ...]] = ContextVar("minilinen.compat.below", default=())

  def _all(self) -> list[Any]:
    innermost = running.get()
    return [
      None,
      *self._below.get()[1:],
      *([] if innermost is None and not self._below.get() else [innermost]),
    ]

  def append(self, module: ModuleBase | None) -> None:
    self._below.set((*self._below.get(), running.get()))
    running.set(module)

  def pop(self) -> ModuleBase | None:
    *below, outer = self._below.get()
    module = running.get()
    self._below.set((*below,))
    running.set(outer)
    return module

  def __getitem__(self, index: Any) -> Any:
    return self._all()[index]

  def __len__(self) -> int:
    return len(self._all())

  def __iter__(self) -> Iterator[Any]:
    return iter(self._all())

  def __repr__(self) -> str:
    return repr(self._all())


@dataclass
class _CallInfo:
  """A call, as `_tabulate_context` notes it."""

  index: int
  path: tuple[str, ...]
  module: Any
  rngs: Any
  mutable: Any
  method: str
  args: tuple[Any, ...]
  kwargs: dict[str, Any]
  outputs: Any


@dataclass
class _CallInfoContext:
  """The calls of a `with` block, each noted when it ends, numbered when it begins."""

  index: int = 0
  calls: list[_CallInfo] = field(default_factory=list)

  def get_call_index(self) -> int:
    self.index += 1
    return self.index - 1


class _DynamicContext(threading.local):
  """What is going on in this thread."""

  def __init__(self) -> None:
    self.module_stack = _ModuleStack()
    self.call_info_stack: list[_CallInfoContext] = []


_context = _DynamicContext()


@contextlib.contextmanager
def _tabulate_context() -> Iterator[None]:
  """Notes every call in `_context.call_info_stack[-1].calls`."""
  noted = _CallInfoContext()

  def note(call: Any, args: Any, kwargs: Any, told: Any) -> Any:
    index, scope = noted.get_call_index(), told.module.scope
    outputs = call(*args, **kwargs)
    if scope is not None:
      shown = jax.tree.map(_shape, (args, kwargs, outputs))
      at = (index, tuple(scope.path), told.module.clone(), scope.rngs, scope.mutable, told.method_name)
      noted.calls.append(_CallInfo(*at, *shown))
    return outputs

  _context.call_info_stack.append(noted)
  try:
    with intercept_methods(note):
      yield
  finally:
    _context.call_info_stack.remove(noted)


def _shape(x: Any) -> Any:
  return jax.ShapeDtypeStruct(x.shape, x.dtype) if hasattr(x, "shape") and hasattr(x, "dtype") else x


PRIVATE: dict[str, dict[str, Any]] = {
  "flax.linen.linear": {
    "_conv_dimension_numbers": _conv_dimension_numbers,
    "_canonicalize_tuple": as_tuple,
    "_normalize_axes": ascending_axes,
  },
  "flax.linen.normalization": {"_canonicalize_axes": _canonicalize_axes},
  "flax.linen.module": {"_context": _context, "_tabulate_context": _tabulate_context},
  "flax.linen.summary": {"_process_inputs": _process_inputs},
  "flax.errors": OTHER_ERRORS,
}
"""What each module has besides minilinen's names."""
