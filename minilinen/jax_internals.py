"""The few names of JAX's that are not public, each behind a function of ours.

If a new JAX moves one of them, this is the only file to mend.
"""

from __future__ import annotations

from typing import Any

from jax import core
from jax.interpreters import partial_eval


def evaluate_independent(closed: Any, wanted: list[bool]) -> list[Any] | None:
  """Runs a closed jaxpr for those outputs that are wanted, without its inputs.

  Returns:
    The wanted outputs, or None if one of them depends on an input.
  """
  jaxpr, used = partial_eval.dce_jaxpr(closed.jaxpr, wanted)
  if any(used):
    return None
  return core.eval_jaxpr(jaxpr, closed.consts) if not jaxpr.invars else None


def is_staged(x: Any) -> bool:
  """Whether a value stands for one of a program that JAX is writing down, not for a number or a batch of them."""
  return isinstance(x, partial_eval.DynamicJaxprTracer)


def name_stack(equation: Any) -> str:
  """The names that were open when an equation was traced, outermost first, with the transforms it went through.

  In the body of a loop or of a jitted function it begins anew: what was open around is said by the outer equation.
  """
  return str(equation.source_info.name_stack)


def bodies(equation: Any) -> list[Any]:
  """The jaxprs in an equation's parameters, without their constants."""
  found = []
  for value in equation.params.values():
    for part in value if isinstance(value, (tuple, list)) else (value,):
      jaxpr = getattr(part, "jaxpr", part)
      if hasattr(jaxpr, "eqns"):
        found.append(jaxpr)
  return found
