"""Lifted derivatives: `vjp`, `jvp`, `value_and_grad`, `grad`, and `custom_vjp`.

JAX differentiates with respect to arguments, and to a function inside `pack` the variables are arguments too: which
collections count is a filter. Gradients with respect to variables come in the form of the scope that was
passed: for one scope its collections, for a tuple of scopes a tuple of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from minilinen.core.boundary import Boundary, passing
from minilinen.core.filters import CollectionFilter
from minilinen.core.frozen_dict import unfreeze
from minilinen.core.lift.crossing import Crossing, Groups, around
from minilinen.core.lift.form import Form
from minilinen.core.lifted_mistakes import check_cotangents, check_directions, forward_error


def vjp(
  fn: Callable[..., Any],
  scope: Any,
  *primals: Any,
  has_aux: bool = False,
  reduce_axes: Sequence[str] = (),
  vjp_variables: CollectionFilter = "params",
  variables: CollectionFilter = True,
  rngs: CollectionFilter = True,
) -> Any:
  """`jax.vjp` of a function of a scope, at once.

  Args:
    fn: called as `fn(scope, *primals)`.
    scope: a scope, or a pytree of them.
    *primals: where the derivative is taken.
    has_aux: whether `fn` gives a pair, of which the second is not differentiated.
    reduce_axes: kept for compatibility; JAX no longer has it.
    vjp_variables: the collections with respect to which it is differentiated, besides `primals`.
    variables: the other collections that exist inside.
    rngs: the streams that exist inside.

  Returns:
    The result and a function from its cotangent to `(cotangents of the variables, *cotangents of primals)`; with
    `has_aux` the auxiliary value comes third.

  Raises:
    NotImplementedError: if `reduce_axes` is given.
  """
  _no_axes(reduce_axes)
  return _pulled("vjp", fn, scope, primals, has_aux, vjp_variables, variables, rngs)


def _no_axes(reduce_axes: Sequence[str]) -> None:
  if reduce_axes:
    raise NotImplementedError("vjp has no reduce_axes any more: sum over the axes with jax.lax.psum instead.")


def _pulled(
  kind: str,
  fn: Callable[..., Any],
  scope: Any,
  primals: tuple[Any, ...],
  has_aux: bool,
  vjp_variables: CollectionFilter,
  variables: CollectionFilter,
  rngs: CollectionFilter,
) -> Any:
  """`vjp`, as a boundary that is called by the name of what uses it."""

  def across(crossing: Crossing, groups: Groups, keys: Groups, *primals: Any) -> Any:
    wanted, others = unfreeze_all(groups[0]), groups[1]

    def body(wanted: Any, *primals: Any) -> Any:
      with crossing.inside((wanted, others), keys, primals) as inner:
        y = inner.call(fn, *primals)
        y, written = inner.leave(y)
      y, aux = y if has_aux else (y, None)
      return y, (aux, written)

    y, backward, (aux, written) = jax.vjp(crossing.named(body), wanted, *primals, has_aux=True)
    pulled = jax.tree_util.Partial(_Pullback(crossing), backward)
    return ((y, pulled, aux) if has_aux else (y, pulled)), written

  collections = passing(vjp_variables, "differentiated", out_of=False), passing(variables)
  boundary = Boundary(kind, fn, collections, (passing(rngs),), {"has_aux": has_aux})
  return around(boundary, across)(scope, *primals)


class _Pullback:
  """The second half of a `vjp`, as static data: how the gradients of the variables are handed out."""

  def __init__(self, crossing: Crossing):
    self.form = crossing.form

  def __call__(self, backward: Callable[..., Any], y_t: Any) -> tuple[Any, ...]:
    variables_t, *primals_t = backward(y_t)
    return (self.form.tree(variables_t), *primals_t)

  def __eq__(self, other: Any) -> bool:
    return isinstance(other, _Pullback) and self.form == other.form

  def __hash__(self) -> int:
    return hash(self.form)


def value_and_grad(
  fn: Callable[..., Any],
  scope: Any,
  *primals: Any,
  has_aux: bool = False,
  reduce_axes: Sequence[str] = (),
  variables: CollectionFilter = True,
  rngs: CollectionFilter = True,
) -> Any:
  """The value of a function of a scope, and its gradients with respect to its arguments (not the variables).

  Args:
    fn: called as `fn(scope, *primals)`; gives a scalar.
    has_aux, reduce_axes, variables, rngs: as for `vjp`.

  Returns:
    `(value, gradients)`, with `has_aux` `((value, aux), gradients)`; one gradient for each of the `primals`.
  """
  _no_axes(reduce_axes)
  return _value_and_grad("value_and_grad", fn, scope, primals, has_aux, variables, rngs)


def _value_and_grad(
  kind: str, fn: Callable[..., Any], scope: Any, primals: Any, has_aux: bool, variables: Any, rngs: Any
) -> Any:
  y, backward, *aux = _pulled(kind, fn, scope, primals, has_aux, False, variables, rngs)
  _, *grads = backward(jax.tree.map(jnp.ones_like, y))
  return ((y, *aux) if has_aux else y), tuple(grads)


def grad(
  fn: Callable[..., Any],
  scope: Any,
  *primals: Any,
  has_aux: bool = False,
  reduce_axes: Sequence[str] = (),
  variables: CollectionFilter = True,
  rngs: CollectionFilter = True,
) -> Any:
  """The gradients of `value_and_grad`, with `has_aux` `(gradients, aux)`."""
  _no_axes(reduce_axes)
  value, grads = _value_and_grad("grad", fn, scope, primals, has_aux, variables, rngs)
  return (grads, value[1]) if has_aux else grads


def jvp(
  fn: Callable[..., Any],
  scope: Any,
  primals: Sequence[Any],
  tangents: Sequence[Any],
  variable_tangents: Any,
  variables: CollectionFilter = True,
  rngs: CollectionFilter = True,
) -> tuple[Any, Any]:
  """`jax.jvp` of a function of a scope, at once.

  Args:
    fn: called as `fn(scope, *primals)`.
    scope: a scope, or a pytree of them.
    primals: where the derivative is taken.
    tangents: its direction, one for each of the `primals`.
    variable_tangents: the direction for the variables, collection -> variables; what is not there, or None, does not
      change. For a pytree of scopes, a pytree of such dicts.
    variables: the other collections that exist inside.
    rngs: the streams that exist inside.

  Returns:
    The result and its tangent.
  """
  by_scope = Form.of(scope)[0].tops(variable_tangents)
  differentiated = {col for given in by_scope for col, tree in given.items() if tree}

  def across(crossing: Crossing, groups: Groups, keys: Groups, *primals: Any) -> Any:
    wanted, others = unfreeze_all(groups[0]), groups[1]

    def body(wanted: Any, *primals: Any) -> Any:
      with crossing.inside((wanted, others), keys, primals) as inner:
        y = inner.call(fn, *primals)
        return inner.leave(y)

    directions = tuple(map(_direction, wanted, by_scope))
    check_directions(wanted, directions, boundary)
    (y, written), (y_t, _) = jax.jvp(crossing.named(body), (wanted, *primals), (directions, *tangents))
    return (y, y_t), written

  collections = passing(differentiated, "differentiated", out_of=False), passing(variables)
  boundary = Boundary("jvp", fn, collections, (passing(rngs),))
  return around(boundary, across)(scope, *primals)


def custom_vjp(
  fn: Callable[..., Any],
  forward_fn: Callable[..., Any],
  backward_fn: Callable[..., Any],
  grad_vars: CollectionFilter = "params",
  nondiff_argnums: int | Sequence[int] = (),
) -> Callable[..., Any]:
  """`jax.custom_vjp` for a function of a scope: its gradient is what the user says.

  Args:
    fn: called as `fn(scope, *args)`.
    forward_fn: called like `fn` instead of it where gradients are wanted; gives the result and what
      `backward_fn` needs, often by `vjp`.
    backward_fn: called as `backward_fn(*nondiff_args, residual, cotangent)`; gives
      `(cotangents of the variables, *cotangents of the args)`.
    grad_vars: the collections that have gradients.
    nondiff_argnums: positions of arguments without gradients; the scope is number 0.

  Returns:
    A function like `fn`.
  """
  plain = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else tuple(nondiff_argnums)

  boundary = Boundary(
    "custom_vjp",
    fn,
    (passing(grad_vars, "differentiated", out_of=False), passing(True)),
    (passing(True),),
    {"forward_fn": forward_fn, "backward_fn": backward_fn},
    plain,
  )

  def across(crossing: Crossing, groups: Groups, keys: Groups, *args: Any) -> Any:
    wanted, others = unfreeze_all(groups[0]), groups[1]

    def body(wanted: Any, *args: Any) -> Any:
      with crossing.inside((wanted, others), keys, args) as inner:
        y = inner.call(fn, *args)
        return inner.leave(y)

    def forward(wanted: Any, *args: Any) -> Any:
      with crossing.inside((wanted, others), keys, args, "forward") as inner:
        pair, written = inner.leave(inner.call(forward_fn, *args))
      if not isinstance(pair, tuple) or len(pair) != 2:
        raise forward_error(pair, boundary)
      return (pair[0], written), pair[1]

    def backward(*args: Any) -> Any:
      *plain_args, residual, (y_t, _) = args
      variables_t, *args_t = backward_fn(*plain_args, residual, y_t)
      return check_cotangents(wanted, crossing.form.tops(variables_t), boundary), *args_t

    f = jax.custom_vjp(crossing.named(body), nondiff_argnums=plain)
    f.defvjp(crossing.named(forward, forward_fn), crossing.named(backward, backward_fn))
    return f(wanted, *args)

  return around(boundary, across)


def unfreeze_all(group: Any) -> tuple[dict[str, Any], ...]:
  """The collections of each scope as plain dicts, so that gradients and directions are trees of one kind."""
  return tuple({col: unfreeze(tree) for col, tree in collections.items()} for collections in group)


def _direction(collections: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
  """The direction for the variables of one scope, where another's was given for more collections."""
  zero = jax.tree.map(jnp.zeros_like, {col: tree for col, tree in collections.items() if col not in given})
  return {**zero, **{col: unfreeze(tree) for col, tree in given.items() if col in collections}}
