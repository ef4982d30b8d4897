"""May be skipped: what the statement of the user's that is running looks like: whether it is in a loop, or counts.

An error asks it while it is raised, so nothing here has to be fast.
"""

from __future__ import annotations

import dis
import sys
import types
from collections.abc import Iterator

from minilinen.tracing.source import is_hidden, source_at


def stack() -> Iterator[types.FrameType]:
  """The frames that are running, innermost first."""
  frame: types.FrameType | None = sys._getframe(1)
  while frame is not None:
    yield frame
    frame = frame.f_back


def is_users(frame: types.FrameType) -> bool:
  """Whether a frame runs the user's own code."""
  return not is_hidden(frame.f_code) and source_at(frame, 0) is not None


def in_a_loop() -> bool:
  """Whether the user's line that is running stands in a loop of its function."""
  frame = next((frame for frame in stack() if is_users(frame)), None)
  if frame is None:
    return False
  steps = (step for step in dis.get_instructions(frame.f_code) if step.opname.startswith("JUMP_BACKWARD"))
  return any(step.argval <= frame.f_lasti <= step.offset for step in steps)


def is_counted(name: str) -> bool:
  """Whether the user's line that is running changes an attribute by what it was: `self.n += 1`."""
  frame = next((frame for frame in stack() if is_users(frame)), None)
  steps = [] if frame is None else list(dis.get_instructions(frame.f_code))
  for before, step in zip([[], [], [], *zip(steps, steps[1:], steps[2:])], steps):
    if frame is not None and step.offset == frame.f_lasti and step.argval == name:
      return any(one.opname == "BINARY_OP" and one.argrepr.endswith("=") for one in before)
  return False
