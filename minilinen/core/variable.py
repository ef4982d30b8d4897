"""`Variable`: a reference to one variable, by which a module reads and sets what may change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from minilinen.core import meta

if TYPE_CHECKING:
  from minilinen.core.scope import Scope

T = TypeVar("T")


class Variable(Generic[T]):
  """A reference to one variable of a collection: `value` reads it and sets it.

  Attributes:
    scope, collection, name: where the variable lives.
    unbox: whether `value` speaks of what is inside a box (`meta.AxisMetadata`).
  """

  __slots__ = ("scope", "collection", "name", "unbox", "__weakref__")

  def __init__(self, scope: Scope, collection: str, name: str, unbox: bool = True):
    self.scope = scope
    self.collection = collection
    self.name = name
    self.unbox = unbox

  @property
  def value(self) -> T:
    """The variable's value. Setting it needs the collection to be mutable."""
    value = self.scope.get_variable(self.collection, self.name)
    return meta.unbox(value) if self.unbox else value

  @value.setter
  def value(self, value: T) -> None:
    if self.unbox:
      value = meta.replace_boxed(self.scope._peek(self.collection, self.name), value)
    self.scope.put_variable(self.collection, self.name, value)

  def is_mutable(self) -> bool:
    """Whether `value` may be set."""
    return self.scope.is_mutable_collection(self.collection)

  def __repr__(self) -> str:
    return f"Variable({self.collection}{self.scope.path_text}{'/' if self.scope.path else ''}{self.name})"
