"""Boxes in boxes: the modules of a network.

A `Network` is the intermediate form of the graph: boxes and frames, and arrows between them. `House` makes the boxes of
a trace's modules, and knows for every module in which box it is drawn, also when it is one of several equal ones that
are drawn once, or lies in one that is closed. `flow.py` has the arrows, `dot.py` draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from minilinen.tracing.equations.program import Owner
from minilinen.tracing.models import Model
from minilinen.tracing.paths import ROOT, Path

from .folding import Shown
from .items import Item, class_name, lift_details, lift_text, outputs_text, tree_name


@dataclass(frozen=True)
class Box:
  """A box, or a frame around others.

  Attributes:
    key: its name in the network.
    kind: "module", "frame" (a module with boxes in it), "idle" (a module that computes nothing here), "work" (what a
      module computes itself), "input" or "output".
    title: its name; of work, what is computed.
    subtitle: the class; of an input or the output, its spec.
    mark: how often it is repeated ("×6"), and "⋯" if there is more inside.
    lift: how the module is lifted ("scan ×12").
    details: what that does to its variables and keys ("params axis 0, dropout split").
    inside: key of the frame it stands in, "" at the top.
    data: the module as plain data.
  """

  key: str
  kind: str
  title: str
  subtitle: str = ""
  mark: str = ""
  lift: str = ""
  details: str = ""
  inside: str = ""
  data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Arrow:
  """Data that flows from one box to another.

  Attributes:
    start, end: keys of the boxes.
    label: the spec of what flows; of several values the first, and how many more.
    again: whether it leads on to the next of several equal modules that are drawn once.
    back: whether it leads back to a module that was called before.
  """

  start: str
  end: str
  label: str
  again: bool = False
  back: bool = False


@dataclass(frozen=True)
class Network:
  """Boxes, each after the frame that it is in, and arrows."""

  title: str
  boxes: tuple[Box, ...]
  arrows: tuple[Arrow, ...]


@dataclass(frozen=True)
class Place:
  """Where in the picture a module is.

  Attributes:
    key: key of its box, or of the one that it is hidden in; "" for what is in no module.
    opened: whether that is a frame.
    path: the path of the module that is drawn there.
    copy: for each name of the path, which of several equal modules it is.
  """

  key: str = ""
  opened: bool = True
  path: Path = ROOT
  copy: tuple[int, ...] = ()


OUTDOORS = Place()


class House:
  """The boxes of the modules, and which of them is drawn for which module.

  Attributes:
    boxes: key -> box or frame, for each module that is drawn.
  """

  def __init__(self, found: Sequence[Model], shown: Sequence[Shown]):
    self.boxes: dict[str, Box] = {}
    self._several = len(found) > 1
    self._keys: dict[tuple[int, Path], str] = {}
    self._drawn: dict[tuple[int, Path], tuple[Path, int]] = {}
    self._places: dict[Owner, Place] = {}
    around = [""]
    for row in shown:
      del around[row.depth + 1 :]
      around.append(self._add(row, around[-1]))

  def _add(self, row: Shown, inside: str) -> str:
    item: Item = row.branch.item
    model, path, key = item.node.tree, item.node.path, f"m{len(self.boxes)}"
    self._keys[model, path] = key
    for number, copy in enumerate(row.copies):
      self._drawn[model, copy.item.node.path] = (path, number)
    parameters = item.total.get("params")
    data = {
      "path": path.bare, "tree": model, "class": class_name(item), "times": len(row.copies),
      "parameters": parameters.count if parameters else 0, "outputs": "".join(outputs_text(item)[:1]),
    }  # fmt: skip
    argument = tree_name(item.node.model) if self._several else ""
    title, subtitle = (row.label, class_name(item)) if path else (class_name(item) or "Model", argument)
    kind = "frame" if row.branch.children and not row.closed else "module"
    self.boxes[key] = Box(
      key, kind, title, subtitle, row.mark, lift_text(item.entry), lift_details(item.entry), inside, data
    )
    return key

  def place(self, owner: Owner) -> Place:
    """Where a module is in the picture."""
    if owner not in self._places:
      outside = owner.run < 0 or (owner.tree, ROOT) not in self._keys
      self._places[owner] = OUTDOORS if outside else self._find(owner.tree, owner.path)
    return self._places[owner]

  def _find(self, model: int, path: Path) -> Place:
    key, copies, end = self._keys[model, ROOT], [], 0
    while end < len(path) and (model, path[: end + 1]) in self._drawn:
      end += 1
      first, number = self._drawn[model, Path(path[:end])]
      path = first + path[end:]
      copies.append(number)
      key = self._keys[model, first]
    opened = self.boxes[key].kind == "frame"
    return Place(key, opened, Path(path[:end]), tuple(copies))
