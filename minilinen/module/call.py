"""The one place where a call happens: every method of every module goes through `call_method`.

It runs `setup` if that is due, makes the module the parent of what is constructed now, opens the span in
the trace and the `jax.named_scope`, asks the interceptors, and sows captured results. `wrap_methods` puts it
around the methods of a class when the class is made.
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp

from minilinen import errors
from minilinen.configurations import config
from minilinen.module import mistakes
from minilinen.module.context import captures, interceptors, running
from minilinen.tracing import events
from minilinen.tracing.caches import caches_aside, caches_back
from minilinen.tracing.recorder import current
from minilinen.tracing.source import source_of
from minilinen.tracing.spec import Spec, describe

if TYPE_CHECKING:
  from minilinen.module.module import Module

# What a decorator gives is typed as the method it was given: editors and type checkers know its arguments.
Method = TypeVar("Method", bound=Callable[..., Any])
_LAYERS = "minilinen.layers."
_PLAIN = {"__init__", "__post_init__", "__eq__", "__hash__", "__repr__", "__setattr__", "__getattr__"}


def compact(fun: Method) -> Method:
  """Marks a method in which submodules and variables may be declared where they are used.

  >>> import minilinen as nn
  >>> class Net(nn.Module):
  ...   @nn.compact
  ...   def __call__(self, x):
  ...     return nn.Dense(2)(nn.relu(nn.Dense(8)(x)))
  """
  fun.compact = True  # type: ignore[attr-defined]
  return fun


def nowrap(fun: Method) -> Method:
  """Marks a method as a plain Python method: it does not start `setup` and shows in no trace."""
  fun.nowrap = True  # type: ignore[attr-defined]
  return fun


def compact_name_scope(fun: Method) -> Method:
  """Marks a compact method whose submodules live under the method's name.

  The module's own variables, keys and other methods are what they are elsewhere.

  >>> import jax, minilinen as nn
  >>> class Net(nn.Module):
  ...   @nn.compact_name_scope
  ...   def up(self, x):
  ...     return nn.Dense(3)(x)
  ...   def __call__(self, x):
  ...     return self.up(x)
  >>> list(Net().init(jax.random.key(0), jax.numpy.ones((1, 2)))["params"]["up"])
  ['Dense_0']
  """

  @functools.wraps(fun)
  def method(self: Module, *args: Any, **kwargs: Any) -> Any:
    if self.scope is None:
      raise mistakes.unbound(self, fun.__name__)
    view = self._with_scope(self.scope.push(fun.__name__, reuse=True))

    @functools.wraps(fun)
    def below(view: Module, *args: Any, **kwargs: Any) -> Any:
      return fun(self, *args, **kwargs)

    return call_method(view, compact(below), args, kwargs)

  return method  # type: ignore[return-value]


@dataclass(frozen=True)
class InterceptorContext:
  """What an interceptor is told of a call.

  Attributes:
    module: the module called.
    method_name: name of the method.
    orig_method: the method itself, bound to the module, without interceptors.
  """

  module: Module
  method_name: str
  orig_method: Callable[..., Any]


@contextlib.contextmanager
def intercept_methods(interceptor: Callable[..., Any]) -> Iterator[None]:
  """Lets a function stand in for every method call of a `with` block.

  Args:
    interceptor: called as `interceptor(next_fun, args, kwargs, context)`; it calls
      `next_fun(*args, **kwargs)` to go on. Of several the one that was set first is asked first.
  """
  with interceptors.within(interceptor):
    yield


def capturing(keep: Callable[..., bool] | bool) -> contextlib.AbstractContextManager[Any]:
  """Sows the results of the calls that a filter `(module, method_name) -> bool` keeps; True keeps `__call__`."""
  if keep is False:
    return _NOTHING
  return captures.within((lambda _, name: name == "__call__") if keep is True else keep)


def wrap_methods(cls: type[Any]) -> None:
  """Puts `call_method` around the methods that a class defines."""
  for name, fun in list(vars(cls).items()):
    if isinstance(fun, types.FunctionType) and name not in _PLAIN and not hasattr(fun, "nowrap"):
      setattr(cls, name, wrapped(fun))


def wrapped(fun: Callable[..., Any]) -> Callable[..., Any]:
  """A function of a module as a method that goes through `call_method`; once is enough."""
  if hasattr(fun, "raw_method"):
    return fun

  @functools.wraps(fun)
  def method(*args: Any, **kwargs: Any) -> Any:
    if args and hasattr(args[0], "_state"):
      return call_method(args[0], fun, args[1:], kwargs)
    if args and _is_module(args[0]):
      raise errors.IncorrectPostInitOverrideError()
    return fun(*args, **kwargs)

  method.raw_method = fun  # type: ignore[attr-defined]
  return method


def _is_module(value: Any) -> bool:
  return hasattr(type(value), "_call_is_wrapped")


def raw_method(fun: Callable[..., Any]) -> Callable[..., Any]:
  """The function that a method was made of."""
  return getattr(fun, "raw_method", fun)


def call_method(self: Module, fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
  """Calls a method of a module.

  Raises:
    CallCompactUnboundModuleError, CallSetupUnboundModuleError: if it needs a scope and there is none.
  """
  name = fun.__name__
  is_compact, is_setup = hasattr(fun, "compact"), name == "setup"
  state = self._state
  nested = state.in_compact if is_compact else state.in_setup
  if self.scope is None:
    if is_compact:
      raise mistakes.unbound(self, name)
    if is_setup:
      raise errors.CallSetupUnboundModuleError()
  elif not is_setup and not state.setup_done and not hasattr(fun, "lifted"):
    self._try_setup()
  if is_compact:
    state.in_compact = True
  elif is_setup:
    state.in_setup = True
  around = running.set(self)
  try:
    return fun(self, *args, **kwargs) if is_setup else _run(self, fun, name, args, kwargs)
  except Exception as error:
    better = _better(error, self, args)
    _say_where(better or error, self, name, args)
    if better is not None:
      raise better from None
    raise
  finally:
    running.reset(around)
    if is_compact and self.scope is not None:
      object.__setattr__(self, "scope", self.scope.rewound())
    if (is_compact or is_setup) and not nested:
      state.end_method()


def call_body(self: Module, fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
  """Runs the body behind a boundary: of what a call does, that which the call outside has not done."""
  around = running.set(self)
  try:
    self._try_setup()
    return fun(self, *args, **kwargs)
  finally:
    running.reset(around)


def _better(error: Exception, self: Module, args: tuple[Any, ...]) -> Exception | None:
  """The error that says more, where Python or JAX speak of what they found inside of a layer or of a module.

  That is an input which is no array, and a tuple that was a list when `setup` assigned it.
  """
  if _is_input_at_fault(error, self, args):
    path = self.scope.path_text if self.scope is not None else ""
    return errors.LayerInputError(type(self).__name__, path, args[0])
  if type(error) is AttributeError and type(error.obj) is tuple and error.name in _LIST_METHODS:
    for name, value in vars(self).items():
      if value is error.obj:
        path = self.scope.path_text if self.scope is not None else ""
        at = source_of(error)
        better = errors.AppendAfterSetupError(error.name or "", name, type(self).__name__, path, at)
        better.name, better.obj = error.name, error.obj
        return better
  return None


def _is_input_at_fault(error: Exception, self: Module, args: tuple[Any, ...]) -> bool:
  """Whether a layer of ours failed because its input is no array, or a number without axes."""
  is_plain = not isinstance(error, errors.MinilinenError) and not hasattr(error, "module_path")
  if not args or not is_plain or not type(self).__module__.startswith(_LAYERS):
    return False
  inputs = jax.tree.leaves(args[0]) if isinstance(args[0], (list, tuple)) else [args[0]]
  if not all(map(_is_numeric, inputs)):
    return True
  return isinstance(error, IndexError) and not isinstance(args[0], (list, tuple)) and jnp.ndim(args[0]) == 0


def _is_numeric(value: Any) -> bool:
  if not hasattr(value, "shape"):
    return isinstance(value, (bool, int, float, complex))
  return any(jnp.issubdtype(value.dtype, kind) for kind in (jnp.number, jnp.bool_))


_LIST_METHODS = ("append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse")


def _say_where(error: Exception, self: Module, name: str, args: tuple[Any, ...]) -> None:
  """Adds to an exception which module it left first, and with what inputs."""
  if isinstance(error, RecursionError) or hasattr(error, "module_path") or self.scope is None:
    return
  with contextlib.suppress(AttributeError):
    error.module_path = self.scope.path  # type: ignore[attr-defined]
    inputs = ", ".join(_in_short(arg) for arg in args)
    if isinstance(error, (errors.ScopeParamShapeError, errors.SymbolicParamError)):
      error.learn(inputs=f", for inputs ({inputs})")
    error.add_note(f"in module {self.scope.path_text} ({type(self).__name__}.{name}), called with ({inputs})")


def _in_short(arg: Any) -> str:
  if isinstance(arg, str):
    return f"{arg[:40]!r}, a str and no array"
  described = describe(arg)
  return str(described) if isinstance(described, (Spec, bool, int, float)) else type(arg).__name__


def label_of(self: Module, name: str) -> str:
  """What a method's call is called in profiles: the module's name, with the method's unless that is `__call__`."""
  label = self.name or type(self).__name__
  return label if name == "__call__" else f"{label}.{name}"


def _run(
  self: Module, fun: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
  """Runs a method inside its named scope and its span."""
  scope = self.scope
  if scope is None:
    return _through_interceptors(self, fun, name, args, kwargs)
  with jax.named_scope(label_of(self, name)) if config.profile else _NOTHING:
    if (recorder := current()) is None:
      y = _through_interceptors(self, fun, name, args, kwargs)
    else:
      cls = type(self)
      with recorder.span(
        events.Call, scope.path, module=cls.__name__, qualname=f"{cls.__module__}.{cls.__qualname__}",
        method=name, fields=_describe_fields(self), args=tuple(map(describe, args)), kwargs=describe(kwargs),
      ) as draft, recorder.marking(draft), _caches(cls, recorder.number):  # fmt: skip
        for field, owner in cls._hidden:
          errors.note(errors.HiddenMethodWarning(field, cls.__name__, owner, "field", scope.path_text))
        y = _through_interceptors(self, fun, name, args, kwargs)
        draft.set(result=describe(y))
  if captures.frame() is not None and (keep := captures.innermost()) is not None and keep(self, name):
    self.sow("intermediates", name, y)
  return y


_NOTHING = contextlib.nullcontext()


def _caches(cls: type[Module], recording: int) -> contextlib.AbstractContextManager[None]:
  return caches_back() if cls.__module__.startswith(_LAYERS) else caches_aside(recording)


def _describe_fields(self: Module) -> dict[str, Any]:
  return {f: describe(getattr(self, f)) for f in self.__dataclass_fields__ if f not in ("parent", "name")}


def _through_interceptors(
  self: Module, fun: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
  if interceptors.frame() is None:
    return fun(self, *args, **kwargs)
  told = InterceptorContext(self, name, functools.partial(fun, self))
  run = told.orig_method
  for interceptor in interceptors:
    run = functools.partial(_intercepted, interceptor, run, told)
  return run(*args, **kwargs)


def _intercepted(
  interceptor: Callable[..., Any],
  run: Callable[..., Any],
  told: InterceptorContext,
  *args: Any,
  **kwargs: Any,
) -> Any:
  return interceptor(run, args, kwargs, told)
