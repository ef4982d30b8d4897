"""Lifted vmap: on classes, methods and functions."""

from __future__ import annotations

from oracle import KEY, X, as_flax, raises_as_flax


@as_flax
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

  class N2(nn.Module):
    def setup(self):
      self.v = nn.vmap(
        D,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        methods={"__call__": {"out_axes": 1}, "f": {}},
      )()

    def __call__(self, x):
      return (self.v(x), self.v.f(x))

  m = N()
  v = m.init(KEY, X)
  return (v, m.apply(v, X))


@raises_as_flax("ValueError")
def test_functions_of_a_module(nn):

  class N(nn.Module):
    @nn.compact
    def __call__(self, x):
      y = nn.vmap(lambda m, x: nn.Dense(2)(x), variable_axes={"params": 0}, split_rngs={"params": True})(
        self, x
      )
      z = nn.Dense(2)(x)
      w = nn.remat(lambda m, x: nn.Dense(2)(x))(self, x)
      a, b = (nn.Dense(2), nn.Dense(2))
      u = nn.vmap(
        lambda m, o, x: m(x) + o(x),
        variable_axes={"params": None},
        split_rngs={"params": False},
        in_axes=(None, 0),
      )(a, b, x)
      return (y, z, w, u)

  m = N()
  v = m.init(KEY, X)
  return (v, m.apply(v, X))


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
