"""Every mistake that `viz` knows, as a class that builds its own message.

Each says what was asked for, what can be had instead, and how to ask for it. The views raise them; nothing
below `viz` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minilinen.errors import MinilinenError, nearest
from minilinen.spelling import did_you_mean


class VizError(MinilinenError):
  """Base of all errors of `viz`."""


class SuffixError(VizError, ValueError):
  """A view was to be saved in a form that it has no back end for."""

  def __init__(self, path: str, suffix: str, known: Iterable[str]):
    known = sorted(known)
    name = path.removesuffix(suffix) if suffix else path
    name = next((name.removesuffix(k) for k in known if name.endswith(k)), name)
    super().__init__(
      f"Cannot save a view as {path!r}: "
      + (f"the suffix {suffix!r} is no form it can be written in." if suffix else "the name has no suffix.")
      + f" Expected one of {', '.join(known)}.",
      right=f'view.save("{name or "view"}{known[0]}")',
    )


class UnknownKindError(VizError, ValueError):
  """`render` was asked for a kind of picture that does not exist, or not of this thing."""

  def __init__(self, kind: str, what: str, kinds: Iterable[str]):
    kinds = sorted(kinds)
    close = did_you_mean(kind, kinds)
    super().__init__(
      f"There is no picture of kind {kind!r}{what and f' of {what}'}.{close}"
      f" The kinds{what and ' for it'} are: {', '.join(kinds)}.",
      right=f'viz.render(x, "{next((k for k in kinds if repr(k) in close), kinds[0])}")',
    )


class NothingToDrawError(VizError, TypeError):
  """A view was given something that it cannot draw."""

  def __init__(self, view: str, expected: str, found: Any, mend: str = ""):
    super().__init__(f"{view} draws {expected}, but got {_found(found)}.", mend=mend)


class CostsMissingError(VizError, ValueError):
  """A table was asked for costs that its trace does not know."""

  def __init__(self, column: str, why: str):
    super().__init__(
      f"This trace does not know the column {column!r}: {why}.",
      mend="model.tabulate(key, x, compute_flops=True, compute_vjp_flops=True) traces what it needs; of a function "
      "of your own, trace its gradient: nn.trace(jax.grad(loss))(params, x).",
    )


class GraphMissingError(VizError, ValueError):
  """A graph was to be drawn of a trace that does not know what flows where."""

  def __init__(self) -> None:
    super().__init__(
      "The arrows of a graph come from JAX's equations, and this trace has none, since its code really ran.",
      right="viz.graph(nn.trace(model.apply)(variables, x))",
    )


class DotMissingError(VizError, RuntimeError):
  """A graph was to be drawn, and the program that does it is not there."""

  def __init__(self, form: str):
    super().__init__(
      f"A graph as {form} is drawn by Graphviz's program dot, which is not installed or not on the PATH.",
      mend="install Graphviz (Debian and Ubuntu: apt install graphviz; macOS: brew install graphviz; others: "
      'https://graphviz.org/download). Without it, view.save("graph.dot") writes the text of the graph.',
    )


class UnknownColumnError(VizError, ValueError):
  """A table was asked for a column that it does not have, or to be sorted by it."""

  def __init__(self, name: str, columns: Iterable[str], use: str):
    columns = list(columns)
    right = f'"{columns[0]}"' if use == "sort" else f'["{columns[0]}"]'
    super().__init__(
      f"There is no column {name!r} in this table.{nearest(name, columns)}",
      right=f"viz.tabulate(trace, {use}={right})",
    )


class NoMatchError(VizError, LookupError):
  """A path pattern fits no variable, or no module."""

  def __init__(self, pattern: str, paths: Iterable[str], what: str = "variable"):
    paths = list(paths)
    above = pattern.rpartition("/")[0]
    ends = dict.fromkeys(f"{above}/{path.rpartition('/')[2]}" for path in paths)
    close = did_you_mean(pattern, ends or paths)
    some = ", ".join(paths[:4]) + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")
    super().__init__(
      f"No {what} fits the pattern {pattern!r}.{close} There: {some or f'no {what}s'}.",
      mend=f'a pattern is {_PATTERNS[what]}; "*" stands for one level, "**" for any number.',
    )


_PATTERNS = {
  "variable": 'collection/path/name ("params/**/kernel")',
  "module": 'a path ("**/query") or a class',
}


def _found(value: Any) -> str:
  text = repr(value)
  return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
