"""May be skipped: a module that takes the place of one of Flax's: minilinen's names, and an error for all others.

It never asks Flax for a name: what is missing is said, and Python's `hasattr`, `getattr` and `except ImportError` see
it as they would of any module.
"""

from __future__ import annotations

import dis
import importlib
import sys
from types import ModuleType
from typing import Any

from minilinen import errors
from minilinen.compat import names
from minilinen.compat.private import PRIVATE


class Exchanged(ModuleType):
  """`flax.linen` and so on, of minilinen's names.

  Those of its own stand in it from the beginning; those that Flax's file imports are looked for when asked for.
  """

  def fill(self) -> None:
    """Puts the names of minilinen's module in."""
    ours = importlib.import_module(names.MODULES[self.__name__])
    hidden = names.OURS_ALONE if self.__name__ == names.LINEN else frozenset[str]()
    own = {n: v for n, v in vars(ours).items() if n[0] != "_" and n not in hidden and not _is_below(v, ours)}
    vars(self).update(own, **PRIVATE.get(self.__name__, {}))
    self.__doc__, self.__file__ = ours.__doc__, ours.__file__
    below = {
      path.rpartition(".")[2]: path for path in names.MODULES if path.rpartition(".")[0] == self.__name__
    }
    for name, path in {**below, **names.SHOWN.get(self.__name__, {})}.items():
      setattr(self, name, importlib.import_module(path))

  def __getattr__(self, name: str) -> Any:
    if name.startswith("__"):
      raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
    if self.__name__ not in names.ROOTS:
      found = _imported(self.__name__, name)
      if found is not None:
        setattr(self, name, found)
        return found
    is_import = _is_import(sys._getframe(1))
    kind: Any = errors.NoFlaxImportError if is_import else errors.NoFlaxNameError
    raise kind(self.__name__, name, names.use(self.__name__, name), dir(self))


def _is_below(value: Any, module: ModuleType) -> bool:
  """Whether something is a module of minilinen's below another: how that is divided is nobody's affair."""
  return isinstance(value, ModuleType) and value.__name__.startswith(f"{module.__name__}.")


def _imported(module: str, name: str) -> Any:
  """What a file of Flax's imports under a name, None if there is no such name."""
  if name in names.IMPORTED:
    try:
      return importlib.import_module(names.IMPORTED[name])
    except ModuleNotFoundError:
      return None
  if name in names.ANY:
    return Any
  for place, there in names.ELSEWHERE.items():
    if name in there.split():
      found = getattr(importlib.import_module(place), name, None)
      if found is not None:
        return found
  return None


def _is_import(frame: Any) -> bool:
  """Whether a frame stands at `from module import name`: Python takes an AttributeError for silence there."""
  return frame.f_code.co_code[frame.f_lasti] == dis.opmap["IMPORT_FROM"]
