"""The one place where a call happens: `wrapped` methods, their setup, interceptors, profile, trace; and `compact`.

`wrapped` is put around the methods of a class when it is made, unless they are marked with `nowrap`. There a call
stands in a stack of `with` blocks: `Calling` sets the module up, makes it the parent of what is constructed now, asks
interceptors and explains a mistake on its way out; `_named` gives the call its name in profiles; `_span` its span
in the trace, if somebody records. A body behind a boundary is a `Calling` too (`transforms/carried.py`): it has the
name of the call outside, and its span is the pass over the body.
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import jax

from minilinen import errors
from minilinen.configurations import config
from minilinen.core.run_span import within
from minilinen.module import mistakes
from minilinen.module.base import ModuleBase
from minilinen.module.context import captures, hide_frames_outside, interceptors, running
from minilinen.module.variables import ModuleVariables
from minilinen.tracing import events
from minilinen.tracing.recorder import Draft, Recorder, current
from minilinen.tracing.spec import describe

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

    return wrapped(compact(below))(view, *args, **kwargs)

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
  """Puts `wrapped` around the methods that a class defines."""
  for name, fun in list(vars(cls).items()):
    if isinstance(fun, types.FunctionType) and name not in _PLAIN and not hasattr(fun, "nowrap"):
      setattr(cls, name, wrapped(fun))


def wrapped(fun: Callable[..., Any]) -> Callable[..., Any]:
  """A function of a module as a method, so that to call it is to call the module; once is enough."""
  if hasattr(fun, "raw_method"):
    return fun

  @functools.wraps(fun)
  def method(*args: Any, **kwargs: Any) -> Any:
    if not args or not isinstance(args[0], ModuleVariables):
      return fun(*args, **kwargs)
    self = args[0]
    try:
      with Calling(self, fun, args[1:]) as call:
        recorder = current()
        with _named(self, fun):
          if recorder is None or self.scope is None or fun.__name__ == "setup":
            y = call.method(*args, **kwargs)
          else:
            with _span(recorder, self, fun, args[1:], kwargs) as span, recorder.marking(span):
              mistakes.note_hidden(self)
              y = call.method(*args, **kwargs)
              span.set(result=describe(y))
        return call.left(y)
    except Exception as error:
      hide_frames_outside(error)
      raise

  vars(method)["raw_method"] = fun
  return method


def raw_method(fun: Callable[..., Any]) -> Callable[..., Any]:
  """The function that a method was made of."""
  return getattr(fun, "raw_method", fun)


class Calling:
  """The `with` block of a call: its module is set up, and the parent of what is constructed now.

  An exception that leaves it is told where it comes from. When a compact method is over its names may be given again:
  so a second call gives the same names, and finds the variables of the first (`Scope.param`). That is how calls share.

  Attributes:
    method: the method as interceptors let it run. Python calls it from the frame that has the block: a C function
      between would show no frame either, but take its place on the C stack, which deep models have little of.

  Raises:
    CallCompactUnboundModuleError, CallSetupUnboundModuleError: if the method needs a scope and there is none.
  """

  __slots__ = ("method", "_module", "_fun", "_args", "_is_compact", "_is_setup", "_nested", "_around")

  def __init__(self, module: ModuleVariables, fun: Callable[..., Any], args: tuple[Any, ...]):
    self._module, self._fun, self._args = module, fun, args
    self._is_compact, self._is_setup = hasattr(fun, "compact"), fun.__name__ == "setup"
    self.method: Callable[..., Any] = fun
    state = module.__dict__.get("_state")
    if state is None:
      raise mistakes.forgetful(module)
    self._nested = state.in_compact if self._is_compact else state.in_setup
    if self._is_setup:
      if module.scope is None:
        raise errors.CallSetupUnboundModuleError()
    elif module.scope is None:
      if self._is_compact:
        raise mistakes.unbound(module, fun.__name__)
    elif not state.setup_done and not hasattr(fun, "lifted"):
      module._try_setup()
    if interceptors.frame() is not None and self._is_seen:
      context = InterceptorContext(module, fun.__name__, functools.partial(fun, module))
      self.method = _intercepted(context)

  @property
  def _is_seen(self) -> bool:
    """Whether interceptors and captures see it: `setup` they never do, of a lifted method the body."""
    return not self._is_setup and not hasattr(self._fun, "lifted")

  def __enter__(self) -> Self:
    if self._is_compact:
      self._module._state.in_compact = True
    elif self._is_setup:
      self._module._state.in_setup = True
    self._around = running.set(self._module)
    return self

  def left(self, y: Any) -> Any:
    """The result, which is sown if it is captured."""
    if captures.frame() is not None and self._is_seen and self._module.scope is not None:
      keep = captures.innermost()
      if keep is not None and keep(self._module, self._fun.__name__):
        self._module.sow("intermediates", self._fun.__name__, y)
    return y

  def _explain(self, error: Exception) -> None:
    mistakes.explain(error, self._module, self._fun.__name__, self._args)

  def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
    module = self._module
    try:
      if isinstance(error, Exception):
        self._explain(error)
    finally:
      running.reset(self._around)
      if self._is_compact and module.scope is not None:
        object.__setattr__(module, "scope", module.scope.rewound())
      if (self._is_compact or self._is_setup) and not self._nested:
        module._state.end_method()


def _intercepted(context: InterceptorContext) -> Callable[..., Any]:
  """A method as the interceptors let it run, the one that was set first around the others."""
  run: Callable[..., Any] = context.orig_method
  for interceptor in interceptors:
    run = functools.partial(_ask, interceptor, run, context)
  return lambda self, *args, **kwargs: run(*args, **kwargs)


def _ask(
  interceptor: Callable[..., Any],
  run: Callable[..., Any],
  told: InterceptorContext,
  *args: Any,
  **kwargs: Any,
) -> Any:
  return interceptor(run, args, kwargs, told)


_NOTHING = contextlib.nullcontext()


def _named(self: ModuleVariables, fun: Callable[..., Any]) -> contextlib.AbstractContextManager[Any]:
  """The `with` block of the names in profiles."""
  if self.scope is None or not config.profile or fun.__name__ == "setup":
    return _NOTHING
  return jax.named_scope(label_of(self, fun.__name__))


def label_of(self: ModuleBase, name: str) -> str:
  """What a method's call is called in profiles: the module's name, with the method's unless that is `__call__`."""
  label = self.name or type(self).__name__
  return label if name == "__call__" else f"{label}.{name}"


def _span(
  recorder: Recorder,
  self: ModuleVariables,
  fun: Callable[..., Any],
  args: tuple[Any, ...],
  kwargs: dict[str, Any],
) -> contextlib.AbstractContextManager[Draft]:
  """The `with` block of the call's span in the trace."""
  cls, scope = type(self), self.scope
  assert scope is not None
  return within(recorder, scope.tree).span(
    events.Call, scope.path, module=cls.__name__, qualname=f"{cls.__module__}.{cls.__qualname__}",
    method=fun.__name__, fields=_describe_fields(self), args=tuple(map(describe, args)), kwargs=describe(kwargs),
  )  # fmt: skip


def _describe_fields(self: ModuleBase) -> dict[str, Any]:
  return {f: describe(getattr(self, f)) for f in self.__dataclass_fields__ if f not in ("parent", "name")}
