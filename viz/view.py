"""What every picture can do: print, show itself in a notebook, give its rows, save itself.

A view holds an intermediate form; the methods here hand it to the back ends. `OutlineView` is the view of an
`Outline`. A new back end is a suffix in `View.savers`.
"""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from .errors import SuffixError
from .outline import Outline
from .terminal import console, renderable

_FILE_WIDTH = 120
_FONTS = "Menlo,'DejaVu Sans Mono',consolas,'Courier New',monospace"
_PRE = f'<pre style="font-family:{_FONTS};line-height:1.25">{{code}}</pre>'


class View(ABC):
  """A picture. `print` shows it, a notebook shows it, `save` writes it."""

  @property
  @abstractmethod
  def title(self) -> str:
    """What the picture shows."""

  @abstractmethod
  def drawn(self, width: int) -> RenderableType:
    """The picture for rich, at most so many characters wide."""

  @abstractmethod
  def to_rows(self) -> list[dict[str, Any]]:
    """The rows as plain data."""

  @abstractmethod
  def to_dict(self) -> dict[str, Any]:
    """The whole picture as plain data that JSON can hold."""

  def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
    yield self.drawn(options.max_width)

  def __str__(self) -> str:
    return self.text()

  __repr__ = __str__

  def _repr_html_(self) -> str:
    return self.html(code_format=_PRE, inline_styles=True)

  def text(self, **console_kwargs: Any) -> str:
    """The picture as text.

    Args:
      **console_kwargs: for `rich.console.Console`: `width`, by default the terminal's; `force_terminal`,
        by default True, which means colours, where the standard output is a terminal; ...
    """
    pen = console(**{"force_terminal": sys.stdout.isatty(), **console_kwargs})
    with pen.capture() as captured:
      pen.print(self)
    return "\n".join(line.rstrip() if "\x1b" not in line else line for line in captured.get().split("\n"))

  def html(self, width: int = _FILE_WIDTH, **export_kwargs: Any) -> str:
    """The picture as a page of HTML, by rich's export.

    Args:
      width: characters per line.
      **export_kwargs: for `Console.export_html`: `theme`, `inline_styles`, `code_format`.
    """
    return self._recorded(width).export_html(**export_kwargs)

  def svg(self, width: int = _FILE_WIDTH, **export_kwargs: Any) -> str:
    """The picture as SVG, by rich's export.

    Args:
      width: characters per line.
      **export_kwargs: for `Console.export_svg`: `title`, `theme`, `code_format` ...
    """
    return self._recorded(width).export_svg(**{"title": self.title, **export_kwargs})

  def json(self) -> str:
    """The picture's data as JSON."""
    return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

  def _recorded(self, width: int) -> Console:
    pen = console(width=width, record=True, force_terminal=True, color_system="truecolor")
    pen.print(self)
    return pen

  @property
  def savers(self) -> dict[str, Callable[[int], str]]:
    """Suffix -> what makes the content of such a file of a width."""
    return {
      ".html": lambda width: self.html(width),
      ".json": lambda width: self.json(),
      ".svg": lambda width: self.svg(width),
      ".txt": lambda width: self.text(width=width, force_terminal=False),
    }

  def save(self, path: str | os.PathLike[str], width: int = _FILE_WIDTH) -> None:
    """Writes the picture to a file, as its suffix says.

    Args:
      path: a file name that ends in one of `savers`.
      width: characters per line, where the form has lines.

    Raises:
      SuffixError: if the suffix is none of those.
    """
    name = os.fspath(path)
    suffix = os.path.splitext(name)[1]
    saver = self.savers.get(suffix.lower())
    if saver is None:
      raise SuffixError(name, suffix, self.savers)
    text = saver(width)
    with open(name, "w", encoding="utf-8") as file:
      file.write(text)


@dataclass(frozen=True, repr=False, eq=False)
class OutlineView(View):
  """The view of an outline.

  Attributes:
    kind: which view it is ("table").
    outline: what it shows.
    table_kwargs: for `rich.table.Table`.
    column_kwargs: for every `add_column` of it.
    console_kwargs: for the console that `text` and `str` write with.
  """

  kind: str
  outline: Outline
  table_kwargs: Mapping[str, Any] = field(default_factory=dict)
  column_kwargs: Mapping[str, Any] = field(default_factory=dict)
  console_kwargs: Mapping[str, Any] = field(default_factory=dict)

  @property
  def title(self) -> str:
    return self.outline.title

  def drawn(self, width: int) -> RenderableType:
    return renderable(self.outline, width, self.table_kwargs, self.column_kwargs)

  def text(self, **console_kwargs: Any) -> str:
    return super().text(**{**self.console_kwargs, **console_kwargs})

  def to_rows(self) -> list[dict[str, Any]]:
    return [dict(row.data) for row in self.outline.rows]

  def to_dict(self) -> dict[str, Any]:
    return {
      "format": "minilinen.view",
      "version": 1,
      "kind": self.kind,
      "title": self.title,
      **self.outline.data,
      "rows": self.to_rows(),
    }
