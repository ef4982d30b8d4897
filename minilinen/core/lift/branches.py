"""Lifted branches: `cond` and `switch` run one of several functions, chosen by a value.

Nothing is merged: each branch hands out all variables that may be written, and JAX refuses if they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from minilinen.core.boundary import Boundary, passing
from minilinen.core.filters import CollectionFilter
from minilinen.core.lift.crossing import Crossing, spoken_of_as
from minilinen.core.lift.targets import Target, also_called


@also_called(scope="mdl")
def cond(
  pred: Any,
  true_fun: Callable[..., Any],
  false_fun: Callable[..., Any],
  mdl: Any,
  *operands: Any,
  variables: CollectionFilter = True,
  rngs: CollectionFilter = True,
) -> Any:
  """`jax.lax.cond` for functions of a module or of a scope, at once. Both must give and create the same.

  Args:
    pred: a boolean scalar.
    true_fun, false_fun: called as `fun(module, *operands)`.
    mdl: the module, a scope, or a pytree of scopes.
    variables, rngs: the collections and streams that exist inside.

  Returns:
    What the chosen function gives.

  >>> import jax, minilinen as nn
  >>> class Net(nn.Module):
  ...   @nn.compact
  ...   def __call__(self, x, flip):
  ...     self.variable("state", "calls", lambda: 0)
  ...     def twice(net, x):
  ...       return 2 * x
  ...     return nn.cond(flip, twice, lambda net, x: x, self, x)
  >>> Net().apply({"state": {"calls": 0}}, 3.0, True)
  Array(6., dtype=float32, weak_type=True)
  """
  branches = Target.of(true_fun), Target.of(false_fun)
  return _choose("cond", pred, branches, mdl, operands, variables, rngs)


@also_called(scope="mdl")
def switch(
  index: Any,
  branches: Sequence[Callable[..., Any]],
  mdl: Any,
  *operands: Any,
  variables: CollectionFilter = True,
  rngs: CollectionFilter = True,
) -> Any:
  """`jax.lax.switch` for functions of a module or of a scope, at once. All must give and create the same.

  Args:
    index: an integer scalar: which of the branches; clamped to those that there are.
    branches: called as `branch(module, *operands)`.
    mdl: the module, a scope, or a pytree of scopes.
    variables, rngs: the collections and streams that exist inside.

  Returns:
    What the chosen branch gives.
  """
  targets = tuple(map(Target.of, branches))
  return _choose("switch", index, targets, mdl, operands, variables, rngs)


def _choose(
  kind: str,
  index: Any,
  targets: tuple[Target, ...],
  mdl: Any,
  operands: tuple[Any, ...],
  variables: CollectionFilter,
  rngs: CollectionFilter,
) -> Any:
  options = {"index": index, "branches": len(targets)}
  boundary = Boundary(kind, targets[0], (passing(variables),), (passing(rngs),), options)

  with Crossing(boundary, mdl, operands) as crossing:
    groups, keys = crossing.groups()
    variable_groups = jax.tree.map(lambda x: x, groups)  # no branch sees what another writes outside

    def chosen(number: int, target: Target) -> Callable[..., Any]:
      def body(*operands: Any) -> Any:
        name = f"branch {number}"
        with crossing.inside(variable_groups, keys, operands, target=target, name=name) as inner:
          return inner.leave(inner.run())

      return spoken_of_as(target, body)

    bodies = [chosen(number, target) for number, target in enumerate(targets)]
    crossing.again = lambda: [jax.eval_shape(body, *crossing.args) for body in bodies]
    if kind == "cond":
      y, written = jax.lax.cond(index, *bodies, *crossing.args)
    else:
      y, written = jax.lax.switch(index, bodies, *crossing.args)
    return crossing.back(y, written)
