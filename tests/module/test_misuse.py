"""Each misuse raises the class of error that Flax raises."""

from __future__ import annotations

import jax.numpy as jnp
from oracle import KEY, X, raises_as_flax


@raises_as_flax("CallCompactUnboundModuleError")
def test_call_of_an_unbound_module(nn):
  return nn.Dense(2)(X)


@raises_as_flax("AssignSubModuleError")
def test_submodule_outside_compact(nn):

  class C(nn.Module):
    def __call__(self, x):
      return nn.Dense(2)(x)

  return C().init(KEY, X)


@raises_as_flax("ValueError")
def test_parameter_outside_compact(nn):

  class C(nn.Module):
    def __call__(self, x):
      return self.param("w", nn.initializers.ones, (1,))

  return C().init(KEY, X)


@raises_as_flax("ApplyScopeInvalidVariablesTypeError")
def test_apply_without_the_collection(nn):
  v = nn.Dense(2).init(KEY, X)
  return nn.Dense(2).apply(v["params"], X)


@raises_as_flax("ApplyScopeInvalidVariablesStructureError")
def test_params_in_params(nn):
  v = nn.Dense(2).init(KEY, X)
  return nn.Dense(2).apply({"params": v}, X)


@raises_as_flax("ScopeCollectionNotFound")
def test_apply_without_variables(nn):
  return nn.Dense(2).apply({}, X)


@raises_as_flax("ScopeParamNotFoundError")
def test_one_parameter_missing(nn):
  return nn.Dense(2).apply({"params": {"bias": jnp.ones(2)}}, X)


@raises_as_flax("ScopeParamShapeError")
def test_parameter_of_another_shape(nn):
  return nn.Dense(2).apply(nn.Dense(3).init(KEY, X), X)


@raises_as_flax("InvalidInstanceModuleError")
def test_init_on_the_class(nn):
  return nn.Dense.init(KEY, X)


@raises_as_flax("ApplyModuleInvalidMethodError")
def test_method_is_a_number(nn):
  return nn.Dense(2).init(KEY, X, method=3)


@raises_as_flax("InvalidRngError")
def test_key_is_a_number(nn):
  return nn.Dense(2).init(3, X)


@raises_as_flax("ValueError")
def test_key_of_a_stream_is_a_number(nn):
  return nn.Dense(2).init({"params": 3}, X)


@raises_as_flax("ValueError")
def test_key_for_apply_is_a_number(nn):
  return nn.Dropout(0.5, deterministic=False).apply({}, X, rngs={"dropout": 3})
