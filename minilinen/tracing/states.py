"""May be skipped: variable trees in code that really runs: the arrays themselves say which run was on which tree.

The same arrays are the same tree. New arrays of the same class and structure are a later state of a tree (a training
loop's next parameters) if they did not exist when the tree's last run began, and no run ever uses its older ones again;
or if these are gone. So each run looks at which arrays there are. Nothing here keeps an array alive.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from minilinen import jax_internals
from minilinen.tracing.equations.leaves import Place, leaves_of
from minilinen.tracing.trees import Growing, Numbers, Seen, grow, params_of


@dataclass(eq=False)
class Ran:
  """A run in code that really runs.

  Attributes:
    run: its draft.
    time: how many runs began before it, and itself.
    given, made: the number of each leaf that is an array.
    is_told: whether all leaves are; inside of `jax.jit` they are not.
  """

  run: Any
  time: int
  given: dict[Place, int]
  is_told: bool
  made: dict[Place, int] = field(default_factory=dict)


class Arrays:
  """The arrays that were seen during a recording, each with a number, and the runs on them.

  Attributes:
    runs: the runs, in order.
    born: for each array the time of the run at whose beginning it was there first, 0 if nobody knows.
    gone: for each array that was a variable and is no more, the time when that was seen.
  """

  def __init__(self) -> None:
    self.runs: list[Ran] = []
    self.born: list[int] = []
    self.gone: dict[int, int] = {}
    self._numbers: dict[int, tuple[weakref.ref[Any], int]] = {}
    self._used: dict[int, weakref.ref[Any]] = {}

  def begin(self, run: Any, variables: Any) -> Ran:
    """Notes the variables that a run is given."""
    time = len(self.runs) + 1
    for number, array in list(self._used.items()):
      if array() is None:
        self.gone[number] = time
        del self._used[number]
    for array in jax.live_arrays():
      self._number(array, time)
    leaves = list(leaves_of(variables))
    given = self._numbers_of(leaves, time)
    self.runs.append(Ran(run, time, given, len(given) == len({place for place, _ in leaves})))
    return self.runs[-1]

  def end(self, run: Any, variables: Any) -> None:
    """Notes the variables that a run hands back."""
    ran = next(ran for ran in reversed(self.runs) if ran.run is run)
    ran.made = self._numbers_of(list(leaves_of(variables)), ran.time)

  def _numbers_of(self, leaves: Sequence[tuple[Place, Any]], time: int) -> dict[Place, int]:
    found = {}
    for place, leaf in leaves:
      array = jax_internals.number_behind(leaf)
      if isinstance(array, (jax.Array, np.ndarray)):
        number = found[place] = self._number(array, time if isinstance(array, jax.Array) else 0)
        self._used[number] = self._numbers[id(array)][0]
    return found

  def _number(self, array: Any, time: int) -> int:
    known = self._numbers.get(id(array))
    if known is None or known[0]() is not array:
      known = self._numbers[id(array)] = (weakref.ref(array), len(self.born))
      self.born.append(time)
    return known[1]


def trees_of_arrays(arrays: Arrays) -> list[Growing]:
  """The trees of all runs so far."""
  times = {ran.run: ran.time for ran in arrays.runs}
  last_use = {number: ran.time for ran in arrays.runs for number in ran.given.values()}

  def seen(ran: Ran) -> Seen:
    makes = ran.run.fields.get("name") == "init" and not ran.given and ran.is_told
    is_told = bool(ran.made) if makes else ran.is_told
    return Seen(ran.run, [ran.given], ran.made, makes, is_told)

  def later_state_of(seen: Seen, given: Numbers, trees: Sequence[Growing]) -> Growing | None:
    """The tree whose next state these leaves are; of several, one that this line ran before, or that waits longest."""
    fits = [tree for tree in trees if (tree.module, tree.shape) == (seen.module, seen.shape)]
    fits = [tree for tree in fits if follows(params_of(given), params_of(tree.latest), tree, times[seen.run])]
    here = seen.run.fields.get("source")
    fits.sort(key=lambda tree: (tree.runs[-1].fields.get("source") != here, times[tree.runs[-1]]))
    return fits[0] if fits else None

  def follows(new: Numbers, old: Numbers, tree: Growing, time: int) -> bool:
    left = set(old.values()) - set(new.values())
    fresh = set(new.values()) - set(old.values())
    begun = times[tree.runs[-1]]
    if all(arrays.gone.get(number, time + 1) <= time for number in left):
      return True
    return all(arrays.born[n] > begun for n in fresh) and all(last_use.get(n, 0) <= begun for n in left)

  trees = grow((seen(ran) for ran in arrays.runs if ran.run.holds), later=later_state_of)
  for tree in trees:
    if tree.origin != "init" and tree.states:
      tree.origin = "array"
      others = any(t is not tree and (t.module, t.shape) == (tree.module, tree.shape) for t in trees)
      made_here = any(arrays.born[number] > 1 for number in params_of(tree.states[0]).values())
      tree.known = tree.known and not (others and made_here)
  return trees
