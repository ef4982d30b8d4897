"""May be skipped: what is in force for the length of a `with` block, in one task (a recorder, rules, settings ...).

A stack per thread would not do. Tasks of asyncio take turns in one thread, and generators may leave their blocks in
the order in which they entered them. So what is in force stands in a context variable, of which each task has its
own, as a frame that knows the frame around it; a block that is left says that it is over, wherever it is left, and who
looks goes past the frames of such blocks. The recorder, interceptors, rules and settings are one `InForce` each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class InForce(Generic[T]):
  """The values of the `with` blocks that the code stands in.

  >>> mood = InForce[str]("mood")
  >>> with mood.within("calm"), mood.within("glad"):
  ...   list(mood)
  ['glad', 'calm']
  >>> mood.innermost() is None
  True

  Attributes:
    frame: a function that gives the innermost frame, whose block may be over: the fast way to see that there is none.
  """

  def __init__(self, name: str):
    self._variable: ContextVar[Frame[T] | None] = ContextVar(f"minilinen.{name}", default=None)
    self.frame = self._variable.get

  def __iter__(self) -> Iterator[T]:
    """The values in force, the innermost first."""
    frame = self.frame()
    while frame is not None:
      if not frame.block.is_over:
        yield frame.value
      frame = frame.outer

  def innermost(self) -> T | None:
    """The value of the innermost block, None if there is none."""
    frame = self._live()
    return None if frame is None else frame.value

  def within(self, value: T) -> Block[T]:
    """For a `with` block, this value is the innermost."""
    return Block(self, value)

  def set(self, value: T) -> None:
    """Puts a value in the place of the innermost, until the block that this is called in is left."""
    frame = self._live()
    outer, block = (frame.outer, frame.block) if frame is not None else (None, Block(self, value))
    self._variable.set(Frame(value, outer, block))

  def _live(self) -> Frame[T] | None:
    frame = self.frame()
    while frame is not None and frame.block.is_over:
      frame = frame.outer
    return frame


class Frame(Generic[T]):
  """A value that is in force, what is around it, and the block that it lasts for."""

  __slots__ = ("value", "outer", "block")

  def __init__(self, value: T, outer: Frame[T] | None, block: Block[T]):
    self.value = value
    self.outer = outer
    self.block = block


class Block(Generic[T]):
  """The `with` block that a value is in force for. A class, since a generator would add frames to every exception."""

  __slots__ = ("_in_force", "_frame", "is_over")

  def __init__(self, in_force: InForce[T], value: T):
    self._in_force = in_force
    self._frame = Frame(value, None, self)
    self.is_over = False

  def __enter__(self) -> T:
    self._frame.outer = self._in_force._live()
    self._in_force._variable.set(self._frame)
    return self._frame.value

  def __exit__(self, *error: Any) -> None:
    self.is_over = True
    del self._frame.value  # A task that was started in the block may hold its context for long.
    self._in_force._variable.set(self._in_force._live())
