"""May be skipped: a `functools.partial`, or an object that can be called, as a function that has a name.

A lifted function is spoken of by its name: in profiles, in the trace, by interceptors and in messages.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any


def named(fn: Callable[..., Any]) -> Callable[..., Any]:
  """The function itself; or of what has no name one that calls it, under the name of what is called in the end.

  >>> named(functools.partial(functools.partial(sorted), reverse=True)).__name__
  'sorted'
  """
  if hasattr(fn, "__name__") or not callable(fn):
    return fn
  under: Any = fn
  while isinstance(under, functools.partial):
    under = under.func
  known = under if hasattr(under, "__name__") else type(under)

  def call(*args: Any, **kwargs: Any) -> Any:
    return fn(*args, **kwargs)

  functools.update_wrapper(call, known, updated=())
  call.__wrapped__ = fn  # type: ignore[attr-defined]  # its arguments are those that are left
  return call


def class_apart(target: Any) -> tuple[Any, Callable[[Any], Any]]:
  """The class that can be lifted of which a partial is, and what gives another class the same settings.

  Anything else is itself.
  """
  if not isinstance(target, functools.partial) or not hasattr(target.func, "__lift__"):
    return target, lambda cls: cls
  return target.func, lambda cls: functools.partial(cls, *target.args, **target.keywords)


def unbound(fn: Any) -> Any:
  """The function of a method that is bound to a module: it runs with whatever module is given first."""
  is_method = isinstance(fn, types.MethodType) and hasattr(fn.__self__, "__carry__")
  return fn.__func__ if is_method else fn
