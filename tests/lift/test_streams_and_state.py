"""Lifts: their options, streams, state, sow and sharing inside them, and what settings change."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import KEY, KEY2, X, as_flax, same, same_model, shown

import minilinen

pytestmark = pytest.mark.grid


def stack(nn, features=4, **options):
  class Step(nn.Module):
    @nn.compact
    def __call__(self, carry, x):
      carry = nn.Dense(features)(carry)
      return carry, carry.sum() if x is None else carry.sum() + jnp.sum(x)

  return nn.scan(Step, **{"variable_axes": {"params": 0}, "split_rngs": {"params": True}, **options})


# Of three steps of `stack`, one Dense each.
STACKED = {"params": {"Dense_0": {"kernel": (3, 4, 4), "bias": (3, 4)}}}


def test_vmap_design():
  def build(nn):
    return nn.vmap(nn.Dense, variable_axes={"params": 1}, split_rngs={"params": True})(2)

  assert shown(same_model(build, X)["variables"]) == {"params": {"kernel": (4, 3, 2), "bias": (2, 3)}}


@pytest.mark.parametrize(
  "options, kernel",
  [
    ({"length": 3}, (3, 4, 4)),
    ({"length": 3, "reverse": True}, (3, 4, 4)),
    ({"length": 3, "unroll": 3}, (3, 4, 4)),
    ({"length": 3, "_split_transpose": True}, (3, 4, 4)),
    ({"variable_axes": {"params": 1}, "length": 2}, (4, 2, 4)),
    (
      {"variable_axes": {}, "variable_broadcast": "params", "split_rngs": {"params": False}, "length": 2},
      (4, 4),
    ),
  ],
)
def test_scan_options(options, kernel):
  found = same_model(lambda nn: stack(nn, **options)(), X, None)
  assert found["variables"]["params"]["Dense_0"]["kernel"].shape == kernel


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scan_axes(axis):
  found = same_model(
    lambda nn: stack(nn, in_axes=axis, out_axes=0)(), X, jnp.ones((3, 2) if axis == 0 else (2, 3))
  )
  assert shown(found["variables"]) == STACKED


def test_scan_broadcast_input():
  def build(nn):
    class Step(nn.Module):
      @nn.compact
      def __call__(self, carry, x, scale):
        return nn.Dense(4)(carry) * scale, carry.sum() * x

    axes = {"params": 0}
    return nn.scan(
      Step, variable_axes=axes, split_rngs={"params": True}, in_axes=(0, nn.broadcast), length=3
    )()

  found = same_model(build, X, jnp.arange(3.0), jnp.float32(2.0))
  assert shown(found["variables"]) == STACKED
  assert shown(found["apply"]) == ((3, 4), (3,))


def test_scan_data_transform():
  def double(values):
    return jax.tree.map(lambda v: v * 2, values)

  found = same_model(lambda nn: stack(nn, length=3, data_transform=lambda c, xs: (double(c), xs))(), X, None)
  assert shown(found["variables"]) == STACKED


def test_scan_without_constancy_check():
  found = same_model(lambda nn: stack(nn, length=3, check_constancy_invariants=False)(), X, None, grad=False)
  assert shown(found["variables"]) == STACKED


@as_flax(((3, 4), {"state": {"n": (3,)}}))
def test_in_and_out_axes(nn):
  import flax.core.lift

  lift = minilinen.core.lift if nn is minilinen else flax.core.lift

  class Counter(nn.Module):
    @nn.compact
    def __call__(self, x):
      n = self.variable("state", "n", lambda: jnp.zeros(()))
      n.value = n.value + x.sum()
      return x

  Mapped = nn.vmap(Counter, variable_axes={"state": lift.Out(0)})
  return Mapped().apply({}, X, mutable=["state"])


def test_streams_before_inside_and_after():
  def build(nn):
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        before = self.make_rng("noise")
        drop = nn.vmap(nn.Dropout, split_rngs={"dropout": True, "noise": False}, variable_axes={})
        y = drop(0.5, deterministic=False)(x)
        z = nn.remat(nn.Dropout)(0.5, deterministic=False)(x)
        return before, y, z, self.make_rng("noise"), nn.Dropout(0.5, deterministic=False)(x)

    return Net()

  found = same_model(build, X, streams=("params", "dropout", "noise"), grad=False)
  assert shown(found["apply"]) == ((2,), (3, 4), (3, 4), (2,), (3, 4))


@pytest.mark.parametrize("lift", ["remat", "jit", "vmap", "scan"])
def test_sow_and_state_in_a_lift(lift):
  def build(nn):
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, _=None):
        n = self.variable("state", "n", lambda: jnp.zeros(()))
        n.value = n.value + 1.0
        x = nn.Dense(4)(x)
        self.sow("intermediates", "x", x)
        return (x, None) if lift == "scan" else x

    axes = {"params": 0, "state": 0, "intermediates": 0}
    if lift in ("vmap", "scan"):
      more = {"length": 2} if lift == "scan" else {}
      return getattr(nn, lift)(Net, variable_axes=axes, split_rngs={"params": True}, **more)()
    return getattr(nn, lift)(Net)()

  args = (X, None) if lift == "scan" else (X,)
  found = same_model(build, *args, mutable=["state", "intermediates"], grad=False)
  axes, count, after = {"vmap": ((3,), (3,), (3,)), "scan": ((2,), (2,), (2,))}.get(lift, ((), 1, 2))
  dense = {"kernel": (*axes, 4, 4), "bias": (*axes, 4)}
  assert shown(found["variables"]) == {"params": {"Dense_0": dense}, "state": {"n": count}}
  sown = (2, 3, 4) if lift == "scan" else (3, 4)
  assert shown(found["apply"][1]) == {"state": {"n": after}, "intermediates": {"x": (sown,)}}


@pytest.mark.parametrize("lift", ["remat", "jit"])
def test_shared_module_in_a_lift(lift):
  def build(nn):
    class Inner(nn.Module):
      shared: Any

      @nn.compact
      def __call__(self, x):
        return self.shared(x) + nn.Dense(4)(x)

    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        dense = nn.Dense(4)
        return getattr(nn, lift)(Inner)(dense)(dense(x)) + dense(x)

    return Net()

  found = same_model(build, X)
  dense, inner = {"kernel": (4, 4), "bias": (4,)}, {"jit": "JitInner_0", "remat": "CheckpointInner_0"}[lift]
  assert shown(found["variables"]) == {"params": {"Dense_0": dense, inner: {"Dense_0": dense}}}


@pytest.mark.parametrize("name", ["static_argnums", "static_argnames"])
def test_jit_static_arguments(name):
  def build(nn):
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, train):
        return nn.Dropout(0.5, deterministic=not train)(nn.Dense(4)(x))

    class Outer(nn.Module):
      @nn.compact
      def __call__(self, x):
        if name == "static_argnums":
          return nn.jit(Net, static_argnums=(2,))()(x, True)
        return nn.jit(Net, static_argnames=("train",))()(x, train=True)

    return Outer()

  found = same_model(build, X, streams=("params", "dropout"))
  assert shown(found["variables"]) == {"params": {"JitNet_0": {"Dense_0": {"kernel": (4, 4), "bias": (4,)}}}}


def test_jit_leaves_the_random_numbers_alone():
  class Net(minilinen.Module):
    lifted: bool

    @minilinen.compact
    def __call__(self, x):
      Dropout = minilinen.jit(minilinen.Dropout) if self.lifted else minilinen.Dropout
      return Dropout(0.5, deterministic=False, name="drop")(x)

  rngs = {"dropout": KEY2}
  for _ in range(3):
    plain, jitted = (Net(lifted).apply({}, X, rngs=rngs) for lifted in (False, True))
    np.testing.assert_array_equal(plain, jitted)


@as_flax(
  {
    "params": {"enc": {"kernel": (4, 2), "bias": (2,)}, "dec": {"kernel": (2, 4), "bias": (4,)}},
    "encode": (3, 2),
    "call": (3, 4),
  }
)
def test_lift_of_several_methods(nn):
  class Auto(nn.Module):
    def setup(self):
      self.enc, self.dec = nn.Dense(2), nn.Dense(4)

    def __call__(self, x):
      return self.decode(self.encode(x))

    def encode(self, x):
      return self.enc(x)

    def decode(self, x):
      return self.dec(x)

  model = nn.remat(Auto, methods=["encode", "decode"])()
  variables = model.init(KEY, X)
  return {
    **variables,
    "encode": model.apply(variables, X, method="encode"),
    "call": model.apply(variables, X),
  }


@pytest.mark.parametrize("kind", ["share_scope", "name_scope"])
def test_scopes_in_a_lift(kind):
  def program(nn):
    class Shared(nn.Module):
      inner: Any

      def setup(self):
        nn.share_scope(self, self.inner)

      def __call__(self, x):
        return self.inner(x)

    class Named(nn.Module):
      @nn.compact_name_scope
      def up(self, x):
        return nn.Dense(3)(x)

      def __call__(self, x):
        return self.up(x)

    model = Shared(nn.Dense(3)) if kind == "share_scope" else nn.remat(Named)()
    return model.init_with_output(KEY, X)

  dense = {"kernel": (4, 3), "bias": (3,)}
  assert shown(same(program)) == (
    (3, 3),
    {"params": {"share_scope": dense, "name_scope": {"up": {"Dense_0": dense}}}[kind]},
  )


# The order in which scopes cross: that of the arguments and results of the program, and of gradients by scope.


def scope_orders(nn, lift, how):
  """A model that lifts a module with others in its fields or among its arguments, none named in order."""

  class Leaf(nn.Module):
    n: int

    @nn.compact
    def __call__(self, x):
      x = nn.Dropout(0.5, deterministic=False)(x)
      return x + self.param("w", nn.initializers.normal(), (self.n, 1, 1)).sum()

  class Pair(nn.Module):
    z: Any
    a: Any

    @nn.compact
    def __call__(self, x):
      return self.a(self.z(x))

  class Tree(nn.Module):
    parts: Any

    @nn.compact
    def __call__(self, x):
      return self.parts["a"][0](self.parts["z"](x))

  class SetUp(Pair):
    def setup(self):
      self.q, self.b = self.a, {"y": self.z, "c": Leaf(3)}

    def __call__(self, x):
      return self.b["c"](self.b["y"](self.q(x)))

  class Later(nn.Module):
    @nn.compact
    def __call__(self, x, z, a):
      return a(z(x))

  def both(net, others, x):
    return others["b"](others["a"](net(x)))

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      z, a = Leaf(1), Leaf(2)
      if how == "fields":
        return lift(Pair)(z, a)(x)
      if how == "fields of fields":
        return lift(Pair)(Pair(z, a), Pair(a, Leaf(3)))(x)
      if how == "dict":
        return lift(Tree)({"z": z, "a": [a]})(x)
      if how == "setup":
        return lift(SetUp)(z, a)(x)
      if how == "keywords":
        return lift(Later)()(x, z=z, a=a)
      if how == "function":
        return lift(lambda net, x: net(x))(Pair(z, a), x)
      z(a(x))  # for Flax, which lifts no function of modules that are new
      return lift(both)(z, {"b": a, "a": z}, x)

  return Net()


ORDERS = ["fields", "fields of fields", "dict", "setup", "keywords", "function", "itself and others"]


@pytest.mark.parametrize("how", ORDERS)
@pytest.mark.parametrize("kind", ["jit", "remat", "fold_rngs"])
def test_scopes_cross_in_the_order_of_their_names(kind, how):
  found = same_model(lambda nn: scope_orders(nn, getattr(nn, kind), how), X, streams=("params", "dropout"))
  leaves = {"Leaf_0": {"w": (1, 1, 1)}, "Leaf_1": {"w": (2, 1, 1)}}
  if how == "fields of fields":
    leaves["Leaf_2"] = {"w": (3, 1, 1)}
  if how == "setup":
    prefix = {"jit": "Jit", "remat": "Checkpoint", "fold_rngs": "Fold_rngs"}[kind]
    leaves[f"{prefix}SetUp_0"] = {"b_c": {"w": (3, 1, 1)}}
  assert shown(found["variables"]) == {"params": leaves}


@as_flax(([{"w": (2, 1, 1)}, {"w": (1, 1, 1)}], (3, 4)))
def test_gradients_of_several_scopes_come_in_the_order_of_their_names(nn):
  class Leaf(nn.Module):
    n: int

    @nn.compact
    def __call__(self, x):
      return x * self.param("w", nn.initializers.normal(), (self.n, 1, 1)).sum()

  class Pair(nn.Module):
    z: Any
    a: Any

    @nn.compact
    def __call__(self, x):
      return self.a(self.z(x))

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      z, a = Leaf(1), Leaf(2)
      y, pull = nn.vjp(lambda net, x: net(x), Pair(z, a), x, multi_scope=True)
      return pull(y)

  trees, x_t = Net().apply(Net().init(KEY, X), X)
  return [tree["params"] for tree in trees if tree.get("params")], x_t


def test_a_lift_is_told_where_its_module_is_when_that_is_among_the_arguments_too():
  class Net(minilinen.Module):
    @minilinen.compact
    def __call__(self, x):
      a, b = minilinen.Dense(4, name="a"), minilinen.Dense(4, name="b")
      b(a(x))
      return minilinen.remat(lambda net, others, x: others[1](others[0](net(x))))(a, (a, b), x)

  found = minilinen.trace(Net().init)(KEY, X)
  assert [lift.path for lift in found.lifts] == [("a",)]
