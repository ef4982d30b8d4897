"""The graph of a model: which module hands its output to which.

`graph` is the view. In a terminal it lists the boxes, each with what it gets; as .svg, .png and in a notebook it is
drawn by Graphviz; .dot is the text for Graphviz.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType

from minilinen.tracing import Trace

from . import dot
from .costs import Costs
from .errors import DotMissingError, GraphMissingError, NothingToDrawError
from .flow import Flow
from .folding import folded
from .house import Box, House, Network
from .items import class_name, module_branch, sum_up
from .outline import Cell, Column, Outline, Row
from .terminal import renderable
from .view import View


def graph(trace: Trace, depth: int | None = None, *, fold: bool = True, rows: int | None = 20) -> GraphView:
  """The modules of a trace as boxes, lifted ones marked, and the data that flows between them.

  A module with submodules is a frame around their boxes; what it computes itself is in small grey boxes. Arrows carry
  shapes. Of equal neighbours with numbered names one is drawn for all ("×6"), with a dashed arrow to the next.

  Args:
    trace: of `nn.trace`: the arrows come from JAX's equations.
    depth: how many levels of modules are opened; all if None.
    fold: whether equal neighbours are drawn once.
    rows: where there would be more modules, one built like another in other sizes stays closed, and if that is not
      enough, one of the same class; never if None.

  Raises:
    NothingToDrawError: if `trace` is no trace, or no module ran in it.
    GraphMissingError: if the trace has no equations.
  """
  if not isinstance(trace, Trace):
    mend = "a trace comes from nn.trace(model.init_with_output)(key, x)."
    raise NothingToDrawError("viz.graph", "a Trace", trace, mend=mend)
  if not trace.has_equations:
    raise GraphMissingError()
  found = trace.models
  if not found:
    mend = "trace model.apply: nn.trace(model.apply)(variables, x)."
    raise NothingToDrawError("viz.graph", "a trace in which a model ran", trace, mend=mend)
  roots = [module_branch(model, Costs(), False) for model in found]
  sum_up(roots)
  shown = folded(roots, depth=depth, fold=fold, rows=rows if fold else None, by_kind=True)
  name = " and ".join(dict.fromkeys(class_name(root.item) or "Model" for root in roots))
  return GraphView(Flow(trace, House(found, shown)).network(name))


@dataclass(frozen=True, repr=False, eq=False)
class GraphView(View):
  """The view of a network."""

  network: Network

  @property
  def title(self) -> str:
    return f"{self.network.title} Graph"

  def drawn(self, width: int) -> RenderableType:
    return renderable(_outline(self.title, self.network), width)

  @property
  def source(self) -> str:
    """The graph in Graphviz's language."""
    return dot.digraph(self.network).source

  def svg(self, width: int = 0, **kwargs: Any) -> str:
    """The picture as SVG, drawn by Graphviz, which chooses the size.

    Raises:
      DotMissingError: if there is no `dot` program.
    """
    return dot.picture(self.network, "svg").decode()

  def _repr_html_(self) -> str:
    try:
      return self.svg()
    except DotMissingError:
      return super()._repr_html_()

  @property
  def savers(self) -> dict[str, Callable[[int], str]]:
    return {**super().savers, ".dot": lambda width: self.source, ".png": lambda width: ""}

  def save(self, path: str | os.PathLike[str], width: int = 120) -> None:
    """Writes the picture to a file: .dot, .svg, .png, .txt, .html or .json.

    Raises:
      SuffixError: if the suffix is none of those.
      DotMissingError: if there is no `dot` program for .svg and .png.
    """
    if os.fspath(path).lower().endswith(".png"):
      content = dot.picture(self.network, "png")
      with open(path, "wb") as file:
        file.write(content)
    else:
      super().save(path, width)

  def to_rows(self) -> list[dict[str, Any]]:
    """The boxes, each with the keys of those that it gets its data from."""
    gets = _incoming(self.network)
    return [
      {
        "key": box.key, "kind": box.kind, "title": box.title, "class": box.subtitle, "mark": box.mark, "lift": box.lift,
        "inside": box.inside, "gets": [key for key, _ in gets.get(box.key, ())], **box.data,
      }
      for box in self.network.boxes
    ]  # fmt: skip

  def to_dict(self) -> dict[str, Any]:
    arrows = [
      {"start": a.start, "end": a.end, "label": a.label, "again": a.again} for a in self.network.arrows
    ]
    head = {"format": "minilinen.view", "version": 1, "kind": "graph", "title": self.title}
    return {**head, "boxes": self.to_rows(), "arrows": arrows}


def _incoming(network: Network) -> dict[str, list[tuple[str, str]]]:
  gets: dict[str, list[tuple[str, str]]] = {}
  for arrow in network.arrows:
    gets.setdefault(arrow.end, []).append((arrow.start, arrow.label))
  return gets


def _outline(title: str, network: Network) -> Outline:
  """The boxes as rows, each with the names of those that it gets its data from."""
  names = {box.key: f"{box.title} {box.mark}".strip() for box in network.boxes}
  gets = _incoming(network)
  rows = []
  for depth, box in _depth_first(network.boxes):
    mine = gets.get(box.key, [])
    cells = {
      "class": Cell(tuple(filter(None, [f"{box.subtitle} {box.lift}".strip()]))),
      "gets": Cell((", ".join(names[key] for key, _ in mine),) if mine else ()),
      "data": Cell((", ".join(dict.fromkeys(label for _, label in mine)),) if mine else ()),
    }
    rows.append(Row(box.title, depth, box.mark, cells))
  columns = (Column("class", "class", 16), Column("gets", "gets data from", 20), Column("data", "data", 12))
  return Outline(
    title,
    "box",
    columns,
    tuple(rows),
    notes=_notes(network),
    shrink=(("data", "column"), ("class", "column")),
  )


def _notes(network: Network) -> tuple[str, ...]:
  idle = [box.title for box in network.boxes if box.kind == "idle"]
  return (f"Nothing is computed in {', '.join(idle)}.",) if idle else ()


def _depth_first(boxes: tuple[Box, ...]) -> list[tuple[int, Box]]:
  inside: dict[str, list[Box]] = {}
  for box in boxes:
    inside.setdefault(box.inside, []).append(box)
  found, stack = [], [(0, box) for box in reversed(inside.get("", ()))]
  while stack:
    depth, box = stack.pop()
    found.append((depth, box))
    stack.extend((depth + 1, inner) for inner in reversed(inside.get(box.key, ())))
  return found
