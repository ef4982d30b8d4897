"""What a module instance remembers besides its fields and its scope."""

from __future__ import annotations

from typing import Any


class Unspecified:
  """The default of `parent`: whichever module is running when this one is constructed."""

  def __repr__(self) -> str:
    return "unspecified"

  def __copy__(self) -> Unspecified:
    return self

  def __deepcopy__(self, memo: Any) -> Unspecified:
    return self

  def __reduce__(self) -> str:
    return "UNSPECIFIED"


UNSPECIFIED = Unspecified()


class ModuleState:
  """Bookkeeping of one instance; a copy of it goes along into a lifted transform.

  Attributes:
    initialized: whether `__post_init__` is over; from then on the instance is frozen.
    in_setup, in_compact: whether `setup` or a compact method is running.
    setup_done: whether `setup` has run.
    setup_again: whether it runs for a copy in a lifted transform, where its names are in use already.
    from_setup: the attributes that `setup` made.
    cursors: class name -> number of the next automatic name.
    children: name -> submodule, or the collection of a variable.
  """

  __slots__ = (
    "initialized",
    "in_setup",
    "in_compact",
    "setup_done",
    "setup_again",
    "from_setup",
    "cursors",
    "children",
  )

  def __init__(self) -> None:
    self.initialized = False
    self.in_setup = False
    self.in_compact = False
    self.setup_done = False
    self.setup_again = False
    self.from_setup: tuple[str, ...] = ()
    self.cursors: dict[str, int] = {}
    self.children: dict[str, Any] = {}

  def copy(self) -> ModuleState:
    """The same state, to change apart from this one."""
    other = ModuleState()
    for slot in ModuleState.__slots__[:6]:
      setattr(other, slot, getattr(self, slot))
    other.cursors = dict(self.cursors)
    other.children = dict(self.children)
    return other

  def take_names(self, inner: ModuleState) -> None:
    """Takes over the names that a copy gave out in a lifted transform."""
    self.cursors.update(inner.cursors)
    self.children.update(inner.children)

  def end_method(self) -> None:
    """After a setup or compact method: names may be given out again from the start."""
    self.in_setup = False
    self.in_compact = False
    self.cursors = {}
