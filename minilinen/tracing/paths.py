"""Paths: the names from the root of a model to a module, and the one way to write them.

A `Path` is the tuple of the names, and equal to it (a slice of it is a plain tuple); its text is "/encoder/Dense_0".
Records, errors, findings and views all say where something is by one, and everything that takes a path takes its text
too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

_NAME = re.compile(r"""(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?=/|$)|[^/]+""", re.DOTALL)


class Path(tuple[str, ...]):
  """Names from a root down; none for the root itself.

  >>> str(Path(("encoder", "Dense_0"))), str(Path())
  ('/encoder/Dense_0', '/')
  >>> print(Path(("a/b", "", "c")))
  /'a/b'/''/c
  >>> Path.parse("encoder/Dense_0") == Path.parse("/encoder/Dense_0") == ("encoder", "Dense_0")
  True
  """

  __slots__ = ()

  @classmethod
  def parse(cls, text: str) -> Path:
    """Reads a path's text, with its first slash or without."""
    return cls(_read(found) for found in _NAME.finditer(text))

  @classmethod
  def of(cls, path: str | Iterable[str]) -> Path:
    """A path as people give it: its text or its names."""
    return cls.parse(path) if isinstance(path, str) else cls(path)

  def __str__(self) -> str:
    return f"/{self.bare}"

  @property
  def bare(self) -> str:
    """The text without its first slash; "" for the root."""
    return "/".join([_written(name) for name in self])

  @property
  def parent(self) -> Path:
    """The path without its last name."""
    return Path(self[:-1])

  def __truediv__(self, name: str) -> Path:
    return Path((*self, name))

  def __add__(self, other: tuple[str, ...]) -> Path:  # type: ignore[override]
    return Path((*self, *other))


ROOT = Path()


def _written(name: str) -> str:
  """A name as it stands in a path: in quotes if it could be read as something else."""
  plain = name and name.isprintable() and not any(mark in name for mark in "/'\"")
  return name if plain else repr(name)


def _read(found: re.Match[str]) -> str:
  if found["quoted"]:
    try:
      return ast.literal_eval(found["quoted"])
    except (ValueError, SyntaxError):
      pass
  return found[0]
