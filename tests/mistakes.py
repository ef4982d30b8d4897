"""Small programs that make one mistake each, with the whole message that tells of it.

`CASES` of a test file is a list; `raises(CASES, error, message)` and `warns(CASES, warning, message)` register a
program in it, and `run(case)` asserts what was said. Where a message names a line, the code of that line stands in its
place.
"""

from __future__ import annotations

import linecache
import pickle
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from minilinen import errors

Case = tuple[type[BaseException], str, Callable[[], Any]]


def raises(cases: list[Case], error: type[BaseException], message: str) -> Callable[..., Any]:
  """Registers a program with the error or warning that it leads to and the whole message, notes included."""

  def register(program: Callable[[], Any]) -> Callable[[], Any]:
    cases.append((error, message, program))
    return program

  return register


def told(error: BaseException) -> str:
  """A message and its notes, with code in the place of line numbers."""
  notes = [note for note in getattr(error, "__notes__", []) if "JAX has removed" not in note]
  said = (
    [] if hasattr(error, "trap") else [str(error)]
  )  # what JAX says is JAX's affair, and ours is in the notes
  return _with_code("\n".join([*said, *notes]))


def _with_code(text: str) -> str:
  def code(match: re.Match[str]) -> str:
    return f"  {match[1]:<8}`{linecache.getline(match[2], int(match[3])).strip()}`"

  return re.sub(r"  (line|lifted) +(.*):(\d+) in .*", code, text)


def findings_text(findings: Any) -> str:
  """Findings as text, with code in the place of line numbers."""
  return _with_code(str(findings))


def _is_kept(error: Any) -> None:
  """Errors and warnings can be pickled, and say the same afterwards."""
  if isinstance(error, (errors.MinilinenError, errors.MinilinenWarning)):
    read_back = pickle.loads(pickle.dumps(error))
    assert type(read_back) is type(error) and str(read_back) == str(error) and read_back.path == error.path


def run(case: Case) -> None:
  """Runs a program, and asserts that it says what it should: of warnings, all different ones."""
  expected, message, program = case
  if not issubclass(expected, Warning):
    with pytest.raises(expected) as caught:
      program()
    assert type(caught.value) is expected
    assert told(caught.value) == message
    _is_kept(caught.value)
    return
  with warnings.catch_warnings(record=True) as shown:
    warnings.simplefilter("always", errors.MinilinenWarning)
    program()
  for warning in shown:
    _is_kept(warning.message)
  ours = [w for w in shown if isinstance(w.message, errors.MinilinenWarning)]
  assert {w.category for w in ours} == {expected}
  assert "\n".join(dict.fromkeys(told(w.message) for w in ours if isinstance(w.message, Warning))) == message
