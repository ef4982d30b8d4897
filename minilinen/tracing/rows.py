"""May be skipped: very many rows of one dataclass in little text: the equations of a program.

A program of thousands of equal layers has the same equations again and again, but for their numbers, and those grow
from layer to layer by the same. So what stands in a field is said once and has a number; a row is its numbers; and it
is written as a step from the row before it that has the same form. Equal steps are said once:

    {"words": [["dot_general", "add", ...], ...],     # the different values of each field that holds no numbers
     "steps": [[[0, 2, 1, 0], [3], [7, -1, ...]], ... # form, and by how much each number grows
     "rows": [0, 1, 2, 0, 1, 2, ...]}                 # the step to each row

Rows have the same form if they say the same in the first field, have as many numbers in each other, and -1, which is
none of anything, in the same places. The first row of a form is a step from zeros. There may be hundreds of thousands
of rows, so all of one form are handled together, as an array of numbers with a line for each.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import accumulate, chain, count, pairwise, repeat
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import numpy as np

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
    steps: list[Any] = []
    found = np.zeros(len(rows), int)
    for size, at, numbers in _of_one_size(singles, lists):
      for none, which in _of_one_kind(numbers == -1):
        grown = np.diff(numbers[which], axis=0, prepend=0)
        different, its = numbered(_lines(grown))
        found[at[which]] = np.array(its) + len(steps)
        steps += ([size, none.nonzero()[0].tolist(), np.frombuffer(step, int).tolist()] for step in different)
    used, first, found = np.unique(found, return_index=True, return_inverse=True)
    in_order = np.argsort(first)
    number = np.argsort(in_order)
    return {"words": words, "steps": [steps[used[n]] for n in in_order], "rows": number[found].tolist()}

  def read(self, t: Tables, plain: Any) -> tuple[Any, ...]:
    """The rows that plain data says."""
    words, steps, rows = (checked_list(plain[part]) for part in ("words", "steps", "rows"))
    checked(len(words) == len(self.words), words, f"list of {len(self.words)}")
    tables = [[c.read(t, x) for x in its] for c, its in zip(self.words, words)]
    known = [self._step(step) for step in steps]
    strange = [n for n in rows if type(n) is not int or not 0 <= n < len(known)]
    if strange:
      raise Damaged(f"there is no step {strange[0]!r}")
    forms, form_of = numbered([(size, none) for size, none, _ in known])
    found: list[Any] = [None] * len(rows)
    steps_of_rows = [*map([step for *_, step in known].__getitem__, rows)]
    for (size, _), at in zip(forms, _places(np.array(form_of, int)[rows], len(forms))):
      if len(at):
        which = at.tolist()
        numbers = np.cumsum([steps_of_rows[n] for n in which], axis=0)
        for n, row in zip(which, self._rows(tables, size, numbers)):
          found[n] = row
    return tuple(found)

  def _step(self, plain: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """A step's size, the places where there is none, and its numbers."""
    size, none, step = map(tuple, map(checked_list, checked_list(plain)))
    lengths, pairs = size[1:], size[1 + self.plain :]
    right = all(type(n) is int for n in (*size, *none, *step)) and len(lengths) == len(self.lists)
    right = right and min(size) >= 0 and len(step) == self.single + sum(lengths)
    checked(right and not any(n % 2 for n in pairs), plain, "step")
    return size, none, step

  def _rows(self, tables: Sequence[Sequence[Any]], size: tuple[int, ...], numbers: Any) -> Iterator[Any]:
    """Rows of one size, of a line of numbers for each."""
    columns = numbers.T.tolist()
    for column, table in zip(columns, tables):
      if lacking := set(column).difference(range(len(table))):
        raise Damaged(f"there is no word {min(lacking)}")
    cells: list[Iterable[Any]] = [map(table.__getitem__, its) for table, its in zip(tables, columns)]
    cells += columns[len(tables) : self.single]
    for n, (start, end) in enumerate(pairwise(accumulate(size[1:], initial=self.single))):
      its = columns[start:end]
      if n >= self.plain:
        its = [zip(*pair) for pair in zip(its[::2], its[1::2])]
      cells.append(zip(*its) if its else repeat(()))
    return map(self.kind, *self.in_order(cells))


def _of_one_size(singles: Sequence[Any], lists: Sequence[Any]) -> Iterator[tuple[list[int], Any, Any]]:
  """Rows of one size after the other: the size, which they are, and a line of numbers for each."""
  sizes, size_of = numbered([*zip(singles[0], *(map(len, its) for its in lists))])
  columns = np.array(singles, int)
  for size, at in zip(sizes, _places(size_of, len(sizes))):
    parts = [columns[:, at].T]
    for its, length in zip(lists, size[1:]):
      flat = chain.from_iterable([its[n] for n in at]) if length else ()
      parts.append(np.fromiter(flat, int, length * len(at)).reshape(len(at), length))
    yield [*size], at, np.hstack(parts)


def _of_one_kind(marks: Any) -> Iterator[tuple[Any, Any]]:
  """Equal lines of marks, and which lines they are."""
  different, kinds = numbered(_lines(marks))
  for line, which in zip(different, _places(kinds, len(different))):
    yield np.frombuffer(line, bool), which


def _places(numbers: Any, end: int) -> list[Any]:
  """Where each number from 0 to `end` stands among these, in order."""
  numbers = np.array(numbers, int)
  ends = np.cumsum(np.bincount(numbers, minlength=end))
  return np.split(np.argsort(numbers, kind="stable"), ends[:-1])


def _lines(array: Any) -> list[bytes]:
  """The lines of an array, as what can be hashed."""
  whole, size = np.ascontiguousarray(array).tobytes(), array.shape[1] * array.itemsize
  return [whole[n : n + size] for n in range(0, len(whole), size)]


def numbered(values: Sequence[Hashable]) -> tuple[list[Any], list[int]]:
  """The different ones of many values that can be hashed, in the order in which they come, and each one's number."""
  ids = [*map(id, values)]
  of_object = dict(zip(ids, values))  # Most are one object each time: it is looked up once.
  numbers = dict(zip(dict.fromkeys(of_object.values()), count()))
  of_id = dict(zip(of_object, map(numbers.__getitem__, of_object.values())))
  return [*numbers], [*map(of_id.__getitem__, ids)]
