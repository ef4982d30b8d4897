"""May be skipped: where Python finds `flax.linen`, `flax.core` and `flax.errors` while they are minilinen."""

from __future__ import annotations

import importlib.abc
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from minilinen import errors
from minilinen.compat import names
from minilinen.compat.exchanged import Exchanged


def is_exchanged(module: str) -> bool:
  """Whether a path is that of a module which minilinen takes the place of.

  >>> is_exchanged("flax.core.meta"), is_exchanged("flax.struct")
  (True, False)
  """
  return module in names.ROOTS or module.startswith(tuple(f"{root}." for root in names.ROOTS))


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  """Finds the modules, and makes them."""

  def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
    if not is_exchanged(fullname):
      return None
    if fullname not in names.MODULES:
      if sys._getframe(2).f_code.co_name != "_find_and_load_unlocked":
        return None  # somebody asks whether it is there: importlib.util.find_spec
      raise errors.NoFlaxModuleError(fullname, names.use(fullname, ""), names.MODULES)
    return ModuleSpec(fullname, self, origin="minilinen", is_package=fullname in names.PACKAGES)

  def create_module(self, spec: ModuleSpec) -> ModuleType:
    return Exchanged(spec.name)

  def exec_module(self, module: ModuleType) -> None:
    assert isinstance(module, Exchanged)
    module.fill()
