"""May be skipped: adds up the equations of a program by the calls that they stand in: the costs of every module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from minilinen.tracing.equations.cost import Cost, Row, Share, nested_costs
from minilinen.tracing.equations.phases import PHASES
from minilinen.tracing.equations.program import EITHER, Equation
from minilinen.tracing.equations.work import COUNTS, Count, Work
from minilinen.tracing.events import Path
from minilinen.tracing.spec import Spec
from minilinen.tracing.uncollected import uncollected


class Module(Protocol):
  """What is to be known of a module: its address, its calls and its variables. `models.ModuleNode` is one."""

  @property
  def tree(self) -> int: ...
  @property
  def path(self) -> Path: ...
  @property
  def calls(self) -> Sequence[Any]: ...
  @property
  def variables(self) -> Mapping[str, Mapping[str, Any]]: ...
  def counts(self, collection: str, name: str) -> bool: ...


@uncollected()
def cost_of(name: str, equations: Iterable[Equation], models: Iterable[Iterable[Module]]) -> Cost:
  """The costs of a function.

  Args:
    name: the function's.
    equations: all that it led to.
    models: the modules of each that ran in it.
  """
  whole = _Account(-1, Path(), name, 0)
  accounts = [whole]
  of_call: dict[int, list[_Account]] = {}
  for model in models:
    accounts += _accounts(model, whole, of_call)
  groups: dict[tuple[tuple[int, ...], int], _Sum] = {}
  for equation in equations:
    groups.setdefault((equation.calls, equation.owner.tree), _Sum()).book(equation)
  for (calls, tree), group in groups.items():
    callers = [account for call in calls for account in _called(of_call.get(call, ()), tree)] or [whole]
    if EITHER in group.notes:
      candidates = {a for call in calls for each in of_call.get(call, ()) for a in each.with_those_around()}
      for account in candidates - {whole}:
        account.total.notes[EITHER] += group.notes[EITHER]
    callers[-1].own.add(group)
    for account in dict.fromkeys(above for caller in callers for above in caller.with_those_around()):
      account.total.add(group)
  return nested_costs([account.row() for account in accounts])


def _called(accounts: Sequence[_Account], tree: int) -> Sequence[_Account]:
  """Whose a call is there: of several models, which JAX traced once, the one with this tree, if it is known."""
  return accounts if len(accounts) == 1 else [account for account in accounts if account.tree == tree]


class _Sum:
  """Work and notes of equations, added up."""

  def __init__(self) -> None:
    self.counts = {phase: [0] * len(COUNTS) for phase in PHASES}
    self.notes: Counter[str] = Counter()

  def book(self, equation: Equation) -> None:
    work = equation.total
    counts = self.counts[equation.phase]
    for i, name in enumerate(COUNTS):
      counts[i] = counts[i] + getattr(work, name)
    for note in equation.notes:
      self.notes[f"{note} {equation.primitive}" if note == "unknown" else note] += 1

  def add(self, other: _Sum) -> None:
    for phase, counts in self.counts.items():
      for i, count in enumerate(other.counts[phase]):
        counts[i] = counts[i] + count
    self.notes += other.notes

  def share(self, parameters: Count) -> Share:
    works = (Work(*self.counts[phase]) for phase in PHASES)
    return Share.of(works, parameters, dict(self.notes))


class _Account:
  """One module's costs in the making.

  Attributes:
    around: the account of the nearest module around it that was called.
    own, total: what it does itself, and with all that it calls.
    parameters: how many it has itself; all_parameters: with those below.
  """

  def __init__(self, tree: int, path: Path, module: str, depth: int, around: _Account | None = None):
    self.tree = tree
    self.path = path
    self.module = module
    self.depth = depth
    self.around = around
    self.own, self.total = _Sum(), _Sum()
    self.parameters: Count = 0
    self.all_parameters: Count = 0

  def with_those_around(self) -> Iterator[_Account]:
    account: _Account | None = self
    while account is not None:
      yield account
      account = account.around

  def row(self) -> Row:
    own, total = self.own.share(self.parameters), self.total.share(self.all_parameters)
    return (self.depth, self.tree, self.path, self.module, own, total)


def _accounts(model: Iterable[Module], whole: _Account, of_call: dict[int, list[_Account]]) -> list[_Account]:
  """An account for each module of a model that was called, depth first; `of_call` learns whose each call is."""
  found: dict[tuple[str, ...], _Account] = {}
  for node in model:
    path = node.path
    above = next((found[path[:end]] for end in range(len(path) - 1, -1, -1) if path[:end] in found), whole)
    if node.calls:
      account = _Account(node.tree, path, node.calls[0].module, above.depth + 1, above)
      found[path] = account
      for call in node.calls:
        of_call.setdefault(call.order, []).append(account)
    else:
      account = above
    for name, value in node.variables.get("params", {}).items():
      if isinstance(value, Spec) and node.counts("params", name):
        size = value.size
        account.parameters += size
        for each in account.with_those_around():
          each.all_parameters += size
  return list(found.values())
