"""Pictures of what models do: tables, trees and outlines of a trace or of a variable tree.

    print(viz.tabulate(trace))                      # one row per module
    print(viz.tree(variables, "params/**/kernel"))  # one row per variable
    viz.render(trace, "trace").save("run.html")     # everything that happened, in order

Every picture is a `View`: it prints in a terminal and in a notebook, gives its rows as plain data, and saves
by suffix. A new view is a function from a `Trace` or a variable tree to an intermediate form (`viz.outline`),
which the back ends (`viz.terminal`) know how to draw.
"""

from .errors import (
  CostsMissingError,
  DotMissingError,
  GraphMissingError,
  NoMatchError,
  NothingToDrawError,
  SuffixError,
  UnknownColumnError,
  UnknownKindError,
  VizError,
)
from .front_door import render
from .graph_view import GraphView, graph
from .outline import Cell, Column, Outline, Row
from .table_view import tabulate
from .timeline_view import timeline
from .variables import tree
from .view import OutlineView, View

__all__ = [
  "Cell",
  "Column",
  "CostsMissingError",
  "DotMissingError",
  "GraphMissingError",
  "GraphView",
  "NoMatchError",
  "NothingToDrawError",
  "Outline",
  "OutlineView",
  "Row",
  "SuffixError",
  "UnknownColumnError",
  "UnknownKindError",
  "View",
  "VizError",
  "graph",
  "render",
  "tabulate",
  "timeline",
  "tree",
]
