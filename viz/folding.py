"""Which rows of a tree are shown: equal neighbours once, deep ones not at all.

A view builds a tree of `Branch`es; `folded` walks it and says which of them get a row, how many equal ones a
row stands for, and where something is left out. Models repeat themselves, and a picture of fifty rows that says
"×16" tells more than one of a thousand.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .words import printable


@dataclass(eq=False, slots=True)
class Branch:
  """A node of a tree that is to be drawn.

  Attributes:
    label: its name.
    item: what the view wants to know of it.
    same: everything that must be equal, apart from the label, for two branches to fold into one row.
    alike: everything that must be equal for one to be a like of the other, in other sizes.
    kind: what must be equal for one to be of the other's kind, whatever is inside.
    children: the branches below.
  """

  label: str
  item: Any = None
  same: Hashable = None
  alike: Hashable = None
  kind: Hashable = None
  children: list[Branch] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Shown:
  """A branch that gets a row.

  Attributes:
    branch: the branch, the first of those it stands for.
    depth: its level.
    copies: the branches that the row stands for.
    closed: why its children are left out: "", "depth", or "alike".
  """

  branch: Branch
  depth: int
  copies: tuple[Branch, ...]
  closed: str = ""

  @property
  def label(self) -> str:
    """The name, or the range of names."""
    return printable(range_label([b.label for b in self.copies]))

  @property
  def mark(self) -> str:
    """What stands behind the name: how many, and whether there is more inside."""
    times = f"×{len(self.copies)}" if len(self.copies) > 1 else ""
    return " ".join(part for part in (times, "⋯" if self.closed else "") if part)


def folded(
  roots: Sequence[Branch],
  *,
  depth: int | None = None,
  fold: bool = True,
  rows: int | None = None,
  by_kind: bool = False,
) -> list[Shown]:
  """The branches to show, depth first.

  Args:
    roots: the trees.
    depth: levels below the root to show; all if None.
    fold: whether runs of equal neighbours with numbered names become one row.
    rows: where there would be more rows than this, a branch that is built like an open one above
      (the same names and classes in other sizes) stays closed; never if None.
    by_kind: whether one of the same kind stays closed too, if that is not enough.
  """
  order = preorder(roots)
  same = _identities(order, "same") if fold else None
  shown = list(_walk(roots, depth, same, None))
  if rows is not None and len(shown) > rows:
    shown = list(_walk(roots, depth, same, _identities(order, "alike")))
  if rows is not None and len(shown) > rows and by_kind:
    kinds: dict[Hashable, int] = {}
    numbers = {branch: kinds.setdefault(branch.kind, len(kinds)) for branch in order}
    shown = list(_walk(roots, depth, same, numbers))
  return shown


def preorder(roots: Sequence[Branch]) -> list[Branch]:
  """All branches, depth first."""
  order, stack = [], [*reversed(roots)]
  while stack:
    branch = stack.pop()
    order.append(branch)
    stack.extend(reversed(branch.children))
  return order


def _identities(order: Sequence[Branch], what: str) -> dict[Branch, int]:
  """A number for each branch; equal numbers mean equal in themselves and in everything below."""
  numbers: dict[Hashable, int] = {}
  result: dict[Branch, int] = {}
  for branch in reversed(order):
    key = (getattr(branch, what), tuple((c.label, result[c]) for c in branch.children))
    result[branch] = numbers.setdefault(key, len(numbers))
  return result


def _walk(
  roots: Sequence[Branch], depth: int | None, same: dict[Branch, int] | None, alike: dict[Branch, int] | None
) -> Iterator[Shown]:
  opened: set[int] = set()
  stack = [(0, group) for group in reversed(_groups(roots, same))]
  while stack:
    level, copies = stack.pop()
    branch = copies[0]
    closed = ""
    if branch.children:
      if depth is not None and level >= depth:
        closed = "depth"
      elif alike is not None and alike[branch] in opened:
        closed = "alike"
      elif alike is not None:
        opened.add(alike[branch])
    yield Shown(branch, level, copies, closed)
    if not closed:
      stack.extend((level + 1, group) for group in reversed(_groups(branch.children, same)))


_LONGEST_PERIOD = 8


def _groups(siblings: Sequence[Branch], same: dict[Branch, int] | None) -> list[tuple[Branch, ...]]:
  """Siblings as rows: runs such as a_0 b_0 a_1 b_1 a_2 b_2 become one row for a and one for b."""
  if same is None or len(siblings) < 2:
    return [(b,) for b in siblings]
  groups: list[tuple[Branch, ...]] = []
  start = 0
  while start < len(siblings):
    period, times = _run(siblings, start, same)
    for offset in range(period):
      groups.append(tuple(siblings[start + offset + period * k] for k in range(times)))
    start += period * times
  return groups


def _run(siblings: Sequence[Branch], start: int, same: dict[Branch, int]) -> tuple[int, int]:
  """The period and length of the run that begins here and saves the most rows, (1, 1) if none saves two."""
  best, saved = (1, 1), 1
  for period in range(1, min(_LONGEST_PERIOD, (len(siblings) - start) // 2) + 1):
    times = min(_times(siblings, start + offset, period, same) for offset in range(period))
    size = sum(_visible(siblings[start + offset]) for offset in range(period))
    if (times - 1) * size > saved:
      best, saved = (period, times), (times - 1) * size
  return best


def _visible(branch: Branch) -> int:
  return 2 if branch.children else 1


def _times(siblings: Sequence[Branch], start: int, period: int, same: dict[Branch, int]) -> int:
  """How many equal siblings with evenly numbered names follow each other at a distance."""
  first = siblings[start]
  step: tuple[int, int] | None = None
  times, previous = 1, first
  for index in range(start + period, len(siblings), period):
    branch = siblings[index]
    if same[branch] != same[first]:
      break
    found = _step(previous.label, branch.label)
    if found is None or (step is not None and found != step):
      break
    step, previous, times = found, branch, times + 1
  return times


_TOKENS = re.compile(r"(\d+)")


def _step(before: str, after: str) -> tuple[int, int] | None:
  """Where two names differ in just one number, that number's place and by how much it grows.

  Equal names, of calls of one module, differ by nothing.
  """
  if before == after:
    return (-1, 0)
  a, b = _TOKENS.split(before), _TOKENS.split(after)
  places = [i for i, (x, y) in enumerate(zip(a, b)) if x != y]
  if len(a) != len(b) or len(places) != 1 or places[0] % 2 == 0:
    return None
  place = places[0]
  grows = int(b[place]) - int(a[place])
  return (place, grows) if grows > 0 else None


def range_label(labels: Sequence[str]) -> str:
  """A range of evenly numbered names as one.

  >>> range_label(["block_1", "block_2", "block_3"]), range_label(["a0_b", "a2_b", "a4_b"])
  ('block_1…3', 'a0,2…4_b')
  """
  if labels[0] == labels[-1]:
    return labels[0]
  step = _step(labels[0], labels[1])
  if step is None:
    return f"{labels[0]}…{labels[-1]}"
  place, grows = step
  first, second, last = (_TOKENS.split(label) for label in (labels[0], labels[1], labels[-1]))
  numbers = f"{first[place]}…{last[place]}" if grows == 1 else f"{first[place]},{second[place]}…{last[place]}"
  if len(labels) == 2 and grows != 1:
    numbers = f"{first[place]},{last[place]}"
  return "".join([*first[:place], numbers, *first[place + 1 :]])


def natural(name: Any) -> tuple[Any, ...]:
  """A sort key under which layers_2 comes before layers_10.

  >>> sorted(["layers_10", "layers_2", "bias"], key=natural)
  ['bias', 'layers_2', 'layers_10']
  """
  return tuple((0, int(t), "") if i % 2 else (1, 0, t) for i, t in enumerate(_TOKENS.split(str(name))))
