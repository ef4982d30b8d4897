"""The few names of JAX's that are not public, each behind a function of ours.

If a new JAX moves one of them, this is the only file to mend.
"""

from __future__ import annotations

import os
import types
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
from jax import api_util, core
from jax.extend import core as extend_core
from jax.extend import linear_util, source_info_util
from jax.interpreters import partial_eval


def run_known(fn: Callable[..., list[Any]], unknown: list[Any]) -> list[tuple[Any, Any]]:
  """Runs a function as far as it can be run without its arguments.

  Args:
    fn: from arrays to a list of arrays.
    unknown: its arguments, of which only the shape and dtype are used.

  Returns:
    For each output its value and None; or None and its abstract value, if it depends on an argument.
  """
  info = api_util.debug_info("known", fn, tuple(unknown), {})
  inputs = [partial_eval.PartialVal.unknown(core.ShapedArray(x.shape, x.dtype)) for x in unknown]
  _, outputs, _ = partial_eval.trace_to_jaxpr_nounits(
    linear_util.wrap_init(fn, debug_info=info), inputs, False
  )
  return [(out.get_known(), None) if out.is_known() else (None, out.get_aval()) for out in outputs]


def is_staged(x: Any) -> bool:
  """Whether a value stands for one of a program that JAX is writing down, not for a number or a batch of them."""
  return isinstance(x, partial_eval.DynamicJaxprTracer)


def on_name_stack(entry: Any) -> AbstractContextManager[Any]:
  """For a `with` block, an object stands on JAX's stack of names, and comes along with each equation that is traced.

  Args:
    entry: it has a `name`, and a method `wrap` that adds to the names further in when the stack is written out.
  """
  stack = source_info_util.current_name_stack()
  return source_info_util.set_name_stack(type(stack)((*stack.stack, entry)))  # type: ignore[arg-type]


def name_stack(equation: Any) -> Any:
  """The names that were open when an equation was traced, and the transforms it went through; `str` writes them out.

  Its attribute `stack` has the entries, outermost first. In the body of a loop or of a jitted function it begins
  anew: what was open around is said by the outer equation.
  """
  return equation.source_info.name_stack


def frames(equation: Any) -> list[tuple[types.CodeType, int]]:
  """The frames in which an equation was traced, innermost first: the code of each, and where it was in it."""
  traceback = equation.source_info.traceback
  return list(zip(*traceback.raw_frames())) if traceback is not None else []


def begins_jaxpr(code: types.CodeType) -> bool:
  """Whether a frame is where JAX began to write down a body: further out is whoever asked for it first."""
  return code.co_name.startswith("trace_to_jaxpr") and code.co_filename.endswith(_PARTIAL_EVAL)


_PARTIAL_EVAL = f"interpreters{os.sep}partial_eval.py"


def bodies(equation: Any) -> list[Any]:
  """The jaxprs in an equation's parameters, without their constants."""
  found = []
  for value in equation.params.values():
    for part in value if isinstance(value, (tuple, list)) else (value,):
      jaxpr = getattr(part, "jaxpr", part)
      if hasattr(jaxpr, "eqns"):
        found.append(jaxpr)
  return found


ExtendedDType: type = type(jax.eval_shape(jax.random.key, 0).dtype).__mro__[1]
"""The class of dtypes that numpy does not know: that of JAX's keys derives from it."""


# Traces: what JAX keeps of each transform that is under way. What cannot be told here is taken for harmless.

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
  return extend_core.find_top_trace(())


def outer_trace(trace: Any) -> Any:
  """The transform around a transform, None around the outermost."""
  return getattr(trace, "parent_trace", None)


def jitting_trace() -> Any:
  """The innermost `jax.jit` that is under way, None if there is none."""
  trace = current_trace()
  while trace is not None and transform_of(trace) != "jax.jit":
    trace = outer_trace(trace)
  return trace


def trace_of(tracer: Any) -> Any:
  """The transform that a tracer belongs to."""
  return getattr(tracer, "_trace", None)


def transform_of(trace: Any) -> str:
  """What the user calls a transform."""
  used_for = getattr(getattr(getattr(trace, "frame", None), "debug_info", None), "traced_for", None)
  known = _BY_CLASS.get(type(trace).__name__) or _BY_USE.get(str(used_for))
  return known or (f"jax.{used_for}" if used_for else "a JAX transform")
