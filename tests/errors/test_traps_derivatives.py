"""Traps of branches, while loops and lifted derivatives."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mistakes
import pytest
from mistakes import Case, run

import minilinen as nn
from minilinen import errors

KEY = jax.random.key(0)
X = jnp.ones((4, 3))
CASES: list[Case] = []
raises = functools.partial(mistakes.raises, CASES)


def init(fn: Callable[[nn.Module, Any], Any], *streams: str) -> Any:
  """Init of a module whose call is a function of it."""
  return net_of(fn).init(dict.fromkeys(("params", *streams), KEY), X)


def net_of(fn: Callable[[nn.Module, Any], Any]) -> nn.Module:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return fn(self, x)

  return Net()


def keep(net: nn.Module, x: Any) -> Any:
  return x


def total(net: nn.Module, x: Any) -> Any:
  return x.sum()


def long(net: nn.Module, x: Any) -> Any:
  return x.sum() < 30


def dense(net: nn.Module, x: Any) -> Any:
  return nn.Dense(3)(x)


def scaled(net: nn.Module, x: Any) -> Any:
  return x * net.param("scale", nn.initializers.ones, (3,))


def counted(net: nn.Module, x: Any) -> Any:
  net.put_variable("state", "count", net.get_variable("state", "count", 0.0) + 1.0)
  return x + 1


def call(layer: nn.Module, x: Any) -> Any:
  return layer(x)


@raises(
  errors.BranchesDifferError,
  """\
The branches of nn.cond of keep differ: variable 'params/scale' is not there in
  branch 0 and there in branch 1.
  module  /
  line    `return init(lambda self, x: nn.cond(True, keep, scaled, self, x))`
  lifted  `return init(lambda self, x: nn.cond(True, keep, scaled, self, x))`
  mend    at init call what the branches use before them: if
          self.is_initializing(): self.layer(x).
          Make it in setup, or before nn.cond, and pass it as an argument.
in module / (Net.__call__), called with (f32[4,3])""",
)
def only_one_branch_makes_a_parameter() -> Any:
  return init(lambda self, x: nn.cond(True, keep, scaled, self, x))


@raises(
  errors.BranchesDifferError,
  """\
The branches of nn.switch of keep differ: the result is f32[4,3] in branch 0 and
  f32[] in branch 2.
  module  /
  line    `return init(lambda self, x: nn.switch(1, [keep, keep, total], self, x))`
  lifted  `return init(lambda self, x: nn.switch(1, [keep, keep, total], self, x))`
  mend    every branch must give the same structure, shapes and dtypes.
in module / (Net.__call__), called with (f32[4,3])""",
)
def branches_of_different_shapes() -> Any:
  return init(lambda self, x: nn.switch(1, [keep, keep, total], self, x))


@raises(
  errors.CarryError,
  """\
The carry 'x' changes in nn.while_loop of total: it goes in as f32[4,3] and
  comes out as f32[].
  module  /
  line    `return init(lambda self, x: nn.while_loop(long, total, self, x))`
  lifted  `return init(lambda self, x: nn.while_loop(long, total, self, x))`
  mend    return what went in, with the same shape and dtype, or begin with a
          carry as the body returns it.
in module / (Net.__call__), called with (f32[4,3])""",
)
def while_loop_changes_its_carry() -> Any:
  return init(lambda self, x: nn.while_loop(long, total, self, x))


@raises(
  errors.CarriedCollectionError,
  """\
Collection 'state' is carried by nn.while_loop of counted, and the body creates
  'count' in it: what is carried must be there before the loop begins.
  module  /
  line    `return init(lambda self, x: nn.while_loop(long, counted, self, x, carry_variables="state"))`
  lifted  `return init(lambda self, x: nn.while_loop(long, counted, self, x, carry_variables="state"))`
  mend    create the variables before the while_loop, which then carries them.
in module / (Net.__call__), called with (f32[4,3])""",
)
def state_made_in_a_while_loop() -> Any:
  return init(lambda self, x: nn.while_loop(long, counted, self, x, carry_variables="state"))


@raises(
  errors.ModifyScopeVariableError,
  """\
Cannot update variable 'count' in '/': collection 'state' is immutable behind
  nn.while_loop of counted, which does not hand it out.
  module  /
  line    `net.put_variable("state", "count", net.get_variable("state", "count", 0.0) + 1.0)`
  lifted  `return init(lambda self, x: nn.while_loop(long, counted, self, x))`
  right   nn.while_loop(cond_fn, body_fn, self, init, carry_variables="state",
          ...)
in module / (Net.__call__), called with (f32[4,3])""",
)
def state_changed_in_a_while_loop_that_does_not_carry_it() -> Any:
  return init(lambda self, x: nn.while_loop(long, counted, self, x))


@raises(
  errors.ScopeCollectionNotFound,
  """\
Tried to access 'kernel' from collection 'params' in '/Dense_0', but the
  collection is empty.
It cannot be created inside nn.while_loop of dense, which hands out no new
  variables of this collection.
  module  /Dense_0
  line    `return nn.Dense(3)(x)`
  lifted  `return init(lambda self, x: nn.while_loop(long, dense, self, x))`
  mend    create it before: if self.is_initializing(): self.layer(x)
in module /Dense_0 (Dense.__call__), called with (f32[4,3])""",
)
def layer_made_in_a_while_loop() -> Any:
  return init(lambda self, x: nn.while_loop(long, dense, self, x))


@raises(
  errors.ScopeParamNotFoundError,
  """\
Could not find parameter 'kernel' in '/Dense_0'.
It cannot be created inside nn.while_loop of dense, which hands out no new
  variables of this collection.
  module  /Dense_0
  line    `return nn.Dense(3)(x)`
  lifted  `return nn.while_loop(long, dense, self, nn.Dense(3, name="first")(x))`
  mend    create it before: if self.is_initializing(): self.layer(x)
in module /Dense_0 (Dense.__call__), called with (f32[4,3])""",
)
def second_layer_made_in_a_while_loop() -> Any:
  def looped(self: nn.Module, x: Any) -> Any:
    return nn.while_loop(long, dense, self, nn.Dense(3, name="first")(x))

  return init(looped)


@raises(
  errors.InvalidRngError,
  """\
/Dropout_0 needs PRNG for "dropout", which stops at nn.while_loop of <lambda>.
The streams passed on are: none.
  module  /Dropout_0
  line    `lambda self, x: nn.while_loop(long, lambda net, x: nn.Dropout(0.5, deterministic=False)(x), self, x),`
  lifted  `lambda self, x: nn.while_loop(long, lambda net, x: nn.Dropout(0.5, deterministic=False)(x), self, x),`
  right   nn.while_loop(cond_fn, body_fn, self, init, split_rngs={...,
          "dropout": True}, ...)
in module /Dropout_0 (Dropout.__call__), called with (f32[4,3])""",
)
def keys_in_a_while_loop() -> Any:
  return init(
    lambda self, x: nn.while_loop(long, lambda net, x: nn.Dropout(0.5, deterministic=False)(x), self, x),
    "dropout",
  )


@raises(
  errors.MultiScopeError,
  """\
nn.vjp got modules with scopes of their own: /Dense_1, /Dense_0.
Gradients of the variables come for one.
  line    `return nn.vjp(lambda a, b, x: a(x) + b(x), nn.Dense(3), nn.Dense(3), x)`
  right   y, pull = nn.vjp(..., multi_scope=True)
  mend    then the gradients are a list, one tree for each scope.
          Or lift over the module that holds them: nn.vjp(lambda model, x:
          model.layer(x), self, x).
in module / (Net.__call__), called with (f32[4,3])""",
)
def gradients_over_two_scopes() -> Any:
  def summed(self: nn.Module, x: Any) -> Any:
    return nn.vjp(lambda a, b, x: a(x) + b(x), nn.Dense(3), nn.Dense(3), x)

  return init(summed)


@raises(
  errors.DerivativeError,
  """\
The variable_tangents of nn.jvp must have a value for each variable of a
  collection, or none at all.
  line    `return nn.jvp(call, layer, (x,), (x,), {"params": {"kernel": jnp.ones((3, 3))}})`
  lifted  `return nn.jvp(call, layer, (x,), (x,), {"params": {"kernel": jnp.ones((3, 3))}})`
  expects params/bias, params/kernel
  found   params/kernel
  right   nn.jvp(f, self, (x,), (x_t,), {"params": jax.tree.map(jnp.ones_like,
          self.variables["params"])})
in module / (Net.__call__), called with (f32[4,3])""",
)
def tangents_for_half_of_the_parameters() -> Any:
  def moved(self: nn.Module, x: Any) -> Any:
    layer = nn.Dense(3)
    layer(x)
    return nn.jvp(call, layer, (x,), (x,), {"params": {"kernel": jnp.ones((3, 3))}})

  return init(moved)


@raises(
  errors.DerivativeError,
  """\
The backward function of nn.custom_vjp must first give the gradients of the
  variables, as the pullback of nn.vjp does.
  line    `return jax.grad(lambda v: net_of(f).apply(v, X).sum())(variables)`
  lifted  `own = nn.custom_vjp(call, lambda layer, x: nn.vjp(call, layer, x), lambda pull, y_t: pull(y_t)[1:])`
  expects params/bias, params/kernel
  found   f32[4,3]
  right   lambda pull, y_t: pull(y_t)
          # or what was made of it: (variables_t, *xs_t)""",
)
def backward_function_without_gradients_of_variables() -> Any:
  def f(self: nn.Module, x: Any) -> Any:
    own = nn.custom_vjp(call, lambda layer, x: nn.vjp(call, layer, x), lambda pull, y_t: pull(y_t)[1:])
    return own(nn.Dense(3), x)

  variables = net_of(f).init(KEY, X)
  return jax.grad(lambda v: net_of(f).apply(v, X).sum())(variables)


@raises(
  errors.DerivativeError,
  """\
The forward function of nn.custom_vjp must give a pair.
  line    `return own(nn.Dense(3), x)`
  lifted  `own = nn.custom_vjp(call, call, lambda pull, y_t: pull(y_t))`
  expects (result, what the backward function needs)
  found   f32[4,3]
  right   nn.custom_vjp(f, lambda module, x: nn.vjp(f, module, x), backward)
in module / (Net.__call__), called with (f32[4,3])""",
)
def forward_function_without_residual() -> Any:
  def f(self: nn.Module, x: Any) -> Any:
    own = nn.custom_vjp(call, call, lambda pull, y_t: pull(y_t))
    return own(nn.Dense(3), x)

  variables = net_of(f).init(KEY, X)
  return jax.grad(lambda v: net_of(f).apply(v, X).sum())(variables)


@raises(
  errors.CarryError,
  """\
The carry 'inputs' changes in nn.remat_scan of Dense: it goes in as f32[4,3] and
  comes out as f32[4,5].
  module  /Remat_scanDense_0
  line    `return init(lambda self, x: nn.remat_scan(nn.Dense, lengths=(2, 2))(5)(x))`
  lifted  `return init(lambda self, x: nn.remat_scan(nn.Dense, lengths=(2, 2))(5)(x))`
  mend    return what went in, with the same shape and dtype, or begin with a
          carry as the body returns it.
in module /Remat_scanDense_0 (Remat_scanDense.__call__), called with (f32[4,3])""",
)
def remat_scan_of_a_layer_that_changes_the_shape() -> Any:
  return init(lambda self, x: nn.remat_scan(nn.Dense, lengths=(2, 2))(5)(x))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2].__name__)
def test_message(case: Case) -> None:
  run(case)
