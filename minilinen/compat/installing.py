"""May be skipped: `install` puts minilinen in the place of Flax Linen, and `uninstall` puts all back as it was.

What is exchanged is which modules Python finds, nothing inside of any. A module that was imported in the meantime keeps
what it has got.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType

from minilinen import errors
from minilinen.after_import import after_import
from minilinen.compat.finder import Finder, is_exchanged
from minilinen.compat.settings import FLAX_TODAY, follow
from minilinen.configurations import config


@dataclass
class _Before:
  """What was there before, to be put back."""

  modules: dict[str, ModuleType]
  settings: dict[str, bool]
  finder: Finder = field(default_factory=Finder)


_before: _Before | None = None


def install(set_aside: bool = False) -> None:
  """Lets `flax.linen`, `flax.core` and `flax.errors` be minilinen from now on, under the settings of today's Flax.

  To be called before anything imports Flax. If it is in force already, nothing happens.

  Args:
    set_aside: whether to go on if Flax was imported: who imports it from now on gets minilinen, who has it keeps it,
      and `uninstall` brings it back.

  Raises:
    FlaxImportedError: if Flax Linen was imported before.
  """
  global _before
  if _before is not None:
    return
  there = _of_flax()
  if any(map(is_exchanged, there)) and not set_aside:
    raise errors.FlaxImportedError(_holders())
  _before = _Before(there, config.as_dict())
  for name in there:
    del sys.modules[name]
  for name, value in FLAX_TODAY.items():
    config.update(name, value)
  sys.meta_path.insert(0, _before.finder)


def uninstall() -> None:
  """Puts everything back: what Python finds, which modules of Flax are imported, and minilinen's settings."""
  global _before
  if _before is None:
    return
  before, _before = _before, None
  sys.meta_path.remove(before.finder)
  for name in _of_flax():
    del sys.modules[name]
  sys.modules.update(before.modules)
  for name, value in before.settings.items():
    config.update(name, value)


def is_installed() -> bool:
  """Whether minilinen is in the place of Flax Linen."""
  return _before is not None


@contextlib.contextmanager
def installed(set_aside: bool = False) -> Iterator[None]:
  """Installs for the length of a `with` block; see `install`.

  >>> with installed(set_aside=True):
  ...   import flax.linen as nn
  >>> nn.Dense
  <class 'minilinen.layers.linear.Dense'>
  """
  was_there = is_installed()
  install(set_aside)
  try:
    yield
  finally:
    if not was_there:
      uninstall()


def _of_flax() -> dict[str, ModuleType]:
  return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "flax"}


def _holders() -> list[str]:
  """The modules outside of Flax that have imported it, or something of Flax Linen's."""
  return [
    name
    for name, module in [*sys.modules.items()]
    if name.partition(".")[0] != "flax"
    and any(_is_of_linen(value) for value in [*(getattr(module, "__dict__", None) or {}).values()])
  ]


def _is_of_linen(value: object) -> bool:
  if isinstance(value, ModuleType):
    return value.__name__.partition(".")[0] == "flax"
  return isinstance(value, type) and is_exchanged(str(value.__module__))


def _follow(configurations: ModuleType) -> None:
  if _before is not None:
    follow(configurations)


after_import("flax.configurations", _follow)
