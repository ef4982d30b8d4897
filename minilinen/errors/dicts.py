"""Mistakes with dicts of variables, and with the settings that a run has by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from minilinen.errors.base import MinilinenError, near, nearest


class FrozenDictError(MinilinenError, ValueError):
  """Somebody tried to change a FrozenDict.

  Example:
    nn.FrozenDict({"a": 1})["a"] = 2
  """

  takes = ("key", "is_branch")
  says = "FrozenDict is immutable: {key!r} cannot be set."
  wrong = "d[{key!r}] = ..."
  right = "d = d.copy({opening}{key!r}: ...{closing})"
  mend = "or work on a dict of your own, nested ones too: d.unfreeze() of the whole tree."

  branch = (
    "work on a dict of your own, nested ones too: {key!r} has a dict, and a copy with another one loses the rest of "
    "what is in it."
  )

  def __init__(self, key: Any, is_branch: bool = False):
    case = dict(right="d = d.unfreeze(); d[{key!r}] = ...", mend=self.branch) if is_branch else {}
    super().__init__(key, is_branch, opening="{", closing="}", **case)


class NotADictError(MinilinenError, TypeError):
  """A function of dicts got something else.

  Example:
    core.pop((x, {"params": {}}), "params")
  """

  takes = ("value", "called")
  says = "Expected FrozenDict or dict, got {type}, in core.{called}."
  mend = "pass variables, or a collection of them, as init returns them."

  pair = "what init_with_output, or apply with mutable=, returns is a pair: y, variables = ..."
  other_mapping = "make a dict of it first."

  def __init__(self, value: Any, called: str):
    case: dict[str, Any] = {}
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Mapping):
      case = dict(right="core.{called}(variables, ...)", mend=self.pair)
    elif isinstance(value, Mapping):
      case = dict(right="core.{called}(dict(d), ...)", mend=self.other_mapping)
    super().__init__(value, called, type=type(value), **case)


class FlagNotFoundError(MinilinenError, KeyError):
  """A setting of the run was asked for that nobody passed.

  Example:
    core.apply(lambda scope: scope.get_flag("train"))({})
  """

  takes = ("flag", "path", "there")
  says = "The flag {flag!r} is not set in this run.{hint}"
  right = "scope.get_flag({flag!r}, False)"
  mend = 'or pass it to the run: core.apply(fn, flags={opening}"{flag}": True{closing}).'

  __str__ = Exception.__str__  # that of a KeyError quotes the text

  def __init__(self, flag: str, path: str, there: Iterable[str]):
    there = [*there]
    case = (
      dict(right="scope.get_flag({meant!r})", mend="", meant=near(flag, there)[0])
      if near(flag, there)
      else {}
    )
    super().__init__(flag, path, hint=nearest(flag, there), opening="{", closing="}", **case)
