"""May be skipped: tracebacks show the user's frames; ours and JAX's are taken out, as JAX does it.

The functions by which a user enters, `init`, `apply` and the like, are an `entry`, and what a call from outside of a
bound module raises is treated like that. `jax.config.jax_traceback_filtering` says what is done: "off" shows all.
Which frames are ours says `is_hidden` in `source.py`.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import jax

from minilinen.tracing.source import is_hidden

P = ParamSpec("P")
R = TypeVar("R")


def entry(fn: Callable[P, R]) -> Callable[P, R]:
  """A function whose exceptions show the user's frames only."""

  @functools.wraps(fn)
  def entered(*args: P.args, **kwargs: P.kwargs) -> R:
    try:
      return fn(*args, **kwargs)
    except Exception as error:
      hide_frames(error)
      raise

  return entered


def hide_frames(error: BaseException) -> None:
  """Takes the frames that aren't the user's out of the tracebacks of an exception and of those that led to it."""
  mode = getattr(jax.config, "jax_traceback_filtering", None)
  if mode == "off":
    return
  for shown in _shown(error):
    frames = list(_frames(shown.__traceback__))
    if mode == "tracebackhide" or (mode in (None, "auto") and _in_ipython()):
      for step in frames:
        if is_hidden(step.tb_frame.f_code):
          step.tb_frame.f_locals["__tracebackhide__"] = True
    else:
      shown.__traceback__ = _joined([step for step in frames if not is_hidden(step.tb_frame.f_code)])


def _shown(error: BaseException) -> Iterator[BaseException]:
  """An exception and those that Python prints before it."""
  seen: set[int] = set()
  step: BaseException | None = error
  while step is not None and id(step) not in seen:
    seen.add(id(step))
    yield step
    step = step.__cause__ or (None if step.__suppress_context__ else step.__context__)


def _frames(traceback: types.TracebackType | None) -> Iterator[types.TracebackType]:
  while traceback is not None:
    yield traceback
    traceback = traceback.tb_next


def _joined(frames: list[types.TracebackType]) -> types.TracebackType | None:
  """A traceback of these steps."""
  joined = None
  for step in reversed(frames):
    joined = types.TracebackType(joined, step.tb_frame, step.tb_lasti, step.tb_lineno)
  return joined


def _in_ipython() -> bool:
  """Whether a traceback is shown by IPython, which lets its user see the frames that are hidden."""
  ipython = sys.modules.get("IPython")
  return ipython is not None and ipython.get_ipython() is not None
