"""May be skipped: variable trees in code that really runs: the arrays themselves say which run was on which tree.

The same arrays are the same tree. New arrays of the same class and structure are a later state of a tree (a training
loop's next parameters) if they did not exist when the tree's last run began, and no run ever uses its older ones again.
Where that may be otherwise, since other arrays would do as well, the tree is not `known`. So each run looks at which
arrays there are. What was made inside of a function that is differentiated, in which the tree ran, was computed from
it. Nothing here keeps an array alive.
"""

from __future__ import annotations

import gc
import itertools
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from minilinen import jax_internals
from minilinen.tracing.equations.leaves import Place, leaves_of, repeating_keys, root_keys
from minilinen.tracing.identity import Growing, Numbers, Seen, grow, makes_variables, params_of
from minilinen.tracing.rebuilt import leaves
from minilinen.tracing.spec import boxed, spec_of


@dataclass(eq=False)
class Ran:
  """A run in code that really runs.

  Attributes:
    run: its draft.
    time: how many runs began before it, and itself.
    given, made: the number of each leaf that is an array.
    is_known: whether all leaves are; what was computed inside of `jax.jit` is not.
    traces: numbers of the transforms that the leaves go through.
    is_differentiated: whether one of these is `jax.grad` or the like.
    fresh: how many arrays of a shape there are that were not there when the run before it began.
    stacks: by the size of their first axis, how many arrays there are of a shape behind it: perhaps stacked variables.
  """

  run: Any
  time: int
  given: dict[Place, int]
  is_known: bool
  traces: frozenset[int] = frozenset()
  is_differentiated: bool = False
  fresh: Counter[Any] = field(default_factory=Counter)
  stacks: dict[Any, Counter[Any]] = field(default_factory=dict)
  made: dict[Place, int] = field(default_factory=dict)


class Arrays:
  """The arrays that were seen during a recording, each with a number, and the runs on them.

  Attributes:
    runs: the runs, in order.
    born: for each array the time of the run at whose beginning it was there first, 0 if it was there before the
      recording, None if nobody knows.
    shapes: the shape and dtype of each.
    died: for variables the time of the run at whose beginning they were gone first.
    passed: the arguments of each jitted function that is being traced, the outermost first.
  """

  def __init__(self, looks: bool = True) -> None:
    self.passed: list[Sequence[Any]] = []
    self.runs: list[Ran] = []
    self.born: list[int | None] = []
    self.shapes: list[Any] = []
    self._numbers: dict[int, tuple[weakref.ref[Any], int]] = {}
    self.died: dict[int, int] = {}
    self._roots: dict[int, tuple[weakref.ref[Any], bytes]] = {}
    self._root_numbers: dict[Any, int] = {}
    self._used: dict[int, weakref.ref[Any]] = {}
    self._living: set[int] = set()
    self._collected = 0
    self._traces: dict[int, tuple[weakref.ref[Any], int]] = {}
    self._count = itertools.count()
    for array in jax.live_arrays() if looks else ():
      self._number(array, 0)

  def begin(self, run: Any, variables: Any, rngs: Any) -> None:
    """Notes the variables and the root keys that a run is given."""
    time = len(self.runs) + 1
    gone = {number for number in self._living if not _is_there(self._used[number])}
    self._living -= gone
    self.died.update(dict.fromkeys(gone, time))
    fresh, stacks = Counter[Any](), defaultdict[Any, Counter[Any]](Counter)
    for array in jax.live_arrays():
      number = self._number(array, time)
      stacks[array.shape[:1]][array.shape[1:], array.dtype] += 1
      if self.born[number] == time:
        fresh[self.shapes[number]] += 1
    given_leaves = list(leaves_of(variables))
    given = self._numbers_of(given_leaves)
    is_known = len(given) == len({place for place, _ in given_leaves})
    traces = {id(trace): trace for _, leaf in given_leaves for trace in jax_internals.traces_behind(leaf)}
    names = {jax_internals.transform_of(trace) for trace in traces.values()}
    numbers = frozenset(map(self._number_of_trace, traces.values()))
    is_differentiated = not names.isdisjoint(("jax.grad", "jax.jvp"))
    self.runs.append(Ran(run, time, given, is_known, numbers, is_differentiated, fresh, stacks))
    run.set(roots=self._roots_of(root_keys(rngs)), repeats=repeating_keys(rngs, self.passed))

  def end(self, run: Any, variables: Any) -> None:
    """Notes the variables that a run hands back, or has besides by now."""
    ran = next(ran for ran in reversed(self.runs) if ran.run is run)
    ran.made.update(self._numbers_of(list(leaves_of(variables)), ran.time))

  def _roots_of(self, keys: Mapping[Any, Any]) -> dict[str, int]:
    """For each stream a number of its root key, the same for keys with the same content.

    Each body of a loop or a branch has keys of its own: of two branches one runs.
    """
    found, inside = {}, jax_internals.bodies_around()
    for stream, key in keys.items():
      for leaf in jax.tree.leaves(key):
        array = jax_internals.number_behind(leaf, self.passed)
        if isinstance(array, (jax.Array, np.ndarray)):
          found[str(stream)] = self._root_numbers.setdefault(
            (inside, self._content(array)), len(self._root_numbers)
          )
    return found

  def _content(self, key: Any) -> bytes:
    known = self._roots.get(id(key))
    if known is None or known[0]() is not key:
      with jax.ensure_compile_time_eval():
        is_typed = jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key)
        content = np.asarray(jax.random.key_data(key) if is_typed else key).tobytes()
      known = self._roots[id(key)] = (weakref.ref(key), content)
    return known[1]

  def are_kept(self, numbers: Iterable[int]) -> bool:
    """Whether somebody still holds any of these arrays, which were variables."""
    held = [self._used[number] for number in numbers]
    if any(map(_is_there, held)) and self._collected < len(self.runs):
      self._collected = len(self.runs)
      gc.collect()  # what is left of a run refers to itself
    return any(map(_is_there, held))

  def _numbers_of(self, leaves: Sequence[tuple[Place, Any]], time: int | None = None) -> dict[Place, int]:
    found = {}
    for place, leaf in leaves:
      array = jax_internals.number_behind(leaf, self.passed)
      if isinstance(array, (jax.Array, np.ndarray)):
        number = found[place] = self._number(array, time if isinstance(array, jax.Array) else None)
        self._used[number] = self._numbers[id(array)][0]
        self._living.add(number)
    return found

  def _number(self, array: Any, time: int | None) -> int:
    known = self._numbers.get(id(array))
    if known is None or known[0]() is not array:
      known = self._numbers[id(array)] = (weakref.ref(array), len(self.born))
      self.born.append(time)
      self.shapes.append((array.shape, array.dtype))
    return known[1]

  def _number_of_trace(self, trace: Any) -> int:
    known = self._traces.get(id(trace))
    if known is None or known[0]() is not trace:
      known = self._traces[id(trace)] = (weakref.ref(trace), next(self._count))
    return known[1]


def _is_there(reference: weakref.ref[Any]) -> bool:
  """Whether an array is held, and was not donated."""
  array = reference()
  return array is not None and not (isinstance(array, jax.Array) and array.is_deleted())


def trees_of_arrays(arrays: Arrays) -> list[Growing]:
  """The trees of all runs so far."""
  return _Following(arrays, [ran for ran in arrays.runs if ran.run.holds]).trees()


class _Following:
  """Finds whose later state new arrays are."""

  def __init__(self, arrays: Arrays, runs: Sequence[Ran]):
    self.arrays = arrays
    self.of_run = {ran.run: ran for ran in runs}
    self.last_use = {number: ran.time for ran in runs for number in ran.given.values()}
    self.parents: dict[Any, Growing] = {}
    self.seen = [self._seen(ran) for ran in runs]
    self.coming = self._first_uses()

  def _seen(self, ran: Ran) -> Seen:
    makes = not ran.given and ran.is_known and makes_variables(ran.run)
    is_known = bool(ran.made) if makes else ran.is_known
    return Seen(ran.run, [ran.given], ran.made, makes, is_known)

  def _first_uses(self) -> list[tuple[Seen, int]]:
    """The runs on arrays that no run was on before, and that were made in the recording, each with their birth."""
    used: set[int] = set()
    found = []
    for seen in self.seen:
      new = {*params_of(seen.given[0]).values()} - used
      born = [self.arrays.born[number] for number in new]
      if born and all(born):
        found.append((seen, max(time for time in born if time is not None)))
      used |= new
    return found

  def trees(self) -> list[Growing]:
    trees = grow(self.seen, later=self.tree_before)
    for tree in trees:
      if tree.states:
        self._say_whole(tree)
      if tree.origin != "init" and tree.states:
        tree.origin = "array"
        parent = self.parents.get(tree.first.run)
        if parent is not None:
          tree.origin, tree.derived_from, tree.elsewhere = "computed", (parent.number,), {()}
          continue
        others = any(t is not tree and (t.module, t.form) == (tree.module, tree.form) for t in trees)
        born = [self.arrays.born[number] for number in params_of(tree.states[0]).values()]
        tree.known = tree.known and not (others and any(time != 0 for time in born))
    return trees

  def _say_whole(self, tree: Growing) -> None:
    """Says which of a tree's variables are larger than a run saw them, as `jax.vmap` was around it."""
    said = dict(leaves(tree.first.run.fields.get("result" if tree.origin == "init" else "given", {})))
    for place, number in tree.states[0].items():
      shape, dtype = self.arrays.shapes[number]
      if getattr(boxed(said.get(place))[0], "shape", shape) != shape:
        tree.stacked.append((place, spec_of(jax.ShapeDtypeStruct(shape, dtype))))

  def _mapped(self, tree: Growing) -> Numbers:
    """What `jax.vmap` of `init` made for each element, if that is what it was."""
    said = dict(leaves(tree.first.run.fields.get("result", {}))) if tree.origin == "init" else {}
    shapes = {place: getattr(boxed(spec)[0], "shape", None) for place, spec in said.items()}
    state = tree.states[0] if tree.states else {}
    return {
      p: n
      for p, n in state.items()
      if self.arrays.shapes[n][0][1:] == shapes.get(p) != self.arrays.shapes[n][0]
    }

  def tree_before(self, seen: Seen, given: Numbers, trees: Sequence[Growing]) -> Growing | None:
    """The tree whose next state these leaves are.

    Of several the one that ran last; if several had a next state by then, one that this line ran before, or that waits
    longest.
    """
    ran = self.of_run[seen.run]
    alike = [tree for tree in trees if (tree.module, tree.shape) == (seen.module, seen.shape)]
    mapped = next((t for t in alike if (its := self._mapped(t)) and its.items() <= given.items()), None)
    if mapped is not None:  # what is the same for all was handed on for each
      mapped.states[0] = given
      return mapped
    parent = next((t for t in alike if self._last(t).traces & ran.traces and self._is_fresh(t, given)), None)
    if parent is not None:
      self.parents[seen.run] = parent
    alike = [tree for tree in alike if self._parent_of(tree) is parent]
    fits = [tree for tree in alike if self._follows(tree, given) and not self._has_other(tree, seen)]
    fits = [tree for tree in fits if not self._has_ended(tree, given)] or fits
    here, has_rivals = seen.run.fields.get("source"), self._has_rivals(ran, given)

    def waits(tree: Growing) -> tuple[Any, ...]:
      time = self._last(tree).time
      return (tree.runs[-1].fields.get("source") != here, time) if has_rivals else (-time,)

    fits.sort(key=waits)
    if not fits:
      return None
    self._doubt(fits, ran, given)
    return fits[0]

  def _parent_of(self, tree: Growing) -> Growing | None:
    return self.parents.get(tree.first.run)

  def _last(self, tree: Growing) -> Ran:
    return self.of_run[tree.runs[-1]]

  def _is_fresh(self, tree: Growing, given: Numbers) -> bool:
    """Whether the leaves that are new were made after a tree's last run had begun, or nobody knows when."""
    begun = self._last(tree).time
    fresh = {*params_of(given).values()} - {*params_of(tree.latest).values()}
    born = [self.arrays.born[number] for number in fresh]
    return all(time is None or time > begun for time in born)

  def _left(self, tree: Growing, given: Numbers) -> set[int]:
    """The leaves of a tree's latest state that are not among these."""
    return {*params_of(tree.latest).values()} - {*params_of(given).values()}

  def _follows(self, tree: Growing, given: Numbers) -> bool:
    left, begun = self._left(tree, given), self._last(tree).time
    if not self._is_fresh(tree, given) or any(self.last_use.get(number, 0) > begun for number in left):
      return False
    is_born = all(self.arrays.born[number] is not None for number in params_of(given).values())
    return is_born or not self.arrays.are_kept(left)

  def _has_ended(self, tree: Growing, given: Numbers) -> bool:
    """Whether a tree's arrays were gone before these were there, so that these were not computed from them."""
    born = [self.arrays.born[number] for number in params_of(given).values()]
    died = [self.arrays.died.get(number) for number in self._left(tree, given)]
    return bool(died) and any(b is not None and d is not None and d < b for d in died for b in set(born))

  def _has_other(self, tree: Growing, seen: Seen) -> bool:
    """Whether other arrays that run later are rather the tree's next state: older ones, or such on its own line."""
    begun, line = self._last(tree).time, tree.runs[-1].fields.get("source")
    born = next((born for other, born in self.coming if other is seen), None)
    if born is None:
      return False
    strange = seen.run.fields.get("source") != line
    for other, its in self.coming:
      later = self.of_run[other.run].time > self.of_run[seen.run].time and its > begun
      alike = (other.module, other.shape) == (tree.module, tree.shape)
      own = strange and its == born and other.run.fields.get("source") == line
      if later and alike and (its < born or own):
        return True
    return False

  def _shapes(self, given: Numbers) -> Counter[Any]:
    return Counter(self.arrays.shapes[number] for number in params_of(given).values())

  def _has_rivals(self, ran: Ran, given: Numbers) -> bool:
    """Whether as many arrays again as these were there first when the run began."""
    return all(ran.fresh[shape] >= 2 * count for shape, count in self._shapes(given).items())

  def _doubt(self, fits: Sequence[Growing], ran: Ran, given: Numbers) -> None:
    """Says of trees that what was found may be otherwise."""
    tree, last = fits[0], self._last(fits[0])
    if len(fits) > 1:
      for each in fits:
        each.known = False
    made_here = [number for number in self._left(tree, given) if self.arrays.born[number] != 0]
    if not last.is_differentiated and self.arrays.are_kept(made_here):
      tree.known = False
    shapes = self._shapes(given)
    sliced = any(size and shapes <= there for size, there in ran.stacks.items())
    if (sliced or self._has_rivals(ran, given)) and not ran.is_differentiated:
      tree.known = False
