"""Every mistake that `viz` knows, as a class that builds its own message.

Each says what was asked for, what can be had instead, and how to ask for it. The views raise them; nothing
below `viz` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minilinen.errors import MinilinenError, nearest


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
    super().__init__(
      f"There is no picture of kind {kind!r} of {what}.{nearest(kind, kinds)}",
      right=f'viz.render(x, "{min(kinds)}")',
    )


class NothingToDrawError(VizError, TypeError):
  """A view was given something that it cannot draw."""

  def __init__(self, view: str, expected: str, found: Any, mend: str = ""):
    super().__init__(f"{view} draws {expected}, but got {_found(found)}.", mend=mend)


class CostsMissingError(VizError, NotImplementedError):
  """A table was asked for costs, and a trace does not know them."""

  def __init__(self) -> None:
    super().__init__(
      "viz.tabulate has no column of FLOPs: a trace tells what was called with which shapes, not what it costs.",
      mend="leave out compute_flops and compute_vjp_flops; for a whole function, XLA counts: "
      "jax.jit(model.apply).lower(variables, x).cost_analysis().",
    )


class NoMatchError(VizError, LookupError):
  """A path pattern fits no variable."""

  def __init__(self, pattern: str, paths: Iterable[str]):
    paths = list(paths)
    above = pattern.rpartition("/")[0]
    ends = dict.fromkeys(f"{above}/{path.rpartition('/')[2]}" for path in paths)
    close = nearest(pattern, ends or paths).partition(" There:")[0]
    some = ", ".join(paths[:4]) + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")
    super().__init__(
      f"No variable fits the pattern {pattern!r}.{close} There: {some or 'no variables'}.",
      mend='a pattern is collection/path/name; "*" stands for one level, "**" for any number: "params/**/kernel".',
    )


def _found(value: Any) -> str:
  text = repr(value)
  return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
