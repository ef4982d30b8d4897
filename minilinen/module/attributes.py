"""Looking for modules in values (fields, what `setup` assigns, arguments); lists that are assigned become tuples.

They may stand there alone or in a list, a dict or any pytree. This is the one place that looks: `life.py` makes
submodules of what it finds, and lifted transforms carry it across their boundary.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from minilinen.core.frozen_dict import FrozenDict
from minilinen.core.meta import AxisMetadata
from minilinen.core.scope import Scope, Variable
from minilinen.module.base import ModuleBase

PLAIN = (
  int, float, str, bytes, type(None), type, types.FunctionType, jax.Array, Scope, Variable, AxisMetadata
)  # fmt: skip
"""What holds no modules; those that are quickly told first."""


def map_modules(fn: Callable[[str, Any], Any], value: Any, suffix: str = "", by_key: bool = False) -> Any:
  """A value with `fn(suffix, module)` in the place of every module in it; what holds none is kept as it is.

  The suffix says where the module stands: "_0" in a list, "_a_1" in a list in a dict. Dicts are gone through as they
  stand, or `by_key`, as JAX does; so does what crosses a boundary, and there references to variables are found too.
  """
  if isinstance(value, PLAIN):
    return fn(suffix, value) if by_key and isinstance(value, Variable) else value
  if isinstance(value, ModuleBase):
    return fn(suffix, value)
  if callable(value) and not dataclasses.is_dataclass(value):
    return value
  if isinstance(value, (tuple, list)):
    parts = [map_modules(fn, part, f"{suffix}_{i}", by_key) for i, part in enumerate(value)]
    if all(a is b for a, b in zip(parts, value)):
      return value
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
  if isinstance(value, (dict, FrozenDict)):
    keys = _sorted(value) if by_key else value
    entries = {k: map_modules(fn, value[k], f"{suffix}_{k}", by_key) for k in keys}
    if all(entries[k] is value[k] for k in entries) and not isinstance(value, FrozenDict):
      return value
    return type(value)({k: entries[k] for k in value})
  return _map_pytree(fn, value, suffix, by_key)


def _sorted(keys: Iterable[Any]) -> Iterable[Any]:
  """Keys in order, or as they come if they have none."""
  try:
    return sorted(keys)
  except TypeError:
    return keys


def _map_pytree(fn: Callable[[str, Any], Any], value: Any, suffix: str, by_key: bool) -> Any:
  """As `map_modules`, for the pytrees that users register."""
  paths, treedef = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda x: x is not value and _holds(x))
  if len(paths) == 1 and paths[0][1] is value:
    return value
  names = ["".join(f"_{_plain_key(k)}" for k in path) for path, _ in paths]
  parts = [map_modules(fn, part, suffix + name, by_key) for name, (_, part) in zip(names, paths)]
  if all(a is part for a, (_, part) in zip(parts, paths)):
    return value
  return jax.tree.unflatten(treedef, parts)


def _holds(x: Any) -> bool:
  return isinstance(x, (ModuleBase, tuple, list, dict, FrozenDict))


def _plain_key(key: Any) -> Any:
  for attribute in ("key", "idx", "name"):
    if hasattr(key, attribute):
      return getattr(key, attribute)
  return key


def modules_in(value: Any) -> list[ModuleBase]:
  """The modules that stand in a value, in order, not those inside of them."""
  found: list[ModuleBase] = []

  def keep(suffix: str, module: ModuleBase) -> ModuleBase:
    found.append(module)
    return module

  map_modules(keep, value)
  return found


def immutable(value: Any) -> Any:
  """Lists as tuples and dicts as FrozenDicts, so that nobody adds a module after its names are given."""
  if isinstance(value, list):
    return tuple(immutable(part) for part in value)
  if type(value) is tuple:
    return tuple(immutable(part) for part in value)
  if isinstance(value, Mapping) and isinstance(value, dict):
    return FrozenDict({k: immutable(part) for k, part in value.items()})
  return value
