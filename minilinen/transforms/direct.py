"""Lifted transforms that run functions of a module at once: branches, `while_loop` and derivatives.

Each is the one of the same name in `core.lift`, with a module in the place of the scope. Gradients with respect to
variables come as the collections of that module; with modules that bring scopes of their own there are several, and
`multi_scope=True` asks for a list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from minilinen import errors
from minilinen.core import lift
from minilinen.core.frozen_dict import FrozenDict
from minilinen.core.lift.form import Form
from minilinen.module.module import Module
from minilinen.transforms.carried import Stand, here, inside, outside


def cond(
  pred: Any,
  true_fun: Callable[..., Any],
  false_fun: Callable[..., Any],
  mdl: Module,
  *operands: Any,
  variables: Any = True,
  rngs: Any = True,
) -> Any:
  """`jax.lax.cond` for functions of a module. Both must give and create the same.

  Args:
    pred: a boolean scalar.
    true_fun, false_fun: called as `fun(module, *operands)`.
    mdl: the module.
    variables, rngs: the collections and streams that exist inside.

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
  carried, operands, _ = outside(true_fun, mdl, operands, {}, "cond")
  at = here()
  return lift.cond(
    pred, inside(true_fun, at=at), inside(false_fun, at=at), carried, *operands, variables=variables, rngs=rngs
  )  # fmt: skip


def switch(
  index: Any,
  branches: Sequence[Callable[..., Any]],
  mdl: Module,
  *operands: Any,
  variables: Any = True,
  rngs: Any = True,
) -> Any:
  """`jax.lax.switch` for functions of a module. All must give and create the same.

  Args:
    index: an integer scalar: which of the branches; clamped to those that there are.
    branches: called as `branch(module, *operands)`.
    mdl: the module.
    variables, rngs: the collections and streams that exist inside.
  """
  carried, operands, _ = outside(branches[0], mdl, operands, {})
  at = here()
  chosen = [inside(branch, at=at) for branch in branches]
  return lift.switch(index, chosen, carried, *operands, variables=variables, rngs=rngs)


def while_loop(
  cond_fn: Callable[[Any, Any], Any],
  body_fn: Callable[[Any, Any], Any],
  mdl: Module,
  init: Any,
  carry_variables: Any = False,
  broadcast_variables: Any = True,
  split_rngs: Mapping[Any, bool] = FrozenDict(),
) -> Any:
  """`jax.lax.while_loop` for functions of a module.

  Args:
    cond_fn: called as `cond_fn(module, carry)`; a boolean scalar. It can change no variable.
    body_fn: called as `body_fn(module, carry) -> carry`.
    mdl: the module.
    init: the first carry.
    carry_variables: collections that one step hands to the next; they must exist before the loop.
    broadcast_variables: collections that all steps share and none changes.
    split_rngs: streams -> whether each step draws its own keys.
  """
  carried, (init,), _ = outside(body_fn, mdl, (init,), {}, "while_loop")
  at = here()
  return lift.while_loop(
    inside(cond_fn, at=at), inside(body_fn, at=at), carried, init, carry_variables, broadcast_variables, split_rngs
  )  # fmt: skip


def vjp(
  fn: Callable[..., Any],
  mdl: Module,
  *primals: Any,
  has_aux: bool = False,
  reduce_axes: Sequence[str] = (),
  vjp_variables: Any = "params",
  variables: Any = True,
  rngs: Any = True,
  multi_scope: bool = False,
) -> Any:
  """`jax.vjp` of a function of a module.

  Args:
    fn: called as `fn(module, *primals)`.
    mdl: the module.
    has_aux: whether `fn` gives a pair, of which the second is not differentiated.
    reduce_axes: kept for compatibility; JAX no longer has it.
    vjp_variables: the collections with respect to which it is differentiated, besides `primals`.
    variables, rngs: the other collections, and the streams, that exist inside.
    multi_scope: whether modules with scopes of their own may take part; their gradients come in a list.

  Returns:
    The result and a function from its cotangent to `(cotangents of the variables, *cotangents of primals)`; with
    `has_aux` the auxiliary value comes third.

  Raises:
    MultiScopeError: if several scopes take part and `multi_scope` is False.
  """
  carried, primals, _ = outside(fn, mdl, primals, {}, "vjp")
  tops = Form.of(carried)[1]
  if len(tops) > 1 and not multi_scope:
    raise errors.MultiScopeError([top.path_text for top in tops])
  y, pullback, *aux = lift.vjp(
    inside(fn, at=here()), carried, *primals, has_aux=has_aux, reduce_axes=reduce_axes,
    vjp_variables=vjp_variables, variables=variables, rngs=rngs,
  )  # fmt: skip
  return y, jax.tree_util.Partial(_gradients if multi_scope else _gradient, pullback), *aux


def _gradients(pullback: Callable[..., Any], y_t: Any) -> tuple[Any, ...]:
  """The cotangents that a pullback gives; those of variables as a list, one for each scope that crossed."""
  carried, *primals_t = pullback(y_t)
  kept = jax.tree.map(
    lambda x: None if isinstance(x, Stand) else x, primals_t, is_leaf=lambda x: isinstance(x, Stand)
  )
  return [tree for tree in carried.scopes if tree is not None], *kept


def _gradient(pullback: Callable[..., Any], y_t: Any) -> tuple[Any, ...]:
  """The same for one scope."""
  (tree,), *primals_t = _gradients(pullback, y_t)
  return tree, *primals_t


def value_and_grad(
  fn: Callable[..., Any],
  mdl: Module,
  *primals: Any,
  has_aux: bool = False,
  reduce_axes: Sequence[str] = (),
  variables: Any = True,
  rngs: Any = True,
) -> Any:
  """The value of a function of a module, and its gradients with respect to its arguments (not the variables).

  Args:
    fn: called as `fn(module, *primals)`; gives a scalar.
    has_aux, reduce_axes, variables, rngs: as for `vjp`.

  Returns:
    `(value, gradients)`, with `has_aux` `((value, aux), gradients)`; one gradient for each of the `primals`.
  """
  carried, primals, _ = outside(fn, mdl, primals, {}, "value_and_grad")
  return lift.value_and_grad(
    inside(fn, at=here()), carried, *primals, has_aux=has_aux, reduce_axes=reduce_axes,
    variables=variables, rngs=rngs,
  )  # fmt: skip


def grad(
  fn: Callable[..., Any],
  mdl: Module,
  *primals: Any,
  has_aux: bool = False,
  reduce_axes: Sequence[str] = (),
  variables: Any = True,
  rngs: Any = True,
) -> Any:
  """The gradients of `value_and_grad`, with `has_aux` `(gradients, aux)`."""
  carried, primals, _ = outside(fn, mdl, primals, {}, "grad")
  return lift.grad(
    inside(fn, at=here()), carried, *primals, has_aux=has_aux, reduce_axes=reduce_axes,
    variables=variables, rngs=rngs,
  )  # fmt: skip


def jvp(
  fn: Callable[..., Any],
  mdl: Module,
  primals: Sequence[Any],
  tangents: Sequence[Any],
  variable_tangents: Any,
  variables: Any = True,
  rngs: Any = True,
) -> Any:
  """`jax.jvp` of a function of a module.

  Args:
    fn: called as `fn(module, *primals)`.
    mdl: the module.
    primals: where the derivative is taken.
    tangents: its direction, one for each of the `primals`.
    variable_tangents: the direction for the variables, collection -> variables; what is not there does not change.
      Of several scopes a list of such dicts.
    variables, rngs: the other collections, and the streams, that exist inside.

  Returns:
    The result and its tangent.
  """
  carried, primals, _ = outside(fn, mdl, tuple(primals), {})
  by_scope = Form.of(carried)[0].tree(_as_list(variable_tangents))
  return lift.jvp(inside(fn, at=here()), carried, primals, tangents, by_scope, variables, rngs)


def _as_list(tree: Any) -> list[Any]:
  """What was given for one scope, or for several."""
  return list(tree) if isinstance(tree, (list, tuple)) else [tree]


def custom_vjp(
  fn: Callable[..., Any],
  forward_fn: Callable[..., Any],
  backward_fn: Callable[..., Any],
  grad_vars: Any = "params",
  nondiff_argnums: int | Sequence[int] = (),
) -> Callable[..., Any]:
  """`jax.custom_vjp` for a function of a module: its gradient is what the user says.

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
  at = here()

  def run(mdl: Module, *args: Any) -> Any:
    carried, args, _ = outside(fn, mdl, args, {}, "custom_vjp")
    form = Form.of(carried)[0]

    def backward(*args: Any) -> Any:
      variables_t, *args_t = backward_fn(*args)
      return form.tree(_as_list(variables_t)), *args_t

    lifted = lift.custom_vjp(
      inside(fn, at=at), inside(forward_fn, at=at), backward, grad_vars, nondiff_argnums
    )
    return lifted(carried, *args)

  return run
