"""What a row of the table costs: FLOPs forward and with the backward pass, and its share of the whole.

`table.py` asks here for the cells of its columns "flops", "vjp_flops" and "share". The numbers come from
`Trace.cost`; where dimensions are symbolic they are formulas, and then there is no share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from minilinen.tracing import Trace
from minilinen.tracing.equations.cost import Cost
from minilinen.tracing.equations.work import Count
from minilinen.tracing.events import Path
from minilinen.tracing.models import ModuleNode

from .errors import CostsMissingError
from .outline import Cell, Column
from .words import count_texts

FLOPS, VJP_FLOPS, SHARE = "\0flops", "\0vjp_flops", "\0share"


Counts = Mapping[str, Count]
"""The number of each of these columns."""


@dataclass(frozen=True)
class Costs:
  """The costs of a trace's modules.

  Attributes:
    keys: the columns that are wanted.
    whole: the cost of the whole function, None if no column is wanted.
    modules: what it costs to call each module, by tree and path.
    met: how many equations have which note.
  """

  keys: tuple[str, ...] = ()
  whole: Counts | None = None
  modules: Mapping[tuple[int, Path], Counts] = field(default_factory=dict)
  met: Mapping[str, int] = field(default_factory=dict)

  def of(self, node: ModuleNode) -> Counts:
    """What a module costs in all its calls."""
    return self.modules.get((node.tree, node.path), {})

  def columns(self) -> tuple[Column, ...]:
    """The columns that are wanted."""
    return tuple(Column(key, key[1:], least=9) for key in self.keys)

  def cells(self, counts: Counts) -> dict[str, Cell]:
    """What stands in these columns."""
    return {key: self.cell(counts, key) for key in self.keys}

  def cell(self, counts: Counts, key: str) -> Cell:
    if key != SHARE:
      return Cell(numbers=count_texts(counts.get(key, 0)))
    of = VJP_FLOPS if VJP_FLOPS in self.keys else FLOPS
    part, whole = counts.get(of, 0), (self.whole or {}).get(of, 0)
    return Cell(bar_texts(part / whole) if isinstance(part, int) and isinstance(whole, int) and whole else ())

  def notes(self) -> list[str]:
    """What is to be known of these numbers."""
    met, notes = self.met, []
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


def costs(trace: Trace, flops: bool, vjp_trace: Trace | None) -> Costs:
  """The costs that are wanted of a trace.

  Args:
    flops: whether the FLOPs of its forward pass are wanted.
    vjp_trace: of which those of forward and backward pass together are wanted: this trace, or another of the modules.

  Raises:
    CostsMissingError: if a trace does not know them.
  """
  wanted = {FLOPS: trace if flops else None, VJP_FLOPS: vjp_trace}
  found = {key: _cost(of, key == VJP_FLOPS and of is trace) for key, of in wanted.items() if of is not None}
  if not found:
    return Costs()
  modules: dict[tuple[int, Path], dict[str, Count]] = {}
  for key, cost in found.items():
    for _, each in cost.walk():
      modules.setdefault((each.tree, each.path), {})[key] = _count(each, key)
  whole = {key: _count(cost, key) for key, cost in found.items()}
  return Costs((*found, SHARE), whole, modules, [*found.values()][-1].total.notes)


def _cost(trace: Trace, needs_backward: bool) -> Cost:
  if not trace.has_equations:
    raise CostsMissingError("flops", "its code really ran, and JAX wrote no equations down")
  cost = trace.cost()
  if needs_backward and cost.total.backward.bytes == 0:
    raise CostsMissingError("vjp_flops", "there is no backward pass in it")
  return cost


def _count(cost: Cost, key: str) -> Count:
  return cost.total.forward.flops if key == FLOPS else cost.total.flops


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
