"""How a module is run from outside: `init`, `apply`, `bind` and their relatives, on a clone bound to a scope.

`init` and `apply` make a function of a scope of the module and one of its methods, and hand it to `core.run`. `Module`
inherits these methods; the functions `init`, `apply` and `init_with_output` do the same for any function of
modules.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from minilinen import core, errors
from minilinen.core.filters import CollectionFilter, DenyList
from minilinen.core.scope import Scope
from minilinen.module import mistakes
from minilinen.module.base import ModuleBase
from minilinen.module.call import capturing, intercept_methods
from minilinen.module.life import ModuleLife
from minilinen.module.variables import ModuleVariables
from minilinen.tracing.recording import trace
from minilinen.tracing.trace import Trace
from minilinen.tracing.tracebacks import entry

_ALL_BUT_INTERMEDIATES = DenyList("intermediates")
Capture = bool | Callable[..., bool]


class ModuleRuns(ModuleVariables):
  """The methods of a module that run it from outside."""

  @entry
  def apply(
    self,
    variables: Mapping[str, Any],
    *args: Any,
    rngs: Any = None,
    method: Callable[..., Any] | str | None = None,
    mutable: CollectionFilter = False,
    capture_intermediates: Capture = False,
    **kwargs: Any,
  ) -> Any:
    """Calls a method of the module with variables.

    Args:
      variables: collection -> nested dict, as `init` returns it.
      *args, **kwargs: arguments of the method.
      rngs: stream -> key, or one key for the stream "params".
      method: a method, or its name; `__call__` by default.
      mutable: the collections that may change.
      capture_intermediates: whether results of `__call__`s are sown into "intermediates"; or a filter
        `(module, method_name) -> bool`.

    Returns:
      The method's result; with `mutable`, the result and the mutable collections.
    """
    check_instance(self, "apply")
    run = _running(core.apply, self, method, mutable, capture_intermediates)
    return run(variables, *args, rngs=rngs, **kwargs)

  @entry
  def init_with_output(
    self,
    rngs: Any,
    *args: Any,
    method: Callable[..., Any] | str | None = None,
    mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
    capture_intermediates: Capture = False,
    **kwargs: Any,
  ) -> tuple[Any, Mapping[str, Any]]:
    """Calls a method of the module and creates the variables that it needs.

    Args:
      rngs: a key for the stream "params", or stream -> key.
      *args, **kwargs: arguments of the method.
      method: a method, or its name; `__call__` by default.
      mutable: the collections that are created.
      capture_intermediates: as for `apply`.

    Returns:
      The method's result and the variables.
    """
    check_instance(self, "init_with_output")
    return _running(core.init, self, method, mutable, capture_intermediates)(rngs, *args, **kwargs)

  @entry
  def init(
    self,
    rngs: Any,
    *args: Any,
    method: Callable[..., Any] | str | None = None,
    mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
    capture_intermediates: Capture = False,
    **kwargs: Any,
  ) -> Mapping[str, Any]:
    """The variables that a call of the module needs; as `init_with_output` without the output."""
    check_instance(self, "init")
    return ModuleRuns.init_with_output(
      self, rngs, *args, method=method, mutable=mutable, capture_intermediates=capture_intermediates, **kwargs
    )[1]

  @entry
  def lazy_init(
    self,
    rngs: Any,
    *args: Any,
    method: Callable[..., Any] | None = None,
    mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
    **kwargs: Any,
  ) -> Mapping[str, Any]:
    """As `init`, for arguments given as `jax.ShapeDtypeStruct`: the forward pass is not computed.

    Raises:
      LazyInitError: if a variable depends on the value of such an argument.
    """
    check_instance(self, "lazy_init")
    return _running(core.lazy_init, self, method, mutable)(rngs, *args, **kwargs)

  @entry
  def bind(
    self,
    variables: Mapping[str, Any],
    *args: Any,
    rngs: Mapping[str, Any] | None = None,
    mutable: CollectionFilter = False,
  ) -> Self:
    """The module with variables, to be called and looked into from outside.

    Args:
      variables: collection -> nested dict, as `init` returns it.
      *args: for Flax's sake; not used.
      rngs: stream -> key, or one key, which is the stream "params".
      mutable: the collections that may change; read them from the bound module's `variables`.
    """
    check_instance(self, "bind")
    scope = core.bind(variables, rngs=rngs, mutable=mutable)
    scope.tree.module = type(self).__name__
    return self.clone(parent=scope, _deep_clone=True)

  @entry
  def unbind(self) -> tuple[Self, Mapping[str, Any]]:
    """A bound module taken apart: the module without variables, and its variables.

    Raises:
      CallUnbindOnUnboundModuleError: if it isn't bound.
    """
    if self.scope is None:
      raise errors.CallUnbindOnUnboundModuleError()
    return self.clone(_deep_clone=True, _reset_names=True, name=None), self.variables

  @entry
  def trace(
    self,
    rngs: Any,
    *args: Any,
    method: Callable[..., Any] | str | None = None,
    mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
    **kwargs: Any,
  ) -> Trace:
    """What `init` with these arguments does, as a trace; nothing is computed.

    Args:
      rngs: a key or stream -> key.
      *args, **kwargs: arguments of the method; arrays may be given as "f32[8,28,28,1]".
      method, mutable: as for `init`.
    """
    check_instance(self, "trace")
    run = functools.partial(ModuleRuns.init_with_output, self, method=method, mutable=mutable)
    return trace(run)(rngs, *args, **kwargs)

  if TYPE_CHECKING:  # attached by `minilinen.summary`, which knows what a table is

    def tabulate(
      self,
      rngs: Any,
      *args: Any,
      depth: int | None = None,
      show_repeated: bool = False,
      mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
      console_kwargs: Mapping[str, Any] | None = None,
      table_kwargs: Mapping[str, Any] = types.MappingProxyType({}),
      column_kwargs: Mapping[str, Any] = types.MappingProxyType({}),
      compute_flops: bool = False,
      compute_vjp_flops: bool = False,
      **kwargs: Any,
    ) -> str: ...

  @entry
  def module_paths(
    self,
    rngs: Any,
    *args: Any,
    show_repeated: bool = False,
    mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
    **kwargs: Any,
  ) -> dict[str, ModuleRuns]:
    """The path of every submodule that a call reaches, and the submodule, unbound."""
    check_instance(self, "module_paths")
    found: dict[str, ModuleRuns] = {}

    def note(next_fun: Any, args: Any, kwargs: Any, told: Any) -> Any:
      if told.module.scope is not None:
        path = "/".join(told.module.scope.path)
        if path not in found:
          found[path] = told.module.clone(_deep_clone=True, _reset_names=True)
      return next_fun(*args, **kwargs)

    with intercept_methods(note):
      ModuleRuns.trace(self, rngs, *args, mutable=mutable, **kwargs)
    return found


def _running(
  how: Callable[..., Callable[..., Any]],
  module: Any,
  method: Callable[..., Any] | str | None,
  mutable: CollectionFilter,
  capture: Capture = False,
) -> Callable[..., Any]:
  """A method of a module as `how` runs functions of a scope: `core.init`, `core.apply` or `core.lazy_init`.

  Raises:
    ApplyModuleInvalidMethodError: if `method` is no method of it.
  """
  if capture is not False:
    mutable = core.union_filters(mutable, "intermediates")
  return how(_Method(module, unbound_method(module, method), capture), mutable=mutable)


def check_instance(module: Any, called: str) -> None:
  """Refuses what is no module: a method was called on the class, and this was its first argument."""
  if not isinstance(module, ModuleBase):
    raise errors.InvalidInstanceModuleError(module, called)


class _Method:
  """A function of a scope: it runs a method on a clone of a module that is bound to the scope."""

  def __init__(self, module: ModuleLife, fn: Callable[..., Any], capture: Capture):
    self.module_name = type(module).__name__
    self._module, self._fn, self._capture = module, fn, capture

  def __call__(self, scope: Scope, *args: Any, **kwargs: Any) -> Any:
    with capturing(self._capture):
      y = self._fn(self._module.clone(parent=scope, _deep_clone=True), *args, **kwargs)
    return mistakes.looked_at(y, self._module, self._fn)


def unbound_method(module: Any, method: Any) -> Callable[..., Any]:
  """The function behind `method=`: a name, a bound or unbound method, or any function of a module."""
  method = "__call__" if method is None else method
  if isinstance(method, str):
    name, method = method, next((vars(c)[method] for c in type(module).__mro__ if method in vars(c)), None)
    if not isinstance(method, (staticmethod, classmethod)) and not callable(method):
      raise _no_such_method(module, name)
    method = getattr(type(module), name)
  method = getattr(method, "__func__", method)
  if not callable(method) or isinstance(method, type):
    raise errors.ApplyModuleInvalidMethodError(method)
  if isinstance(method, ModuleBase):
    raise mistakes.module_for_method(module, method)
  return method


def _no_such_method(module: Any, name: str) -> Exception:
  cls = type(module)
  own = [n for c in cls.__mro__ if not c.__module__.startswith("minilinen.module") for n in vars(c)]
  known = [n for n in own if not n.startswith("_") and n != "setup" and callable(getattr(cls, n))]
  if name == "__call__":
    return errors.NoCallMethodError(cls.__name__, known)
  return errors.ApplyModuleInvalidMethodError(name, known)


def apply(
  fn: Callable[..., Any],
  module: ModuleVariables,
  mutable: CollectionFilter = False,
  capture_intermediates: Capture = False,
) -> Callable[..., Any]:
  """A function `fn(module, *args)` as a function of variables: `apply(fn, module)(variables, *args, rngs=...)`."""
  return _running(core.apply, module, fn, mutable, capture_intermediates)


def init_with_output(
  fn: Callable[..., Any],
  module: ModuleVariables,
  mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
  capture_intermediates: Capture = False,
) -> Callable[..., Any]:
  """A function `fn(module, *args)` as one that creates variables: it gives the result and the variables."""
  return _running(core.init, module, fn, mutable, capture_intermediates)


def init(
  fn: Callable[..., Any],
  module: ModuleVariables,
  mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
  capture_intermediates: Capture = False,
) -> Callable[..., Any]:
  """As `init_with_output`, giving the variables only."""
  run = init_with_output(fn, module, mutable, capture_intermediates)
  return lambda *args, **kwargs: run(*args, **kwargs)[1]
