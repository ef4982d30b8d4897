"""May be skipped: reading a saved trace, and what to say when it cannot be read; `Trace.save` writes it, by `codec`."""

from __future__ import annotations

import json
import os

from minilinen.tracing.codec import FORMAT, Damaged, Saved, decoded
from minilinen.tracing.events import Record

_AGAIN = "Record the trace again and save it with `trace.save(file)`."
_OTHER = "Give a file that `trace.save(file)` wrote."


class TraceFileError(ValueError):
  """A saved trace cannot be read."""

  def __init__(self, file: str, what: str, mend: str):
    super().__init__(f"{file}: {what}. {mend}")


def loads(text: str, file: str = "the text") -> tuple[Saved, tuple[Record, ...]]:
  """What a JSON text holds.

  Raises:
    TraceFileError: if it holds none that can be read.
  """
  try:
    whole = json.loads(text, parse_constant=_no_number)
  except (ValueError, RecursionError) as error:
    raise TraceFileError(file, *_why_no_json(text, error)) from None
  try:
    return decoded(whole)
  except Damaged as error:
    no_trace = not isinstance(whole, dict) or whole.get("format") != FORMAT
    raise TraceFileError(file, str(error), _OTHER if no_trace else _AGAIN) from None


def load(file: str | os.PathLike[str]) -> tuple[Saved, tuple[Record, ...]]:
  """What a file holds.

  Raises:
    TraceFileError: if it holds none that can be read.
  """
  try:
    with open(file, encoding="utf-8") as source:
      text = source.read()
  except UnicodeDecodeError:
    raise TraceFileError(os.fspath(file), "it is no trace: it is no text", _OTHER) from None
  return loads(text, os.fspath(file))


def _no_number(text: str) -> None:
  raise ValueError(f"{text} is no number of JSON")


def _why_no_json(text: str, error: Exception) -> tuple[str, str]:
  if not text.strip():
    return "it is empty", _AGAIN
  if f'"{FORMAT}"' not in text:
    return f"it is no trace: it is not JSON ({error})", _OTHER
  if not text.rstrip().endswith("]}"):
    return f"it is cut off after {len(text):,} characters", _AGAIN
  return f"it is damaged: {error}", _AGAIN
