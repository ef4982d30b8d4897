"""The bodies of an equation: the jaxprs that it runs, how often, and where their inputs and results go.

Whoever follows values through a program (`program`, `values`) asks here what a loop, a branch or a call does with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minilinen import jax_internals
from minilinen.tracing.equations.formula import Count


@dataclass(frozen=True, slots=True)
class SubJaxpr:
  """A jaxpr in an equation.

  Attributes:
    jaxpr: without its constants.
    inputs: which inputs of the equation its own are.
    outputs: which outputs of the equation its own become.
    again: which of its own inputs its outputs become when it runs the next time.
    times: how often it runs.
    decides: whether its result decides how often another body runs.
    notes: of its equations.
  """

  jaxpr: Any
  inputs: Sequence[int]
  outputs: Sequence[int]
  again: Sequence[int] = ()
  times: Count = 1
  decides: bool = False
  notes: tuple[str, ...] = ()


def _carry(scan: Any) -> range:
  """Which inputs of a scan's body are its carry: those between the constants and what is looped over.

  By their shapes, since JAX's parameters for it change: what is looped over or stacked has an axis less inside.
  """
  body = scan.params["jaxpr"].jaxpr

  def whole(outer: Any, inner: Any) -> int:
    return sum(len(o.aval.shape) == len(i.aval.shape) for o, i in zip(outer, inner))

  carry = whole(scan.outvars, body.outvars)
  constants = whole(scan.invars, body.invars) - carry
  return range(constants, constants + carry)


def subjaxprs_of(equation: Any) -> list[SubJaxpr]:
  """The bodies that an equation runs; a primitive that has a rule of its own has none."""
  params = equation.params
  if not params:
    return []
  ins, outs = range(len(equation.invars)), range(len(equation.outvars))
  match equation.primitive.name:
    case "scan":
      return [SubJaxpr(params["jaxpr"].jaxpr, ins, outs, _carry(equation), params["length"])]
    case "cond":
      return [SubJaxpr(branch.jaxpr, ins[1:], outs) for branch in params["branches"]]
    case "while":
      conds, consts = params["cond_nconsts"], params["body_nconsts"]
      carry = ins[conds + consts :]
      return [
        SubJaxpr(
          params["cond_jaxpr"].jaxpr, [*ins[:conds], *carry], (), decides=True, notes=("per iteration",)
        ),
        SubJaxpr(
          params["body_jaxpr"].jaxpr,
          ins[conds:],
          outs,
          range(consts, len(ins) - conds),
          notes=("per iteration",),
        ),
      ]
    case "shard_map":
      return [SubJaxpr(jax_internals.bodies(equation)[0], ins, outs, times=params["mesh"].size)]
  inner = jax_internals.bodies(equation)
  if len(inner) != 1 or len(inner[0].invars) != len(ins):
    return []
  from minilinen.tracing.equations.rules import is_known

  return [] if is_known(equation.primitive) else [SubJaxpr(inner[0], ins, outs)]
