"""The form of what is lifted: one scope, or a pytree of them, some perhaps inside others.

Of scopes where one lies below another only the upper one crosses a boundary, and the lower is opened again inside, so
that no variable exists twice. `pack` asks a `Form` which scopes cross and how the tree is put together again;
derivatives ask it to hand out gradients in the form of the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax

from minilinen.core.scope import Scope

Way = tuple[int, tuple[str, ...]]
"""From the scopes that cross to one of the tree: the number of the upper scope, and names below it."""


@dataclass(frozen=True)
class Form:
  """How a pytree of scopes is made of those that cross.

  Attributes:
    treedef: the pytree.
    ways: for each of its scopes the way from one that crosses.
  """

  treedef: Any
  ways: tuple[Way, ...]

  @staticmethod
  def of(scope_tree: Any) -> tuple[Form, list[Scope]]:
    """The form of a tree of scopes, and the scopes of it that cross."""
    scopes, treedef = jax.tree.flatten(scope_tree)
    tops: list[Scope] = []
    ways: list[Way] = []
    for scope in scopes:
      top, names = _highest(scope, scopes)
      index = next((i for i, other in enumerate(tops) if other is top or other == top), None)
      if index is None:
        index = len(tops)
        tops.append(next((s for s in scopes if s == top), top))
      ways.append((index, names))
    return Form(treedef, tuple(ways)), tops

  def opened(self, inner: Sequence[Scope]) -> Any:
    """The tree, of scopes that have crossed."""
    scopes = []
    for index, names in self.ways:
      scope = inner[index]
      for name in names:
        scope = scope.push(name, reuse=True)
      scopes.append(scope)
    return jax.tree.unflatten(self.treedef, scopes)

  def inner_tops(self, inner_tree: Any) -> list[Scope]:
    """Those that crossed, of a tree that was opened."""
    roots = [scope.root for scope in jax.tree.leaves(inner_tree)]
    numbers = [index for index, _ in self.ways]
    return [roots[numbers.index(n)] for n in range(len(set(numbers)))]

  def tree(self, values: Sequence[Any]) -> Any:
    """Values of those that cross, in the form of the tree; None for scopes that lie in another."""
    return jax.tree.unflatten(self.treedef, [values[n] if n is not None else None for n in self._numbers()])

  def tops(self, tree: Any) -> tuple[Any, ...]:
    """The values of a tree that belong to those that cross."""
    numbers = self._numbers()
    values = self.treedef.flatten_up_to(tree)
    return tuple(values[numbers.index(n)] for n in range(len({index for index, _ in self.ways})))

  def _numbers(self) -> list[int | None]:
    """For each scope of the tree its number if it is one that crosses, and the first in its place."""
    numbers: list[int | None] = []
    for index, names in self.ways:
      numbers.append(None if names or index in numbers else index)
    return numbers


def _highest(scope: Scope, scopes: Sequence[Scope]) -> tuple[Scope, tuple[str, ...]]:
  """The uppermost scope of a list that a scope lies in, and the names from there."""
  highest, names = scope, ()
  above: Scope = scope
  below: tuple[str, ...] = ()
  while above.parent is not None:
    below = (above.name or "", *below)
    above = above.parent
    if any(above is other or above == other for other in scopes):
      highest, names = above, below
  return highest, names
