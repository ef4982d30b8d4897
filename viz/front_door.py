"""The front door: `render` looks at what it is given and picks the view.

`KINDS` is the list of all kinds of pictures; a new view is one more entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import minilinen
from minilinen.tracing.trace import Trace

from .errors import NothingToDrawError, UnknownKindError
from .graph_view import graph
from .table_view import tabulate
from .timeline_view import timeline
from .variables import tree
from .view import View


@dataclass(frozen=True)
class Kind:
  """A kind of picture: the function that draws it, and what it can be drawn of ("trace", "variables")."""

  draw: Callable[..., View]
  of: tuple[str, ...]


KINDS: dict[str, Kind] = {
  "graph": Kind(graph, ("trace",)),
  "table": Kind(tabulate, ("trace",)),
  "trace": Kind(timeline, ("trace",)),
  "tree": Kind(tree, ("variables", "trace")),
}


def render(x: Any, kind: str | None = None, *args: Any, **options: Any) -> View:
  """Draws a trace, a model or its variables.

  Args:
    x: a `Trace`; a module, which is traced with `args`; or a tree of variables.
    kind: "table", "tree", "graph" or "trace"; by default "table" for a trace or a model, "tree" for variables.
    *args: what a module is traced with: the keys and inputs of its `init`, or the inputs of a bound module.
    **options: for the view: `depth`, `pattern`, `fold` ...

  Raises:
    UnknownKindError: if there is no such kind, or none of this thing.
    NothingToDrawError: if `x` is nothing that can be drawn.
  """
  if kind is not None and kind not in KINDS:
    raise UnknownKindError(kind, "", KINDS)
  subject, what = _subject(x, args, kind)
  kind = kind or ("table" if what == "trace" else "tree")
  if what not in KINDS[kind].of:
    raise UnknownKindError(kind, _WHAT[what], [k for k, v in KINDS.items() if what in v.of])
  return KINDS[kind].draw(subject, **options)


_WHAT = {"trace": "a trace", "variables": "a tree of variables"}


def _subject(x: Any, args: tuple[Any, ...], kind: str | None) -> tuple[Any, str]:
  """What to draw, and which kind of thing it is."""
  if isinstance(x, Trace):
    return x, "trace"
  if _is_module(x):
    return _of_module(x, args, kind)
  if args:
    raise NothingToDrawError("viz.render", "a module when it is given inputs too", x)
  return x, "variables"


def _of_module(module: Any, args: tuple[Any, ...], kind: str | None) -> tuple[Any, str]:
  bound = module.scope is not None
  if bound and not args:
    return module.variables, "variables"
  if not args:
    raise NothingToDrawError(
      "viz.render", "a module together with what it is called with", module,
      mend=f'viz.render(model, {kind or "table"!r}, jax.random.key(0), "f32[8,28,28,1]").',
    )  # fmt: skip
  return minilinen.trace(module.__call__ if bound else module.init_with_output)(*args), "trace"


def _is_module(x: Any) -> bool:
  return isinstance(x, minilinen.Module)
