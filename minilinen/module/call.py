"""The one place where a call happens: setup, profile, trace, interceptors, then the method.

Methods go through `call_method`, unless they are marked with `nowrap`; a body behind a boundary goes through
`call_body`. The module is set up and becomes the parent of what is constructed now, and a mistake is explained on its
way out (`_Running`); the call has its name in profiles (`_named`) and, while somebody records, its span in the trace
(`_recorded`); then interceptors are asked, and results captured. `wrap_methods` puts it around the methods of a class
when the class is made.
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import jax

from minilinen import errors
from minilinen.configurations import config
from minilinen.module import mistakes
from minilinen.module.base import ModuleBase
from minilinen.module.context import captures, interceptors, running
from minilinen.module.variables import ModuleVariables
from minilinen.tracing import events
from minilinen.tracing.recorder import Recorder, current
from minilinen.tracing.spec import describe
from minilinen.tracing.tracebacks import hide_frames

# What a decorator gives is typed as the method it was given: editors and type checkers know its arguments.
Method = TypeVar("Method", bound=Callable[..., Any])
_PLAIN = {"__init__", "__post_init__", "__eq__", "__hash__", "__repr__", "__setattr__", "__getattr__"}


def compact(fun: Method) -> Method:
  """Marks a method in which submodules and variables may be declared where they are used.

  >>> import minilinen as nn
  >>> class Net(nn.Module):
  ...   @nn.compact
  ...   def __call__(self, x):
  ...     return nn.Dense(2)(nn.relu(nn.Dense(8)(x)))
  """
  vars(fun)["compact"] = True
  return fun


def nowrap(fun: Method) -> Method:
  """Marks a method as a plain Python method: it does not start `setup` and shows in no trace."""
  vars(fun)["nowrap"] = True
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
  def method(self: ModuleVariables, *args: Any, **kwargs: Any) -> Any:
    if self.scope is None:
      raise mistakes.unbound(self, fun.__name__)
    view = self._with_scope(self.scope.push(fun.__name__, reuse=True))

    @functools.wraps(fun)
    def below(view: ModuleVariables, *args: Any, **kwargs: Any) -> Any:
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

  module: ModuleVariables
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
    if not args or not isinstance(args[0], ModuleVariables):
      return fun(*args, **kwargs)
    try:
      return call_method(args[0], fun, args[1:], kwargs)
    except Exception as error:
      _hide_frames_outside(error)
      raise

  vars(method)["raw_method"] = fun
  return method


def _hide_frames_outside(error: Exception) -> None:
  """Takes our frames out of the traceback of what a call from outside of all modules raises."""
  if running.get() is None:
    hide_frames(error)


def raw_method(fun: Callable[..., Any]) -> Callable[..., Any]:
  """The function that a method was made of."""
  return getattr(fun, "raw_method", fun)


def call_method(
  self: ModuleVariables, fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
  """Calls a method of a module.

  Raises:
    CallCompactUnboundModuleError, CallSetupUnboundModuleError: if it needs a scope and there is none.
  """
  name = fun.__name__
  with _Running(self, fun, args):
    if name == "setup":
      return fun(self, *args, **kwargs)
    run = fun if interceptors.frame() is None else _intercepted(self, fun, name)
    with _named(self, name):
      if (recorder := current()) is None or self.scope is None:
        y = run(self, *args, **kwargs)
      else:
        y = _recorded(recorder, self, run, name, args, kwargs)
    if captures.frame() is not None and self.scope is not None:
      _capture(self, name, y)
    return y


def call_body(
  self: ModuleVariables, fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
  """Runs the body behind a boundary: of what a call does, that which the call outside has not done."""
  around = running.set(self)
  try:
    self._try_setup()
    return fun(self, *args, **kwargs)
  finally:
    running.reset(around)


class _Running:
  """The `with` block of a method that runs: its module is set up, and the parent of what is constructed now.

  An exception that leaves it is told where it comes from. When a compact method is over its names may be given again.
  """

  __slots__ = ("_module", "_args", "_name", "_is_compact", "_is_setup", "_nested", "_around")

  def __init__(self, module: ModuleVariables, fun: Callable[..., Any], args: tuple[Any, ...]):
    self._module, self._args, self._name = module, args, fun.__name__
    self._is_compact, self._is_setup = hasattr(fun, "compact"), fun.__name__ == "setup"
    state = module.__dict__.get("_state")
    if state is None:
      raise errors.IncorrectPostInitOverrideError()
    self._nested = state.in_compact if self._is_compact else state.in_setup
    if module.scope is None:
      if self._is_compact:
        raise mistakes.unbound(module, self._name)
      if self._is_setup:
        raise errors.CallSetupUnboundModuleError()
    elif not self._is_setup and not state.setup_done and not hasattr(fun, "lifted"):
      module._try_setup()

  def __enter__(self) -> None:
    if self._is_compact:
      self._module._state.in_compact = True
    elif self._is_setup:
      self._module._state.in_setup = True
    self._around = running.set(self._module)

  def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
    module = self._module
    try:
      if isinstance(error, Exception):
        mistakes.explain(error, module, self._name, self._args)
    finally:
      running.reset(self._around)
      if self._is_compact and module.scope is not None:
        object.__setattr__(module, "scope", module.scope.rewound())
      if (self._is_compact or self._is_setup) and not self._nested:
        module._state.end_method()


def _capture(self: ModuleVariables, name: str, y: Any) -> None:
  keep = captures.innermost()
  if keep is not None and keep(self, name):
    self.sow("intermediates", name, y)


_NOTHING = contextlib.nullcontext()


def _named(self: ModuleVariables, name: str) -> contextlib.AbstractContextManager[Any]:
  """The `with` block of the names in profiles."""
  return jax.named_scope(label_of(self, name)) if config.profile and self.scope is not None else _NOTHING


def label_of(self: ModuleBase, name: str) -> str:
  """What a method's call is called in profiles: the module's name, with the method's unless that is `__call__`."""
  label = self.name or type(self).__name__
  return label if name == "__call__" else f"{label}.{name}"


def _recorded(
  recorder: Recorder, self: ModuleVariables, run: Callable[..., Any], name: str, args: Any, kwargs: Any
) -> Any:
  """Runs a method inside its span."""
  cls, scope = type(self), self.scope
  assert scope is not None
  with recorder.span(
    events.Call, scope.path, module=cls.__name__, qualname=f"{cls.__module__}.{cls.__qualname__}",
    method=name, fields=_describe_fields(self), args=tuple(map(describe, args)), kwargs=describe(kwargs),
  ) as draft, recorder.marking(draft):  # fmt: skip
    mistakes.note_hidden(self)
    y = run(self, *args, **kwargs)
    draft.set(result=describe(y))
  return y


def _describe_fields(self: ModuleBase) -> dict[str, Any]:
  return {f: describe(getattr(self, f)) for f in self.__dataclass_fields__ if f not in ("parent", "name")}


def _intercepted(self: ModuleVariables, fun: Callable[..., Any], name: str) -> Callable[..., Any]:
  """A method as the interceptors let it run, the one that was set first around the others."""
  told = InterceptorContext(self, name, functools.partial(fun, self))
  run: Callable[..., Any] = told.orig_method
  for interceptor in interceptors:
    run = functools.partial(_ask, interceptor, run, told)
  return lambda self, *args, **kwargs: run(*args, **kwargs)


def _ask(
  interceptor: Callable[..., Any],
  run: Callable[..., Any],
  told: InterceptorContext,
  *args: Any,
  **kwargs: Any,
) -> Any:
  return interceptor(run, args, kwargs, told)
