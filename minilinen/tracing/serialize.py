"""A trace as JSON text or in a file, and back.

`Trace` calls this. The document that is written is described in `document`; here are the text,
the files, and what to say when one of them cannot be read.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from minilinen.tracing.document import FORMAT, DocumentError, document, read

if TYPE_CHECKING:
  from minilinen.tracing.trace import Trace

_AGAIN = "Record the trace again and save it with `trace.save(file)`."
_OTHER = "Give a file that `trace.save(file)` wrote."


class TraceFileError(ValueError):
  """A saved trace cannot be read."""

  def __init__(self, file: str, what: str, mend: str):
    super().__init__(f"{file}: {what}. {mend}")


def dumps(trace: Trace) -> str:
  """A trace as JSON text, with a line for each record; the records stand last."""
  whole = document(trace)
  records = whole.pop("records")
  head = "".join(
    f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)},\n" for key, value in whole.items()
  )
  rows = ",\n".join(json.dumps(record, allow_nan=False) for record in records)
  return "{" + head + '"records": [\n' + rows + "\n]}\n"


def loads(text: str, file: str = "the text") -> dict[str, Any]:
  """The constructor arguments of the trace that a JSON text holds.

  Raises:
    TraceFileError: if it holds none that can be read.
  """
  try:
    whole = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise TraceFileError(file, *_why_no_json(text, error)) from None
  try:
    return read(whole)
  except DocumentError as error:
    no_trace = not isinstance(whole, dict) or whole.get("format") != FORMAT
    raise TraceFileError(file, str(error), _OTHER if no_trace else _AGAIN) from None


def load(file: str | os.PathLike[str]) -> dict[str, Any]:
  """The constructor arguments of the trace in a file.

  Raises:
    TraceFileError: if it holds none that can be read.
  """
  try:
    with open(file, encoding="utf-8") as source:
      text = source.read()
  except UnicodeDecodeError:
    raise TraceFileError(os.fspath(file), "it is no trace: it is no text", _OTHER) from None
  return loads(text, os.fspath(file))


def _why_no_json(text: str, error: Exception) -> tuple[str, str]:
  if not text.strip():
    return "it is empty", _AGAIN
  if f'"{FORMAT}"' not in text:
    return f"it is no trace: it is not JSON ({error})", _OTHER
  if not text.rstrip().endswith("]}"):
    return f"it is cut off after {len(text):,} characters", _AGAIN
  return f"it is damaged: {error}", _AGAIN
