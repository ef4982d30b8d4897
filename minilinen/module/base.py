"""What every file of the class layer knows of a module: its parent, its name, its scope and its state.

`ModuleBase` holds these and does nothing with them. What a module does stands in other files, one idea each: `life.py`
(birth, setup, attributes, copies), `variables.py` (what methods say about variables), `call.py` (what a call is),
`runs.py` (how it is run from outside), and `module.py`, which makes of them the class that users derive from. To
ask whether something is a module is to ask for a `ModuleBase`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

from minilinen.core.scope import Scope
from minilinen.tracing.spec import ModuleRef


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
    initialized: whether it is bound; from then on only `setup` sets attributes.
    in_setup, in_compact: whether `setup` or a compact method is running.
    setup_done: whether `setup` has run.
    setup_again: whether it runs for a copy in a lifted transform, where its names are in use already.
    from_setup: the attributes that `setup` made.
    ahead: whether it has run for a copy, before `nn.jit` (`ahead.py`).
    cursors: class name -> number of the next automatic name.
    children: name -> submodule.
  """

  __slots__ = (
    "initialized",
    "in_setup",
    "in_compact",
    "setup_done",
    "setup_again",
    "from_setup",
    "ahead",
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
    self.ahead = False
    self.cursors: dict[str, int] = {}
    self.children: dict[str, ModuleBase] = {}

  def copy(self) -> ModuleState:
    """The same state, to change apart from this one."""
    other = ModuleState()
    for slot in ModuleState.__slots__[:6]:
      setattr(other, slot, getattr(self, slot))
    other.cursors = dict(self.cursors)
    other.children = dict(self.children)
    return other

  def take_names(self, inner: ModuleState) -> None:
    """Takes over which names a copy gave out in a lifted transform, not the modules there, which are over with it."""
    self.cursors.update(inner.cursors)

  def end_method(self) -> None:
    """After a setup or compact method: names may be given out again from the start."""
    self.in_setup = False
    self.in_compact = False
    self.cursors = {}


@dataclass_transform(field_specifiers=(dataclasses.field,))
class _Dataclass:
  """Tells type checkers that modules are dataclasses, and what an instance has besides its fields."""

  scope = None
  _hidden = ()
  _is_layer = False
  if TYPE_CHECKING:  # no annotations of the user's class
    scope: Scope | None
    _state: ModuleState
    _hidden: ClassVar[tuple[tuple[str, str], ...]]
    _is_layer: ClassVar[bool]


class ModuleBase(_Dataclass):
  """A dataclass of settings plus a scope.

  Attributes:
    parent: the module or scope that this one belongs to; None for a module that belongs to none yet.
    name: its name in the parent.
    scope: its place in the variable tree; None unless it is bound.
  """

  parent: ModuleBase | Scope | Unspecified | None = dataclasses.field(
    default=UNSPECIFIED, repr=False, kw_only=True
  )
  name: str | None = dataclasses.field(default=None, kw_only=True)

  @classmethod
  def _fields(cls) -> tuple[str, ...]:
    """The names of the settings: the fields without parent and name."""
    known = cls.__dict__.get("_field_names")
    if known is None:
      fields = cls.__dataclass_fields__.values()
      known = tuple(f.name for f in fields if f.init and f.name not in ("parent", "name"))
      cls._field_names = known
    return known

  @staticmethod
  def __trace_describe__(module: ModuleBase) -> ModuleRef:
    return ModuleRef(type(module).__name__, module.scope.path if module.scope is not None else None)


# As types, not as text: a subclass has them too, in a file where these names may mean nothing.
ModuleBase.__annotations__.update(parent=ModuleBase | Scope | Unspecified | None, name=str | None)
dataclasses.dataclass(unsafe_hash=True, repr=False)(ModuleBase)
