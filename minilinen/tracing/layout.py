"""How a message is laid out: the same for errors, for warnings and for what `Trace.check` finds.

A message says what went wrong in sentences, and below it, labelled, where and how to mend it: in lines of 80 columns.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping

COLUMNS = 80
_REST = " " * 10
_PLACES = ("module", "model", "line", "lifted")
_CODE = ("wrong", "right")


def laid_out(message: str, parts: Mapping[str, str], mend: str = "") -> str:
  """A message with labelled parts below it.

  Args:
    message: sentences.
    parts: label -> text; a place is kept on one line, an empty text is left out.
    mend: sentences that say what to do.
  """
  lines = wrapped(message)
  for label, text in parts.items():
    first = f"  {label:<8}"
    if label in _CODE:
      lines += _wrapped_code(text, first)
    else:
      lines += [first + text] * bool(text) if label in _PLACES else wrapped(text, first, _REST)
  return "\n".join([*lines, *wrapped(mend, first="  mend    ", rest=_REST)])


def _wrapped_code(text: str, first: str) -> list[str]:
  """Code in lines that are still code: broken after commas, and a comment stands on a line of its own."""
  lines: list[str] = []
  for line in text.splitlines():
    parts = [line] if len(first + line) <= COLUMNS else re.split(r"   (?=# )", line)
    for part in parts:
      begin = _REST if lines else first
      whole = re.sub(r"(?<![,;]) ", "\0", part.strip())
      broken = textwrap.wrap(
        whole, COLUMNS, initial_indent=begin, subsequent_indent=_REST, break_long_words=False,
        break_on_hyphens=False,
      )  # fmt: skip
      lines += [line.replace("\0", " ") for line in broken]
  return lines


def wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
  """A text in lines: one if it fits, else a new one for each sentence, broken where that is too long."""
  if len(first + text) <= COLUMNS:
    return [first + text] if text else []
  lines: list[str] = []
  for sentence in re.split(r"(?<=[.?!]) (?=[A-Z])", text):
    begin = rest if lines else first
    lines += textwrap.wrap(
      sentence, COLUMNS, initial_indent=begin, subsequent_indent=rest or "  ",
      break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
  return lines
