"""May be skipped: what is done, as counts: FLOPs and bytes. `rules` says what each equation does."""

from __future__ import annotations

from dataclasses import dataclass, fields

from minilinen.tracing.equations.formula import Count


@dataclass(frozen=True, slots=True)
class Work:
  """What is done.

  Attributes:
    matmul: FLOPs of matrix products and convolutions; a multiplication and an addition are two.
    elementwise: FLOPs of everything else: one for each element of the output, and n - 1 where n become one.
    transcendentals: how often `exp`, `tanh`, `rsqrt` and their like are evaluated; no FLOPs.
    read, written: bytes.
  """

  matmul: Count = 0
  elementwise: Count = 0
  transcendentals: Count = 0
  read: Count = 0
  written: Count = 0

  @property
  def flops(self) -> Count:
    """All FLOPs."""
    return self.matmul + self.elementwise

  @property
  def bytes(self) -> Count:
    """All bytes that are read or written."""
    return self.read + self.written

  def __add__(self, other: Work) -> Work:
    return Work(*(getattr(self, f) + getattr(other, f) for f in COUNTS))

  def __mul__(self, times: Count) -> Work:
    return Work(*(getattr(self, f) * times for f in COUNTS))


COUNTS = tuple(f.name for f in fields(Work))
NOTHING = Work()
