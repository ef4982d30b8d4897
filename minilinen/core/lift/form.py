"""Several scopes in one transform, some perhaps inside others: which of them cross, and how the others are found.

Of scopes where one lies below another only the upper one crosses a boundary, and the lower is opened again inside, so
that no variable exists twice. A `Form` knows which scopes cross and how the others are found again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minilinen.core.scope import Scope

Way = tuple[int, tuple[str, ...]]
"""From the scopes that cross to another: the number of the upper scope, and names below it."""


@dataclass(frozen=True)
class Form:
  """How scopes are found from those that cross: for each the way."""

  ways: tuple[Way, ...]

  @staticmethod
  def of(scopes: Sequence[Scope]) -> tuple[Form, list[Scope]]:
    """The form of a list of scopes, and those of them that cross."""
    found = [_highest(scope, scopes) for scope in scopes]
    tops: list[Scope] = []
    for top, names in found:
      if not names and top not in tops:
        tops.append(top)
    return Form(tuple((tops.index(top), names) for top, names in found)), tops

  def opened(self, inner: Sequence[Scope]) -> list[Scope]:
    """The scopes, of those that have crossed."""
    scopes = []
    for index, names in self.ways:
      scope = inner[index]
      for name in names:
        scope = scope.push(name, reuse=True)
      scopes.append(scope)
    return scopes

  def inner_tops(self, opened: Sequence[Scope]) -> list[Scope]:
    """Those that crossed, of scopes that were opened."""
    roots = [scope.root for scope in opened]
    numbers = [index for index, _ in self.ways]
    return [roots[numbers.index(n)] for n in range(len(set(numbers)))]

  def numbers(self) -> list[int | None]:
    """For each scope its number if it is one that crosses, and the first in its place."""
    numbers: list[int | None] = []
    for index, names in self.ways:
      numbers.append(None if names or index in numbers else index)
    return numbers


def _highest(scope: Scope, scopes: Sequence[Scope]) -> tuple[Scope, tuple[str, ...]]:
  """The uppermost scope of a list that a scope lies in, and the names from there."""
  highest, names = scopes[scopes.index(scope)], ()
  above, below = scope, ()
  while above.parent is not None:
    above, below = above.parent, (above.name or "", *below)
    if above in scopes:
      highest, names = scopes[scopes.index(above)], below
  return highest, names
