"""Fits an outline to a width: decides which columns stay, how wide they are, and what each cell says.

The columns first give up what `Outline.shrink` says, in that order and only as far as needed; what is left
over is handed back to those that were cut. The tree's own column is never dropped, and its names are
cut in the middle, where they differ least. The result is text in columns, which `terminal.py` draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from .outline import EMPTY, Cell, Outline, guides


@dataclass(frozen=True)
class Head:
  """A column that stays: its heading, its width, and whether only numbers stand below."""

  title: str
  width: int
  numbers: bool = False


@dataclass(frozen=True)
class Fitted:
  """An outline as text that fits.

  Attributes:
    heads: the columns that stay; the tree's is the first.
    rows: text of each row by column.
    totals: text of the last row by column, empty if there is none.
    left_out: titles of the columns that do not fit.
  """

  heads: tuple[Head, ...]
  rows: tuple[tuple[str, ...], ...]
  totals: tuple[str, ...]
  left_out: tuple[str, ...]


def fit(outline: Outline, width: int, gap: int = 2) -> Fitted:
  """Fits an outline to a width.

  Args:
    outline: what to draw.
    width: characters per line, without borders left and right.
    gap: characters between two columns.
  """
  cells = [[row.cells.get(c.key, EMPTY) for row in outline.rows] for c in outline.columns]
  totals = [outline.totals.get(c.key, EMPTY) for c in outline.columns]
  columns = [_Beside(c.key, c.title, c.least, [*own, t]) for c, own, t in zip(outline.columns, cells, totals)]
  tree = _Tree(outline, width)
  _decide(outline.shrink, tree, columns, width, gap)
  kept = [c for c in columns if not c.dropped]
  rows = zip(tree.written(), *([c.written(cell) for cell in c.cells[:-1]] for c in kept))
  last = ("Total", *(c.written(c.cells[-1]) for c in kept)) if outline.totals else ()
  heads = [Head(outline.heading, tree.wide), *(Head(c.title, c.wide, c.text == 0) for c in kept)]
  return Fitted(tuple(heads), tuple(rows), last, tuple(c.title for c in columns if c.dropped))


class _Tree:
  """The tree's own column while widths are being decided."""

  dropped = False

  def __init__(self, outline: Outline, width: int):
    self.rows = outline.rows
    self.width = width
    self.title = outline.heading
    self.indent, self.share = 3, 0.6
    self._measure()

  def give_up(self, what: str, back: bool = False) -> None:
    """Draws the guides with two characters for each level, or asks for less room; or takes that back."""
    if what == "indent":
      self.indent = 3 if back else 2
    else:
      self.share = 0.6 if back else 0.4
    self._measure()

  def _measure(self) -> None:
    self.guides = guides(self.rows, self.indent, deepest=max(3, self.width // 10))
    self.widest = max(
      (
        len(g) + cell_len(r.label) + (1 + len(r.mark) if r.mark else 0)
        for g, r in zip(self.guides, self.rows)
      ),
      default=0,
    )
    self.text = min(self.widest, max(24, int(self.width * self.share)))

  @property
  def needed(self) -> int:
    """The width of what stands in it."""
    return self.text

  @property
  def wide(self) -> int:
    """Its whole width, as things stand."""
    return max(self.text, len(self.title), len("Total"))

  def written(self) -> list[str]:
    """Its text, row by row."""
    result = []
    for guide, row in zip(self.guides, self.rows):
      mark = f" {row.mark}" if row.mark else ""
      room = max(2, self.wide - len(guide) - len(mark))
      result.append(f"{guide}{cut_middle(row.label, room)}{mark}")
    return result


class _Beside:
  """A column beside the tree while widths are being decided.

  Attributes:
    level: how brief its numbers are.
    bare: whether its text is given up, and only numbers stay.
    dropped: whether it is given up as a whole.
    text: the width of its text.
  """

  def __init__(self, key: str, title: str, least: int, cells: Sequence[Cell]):
    self.key, self.title, self.cells = key, title, cells
    self.level = 0
    self.bare = self.dropped = False
    self.fullest = max((cell_len(c.text[0]) for c in cells if c.text), default=0)
    self.text = self.least = max((_shortest(c, least) for c in cells if c.text), default=0)
    self.levels = [
      _field_widths(cells, level) for level in range(max((len(c.numbers) for c in cells), default=0))
    ]

  def give_up(self, what: str, back: bool = False) -> None:
    """One step of `Outline.shrink`, or its taking back."""
    if what == "text":
      self.bare = not back
      self.text = self.least if back else 0
    elif what == "numbers":
      self.level += -1 if back else 1
    else:
      self.dropped = not back

  @property
  def fields(self) -> list[int]:
    """The widths of its numbers."""
    return self.levels[min(self.level, len(self.levels) - 1)] if self.levels else []

  @property
  def widest(self) -> int:
    """How wide its text would like to be."""
    return 0 if self.bare else self.fullest

  @property
  def needed(self) -> int:
    """The width of what stands in it."""
    numbers = sum(self.fields) + max(0, len(self.fields) - 1)
    return self.text + numbers + (2 if self.text and numbers else 0)

  @property
  def wide(self) -> int:
    """Its whole width, as things stand."""
    return max(self.needed, min(cell_len(self.title), 14))

  def written(self, cell: Cell) -> str:
    """The text of a cell in this column."""
    text = next((t for t in cell.text if cell_len(t) <= self.text), None)
    if text is None:
      text = cut_end(cell.text[-1], self.text) if cell.text else ""
    numbers = _numbers(cell, self.level)
    if not numbers:
      return text
    right = " ".join(number.rjust(size) for number, size in zip(numbers, self.fields))
    return f"{set_cell_size(text, self.wide - len(right))}{right}"


def _numbers(cell: Cell, level: int) -> tuple[str, ...]:
  return cell.numbers[min(level, len(cell.numbers) - 1)] if cell.numbers else ()


_CUT = 16
"""The width to which a text may be cut that has no brief form."""


def _shortest(cell: Cell, least: int) -> int:
  """The width that a cell's text needs before something else is given up: that of its briefest form."""
  return min(cell_len(cell.text[-1]), least if len(cell.text) > 1 else _CUT)


def _field_widths(cells: Sequence[Cell], level: int) -> list[int]:
  """How wide each field of the numbers is at a level."""
  fields: list[int] = []
  for cell in cells:
    for i, number in enumerate(_numbers(cell, level)):
      if i == len(fields):
        fields.append(0)
      fields[i] = max(fields[i], len(number))
  return fields


def _decide(
  steps: Sequence[tuple[str, str]], tree: _Tree, columns: Sequence[_Beside], width: int, gap: int
) -> None:
  """Shrinks the columns until they fit, takes back what was not needed, and hands out what is left."""
  by_key: dict[str, _Tree | _Beside] = {"": tree, **{c.key: c for c in columns}}

  def left() -> int:
    return width - tree.wide - sum(c.wide + gap for c in columns if not c.dropped)

  taken: list[tuple[_Tree | _Beside, str]] = []
  for key, what in (*steps, *((c.key, "column") for c in reversed(columns))):
    if left() >= 0:
      break
    if not by_key[key].dropped:
      by_key[key].give_up(what)
      taken.append((by_key[key], what))
  if left() < 0:
    tree.text = width
  _widen((tree, *columns), left, most=_READABLE)
  for column, what in reversed(taken[:-1]):
    text = column.text
    column.give_up(what, back=True)
    if left() < 0 or (column.dropped and what != "column"):
      column.give_up(what)
      column.text = text
  _widen((tree, *columns), left)


_READABLE = 20


def _widen(columns: Sequence[_Tree | _Beside], left: Callable[[], int], most: int | None = None) -> None:
  """Hands out what is left to texts that are cut, the tree first, then the least cut.

  Args:
    columns: who gets it.
    left: how much there still is.
    most: the width to which texts beside the tree are brought; as wide as they like if None.
  """
  for column in sorted(columns, key=lambda c: 0 if isinstance(c, _Tree) else c.widest - c.text):
    if not column.dropped:
      room = column.text + max(0, left()) + column.wide - column.needed
      whole = most is None or isinstance(column, _Tree)
      wanted = column.widest if whole else min(column.widest, max(most or 0, column.text))
      column.text = min(wanted, room)


def cut_end(text: str, width: int) -> str:
  """A text cut to a width at its end.

  >>> cut_end("f32[8,224,224,3]", 10)
  'f32[8,224…'
  """
  if cell_len(text) <= width:
    return text
  return set_cell_size(text, width - 1).rstrip() + "…" if width > 1 else "…"[:width]


def cut_middle(text: str, width: int) -> str:
  """A text cut to a width in its middle; of the two ends the later one is longer.

  >>> cut_middle("BottleneckResNetBlock_12", 16)
  'Bottle…tBlock_12'
  """
  if cell_len(text) <= width:
    return text
  if width < 3:
    return cut_end(text, width)
  head = (width - 1) * 2 // 5
  tail = text
  while cell_len(tail) > width - 1 - head:
    tail = tail[1:]
  return f"{set_cell_size(text, head).rstrip()}…{tail}"
