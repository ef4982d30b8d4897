"""A place in the variable tree: `Scope` reads and writes variables and draws keys; `Variable` refers to one.

A scope knows its tree (`tree.py`: the variables, what may be written, the random streams) and its path there. `push`
opens a child: the same tree one name further down. What a scope keeps of its own is what has happened at its
place: which names are claimed, and how many keys were drawn.

A `Module` is a dataclass of settings plus a scope; functional code takes a scope as its
first argument.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import jax

from minilinen import errors
from minilinen.configurations import config
from minilinen.core import initial, meta, mistakes
from minilinen.core.filters import CollectionFilter, in_filter  # noqa: F401 (Flax has it here too)
from minilinen.core.frozen_dict import freeze
from minilinen.core.rng import LazyRng
from minilinen.core.tree import Path, Tree
from minilinen.tracing import events
from minilinen.tracing.recorder import current
from minilinen.tracing.spec import boxed, describe

T = TypeVar("T")

_CHILD = object()  # key of a child's counters among its parent's: (_CHILD, name)
_MISSING = object()


class Scope:
  """A place in a variable tree, with the random streams that belong to it.

  Attributes:
    tree: the tree; what is said of the whole run (`mutable`, `flags`) is its.
    path: the names from the top of the model, across boundaries of lifted transforms.
    key_path: the names that are folded into keys: those from the root of the tree, unless the scope was moved.
    parent: the scope that pushed it, None for a root.
    reservations: name -> the collections that use it (None: a child scope).
    rng_counters: how many keys were drawn, by stream, and the children's counters.

  Raises:
    InvalidScopeError: by methods that write, draw a key or open a child, once the run that it belongs to is over.
  """

  __slots__ = (
    "tree", "path", "key_path", "parent", "reservations", "rng_counters", "_numbers", "__weakref__",
  )  # fmt: skip

  def __init__(
    self,
    variables: Mapping[str, Any],
    rngs: Mapping[str, Any] | None = None,
    name: str | None = None,
    mutable: CollectionFilter = False,
    parent: Scope | None = None,
    path: Iterable[str] = (),
    debug_path: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
  ):
    """A scope by itself, over a tree of its own. `at` is a place in a tree that there is, `push` a child."""
    where = Path(path) or Path(debug_path) or Path(() if name is None else (name,))
    tree = parent.tree if parent is not None else Tree(variables, rngs, mutable, flags, where)
    self._settle(tree, where, where[len(tree.path) :], parent, {})

  @classmethod
  def at(cls, tree: Tree, path: Path, rng_counters: dict[Any, Any] | None = None) -> Scope:
    """The scope at a place of a tree; `rng_counters` are those of an earlier one there."""
    scope = object.__new__(cls)
    scope._settle(tree, path, path[len(tree.path) :], None, {} if rng_counters is None else rng_counters)
    return scope

  def _settle(
    self,
    tree: Tree,
    path: Path,
    key_path: tuple[str, ...],
    parent: Scope | None,
    rng_counters: dict[Any, Any],
  ) -> None:
    self.tree = tree
    self.path = path
    self.key_path = key_path
    self.parent = parent
    self.rng_counters = rng_counters
    self.reservations: dict[str, set[str | None]] = {}
    self._numbers: dict[str, int] = {}  # prefix -> a number below which no name is free

  # The tree, and names.

  @property
  def name(self) -> str | None:
    """Its name in the parent, None at the top of the model."""
    return self.path[-1] if self.path else None

  @property
  def mutable(self) -> CollectionFilter:
    """The filter of the collections that may be written."""
    return self.tree.mutable

  @property
  def flags(self) -> Mapping[str, Any]:
    """The settings of the run, such as "initializing"."""
    return self.tree.flags

  @property
  def debug_path(self) -> Path:
    """The path, under another name that Linen has for it."""
    return self.path

  @property
  def path_text(self) -> str:
    """The path as text: "/encoder/Dense_0"; a name that could be misread stands in quotes."""
    return str(self.path)

  @property
  def root(self) -> Scope:
    """The scope at the top, of this side of the innermost boundary."""
    scope = self
    while scope.parent is not None:
      scope = scope.parent
    return scope

  @property
  def invalid(self) -> bool:
    """Whether the run that the scope belongs to is over."""
    return self.tree.is_over(self.path)

  def invalidate(self) -> None:
    """Ends the scope's life: whoever still holds it gets an error, not stale values."""
    self.tree.over.append(self.path)

  def check_valid(self) -> None:
    """Raises InvalidScopeError if the run that the scope belongs to is over."""
    if self.tree.over and self.invalid:
      raise errors.InvalidScopeError(self.path_text)

  @contextlib.contextmanager
  def temporary(self) -> Iterator[Scope]:
    """The scope, valid for the length of a `with` block."""
    try:
      yield self
    finally:
      self.invalidate()

  def reserve(self, name: str, col: str | None = None) -> None:
    """Claims a name for a variable of collection `col`, or for a child scope if None.

    Raises:
      ScopeNameTypeError: if the name is no string.
      ScopeNameInUseError: if the name is claimed already.
    """
    if not isinstance(name, str):
      raise errors.ScopeNameTypeError(name, self.path_text)
    if self.name_reserved(name, col):
      raise errors.ScopeNameInUseError(name, self.path_text)
    self.reservations.setdefault(name, set()).add(col)

  def name_reserved(self, name: str, col: str | None = None) -> bool:
    """Whether a name is claimed: a child's by anything, a variable's by a child or in `col`."""
    claimed = self.reservations.get(name)
    if claimed is None:
      return False
    return col is None or None in claimed or col in claimed

  def default_name(self, prefix: str) -> str:
    """The first free name of `prefix` and a number."""
    number = self._numbers.get(prefix, 0)
    while f"{prefix}{number}" in self.reservations:
      number += 1
    self._numbers[prefix] = number
    return f"{prefix}{number}"

  # Children.

  def push(self, name: str | None = None, prefix: str = "", reuse: bool = False) -> Scope:
    """Opens a child scope.

    Args:
      name: its name; the first free one of `prefix` if None.
      prefix: beginning of the automatic name.
      reuse: whether the name may be in use: the child is then opened again.

    Raises:
      ScopeNameInUseError: if the name is in use and `reuse` is False.
    """
    self.check_valid()
    if name is None:
      name = self.default_name(prefix)
    if not reuse or name not in self.reservations:
      self.reserve(name)
    counters = self.rng_counters.get((_CHILD, name))
    if counters is None:
      counters = self.rng_counters[(_CHILD, name)] = {}
    child = object.__new__(Scope)
    child._settle(self.tree, self.path / name, (*self.key_path, name), self, counters)
    return child

  def child(
    self,
    fn: Callable[..., Any],
    name: str | None = None,
    prefix: str | None = None,
    named_call: bool = True,
    **partial_kwargs: Any,
  ) -> Callable[..., Any]:
    """A function of a scope, bound to a child scope of this one.

    Args:
      fn: called with the child scope and the arguments.
      name: the child's name; by default the function's name and a number.
      prefix: beginning of the automatic name.
      named_call: whether the name shows in JAX's profiles.
      **partial_kwargs: keyword arguments to pass on every call.
    """
    if name is None:
      name = self.default_name(
        f"{fn.__name__}_" if prefix is None and hasattr(fn, "__name__") else prefix or ""
      )
    scope = self.push(name)
    if named_call:
      fn = jax.named_call(fn, name=name)

    def call(*args: Any, **kwargs: Any) -> Any:
      return fn(scope.rewound(), *args, **{**partial_kwargs, **kwargs})

    return call

  def rewound(self, rewind_rngs: bool = False) -> Scope:
    """The same scope with no name claimed, so that a function can run in it again.

    Args:
      rewind_rngs: whether the keys are drawn from the start again too.
    """
    self.check_valid()
    scope = object.__new__(Scope)
    counters = {} if rewind_rngs else self.rng_counters
    scope._settle(self.tree, self.path, self.key_path, self.parent, counters)
    return scope

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
      recorder.event(events.Read, self.path, collection=col, name=name, value=describe(value))
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
      recorder.event(events.Write, self.path, collection=col, name=name, before=before, after=describe(value))
    self.tree.store(col, self.path, name, value)

  def _create(self, col: str, name: str, value: Any, since: int, made: tuple[Any, Any, Any]) -> None:
    if not self.tree.is_here():
      mistakes.warn_of_leak(self.tree, self.path, col, name, value)
    self.tree.store(col, self.path, name, value)
    if (recorder := current()) is not None:
      content, axes = boxed(describe(meta.laid_out(value)))
      told = initial.told(since, *made)
      recorder.event(events.Create, self.path, collection=col, name=name, value=content, axes=axes, **told)

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
      since, made = initial.place(), (init_fn, init_args, init_kwargs)
      self._create(col, name, initial.first_value(*made), since, made)
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
      since, made = initial.place(), (init_fn, init_args, init_kwargs)
      value = self._new_parameter(name, *made)
      self._create("params", name, value, since, made)
    else:
      expected = initial.initial_shapes(init_fn, init_args, init_kwargs)
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
      recorder.event(
        events.Key, self.path, stream=name, served=served, counter=counter, steps=drawn.derivation(),
        value=describe(drawn.rng),
      )  # fmt: skip
    return drawn

  # Flags.

  def has_flag(self, key: str) -> bool:
    """Whether the run has a setting of this name."""
    return key in self.flags

  def get_flag(self, key: str, default: Any = _MISSING) -> Any:
    """A setting of the run.

    Raises:
      KeyError: if it isn't there and no default is given.
    """
    if default is _MISSING and key not in self.flags:
      raise KeyError(f"flag {key!r} is not set in this run; its flags are {sorted(self.flags)}")
    return self.flags.get(key, default)

  def __eq__(self, other: Any) -> bool:
    if not isinstance(other, Scope):
      return NotImplemented
    return self is other or (
      self.tree is other.tree and self.path == other.path and self.rng_counters is other.rng_counters
    )

  def __hash__(self) -> int:
    return hash((self.path, id(self.tree), id(self.rng_counters)))


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
