"""May be skipped: the equations of a trace, and which module call each of them belongs to.

`nn.trace` keeps the jaxpr of the run. When somebody asks, `reading` reads it once, into plain data: a flat list of
equations, those in the bodies of loops, branches and jitted functions too, each with its owner, its cost and how often
it runs. Costs, owners, the graph and what never reaches the output are functions of this list.

An equation belongs to the innermost call whose mark (`marks`) stands in its names, and to the module that was called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from minilinen.tracing.equations.work import Count, Work
from minilinen.tracing.events import Call, Record, Run
from minilinen.tracing.paths import ROOT, Path
from minilinen.tracing.source import Source
from minilinen.tracing.spec import Value

T = TypeVar("T")
Many = Annotated[tuple[T, ...], "many"]
"""A tuple of so many that a file says once what comes again."""


@dataclass(frozen=True, slots=True)
class Owner:
  """The module that an equation belongs to.

  Attributes:
    run: the order of the `Run` in the trace, -1 for what stands outside of all modules.
    path: the module's path in that run.
    tree: the number of the variable tree that the run was on there, -1 if it is not known: JAX may have traced a
      function once and run it on several.
  """

  run: int = -1
  path: Path = ROOT
  tree: int = -1


OUTSIDE = Owner()


def owners_of(records: Iterable[Record]) -> dict[int, Owner]:
  """The module of each call, by the call's order.

  Args:
    records: all that happened, depth first.
  """
  runs, owners = {-1: (-1, -1)}, {}
  for record in records:
    is_run = isinstance(record, Run)
    runs[record.order] = (record.order, record.tree) if is_run else runs[record.span]
    if isinstance(record, Call):
      run, tree = runs[record.order]
      owners[record.order] = Owner(run, record.path, tree)
  return owners


EITHER = "either model"


@dataclass(frozen=True, slots=True)
class Equation:
  """One equation of the jaxpr, where it stands.

  The body of a function that is called twice stands in the list twice.

  Attributes:
    primitive: its name ("dot_general").
    name: of a call, that of the function ("relu").
    owner: the module it belongs to.
    calls: the calls it stands in by their orders, outermost first. A body that JAX traced for another call stands
      in the calls that were seen in it and in those around this place, not in those around the first; if it was
      traced in another run only in those around this place.
    source: the user's line that led to it. Equations are compared without it.
    phase: "init" for what initializers do, "forward", "backward" (also of what is computed beside the forward pass for
      the backward one alone), or "recomputed" for what `remat` computes again in the backward pass.
    times: how often it runs: the lengths of all loops around it.
    work: what it costs to run it once; nothing if it has bodies, whose equations follow it.
    inputs, outputs: numbers of values of the program; -1 is a literal.
    inside: the number of the equation in whose body it stands, -1 at the top.
    enters, leaves: of an equation with bodies, (value, inner value) for what goes into a body, from outside or
      from the run before, and (value, outer value) for what the results depend on.
    notes: what is to be known of its cost: "estimate", "unknown", "per iteration" (of a `while`), "other branch"
      (of a `cond`: a dearer one counts, and this one runs 0 times), "either model" (it is not known which it is of).
  """

  primitive: str
  owner: Owner
  phase: str
  times: Count
  work: Work
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]
  inside: int = -1
  enters: tuple[tuple[int, int], ...] = ()
  leaves: tuple[tuple[int, int], ...] = ()
  notes: tuple[str, ...] = ()
  name: str = ""
  calls: tuple[int, ...] = ()
  source: Source | None = field(default=None, compare=False)

  @property
  def call(self) -> int:
    """The order of the call that it belongs to, -1 if it stands outside of all modules."""
    return self.calls[-1] if self.calls else -1

  @property
  def total(self) -> Work:
    """What all its runs cost."""
    return self.work * self.times


@dataclass(frozen=True)
class Program:
  """All equations of a trace.

  Attributes:
    equations: every equation, one with bodies before what is in them.
    values: the spec of each value.
    inputs, outputs: numbers of the values that go in and out; -1 is a literal.
    names: what each input is in the function's arguments ("variables/params/Dense_0/kernel").
    results: what each output is in the function's result ("1/params/Dense_0/kernel").
    of_inits: of each `init`, its order in the trace and a value that its function returned, which `init` itself may
      hand to nobody.
  """

  equations: Many[Equation]
  values: Many[Value]
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]
  names: tuple[str, ...]
  results: tuple[str, ...]
  of_inits: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class OfRun:
  """What is known of a run at a place in a jaxpr.

  Attributes:
    run: its order.
    before: the number of the equation before which it holds.
    returned: what an `init` returned there, as JAX's variables; None where a run is given its variables.
  """

  run: int
  before: int
  returned: tuple[Any, ...] | None = None


@dataclass(frozen=True, eq=False)
class Unread:
  """The equations of a trace as JAX wrote them down, until somebody asks for the program; `reading` reads them.

  Attributes:
    jaxpr: without its constants.
    marked: the order of the call that each mark stands for.
    names, results: the names of the inputs and outputs.
    of_runs: by the `id` of a jaxpr what is known in it of runs.
    shared: of a run that JAX traced once for several trees, its tree for each time that it is given its variables.
  """

  jaxpr: Any
  marked: tuple[int, ...]
  names: tuple[str, ...]
  results: tuple[str, ...]
  of_runs: Mapping[int, Sequence[OfRun]] = field(default_factory=dict)
  shared: Mapping[int, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Stored:
  """The equations of a trace as they stand in a file, looked over, until somebody asks for the program.

  Attributes:
    make: makes it.
  """

  make: Callable[[], Program]
