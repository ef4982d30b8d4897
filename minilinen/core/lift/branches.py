"""Lifted branches: `cond` and `switch` run one of several functions of a scope, chosen by a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from minilinen.core.boundary import Boundary, passing
from minilinen.core.filters import CollectionFilter
from minilinen.core.lift.crossing import Crossing, Groups, around


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
  def across(crossing: Crossing, variables: Groups, keys: Groups, *operands: Any) -> Any:
    def chosen(number: int) -> Callable[..., Any]:
      def body(*operands: Any) -> Any:
        with crossing.inside(variables, keys, operands, f"branch {number}") as inner:
          y = inner.call(branches[number], *operands)
          return inner.leave(y)

      return crossing.named(body, branches[number])

    bodies = [chosen(number) for number in range(len(branches))]
    crossing.again = lambda: [jax.eval_shape(body, *operands) for body in bodies]
    return choose(index, *bodies, *operands)

  options = {"index": index, "branches": len(branches)}
  boundary = Boundary(kind, branches[0], (passing(variables),), (passing(rngs),), options)
  return around(boundary, across)(scope, *operands)
