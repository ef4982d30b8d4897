"""What all errors and warnings of minilinen have in common: texts that are there to be read, and facts that fill in.

A class shows what it will say as literals: `says`, and below it where (`path`), what was `expected` and `found`,
`wrong` and `right` code, and how to `mend` it. `{name}` in a text stands for a fact, which a constructor takes in the
order of `takes` or by its name; a fact that nobody gave reads as nothing. Below "Example:" in its docstring stands the
shortest program that leads to it. To add one: write the class so, list it in `__init__.py`, raise it; the tests run
the program.

`minilinen.tracing.layout` lays the texts out. What was passed to the module that failed stands in a note below the
message (`Exception.add_note`), which `minilinen.module` adds to every exception, also to those of JAX and of users. A
mistake that Flax lets pass is a warning here: `warn` shows it where it happens, and tells whoever records.
"""

from __future__ import annotations

import re
import types
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from minilinen.spelling import misspelt as misspelt
from minilinen.spelling import near as near
from minilinen.spelling import nearest as nearest
from minilinen.tracing import events
from minilinen.tracing.layout import laid_out
from minilinen.tracing.paths import ROOT, Path
from minilinen.tracing.recorder import current
from minilinen.tracing.source import Source, user_source
from minilinen.tracing.spec import Spec, describe
from minilinen.tracing.told import Told


class Texts:
  """The texts of an error or a warning, filled with facts.

  In the class they are as written, in an error that was raised they are filled. A fact with the name of a text stands
  in its place; `source` is the user's line if it is not the one that is running, and `lift` is the boundary
  (`LiftedAt`) at which it happened, whose line is told too.

  Attributes:
    told: what it knows, as findings and the trace hold it; the attributes below say the same in text.
    path: path of the module it happened in, as text, "" if it is not known.
    source: the user's line that caused it, None if it is not known.
    plain: the message with each part of it on one line, however long.
    message: the message's sentences alone.
    expected, found: what should be there and what is, in short.
    mend: what to do about it.
  """

  told: Told
  takes: tuple[str, ...] = ("says",)
  says: str = ""
  path: str = ""
  expected: str = ""
  found: str = ""
  wrong: str = ""
  right: str = ""
  mend: str = ""
  source: Source | None = None
  plain: str = ""
  message: str = ""
  args: tuple[Any, ...]

  def __init__(self, *facts: Any, **named: Any):
    if len(facts) > len(self.takes):
      raise TypeError(f"{type(self).__name__} takes {', '.join(self.takes) or 'no facts'}, but got {facts}.")
    super().__init__()
    given = dict(zip(self.takes, facts)) | named
    self.source = given.get("source") or user_source(2)
    self._texts = {text: filled(given.get(text, getattr(type(self), text)), given, _BRACE) for text in _TEXTS}
    lifted = {"lifted": str(given["lift"].source or "")} if given.get("lift") else {}
    self._places = {"line": str(self.source or "")} | lifted
    self._lay_out()

  def learn(self, **facts: str) -> None:
    """Adds facts that were not known where it was raised, such as what the module was called with."""
    self._texts = {name: filled(text, facts, _BRACE) for name, text in self._texts.items()}
    self._lay_out()

  def _lay_out(self) -> None:
    says, path, expected, found, wrong, right, mend = (
      filled(text, dict.fromkeys(self.takes, "")).replace(_BRACE, "{") for text in self._texts.values()
    )
    at = Path.parse(path) if path else None
    self.told = Told(type(self).__name__, at, self.source, says, expected, found, right or mend)
    self.message, self.path, self.expected, self.found, self.mend = says, path, expected, found, right or mend
    parts = {
      "module": path,
      **self._places,
      "expects": expected,
      "found": found,
      "wrong": wrong,
      "right": right,
    }
    lines = [f"  {label:<8}{text}" for label, text in parts.items() if text]
    self.plain = "\n".join([says, *lines, *([f"  mend    {mend}"] if mend else [])])
    self.args = (laid_out(says, parts, mend),)

  def __reduce__(self) -> Any:
    return _restored, (type(self), self.args, self.__dict__)


_BRACE = "\ue000"
"""Stands for a brace of a fact's, which a fact that comes later must not fill."""

_TEXTS = ("says", "path", "expected", "found", "wrong", "right", "mend")


class MinilinenError(Texts, Exception):
  """Base of all errors of minilinen's own.

  Example:
    raise nn.errors.MinilinenError("what a user's own error says")
  """


FlaxError = MinilinenError


class MinilinenWarning(Texts, UserWarning):
  """Base of all warnings of minilinen's own: of programs that Flax runs, and that hardly do what they should.

  Example:
    nn.errors.warn(nn.errors.MinilinenWarning("what a user's own warning says"))
  """


class MinilinenHint(MinilinenWarning):
  """Base of all hints: of what a check finds in programs that may well mean it, such as a layer kept for later.

  Its class's name ends in "Hint": by that a finding, which keeps the name alone, is told from a warning.

  Example:
    raise nn.errors.MinilinenHint("what a user's own hint says")
  """


def filled(text: str, facts: Mapping[str, Any], brace: str = "{") -> str:
  """A text with facts in the places of their names. Other braces stay as they are.

  >>> filled("{name!r} is {value:short}, there are {others:listed}", dict(name="a", value=None, others=["b", "c"]))
  "'a' is None, there are b, c"
  >>> filled('{"params": params}, not {params}', {"params": 3})
  '{"params": params}, not 3'
  """

  def read(found: re.Match[str]) -> str:
    if found[1] not in facts:
      return found[0]
    return _READ[found[2] or ""](facts[found[1]]).replace("{", brace)

  return re.sub(r"\{([a-z_]+)(!r|:[a-z]+)?\}", read, text)


def short(found: Any) -> str:
  """What a value is, in a few words."""
  if found is None:
    return "None"
  if isinstance(found, Mapping):
    keys = ", ".join(sorted(map(str, found))[:8])
    return f"{_a(found)} with the keys {keys}" if keys else f"an empty {type(found).__name__}"
  if isinstance(found, types.FunctionType):
    return "a lambda" if found.__name__ == "<lambda>" else f"the function {found.__name__}"
  text = repr(found)
  if len(text) > 40 or "\n" in text:
    return f"an instance of {type(found).__name__}"
  return f"{text}, {_a(found)}" if isinstance(found, (str, int, float, list, tuple)) else text


def _a(found: Any) -> str:
  """The class of a value with its article."""
  name = type(found).__name__
  return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"


def in_words(found: Any) -> str:
  """What was passed: an array as its shape, a number as it is, anything else in a few words."""
  described = describe(found)
  return str(described) if isinstance(described, (Spec, bool, int, float)) else short(found)


def _listed(names: Iterable[Any]) -> str:
  return ", ".join(map(str, names)) or "none"


def _quoted(names: Iterable[Any]) -> str:
  return ", ".join(map(repr, names)) or "none"


_READ = {
  "": str,
  "!r": repr,
  ":short": short,
  ":data": lambda value: str(describe(value)),
  ":words": in_words,
  ":listed": _listed,
  ":quoted": _quoted,
}


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
  show(warning)


def show(warning: MinilinenWarning) -> None:
  """Shows a warning at the user's line only: what it says is of the code, not of the run."""
  at = warning.source
  warnings.warn_explicit(
    warning, type(warning), at.file if at else "<unknown>", at.line if at else 1, registry=_shown
  )


def note(warning: MinilinenWarning) -> None:
  """Notes a warning in the trace of whoever records."""
  if (recorder := current()) is not None:
    recorder.event(events.Caught, warning.told.path or ROOT, told=warning.told)
