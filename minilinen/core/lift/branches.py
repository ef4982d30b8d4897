"""Lifted branches: `cond` and `switch` run one of several functions of a scope, chosen by a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from minilinen.core.filters import CollectionFilter
from minilinen.core.lift.explain import Branches
from minilinen.core.lift.pack import Boundary, Groups, pack, pure


def cond(
  pred: Any,
  true_fun: Callable[..., Any],
  false_fun: Callable[..., Any],
  scope: Any,
  *operands: Any,
  variables: CollectionFilter = True,
  rngs: CollectionFilter = True,
) -> Any:
  """`jax.lax.cond` for functions of a scope, at once. Both must give and create the same.

  Args:
    pred: a boolean scalar.
    true_fun, false_fun: called as `fun(scope, *operands)`.
    scope: a scope, or a pytree of them.
    variables: the collections that exist inside.
    rngs: the streams that exist inside.

  Returns:
    What the chosen function gives.
  """
  return _choose("cond", jax.lax.cond, pred, (true_fun, false_fun), scope, operands, variables, rngs)


def switch(
  index: Any,
  branches: Sequence[Callable[..., Any]],
  scope: Any,
  *operands: Any,
  variables: CollectionFilter = True,
  rngs: CollectionFilter = True,
) -> Any:
  """`jax.lax.switch` for functions of a scope, at once. All must give and create the same.

  Args:
    index: an integer scalar: which of the branches; clamped to those that there are.
    branches: called as `branch(scope, *operands)`.
    scope: a scope, or a pytree of them.
    variables: the collections that exist inside.
    rngs: the streams that exist inside.

  Returns:
    What the chosen branch gives.
  """

  def choose(index: Any, *rest: Any) -> Any:
    return jax.lax.switch(index, rest[: len(branches)], *rest[len(branches) :])

  return _choose("switch", choose, index, tuple(branches), scope, operands, variables, rngs)


def _choose(
  kind: str,
  choose: Callable[..., Any],
  index: Any,
  branches: tuple[Callable[..., Any], ...],
  scope: Any,
  operands: tuple[Any, ...],
  variables: CollectionFilter,
  rngs: CollectionFilter,
) -> Any:
  def inner(scope_fn: Any, repack_fn: Any, groups: Groups, streams: Groups, *operands: Any) -> Any:
    given = Branches()

    def chosen(number: int) -> Callable[..., Any]:
      body = pure(branches[number], scope_fn, repack_fn, name=f"branch {number}")
      return given.kept(number, lambda *operands: body(groups, streams, *operands))

    with given.explained(boundary, scope_fn.__self__):
      return choose(index, *map(chosen, range(len(branches))), *operands)

  boundary = Boundary(
    kind,
    branches[0],
    collections=[(variables, "same")],
    streams=[(rngs, "same")],
    options={"index": index, "branches": len(branches)},
  )
  return pack(inner, (variables,), (variables,), (rngs,), name=kind, boundary=boundary)(scope, *operands)
