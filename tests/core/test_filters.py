"""Filters and their algebra, on random filters, against Flax and against what sets of names say."""

from __future__ import annotations

from typing import Any

import flax.core
import flax.core.scope as oracle
import flax.errors
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilinen import core, errors
from minilinen.core import DenyList

NAMES = ["params", "cache", "batch_stats", "p"]
SIMPLE = st.one_of(
  st.booleans(),
  st.sampled_from(NAMES),
  st.lists(st.sampled_from(NAMES), unique=True),
  st.frozensets(st.sampled_from(NAMES)),
  st.sets(st.sampled_from(NAMES)),
)
FILTERS = st.recursive(SIMPLE, lambda inner: inner.map(DenyList), max_leaves=3)


def theirs(x: Any) -> Any:
  """The same filter as Flax writes it."""
  return flax.core.DenyList(theirs(x.deny)) if isinstance(x, DenyList) else x


def outcome(run: Any, *args: Any) -> Any:
  """A filter's plain form, or that there is none (Flax asserts where we raise `InvalidFilterError`)."""
  try:
    result = run(*args)
  except (AssertionError, flax.errors.InvalidFilterError, errors.InvalidFilterError):
    return "no filter, Error"
  while type(result).__name__ == "DenyList":
    result = ("all but", outcome(lambda deny: deny, result.deny))
    return result
  return frozenset(result) if isinstance(result, (list, set, tuple)) else result


def names(x: Any) -> set[str]:
  return {name for name in NAMES if core.in_filter(x, name)}


@given(FILTERS, FILTERS)
@settings(max_examples=300, deadline=None)
def test_algebra_is_that_of_flax_and_of_sets(a: Any, b: Any) -> None:
  for ours, flaxs, of_sets in (
    (core.union_filters, oracle.union_filters, set.union),
    (core.intersect_filters, oracle.intersect_filters, set.intersection),
    (core.subtract_filters, oracle.subtract_filters, set.difference),
  ):
    expected, found = outcome(flaxs, theirs(a), theirs(b)), outcome(ours, a, b)
    assert found == expected, (ours.__name__, a, b)
    if not isinstance(found, str) or not found.endswith("Error"):
      assert names(ours(a, b)) == of_sets(names(a), names(b))


@given(FILTERS, st.sampled_from([*NAMES, "other"]))
@settings(max_examples=200, deadline=None)
def test_membership_is_that_of_flax(a: Any, name: str) -> None:
  assert core.in_filter(a, name) == oracle.in_filter(theirs(a), name)
  assert outcome(core.filter_to_set, a) == outcome(oracle.filter_to_set, theirs(a))
  if isinstance(a, DenyList) and isinstance(a.deny, DenyList):  # Flax takes all but (all but "a") for empty
    assert core.is_filter_empty(a) == core.is_filter_empty(a.deny.deny)
  else:
    assert core.is_filter_empty(a) == oracle.is_filter_empty(theirs(a))


@given(st.lists(FILTERS, max_size=4))
@settings(max_examples=100, deadline=None)
def test_groups_go_to_the_first_filter_that_matches(filters: list[Any]) -> None:
  tree = {name: i for i, name in enumerate(NAMES)}
  groups = core.group_collections(tree, filters)
  assert len(groups) == len(filters)
  for name, value in tree.items():
    matching = [i for i, f in enumerate(filters) if core.in_filter(f, name)]
    assert [i for i, group in enumerate(groups) if name in group] == matching[:1]
    assert all(group.get(name, value) == value for group in groups)


@pytest.mark.parametrize("wrong", [3, None, 1.5])
def test_what_is_no_filter(wrong: Any) -> None:
  for use in (lambda: core.in_filter(wrong, "a"), lambda: core.filter_to_set(wrong)):
    with pytest.raises(errors.InvalidFilterError, match="A filter is True, False, a name, a list of names"):
      use()
