"""What a check has to say: a finding, as data and as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from minilinen.tracing.layout import laid_out
from minilinen.tracing.source import Source, source_of


@dataclass(frozen=True)
class Finding:
  """One mistake.

  Attributes:
    kind: name of its class in `minilinen.errors`, or of another exception that a run would end with.
    path: path of the module, "" if it is none's.
    source: the user's line that it comes from, None if there is none. Findings are compared without it.
    message: what is wrong, in sentences.
    expected, found: what should be there and what is.
    mend: what to do about it, or the right code.
  """

  kind: str
  path: str
  source: Source | None = field(compare=False)
  message: str
  expected: str = ""
  found: str = ""
  mend: str = ""

  @staticmethod
  def of(error: BaseException) -> Finding:
    """What an exception says, whosever it is."""
    said: Any = getattr(error, "trap", error)
    lines = str(said).strip().splitlines()
    inside = getattr(error, "module_path", None)
    path = getattr(said, "path", "") or ("/" + "/".join(inside) if inside is not None else "")
    return Finding(
      type(said).__name__,
      path,
      getattr(said, "source", None) or source_of(error),
      getattr(said, "message", "") or (lines[0] if lines else ""),
      getattr(said, "expected", ""),
      getattr(said, "found", ""),
      getattr(said, "mend", ""),
    )

  def to_row(self) -> dict[str, Any]:
    """The finding as plain data."""
    file, line = (self.source.file, self.source.line) if self.source is not None else (None, None)
    return {
      "kind": self.kind, "path": self.path, "file": file, "line": line, "message": self.message,
      "expected": self.expected, "found": self.found, "mend": self.mend,
    }  # fmt: skip

  def __str__(self) -> str:
    parts = {
      "module": self.path,
      "line": str(self.source or ""),
      "expects": self.expected,
      "found": self.found,
    }
    return laid_out(f"{self.kind}: {self.message}", parts, self.mend)


class Findings(Sequence[Finding]):
  """All that a check found, in order; it is false if that is nothing."""

  def __init__(self, found: Iterable[Finding] = ()):
    self._found = tuple(found)

  @overload
  def __getitem__(self, index: int) -> Finding: ...
  @overload
  def __getitem__(self, index: slice) -> Findings: ...
  def __getitem__(self, index: int | slice) -> Finding | Findings:
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
