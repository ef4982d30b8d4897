"""Which of JAX's traces a value belongs to, and which is running now.

A trace is what JAX keeps of one transform that is under way. Their order is not public: if a new JAX changes it,
this is the only file to mend, and what it cannot tell is taken for harmless.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

from jax.extend import core

REPEATING = ("jax.vmap", "jax.lax.scan", "jax.lax.while_loop", "jax.lax.fori_loop")
"""The transforms that use one value in several places: for all elements, or in every step."""

_BY_CLASS = {"BatchTrace": "jax.vmap", "JVPTrace": "jax.jvp", "LinearizeTrace": "jax.grad"}
_BY_USE = {
  "jit": "jax.jit",
  "scan": "jax.lax.scan",
  "checkpoint / remat": "jax.checkpoint",
  "cond": "jax.lax.cond",
  "while_body": "jax.lax.while_loop",
  "while_cond": "jax.lax.while_loop",
  "fori_loop": "jax.lax.fori_loop",
}


def current_trace() -> Any:
  """The innermost transform that is under way; eager evaluation counts as one."""
  return core.find_top_trace(())


def outer_trace(trace: Any) -> Any:
  """The transform around a transform, None around the outermost."""
  return getattr(trace, "parent_trace", None)


def jitting_trace() -> Any:
  """The innermost `jax.jit` that is under way, None if there is none."""
  trace = current_trace()
  while trace is not None and transform_of(trace) != "jax.jit":
    trace = outer_trace(trace)
  return trace


class Numbers:
  """Numbers for what `jax.jit` traces, in the order in which it is met. What is over is forgotten."""

  def __init__(self) -> None:
    self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
    self._count = itertools.count(1)

  def of_jit(self) -> int:
    """The number of the innermost `jax.jit` that is under way, 0 if there is none."""
    trace = jitting_trace()
    if trace is None:
      return 0
    if trace not in self._known:
      self._known[trace] = next(self._count)
    return self._known[trace]


def trace_of(tracer: Any) -> Any:
  """The transform that a tracer belongs to."""
  return getattr(tracer, "_trace", None)


def transform_of(trace: Any) -> str:
  """What the user calls a transform."""
  used_for = getattr(getattr(getattr(trace, "frame", None), "debug_info", None), "traced_for", None)
  known = _BY_CLASS.get(type(trace).__name__) or _BY_USE.get(str(used_for))
  return known or (f"jax.{used_for}" if used_for else "a JAX transform")
