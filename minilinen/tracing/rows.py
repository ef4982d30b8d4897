"""May be skipped: very many rows of one dataclass in little text: the equations of a program.

A program of thousands of equal layers has the same equations again and again, but for their numbers, and those grow
from layer to layer by the same. So what stands in a field is said once and has a number; a row is its numbers; and it
is written as a step from the row before it that has the same form. Equal steps are said once:

    {"words": [["dot_general", "add", ...], ...],     # the different values of each field that holds no numbers
     "steps": [[[0, 2, 1, 0], [3], [7, -1, ...]], ... # form, and by how much each number grows
     "rows": [0, 1, 2, 0, 1, 2, ...]}                 # the step to each row

Rows have the same form if they say the same in the first field, have as many numbers in each other, and -1, which is
none of anything, in the same places. The first row of a form is a step from zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, chain, pairwise
from operator import add, attrgetter, getitem, itemgetter, sub
from typing import Any, NamedTuple

from minilinen.tracing.tables import Damaged, Tables, checked, checked_list

NUMBERS, PAIRS = tuple[int, ...], tuple[tuple[int, int], ...]


class Column(NamedTuple):
  """A field of the rows: its name and type, and how one value of it is written and read."""

  name: str
  type: Any
  write: Callable[[Tables, Any], Any]
  read: Callable[[Tables, Any], Any]


class Rows:
  """How the rows of a dataclass are written and read.

  Args:
    kind: the dataclass; what stands in its fields can be hashed.
    columns: its fields, in order. The first holds no number.
  """

  def __init__(self, kind: Callable[..., Any], columns: Sequence[Column]):
    self.kind = kind
    self.words = [c for c in columns if c.type not in (int, NUMBERS, PAIRS)]
    self.numbers = [c for c in columns if c.type is int]
    self.lists = [*(c for c in columns if c.type == NUMBERS), *(c for c in columns if c.type == PAIRS)]
    self.plain = sum(c.type == NUMBERS for c in self.lists)
    self.single = len(self.words) + len(self.numbers)
    order = [*self.words, *self.numbers, *self.lists]
    self.in_order = itemgetter(*(order.index(c) for c in columns))

  def write(self, t: Tables, rows: Sequence[Any]) -> dict[str, Any]:
    """Plain data for rows."""
    words, singles = [], []
    for column in self.words:
      different, numbers = numbered([*map(attrgetter(column.name), rows)])
      words.append([column.write(t, word) for word in different])
      singles.append(numbers)
    singles += ([*map(attrgetter(c.name), rows)] for c in self.numbers)
    lists = [[*map(attrgetter(c.name), rows)] for c in self.lists]
    for pairs in lists[self.plain :]:
      pairs[:] = [(*chain.from_iterable(its),) if its else its for its in pairs]
    sizes = zip(singles[0], *(map(len, its) for its in lists))
    flat = map(tuple, map(chain.from_iterable, zip(zip(*singles), *lists)))
    steps: dict[Any, int] = {}
    last: dict[Any, tuple[int, ...]] = {}
    found: list[int] = []
    for size, numbers in zip(sizes, flat):
      form = size, tuple([n for n, number in enumerate(numbers) if number == -1])
      step = form, tuple(map(sub, numbers, last[form])) if form in last else numbers
      last[form] = numbers
      found.append(steps.setdefault(step, len(steps)))
    return {"words": words, "steps": [[*form, step] for form, step in steps], "rows": found}

  def read(self, t: Tables, plain: Any) -> tuple[Any, ...]:
    """The rows that plain data says."""
    words, steps, rows = (checked_list(plain[part]) for part in ("words", "steps", "rows"))
    checked(len(words) == len(self.words), words, f"list of {len(self.words)}")
    tables = [dict(enumerate([c.read(t, x) for x in its])) for c, its in zip(self.words, words)]
    known = [self._step(step) for step in steps]
    last: dict[Any, tuple[int, ...]] = {}
    found = []
    for row in rows:
      if type(row) is not int or not 0 <= row < len(known):
        raise Damaged(f"there is no step {row!r}")
      form, step, cells_of, has_pairs = known[row]
      numbers = last[form] = tuple(map(add, step, last[form])) if form in last else step
      cells = (*map(getitem, tables, numbers), *cells_of(numbers))
      if has_pairs:
        flat = cells[self.single + self.plain :]
        cells = (*cells[: -len(flat)], *(tuple(zip(its[::2], its[1::2])) for its in flat))
      found.append(self.kind(*self.in_order(cells)))
    return tuple(found)

  def _step(self, plain: Any) -> tuple[Any, tuple[int, ...], Callable[..., Any], bool]:
    """A step's form, its numbers, what takes those that are no words apart, and whether there are pairs in them."""
    size, none, step = map(tuple, map(checked_list, checked_list(plain)))
    lengths, pairs = size[1:], size[1 + self.plain :]
    right = all(type(n) is int for n in (*size, *none, *step)) and len(lengths) == len(self.lists)
    right = right and min(size) >= 0 and len(step) == self.single + sum(lengths)
    checked(right and not any(n % 2 for n in pairs), plain, "step")
    slices = [slice(*its) for its in pairwise(accumulate(lengths, initial=self.single))]
    return (size, none), step, itemgetter(*range(len(self.words), self.single), *slices), any(pairs)


def numbered(values: Sequence[Any]) -> tuple[list[Any], list[int]]:
  """The different ones of many values that can be hashed, in the order in which they come, and each one's number."""
  numbers: dict[Any, int] = {}
  of_object = {id(value): value for value in values}  # Most are one object each time: it is looked up once.
  of_id = {key: numbers.setdefault(value, len(numbers)) for key, value in of_object.items()}
  return [*numbers], [of_id[id(value)] for value in values]
