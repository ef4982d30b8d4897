"""May be skipped: what a run costs, module by module.

`Trace.cost` adds up the equations of the trace's program by the calls that they stand in, and the parameters of each
variable tree once. A `Cost` is the account of one module, with those of its submodules inside; the one at the top is
that of the whole function, and what it owns itself is what the function did outside of all modules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from minilinen.tracing.equations import formula
from minilinen.tracing.equations.phases import PHASES
from minilinen.tracing.equations.program import EITHER
from minilinen.tracing.equations.work import COUNTS, NOTHING, Count, Work
from minilinen.tracing.errors import NoSuchCostError
from minilinen.tracing.events import Path


@dataclass(frozen=True)
class Share:
  """A module's own share, or all of a module with what is below it.

  Attributes:
    init: the work of initializers, which make parameters and other variables.
    forward: the work of the forward pass.
    backward: the work of the backward pass, also what is computed beside the forward pass for it alone; without what
      is computed again.
    recomputed: what `remat` computes again in the backward pass.
    parameters: how many numbers the parameters have; a shared module's count once.
    notes: how many equations have which note: "estimate", "unknown pallas_call", "per iteration" (they run once for
      each iteration of a `while`), "other branch" (of a `cond`, where a dearer one counts), "either model" (JAX traced
      a function once for several models, and it is not known which these are of: they count with the whole only).
  """

  init: Work = NOTHING
  forward: Work = NOTHING
  backward: Work = NOTHING
  recomputed: Work = NOTHING
  parameters: Count = 0
  notes: Mapping[str, int] = field(default_factory=dict)

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

  @classmethod
  def of(cls, works: Iterable[Work], parameters: Count, notes: Mapping[str, int]) -> Share:
    """From the work of each phase."""
    init, forward, backward, recomputed = works
    return cls(init, forward, backward, recomputed, parameters, notes)

  def __add__(self, other: Share) -> Share:
    works = (getattr(self, phase) + getattr(other, phase) for phase in PHASES)
    notes = Counter(self.notes) + Counter(other.notes) if other.notes else self.notes
    return Share.of(works, self.parameters + other.parameters, dict(notes))

  def at(self, dimensions: Mapping[str, int]) -> Share:
    """The same with numbers in the place of symbolic dimensions."""

    def numbers(work: Work) -> Work:
      return Work(*(formula.at(getattr(work, name), dimensions) for name in COUNTS))

    works = (numbers(getattr(self, phase)) for phase in PHASES)
    return Share.of(works, formula.at(self.parameters, dimensions), self.notes)


@dataclass(frozen=True, repr=False)
class Cost:
  """What a module costs. `viz.tabulate(trace, compute_flops=True)` draws it.

  Attributes:
    tree: the number of the model's variable tree, -1 for the whole function.
    path: the module's path, `()` for the root of a model and for the whole function.
    module: its class; the function's name at the top.
    own: the share of the module itself. Those of all modules add up to that of the whole function.
    total: what it costs to call it: the same with everything below it, and with the modules that it called elsewhere.
    inside: the costs of its submodules; at the top those of the models that the function ran.
  """

  tree: int
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
    words = [f"{_text(self.total.parameters)} parameters", f"{_text(self.flops)} FLOPs"]
    phases = [(p, getattr(self.total, p).flops) for p in PHASES if getattr(self.total, p) != NOTHING]
    words += [f"{phase} {_text(flops)}" for phase, flops in phases] if len(phases) > 1 else []
    words += [f"{_NOTES.get(note, note)} (equations: {n})" for note, n in self.total.notes.items()]
    return f"<Cost of {name}: {', '.join(words)}>"

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
    modules = [cost for depth, cost in self.walk() if cost.tree >= 0]
    for cost in modules:
      if cost.path == wanted:
        return cost
    raise NoSuchCostError.of(wanted.bare, (cost.path.bare for cost in modules))

  def of(self, tree: int, path: Path) -> Cost:
    """The cost of a module of one model.

    Raises:
      NoSuchCostError: if there is none.
    """
    found = next((c for _, c in self.walk() if (c.tree, c.path) == (tree, path)), None)
    if found is None:
      raise NoSuchCostError.of(path.bare, (c.path.bare for _, c in self.walk() if c.tree == tree))
    return found

  def at(self, **dimensions: int) -> Cost:
    """The same with numbers in the place of symbolic dimensions.

    Raises:
      DimensionMissingError: if a dimension has none.
    """
    rows = [
      (d, c.tree, c.path, c.module, c.own.at(dimensions), c.total.at(dimensions)) for d, c in self.walk()
    ]
    return nested_costs(rows)


_NOTES = {
  "estimate": "estimated",
  "per iteration": "one iteration of a while loop counted",
  "other branch": "not counted, as another branch is dearer",
  EITHER: "of one model or another, not known",
}


def _text(count: Count) -> str:
  return f"{count:,}" if isinstance(count, int) else str(count)


Row = tuple[int, int, Path, str, Share, Share]


def nested_costs(rows: Sequence[Row]) -> Cost:
  """The costs of rows that stand depth first."""
  waiting: dict[int, list[Cost]] = {}
  for depth, tree, path, module, own, total in reversed(rows):
    inside = tuple(reversed(waiting.pop(depth + 1, ())))
    waiting.setdefault(depth, []).append(Cost(tree, path, module, own, total, inside))
  return waiting[0][0]
