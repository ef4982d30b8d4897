"""May be skipped: which boundary keeps something out and which lifted body is running, for messages.

JAX lets a function transformed by hand (`jax.vmap`, `jax.lax.scan`, `jax.jit` ...) use a scope from outside of
it, and Flax lets that pass. As a rule it is harmless: parameters are read. But a value written from inside is a
tracer that has escaped, and a key drawn inside a loop or a vmap is one key for all steps or elements. A scope asks
its tree when it writes and when it draws (`Tree.is_here`), which costs a comparison; only then somebody comes here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar, Token

from minilinen import errors
from minilinen.core.tree import Behind, Tree

_innermost: ContextVar[Tree | None] = ContextVar("minilinen.innermost", default=None)


class InBody:
  """The `with` block of a body behind a boundary, which runs in a tree."""

  __slots__ = ("_tree", "_around")

  def __init__(self, tree: Tree):
    self._tree = tree

  def __enter__(self) -> None:
    self._around: Token[Tree | None] = _innermost.set(self._tree)

  def __exit__(self, *error: object) -> None:
    _innermost.reset(self._around)


def stopping_collection(tree: Tree, col: str, passed: bool = False) -> errors.LiftedAt | None:
  """The boundary that keeps out a collection which is there outside of it, or with `passed` False may be made."""
  for behind in _outward(tree):
    if not behind.boundary.passes(col):
      is_there = bool(behind.outer.variables.get(col)) or (not passed and behind.outer.may_write(col))
      return behind.boundary.at if is_there else None
  return None


def stopping_writes(tree: Tree, col: str) -> errors.LiftedAt | None:
  """The boundary behind which a collection cannot be written, though outside it can."""
  return next((behind.boundary.at for behind in _outward(tree) if behind.outer.may_write(col)), None)


def stopping_stream(tree: Tree, stream: str) -> errors.LiftedAt | None:
  """The boundary that keeps out a random stream which was passed."""
  return next((behind.boundary.at for behind in _outward(tree) if stream in behind.outer.rngs), None)


def sharing_key(tree: Tree) -> errors.LiftedAt | None:
  """The boundary that gives stacked parameters one key."""
  return next((behind.boundary.at for behind in _outward(tree) if behind.boundary.shares_key), None)


def lift_between(tree: Tree) -> errors.LiftedAt | None:
  """The lifted transform whose body is running, and which a tree is outside of."""
  inner = _innermost.get()
  if inner is None or inner is tree:
    return None
  return next((behind.boundary.at for behind in _outward(inner) if behind.outer is tree), None)


def _outward(tree: Tree) -> Iterator[Behind]:
  behind = tree.behind
  while behind is not None:
    yield behind
    behind = behind.outer.behind
