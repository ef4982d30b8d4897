"""A place in the variable tree: its names, whether its run is over, and the places below it.

`Place` is the half of a `Scope` (`scope.py`) that has nothing to do with values. It knows its tree (`tree.py`) and its
path there; `push` opens a child: the same tree one name further down. What a place keeps of its own is what has
happened there: which names are claimed, and how many keys were drawn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

import jax

from minilinen import errors
from minilinen.core.filters import CollectionFilter
from minilinen.core.tree import Tree
from minilinen.tracing.paths import Path

_CHILD = object()  # key of a child's counters among its parent's: (_CHILD, name)
_MISSING = object()


class Place:
  """A place in a variable tree: the names there, and the places below.

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
    parent: Self | None = None,
    path: Iterable[str] = (),
    debug_path: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
  ):
    """A scope by itself, over a tree of its own. `at` is a place in a tree that there is, `push` a child."""
    where = Path(path) or Path(debug_path) or Path(() if name is None else (name,))
    tree = parent.tree if parent is not None else Tree(variables, rngs, mutable, flags, where)
    self._settle(tree, where, where[len(tree.path) :], parent, {})

  @classmethod
  def at(cls, tree: Tree, path: Path, rng_counters: dict[Any, Any] | None = None) -> Self:
    """The scope at a place of a tree; `rng_counters` are those of an earlier one there."""
    scope = object.__new__(cls)
    counters = {} if rng_counters is None else rng_counters
    scope._settle(tree, path, path[len(tree.path) :], None, counters)
    return scope

  def _settle(
    self,
    tree: Tree,
    path: Path,
    key_path: tuple[str, ...],
    parent: Self | None,
    rng_counters: dict[Any, Any],
  ) -> None:
    self.tree = tree
    self.path = path
    self.key_path = key_path
    self.parent: Self | None = parent
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
  def root(self) -> Self:
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
  def temporary(self) -> Iterator[Self]:
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
    """The first free name of `prefix` and a number: of a scope's function; modules count in `ModuleState.cursors`."""
    number = self._numbers.get(prefix, 0)
    while f"{prefix}{number}" in self.reservations:
      number += 1
    self._numbers[prefix] = number
    return f"{prefix}{number}"

  # Children.

  def push(self, name: str | None = None, prefix: str = "", reuse: bool = False) -> Self:
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
    child = object.__new__(type(self))
    child._settle(self.tree, Path((*self.path, name)), (*self.key_path, name), self, counters)
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

  def rewound(self, rewind_rngs: bool = False) -> Self:
    """The same scope with no name claimed, so that a function can run in it again.

    Args:
      rewind_rngs: whether the keys are drawn from the start again too.
    """
    self.check_valid()
    scope = object.__new__(type(self))
    counters = {} if rewind_rngs else self.rng_counters
    scope._settle(self.tree, self.path, self.key_path, self.parent, counters)
    return scope

  # Flags.

  def has_flag(self, key: str) -> bool:
    """Whether the run has a setting of this name."""
    return key in self.flags

  def get_flag(self, key: str, default: Any = _MISSING) -> Any:
    """A setting of the run.

    Raises:
      FlagNotFoundError: if it isn't there and no default is given.
    """
    if default is _MISSING and key not in self.flags:
      raise errors.FlagNotFoundError(key, self.path_text, self.flags)
    return self.flags.get(key, default)

  def __eq__(self, other: Any) -> bool:
    if not isinstance(other, Place):
      return NotImplemented
    return self is other or (
      self.tree is other.tree and self.path == other.path and self.rng_counters is other.rng_counters
    )

  def __hash__(self) -> int:
    return hash((self.path, id(self.tree), id(self.rng_counters)))
