"""Traps of raw JAX transforms around module code: what leaks or repeats is warned of, what is harmless is not."""

from __future__ import annotations

import functools
import warnings
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
SILENT: list[Callable[[], Any]] = []
warns = functools.partial(mistakes.raises, CASES)


def compact(fn: Callable[[nn.Module, Any], Any]) -> nn.Module:
  """A module whose call is a function of it."""

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return fn(self, x)

  return Net()


def silent(program: Callable[[], Any]) -> Callable[[], Any]:
  """Registers a program that does no harm."""
  SILENT.append(program)
  return program


# A value that is written inside of a transform cannot leave it.


@warns(
  errors.LeakedTracerWarning,
  """\
Variable 'kernel' of collection 'params' in '/Dense_0' is written inside
  jax.jit: the value cannot leave the transform, and is a tracer afterwards.
  module  /Dense_0
  line    `return compact(lambda self, x: jax.jit(nn.Dense(2, use_bias=False))(x)).init(KEY, X)`
  expects a lifted transform, which hands variables out
  found   jax.jit around a call of the module
  right   nn.jit(nn.Dense)(4)(x)""",
)
def init_under_jit() -> Any:
  return compact(lambda self, x: jax.jit(nn.Dense(2, use_bias=False))(x)).init(KEY, X)


@warns(
  errors.LeakedTracerWarning,
  """\
Variable 'kernel' of collection 'params' in '/Dense_0' is written inside
  jax.lax.scan: the value cannot leave the transform, and is a tracer
  afterwards.
  module  /Dense_0
  line    `return jax.lax.scan(lambda h, _: (dense(h), None), x, None, length=2)[0]`
  expects a lifted transform, which hands variables out
  found   jax.lax.scan around a call of the module
  right   nn.scan(Cell, variable_broadcast="params",
          split_rngs={"params": False})(4)(carry, xs)""",
)
def init_under_scan() -> Any:
  def call(self: nn.Module, x: Any) -> Any:
    dense = nn.Dense(3, use_bias=False)
    return jax.lax.scan(lambda h, _: (dense(h), None), x, None, length=2)[0]

  return compact(call).init(KEY, X)


@warns(
  errors.LeakedTracerWarning,
  """\
Variable 'kernel' of collection 'params' in '/Dense_0' is written inside
  jax.checkpoint: the value cannot leave the transform, and is a tracer
  afterwards.
  module  /Dense_0
  line    `return compact(lambda self, x: jax.checkpoint(nn.Dense(2, use_bias=False))(x)).init(KEY, X)`
  expects a lifted transform, which hands variables out
  found   jax.checkpoint around a call of the module
  right   nn.remat(nn.Dense)(...)(x)""",
)
def init_under_checkpoint() -> Any:
  return compact(lambda self, x: jax.checkpoint(nn.Dense(2, use_bias=False))(x)).init(KEY, X)


@warns(
  errors.LeakedTracerWarning,
  """\
Variable 'kernel' of collection 'params' in '/Dense_0' is written inside
  jax.lax.cond: the value cannot leave the transform, and is a tracer
  afterwards.
  module  /Dense_0
  line    `return jax.lax.cond(x.sum() > 0, dense, lambda x: x, x)`
  expects variables written outside of it
  found   jax.lax.cond around a call of the module
  mend    call the module before jax.lax.cond, which then only reads its
          variables.""",
)
def init_under_cond() -> Any:
  def call(self: nn.Module, x: Any) -> Any:
    dense = nn.Dense(3, use_bias=False)
    return jax.lax.cond(x.sum() > 0, dense, lambda x: x, x)

  return compact(call).init(KEY, X)


@warns(
  errors.LeakedTracerWarning,
  """\
Variable 'mean' of collection 'state' in '/' is written inside jax.vmap: the
  value cannot leave the transform, and is a tracer afterwards.
  module  /
  line    `count.value = count.value + row`
  expects a lifted transform, which hands variables out
  found   jax.vmap around a call of the module
  right   nn.vmap(nn.Dense, variable_axes={"state": 0},
          split_rngs={"params": True})(4)(x)""",
)
def statistics_under_vmap() -> Any:
  def call(self: nn.Module, x: Any) -> Any:
    count = self.variable("state", "mean", lambda: jnp.zeros(3))

    def one(row: Any) -> Any:
      count.value = count.value + row
      return row

    return jax.vmap(one)(x)

  return compact(call).apply({"state": {"mean": jnp.zeros(3)}}, X, mutable="state")


@warns(
  errors.LeakedTracerWarning,
  """\
Variable 'mean' of collection 'batch_stats' in '/BatchNorm_0' is written inside
  jax.grad: the value cannot leave the transform, and is a tracer afterwards.
  module  /BatchNorm_0
  line    `return jax.grad(lambda x: norm(x).sum())(x)`
  expects variables written outside of it
  found   jax.grad around a call of the module
  mend    call the module before jax.grad, which then only reads its variables.
Variable 'var' of collection 'batch_stats' in '/BatchNorm_0' is written inside
  jax.grad: the value cannot leave the transform, and is a tracer afterwards.
  module  /BatchNorm_0
  line    `return jax.grad(lambda x: norm(x).sum())(x)`
  expects variables written outside of it
  found   jax.grad around a call of the module
  mend    call the module before jax.grad, which then only reads its variables.""",
)
def statistics_under_grad() -> Any:
  def call(self: nn.Module, x: Any) -> Any:
    norm = nn.BatchNorm(use_running_average=False, use_bias=False, use_scale=False)
    return jax.grad(lambda x: norm(x).sum())(x)

  model = compact(call)
  return model.apply(model.init(KEY, X), X, mutable="batch_stats")


@warns(
  errors.LeakedTracerWarning,
  """\
Variable 'row' of collection 'intermediates' in '/' is written inside jax.vmap:
  the value cannot leave the transform, and is a tracer afterwards.
  module  /
  line    `return jax.vmap(lambda row: self.sow("intermediates", "row", row))(x)`
  expects a lifted transform, which hands variables out
  found   jax.vmap around a call of the module
  right   nn.vmap(nn.Dense, variable_axes={"intermediates": 0},
          split_rngs={"params": True})(4)(x)""",
)
def sow_under_vmap() -> Any:
  def call(self: nn.Module, x: Any) -> Any:
    return jax.vmap(lambda row: self.sow("intermediates", "row", row))(x)

  return compact(lambda self, x: [call(self, x), x][1]).apply({}, X, mutable="intermediates")


@warns(
  errors.LeakedTracerWarning,
  """\
Variable 'kernel' of collection 'params' in '/Dense_0' is written inside nn.jit
  of <lambda>, by a module from outside of it: the value cannot leave the
  transform, and is a tracer afterwards.
  module  /Dense_0
  line    `return nn.jit(lambda module, x: dense(x))(self, x)`
  lifted  `return nn.jit(lambda module, x: dense(x))(self, x)`
  expects modules that the lifted function is given, or makes
  found   a module that the lifted function closes over
  wrong   layer = nn.Dense(3); nn.jit(lambda module, x: layer(x), ...)(self, x)
  right   nn.jit(lambda module, x: nn.Dense(3)(x), ...)(self, x)""",
)
def outer_module_in_lifted_jit() -> Any:
  def call(self: nn.Module, x: Any) -> Any:
    dense = nn.Dense(2, use_bias=False)
    return nn.jit(lambda module, x: dense(x))(self, x)

  return compact(call).init(KEY, X)


# A key that is drawn inside of a loop or a vmap is one key.


@warns(
  errors.ReusedKeyWarning,
  """\
'/Dropout_0' draws one key of the stream 'dropout' inside jax.vmap: every
  element gets the same random numbers.
  module  /Dropout_0
  line    `drop = compact(lambda self, x: jax.vmap(nn.Dropout(0.5, deterministic=False))(x))`
  expects a key for each element
  found   jax.vmap around a call of the module
  right   nn.vmap(..., split_rngs={"dropout": True})""",
)
def dropout_under_vmap() -> Any:
  drop = compact(lambda self, x: jax.vmap(nn.Dropout(0.5, deterministic=False))(x))
  return drop.apply({}, X, rngs={"dropout": KEY})


@warns(
  errors.ReusedKeyWarning,
  """\
'/Dropout_0' draws one key of the stream 'dropout' inside jax.vmap: every
  element gets the same random numbers.
  module  /Dropout_0
  line    `drop = compact(lambda self, x: jax.vmap(nn.Dropout(0.5, deterministic=False))(x))`
  expects a key for each element
  found   jax.vmap around a call of the module
  right   nn.vmap(..., split_rngs={"dropout": True})""",
)
def dropout_under_vmap_under_jit() -> Any:
  drop = compact(lambda self, x: jax.vmap(nn.Dropout(0.5, deterministic=False))(x))
  return jax.jit(drop.apply)({}, X, rngs={"dropout": KEY})


@warns(
  errors.ReusedKeyWarning,
  """\
'/Dropout_0' draws one key of the stream 'dropout' inside jax.lax.scan: every
  step gets the same random numbers.
  module  /Dropout_0
  line    `return jax.lax.scan(lambda h, row: (h, drop(row)), 0, x)[1]`
  expects a key for each step
  found   jax.lax.scan around a call of the module
  right   nn.scan(..., split_rngs={"dropout": True})""",
)
def dropout_under_scan() -> Any:
  def call(self: nn.Module, x: Any) -> Any:
    drop = nn.Dropout(0.5, deterministic=False)
    return jax.lax.scan(lambda h, row: (h, drop(row)), 0, x)[1]

  return compact(call).apply({}, X, rngs={"dropout": KEY})


@warns(
  errors.ReusedKeyWarning,
  """\
'/' draws one key of the stream 'noise' inside jax.lax.fori_loop: every step
  gets the same random numbers.
  module  /
  line    `return jax.lax.fori_loop(0, 3, lambda i, h: h + jax.random.normal(self.make_rng("noise")), x)`
  expects a key for each step
  found   jax.lax.fori_loop around a call of the module
  right   nn.scan(..., split_rngs={"noise": True})""",
)
def noise_under_fori_loop() -> Any:
  def call(self: nn.Module, x: Any) -> Any:
    return jax.lax.fori_loop(0, 3, lambda i, h: h + jax.random.normal(self.make_rng("noise")), x)

  return compact(call).apply({}, X, rngs={"noise": KEY})


@warns(
  errors.ReusedKeyWarning,
  """\
'/Dropout_0' draws one key of the stream 'dropout' inside nn.vmap of <lambda>:
  every element gets the same random numbers.
  module  /Dropout_0
  line    `return nn.vmap(lambda module, x: drop(x), split_rngs={"dropout": True})(self, x)`
  lifted  `return nn.vmap(lambda module, x: drop(x), split_rngs={"dropout": True})(self, x)`
  expects modules that the lifted function is given, or makes
  found   a module that the lifted function closes over
  wrong   layer = nn.Dense(3); nn.vmap(lambda module, x: layer(x), ...)(self, x)
  right   nn.vmap(lambda module, x: nn.Dense(3)(x), ...)(self, x)""",
)
def outer_dropout_in_lifted_vmap() -> Any:
  def call(self: nn.Module, x: Any) -> Any:
    drop = nn.Dropout(0.5, deterministic=False)
    return nn.vmap(lambda module, x: drop(x), split_rngs={"dropout": True})(self, x)

  return compact(call).apply({}, X, rngs={"dropout": KEY})


# What is harmless: parameters that are read, keys for one value, transforms around whole runs.


@silent
def init_under_vmap_makes_one_layer() -> Any:
  return compact(lambda self, x: jax.vmap(nn.Dense(2))(x)).init(KEY, X)


@silent
def parameters_read_in_transforms() -> Any:
  def call(self: nn.Module, x: Any) -> Any:
    dense = nn.Dense(3)
    x = dense(x)
    x = jax.jit(dense)(x) + jax.checkpoint(dense)(x) + jax.vmap(dense)(x)
    x = jax.lax.scan(lambda h, _: (dense(h), None), x, None, length=2)[0]
    return x + jax.grad(lambda x: dense(x).sum())(x)

  model = compact(call)
  variables = model.init(KEY, X)
  return jax.jit(jax.grad(lambda v: model.apply(v, X).sum()))(variables)


@silent
def dropout_in_jit_and_grad() -> Any:
  def call(self: nn.Module, x: Any) -> Any:
    drop = nn.Dropout(0.5, deterministic=False)
    return jax.jit(drop)(x) + jax.grad(lambda x: drop(x).sum())(x)

  return compact(call).apply({}, X, rngs={"dropout": KEY})


@silent
def a_key_of_its_own_for_each_run() -> Any:
  drop = nn.Dropout(0.5, deterministic=False)
  run = jax.vmap(lambda key, x: drop.apply({}, x, rngs={"dropout": key}))
  return run(jax.random.split(KEY, 4), X)


@silent
def whole_runs_in_transforms() -> Any:
  model = nn.Sequential([nn.Dense(3), nn.BatchNorm(use_running_average=False)])
  jax.eval_shape(model.init, KEY, X)
  variables = jax.jit(model.init)(KEY, X)
  stacked = jax.vmap(model.init, in_axes=(0, None))(jax.random.split(KEY, 2), X)

  def step(variables: Any, _: Any) -> Any:
    _, updates = model.apply(variables, X, mutable="batch_stats")
    return {**variables, **updates}, None

  return jax.lax.scan(step, dict(variables), None, length=2), stacked


@silent
def statistics_of_a_value_from_outside() -> Any:
  def call(self: nn.Module, x: Any) -> Any:
    mean = self.variable("state", "mean", lambda: jnp.zeros(3))

    def row(row: Any) -> Any:
      mean.value = jnp.ones(3)
      return row

    return jax.vmap(row)(x)

  return compact(call).apply({"state": {"mean": jnp.zeros(3)}}, X, mutable="state")


@silent
def a_bound_module_in_a_transform() -> Any:
  dense = nn.Dense(2).bind(nn.Dense(2).init(KEY, X))
  return jax.jit(dense)(X), jax.vmap(dense)(X)


@silent
def a_bound_teacher_in_a_lifted_body() -> Any:
  teacher = nn.Dense(3).bind(nn.Dense(3).init(KEY, X))

  def call(self: nn.Module, x: Any) -> Any:
    lifted = nn.scan(lambda m, h, _: (nn.Dense(3)(h) + teacher(h), None), variable_broadcast="params", length=2,
                     split_rngs={"params": False})  # fmt: skip
    return lifted(self, x, None)[0]

  return compact(call).init(KEY, X)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2].__name__)
def test_message(case: Case) -> None:
  run(case)


@pytest.mark.parametrize("program", SILENT, ids=lambda program: program.__name__)
def test_harmless(program: Callable[[], Any]) -> None:
  with warnings.catch_warnings():
    warnings.simplefilter("error", errors.MinilinenWarning)
    program()
