"""May be skipped: a module of Flax's inside of one of minilinen's, and the other way round: neither knows the other.

Flax is not imported for that: where it was not, no module of it can be there.
"""

from __future__ import annotations

import sys
import traceback
import types
from typing import Any

from minilinen import errors
from minilinen.module.base import ModuleBase


def of_flax_inside(error: Exception, module: ModuleBase, path: str) -> errors.MixedModulesError | None:
  """The error for a module of Flax's that was called in one of ours, where it has no variables."""
  frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
  if type(error).__name__ not in ("CallCompactUnboundModuleError", "CallSetupUnboundModuleError"):
    asked = isinstance(error, AttributeError) and frames[-1].f_code.co_name == "__getattr__"
    if not (asked or isinstance(error, AssertionError)) or _flax_module(frames[-1]) is None:
      return None
  inner = next(filter(None, map(_flax_module, reversed(frames))), None)
  if inner is None or inner.scope is not None:
    return None
  return errors.MixedModulesError(type(inner).__name__, type(module).__name__, path)


def inside_of_flax(module: ModuleBase) -> errors.MixedModulesError | None:
  """The error for a module of ours that was called in one of Flax's, if one is running."""
  outer = next(
    filter(None, (_flax_module(frame) for frame, _ in traceback.walk_stack(sys._getframe(1)))), None
  )
  if outer is None or outer.scope is None:
    return None
  is_flaxs_own = type(outer).__module__.partition(".")[0] == "flax"
  return errors.MixedModulesError.inside_of_flax(type(module).__name__, type(outer).__name__, is_flaxs_own)


def _flax_module(frame: types.FrameType) -> Any:
  """The module of Flax's of which a method runs in a frame, None if it is none."""
  kind = getattr(sys.modules.get("flax.linen"), "Module", None)
  if not isinstance(kind, type) or issubclass(kind, ModuleBase):
    return None
  found = frame.f_locals.get("self")
  return found if isinstance(found, kind) else None
