"""`Tree`: the variables of a run, or of one side of a boundary, and what may be written.

`init` and `apply` make a tree of the variables and keys that they are given, and so does each side of a lifted
transform: then the tree is behind a boundary, and knows the tree outside. A `Scope` is a place in a tree: all that it
says of variables it asks here, with its path. A tree's root may itself lie somewhere in a model, behind a boundary;
paths are told from the top of the model all the same.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minilinen import jax_internals
from minilinen.core.boundary import Boundary
from minilinen.core.filters import CollectionFilter, in_filter
from minilinen.core.rng import LazyRng
from minilinen.tracing.paths import ROOT, Path

_EMPTY: Mapping[str, Any] = types.MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Behind:
  """Where a tree is behind the boundary of a lifted transform (`boundary.py`, read later): the tree outside of it."""

  outer: Tree
  boundary: Boundary


class Tree:
  """The variables of a run, or of one side of a boundary in it, and what may be done with them.

  Attributes:
    variables: collection -> nested dict. Those that are mutable are the tree's own.
    rngs: the random streams at the root.
    mutable: filter of the collections that may be written.
    flags: settings of the run, such as "initializing".
    path: where the root is, in names from the top of the model.
    behind: the boundary that it is behind; None for the tree of a whole run.
    over: the paths of the scopes that are over, with all below them.
    module: class of the module at its root, "" for a function of a scope; of the tree of a whole run.
  """

  __slots__ = (
    "variables", "rngs", "mutable", "flags", "path", "behind", "over", "module", "_may_write", "_branches",
    "_trace", "__weakref__",
  )  # fmt: skip

  def __init__(
    self,
    variables: Mapping[str, Any],
    rngs: Mapping[str, Any] | None = None,
    mutable: CollectionFilter = False,
    flags: Mapping[str, Any] | None = None,
    path: Path = ROOT,
    behind: Behind | None = None,
  ):
    self.variables: dict[str, Any] = variables if isinstance(variables, dict) else dict(variables)
    self.rngs = {stream: LazyRng.create(key) for stream, key in (rngs or {}).items()}
    self.mutable = mutable
    self.flags = flags or {}
    self.path = path
    self.behind = behind
    self.over: list[Path] = []
    self.module = ""
    self._may_write: dict[str, bool] = {}
    self._branches: dict[tuple[str, Path], Mapping[str, Any]] = {}
    self._trace = weakref.ref(jax_internals.current_trace())

  @property
  def whole(self) -> Tree:
    """The tree of the whole run, outside of all boundaries."""
    tree = self
    while tree.behind is not None:
      tree = tree.behind.outer
    return tree

  def is_over(self, path: Path) -> bool:
    """Whether the run that a place belongs to is over."""
    return bool(self.over) and any(path[: len(end)] == end for end in self.over)

  def may_write(self, col: str) -> bool:
    """Whether a collection may be written."""
    known = self._may_write.get(col)
    if known is None:
      known = self._may_write[col] = in_filter(self.mutable, col)
    return known

  def read(self, col: str, path: Path) -> Mapping[str, Any]:
    """The variables of a collection at a place, to be read."""
    found = self._branches.get((col, path))
    if found is not None:
      return found
    found = self.variables.get(col)
    for name in path[len(self.path) :]:
      found = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
      return _EMPTY
    self._branches[col, path] = found
    return found

  def write(self, col: str, path: Path) -> dict[str, Any]:
    """The variables of a collection at a place, made if there are none; whoever writes has asked `may_write`."""
    found: Any = self.read(col, path)
    if found is _EMPTY:
      found = self.variables.setdefault(col, {})
      for name in path[len(self.path) :]:
        found = found.setdefault(name, {})
      self._branches[col, path] = found
    return found

  def store(self, col: str, path: Path, name: str, value: Any) -> None:
    """Sets a variable, or a whole branch, whose dicts stay the same objects."""
    _merge(self.write(col, path), name, value)

  def collections(self, path: Path) -> dict[str, Any]:
    """Every collection of the tree as seen from a place."""
    return {col: self.read(col, path) or {} for col in self.variables}

  # Where JAX is.

  def is_here(self) -> bool:
    """Whether JAX is where it was when the tree was made, in no transform besides."""
    return self._trace() is jax_internals.current_trace()

  def transforms_inside(self) -> list[Any]:
    """JAX's traces between the tree and the code that is running, the innermost first."""
    home, found = self._trace(), []
    trace = jax_internals.current_trace()
    while trace is not None and trace is not home:
      found.append(trace)
      trace = jax_internals.outer_trace(trace)
    return found if trace is not None else []


def _merge(target: dict[str, Any], name: str, value: Any) -> None:
  branch = target.get(name)
  if isinstance(branch, dict) and isinstance(value, Mapping):
    for key, inner in value.items():
      _merge(branch, key, inner)
  else:
    target[name] = value
