"""What all errors and warnings of minilinen have in common: how a message is laid out, and the words for it.

A message says what went wrong, where (the module's path and the user's line), what was expected and found,
the nearest right name, and how to mend it, with right code, in lines of 80 columns. What was passed to the module
that failed stands in a note below the message (`Exception.add_note`), which `minilinen.module` adds to every
exception, also to those of JAX and of users.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from minilinen.trace.source import Source, user_source

_COLUMNS = 80


class MinilinenError(Exception):
  """Base of all errors of minilinen's own.

  Attributes:
    path: path of the module it happened in, as text, "" if it is not known.
    source: the user's line that caused it, None if it is not known.
    plain: the message with each part of it on one line, however long.
  """

  path: str = ""
  source: Source | None = None
  plain: str = ""

  def __init__(self, message: str, *, path: str = "", mend: str = "", wrong: str = "", right: str = ""):
    self.path = path
    self.source = user_source(2)
    code = {"module": path, "line": str(self.source or ""), "wrong": wrong, "right": right}
    parts = [f"  {label:<8}{text}" for label, text in code.items() if text]
    self.plain = "\n".join([message, *parts, *([f"  mend    {mend}"] if mend else [])])
    wrapped = _wrapped(mend, first="  mend    ", rest=" " * 10)
    super().__init__("\n".join([*_wrapped(message), *parts, *wrapped]))

  def __reduce__(self) -> Any:
    return _restored, (type(self), self.args, self.__dict__)


def _restored(cls: type[MinilinenError], args: tuple[Any, ...], state: dict[str, Any]) -> MinilinenError:
  """An error read back from a pickle: its message is built already."""
  error = cls.__new__(cls, *args)
  error.args = args
  error.__dict__.update(state)
  return error


def _wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
  """A text in lines: one if it fits, else a new one for each sentence, broken where that is too long."""
  if len(first + text) <= _COLUMNS:
    return [first + text] if text else []
  lines: list[str] = []
  for sentence in re.split(r"(?<=[.?!]) (?=[A-Z])", text):
    begin = rest if lines else first
    lines += textwrap.wrap(
      sentence, _COLUMNS, initial_indent=begin, subsequent_indent=rest or "  ",
      break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
  return lines


FlaxError = MinilinenError


def nearest(name: str, names: Iterable[Any]) -> str:
  """For a name that isn't there: the nearest that is, and all of them."""
  known = [str(n) for n in names]
  close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
  hint = f" Did you mean {close[0]!r}?" if close else ""
  return f"{hint} There: {', '.join(sorted(known)[:12]) or 'nothing'}."


def misspelt(name: str, passed: Iterable[str]) -> str:
  """For a name that was not passed: the one that was, if it looks like it."""
  close = difflib.get_close_matches(name, list(passed), n=1)
  return f" Is {close[0]!r} misspelt?" if close else ""


def short(found: Any) -> str:
  """What a value is, in a few words."""
  if found is None:
    return "None"
  if isinstance(found, Mapping):
    return f"a {type(found).__name__} with the keys {', '.join(sorted(map(str, found))[:8]) or 'none'}"
  text = repr(found)
  if len(text) > 40 or "\n" in text:
    return f"an instance of {type(found).__name__}"
  return f"{text}, a {type(found).__name__}" if isinstance(found, (str, int, float, list, tuple)) else text
