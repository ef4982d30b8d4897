"""May be skipped: what the stack knows of a mistake: which layer calls, and which method runs.

An error asks it while it is raised, so only what comes before a look at the stack has to be fast.
"""

from __future__ import annotations

import types
from typing import Any

from minilinen.module.base import ModuleBase
from minilinen.module.context import running
from minilinen.tracing.statements import is_users, stack

_LAYERS = "minilinen.layers."


def calling_layer(module: ModuleBase | None) -> str:
  """The class of the layer of ours that calls a module, such as Sequential; "" if a user's own code does."""
  for frame in stack():
    if is_users(frame):
      return ""
    found, is_ours = frame.f_locals.get("self"), frame.f_globals.get("__name__", "").startswith(_LAYERS)
    if is_ours and isinstance(found, ModuleBase) and found is not module:
      return type(found).__name__
  return ""


def outermost_method(module: ModuleBase) -> str:
  """The method of a module that was called first of those that are running, "" if none is."""
  methods = _methods(module)
  running = [methods[frame.f_code] for frame in stack() if _is_of(frame, module) and frame.f_code in methods]
  return running[-1] if running else ""


def innermost_method(module: ModuleBase) -> str:
  """The name of the innermost method of a module's class that is running, "" if none is."""
  methods = _methods(module)
  return next((methods[frame.f_code] for frame in stack() if frame.f_code in methods), "")


def foreign_method(module: ModuleBase) -> tuple[tuple[type[ModuleBase], ...], str] | None:
  """The classes and the name of the innermost method that runs with a module, if other classes have it.

  A class that a function makes is another each time, with the same code.
  """
  frame = next((frame for frame in stack() if is_users(frame) and _is_of(frame, module)), None)
  if frame is None or frame.f_code in _methods(module) or frame.f_code.co_qualname[-1:] == ">":
    return None
  classes: list[type[ModuleBase]] = [ModuleBase]
  for cls in classes:
    classes += [sub for sub in cls.__subclasses__() if sub not in classes]
  found = [cls for cls in classes if not issubclass(type(module), cls) and frame.f_code in _own_methods(cls)]
  return (tuple(found), _own_methods(found[0])[frame.f_code]) if found else None


def parent_now() -> ModuleBase | None:
  """The module whose method is running; none if an interrupt came as it was left, so that it still stands there."""
  module = running.get()
  if (
    module is not None and module.scope is not None and module.scope.invalid and not innermost_method(module)
  ):
    running.set(module := None)
  return module


def _methods(module: ModuleBase) -> dict[types.CodeType, str]:
  """The names of a module's methods by their code."""
  return {code: name for base in reversed(type(module).__mro__) for code, name in _own_methods(base).items()}


def _own_methods(cls: type[Any]) -> dict[types.CodeType, str]:
  return {
    vars(method)["raw_method"].__code__: name
    for name, method in vars(cls).items()
    if hasattr(method, "raw_method") and hasattr(vars(method)["raw_method"], "__code__")
  }


def in_post_init(module: ModuleBase) -> bool:
  """Whether a `__post_init__` of a user's is running for a module."""
  return any(
    frame.f_code.co_name == "__post_init__" and _is_of(frame, module) and is_users(frame) for frame in stack()
  )


def _is_of(frame: types.FrameType, module: ModuleBase) -> bool:
  """Whether a frame is that of a method of a module: its first argument is it."""
  code = frame.f_code
  return bool(code.co_argcount) and frame.f_locals.get(code.co_varnames[0]) is module
