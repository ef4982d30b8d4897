"""May be skipped: reads what JAX wrote down, with the bodies of loops, branches and functions, into one flat list.

`Trace.program` asks for it when somebody asks for the equations.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from minilinen import jax_internals
from minilinen.tracing.equations import formula, marks
from minilinen.tracing.equations.phases import BACKWARD, FORWARD, only_for_backward, told_phase
from minilinen.tracing.equations.program import (
  EITHER,
  OUTSIDE,
  Equation,
  OfRun,
  Owner,
  Program,
  Unread,
  owners_of,
)
from minilinen.tracing.equations.rules import work_of
from minilinen.tracing.equations.subjaxprs import SubJaxpr, subjaxprs_of
from minilinen.tracing.equations.work import NOTHING, Count, Work
from minilinen.tracing.events import Record
from minilinen.tracing.source import Source, source_of_frames
from minilinen.tracing.spec import Opaque, Value, spec_of
from minilinen.tracing.uncollected import uncollected


@uncollected()
def read(code: Unread, records: Sequence[Record]) -> tuple[Program, dict[int, list[int]]]:
  """The program, and for the `id` of each of JAX's equations the numbers of ours.

  Args:
    code: the equations as JAX wrote them down.
    records: all that happened, depth first.
  """
  reader = _Reader(code, owners_of(records), {record.order: record.span for record in records})
  values = reader.bind(code.jaxpr)
  inputs = tuple(values[v] for v in code.jaxpr.invars)
  reader.read(code.jaxpr, values, _Around(OUTSIDE, (), FORWARD, 1, -1, (), {}))
  outputs = reader.numbers(code.jaxpr.outvars, values)
  for number in only_for_backward(reader.equations, outputs):
    reader.equations[number] = replace(reader.equations[number], phase=BACKWARD)
  program = Program(
    tuple(reader.equations), tuple(reader.values), inputs, outputs, code.names, code.results,
    tuple(reader.found),
  )  # fmt: skip
  return program, reader.origins


@dataclass(frozen=True, slots=True)
class _Around:
  """Where equations stand: what they have if their own names say nothing else."""

  owner: Owner
  calls: tuple[int, ...]
  phase: str
  times: Count
  inside: int
  notes: tuple[str, ...]
  trees: Mapping[int, int]


class _Reader:
  """Reads jaxprs into one flat list."""

  def __init__(self, code: Unread, owners: Mapping[int, Owner], spans: Mapping[int, int]):
    self.marked = code.marked
    self.owners = owners
    self.spans = spans
    self.of_runs = code.of_runs
    self.trees = {run: iter(trees) for run, trees in code.shared.items()}
    self.found: list[tuple[int, int]] = []
    self.known: dict[tuple[Any, ...], tuple[tuple[int, ...], str | None]] = {}
    self.equations: list[Equation] = []
    self.values: list[Value] = []
    self.origins: dict[int, list[int]] = {}
    self.places: dict[tuple[Any, int], tuple[_Around, _Around]] = {}
    self.works: dict[int, tuple[Work, str | None]] = {}

  def bind(self, jaxpr: Any) -> dict[Any, int]:
    """New values for the inputs and constants of a jaxpr."""
    return {v: self.value(v) for v in (*jaxpr.constvars, *jaxpr.invars)}

  def value(self, variable: Any) -> int:
    aval = variable.aval
    self.values.append(spec_of(aval) if hasattr(aval, "shape") else Opaque(type(aval).__name__))
    return len(self.values) - 1

  def numbers(self, variables: Sequence[Any], names: dict[Any, int]) -> tuple[int, ...]:
    return tuple(-1 if hasattr(v, "val") else names[v] for v in variables)

  def read(self, jaxpr: Any, names: dict[Any, int], place: _Around) -> None:
    """Adds the equations of a jaxpr, whose inputs have numbers by now."""
    waiting = [*self.of_runs.get(id(jaxpr), ())]
    for index, equation in enumerate(jaxpr.eqns):
      while waiting and waiting[0].before <= index:
        place = self.learn(waiting.pop(0), names, place)
      here = self.place(equation, place)
      inputs = self.numbers(equation.invars, names)
      outputs = []
      for variable in equation.outvars:
        names[variable] = self.value(variable)
        outputs.append(names[variable])
      number = len(self.equations)
      self.origins.setdefault(id(equation), []).append(number)
      bodies = subjaxprs_of(equation)
      self.equations.append(self.equation(equation, here, inputs, tuple(outputs), bool(bodies)))
      if bodies:
        self.enter(equation, bodies, number, here)
    for of_run in waiting:
      self.learn(of_run, names, place)

  def learn(self, of_run: OfRun, names: dict[Any, int], place: _Around) -> _Around:
    """Takes note of what is known of a run; from here on it is known which of several trees the run is on."""
    if of_run.returned is not None:
      self.found += ((of_run.run, number) for number in self.numbers(of_run.returned, names))
    elif of_run.run in self.trees:
      return replace(place, trees={**place.trees, of_run.run: next(self.trees[of_run.run])})
    return place

  def place(self, equation: Any, around: _Around) -> _Around:
    """The place of an equation: its calls and its phase by its names, the rest as around it."""
    names = jax_internals.name_stack(equation)
    if not names.stack:
      return around
    # With what it is around, so that no other gets its `id`.
    known = self.places.get((names.stack, id(around)))
    if known is None:
      known = self.places[names.stack, id(around)] = self.place_by_names(names, around), around
    return known[0]

  def place_by_names(self, names: Any, around: _Around) -> _Around:
    found = self.known.get(names.stack)
    if found is None:
      found = (self.marked[mark] for mark in marks.calls_of(names.stack))
      calls = tuple(call for call in found if call >= 0)
      found = self.known[names.stack] = (calls, told_phase(names))
    calls, phase = found
    if calls:
      new = [call for call in calls if call not in around.calls]
      owner = self.owners[calls[-1]]
      if owner.run in self.trees:
        owner = replace(owner, tree=around.trees.get(owner.run, -1))
      if new and around.calls and self.is_elsewhere(new[0], around.calls[-1]):
        owner, new = replace(owner, run=around.owner.run, tree=around.owner.tree), []
      around = replace(around, owner=owner, calls=(*around.calls, *new))
    return replace(around, phase=phase) if phase else around

  def is_elsewhere(self, call: int, around: int) -> bool:
    """Whether a call is one of another run, in which JAX traced a body that runs in the call `around` too."""
    if self.owners[call].run == self.owners[around].run:
      return False
    while call > around:
      call = self.spans[call]
    return call != around

  def source(self, equation: Any, around: int) -> Source | None:
    """The user's line: in the body that the equation stands in, or that of the equation whose body it is.

    A function of JAX's own has no line of its own: JAX traces it once, for whoever calls it first, and keeps only the
    frames inside of it.
    """
    found = source_of_frames(jax_internals.frames(equation))
    return self.equations[around].source if found is None and around >= 0 else found

  def equation(
    self, equation: Any, here: _Around, inputs: tuple[int, ...], outputs: tuple[int, ...], has_bodies: bool
  ) -> Equation:
    """An equation as if it had no body."""
    if id(equation) not in self.works:
      self.works[id(equation)] = (NOTHING, None) if has_bodies else work_of(equation)
    work, note = self.works[id(equation)]
    taken = here.notes if note is None else (*here.notes, note)
    if here.owner.run in self.trees and here.owner.tree < 0:
      taken = (*taken, EITHER)
    name = equation.params.get("name", "")
    return Equation(
      equation.primitive.name, here.owner, here.phase, here.times, work, inputs, outputs, here.inside,
      notes=taken, name=name if isinstance(name, str) else "", calls=here.calls,
      source=self.source(equation, here.inside),
    )  # fmt: skip

  def enter(self, equation: Any, bodies: list[SubJaxpr], number: int, here: _Around) -> None:
    """Adds the bodies of an equation that is in the list, and ties their values to its own."""
    outer = self.equations[number]
    enters: list[tuple[int, int]] = []
    leaves: list[tuple[int, int]] = []
    starts = [len(self.equations)]
    for body in bodies:
      names = self.bind(body.jaxpr)
      inputs = [names[v] for v in body.jaxpr.invars]
      enters += [(outer.inputs[i], inner) for i, inner in zip(body.inputs, inputs)]
      inside = _Around(
        here.owner,
        here.calls,
        here.phase,
        here.times * body.times,
        number,
        (*here.notes, *body.notes),
        here.trees,
      )
      self.read(body.jaxpr, names, inside)
      results = self.numbers(body.jaxpr.outvars, names)
      enters += [(inner, inputs[i]) for inner, i in zip(results, body.again)]
      leaves += [(inner, outer.outputs[i]) for inner, i in zip(results, body.outputs)]
      if body.decides:
        leaves += [(inner, value) for inner in results for value in outer.outputs]
      starts.append(len(self.equations))
    self.equations[number] = replace(outer, enters=tuple(enters), leaves=tuple(leaves))
    if equation.primitive.name == "cond":
      leaves += [(outer.inputs[0], value) for value in outer.outputs]
      self.equations[number] = replace(outer, enters=tuple(enters), leaves=tuple(leaves))
      self.keep_dearest(starts)

  def keep_dearest(self, starts: list[int]) -> None:
    """Lets only the dearest of several branches count. `starts` says where each begins, and where the last ends."""
    branches = [range(a, b) for a, b in itertools.pairwise(starts)]
    dearest = max(branches, key=lambda branch: tuple(map(formula.as_number, self.price(branch))))
    for branch in branches:
      if branch is not dearest:
        for i in branch:
          equation = self.equations[i]
          self.equations[i] = replace(equation, times=0, notes=(*equation.notes, "other branch"))

  def price(self, branch: range) -> tuple[Count, Count]:
    total = sum((self.equations[i].total for i in branch), NOTHING)
    return total.flops, total.bytes
