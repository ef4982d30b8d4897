"""May be skipped: what is told of a mistake: one record, whoever noticed it.

An error and a warning hold it (`errors.base`), the event `Caught` keeps it in the trace, and a check's findings are
these records.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from minilinen.tracing.layout import laid_out
from minilinen.tracing.paths import Path
from minilinen.tracing.source import Source, source_of


@dataclass(frozen=True)
class Told:
  """One mistake.

  Attributes:
    kind: name of its class in `minilinen.errors`, or of another exception that a run ended with.
    path: path of the module, None if it is none's.
    source: the user's line that it comes from, None if there is none. Mistakes are compared without it.
    message: what is wrong, in sentences.
    expected, found: what should be there and what is.
    mend: what to do about it, or the right code.
    tree: of a finding in a trace of several variable trees, the number of its tree; None otherwise.
  """

  kind: str
  path: Path | None
  source: Source | None = field(compare=False)
  message: str
  expected: str = ""
  found: str = ""
  mend: str = ""
  tree: int | None = None

  @staticmethod
  def of(error: BaseException) -> Told:
    """What an exception says, whosever it is."""
    kept = vars(error)  # not asked: what an exception answers is its author's affair
    said = kept.get("trap", error)
    if isinstance(told := vars(said).get("told"), Told):
      return told
    inside = kept.get("module_path")
    path = Path(inside) if inside is not None else None
    return Told(type(said).__name__, path, source_of(error), first_line(said))

  @property
  def severity(self) -> Literal["warning", "hint"]:
    """Whether something is wrong, or may be meant: a layer or a parameter that is unused on purpose."""
    return "hint" if self.kind.endswith("Hint") else "warning"

  def to_row(self) -> dict[str, Any]:
    """The mistake as plain data."""
    file, line = (self.source.file, self.source.line) if self.source is not None else (None, None)
    return {
      "kind": self.kind, "severity": self.severity, "path": self._path_text, "file": file, "line": line,
      "message": self.message, "expected": self.expected, "found": self.found, "mend": self.mend,
      "tree": self.tree,
    }  # fmt: skip

  def __str__(self) -> str:
    parts = {
      "module": self._path_text,
      "model": "" if self.tree is None else f"trace.models[{self.tree}]",
      "line": str(self.source or ""),
      "expects": self.expected,
      "found": self.found,
    }
    return laid_out(f"{self.kind}: {self.message}", parts, self.mend)

  @property
  def _path_text(self) -> str:
    return "" if self.path is None else str(self.path)


def first_line(error: BaseException) -> str:
  """The first line of an exception's text, of one of ours all that it says; "" if it cannot give one."""
  if isinstance(told := vars(error).get("told"), Told):
    return told.message
  try:
    return (str(error).strip().splitlines() or [""])[0]
  except Exception:
    return ""
