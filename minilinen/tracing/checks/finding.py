"""What a check has to say: the mistakes that it found, in order, and apart from them hints of what may be meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, overload

from minilinen.tracing.told import Told


class Findings(Sequence[Told]):
  """All that a check found, in order: first what is wrong, then hints. It is false if that is nothing."""

  def __init__(self, found: Iterable[Told] = ()):
    self._found = tuple(sorted(found, key=lambda told: told.severity == "hint"))

  @property
  def warnings(self) -> Findings:
    """What is wrong."""
    return Findings(f for f in self._found if f.severity == "warning")

  @property
  def hints(self) -> Findings:
    """What may be meant: what is unused on purpose in many a real model."""
    return Findings(f for f in self._found if f.severity == "hint")

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
    hints = self.hints
    told = [*self.warnings, *([_HINTS] if hints else []), *hints]
    return "\n\n".join(map(str, told)) or "Nothing found."

  __repr__ = __str__


_HINTS = "Hints, of what may be meant:"
