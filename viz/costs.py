"""What a row of the table costs: FLOPs forward and with the backward pass, and its share of the whole.

`table.py` asks here for the cells of its columns "flops", "vjp_flops" and "share". The numbers come from
`Trace.cost`; where dimensions are symbolic they are formulas, and then there is no share.
"""

from __future__ import annotations

from dataclasses import dataclass

from minilinen.tracing import Trace
from minilinen.tracing.equations.cost import Cost, Share
from minilinen.tracing.equations.work import Count
from minilinen.tracing.events import Path
from minilinen.tracing.models import ModuleNode

from .errors import CostsMissingError
from .outline import Cell, Column
from .words import count_texts

FLOPS, VJP_FLOPS, SHARE = "\0flops", "\0vjp_flops", "\0share"


@dataclass(frozen=True)
class Costs:
  """The costs of a trace's modules.

  Attributes:
    keys: the columns that are wanted.
    whole: the cost of the whole function.
    modules: what it costs to call each module, by tree and path.
  """

  keys: tuple[str, ...]
  whole: Cost | None
  modules: dict[tuple[int, Path], Share]

  def of(self, node: ModuleNode) -> Share:
    """What a module costs in all its calls."""
    return self.modules.get((node.tree, node.path), Share())

  def count(self, share: Share, key: str) -> Count:
    """The number that belongs in a column."""
    return share.forward.flops if key == FLOPS else share.flops

  def columns(self) -> tuple[Column, ...]:
    """The columns that are wanted."""
    return tuple(Column(key, key[1:], least=9) for key in self.keys)

  def cells(self, share: Share) -> dict[str, Cell]:
    """What stands in these columns."""
    return {key: self.cell(share, key) for key in self.keys}

  def cell(self, share: Share, key: str) -> Cell:
    if key != SHARE:
      return Cell(numbers=count_texts(self.count(share, key)))
    part, whole = self._measure(share), self._measure(self.whole.total) if self.whole else 0
    return Cell(bar_texts(part / whole) if isinstance(part, int) and isinstance(whole, int) and whole else ())

  def _measure(self, share: Share) -> Count:
    """The number that the shares are of: that of the last column of FLOPs."""
    return self.count(share, VJP_FLOPS if VJP_FLOPS in self.keys else FLOPS)

  def notes(self) -> list[str]:
    """What is to be known of these numbers."""
    met = self.whole.total.notes if self.whole else {}
    notes = []
    unknown = [f"{note.split()[1]} ×{n}" for note, n in met.items() if note.startswith("unknown ")]
    if unknown:
      notes.append(f"flops do not count {', '.join(unknown)}: there is no rule for it.")
    if "per iteration" in met:
      notes.append("flops count one iteration of each while loop.")
    if "other branch" in met:
      notes.append("flops count the dearest branch of each cond.")
    if "either model" in met:
      notes.append(
        f"flops of {met['either model']} equations are no model's, as JAX traced them once for several: it is not"
        " known of which they are."
      )
    return notes


NO_COSTS = Costs((), None, {})


def costs(trace: Trace, flops: bool, vjp_flops: bool) -> Costs:
  """The costs that are wanted of a trace.

  Raises:
    CostsMissingError: if the trace does not know them.
  """
  if not (flops or vjp_flops):
    return NO_COSTS
  if not trace.has_equations:
    raise CostsMissingError("flops", "its code really ran, and JAX wrote no equations down")
  whole = trace.cost()
  if vjp_flops and whole.total.backward.bytes == 0:
    raise CostsMissingError("vjp_flops", "there is no backward pass in it")
  keys = ((FLOPS,) if flops else ()) + ((VJP_FLOPS,) if vjp_flops else ()) + (SHARE,)
  return Costs(keys, whole, {(c.tree, c.path): c.total for _, c in whole.walk()})


_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar_texts(part: float, width: int = 10) -> tuple[str, ...]:
  """A part of the whole as a bar with per cent, as a shorter bar, and as per cent.

  >>> bar_texts(0.475)
  ('████▊       47.5%', '██▍    47.5%', ' 47.5%')
  """
  percent = f"{100 * part:.1f}%"
  return (*(f"{_bar(part, cells)} {percent:>6}" for cells in (width, width // 2)), f"{percent:>6}")


def _bar(part: float, width: int) -> str:
  eighths = round(min(part, 1.0) * width * 8)
  text = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
  return text.ljust(width)
