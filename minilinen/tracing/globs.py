"""May be skipped: patterns over paths: "params/**/kernel".

`Trace.find` and the views of `viz` name variables and modules by such patterns. A path is a sequence
of names; a pattern is matched name by name, so that a slash inside a name means nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fnmatch import fnmatchcase

from minilinen.tracing.paths import Path

ANY = "**"


def matches(pattern: str | Sequence[str], path: str | Sequence[str]) -> bool:
  """Whether a whole path fits a pattern. Of a long path only the ends are read, if the pattern has one `**`.

  Args:
    pattern: names with `*`, `?` and `[seq]` as in a shell, or `**` for any number of levels, none included.
    path: the path, as text or as names.

  >>> matches("params/**/kernel", "params/kernel"), matches("params/**/kernel", "params/a/b/kernel")
  (True, True)
  >>> matches("params/*/kernel", "params/a/b/kernel"), matches("params/Dense_*/*", "params/Dense_7/bias")
  (False, True)
  """
  names = Path.of(path)
  first, *rest = _chunks(Path.of(pattern))
  if not rest:
    return len(first) == len(names) and _fit(first, names, 0)
  *middle, last = rest
  start, end = len(first), len(names) - len(last)
  if start > end or not _fit(first, names, 0) or not _fit(last, names, end):
    return False
  for chunk in middle:
    while start + len(chunk) <= end and not _fit(chunk, names, start):
      start += 1
    start += len(chunk)
  return start <= end


def _chunks(wanted: Path) -> list[tuple[str, ...]]:
  """The parts of a pattern between its `**`."""
  borders = [-1, *(i for i, name in enumerate(wanted) if name == ANY), len(wanted)]
  return [wanted[start + 1 : end] for start, end in itertools.pairwise(borders)]


def _fit(chunk: tuple[str, ...], names: tuple[str, ...], start: int) -> bool:
  """Whether a chunk fits the names that begin at `start`."""
  return all(
    wanted == name or fnmatchcase(name, wanted)
    for wanted, name in zip(chunk, itertools.islice(names, start, start + len(chunk)))
  )
