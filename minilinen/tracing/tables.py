"""May be skipped: what a saved trace says once and then by number: paths, lines of code, values.

Writing fills them, in the order in which things are met, so that the same trace has the same bytes; reading asks them.
"""

from __future__ import annotations

import json
from typing import Any

from minilinen.tracing.paths import Path
from minilinen.tracing.source import Source

as_text = json.JSONEncoder(allow_nan=False).encode
"""Plain data as one line of JSON."""


class Damaged(ValueError):
  """What was read describes no trace."""


def checked(right: bool, value: Any, what: str) -> Any:
  """A value that was read, if it is right."""
  if not right:
    raise Damaged(f"{value!r} is no {what}")
  return value


def checked_list(plain: Any) -> list[Any]:
  """What was read, if it is a list."""
  return checked(type(plain) is list, plain, "list")


class Tables:
  """The paths, lines and values of a trace, by number.

  Args:
    names: of each path the number of the path above, -1 for the root, and a name.
    sources: of each line its file, number and function.
  """

  def __init__(self, names: Any = (), sources: Any = ()):
    self.names: list[Any] = [*names]
    self.numbers: dict[tuple[str | int, ...], int] = {(): -1}
    self.sources: dict[Source, int] = {}
    self.values: list[str] = []
    self.said: dict[str, int] = {}
    self.known: dict[Any, list[int]] = {}
    self.found: list[Any] = []
    self._paths: dict[int, tuple[Any, ...]] = {-1: ()}
    self._module_paths: dict[int, Path] = {}
    self._lines = [*map(_line, sources)]

  def number(self, path: tuple[str | int, ...]) -> int:
    """The number of a path, which from now on has one."""
    known = len(path)
    while path[:known] not in self.numbers:
      known -= 1
    number = self.numbers[path[:known]]
    for end in range(known, len(path)):
      self.names.append([number, path[end]])
      number = self.numbers[tuple(path[: end + 1])] = len(self.names) - 1
    return number

  def path(self, number: int) -> tuple[Any, ...]:
    """The path of a number."""
    unknown: list[int] = []
    at = number
    while at not in self._paths:
      if type(at) is not int or not 0 <= at < len(self.names):
        raise Damaged(f"there is no path {number!r}")
      unknown.append(at)
      above, name = self.names[at]
      if type(name) not in (str, int) or type(above) is not int or (above != -1 and not 0 <= above < at):
        raise Damaged(f"there is no path {number!r}")
      at = above
    for at in reversed(unknown):
      above, name = self.names[at]
      self._paths[at] = (*self._paths[above], name)
    return self._paths[number]

  def module_path(self, number: int) -> Path:
    """The path of a number, which is one of names only."""
    path = self.path(number)
    if number not in self._module_paths:
      self._module_paths[number] = Path(checked(all(isinstance(n, str) for n in path), path, "path"))
    return self._module_paths[number]

  def source_number(self, source: Source) -> int:
    """The number of a line, which from now on has one."""
    return self.sources.setdefault(source, len(self.sources))

  def source(self, number: Any) -> Source:
    """The line of a number."""
    if type(number) is not int or not 0 <= number < len(self._lines):
      raise Damaged(f"there is no line {number!r}")
    return self._lines[number]

  def value_number(self, plain: Any) -> int:
    """The number of a value that is plain data by now, which from now on has one."""
    key = repr(plain)
    if key not in self.said:
      self.said[key] = len(self.values)
      self.values.append(as_text(plain))
    return self.said[key]

  def value(self, number: Any) -> Any:
    """The value of a number. All that have the same one share it."""
    if type(number) is not int or not 0 <= number < len(self.found):
      raise Damaged(f"there is no value {number!r}")
    return self.found[number]


def _line(plain: Any) -> Source:
  kinds = [type(x) for x in checked_list(plain)]
  if kinds != [str, int, str]:
    raise Damaged(f"one of its sources is damaged ({plain!r} is no line)")
  return Source(*plain)
