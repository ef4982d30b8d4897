"""May be skipped: very many rows of one dataclass in little text: the equations of a program.

A program of thousands of equal layers has the same equations again and again, but for their numbers, and those grow
from layer to layer by the same. So what stands in a field is said once and has a number; a row is its numbers; and it
is written as a step from the row before it that has the same form. Equal steps are said once:

    {"words": [["dot_general", "add", ...], ...],     # the different values of each field that holds no numbers
     "steps": [[[0, 2, 1, 0], [3], [7, -1, ...]], ... # form, and by how much each number grows
     "rows": [0, 1, 2, 0, 1, 2, ...]}                 # the step to each row

Rows have the same form if they say the same in the first field, have as many numbers in each other, and -1, which is
none of anything, in the same places. The first row of a form is a step from zeros.

Rows that were read are looked over, but made only when somebody asks for them (`Packed`): most who load a trace want
its modules and variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain, pairwise, repeat
from operator import attrgetter
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


class Alike(NamedTuple):
  """Rows that have as many numbers in each list.

  Attributes:
    rows: which rows they are.
    size: what the first field says, by number, and how many numbers each list has.
    numbers: their numbers, a line for each row.
  """

  rows: np.ndarray
  size: tuple[int, ...]
  numbers: np.ndarray


class Rows:
  """How the rows of a dataclass are written and read.

  Args:
    kind: the dataclass; what stands in its fields can be hashed.
    columns: its fields, in order. The first holds no number.
  """

  def __init__(self, kind: Callable[..., Any], columns: Sequence[Column]):
    self.kind = kind
    self.words = [c for c in columns if c.type not in (int, NUMBERS, PAIRS)]
    self.singles = [*self.words, *(c for c in columns if c.type is int)]
    self.lists = [*(c for c in columns if c.type == NUMBERS), *(c for c in columns if c.type == PAIRS)]
    self.order = [[*self.singles, *self.lists].index(c) for c in columns]

  def write(self, t: Tables, rows: Sequence[Any]) -> dict[str, Any]:
    """Plain data for rows."""
    words, singles = [], []
    for column in self.singles:
      cells = [*map(attrgetter(column.name), rows)]
      if column in self.words:
        different, cells = numbered(cells)
        words.append([column.write(t, word) for word in different])
      singles.append(np.asarray(cells, int))
    step_of, said = np.zeros(len(rows), int), []
    for alike in _alike(singles, [_flat(c, map(attrgetter(c.name), rows)) for c in self.lists]):
      _put_steps(alike, step_of, said)
    numbers: dict[int, int] = {}
    found = [numbers.setdefault(step, len(numbers)) for step in step_of.tolist()]
    return {"words": words, "steps": [said[step] for step in numbers], "rows": found}

  def read(self, t: Tables, plain: Any) -> Packed:
    """The rows that plain data says."""
    words, steps, rows = (checked_list(plain[part]) for part in ("words", "steps", "rows"))
    checked(len(words) == len(self.words), words, f"list of {len(self.words)}")
    tables = [[c.read(t, x) for x in its] for c, its in zip(self.words, words)]
    forms: dict[Any, int] = {}
    known = [self._step(step) for step in steps]
    form_of = np.array([forms.setdefault(form, len(forms)) for form, _ in known], int)
    for row in rows:
      if type(row) is not int or not 0 <= row < len(known):
        raise Damaged(f"there is no step {row!r}")
    step_of = np.array(rows, int)
    in_form, found = np.zeros(len(known), int), []
    for (size, _), its, where in zip(forms, _groups(form_of), _groups(form_of[step_of], len(forms))):
      in_form[its] = range(len(its))
      grown = np.array([known[step][1] for step in its], int)[in_form[step_of[where]]]
      found.append(Alike(where, size, grown.cumsum(0)))
    return Packed(self, tables, found)

  def _step(self, plain: Any) -> tuple[Any, tuple[int, ...]]:
    """A step's form and its numbers."""
    size, none, step = map(tuple, map(checked_list, checked_list(plain)))
    right = all(type(n) is int and n.bit_length() < 64 for n in (*size, *none, *step))
    right = right and len(size) == 1 + len(self.lists) and min(size) >= 0
    right = right and len(step) == len(self.singles) + sum(size[1:])
    pairs = [n for n, column in zip(size[1:], self.lists) if column.type == PAIRS]
    checked(right and not any(n % 2 for n in pairs), plain, "step")
    return (size, none), step


class Packed:
  """Rows that were read and are not made yet.

  Raises:
    Damaged: if they say what is in no table.
  """

  def __init__(self, how: Rows, tables: list[list[Any]], alike: list[Alike]):
    self.how, self.tables, self.alike = how, tables, alike
    ends = [*map(len, tables)]
    for _, _, numbers in alike:
      said = numbers[:, : len(ends)]
      if said.size and (said.min() < 0 or (said.max(0) >= ends).any()):
        raise Damaged("one of its rows says what is in no table")

  def different(self, name: str) -> list[Any]:
    """What stands in a field that holds no number, each once."""
    return self.tables[[c.name for c in self.how.words].index(name)]

  def numbers(self, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The numbers in a field, a line for each row, with the rows."""
    at = [c.name for c in (*self.how.singles, *self.how.lists)].index(name)
    return ((alike.rows, alike.numbers[:, self._columns(alike.size)[at]]) for alike in self.alike)

  def _columns(self, size: tuple[int, ...]) -> list[slice]:
    return [
      slice(*ends) for ends in pairwise(accumulate((*(1 for _ in self.how.singles), *size[1:]), initial=0))
    ]

  def made(self) -> tuple[Any, ...]:
    """The rows."""
    found = [None] * sum(len(alike.rows) for alike in self.alike)
    single, many = len(self.how.singles), self.how.lists
    for rows, size, numbers in self.alike:
      cells: list[Iterable[Any]] = [numbers[:, n].tolist() for n in range(single)]
      cells[: len(self.tables)] = (map(its.__getitem__, cell) for its, cell in zip(self.tables, cells))
      for column, at in zip(many, self._columns(size)[single:]):
        its: Iterable[Any] = numbers[:, at].tolist() if at.start < at.stop else repeat(())
        cells.append(map(tuple if column.type == NUMBERS else _paired, its))
      for row, value in zip(rows.tolist(), map(self.how.kind, *(cells[n] for n in self.how.order))):
        found[row] = value
    return tuple(found)


def numbered(values: Sequence[Any]) -> tuple[list[Any], np.ndarray]:
  """The different ones of many values that can be hashed, in the order in which they come, and each one's number."""
  objects = np.fromiter(
    map(id, values), np.int64, len(values)
  )  # Most come again and again: they are hashed once.
  _, first, which = np.unique(objects, return_index=True, return_inverse=True)
  order, numbers = first.argsort(), {}
  of_object = np.zeros(len(first), int)
  of_object[order] = [numbers.setdefault(values[at], len(numbers)) for at in first[order].tolist()]
  return [*numbers], of_object[which]


def _paired(flat: list[int]) -> tuple[tuple[int, int], ...]:
  return tuple(zip(flat[::2], flat[1::2]))


def _flat(column: Column, lists: Iterable[Any]) -> tuple[np.ndarray, np.ndarray]:
  """How many numbers there are in each list, and all of them one after the other."""
  lists = [*lists]
  sizes = np.fromiter(map(len, lists), int, len(lists))
  flat = chain.from_iterable(lists)
  if column.type == NUMBERS:
    return sizes, np.fromiter(flat, int)
  return sizes * 2, np.fromiter(chain.from_iterable(flat), int)


def _alike(singles: list[np.ndarray], lists: list[tuple[np.ndarray, np.ndarray]]) -> Iterator[Alike]:
  """Rows by what they say first and by how many numbers they have."""
  sizes = np.stack([singles[0], *(sizes for sizes, _ in lists)], 1)
  starts = [sizes.cumsum() - sizes for sizes, _ in lists]
  for rows in _groups(_equal(sizes)):
    size = tuple(sizes[rows[0]].tolist())
    parts = [single[rows, None] for single in singles]
    for (_, flat), start, length in zip(lists, starts, size[1:]):
      parts.append(flat[start[rows, None] + np.arange(length)])
    yield Alike(rows, size, np.hstack(parts))


def _put_steps(alike: Alike, step_of: np.ndarray, said: list[Any]) -> None:
  """Says the steps of rows, each once, and which one each row is."""
  none = alike.numbers == -1
  for its in _groups(_equal(np.packbits(none, 1))):
    steps = np.diff(alike.numbers[its], axis=0, prepend=0)
    numbers = _equal(steps)
    step_of[alike.rows[its]] = numbers + len(said)
    start = [alike.size, np.flatnonzero(none[its[0]]).tolist()]
    said += ([*start, steps[same[0]].tolist()] for same in _groups(numbers))


def _equal(table: np.ndarray) -> np.ndarray:
  """The number of each line of a table: equal ones have the same."""
  data, width = table.tobytes(), table.shape[1] * table.itemsize
  known: dict[bytes, int] = {}
  return np.array(
    [known.setdefault(data[at : at + width], len(known)) for at in range(0, len(data), width)], int
  )


def _groups(numbers: np.ndarray, count: int = 0) -> list[np.ndarray]:
  """Where each number stands, from 0 on."""
  ends = np.bincount(numbers, minlength=count).cumsum()
  return np.split(numbers.argsort(kind="stable"), ends[:-1]) if ends.size else []
