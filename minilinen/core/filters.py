"""May be skipped: filters: which collections or random streams are meant.

A filter is True (all), False (none), a name, a collection of names, or `DenyList` of a filter (all but those).
`mutable=`, the variable and rng arguments of lifted transforms, and `pack` all speak in filters; the functions
here are their algebra.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minilinen import errors


@dataclass(frozen=True, eq=True)
class DenyList:
  """Everything but what `deny` matches.

  >>> in_filter(DenyList("params"), "params"), in_filter(DenyList("params"), "cache")
  (False, True)
  """

  deny: Any


CollectionFilter = bool | str | Collection[str] | DenyList
PRNGSequenceFilter = CollectionFilter

VariableDict = Mapping[str, Mapping[str, Any]]
"""Variables by collection, for annotations; a `FrozenVariableDict` is frozen."""

MutableVariableDict = dict[str, dict[str, Any]]


def in_filter(filter_like: CollectionFilter, col: str) -> bool:
  """Whether a filter matches a name.

  Raises:
    InvalidFilterError: if `filter_like` is no filter.
  """
  if isinstance(filter_like, str):
    return col == filter_like
  if isinstance(filter_like, bool):
    return filter_like
  if isinstance(filter_like, DenyList):
    return not in_filter(filter_like.deny, col)
  if isinstance(filter_like, Collection):
    return col in filter_like
  raise errors.InvalidFilterError(filter_like)


def filter_to_set(x: CollectionFilter) -> set[str]:
  """The names of a filter that names them.

  Raises:
    InvalidFilterError: for a filter without end (True, `DenyList`).
  """
  if isinstance(x, bool) and not x:
    return set()
  if isinstance(x, str):
    return {x}
  if isinstance(x, Collection) and not isinstance(x, bool):
    return set(x)
  raise errors.InvalidFilterError(x)


def is_filter_empty(filter_like: CollectionFilter) -> bool:
  """Whether a filter matches nothing, as far as it says."""
  if isinstance(filter_like, str):
    return False
  if isinstance(filter_like, bool):
    return not filter_like
  if isinstance(filter_like, DenyList):
    deny = filter_like.deny
    return is_filter_empty(deny.deny) if isinstance(deny, DenyList) else deny is True
  if isinstance(filter_like, Collection):
    return len(filter_like) == 0
  raise errors.InvalidFilterError(filter_like)


def union_filters(a: CollectionFilter, b: CollectionFilter) -> CollectionFilter:
  """Matches what `a` or `b` matches."""
  if a is True or b is True:
    return True
  if isinstance(a, DenyList) and isinstance(b, DenyList):
    return DenyList(intersect_filters(a.deny, b.deny))
  if isinstance(a, DenyList):
    return DenyList(subtract_filters(a.deny, b))
  if isinstance(b, DenyList):
    return DenyList(subtract_filters(b.deny, a))
  return filter_to_set(a) | filter_to_set(b)


def intersect_filters(a: CollectionFilter, b: CollectionFilter) -> CollectionFilter:
  """Matches what `a` and `b` match."""
  if a is True:
    return b
  if b is True:
    return a
  if isinstance(a, DenyList) and isinstance(b, DenyList):
    return DenyList(union_filters(b.deny, a.deny))
  if isinstance(b, DenyList):
    return subtract_filters(a, b.deny)
  if isinstance(a, DenyList):
    return subtract_filters(b, a.deny)
  return filter_to_set(a) & filter_to_set(b)


def subtract_filters(a: CollectionFilter, b: CollectionFilter) -> CollectionFilter:
  """Matches what `a` matches and `b` does not."""
  if b is True:
    return False
  if a is True:
    return DenyList(b)
  if isinstance(a, DenyList) and isinstance(b, DenyList):
    return subtract_filters(b.deny, a.deny)
  if isinstance(a, DenyList):
    return DenyList(union_filters(a.deny, b))
  if isinstance(b, DenyList):
    return intersect_filters(a, b.deny)
  return filter_to_set(a) - filter_to_set(b)


def group_collections(
  xs: Mapping[str, Any], col_filters: Sequence[CollectionFilter]
) -> tuple[dict[str, Any], ...]:
  """The entries of `xs` by the first filter that matches their name, one dict for each filter."""
  left = dict(xs)
  groups = []
  for col_filter in col_filters:
    groups.append({name: left.pop(name) for name in list(left) if in_filter(col_filter, name)})
  return tuple(groups)


def filter_in_words(f: CollectionFilter) -> Any:
  """A filter as plain data: True, False, a tuple of names, or "all but ..."."""
  if isinstance(f, bool):
    return f
  if isinstance(f, DenyList):
    denied = filter_in_words(f.deny)
    return "all but " + ", ".join(denied) if isinstance(denied, tuple) else not denied
  return (f,) if isinstance(f, str) else tuple(sorted(f))
