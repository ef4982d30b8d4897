"""The life of an instance: its parent, its automatic name, its scope, when `setup` runs, and how it is copied.

A module is constructed long before it has variables, so most of this is about when. A submodule made in a compact
method is bound at once; one in `setup` when it is assigned, or at once if it has a `name=`; one that stands in a field
when the module around it is. `setup` runs when a bound module is first used, that is when a method is called or an
attribute is missing that it may make.
The module that a user made never changes: `init` and `apply` run a clone of it (`runs.py`), and a lifted transform
runs another inside.
"""

from __future__ import annotations

import copyreg
import weakref
from collections.abc import Iterable
from typing import Any, Self

from minilinen import errors
from minilinen.configurations import config
from minilinen.core.run_span import within
from minilinen.core.scope import Scope
from minilinen.core.tree import Tree
from minilinen.module import mistakes
from minilinen.module.attributes import PLAIN, immutable, map_modules, modules_in
from minilinen.module.base import UNSPECIFIED, ModuleBase, ModuleState
from minilinen.module.frames import parent_now
from minilinen.tracing import events
from minilinen.tracing.recorder import current
from minilinen.tracing.spec import describe

# Tree -> id of a module from outside -> its clone: what is shared outside stays shared inside. A clone keeps
# the module that it is of, so that its id stays its own; nothing here keeps a clone or a scope.
_adopted: weakref.WeakKeyDictionary[Tree, weakref.WeakValueDictionary[int, Any]] = weakref.WeakKeyDictionary()

_COPY_AND_PICKLE = frozenset(
  {
    "__getstate__",
    "__setstate__",
    "__getnewargs_ex__",
    "__reduce__",
    "__reduce_ex__",
    "__copy__",
    "__deepcopy__",
  }
)

_set = object.__setattr__  # looked up once: every field that a constructor sets comes here


class ModuleLife(ModuleBase):
  """Birth, setup, attributes and copies of a module."""

  # Birth: parent, name, scope.

  def __post_init__(self) -> None:
    _set(self, "_state", ModuleState())
    parent = self.parent
    if parent is UNSPECIFIED:
      parent = parent_now()
      _set(self, "parent", parent)
    if isinstance(parent, ModuleLife):
      if not parent._initialization_allowed:
        raise mistakes.submodule_in_a_plain_method(self, parent)
      if self.name is None and parent._state.in_setup and not parent._state.in_compact:
        return
    self._attach("automatic" if self.name is None else "explicit")

  def _attach(self, how: str) -> None:
    """Finds the module its name and its scope, and binds the modules in its fields."""
    parent = self.parent
    if isinstance(parent, ModuleLife):
      if self.name is None:
        prefix = type(self).__name__
        number = parent._state.cursors.get(prefix, 0)
        parent._state.cursors[prefix] = number + 1
        object.__setattr__(self, "name", f"{prefix}_{number}")
      if parent.scope is not None:
        name = self.name or ""
        again = parent._state.setup_again and parent._state.in_setup
        if not again:
          parent._check_free("submodule", name, None)
        parent._state.children[name] = self
        object.__setattr__(self, "scope", parent.scope.push(self.name, reuse=again))
        record_name(self, how)
    elif isinstance(parent, Scope):
      object.__setattr__(self, "scope", parent)
    elif parent is not None:
      raise errors.ParentError(parent, type(self).__name__)
    if self.scope is not None:
      for field in self._fields():
        value = getattr(self, field)
        if not isinstance(value, PLAIN):
          register(self, field, value)
      self._state.initialized = True

  @property
  def _initialization_allowed(self) -> bool:
    return not self._state.initialized or self._state.in_setup or self._state.in_compact

  def _check_free(self, kind: str, name: str, collection: str | None) -> None:
    """Checks that a name is free for a new variable or submodule.

    Raises:
      NameInUseError: if it isn't.
    """
    scope = self.scope
    assert scope is not None
    if scope.name_reserved(name, collection):
      used_by = _in_use(scope.reservations[name])
      raise mistakes.name_in_use(self, kind, name, used_by)

  def _bound(self, what: str) -> Scope:
    if self.scope is None:
      raise mistakes.asked_unbound(self, what)
    return self.scope

  # Setup.

  def setup(self) -> None:
    """Declares submodules and variables as attributes; runs when a bound module is first used.

    Override it instead of using `@compact` where several methods share submodules.
    """

  def _try_setup(self) -> None:
    state = self._state
    if self.scope is not None and not state.in_setup and not state.setup_done:
      if type(self).setup is not ModuleLife.setup:
        if (recorder := current()) is not None:
          within(recorder, self.scope.tree)
        state.in_setup, in_compact, state.in_compact = True, state.in_compact, False
        try:
          self.setup()
        finally:
          state.in_setup, state.in_compact = False, in_compact
      state.setup_done = True

  def _forget_setup(self) -> None:
    """Lets `setup` run again: a copy in a lifted transform must not see the variables outside."""
    state = self._state
    if state.setup_done and not state.in_setup:
      for name in state.from_setup:
        self.__dict__.pop(name, None)
      state.setup_done, state.setup_again, state.from_setup = False, True, ()

  # Attributes.

  def __setattr__(self, name: str, value: Any) -> None:
    state = self.__dict__.get("_state")
    if state is None or not (state.initialized or state.in_setup):
      _set(self, name, value)
    elif state.in_setup:
      if name in self.__dataclass_fields__ and self.__dataclass_fields__[name].init:
        raise errors.SetAttributeInModuleSetupError(name)
      if (owner := mistakes.method_owner(type(self), name)) is not None and self.scope is not None:
        where = self.scope.path_text
        errors.warn(errors.HiddenMethodWarning(name, type(self).__name__, owner, "attribute", where))
      register(self, name, value)
      state.from_setup = (*state.from_setup, name)
    elif name.startswith("__"):
      object.__setattr__(self, name, value)
    else:
      raise mistakes.cannot_set(self, name, value, isinstance(value, ModuleBase))

  def __getattr__(self, name: str) -> Any:
    if name in _COPY_AND_PICKLE or name == "_state":
      raise AttributeError(name)
    if "_state" in self.__dict__:
      self._try_setup()
    if name in self.__dict__:
      return self.__dict__[name]
    descriptor: Any = next((vars(cls)[name] for cls in type(self).__mro__ if name in vars(cls)), None)
    if hasattr(descriptor, "__get__"):
      try:
        return descriptor.__get__(self, type(self))
      except AttributeError as error:
        raise mistakes.property_of_nothing(self, name, error) from error
    raise mistakes.no_such_attribute(self, name)

  def __dir__(self) -> list[str]:
    if "_state" in self.__dict__:
      self._try_setup()
    return sorted({*object.__dir__(self)})

  # Copies.

  def clone(
    self, *, parent: Any = None, _deep_clone: Any = False, _reset_names: bool = False, **updates: Any
  ) -> Self:
    """A new module with the same settings, unbound unless a parent is given.

    Args:
      parent: the parent of the clone.
      _deep_clone: whether modules in fields are cloned too.
      _reset_names: whether those lose their names.
      **updates: settings to change.
    """
    attributes = {f: getattr(self, f) for f in self._fields()}
    attributes = {**attributes, "name": self.name, "parent": parent, **updates}
    if _deep_clone is not False:
      clones = _deep_clone if isinstance(_deep_clone, dict) else {}

      def deep(suffix: str, module: ModuleLife) -> ModuleLife:
        key = id(module.__dict__.get("_adopted_from", module))
        if key not in clones:
          reset = {"name": None} if _reset_names else {}
          clones[key] = module.clone(_deep_clone=clones, _reset_names=_reset_names, **reset)
        return clones[key]

      attributes = {k: v if k == "parent" else map_modules(deep, v) for k, v in attributes.items()}
    return type(self)(**attributes)

  def copy(self, *, parent: Any = UNSPECIFIED, name: str | None = None, **updates: Any) -> Self:
    """A new module with the same settings, made here: its parent is the module that is running.

    Args:
      parent: another parent.
      name: the name of the copy.
      **updates: settings to change.
    """
    return self.clone(parent=parent, name=name, _deep_clone=True, _reset_names=False, **updates)

  def _with_scope(self, scope: Scope) -> Self:
    """The same instance as seen from another scope, with names of its own to give out."""
    view = object.__new__(type(self))
    view.__dict__.update(self.__dict__)
    state = ModuleState()
    state.initialized, state.setup_done = True, self._state.setup_done
    view.__dict__.update(scope=scope, _state=state, name=scope.name)
    return view

  def __reduce__(self) -> Any:
    """Pickles the settings that are not the defaults: defaults such as initializers may have no name to pickle by."""
    if self.scope is not None or "_state" not in self.__dict__:
      return copyreg.__newobj__, (type(self),), dict(self.__dict__)  # type: ignore[attr-defined]
    fields = self.__dataclass_fields__
    settings = {f: getattr(self, f) for f in self._fields() if getattr(self, f) is not fields[f].default}
    extra = {k: v for k, v in self.__dict__.items() if k not in fields and k != "_state"}
    return _remade, (type(self), settings, self.name), extra or None


def register(self: ModuleLife, name: str, value: Any) -> None:
  """Sets an attribute of a bound module, and makes submodules of the modules in it."""
  if isinstance(value, PLAIN):
    object.__setattr__(self, name, value)
    return
  scope = self.scope
  assert scope is not None
  clones = _adopted.setdefault(scope.tree, weakref.WeakValueDictionary())
  preserve = getattr(type(self), "preserve_adopted_names", config.preserve_adopted_names)
  taken: list[tuple[ModuleLife, str]] = []

  def take(suffix: str, module: ModuleLife) -> ModuleLife:
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

  object.__setattr__(self, name, immutable(map_modules(take, value)))
  for module, how in taken:
    module._attach(how)


def record_name(module: ModuleLife, how: str) -> None:
  """Notes in the trace that a submodule got its name."""
  if (recorder := current()) is not None and (scope := module.scope) is not None:
    told = {"module": type(module).__name__, "how": how, "parent": describe(module.parent)}
    within(recorder, scope.tree).event(events.Name, scope.path, **told)


def _in_use(collections: Iterable[str | None]) -> str:
  """What a name is claimed for, in words."""
  return next((f"a variable of {col!r}" for col in collections if col is not None), "a submodule")


def _remade(cls: type[ModuleLife], settings: dict[str, Any], name: str | None) -> ModuleLife:
  return cls(**settings, name=name, parent=None)


def share_scope(module: ModuleLife, other: ModuleLife) -> None:
  """Gives two modules one scope: their variables and submodules then stand side by side.

  If one of them contains the other, the outer one's scope is taken.

  Args:
    module: the module that takes over a scope.
    other: the one that has it.

  Raises:
    CallShareScopeOnUnboundModuleError: if one of them is not bound.
  """
  if module.scope is None or other.scope is None:
    raise mistakes.share_of_unbound(module if module.scope is None else other)
  if other.scope.path[: len(module.scope.path)] == module.scope.path and other.scope is not module.scope:
    module, other = other, module
  before, scope = module.path, other._bound("share a scope")
  object.__setattr__(module, "scope", scope)
  if isinstance(module.parent, ModuleLife):
    module.parent._state.children.pop(module.name or "", None)
  module._state.children = other._state.children
  if (recorder := current()) is not None:
    within(recorder, scope.tree).event(events.Share, before, other=scope.path)
  for field in module._fields():
    for child in modules_in(getattr(module, field)):
      if child.parent is module and child.scope is not None:
        # Its variables move; its keys stay those of the place where it was adopted.
        moved = scope.push(child.name, reuse=True)
        moved.key_path, moved.rng_counters = child.scope.key_path, child.scope.rng_counters
        object.__setattr__(child, "scope", moved)
