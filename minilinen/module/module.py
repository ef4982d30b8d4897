"""`Module`: a dataclass of settings plus a scope.

A subclass names its settings as fields and says in methods what it computes. Constructing one inside another's
method makes it a submodule there; assigning one in `setup` does too. This file is the life of an instance: the class
is made a dataclass, the instance finds its parent and name, is bound to a scope, runs `setup` when it is first
needed, and is cloned. What methods may say about variables is in `variables.py`, how a module is run in
`running.py`, what a call does in `call.py`, how attributes become submodules in `attributes.py`.
"""

from __future__ import annotations

import copyreg
import dataclasses
from typing import TYPE_CHECKING, Any, Self, dataclass_transform

from minilinen import errors
from minilinen.core.scope import Scope
from minilinen.module import mistakes
from minilinen.module.attributes import (
  hidden_methods,
  map_modules,
  method_owner,
  modules_in,
  record_name,
  register,
)
from minilinen.module.call import wrap_methods
from minilinen.module.context import running
from minilinen.module.running import RunMethods
from minilinen.module.state import UNSPECIFIED, ModuleState, Unspecified
from minilinen.module.variables import VariableMethods
from minilinen.tracing import events
from minilinen.tracing.recorder import current
from minilinen.tracing.spec import ModuleRef

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


@dataclass_transform(field_specifiers=(dataclasses.field,))
class _Dataclass:
  """Tells type checkers that `Module` and its subclasses are dataclasses."""


class Module(_Dataclass, VariableMethods, RunMethods):
  """Base class of all layers and models.

  Attributes:
    parent: the module or scope that this one belongs to; None for a module that belongs to none yet.
    name: its name in the parent.
    scope: its place in the variable tree; None unless it is bound.

  >>> import jax, minilinen as nn
  >>> class MLP(nn.Module):
  ...   width: int
  ...   @nn.compact
  ...   def __call__(self, x):
  ...     x = nn.relu(nn.Dense(self.width)(x))
  ...     return nn.Dense(1)(x)
  >>> variables = MLP(8).init(jax.random.key(0), jax.numpy.ones((2, 4)))
  >>> variables["params"]["Dense_0"]["kernel"].shape
  (4, 8)
  """

  parent: Module | Scope | Unspecified | None = dataclasses.field(
    default=UNSPECIFIED, repr=False, kw_only=True
  )
  name: str | None = dataclasses.field(default=None, kw_only=True)

  scope = None
  _call_is_wrapped = True
  _hidden = ()

  if TYPE_CHECKING:  # a subclass may have it, so that a field `inner: nn.Module` may be called

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

  def __init_subclass__(cls, kw_only: bool = False, **kwargs: Any) -> None:
    super().__init_subclass__(**kwargs)
    own = cls.__dict__.get("__annotations__", {})
    if "lifted_class" in cls.__dict__:
      return
    if "parent" in own or "name" in own:
      raise errors.ReservedModuleAttributeError(own)
    dataclasses.dataclass(cls, unsafe_hash="__hash__" not in cls.__dict__, repr=False, kw_only=kw_only)
    cls.__dataclass_fields__ = _in_linens_order(cls, kw_only)
    cls._hidden = hidden_methods(cls, own)
    for name, owner in cls._hidden:
      errors.warn(errors.HiddenMethodWarning(name, cls.__name__, owner, "field"))
    wrap_methods(cls)

  # Birth: parent, name, scope.

  def __post_init__(self) -> None:
    object.__setattr__(self, "_state", ModuleState())
    parent = self.parent
    if parent is UNSPECIFIED:
      parent = running.get()
      object.__setattr__(self, "parent", parent)
    if isinstance(parent, Module):
      if not parent._initialization_allowed:
        raise mistakes.submodule_in_a_plain_method(self, parent)
      if self.name is None and parent._state.in_setup and not parent._state.in_compact:
        return
    self._attach("automatic" if self.name is None else "explicit")

  def _attach(self, how: str) -> None:
    """Finds the module its name and its scope, and binds the modules in its fields."""
    parent = self.parent
    if isinstance(parent, Module):
      if self.name is None:
        prefix = type(self).__name__
        number = parent._state.cursors.get(prefix, 0)
        parent._state.cursors[prefix] = number + 1
        object.__setattr__(self, "name", f"{prefix}_{number}")
      if parent.scope is not None:
        name = self.name or ""
        again = parent._state.setup_again and parent._state.in_setup
        if not again:
          parent._claim("submodule", name, None)
        parent._state.children[name] = self
        object.__setattr__(self, "scope", parent.scope.push(self.name, reuse=again))
        record_name(self, how)
    elif isinstance(parent, Scope):
      object.__setattr__(self, "scope", parent)
    elif parent is not None:
      raise ValueError("parent must be None, Module or Scope")
    if self.scope is not None:
      for field in self._fields():
        register(self, field, getattr(self, field))
      self._state.initialized = True

  def setup(self) -> None:
    """Declares submodules and variables as attributes; runs when a bound module is first used.

    Override it instead of using `@compact` where several methods share submodules.
    """

  def _try_setup(self) -> None:
    state = self._state
    if self.scope is not None and not state.in_setup and not state.setup_done:
      if type(self).setup is not Module.setup:
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
      object.__setattr__(self, name, value)
    elif state.in_setup:
      if name in self.__dataclass_fields__ and self.__dataclass_fields__[name].init:
        raise errors.SetAttributeInModuleSetupError(name)
      if (owner := method_owner(type(self), name)) is not None and self.scope is not None:
        where = self.scope.path_text
        errors.warn(errors.HiddenMethodWarning(name, type(self).__name__, owner, "attribute", where))
      register(self, name, value)
      state.from_setup = (*state.from_setup, name)
    elif name.startswith("__"):
      object.__setattr__(self, name, value)
    else:
      raise mistakes.frozen(self, name, value, isinstance(value, Module))

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
        raise errors.DescriptorAttributeError(name, error) from error
    message = f'"{type(self).__name__}" object has no attribute "{name}".'
    if self.scope is None:
      message += (
        f" If \"{name}\" is defined in '.setup()', remember these fields are only accessible from inside"
        " 'init' or 'apply'."
      )
    raise AttributeError(message)

  def __dir__(self) -> list[str]:
    if "_state" in self.__dict__:
      self._try_setup()
    return sorted({*object.__dir__(self)})

  @classmethod
  def _fields(cls) -> tuple[str, ...]:
    """The names of the settings: the fields without parent and name."""
    known = cls.__dict__.get("_field_names")
    if known is None:
      known = tuple(
        f.name
        for f in dataclasses.fields(cls)
        if f.init and f.name not in ("parent", "name")  # type: ignore[arg-type]
      )
      cls._field_names = known  # type: ignore[attr-defined]
    return known

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

      def deep(suffix: str, module: Module) -> Module:
        key = id(module.__dict__.get("_adopted_from", module))
        if key not in clones:
          reset = (
            {"name": None} if (_reset_names and "_adopted_from" in module.__dict__) or _reset_names else {}
          )
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

  def __repr__(self) -> str:
    return module_repr(self)

  def __reduce__(self) -> Any:
    """Pickles the settings that are not the defaults: defaults such as initializers may have no name to pickle by."""
    if self.scope is not None or "_state" not in self.__dict__:
      return copyreg.__newobj__, (type(self),), dict(self.__dict__)  # type: ignore[attr-defined]
    fields = self.__dataclass_fields__
    settings = {f: getattr(self, f) for f in self._fields() if getattr(self, f) is not fields[f].default}
    extra = {k: v for k, v in self.__dict__.items() if k not in fields and k != "_state"}
    return _remade, (type(self), settings, self.name), extra or None

  @staticmethod
  def __trace_describe__(module: Module) -> ModuleRef:
    return ModuleRef(type(module).__name__, module.scope.path if module.scope is not None else None)


# As types, not as text: a subclass has them too, in a file where these names may mean nothing.
Module.__annotations__.update(parent=Module | Scope | Unspecified | None, name=str | None)
dataclasses.dataclass(Module, unsafe_hash=True, repr=False)  # type: ignore[call-overload]


def _in_linens_order(cls: type[Module], kw_only: bool) -> dict[str, dataclasses.Field[Any]]:
  """The fields of a class: settings, then parent and name; these come earlier if only later settings are `kw_only`."""
  fields = cls.__dataclass_fields__
  last = {name: fields[name] for name in ("parent", "name")}
  if not kw_only:
    return {name: field for name, field in fields.items() if name not in last} | last
  bases = [base for base in reversed(cls.__mro__[1:]) if base is not Module]
  inherited = [name for base in bases for name in getattr(base, "__dataclass_fields__", ())]
  own = [name for name in fields if name not in last]
  return {name: fields[name] for name in (*inherited, *own, *last)}


def _remade(cls: type[Module], settings: dict[str, Any], name: str | None) -> Module:
  return cls(**settings, name=name, parent=None)


def module_repr(module: Module, indent: int = 4) -> str:
  """A module with its settings and, if it is bound, its submodules, as text."""
  lines: list[str] = []
  settings = [
    (f, getattr(module, f)) for f, d in module.__dataclass_fields__.items() if d.repr and f != "name"
  ]
  if module.name is not None:
    lines.append(f"# name: {module.name}")
  if settings:
    lines.append("# attributes")
    lines += [f"{name} = {_setting_repr(value)}" for name, value in settings]
  children = (
    {n: c for n, c in module._state.children.items() if isinstance(c, Module)}
    if hasattr(module, "_state")
    else {}
  )
  children = {n: c for n, c in children.items() if n not in module._fields()}
  if children:
    lines.append("# children")
    lines += [f"{name} = {module_repr(child)}" for name, child in children.items()]
  if not lines:
    return f"{type(module).__name__}()"
  body = "\n".join(lines).replace("\n", "\n" + " " * indent)
  return f"{type(module).__name__}(\n{' ' * indent}{body}\n)"


def _setting_repr(value: Any) -> str:
  if callable(value) and not isinstance(value, Module) and hasattr(value, "__name__"):
    return value.__name__
  return repr(value)


def merge_param(name: str, a: Any, b: Any) -> Any:
  """The one of a constructor's and a call's setting that was given.

  Raises:
    ValueError: if both or neither were given.

  >>> merge_param("train", None, True)
  True
  """
  if a is None and b is None:
    raise ValueError(
      f'Parameter "{name}" must be passed to the constructor or at call time: layer(x, {name}=...).'
    )
  if a is not None and b is not None:
    raise ValueError(
      f'Parameter "{name}" was passed to the constructor and at call time. Should be passed just once.'
    )
  return b if a is None else a


def share_scope(module: Module, other: Module) -> None:
  """Gives two modules one scope: their variables and submodules then stand side by side.

  If one of them contains the other, the outer one's scope is taken.

  Args:
    module: the module that takes over a scope.
    other: the one that has it.

  Raises:
    CallShareScopeOnUnboundModuleError: if one of them is not bound.
  """
  if module.scope is None or other.scope is None:
    raise errors.CallShareScopeOnUnboundModuleError()
  if other.scope.path[: len(module.scope.path)] == module.scope.path and other.scope is not module.scope:
    module, other = other, module
  before, scope = module.path, other._bound("share a scope")
  object.__setattr__(module, "scope", scope)
  if isinstance(module.parent, Module):
    module.parent._state.children.pop(module.name, None)  # type: ignore[arg-type]
  module._state.children = other._state.children
  if (recorder := current()) is not None:
    recorder.event(events.Share, before, other=scope.path)
  for field in module._fields():
    for child in modules_in(getattr(module, field)):
      if child.parent is module and child.scope is not None:
        # Its variables move; its keys stay those of the place where it was adopted.
        moved = scope.push(child.name, reuse=True)
        moved.key_path, moved.rng_counters = child.scope.key_path, child.scope.rng_counters
        object.__setattr__(child, "scope", moved)
