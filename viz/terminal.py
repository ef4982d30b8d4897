"""Draws outlines with rich: in a terminal, and by rich's own exports as text, HTML and SVG.

`OutlineView` asks here for everything that is seen. Widths are decided in `layout.py`; this file only turns
fitted text into a `rich.table.Table`, colours it, and runs consoles.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .layout import Fitted, cut_end, fit
from .outline import Outline

_LIFTS = (
  "scan|vmap|remat|checkpoint|jit|map_variables|while_loop|cond|switch|vjp|jvp|grad|value_and_grad|custom_vjp"
)

# Colours say what kind of thing a word is; explicit styles, so that any console of the user's shows them.
_EVENTS = "name|key|create|read|write|sow|perturb|share"
_TREE = (
  (re.compile(rf"^(?:\d+⋯ )?[│├└─ ]*(?P<dim>(?:{_EVENTS}) |~ .*)"), None),
  (re.compile(r"^(\d+⋯ )?[│├└─ ]*[├└]─* "), "bright_black"),
  (re.compile(r"×\d+"), "bold cyan"),
  (re.compile(r"⋯$"), "bright_black"),
)
_CELLS = (
  (re.compile(r"\b(bf16|[fiuc]\d+|bool|key<\w+>)(?=\[)"), "dim"),
  (re.compile(r"\d[\d.,]* [KMGT]?B\b"), "dim"),
  (re.compile(rf"\b({_LIFTS})\b(?= |$|×)"), "magenta"),
  (re.compile(r"×\d+"), "bold cyan"),
  (re.compile(r"\(\w+\)"), "italic"),
)


def _coloured(text: str, patterns: Sequence[tuple[re.Pattern[str], str | None]]) -> Text:
  result = Text(text)
  for pattern, style in patterns:
    result.highlight_regex(pattern, style)
  return result


# Without a box of the user's own: lines below the head and above the totals, nothing at the sides.
_OPEN: dict[str, Any] = {"box": box.SIMPLE, "show_edge": False, "pad_edge": False, "padding": (0, 1, 0, 0)}


def renderable(
  outline: Outline,
  width: int,
  table_kwargs: Mapping[str, Any] = {},
  column_kwargs: Mapping[str, Any] = {},
) -> RenderableType:
  """An outline as something rich can print.

  Args:
    outline: what to draw.
    width: characters per line.
    table_kwargs: for `rich.table.Table`.
    column_kwargs: for every `add_column`.
  """
  frame = ({} if "box" in table_kwargs else _OPEN) | dict(table_kwargs)
  edge, gap = _borders(frame, column_kwargs)
  fitted = fit(outline, max(8, width - edge), gap)
  table = _table(fitted, frame, column_kwargs)
  left_out = [f"Left out at this width: {', '.join(fitted.left_out)}."] if fitted.left_out else []
  notes = [Text(note, style="dim") for note in (*outline.notes, *left_out)]
  title = [] if "title" in table_kwargs else [Text(outline.title, style="bold")]
  return Group(*title, table, *([Padding(Group(*notes), (1, 0, 0, 0))] if notes else []))


def _borders(frame: Mapping[str, Any], column_kwargs: Mapping[str, Any]) -> tuple[int, int]:
  """How wide the borders at both ends are together, and what stands between two columns."""
  widths, pen = [], Console(width=200, file=io.StringIO())
  for number in (1, 2, 3):
    table = Table(**{**frame, "title": None})
    for _ in range(number):
      table.add_column("", **{**column_kwargs, "width": 1})
    widths.append(pen.measure(table).maximum)
  gap = widths[2] - widths[1] - 1
  return widths[0] - 1, gap


def _table(fitted: Fitted, frame: Mapping[str, Any], column_kwargs: Mapping[str, Any]) -> Table:
  table = Table(**{"show_footer": bool(fitted.totals), **frame})
  totals = fitted.totals or ("",) * len(fitted.heads)
  for head, total in zip(fitted.heads, totals):
    title = cut_end(head.title, head.width)
    column = {"width": head.width, "no_wrap": True, "overflow": "ellipsis", **column_kwargs}
    title = title.rjust(head.width) if head.numbers else title
    table.add_column(Text(title), footer=_coloured(total, _CELLS), **column)
  for row in fitted.rows:
    table.add_row(_coloured(row[0], _TREE), *(_coloured(text, _CELLS) for text in row[1:]))
  return table


def console(**kwargs: Any) -> Console:
  """A console that writes into a string."""
  return Console(**{"file": io.StringIO(), "force_jupyter": False, **kwargs})
