"""Submodules in attributes: how a module takes in what is assigned to it.

A module that stands in a field, or is assigned in `setup`, alone or in a list, a dict or any pytree, becomes a
submodule: it is cloned if it came from outside (`parent=None`), gets the attribute's name with its place in the
container ("layers_0"), and is bound. This is the one place that looks into attributes; lifted transforms use
`modules_in` and `map_modules` from here to carry submodules across a boundary.
"""

from __future__ import annotations

import dataclasses
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jax

from minilinen.configurations import config
from minilinen.core.frozen_dict import FrozenDict
from minilinen.core.meta import AxisMetadata
from minilinen.core.scope import Scope, Variable
from minilinen.core.tree import Tree
from minilinen.tracing import events
from minilinen.tracing.recorder import current

if TYPE_CHECKING:
  from minilinen.module.module import Module

# Tree -> id of a module from outside -> its clone: what is shared outside stays shared inside. A clone keeps
# the module that it is of, so that its id stays its own; nothing here keeps a clone or a scope.
_adopted: weakref.WeakKeyDictionary[Tree, weakref.WeakValueDictionary[int, Any]] = weakref.WeakKeyDictionary()

_PLAIN = (int, float, str, bytes, type(None), jax.Array, Scope, Variable, AxisMetadata, type)


def register(self: Module, name: str, value: Any) -> None:
  """Sets an attribute of a bound module, and makes submodules of the modules in it."""
  if isinstance(value, _PLAIN):
    object.__setattr__(self, name, value)
    return
  scope = self.scope
  assert scope is not None
  clones = _adopted.setdefault(scope.tree, weakref.WeakValueDictionary())
  preserve = getattr(type(self), "preserve_adopted_names", config.preserve_adopted_names)
  taken: list[tuple[Module, str]] = []

  def take(suffix: str, module: Module) -> Module:
    adopted_name, how = None, "attribute"
    if module.parent is None:
      adopted_name, how = (module.name if preserve else None), "adopted"
      clone = clones.get(id(module))
      if clone is None:
        clone = clones[id(module)] = module.clone(name=None)
        object.__setattr__(clone, "_adopted_from", module)
      module = clone
    if module.name is None:
      object.__setattr__(module, "parent", self)
      object.__setattr__(module, "name", adopted_name or f"{name}{suffix}")
      taken.append((module, how))
    return module

  object.__setattr__(self, name, _frozen(map_modules(take, value)))
  for module, how in taken:
    module._attach(how)


def record_name(module: Module, how: str) -> None:
  """Notes in the trace that a submodule got its name."""
  if (recorder := current()) is not None and module.scope is not None:
    recorder.event(events.Name, module.scope.path, module=type(module).__name__, how=how)


def map_modules(fn: Callable[[str, Module], Any], value: Any, suffix: str = "") -> Any:
  """A value with `fn(suffix, module)` in the place of every module in it; what holds none is kept as it is.

  The suffix says where the module stands: "_0" in a list, "_a_1" in a list in a dict.
  """
  if hasattr(type(value), "_call_is_wrapped"):
    return fn(suffix, value)
  if isinstance(value, _PLAIN) or (callable(value) and not dataclasses.is_dataclass(value)):
    return value
  if isinstance(value, (tuple, list)):
    parts = [map_modules(fn, part, f"{suffix}_{i}") for i, part in enumerate(value)]
    if all(a is b for a, b in zip(parts, value)):
      return value
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
  if isinstance(value, (dict, FrozenDict)):
    entries = {k: map_modules(fn, part, f"{suffix}_{k}") for k, part in value.items()}
    if all(entries[k] is value[k] for k in entries) and not isinstance(value, FrozenDict):
      return value
    return type(value)(entries)
  return _map_pytree(fn, value, suffix)


def _map_pytree(fn: Callable[[str, Module], Any], value: Any, suffix: str) -> Any:
  """As `map_modules`, for the pytrees that users register."""
  paths, treedef = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda x: x is not value and _holds(x))
  if len(paths) == 1 and paths[0][1] is value:
    return value
  parts = [map_modules(fn, part, suffix + "".join(f"_{_plain_key(k)}" for k in path)) for path, part in paths]
  if all(a is part for a, (_, part) in zip(parts, paths)):
    return value
  return jax.tree.unflatten(treedef, parts)


def _holds(x: Any) -> bool:
  return hasattr(type(x), "_call_is_wrapped") or isinstance(x, (tuple, list, dict, FrozenDict))


def _plain_key(key: Any) -> Any:
  for attribute in ("key", "idx", "name"):
    if hasattr(key, attribute):
      return getattr(key, attribute)
  return key


def modules_in(value: Any) -> list[Module]:
  """The modules that stand in a value, in order, not those inside of them."""
  found: list[Module] = []

  def keep(suffix: str, module: Module) -> Module:
    found.append(module)
    return module

  map_modules(keep, value)
  return found


def method_owner(cls: type[Any], name: str) -> str | None:
  """The class, or the one it inherits from, in which a name is a method; None if there is none."""
  for base in cls.__mro__:
    if name in vars(base):
      is_ours = base.__module__.startswith("minilinen.module")
      is_method = isinstance(
        vars(base)[name], (types.FunctionType, property) if is_ours else types.FunctionType
      )
      return ("Module" if is_ours else base.__name__) if is_method and base is not object else None
  return None


def hidden_methods(cls: type[Any], fields: Iterable[str]) -> tuple[tuple[str, str], ...]:
  """The fields that a class declares which hide a method, each with the method's class.

  A field's default may be a function. It is a method only if it was written in the class under the field's name.
  """
  found: list[tuple[str, str]] = []
  for name in fields:
    own = cls.__dict__.get(name)
    if isinstance(own, types.FunctionType) and own.__qualname__ == f"{cls.__qualname__}.{name}":
      found.append((name, cls.__name__))
    else:
      bases = (owner for base in cls.__mro__[1:] if (owner := method_owner(base, name)) is not None)
      inherited = next((b for b in cls.__mro__[1:] if name in getattr(b, "__annotations__", {})), None)
      owner = next(bases, None)
      if owner is not None and inherited is None:
        found.append((name, owner))
  return tuple(found)


def _frozen(value: Any) -> Any:
  """Lists as tuples and dicts as FrozenDicts, so that nobody adds a module after its names are given."""
  if isinstance(value, list):
    return tuple(_frozen(part) for part in value)
  if type(value) is tuple:
    return tuple(_frozen(part) for part in value)
  if isinstance(value, Mapping) and isinstance(value, dict):
    return FrozenDict({k: _frozen(part) for k, part in value.items()})
  return value
