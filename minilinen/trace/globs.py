"""Patterns over paths: "params/**/kernel".

`Trace.find` and the views of `viz` name variables and modules by such patterns. A path is a sequence
of names; a pattern is matched name by name, so that a slash inside a name means nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

ANY = "**"


def split_path(path: str | Iterable[str]) -> tuple[str, ...]:
  """A path or pattern as its names; "" is the root.

  >>> split_path("encoder/Dense_0")
  ('encoder', 'Dense_0')
  >>> split_path(("encoder", "a/b"))
  ('encoder', 'a/b')
  """
  if isinstance(path, str):
    return tuple(name for name in path.split("/") if name)
  return tuple(path)


def matches(pattern: str | Sequence[str], path: str | Sequence[str]) -> bool:
  """Whether a whole path fits a pattern.

  Args:
    pattern: names with `*`, `?` and `[seq]` as in a shell, or `**` for any number of levels, none included.
    path: the path, as text or as names.

  >>> matches("params/**/kernel", "params/kernel"), matches("params/**/kernel", "params/a/b/kernel")
  (True, True)
  >>> matches("params/*/kernel", "params/a/b/kernel"), matches("params/Dense_*/*", "params/Dense_7/bias")
  (False, True)
  """
  wanted = split_path(pattern)
  places = _skip(wanted, {0})
  for name in split_path(path):
    places = _skip(wanted, {after for place in places for after in _step(wanted, place, name)})
    if not places:
      return False
  return len(wanted) in places


def _step(wanted: tuple[str, ...], place: int, name: str) -> Iterable[int]:
  """Where in the pattern one can stand after reading a name."""
  if place == len(wanted):
    return ()
  if wanted[place] == ANY:
    return (place,)
  return (place + 1,) if wanted[place] == name or fnmatchcase(name, wanted[place]) else ()


def _skip(wanted: tuple[str, ...], places: set[int]) -> set[int]:
  """The same places, and those behind a `**` that stands for no level at all."""
  for place in sorted(places):
    while place < len(wanted) and wanted[place] == ANY:
      place += 1
      places.add(place)
  return places
