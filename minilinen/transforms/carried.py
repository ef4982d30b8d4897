"""Modules on their way across a boundary of `core.lift`, which knows scopes only.

The scopes of the module, of its submodules and of the modules among the arguments cross; on the other side the user's
function runs on copies of the modules, bound to the inner scopes. `core.lift` asks for that by two methods that
modules get here: `__carry__` for a module that is passed, `__lift__` for a class that is lifted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from minilinen import errors
from minilinen.core.lift.carriers import Stand, replaced_stands
from minilinen.core.lift.form import Form
from minilinen.core.lift.targets import Target
from minilinen.core.scope import Scope, Variable
from minilinen.module.ahead import set_up
from minilinen.module.alike import fingerprint
from minilinen.module.attributes import map_modules
from minilinen.module.call import Calling, raw_method, wrapped
from minilinen.module.handed import arrived, handed
from minilinen.module.module import Module
from minilinen.tracing.recorder import current
from minilinen.tracing.spec import describe


class Carried:
  """A module on its way across a boundary, with the modules in its attributes and among the arguments.

  Attributes:
    module: the module.
    others: those among the arguments.
    scopes: the scopes of all that have one; number `own` is the module's.
  """

  def __init__(self, module: Module, others: Sequence[Module]):
    self.module = module
    self.others = others
    self._scoped = _scoped_modules((others, module))
    self._states = [m._state.copy() for m in self._scoped]  # a body may run twice: from the same start
    self.scopes: list[Any] = [m.scope for m in self._scoped]
    self.own = next(i for i, m in enumerate(self._scoped) if m is module)
    self.class_name = type(module).__name__
    self.names = module._state.cursors

  @property
  def fingerprint(self) -> tuple[Any, ...]:
    return fingerprint(self._scoped, self.others)

  def set_up(self, target: Target, form: Form, streams: Sequence[Any]) -> None:
    """Runs `setup` outside of what is compiled."""
    way = form.ways[self.own]
    set_up(self.module, target, way, streams[way[0]])
    self._states = [m._state.copy() for m in self._scoped]

  def call(self, scopes: Sequence[Scope], target: Target, args: Any, kwargs: Any) -> InnerCall:
    """A call of a function with copies of the modules, which are bound to other scopes."""
    module, others = self._open(scopes, target.base)
    args, kwargs = replaced_stands(others.__getitem__, (args, kwargs))
    return InnerCall(self.module, module, target.fn, args, kwargs)

  def _open(self, scopes: Sequence[Scope], base: type[Module] | None) -> tuple[Module, list[Module]]:
    copies: dict[int, Module] = {}
    for outer, state, scope in zip(self._scoped, self._states, scopes):
      copy = object.__new__(base if base is not None and outer is self.module else type(outer))
      copy.__dict__.update(outer.__dict__)
      copy.__dict__.update(scope=scope, _state=state.copy())
      copy._forget_setup()
      copies[id(outer)] = copies[id(vars(outer).get("_handed"))] = copy

    def inner(suffix: str, module: Module) -> Module:
      return arrived(copies.get(id(module), module))

    for copy in copies.values():
      for name, value in copy.__dict__.items():
        if name not in ("scope", "_state", "name"):
          copy.__dict__[name] = map_modules(inner, value, by_key=True)
    return copies[id(self.module)], [arrived(copies.get(id(m), m)) for m in self.others]

  def gradients(self, form: Form, several: bool) -> Any:
    """Gradients come as the collections of one scope; of `several` scopes as a list."""
    crossing = [number for number in form.numbers() if number is not None]
    if several:
      return jax.tree.structure(crossing)
    if len(crossing) > 1:
      paths = [scope.path_text for scope, number in zip(self.scopes, form.numbers()) if number is not None]
      raise errors.MultiScopeError(paths, bool(self.others))
    return jax.tree.structure(0)

  def by_scope(self, form: Form, directions: Any) -> tuple[Any, ...]:
    """What was given for one scope, or for several."""
    return tuple(directions) if isinstance(directions, (list, tuple)) else (directions,)


class InnerCall(Calling):
  """A call of a module behind a boundary: of the copy that is there.

  Attributes:
    run: makes the call.
  """

  __slots__ = ("run", "_outer")

  def __init__(self, outer: Module, inner: Module, fn: Callable[..., Any], args: Any, kwargs: Any):
    super().__init__(inner, fn, args)
    self.run: Callable[[], Any] = functools.partial(self.method, inner, *args, **kwargs)
    self._outer = outer

  def left(self, y: Any) -> Any:
    y = super().left(y)
    self._outer._state.take_names(self._module._state)
    if found := [leaf for leaf in jax.tree.leaves(y) if isinstance(leaf, (Module, Variable))]:
      raise errors.TransformedMethodReturnValueError(self._fun.__name__, type(found[0]).__name__)
    return y

  def _explain(self, error: Exception) -> None:
    """The boundary knows more of what is wrong, and is asked next; then the call outside."""


def carry(self: Module, args: Any, kwargs: Any, target: Target) -> tuple[Carried, Any, Any]:
  """The way of a module across a boundary, and the arguments with stands in the place of modules that are bound.

  Raises:
    CallCompactUnboundModuleError: if the module isn't bound.
  """
  if self.scope is None:
    raise errors.CallCompactUnboundModuleError(target.fn.__name__)
  others: list[Module] = []

  def stand(suffix: str, module: Module) -> Any:
    if module.scope is None:
      return module
    others.append(handed(module))
    return Stand(len(others) - 1, describe(module) if current() is not None else None)

  args, kwargs = map_modules(stand, args, by_key=True), map_modules(stand, kwargs, by_key=True)
  return Carried(self, others), args, kwargs


def lift_class(cls: type[Module], transform: Callable[..., Any], prefix: str, methods: Any) -> type[Module]:
  """A class with lifted methods.

  Args:
    cls: the class; inside, the module is one of it.
    transform: lifts a function of a module, with options.
    prefix: beginning of the new class's name.
    methods: which methods are lifted: a name, several, or name -> options; `__call__` by default.
  """
  methods = (methods or "__call__",) if methods is None or isinstance(methods, str) else methods
  methods = methods if isinstance(methods, Mapping) else {name: {} for name in methods}
  namespace: dict[str, Any] = {"lifted_class": True, "__module__": cls.__module__, "__doc__": cls.__doc__}
  for name, options in methods.items():
    namespace[name] = wrapped(transform(raw_method(getattr(cls, name)), **options))
  return type(prefix + cls.__name__, (cls,), namespace)


Module.__carry__ = carry  # type: ignore[attr-defined]
Module.__lift__ = classmethod(lift_class)  # type: ignore[attr-defined]


def _scoped_modules(value: Any) -> list[Module]:
  """Every bound module in a value or in the attributes of one that is, each once and after those inside of it.

  Of attributes and entries those come first whose names do: in this order variables pass through JAX, and gradients
  of several scopes are handed out.
  """
  found: dict[int, Module] = {}
  seen: set[int] = set()

  def visit(suffix: str, module: Module) -> Module:
    module = handed(module)
    if module.scope is not None and id(module) not in seen:
      seen.add(id(module))
      for name, attribute in sorted(module.__dict__.items()):
        if name not in ("parent", "scope", "_state", "name", "_adopted_from", "_handed"):
          map_modules(visit, attribute, by_key=True)
      found[id(module)] = module
    return module

  map_modules(visit, value, by_key=True)
  return list(found.values())
