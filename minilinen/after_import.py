"""May be skipped: what is done when somebody imports a library that minilinen itself does not import.

minilinen never imports Flax, but its dicts and boxes shall be at home in those parts of Flax that work on any
(`flax.serialization`, `flax.traverse_util`). These must be told, and can be only once they are there.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

Action = Callable[[ModuleType], None]


def after_import(name: str, action: Action) -> None:
  """Calls a function with a module: now if it is imported already, and otherwise once it is.

  >>> told = []
  >>> after_import("sys", told.append)
  >>> told == [sys]
  True
  """
  _WATCH.actions.setdefault(name, []).append(action)
  if _WATCH not in sys.meta_path:
    sys.meta_path.insert(0, _WATCH)
  if name in sys.modules:
    action(sys.modules[name])


class _Watch(importlib.abc.MetaPathFinder):
  """Finds nothing itself: it lets the others find a module, and has the actions done when that has run."""

  def __init__(self) -> None:
    self.actions: dict[str, list[Action]] = {}

  def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
    if fullname not in self.actions:
      return None
    others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
    spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
    if spec is not None and spec.loader is not None:
      _run_after(spec.loader, self.actions[fullname])
    return spec


def _run_after(loader: Any, actions: list[Action]) -> None:
  execute = loader.exec_module

  def exec_module(module: ModuleType) -> None:
    execute(module)
    for action in actions:
      action(module)

  loader.exec_module = exec_module


_WATCH = _Watch()
