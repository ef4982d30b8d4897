"""A network as a Graphviz graph, and that as a picture.

Modules with submodules are clusters, the others boxes; a lifted one says how in a coloured line of its label. The `dot`
program places them; without it the text of the graph can still be had.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

import graphviz

from .errors import DotMissingError
from .house import Box, Network

_FONT = "Helvetica"
_GRAPH = {
  "rankdir": "TB", "fontname": _FONT, "fontsize": "10", "nodesep": "0.2", "ranksep": "0.2", "bgcolor": "white",
  "labelloc": "b", "labeljust": "l", "pad": "0.1",
}  # fmt: skip
_NODE = {"fontname": _FONT, "fontsize": "11", "shape": "box", "margin": "0.12,0.04", "height": "0.26"}
_EDGE = {"color": "#5f6b7a", "arrowsize": "0.6"}
_LOOKS: Mapping[str, Mapping[str, str]] = {
  "module": {"style": "rounded,filled", "fillcolor": "#dbe7f6", "color": "#5b84b8"},
  "work": {"style": "rounded,filled", "fillcolor": "#f4f4f4", "color": "#b5b5b5", "fontcolor": "#444444"},
  "input": {"style": "filled", "fillcolor": "#e7f4e4", "color": "#6ba35c"},
  "output": {"style": "filled", "fillcolor": "#f8e9d7", "color": "#c28a3e"},
}
_FRAME = {
  "style": "rounded,filled",
  "color": "#9fb4cf",
  "labeljust": "l",
  "labelloc": "t",
  "margin": "10",
  "penwidth": "1",
}
_SHADES = ("#fbfcfe", "#f2f6fc")
_LIFTED = {"color": "#9b4dca", "fillcolor": "#f7effc", "penwidth": "1.6"}


def digraph(network: Network) -> graphviz.Digraph:
  """The graph in Graphviz's words."""
  graph = graphviz.Digraph(network.title, graph_attr=_GRAPH, node_attr=_NODE, edge_attr=_EDGE)
  idle = [box.title for box in network.boxes if box.kind == "idle"]
  if idle:
    graph.attr(label=f"Not drawn, since nothing is computed in them: {', '.join(dict.fromkeys(idle))}")
  inside: dict[str, list[Box]] = {}
  for box in network.boxes:
    inside.setdefault(box.inside, []).append(box)
  flows: dict[str, list[str]] = {}
  for arrow in network.arrows:
    flows.setdefault(arrow.start, []).append(arrow.label)
  _fill(graph, inside, {key: ", ".join(dict.fromkeys(labels)) for key, labels in flows.items()})
  for arrow in network.arrows:
    looks = {"style": "dashed"} if arrow.again else {}
    looks |= {"constraint": "false"} if arrow.again or arrow.back else {}
    graph.edge(arrow.start, arrow.end, tooltip=arrow.label, **looks)
  return graph


def _fill(graph: graphviz.Digraph, inside: Mapping[str, list[Box]], flows: Mapping[str, str]) -> None:
  """Puts every box into its frame; from the innermost frames outwards, however deep they are nested."""
  graphs, order = {"": graph}, [("", 0)]
  for key, depth in order:
    for box in inside.get(key, ()):
      if box.kind == "frame":
        graphs[box.key] = graphviz.Digraph(f"cluster_{box.key}", graph_attr=_frame(box, depth))
        order.append((box.key, depth + 1))
  for key, _ in reversed(order):
    for box in inside.get(key, ()):
      if box.kind == "frame":
        graphs[key].subgraph(graphs[box.key])
      elif box.kind != "idle":
        looks = {**_LOOKS[box.kind], **(_LIFTED if box.lift else {})}
        graphs[key].node(box.key, _label(box, flows.get(box.key, "")), **looks)


def _frame(box: Box, depth: int) -> dict[str, str]:
  """The attributes of a cluster."""
  small = [box.subtitle if _says_more(box) else "", box.details]
  parts = [*_name(box), *(_small(html.escape(text)) for text in small if text)]
  looks = {**_FRAME, "fillcolor": _SHADES[depth % 2], **(_LIFTED if box.lift else {})}
  return {**looks, "label": f"<{' &#160;'.join(parts)}>", "fontname": _FONT, "fontsize": "11"}


def _label(box: Box, flows: str) -> str:
  """A label in Graphviz's own HTML: the name and how it is lifted, then the class and what comes out."""
  small = (
    [box.subtitle]
    if box.kind in ("input", "output")
    else [box.subtitle if _says_more(box) else "", box.details, flows]
  )
  lines = [" &#160;".join(_name(box)), _small(" &#160;".join(html.escape(text) for text in small if text))]
  return f"<{'<br/>'.join(filter(None, lines))}>"


def _name(box: Box) -> list[str]:
  """The name, how often it is repeated, and how it is lifted."""
  title = html.escape(box.title)
  parts = [title if box.kind == "work" else f"<b>{title}</b>"]
  parts += [f'<font color="#1b7f8c"><b>{html.escape(box.mark)}</b></font>'] if box.mark else []
  return parts + ([f'<font color="#7d2fb0">{html.escape(box.lift)}</font>'] if box.lift else [])


def _small(text: str) -> str:
  return f'<font point-size="9" color="#555555">{text}</font>' if text else ""


def _says_more(box: Box) -> bool:
  """Whether the class is not what the name says: not for "Dense_0"."""
  return bool(box.subtitle) and box.title.split("…")[0].rstrip("0123456789").rstrip("_") != box.subtitle


def picture(network: Network, form: str) -> bytes:
  """The graph as a picture ("svg", "png").

  Raises:
    DotMissingError: if there is no `dot` program.
  """
  try:
    return digraph(network).pipe(format=form)
  except graphviz.ExecutableNotFound:
    raise DotMissingError(form) from None
