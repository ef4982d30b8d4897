"""What all errors and warnings of minilinen have in common: what they know, and the words for it.

A message says what went wrong, where (the module's path and the user's line), what was expected and found,
the nearest right name, and how to mend it, with right code; `minilinen.tracing.layout` lays it out. What was passed to
the module that failed stands in a note below the message (`Exception.add_note`), which `minilinen.module` adds to
every exception, also to those of JAX and of users. A mistake that Flax lets pass is a warning here: `warn` shows it
where it happens, and tells whoever records.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from minilinen.tracing import events
from minilinen.tracing.layout import laid_out
from minilinen.tracing.recorder import current
from minilinen.tracing.source import Source, user_source


class Told:
  """What an error and a warning know.

  Attributes:
    path: path of the module it happened in, as text, "" if it is not known.
    source: the user's line that caused it, None if it is not known.
    plain: the message with each part of it on one line, however long.
    message: the message's sentences alone.
    expected, found: what should be there and what is, in short.
    mend: what to do about it.
  """

  path: str = ""
  source: Source | None = None
  plain: str = ""
  message: str = ""
  expected: str = ""
  found: str = ""
  mend: str = ""
  args: tuple[Any, ...]

  def _tell(
    self,
    message: str,
    depth: int,
    path: str,
    mend: str,
    wrong: str,
    right: str,
    expected: str = "",
    found: str = "",
    source: Source | None = None,
    places: Mapping[str, Source | None] | None = None,
  ) -> str:
    """Learns everything, and gives the message laid out."""
    self.path, self.message = path, message
    self.source = source or user_source(depth + 1)
    self.expected, self.found, self.mend = expected, found, right or mend
    others = {label: str(at or "") for label, at in (places or {}).items()}
    parts = {"module": path, "line": str(self.source or ""), **others, "expects": expected, "found": found}
    parts |= {"wrong": wrong, "right": right}
    lines = [f"  {label:<8}{text}" for label, text in parts.items() if text]
    self.plain = "\n".join([message, *lines, *([f"  mend    {mend}"] if mend else [])])
    return laid_out(message, parts, mend)

  def __reduce__(self) -> Any:
    return _restored, (type(self), self.args, self.__dict__)


class MinilinenError(Told, Exception):
  """Base of all errors of minilinen's own."""

  def __init__(
    self,
    message: str,
    *,
    path: str = "",
    expected: str = "",
    found: str = "",
    mend: str = "",
    wrong: str = "",
    right: str = "",
    source: Source | None = None,
    places: Mapping[str, Source | None] | None = None,
  ):
    super().__init__(self._tell(message, 2, path, mend, wrong, right, expected, found, source, places))


FlaxError = MinilinenError


class MinilinenWarning(Told, UserWarning):
  """Base of all warnings of minilinen's own: of programs that Flax runs, and that hardly do what they should."""

  def __init__(
    self,
    message: str,
    *,
    path: str = "",
    expected: str = "",
    found: str = "",
    mend: str = "",
    wrong: str = "",
    right: str = "",
    source: Source | None = None,
    places: Mapping[str, Source | None] | None = None,
  ):
    super().__init__(self._tell(message, 2, path, mend, wrong, right, expected, found, source, places))


def _restored(cls: type[Any], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
  """An error read back from a pickle: its message is built already."""
  error: Any = cls.__new__(cls, *args)
  error.args = args
  error.__dict__.update(state)
  return error


_shown: dict[Any, Any] = {}


def warn(warning: MinilinenWarning) -> None:
  """Shows a warning at the user's line, and notes it in the trace of whoever records."""
  note(warning)
  at = warning.source
  warnings.warn_explicit(
    warning, type(warning), at.file if at else "<unknown>", at.line if at else 1, registry=_shown
  )


def note(warning: MinilinenWarning) -> None:
  """Notes a warning in the trace of whoever records."""
  if (recorder := current()) is not None:
    recorder.event(
      events.Caught, tuple(warning.path.strip("/").split("/")) if warning.path.strip("/") else (),
      kind=type(warning).__name__, message=warning.message, expected=warning.expected, found=warning.found,
      mend=warning.mend,
    )  # fmt: skip


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
