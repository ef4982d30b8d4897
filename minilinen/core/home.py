"""Where a scope tree is at home: behind which boundary, and in which of JAX's traces.

`init` and `apply` make a scope tree, and so does each side of a lifted transform; all scopes of a tree have one
`Home`. JAX lets a function transformed by hand (`jax.vmap`, `jax.lax.scan`, `jax.jit` ...) use a scope from outside of
it, and Flax lets that pass. As a rule it is harmless: parameters are read. But a value written from inside is a
tracer that has escaped, and a key drawn inside a loop or a vmap is one key for all steps or elements. A scope
asks here when it writes and when it draws, which costs a comparison unless the code stands in such a function.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from minilinen import errors, jax_internals
from minilinen.core.filters import CollectionFilter, in_filter

if TYPE_CHECKING:
  from minilinen.core.scope import Scope


_innermost: ContextVar[Home | None] = ContextVar("minilinen.home", default=None)


class Home:
  """The home of a scope tree.

  Attributes:
    outer: the scope outside of the boundary that this tree is behind, None for the tree of a whole run.
    boundary: what that boundary is called, for messages.
    collections: filters of the collections that pass it.
    streams: filters of the random streams that pass it.
    shares_key: the boundary that gives stacked parameters one key, None if there is none.
  """

  __slots__ = ("_trace", "outer", "boundary", "collections", "streams", "shares_key")

  def __init__(
    self,
    outer: Scope | None = None,
    boundary: errors.LiftedAt | None = None,
    collections: tuple[CollectionFilter, ...] = (),
    streams: tuple[CollectionFilter, ...] = (),
    shares_key: bool = False,
  ):
    self._trace = weakref.ref(jax_internals.current_trace())
    self.outer = outer
    self.boundary = boundary
    self.collections = collections
    self.streams = streams
    above = outer._home.shares_key if outer is not None else None
    self.shares_key = boundary if shares_key else above

  def is_here(self) -> bool:
    """Whether JAX is where it was when the tree was made, in no transform besides."""
    return self._trace() is jax_internals.current_trace()

  @contextlib.contextmanager
  def entered(self) -> Iterator[None]:
    """For a `with` block, the body behind the boundary runs."""
    around = _innermost.set(self)
    try:
      yield
    finally:
      _innermost.reset(around)

  # What a boundary stops.

  def stopping_collection(self, col: str, passed: bool = False) -> errors.LiftedAt | None:
    """The boundary that keeps out a collection which is there outside of it, or with `passed` False may be made."""
    for home, outer in self._outward():
      if not any(in_filter(f, col) for f in home.collections):
        is_there = bool(outer.root._variables.get(col)) or (not passed and outer.is_mutable_collection(col))
        return home.boundary if is_there else None
    return None

  def stopping_writes(self, col: str) -> errors.LiftedAt | None:
    """The boundary behind which a collection cannot be written, though outside it can."""
    for home, outer in self._outward():
      if outer.is_mutable_collection(col):
        return home.boundary
    return None

  def stopping_stream(self, stream: str) -> errors.LiftedAt | None:
    """The boundary that keeps out a random stream which was passed."""
    for home, outer in self._outward():
      if stream in outer.rngs:
        return home.boundary
    return None

  def _outward(self) -> Iterator[tuple[Home, Scope]]:
    home = self
    while home.outer is not None:
      yield home, home.outer
      home = home.outer._home

  # Transforms in between.

  def transforms_between(self) -> list[Any]:
    """JAX's traces between this home and the code that is running, the innermost first."""
    home, found = self._trace(), []
    trace = jax_internals.current_trace()
    while trace is not None and trace is not home:
      found.append(trace)
      trace = jax_internals.outer_trace(trace)
    return found if trace is not None else []

  def lift_between(self) -> errors.LiftedAt | None:
    """The lifted transform whose body is running, and which this tree is outside of."""
    home = _innermost.get()
    while home is not None and home is not self and home.outer is not None:
      above = home.outer._home
      if above is self:
        return home.boundary
      home = above
    return None
