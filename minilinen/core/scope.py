"""`Scope`: a place in the variable tree, whose variables it reads and writes, and whose keys it draws.

The tree (`tree.py`) holds the variables, what may be written and the random streams; the place (`place.py`) its path,
the names there and the children. A `Module` is a dataclass of settings plus a scope; functional code takes a scope as
its first argument. A `Variable` refers to one variable of a scope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from minilinen import errors
from minilinen.configurations import config
from minilinen.core import initial, meta, mistakes
from minilinen.core.filters import CollectionFilter, DenyList, MutableVariableDict, VariableDict, in_filter  # noqa: F401
from minilinen.core.frozen_dict import FrozenDict, FrozenVariableDict, freeze  # noqa: F401 (Flax has them here too)
from minilinen.core.place import Place
from minilinen.core.rng import LazyRng
from minilinen.core.run_span import store, within
from minilinen.tracing import events
from minilinen.tracing.recorder import current
from minilinen.tracing.spec import boxed, describe

T = TypeVar("T")

_MISSING = object()


class Scope(Place):
  """A place in a variable tree, whose variables it reads and writes, and whose keys it draws.

  Its names, its children and whether it is still valid are `Place`'s.
  """

  __slots__ = ()

  # Collections.

  def is_mutable_collection(self, col: str) -> bool:
    """Whether a collection may be written."""
    return self.tree.may_write(col)

  def is_collection_empty(self, col: str) -> bool:
    """Whether the run has no variable at all in a collection."""
    return not self.tree.variables.get(col)

  def variables(self) -> Mapping[str, Any]:
    """All variables at this place and below, by collection."""
    return _outward(self.tree.collections(self.path))

  def mutable_variables(self) -> Mapping[str, Any]:
    """The variables of the mutable collections, by collection: what a run hands back."""
    collections = self.tree.collections(self.path)
    return _outward({col: v for col, v in collections.items() if self.tree.may_write(col)})

  # Variables.

  def has_variable(self, col: str, name: str) -> bool:
    """Whether a variable exists."""
    return name in self.tree.read(col, self.path)

  def get_variable(self, col: str, name: str, default: Any = None) -> Any:
    """The value of a variable, `default` if it doesn't exist."""
    value = self.tree.read(col, self.path).get(name, _MISSING)
    if value is _MISSING:
      return default
    if (recorder := current()) is not None:
      within(recorder, self.tree).event(
        events.Read, self.path, collection=col, name=name, value=describe(value)
      )
    return value

  def put_variable(self, col: str, name: str, value: Any) -> None:
    """Sets the value of a variable, which need not exist yet.

    Raises:
      ModifyScopeVariableError: if the collection is not mutable.
    """
    self.check_valid()
    if not self.tree.may_write(col):
      raise mistakes.not_mutable(self.tree, self.path, col, name)
    if not self.tree.is_here():
      mistakes.warn_of_leak(self.tree, self.path, col, name, value)
    if (recorder := current()) is not None:
      before = describe(self.tree.read(col, self.path).get(name))
      event = within(recorder, self.tree).event
      event(events.Write, self.path, collection=col, name=name, before=before, after=describe(value))
    store(recorder, self.tree, col, self.path, name, value)

  def _create(self, col: str, name: str, value: Any, since: Any, made: tuple[Any, Any, Any]) -> None:
    if not self.tree.is_here():
      mistakes.warn_of_leak(self.tree, self.path, col, name, value)
    store(recorder := current(), self.tree, col, self.path, name, value)
    if recorder is not None:
      content, axes = boxed(describe(meta.laid_out(value)))
      how = initial.how_made(since, *made)
      event = within(recorder, self.tree).event
      event(events.Create, self.path, collection=col, name=name, value=content, axes=axes, **how)

  def variable(
    self, col: str, name: str, init_fn: Callable[..., Any] | None = None, *init_args: Any, unbox: bool = True,
    **init_kwargs: Any,
  ) -> Variable[Any]:  # fmt: skip
    """A reference to a variable, which is created if it isn't there and may be.

    Args:
      col, name: its collection and name.
      init_fn: called with the remaining arguments for the first value.
      unbox: whether the reference speaks of what is inside a box.

    Raises:
      ScopeCollectionNotFound: if the whole collection is missing and not mutable.
      ScopeVariableNotFoundError: if the variable is missing and its collection not mutable,
        or there is no `init_fn`.
    """
    self.reserve(name, col)
    if not self.has_variable(col, name):
      if not self.is_mutable_collection(col) or init_fn is None:
        if self.is_collection_empty(col):
          raise mistakes.collection_not_found(self.tree, self.path, col, name, init_fn is not None)
        here = self.tree.read(col, self.path)
        raise errors.ScopeVariableNotFoundError(name, col, self.path_text, here, init_fn is not None)
      since, made = initial.position(self.tree), (init_fn, init_args, init_kwargs)
      self._create(col, name, initial.first_value(name, self.path, *made), since, made)
    return Variable(self, col, name, unbox=unbox)

  def param(
    self, name: str, init_fn: Callable[..., Any], *init_args: Any, unbox: bool = True, **init_kwargs: Any
  ) -> Any:
    """The value of a parameter, which is created if `params` is mutable and lacks it.

    Args:
      name: its name.
      init_fn: called with a key and the remaining arguments for the first value.
      unbox: whether to give what is inside a box.

    Raises:
      ScopeParamShapeError: if the parameter has another shape than `init_fn` gives.
      SymbolicParamError: if a size of it is a symbol.
      ScopeCollectionNotFound: if no parameters were passed at all.
      ScopeParamNotFoundError: if this one was not passed.
    """
    self.reserve(name, "params")
    value = self.get_variable("params", name, _MISSING)
    if value is _MISSING:
      since, made = initial.position(self.tree), (init_fn, init_args, init_kwargs)
      value = self._new_parameter(name, *made)
      self._create("params", name, value, since, made)
    else:
      expected = initial.initial_shapes(name, self.path, init_fn, init_args, init_kwargs)
      mismatch = initial.check_shapes(name, self.path, value, expected)
      if mismatch is not None:
        raise mistakes.param_shape(self.tree, self.path, name, *mismatch)
    return meta.unbox(value) if unbox else value

  def _new_parameter(
    self, name: str, init_fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
  ) -> Any:
    if not self.tree.may_write("params"):
      if self.is_collection_empty("params"):
        raise mistakes.collection_not_found(self.tree, self.path, "params", name)
      raise mistakes.param_not_found(self.tree, self.path, name)
    if self.tree.behind is not None:
      mistakes.warn_of_shared_key(self.tree, self.path, name, init_fn, args, kwargs)
    return initial.new_value(name, self.path, init_fn, self.draw("params"), args, kwargs)

  # Random keys.

  @property
  def rngs(self) -> dict[str, LazyRng]:
    """The random streams of this place: those of the tree with the names from its root folded in."""
    return {k: LazyRng.create(rng, *self.key_path) for k, rng in self.tree.rngs.items()}

  def has_rng(self, name: str) -> bool:
    """Whether a stream of this name was passed."""
    return name in self.tree.rngs

  def make_rng(self, name: str = "params") -> Any:
    """Draws a key from a stream; "params" serves if there is no stream of that name.

    Raises:
      InvalidRngError: if there is neither.
    """
    if not self.tree.is_here():
      mistakes.warn_of_reuse(self.tree, self.path, name)
    return self.draw(name).as_jax_rng()

  def draw(self, name: str) -> LazyRng:
    """The next key of a stream, which is folded only when somebody needs it. See `make_rng`."""
    self.check_valid()
    served, streams = name, self.tree.rngs
    if name not in streams:
      if "params" not in streams:
        raise mistakes.no_stream(self.tree, self.path, name)
      mistakes.warn_of_served(self.tree, self.path, name)
      served = "params"
    counter = self.rng_counters.get(served, 0) + 1
    self.rng_counters[served] = counter
    drawn = LazyRng.create(streams[served], *self.key_path, counter)
    if (recorder := current()) is not None:
      within(recorder, self.tree).event(
        events.Key, self.path, stream=name, served=served, counter=counter, steps=drawn.derivation(),
        value=describe(drawn.rng),
      )  # fmt: skip
    return drawn


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
      before = self.scope.tree.read(self.collection, self.scope.path).get(self.name)
      value = meta.replace_boxed(before, value)
    self.scope.put_variable(self.collection, self.name, value)

  def is_mutable(self) -> bool:
    """Whether `value` may be set."""
    return self.scope.is_mutable_collection(self.collection)

  def __repr__(self) -> str:
    return f"Variable({self.collection}{self.scope.path_text}{'/' if self.scope.path else ''}{self.name})"


def _outward(variables: dict[str, Any]) -> Mapping[str, Any]:
  """Variables as users get them: frozen, or as plain dicts if the setting says so."""
  return freeze(variables) if config.return_frozendict else variables
