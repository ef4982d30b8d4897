"""A boundary, said once, as data: which collections and random streams pass, and what happens to them.

Each transform of `core.lift` makes one `Boundary`. From it come the groups in which variables and keys cross
(`lift/crossing.py`), what the trace says, and every message about what the boundary stops.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from minilinen import errors
from minilinen.core.filters import CollectionFilter, DenyList, filter_to_set, union_filters
from minilinen.tracing.events import Kind, Passing


@dataclass(frozen=True)
class Boundary:
  """What a transform says of itself.

  Attributes:
    kind: its name ("vmap").
    target: what is lifted; it has a `name`, and the `source` of the line that lifts.
    collections: what happens to the collections, in groups: one for each that goes in, and comes back.
    streams: what happens to the random streams, in groups.
    options: what else the user said.
    static: positions and names of static arguments.
    takes_keywords: whether keyword arguments are passed on.
  """

  kind: str
  target: Any
  collections: tuple[Passing, ...] = ()
  streams: tuple[Passing, ...] = ()
  options: Mapping[str, Any] = field(default_factory=dict)
  static: tuple[int | str, ...] = ()
  takes_keywords: bool = False

  @functools.cached_property
  def ins(self) -> tuple[Passing, ...]:
    """The groups of collections that go in."""
    return tuple(passing for passing in self.collections if passing.into)

  @functools.cached_property
  def outs(self) -> tuple[Passing, ...]:
    """The groups of collections that come back."""
    return tuple(passing for passing in self.collections if passing.out_of)

  @functools.cached_property
  def mutable(self) -> CollectionFilter:
    """The collections that may be written inside, if they may be outside."""
    return functools.reduce(union_filters, map(as_filter, self.outs), False)

  @functools.cached_property
  def shares_key(self) -> bool:
    """Whether parameters that are stacked are all made with one key."""
    taking = [
      [p.kind for p, group in zip(ps, grouped({"params": ()}, ps)) if group]
      for ps in (self.collections, self.streams)
    ]
    return taking == [["axis"], ["same"]]

  def passes(self, col: str) -> bool:
    """Whether a collection goes in, or comes back."""
    return any(grouped({col: ()}, self.collections))

  @functools.cached_property
  def at(self) -> errors.LiftedAt:
    """The boundary as messages speak of it."""
    target = self.target
    short = target.name.rpartition("<locals>.")[2].removesuffix(".__call__")
    decorates = target.source is not None and target.source.function == target.name.rpartition(".")[0]
    return errors.LiftedAt(target.by or self.kind, short, target.source, decorates)


def passing(
  names: CollectionFilter,
  kind: Kind = "same",
  axis: int | None = None,
  into: bool = True,
  out_of: bool = True,
) -> Passing:
  """What happens to the collections, or streams, of a filter.

  >>> passing("params", "axis", 0)
  Passing(names=('params',), all_but=False, kind='axis', axis=0, into=True, out_of=True)
  """
  all_but = False
  while isinstance(names, DenyList):
    all_but, names = not all_but, names.deny
  if names is True:
    all_but, names = not all_but, False
  return Passing(tuple(sorted(filter_to_set(names))), all_but, kind, axis, into, out_of)


def as_filter(passing: Passing) -> CollectionFilter:
  """The names of a passing, as a filter again."""
  if not passing.all_but:
    return set(passing.names)
  return DenyList(passing.names) if passing.names else True


def grouped(xs: Mapping[str, Any], passings: tuple[Passing, ...]) -> list[dict[str, Any]]:
  """The entries of `xs` by the first passing that takes their name."""
  groups: list[dict[str, Any]] = [{} for _ in passings]
  for name, value in xs.items():
    for passing, group in zip(passings, groups):
      if (name in passing.names) != passing.all_but:
        group[name] = value
        break
  return groups


def taking(passings: tuple[Passing, ...]) -> tuple[Passing, ...]:
  """Those that the trace tells of: all that take something."""
  return tuple(passing for passing in passings if passing.names or passing.all_but)
