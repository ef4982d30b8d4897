"""How a message is laid out: the same for errors, for warnings and for what `Trace.check` finds.

A message says what went wrong in sentences, and below it, labelled, where and how to mend it: in lines of 80 columns.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping

COLUMNS = 80


def laid_out(message: str, parts: Mapping[str, str], mend: str = "") -> str:
  """A message with labelled parts below it.

  Args:
    message: sentences.
    parts: label -> text, each kept on one line; an empty text is left out.
    mend: sentences that say what to do.
  """
  lines = wrapped(message)
  lines += [f"  {label:<8}{text}" for label, text in parts.items() if text]
  return "\n".join([*lines, *wrapped(mend, first="  mend    ", rest=" " * 10)])


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
