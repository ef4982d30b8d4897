"""May be skipped: lifted derivatives: `vjp`, `jvp`, `value_and_grad`, `grad`, and `custom_vjp`.

JAX differentiates with respect to arguments, and on the other side of a boundary the variables are arguments too:
which collections count is a filter. Gradients with respect to variables come in the form of what was passed: for a
module or a scope its collections, for a tuple of scopes a tuple of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from minilinen import errors
from minilinen.core import lifted_mistakes
from minilinen.core.boundary import Boundary, passing
from minilinen.core.filters import CollectionFilter
from minilinen.core.frozen_dict import unfreeze
from minilinen.core.lift.carriers import carrier_of, replaced_stands
from minilinen.core.lift.crossing import Crossing, behind, spoken_of_as
from minilinen.core.lift.form import Form
from minilinen.core.lift.targets import Target, also_called


@also_called(scope="mdl")
def vjp(
  fn: Callable[..., Any],
  mdl: Any,
  *primals: Any,
  has_aux: bool = False,
  reduce_axes: Sequence[str] = (),
  vjp_variables: CollectionFilter = "params",
  variables: CollectionFilter = True,
  rngs: CollectionFilter = True,
  multi_scope: bool = False,
) -> Any:
  """`jax.vjp` of a function of a module or of a scope, at once.

  Args:
    fn: called as `fn(module, *primals)`.
    mdl: the module, a scope, or a pytree of scopes.
    *primals: where the derivative is taken.
    has_aux: whether `fn` gives a pair, of which the second is not differentiated.
    reduce_axes: kept for compatibility; JAX no longer has it.
    vjp_variables: the collections with respect to which it is differentiated, besides `primals`.
    variables, rngs: the other collections, and the streams, that exist inside.
    multi_scope: whether modules with scopes of their own may be among the `primals`; the gradients of the variables
      then come in a list, one tree for each scope.

  Returns:
    The result and a function from its cotangent to `(cotangents of the variables, *cotangents of primals)`; with
    `has_aux` the auxiliary value comes third.

  Raises:
    RemovedOptionError: if `reduce_axes` is given.
    MultiScopeError: if modules with scopes of their own take part and `multi_scope` is False.
  """
  passed = has_aux, reduce_axes, vjp_variables, variables, rngs
  return _pulled("vjp", Target.of(fn), mdl, primals, *passed, several=multi_scope)


def _pulled(
  kind: str,
  target: Target,
  mdl: Any,
  primals: tuple[Any, ...],
  has_aux: bool,
  reduce_axes: Sequence[str],
  vjp_variables: CollectionFilter,
  variables: CollectionFilter,
  rngs: CollectionFilter,
  several: bool = True,
  given: Callable[[tuple[Any, ...]], Any] = lambda pulled: pulled,
) -> Any:
  """`vjp`, as a boundary that is called by the name of what uses it, and gives what that makes of its result."""
  collections = passing(vjp_variables, "differentiated", out_of=False), passing(variables)
  boundary = Boundary(kind, target, collections, (passing(rngs),), {"has_aux": has_aux})
  if reduce_axes:
    raise errors.RemovedOptionError.reduce_axes(boundary.at, reduce_axes)

  with Crossing(boundary, mdl, primals) as crossing:
    (wanted, others), keys = crossing.groups()

    def body(wanted: Any, *primals: Any) -> Any:
      with crossing.inside((wanted, others), keys, primals) as inner:
        y, written = inner.leave(inner.run())
      y, aux = y if has_aux else (y, None)
      return y, (aux, written)

    handed_out = crossing.carrier.gradients(crossing.form, several)
    y, backward, (aux, written) = jax.vjp(
      spoken_of_as(boundary.target, body), wanted, *crossing.args, has_aux=True
    )
    pulled = y, jax.tree_util.Partial(_Pullback(handed_out), backward)
    return crossing.back(given((*pulled, aux) if has_aux else pulled), written)


@dataclass(frozen=True)
class _Pullback:
  """The second half of a `vjp`, as static data: the pytree in which gradients of variables are handed out."""

  handed_out: Any

  __name__ = "pullback"  # for the trace

  def __call__(self, backward: Callable[..., Any], y_t: Any) -> tuple[Any, ...]:
    variables_t, *primals_t = backward(y_t)
    return jax.tree.unflatten(self.handed_out, variables_t), *replaced_stands(lambda _: None, primals_t)


@also_called(scope="mdl")
def value_and_grad(
  fn: Callable[..., Any],
  mdl: Any,
  *primals: Any,
  has_aux: bool = False,
  reduce_axes: Sequence[str] = (),
  variables: CollectionFilter = True,
  rngs: CollectionFilter = True,
) -> Any:
  """The value of a function of a module or of a scope, and its gradients by its arguments (not the variables).

  Args:
    fn: called as `fn(module, *primals)`; gives a scalar.
    mdl, has_aux, reduce_axes, variables, rngs: as for `vjp`.

  Returns:
    `(value, gradients)`, with `has_aux` `((value, aux), gradients)`; one gradient for each of the `primals`.
  """
  passed = has_aux, reduce_axes, False, variables, rngs
  return _pulled("value_and_grad", Target.of(fn), mdl, primals, *passed, given=_graded)


def _graded(pulled: tuple[Any, ...]) -> Any:
  """The value of a `vjp`, with the auxiliary one if there is one, and the gradients by its arguments."""
  y, backward, *aux = pulled
  _, *grads = backward(jax.tree.map(jnp.ones_like, y))
  return ((y, *aux) if aux else y), tuple(grads)


@also_called(scope="mdl")
def grad(
  fn: Callable[..., Any],
  mdl: Any,
  *primals: Any,
  has_aux: bool = False,
  reduce_axes: Sequence[str] = (),
  variables: CollectionFilter = True,
  rngs: CollectionFilter = True,
) -> Any:
  """The gradients of `value_and_grad`, with `has_aux` `(gradients, aux)`."""
  passed = has_aux, reduce_axes, False, variables, rngs
  return _pulled("grad", Target.of(fn), mdl, primals, *passed, given=_gradients)


def _gradients(pulled: tuple[Any, ...]) -> Any:
  """The gradients of a `vjp` by its arguments, with the auxiliary value if there is one."""
  _, _, *aux = pulled
  _, grads = _graded(pulled)
  return (grads, *aux) if aux else grads


@also_called(scope="mdl")
def jvp(
  fn: Callable[..., Any],
  mdl: Any,
  primals: Sequence[Any],
  tangents: Sequence[Any],
  variable_tangents: Any,
  variables: CollectionFilter = True,
  rngs: CollectionFilter = True,
) -> Any:
  """`jax.jvp` of a function of a module or of a scope, at once.

  Args:
    fn: called as `fn(module, *primals)`.
    mdl: the module, a scope, or a pytree of scopes.
    primals: where the derivative is taken.
    tangents: its direction, one for each of the `primals`.
    variable_tangents: the direction for the variables, collection -> variables; what is not there, or None, does not
      change. For a pytree of scopes a pytree of such dicts; where modules bring scopes of their own a list of them.
    variables, rngs: the other collections, and the streams, that exist inside.

  Returns:
    The result and its tangent.
  """
  target = Target.of(fn)
  carrier = carrier_of(mdl, tuple(primals), {}, target, "jvp")[0]
  by_scope = carrier.by_scope(Form.of(carrier.scopes)[0], variable_tangents)
  lifted_mistakes.check_collections(by_scope, Boundary("jvp", target))
  differentiated = {col for given in by_scope for col, tree in given.items() if tree}
  collections = passing(differentiated, "differentiated", out_of=False), passing(variables)
  boundary = Boundary("jvp", target, collections, (passing(rngs),))

  with Crossing(boundary, mdl, tuple(primals)) as crossing:
    (wanted, others), keys = crossing.groups()

    def body(wanted: Any, *primals: Any) -> Any:
      with crossing.inside((wanted, others), keys, primals) as inner:
        return inner.leave(inner.run())

    directions = tuple(map(_direction, wanted, by_scope))
    lifted_mistakes.check_directions(wanted, directions, boundary)
    primals_in, tangents_in = (wanted, *crossing.args), (directions, *tangents)
    (y, written), (y_t, _) = jax.jvp(spoken_of_as(boundary.target, body), primals_in, tangents_in)
    return crossing.back((y, y_t), written)


def custom_vjp(
  fn: Callable[..., Any],
  forward_fn: Callable[..., Any],
  backward_fn: Callable[..., Any],
  grad_vars: CollectionFilter = "params",
  nondiff_argnums: int | Sequence[int] = (),
) -> Callable[..., Any]:
  """`jax.custom_vjp` for a function of a module or of a scope: its gradient is what the user says.

  Args:
    fn: called as `fn(module, *args)`.
    forward_fn: called like `fn` instead of it where gradients are wanted; gives the result and what
      `backward_fn` needs, often by `vjp`.
    backward_fn: called as `backward_fn(*nondiff_args, residual, cotangent)`; gives
      `(cotangents of the variables, *cotangents of the args)`.
    grad_vars: the collections that have gradients.
    nondiff_argnums: positions of arguments without gradients; the module is number 0.

  Returns:
    A function like `fn`.
  """
  target, forwards, backwards = map(Target.of, (fn, forward_fn, backward_fn))
  plain = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else tuple(nondiff_argnums)
  collections = passing(grad_vars, "differentiated", out_of=False), passing(True)
  options = {"forward_fn": forward_fn, "backward_fn": backward_fn}
  boundary = Boundary("custom_vjp", target, collections, (passing(True),), options, plain)

  @behind(boundary)
  def call(first: Any, *args: Any, **kwargs: Any) -> Any:
    with Crossing(boundary, first, args, kwargs) as crossing:
      (wanted, others), keys = crossing.groups()

      def body(wanted: Any, *args: Any) -> Any:
        with crossing.inside((wanted, others), keys, args) as inner:
          return inner.leave(inner.run())

      def forward(wanted: Any, *args: Any) -> Any:
        with crossing.inside((wanted, others), keys, args, target=forwards, name="forward") as inner:
          pair, written = inner.leave(inner.run())
        if not isinstance(pair, tuple) or len(pair) != 2:
          raise lifted_mistakes.forward_error(pair, boundary)
        return (pair[0], written), pair[1]

      def backward(*args: Any) -> Any:
        *plain_args, residual, (y_t, _) = args
        variables_t, *args_t = backward_fn(*plain_args, residual, y_t)
        given = crossing.carrier.by_scope(crossing.form, variables_t)
        return lifted_mistakes.check_cotangents(wanted, given, boundary), *args_t

      f = jax.custom_vjp(spoken_of_as(boundary.target, body), nondiff_argnums=plain)
      f.defvjp(spoken_of_as(forwards, forward), spoken_of_as(backwards, backward))
      return crossing.back(*f(wanted, *crossing.args))

  return call


def _direction(collections: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
  """The direction for the variables of one scope, where another's was given for more collections."""
  zero = jax.tree.map(jnp.zeros_like, {col: tree for col, tree in collections.items() if col not in given})
  return {**zero, **{col: unfreeze(tree) for col, tree in given.items() if col in collections}}
