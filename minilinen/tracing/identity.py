"""May be skipped: which variable tree each run was on, the identity of models; the variables are in `rebuilt.py`.

A recording notes for each run the leaves of the variables that it was given and that it made. In a traced program
each leaf is one of its values (`traced`), in code that really runs an array (`arrays`): for both a number here, and
equal numbers are one variable. Runs with the same parameters are runs of one tree; an `init` makes a tree; a part of a
tree is `within` it; what was computed from another tree's leaves is `derived_from` it. So nothing is counted twice, and
two models of one class stay two.
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minilinen.tracing.equations.values import Values
from minilinen.tracing.events import Run
from minilinen.tracing.rebuilt import leaves
from minilinen.tracing.spec import Value, boxed

Place = tuple[str, ...]
"""A variable's place in its tree: collection, names of the path, name."""
Numbers = Mapping[Place, int]
"""A number for each leaf."""


@dataclass(frozen=True)
class VariableTree:
  """One variable tree: what the user would call a model's variables.

  Attributes:
    number: its place among the trees of the trace, in the order in which they were met.
    module: class of the module that was run on it, "" for a function of a scope.
    runs: the orders of the runs on it.
    origin: where it came from: "init" (also if a bound module made it), "argument", "computed" (in the traced
      function), "array" (which was there before), or "unknown".
    argument: the name of the argument that it was ("teacher").
    derived_from: numbers of the trees that its variables were computed from.
    within: the number of the tree that it is a part of, and the path of that part; None if it stands alone.
    elsewhere: variables that count elsewhere: those of another tree, and those computed from another's.
    stacked: variables that runs saw one slice of (under `vmap`, `scan`), with their whole specs.
    states: how many different values its variables had.
    inputs: of a traced function, the numbers of its inputs that are variables of this tree, each with the variable.
    known: whether it is known that all these runs were on it, and that no other was.
  """

  number: int
  module: str
  runs: tuple[int, ...]
  origin: str = "unknown"
  argument: str = ""
  derived_from: tuple[int, ...] = ()
  within: tuple[int, tuple[str, ...]] | None = None
  elsewhere: tuple[Place, ...] = ()
  stacked: tuple[tuple[Place, Value], ...] = ()
  states: int = 1
  inputs: tuple[tuple[int, Place], ...] = ()
  known: bool = True

  def counts(self, place: Place) -> bool:
    """Whether a variable is counted with this tree."""
    return not any(place == known[: len(place)] or known == place[: len(known)] for known in self.elsewhere)

  def __str__(self) -> str:
    """What it is called: its class, and the argument that it was if there was one."""
    return f"{self.module or 'variables'}{f' {self.argument!r}' if self.argument else ''}"


def implied_trees(runs: Iterable[Run]) -> tuple[VariableTree, ...]:
  """The trees of runs that say their trees, where nothing else is known of them."""
  by_tree: dict[int, list[Run]] = defaultdict(list)
  for run in runs:
    by_tree[run.tree].append(run)
  return tuple(
    VariableTree(n, its[0].module, tuple(r.order for r in its)) for n, its in sorted(by_tree.items())
  )


@dataclass(eq=False)
class Seen:
  """What is known of one run.

  Attributes:
    run: its draft, whose order is known later.
    given: for each of several trees that the run was on, numbers of the leaves that it was given; usually one.
    made: the numbers of the leaves that it handed back.
    makes: whether it makes a tree.
    is_known: whether the numbers are known, if it has leaves.
    trees: the number of the tree for each of `given`, in the end.
  """

  run: Any
  given: Sequence[Numbers]
  made: Numbers
  makes: bool
  is_known: bool = True
  trees: tuple[int, ...] = ()

  @property
  def module(self) -> str:
    return self.run.fields.get("module", "")

  @functools.cached_property
  def shape(self) -> Any:
    """Equal for runs whose variables could be of one model: by what the trace says of them."""
    return tuple((place, str(value)) for place, value in self._leaves())

  @functools.cached_property
  def form(self) -> Any:
    """The same without dtypes: a cast has the form of what was cast."""
    return tuple((place, str(getattr(boxed(value)[0], "shape", value))) for place, value in self._leaves())

  def _leaves(self) -> list[tuple[Place, Value]]:
    said = self.run.fields.get("result" if self.makes else "given", {})
    return sorted(leaves(said.get("params", said)), key=lambda leaf: leaf[0])


@dataclass(eq=False)
class Growing:
  """A tree in the making: the runs on it, and the leaves it had in each of its states."""

  number: int
  first: Seen
  origin: str
  runs: list[Any] = field(default_factory=list)
  states: list[Numbers] = field(default_factory=list)
  made: list[Numbers] = field(default_factory=list)
  latest: Numbers = field(default_factory=dict)
  known: bool = True
  doubtful: bool = False
  derived_from: tuple[int, ...] = ()
  within: tuple[int, tuple[str, ...]] | None = None
  elsewhere: set[Place] = field(default_factory=set)
  argument: str = ""
  stacked: list[tuple[Place, Value]] = field(default_factory=list)
  inputs: list[tuple[int, Place]] = field(default_factory=list)

  @property
  def module(self) -> str:
    return self.first.module

  @property
  def shape(self) -> Any:
    return self.first.shape

  @property
  def form(self) -> Any:
    return self.first.form

  def all_states(self) -> Iterable[Numbers]:
    return itertools.chain(self.states, self.made)

  def finished(self) -> VariableTree:
    """The tree as data; the records are numbered by now."""
    runs = tuple(dict.fromkeys(run.order for run in self.runs))
    return VariableTree(
      self.number, self.module, runs, self.origin, self.argument,
      self.derived_from, self.within, tuple(sorted(self.elsewhere)), tuple(self.stacked),
      max(1, len(self.states)), tuple(self.inputs), self.known,
    )  # fmt: skip


def makes_variables(run: Any) -> bool:
  """Whether a run that is given no variables makes them: an `init`, or that of a bound module which has some then."""
  name = run.fields.get("name")
  return name == "init" or (name == "bind" and bool(run.fields.get("result")))


Later = Callable[[Seen, Numbers, Sequence[Growing]], Growing | None]


def params_of(leaves: Numbers) -> Numbers:
  """The leaves that say which tree it is: the parameters, or all if there are none."""
  return {place: number for place, number in leaves.items() if place[0] == "params"} or leaves


def grow(runs: Iterable[Seen], values: Values | None = None, later: Later | None = None) -> list[Growing]:
  """The trees of these runs. Each run's draft learns the number of its tree.

  Args:
    runs: in their order.
    values: the values of the traced program; None if the code really ran.
    later: finds the tree whose later state a run's leaves are, if they are none that was seen before; None if
      nothing changes while it runs.
  """
  trees: list[Growing] = []
  runs, on = list(runs), list[tuple[Seen, Growing]]()
  same = values.equal if values is not None else None
  waiting = [seen for seen in runs if not seen.is_known and not (seen.makes and later)]
  for seen in runs:
    for given in seen.given or [{}] if seen not in waiting else ():
      has = seen.made if seen.makes else given  # of a bound module's the `init` around may have told already
      tree = None if seen.run.fields.get("name") == "init" else _tree_of(seen, has, trees, same)
      if tree is None and later and not seen.makes:
        tree = later(seen, given, trees)
      on.append((seen, tree or _new(seen, trees)))
      _add(on[-1][1], seen, given, same)
  for seen in waiting:
    alike = [tree for tree in trees if (tree.module, tree.shape) == (seen.module, seen.shape)]
    unclear = [tree for tree in alike if tree.doubtful] if len(alike) > 1 and not seen.makes else alike
    if len(unclear) == 1:
      unclear[0].known = unclear[0].known and seen.makes
    _add(unclear[0] if len(unclear) == 1 else _new(seen, trees), seen, {}, same)
  _number(trees, runs)
  for seen, tree in on:
    seen.trees = (*seen.trees, tree.number)
  _relate(trees, values)
  return trees


def _new(seen: Seen, trees: list[Growing]) -> Growing:
  tree = Growing(len(trees), seen, "init" if seen.makes else "unknown")
  tree.known = seen.is_known or seen.makes
  tree.doubtful = not seen.is_known
  trees.append(tree)
  return tree


def _add(tree: Growing, seen: Seen, given: Numbers, same: Sequence[int] | None) -> None:
  """Adds a run to a tree."""
  tree.runs.append(seen.run)
  tree.latest = seen.made if seen.makes else given or tree.latest
  if seen.makes:
    tree.states.extend([seen.made] if seen.made else [])
  elif given:
    tree.doubtful = False
    if not any(_holds(state, params_of(given), same) for state in tree.states):
      tree.states.append(given)
    elif not any(given.items() <= state.items() for state in tree.all_states()):
      tree.made.append(given)
  if seen.made and not seen.makes:
    tree.made.append(seen.made)


def _number(trees: list[Growing], runs: Sequence[Seen]) -> None:
  """Numbers the trees by the first run on each, and tells each run its tree; of several the first."""
  order = {seen.run: at for at, seen in enumerate(runs)}
  for tree in trees:
    tree.runs.sort(key=order.__getitem__)
  trees.sort(key=lambda tree: order[tree.runs[0]])
  for number, tree in enumerate(trees):
    tree.number = number
  for tree in reversed(trees):
    for run in tree.runs:
      run.fields["tree"] = tree.number


def _tree_of(
  seen: Seen, given: Numbers, trees: Sequence[Growing], same: Sequence[int] | None
) -> Growing | None:
  """The tree that these leaves are of, if it was met before."""
  wanted = params_of(given)
  if not wanted:
    return next((t for t in trees if t.module == seen.module and not any(t.all_states())), None)
  for equal in (None, same) if same is not None else (None,):
    for tree in trees:
      if any(_holds(state, wanted, equal) for state in tree.all_states()):
        return tree
  return None


def _holds(state: Numbers, wanted: Numbers, same: Sequence[int] | None) -> bool:
  """Whether a state has all these leaves; `same` says which numbers are equal."""
  if same is None:
    return wanted.items() <= state.items()
  return all(place in state and same[state[place]] == same[number] for place, number in wanted.items())


# How trees belong together.


def _relate(trees: Sequence[Growing], values: Values | None) -> None:
  """Finds which trees are parts of others, share variables with them, or were computed from them."""
  holders: dict[int, list[tuple[Growing, Place]]] = defaultdict(list)
  for tree in trees:
    for state in tree.all_states():
      for place, number in state.items():
        holders[number].append((tree, place))
  for tree in trees:
    tree.within = _within(tree, tree.states[0], holders) if tree.states else None
  for tree in trees:
    if tree.within is not None:
      tree.elsewhere.add(())
    elif tree.states:
      for place, number in tree.states[0].items():
        if any(other.number < tree.number and other.within is None for other, _ in holders[number]):
          tree.elsewhere.add(place)
  if values is not None:
    _derive(trees, values)
  for tree in trees:
    known = [t for t in trees if t is not tree and not t.doubtful]
    if tree.doubtful and any((t.module, t.shape) == (tree.module, tree.shape) for t in known):
      tree.elsewhere.add(())


def _within(
  tree: Growing, leaves: Numbers, holders: Mapping[int, Sequence[tuple[Growing, Place]]]
) -> tuple[int, tuple[str, ...]] | None:
  """The larger tree that has all these leaves below one path."""
  if not leaves:
    return None
  first, number = next(iter(leaves.items()))
  for other, place in holders[number]:
    path = place[1 : len(place) - len(first) + 1]
    below = (place[0], *path, *first[1:]) == place
    if other is not tree and path and below:
      for state in other.all_states():
        if all(state.get((p[0], *path, *p[1:])) == n for p, n in leaves.items()):
          return other.number, path
  return None


def _derive(trees: Sequence[Growing], values: Values) -> None:
  """Finds trees whose variables were computed from another tree's: from which directly, of each leaf the first."""
  leaf_of: dict[int, int] = {}
  for tree in trees:
    for state in tree.all_states():
      for number in state.values():
        leaf_of.setdefault(number, 1 << tree.number)
  if len(trees) < 2:
    return
  reach: list[int] = []
  for sources in values.sources:
    found = 0
    for source in sources:
      found |= leaf_of.get(source) or reach[source]
    reach.append(found)
  for tree in trees:
    if tree.origin != "init" and tree.states and tree.within is None:
      from_others = {p: reach[n] & ~(1 << tree.number) for p, n in params_of(tree.states[0]).items()}
      tree.elsewhere.update(place for place, others in from_others.items() if others)
      together = 0
      for others in from_others.values():
        together |= others
      near = sorted(
        (t for t in trees if together >> t.number & 1),
        key=lambda t: (t.module, t.shape) != (tree.module, tree.shape),
      )
      tree.derived_from = tuple(t.number for t in near)
      if near and tree.elsewhere >= from_others.keys():
        tree.elsewhere = {()}
