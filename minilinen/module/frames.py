"""May be skipped: what the stack knows of a mistake: which layer calls, and which method runs.

An error asks it while it is raised, so nothing here has to be fast.
"""

from __future__ import annotations

import types

from minilinen.module.base import ModuleBase
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


def _methods(module: ModuleBase) -> dict[types.CodeType, str]:
  """The names of a module's methods by their code."""
  return {
    vars(method)["raw_method"].__code__: name
    for base in reversed(type(module).__mro__)
    for name, method in vars(base).items()
    if hasattr(method, "raw_method")
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
