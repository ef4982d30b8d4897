"""May be skipped: which pass an equation belongs to: making first values, forward, backward, or computing again.

`program` asks for each equation what its names tell. They do not tell all: beside the forward pass JAX computes what
only the backward pass will need, such as the slope of an activation. That is found by following the values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from minilinen.tracing.equations import marks

INIT, FORWARD, BACKWARD, RECOMPUTED = PHASES = ("init", "forward", "backward", "recomputed")


def told_phase(names: Any) -> str | None:
  """The phase that the names of an equation tell, if they do."""
  if marks.is_initializer(names.stack):
    return INIT
  text = str(names)
  if "rematted_computation" in text:
    return RECOMPUTED
  return BACKWARD if "transpose(" in text else None


def only_for_backward(equations: Sequence[Any], outputs: Iterable[int]) -> Iterator[int]:
  """The numbers of the equations beside the forward pass whose results only the backward pass uses.

  Args:
    equations: all of a program.
    outputs: the values that leave it.
  """
  sources: dict[int, list[Iterable[int]]] = {}
  used = {*outputs}
  ends: list[int] = []
  for equation in equations:
    ties = (*equation.enters, *equation.leaves)
    for source, value in ties:
      used.add(source)
      sources.setdefault(value, []).append((source,))
    if not ties:
      used.update(equation.inputs)
    if equation.phase in (INIT, FORWARD):
      ends += equation.outputs
      for value in () if ties else equation.outputs:
        sources.setdefault(value, []).append(equation.inputs)
  wanted: set[int] = set()
  waiting = [*outputs, *(value for value in ends if value not in used)]
  while waiting:
    value = waiting.pop()
    if value not in wanted:
      wanted.add(value)
      for group in sources.get(value, ()):
        waiting += group
  for number, equation in enumerate(equations):
    if equation.phase == FORWARD and equation.outputs and wanted.isdisjoint(equation.outputs):
      yield number
