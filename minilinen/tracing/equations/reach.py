"""May be skipped: what never reaches the output of a run (inputs, modules, results of loops and transforms).

`Trace.unused` follows the equations backwards from the outputs, into and out of every body. What is not met on the
way could be left out and the result would be the same: a parameter that is passed in and not used, a module whose
output is thrown away, the stacked outputs of a scan that nobody reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from minilinen.tracing.equations.program import Equation, Owner, Program
from minilinen.tracing.events import Call, Path, Record
from minilinen.tracing.spec import Value


@dataclass(frozen=True)
class Dropped:
  """A result of a loop, branch or jitted function that does not reach the output.

  Attributes:
    path: the module whose boundary it is.
    primitive: "scan", "jit", "cond" ...
    index: which of its results.
    value: the result's spec.
  """

  path: Path
  primitive: str
  index: int
  value: Value


@dataclass(frozen=True)
class Unused:
  """What does not reach the output.

  Attributes:
    inputs: names of inputs of the function ("variables/params/Dense_0/kernel").
    modules: paths of modules that were called, and none of whose equations counts; of nested ones the outermost.
    results: results of loops, branches and jitted functions.
    of_rules: those of the inputs that go into a function with a derivative rule of its own, which is used: its backward
      pass may need them.
  """

  inputs: tuple[str, ...]
  modules: tuple[Path, ...]
  results: tuple[Dropped, ...]
  of_rules: tuple[str, ...] = ()

  def __bool__(self) -> bool:
    return bool(self.inputs or self.modules or self.results)


def unused(program: Program, records: Sequence[Record]) -> Unused:
  """What does not reach the output of a program.

  Args:
    program: the equations.
    records: all that happened, depth first.
  """
  live = _reaching(program, program.outputs)
  used = [e for e in program.equations if any(v in live for v in e.outputs)]
  inputs = {name: value for name, value in zip(program.names, program.inputs) if value not in live}
  into_rules = (
    value for e in used if e.primitive.startswith(_RULES) for value in e.inputs if value not in live
  )
  for_rules = _reaching(program, into_rules)
  of_rules = tuple(name for name, value in inputs.items() if value in for_rules)
  return Unused(
    tuple(inputs), _modules(program, used, records), tuple(_results(used, program, live)), of_rules
  )


_RULES = ("custom_vjp_call", "custom_jvp_call")


def _reaching(program: Program, goals: Iterable[int]) -> set[int]:
  """The values that some others depend on, and these."""
  sources: dict[int, list[Sequence[int]]] = {}
  for equation in program.equations:
    for inner, outer in equation.leaves:
      sources.setdefault(outer, []).append((inner,))
    for outer, inner in equation.enters:
      sources.setdefault(inner, []).append((outer,))
    if not (equation.enters or equation.leaves):
      for value in equation.outputs:
        sources.setdefault(value, []).append(equation.inputs)
  live: set[int] = set()
  waiting = list(goals)
  while waiting:
    value = waiting.pop()
    if value not in live:
      live.add(value)
      for group in sources.get(value, ()):
        waiting.extend(group)
  return live


def _modules(program: Program, used: Sequence[Equation], records: Sequence[Record]) -> tuple[Path, ...]:
  """The modules with equations of which none is used, without those inside of others."""
  owning = _with_parents(e.owner for e in program.equations)
  counting = _with_parents(e.owner for e in used)
  called = {record.path for record in records if isinstance(record, Call)}
  idle = {(tree, path) for tree, path in owning - counting if path in called}
  outermost = ((tree, path) for tree, path in idle if not (path and (tree, path[:-1]) in idle))
  return tuple(dict.fromkeys(path for _, path in sorted(outermost)))


def _with_parents(owners: Iterable[Owner]) -> set[tuple[int, Path]]:
  """Modules and those around them, as tree and path."""
  found: set[tuple[int, Path]] = set()
  for owner in set(owners):
    if owner.run >= 0:
      found |= {(owner.tree, Path(owner.path[:end])) for end in range(len(owner.path) + 1)}
  return found


def _results(used: Sequence[Equation], program: Program, live: set[int]) -> list[Dropped]:
  return [
    Dropped(e.owner.path, e.primitive, index, program.values[value])
    for e in used
    if e.leaves
    for index, value in enumerate(e.outputs)
    if value not in live
  ]
