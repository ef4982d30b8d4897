"""What a check has to say: the mistakes that it found, in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, overload

from minilinen.tracing.told import Told


class Findings(Sequence[Told]):
  """All that a check found, in order; it is false if that is nothing."""

  def __init__(self, found: Iterable[Told] = ()):
    self._found = tuple(found)

  @overload
  def __getitem__(self, index: int) -> Told: ...
  @overload
  def __getitem__(self, index: slice) -> Findings: ...
  def __getitem__(self, index: int | slice) -> Told | Findings:
    return Findings(self._found[index]) if isinstance(index, slice) else self._found[index]

  def __len__(self) -> int:
    return len(self._found)

  def __eq__(self, other: object) -> bool:
    return isinstance(other, Findings) and self._found == other._found

  def __hash__(self) -> int:
    return hash(self._found)

  def of_kind(self, *kinds: str) -> Findings:
    """Those of certain kinds only."""
    return Findings(f for f in self._found if f.kind in kinds)

  def without(self, *kinds: str) -> Findings:
    """Those of all other kinds."""
    return Findings(f for f in self._found if f.kind not in kinds)

  def to_rows(self) -> list[dict[str, Any]]:
    """The findings as plain data, a dict each."""
    return [f.to_row() for f in self._found]

  def __str__(self) -> str:
    return "\n\n".join(map(str, self._found)) or "Nothing found."

  __repr__ = __str__
