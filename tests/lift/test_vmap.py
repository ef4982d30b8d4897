"""Lifted vmap: on classes, methods and functions."""

from __future__ import annotations

from typing import Any

from oracle import KEY, X, as_flax, raises_as_flax


@as_flax(
  {
    "params": {"v": {"d": {"kernel": (3, 4, 4), "bias": (3, 4)}}},
    "methods": ((3, 4), (3, 4)),
    "axes of each": ((4, 3), (3, 4)),
  }
)
def test_several_methods(nn):

  class D(nn.Module):
    def setup(self):
      self.d = nn.Dense(4)

    def __call__(self, x):
      return self.d(x)

    def f(self, x):
      return self.d(x) * 2

  class N(nn.Module):
    def setup(self):
      self.v = nn.vmap(
        D, variable_axes={"params": 0}, split_rngs={"params": True}, methods=["__call__", "f"]
      )()

    def __call__(self, x):
      return (self.v(x), self.v.f(x))

  mapped = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}

  class N2(nn.Module):
    def setup(self):
      self.v = nn.vmap(D, **mapped, methods={"__call__": {**mapped, "out_axes": 1}, "f": mapped})()

    def __call__(self, x):
      return (self.v(x), self.v.f(x))

  v = N().init(KEY, X)
  return {**v, "methods": N().apply(v, X), "axes of each": N2().apply(v, X)}


@raises_as_flax("ValueError")
def test_a_function_of_a_module_maps_all_of_its_parameters(nn):
  """Those too that another layer of the module made, without the axis."""

  class N(nn.Module):
    @nn.compact
    def __call__(self, x):
      lifted = nn.vmap(lambda m, x: nn.Dense(2)(x), variable_axes={"params": 0}, split_rngs={"params": True})
      return lifted(self, x) + nn.Dense(2)(x)

  return N().apply(N().init(KEY, X), X)


@as_flax(
  {
    "params": {
      "Net_0": {"Dense_0": {"kernel": (3, 4, 2), "bias": (3, 2)}},
      "Net_1": {"Dense_0": {"kernel": (4, 2), "bias": (2,)}},
      "Dense_0": {"kernel": (4, 2), "bias": (2,)},
      "Dense_1": {"kernel": (4, 2), "bias": (2,)},
    },
    "outputs": ((3, 2), (3, 2), (3, 2)),
  }
)
def test_functions_of_a_module(nn):
  """Of one that a layer is made in, and of two that are there."""

  def vmap(function, axis, **options):
    return nn.vmap(function, variable_axes={"params": axis}, split_rngs={"params": axis == 0}, **options)

  class Net(nn.Module):
    lift: Any

    @nn.compact
    def __call__(self, x):
      return self.lift(lambda net, x: nn.Dense(2)(x))(self, x)

  class N(nn.Module):
    @nn.compact
    def __call__(self, x):
      mapped, rematted = Net(lambda function: vmap(function, 0))(x), Net(nn.remat)(x)
      a, b = nn.Dense(2), nn.Dense(2)
      a(x), b(x)
      return mapped, rematted, vmap(lambda a, b, x: a(x) + b(x), None, in_axes=(None, 0))(a, b, x)

  v = N().init(KEY, X)
  return {**v, "outputs": N().apply(v, X)}


@raises_as_flax("TransformedMethodReturnValueError")
def test_function_that_returns_a_module(nn):

  class N(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.vmap(lambda m, x: nn.Dense(2), variable_axes={"params": 0})(self, x)

  return N().init(KEY, X)


@raises_as_flax("TransformTargetError")
def test_lifted_instance(nn):
  return nn.vmap(nn.Dense(2))
