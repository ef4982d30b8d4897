"""May be skipped: where in the user's code something happened.

A trace and an error both point at the line that a person wrote, not at the lines of
minilinen, JAX or the standard library between that line and the event. This file
walks up the stack to the first frame of the user's.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import types
from collections.abc import Iterable
from dataclasses import dataclass

import jax
import jaxlib
import numpy as np

CodePlace = tuple[types.CodeType, int]
"""The code of a frame, and where it is in it, as `f_lasti`: what is kept of a line until somebody asks for it."""


@dataclass(frozen=True)
class Source:
  """A line of code: file, line number and the function it stands in."""

  file: str
  line: int
  function: str

  def __str__(self) -> str:
    return f"{self.file}:{self.line} in {self.function}"


def _home(file: str | None) -> str:
  """The folder of a file, with a separator at the end."""
  return os.path.join(os.path.dirname(os.path.abspath(file or "")), "")


# Frames of these folders never are "the user's line". The models that minilinen
# ships as examples are a user's code like any other.
_MINILINEN = _home(os.path.dirname(__file__))
_EXAMPLES = os.path.join(_MINILINEN, "examples", "")
_STDLIB = _home(os.__file__)
_RUNNERS = ("_pytest", "pluggy", "pytest", "xdist", "execnet", "IPython", "ipykernel")
_HOMES = (
  _MINILINEN,
  os.path.join(os.path.dirname(os.path.dirname(_MINILINEN)), "viz", ""),
  *(_home(package.__file__) for package in (jax, jaxlib, np)),
  os.path.join(sysconfig.get_path("scripts"), ""),
)

_internal: dict[str, bool] = {}
_hidden: dict[str, bool] = {}
_known: dict[tuple[str, int, str], Source] = {}
_places: dict[tuple[str, str, int, int], Source] = {}


def _is_internal(file: str) -> bool:
  """Whether a file belongs to minilinen, viz, JAX, NumPy, the standard library or a program that runs tests."""
  if file.startswith("<"):
    return file.startswith(("<frozen ", "<__array_function__"))
  path = os.path.abspath(file)
  if path.startswith(_HOMES):
    return not path.startswith(_EXAMPLES)
  for folder in ("site-packages", "dist-packages"):
    _, found, inside = path.partition(os.sep + folder + os.sep)
    if found:
      return inside.split(os.sep)[0] in _RUNNERS
  return path.startswith(_STDLIB)


def source_of(error: BaseException) -> Source | None:
  """The innermost frame of the user's that an exception went through, or None."""
  found, step = None, error.__traceback__
  while step is not None:
    found = source_at(step.tb_frame, step.tb_lineno) or found
    step = step.tb_next
  return found


def source_at(frame: types.FrameType, line: int) -> Source | None:
  """A line of a frame, None if it is not the user's."""
  code = frame.f_code
  return None if _is_internal(code.co_filename) else Source(code.co_filename, line, code.co_qualname)


def source_of_frames(frames: Iterable[CodePlace]) -> Source | None:
  """The first frame of the user's, innermost first, or None."""
  for code, place in frames:
    if not _internal.get(code.co_filename) and _is_users(code):
      where = (code.co_filename, code.co_qualname, code.co_firstlineno, place)
      found = _places.get(where)
      if found is None:
        lines = (line for start, end, line in code.co_lines() if start <= place < end and line is not None)
        line = next(lines, code.co_firstlineno)
        found = _places[where] = Source(code.co_filename, line, code.co_qualname)
      return found
  return None


def _is_users(code: types.CodeType) -> bool:
  """Whether code is the user's own; the constructor that a dataclass got is not."""
  file = code.co_filename
  internal = _internal.get(file)
  if internal is None:
    internal = _internal[file] = _is_internal(file)
  return not internal and not (file == "<string>" and code.co_qualname.startswith("__create_fn__"))


def is_hidden(code: types.CodeType) -> bool:
  """Whether tracebacks go without this code: minilinen's, viz's, JAX's, or what a dataclass got for a constructor."""
  file = code.co_filename
  if file == "<string>":
    return code.co_qualname.startswith("__create_fn__")
  hidden = _hidden.get(file)
  if hidden is None:
    path = os.path.abspath(file)
    hidden = _hidden[file] = path.startswith(_HOMES[:4]) and not path.startswith(_EXAMPLES)
  return hidden


def user_source(depth: int = 1) -> Source | None:
  """The innermost frame of the user's on the stack, or None.

  Args:
    depth: how many frames to pass over before looking; 1 is the caller's own.
  """
  frame = sys._getframe(depth)
  while frame is not None:
    code = frame.f_code
    if _is_users(code):
      where = (code.co_filename, frame.f_lineno, code.co_qualname)
      found = _known.get(where)
      if found is None:
        found = _known[where] = Source(*where)
      return found
    frame = frame.f_back
  return None


def user_place(depth: int = 1) -> CodePlace | None:
  """The same frame, as little of it as can be kept."""
  frame = sys._getframe(depth)
  while frame is not None and not _is_users(frame.f_code):
    frame = frame.f_back
  return (frame.f_code, frame.f_lasti) if frame is not None else None
