"""The outline: rows of a tree with cells beside them, the intermediate form of most pictures.

A view builds an `Outline` of plain frozen data and knows nothing of widths, colours or files; `layout.py`
fits it to a width and `terminal.py` draws it. A cell says the same thing several times, from full to brief,
so that the layout can choose what fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Cell:
  """What stands in one row and column.

  Attributes:
    text: the same text from full to brief, left-aligned; empty if there is none.
    numbers: the same numbers from full to brief, each a tuple of fields that line up at the right
      with those of the other rows.
  """

  text: tuple[str, ...] = ()
  numbers: tuple[tuple[str, ...], ...] = ()


EMPTY = Cell()


@dataclass(frozen=True, slots=True)
class Column:
  """A column beside the tree.

  Attributes:
    key: its name in `Row.cells`.
    title: its heading.
    least: the width that brief forms of its text are given before something has to go.
    style: how its text looks, in rich's words.
  """

  key: str
  title: str
  least: int = 12
  style: str = ""


@dataclass(frozen=True, slots=True)
class Row:
  """A row of the tree; rows stand in depth-first order.

  Attributes:
    label: its name, without guides.
    depth: 0 for a root.
    mark: what stands behind the name and is never cut ("×6").
    cells: column key -> cell; a missing one is empty.
    data: the row as plain data, for programs.
  """

  label: str
  depth: int = 0
  mark: str = ""
  cells: dict[str, Cell] = field(default_factory=dict)
  data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outline:
  """Rows of a tree with cells beside them.

  Attributes:
    title: what the picture shows.
    heading: heading of the tree's own column.
    columns: the columns beside it.
    rows: the rows, depth first.
    totals: column key -> cell of the last row, if there are any.
    notes: sentences below the picture.
    shrink: what to give up, first to last, where the width does not do: (column key, "text"),
      (key, "numbers") for briefer numbers, or (key, "column"). The tree's own column has the key "" and
      gives up "indent" or "room".
    data: what a program may want to know besides the rows.
  """

  title: str
  heading: str
  columns: tuple[Column, ...]
  rows: tuple[Row, ...]
  totals: dict[str, Cell] = field(default_factory=dict)
  notes: tuple[str, ...] = ()
  shrink: tuple[tuple[str, str], ...] = ()
  data: dict[str, Any] = field(default_factory=dict)


def guides(rows: Sequence[Row], indent: int = 3, deepest: int = 16) -> list[str]:
  """The lines of the tree in front of each label, as `tree` draws them.

  Rows that are very deep show their last levels only, and the number of those left out.

  Args:
    rows: rows in depth-first order.
    indent: characters per level, at least 2.
    deepest: the most levels that are drawn.

  >>> rows = (Row("a"), Row("b", 1), Row("c", 2), Row("d", 1))
  >>> guides(rows)
  ['', '├─ ', '│  └─ ', '└─ ']
  """
  through, blank = "│" + " " * (indent - 1), " " * indent
  dashes = "─" * (indent - 2) + " "
  result = [""] * len(rows)
  digits = len(str(max((row.depth for row in rows), default=0) - deepest))
  more: list[bool] = []
  for index in range(len(rows) - 1, -1, -1):
    depth = rows[index].depth
    del more[depth + 1 :]
    more.extend([False] * (depth + 1 - len(more)))
    if depth:
      hidden = max(0, depth - deepest)
      lead = "".join(through if more[d] else blank for d in range(hidden + 1, depth))
      branch = ("├" if more[depth] else "└") + dashes
      result[index] = (f"{hidden:{digits}}⋯ " if hidden else "") + lead + branch
    more[depth] = True
  return result
