"""Where in the user's code something happened.

A trace and an error both point at the line that a person wrote, not at the lines of
minilinen, JAX or the standard library between that line and the event. This file
walks up the stack to the first frame of the user's.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
  """A line of code: file, line number and the function it stands in."""

  file: str
  line: int
  function: str

  def __str__(self) -> str:
    return f"{self.file}:{self.line} in {self.function}"


# Frames of these packages never are "the user's line". The models that minilinen
# ships as examples are a user's code like any other.
_PACKAGES = ("minilinen", "viz", "jax", "jaxlib")
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_EXAMPLES = os.path.join(_ROOT, "minilinen", "examples") + os.sep
_STDLIB = os.path.dirname(os.__file__) + os.sep
_SITE = os.path.join(_STDLIB, "site-packages") + os.sep

_internal: dict[str, bool] = {}


def _is_internal(file: str) -> bool:
  """Whether a file belongs to minilinen, viz, JAX or the standard library."""
  path = os.path.abspath(file)
  for home in (_ROOT, _SITE):
    if path.startswith(home) and path[len(home) :].split(os.sep)[0] in _PACKAGES:
      return not path.startswith(_EXAMPLES)
  return file.startswith("<frozen") or (
    path.startswith(_STDLIB) and f"{os.sep}site-packages{os.sep}" not in path
  )


def user_source(depth: int = 1) -> Source | None:
  """The innermost frame of the user's on the stack, or None.

  Args:
    depth: how many frames to pass over before looking.
  """
  frame = sys._getframe(depth)
  while frame is not None:
    file = frame.f_code.co_filename
    internal = _internal.get(file)
    if internal is None:
      internal = _internal[file] = _is_internal(file)
    if not internal:
      return Source(file, frame.f_lineno, frame.f_code.co_qualname)
    frame = frame.f_back
  return None
