"""What a run costs, module by module.

`Trace.cost` adds up the equations of the trace's program by their owners, and the parameters by their paths. A
`Cost` is the account of one module, with those of its submodules inside; the one at the top is that of the whole
function, and what it owns itself is what the function did outside of all modules.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minilinen import spelling
from minilinen.tracing import tree
from minilinen.tracing.equations import formula
from minilinen.tracing.equations.program import OUTSIDE, PHASES, Equation, Owner
from minilinen.tracing.equations.work import COUNTS, NOTHING, Count, Work
from minilinen.tracing.events import Call, Path, Record, Run
from minilinen.tracing.spec import Spec


class NoSuchCostError(KeyError):
  """A module's cost was asked for, and there is no such module."""

  def __init__(self, path: str, known: Iterable[str]):
    near = spelling.near(path, known, 3)
    mend = f"The nearest are {', '.join(map(repr, near))}." if near else "`cost.walk()` lists all modules."
    super().__init__(f"no module at {path!r} took part in this cost. {mend}")

  def __str__(self) -> str:
    return self.args[0]


@dataclass(frozen=True)
class Share:
  """A module's own share, or all of a module with what is below it.

  Attributes:
    init: the work of initializers, which make parameters and other variables.
    forward: the work of the forward pass.
    backward: the work of the backward pass, without what is computed again.
    recomputed: what `remat` computes again in the backward pass.
    parameters: how many numbers the parameters have; a shared module's count once.
    marks: how many equations have which mark: "estimate", "unknown pallas_call", "per iteration" (they run once for
      each iteration of a `while`), "other branch" (of a `cond`, where a dearer one counts).
  """

  init: Work = NOTHING
  forward: Work = NOTHING
  backward: Work = NOTHING
  recomputed: Work = NOTHING
  parameters: Count = 0
  marks: Mapping[str, int] = field(default_factory=dict)

  @property
  def running(self) -> Work:
    """The work of all phases but `init`."""
    return self.forward + self.backward + self.recomputed

  @property
  def work(self) -> Work:
    """The work of all phases."""
    return self.init + self.running

  @property
  def flops(self) -> Count:
    """The FLOPs of all phases but `init`."""
    return self.running.flops

  def __add__(self, other: Share) -> Share:
    works = (getattr(self, phase) + getattr(other, phase) for phase in PHASES)
    marks = Counter(self.marks) + Counter(other.marks) if other.marks else self.marks
    return _share(works, self.parameters + other.parameters, dict(marks))

  def at(self, dimensions: Mapping[str, int]) -> Share:
    """The same with numbers in the place of symbolic dimensions."""

    def numbers(work: Work) -> Work:
      return Work(*(formula.at(getattr(work, name), dimensions) for name in COUNTS))

    works = (numbers(getattr(self, phase)) for phase in PHASES)
    return _share(works, formula.at(self.parameters, dimensions), self.marks)


def _share(works: Iterable[Work], parameters: Count, marks: Mapping[str, int]) -> Share:
  init, forward, backward, recomputed = works
  return Share(init, forward, backward, recomputed, parameters, marks)


@dataclass(frozen=True, repr=False)
class Cost:
  """What a module costs. `viz.tabulate(trace, compute_flops=True)` draws it.

  Attributes:
    run: the order of the `Run` in the trace, -1 for the whole function.
    path: the module's path, `()` for the root of a model and for the whole function.
    module: its class; the function's name at the top.
    own: the share of the module itself.
    total: the same with everything below it.
    inside: the costs of its submodules; at the top those of the models that the function ran.
  """

  run: int
  path: Path
  module: str
  own: Share
  total: Share
  inside: tuple[Cost, ...] = ()

  @property
  def flops(self) -> Count:
    """All FLOPs but those of initializers."""
    return self.total.flops

  def __repr__(self) -> str:
    name = " ".join(filter(None, (self.module, self.path.bare)))
    told = [f"{_text(self.total.parameters)} parameters", f"{_text(self.flops)} FLOPs"]
    phases = [(p, getattr(self.total, p).flops) for p in PHASES if getattr(self.total, p) != NOTHING]
    told += [f"{phase} {_text(flops)}" for phase, flops in phases] if len(phases) > 1 else []
    told += [f"{n} × {mark}" for mark, n in self.total.marks.items()]
    return f"<Cost of {name}: {', '.join(told)}>"

  def walk(self) -> Iterator[tuple[int, Cost]]:
    """This cost and all those inside, depth first, each with its depth."""
    stack: list[tuple[int, Cost]] = [(0, self)]
    while stack:
      depth, cost = stack.pop()
      yield depth, cost
      stack.extend((depth + 1, inner) for inner in reversed(cost.inside))

  def __getitem__(self, path: str | Iterable[str]) -> Cost:
    """The cost of the module at a path, in the first model that has one there; "" is the root of a model.

    Raises:
      NoSuchCostError: if there is none.
    """
    wanted = Path.of(path)
    modules = [cost for depth, cost in self.walk() if cost.run >= 0]
    for cost in modules:
      if cost.path == wanted:
        return cost
    raise NoSuchCostError(wanted.bare, (cost.path.bare for cost in modules))

  def at(self, **dimensions: int) -> Cost:
    """The same with numbers in the place of symbolic dimensions.

    Raises:
      DimensionMissingError: if a dimension has none.
    """
    return _nested([(d, c.run, c.path, c.module, c.own.at(dimensions)) for d, c in self.walk()])


def _text(count: Count) -> str:
  return f"{count:,}" if isinstance(count, int) else str(count)


def cost_of(name: str, equations: Iterable[Equation], records: Sequence[Record]) -> Cost:
  """The costs of a function.

  Args:
    name: the function's.
    equations: all that it led to.
    records: all that happened, depth first.
  """
  accounts = _accounts(name, records)
  for equation in equations:
    owner = equation.owner if equation.owner in accounts else OUTSIDE
    accounts[owner].book(equation)
  _book_parameters(accounts, records)
  order = sorted(accounts, key=lambda owner: (owner.run, accounts[owner].place))
  return _nested([(accounts[o].depth, o.run, o.path, accounts[o].module, accounts[o].share()) for o in order])


class _Account:
  """One module's own costs in the making."""

  def __init__(self, module: str, depth: int, place: tuple[int, ...]):
    self.module = module
    self.depth = depth
    self.place = place
    self.counts = {phase: [0] * len(COUNTS) for phase in PHASES}
    self.parameters: Count = 0
    self.marks: Counter[str] = Counter()

  def book(self, equation: Equation) -> None:
    work = equation.total
    counts = self.counts[equation.phase]
    for i, name in enumerate(COUNTS):
      counts[i] = counts[i] + getattr(work, name)
    for mark in equation.marks:
      self.marks[f"{mark} {equation.primitive}" if mark == "unknown" else mark] += 1

  def share(self) -> Share:
    works = (Work(*self.counts[phase]) for phase in PHASES)
    return _share(works, self.parameters, dict(self.marks))


def _accounts(name: str, records: Sequence[Record]) -> dict[Owner, _Account]:
  """An account for each module that was called, and one for the function."""
  accounts = {OUTSIDE: _Account(name, 0, ())}
  run_of: dict[int, int] = {-1: -1}
  for record in records:
    run = run_of[record.order] = record.order if isinstance(record, Run) else run_of[record.span]
    if isinstance(record, Call) and Owner(run, record.path) not in accounts:
      above = _nearest(accounts, Owner(run, record.path[:-1])) if record.path else accounts[OUTSIDE]
      place = (*above.place, record.order)
      accounts[Owner(run, record.path)] = _Account(record.module, above.depth + 1, place)
  return accounts


def _nearest(accounts: Mapping[Owner, _Account], owner: Owner) -> _Account:
  """The account of a module, or of the nearest around it that has one."""
  path = owner.path
  while Owner(owner.run, path) not in accounts and path:
    path = path[:-1]
  return accounts.get(Owner(owner.run, path), accounts[OUTSIDE])


def _book_parameters(accounts: Mapping[Owner, _Account], records: Sequence[Record]) -> None:
  """Adds the parameters of each model; of several runs of one model, only the first has them."""
  sizes = formula.Formulas()
  seen: list[Any] = []
  for run in (r for r in records if isinstance(r, Run)):
    params = tree.variable_tree((run,)).get("params")
    if params is None or (run.module, params) in seen:
      continue
    seen.append((run.module, params))
    for place, spec in tree.leaves(params):
      if isinstance(spec, Spec):
        account = _nearest(accounts, Owner(run.order, Path(place[:-1])))
        account.parameters += math.prod(map(sizes.parse, spec.shape))


def _nested(rows: Sequence[tuple[int, int, Path, str, Share]]) -> Cost:
  """The costs of rows that stand depth first."""
  waiting: dict[int, list[Cost]] = {}
  for depth, run, path, module, own in reversed(rows):
    inside = tuple(reversed(waiting.pop(depth + 1, ())))
    total = sum((cost.total for cost in inside), own)
    waiting.setdefault(depth, []).append(Cost(run, path, module, own, total, inside))
  return waiting[0][0]
