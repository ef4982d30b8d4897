"""May be skipped: which name was meant. Every "did you mean" asks here, so that all are equally bold.

A name that looks like none gets no guess: a wrong one costs more time than none.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


def near(name: Any, known: Iterable[Any], count: int = 1) -> list[str]:
  """The known names that look most like a name, the likeliest first.

  >>> near("kernal", ["bias", "kernel"]), near("kernal", ["bias", "scale"])
  (['kernel'], [])
  """
  return difflib.get_close_matches(str(name), sorted({str(n) for n in known}), n=count)


def did_you_mean(name: Any, known: Iterable[Any]) -> str:
  """A sentence with the name that was meant, with a space before it; nothing if none looks like it."""
  close = near(name, known)
  return f" Did you mean {close[0]!r}?" if close else ""


def nearest(name: Any, names: Iterable[Any]) -> str:
  """For a name that isn't there: the nearest that is, and all of them."""
  known = sorted(map(str, names))
  return f"{did_you_mean(name, known)} There: {', '.join(known[:12]) or 'nothing'}."


def misspelt(name: str, passed: Iterable[str]) -> str:
  """For a name that was not passed: the one that was, if it looks like it."""
  close = near(name, {*passed} - {name})
  return f" Is {close[0]!r} misspelt?" if close else ""
