"""Variables of every collection, random streams, sow and perturb."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from oracle import KEY, KEY2, X, as_flax, raises_as_flax

import minilinen as nn
from minilinen import errors


@as_flax([{"counter": {"count": 0}}] + [(1, {"counter": {"count": 1}})] * 3)
def test_counter_forms_of_mutable(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self):
      i = self.has_variable("counter", "count")
      c = self.variable("counter", "count", lambda: jnp.zeros((), jnp.int32))
      if i:
        c.value += 1
      return c.value

  v = C().init(KEY)
  return [v, *(C().apply(v, mutable=mutable) for mutable in (["counter"], True, "counter"))]


@raises_as_flax("ModifyScopeVariableError")
def test_write_to_an_immutable_collection(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self):
      c = self.variable("counter", "count", lambda: jnp.zeros((), jnp.int32))
      c.value += 1

  return C().apply({"counter": {"count": jnp.zeros(())}})


DRAWN = {"a": (2,), "b": (2,), "none named": (2,), "dropout": (3, 4), "dropout by a": (3, 4), "has b": False}


@as_flax(
  {
    "a given": {**DRAWN, "has a": True},
    "dropout given": {**DRAWN, "has a": False},
    "one key, of params": {**DRAWN, "has a": False},
    "typed keys": {**DRAWN, "a": (), "b": (), "none named": (), "has a": True},
  }
)
def test_streams_and_their_fallback(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self, x):
      return {
        "a": self.make_rng("a"),
        "dropout": nn.Dropout(0.5, deterministic=False)(x),
        "b": self.make_rng("b"),
        "none named": self.make_rng(),
        "dropout by a": nn.Dropout(0.5, deterministic=False, rng_collection="a")(x),
        "has a": self.has_rng("a"),
        "has b": self.has_rng("b"),
      }

  m = C()
  return {
    "a given": m.init_with_output({"params": KEY, "a": KEY2}, X)[0],
    "dropout given": m.apply({}, X, rngs={"params": KEY, "dropout": KEY2}),
    "one key, of params": m.apply({}, X, rngs=KEY),
    "typed keys": m.apply({}, X, rngs={"a": jax.random.key(0), "params": jax.random.key(1)}),
  }


@raises_as_flax("InvalidRngError")
def test_missing_stream(nn):
  return nn.Dropout(0.5, deterministic=False).apply({}, X, rngs={"a": KEY})


TWICE = ((3, 4), (3, 4))  # what two calls left


@as_flax(
  {
    "init": {"params": {"Dense_0": {"kernel": (4, 4), "bias": (4,)}}, "s": {"sum": (3, 4)}},
    "nothing mutable": ((3, 4), False),
    "intermediates": (((3, 4), True), {"intermediates": {"h": TWICE}}),
    "s": (((3, 4), False), {"s": {"sum": (3, 4)}}),
    "all captured": (
      ((3, 4), True),
      {"intermediates": {"Dense_0": {"__call__": TWICE}, "h": TWICE, "__call__": (((3, 4), True),)}},
    ),
    "of Dense": (((3, 4), True), {"intermediates": {"Dense_0": {"__call__": TWICE}, "h": TWICE}}),
  }
)
def test_sow_and_captured_intermediates(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self, x):
      d = nn.Dense(4)
      for _ in range(2):
        x = d(x)
        r = self.sow("intermediates", "h", x)
        self.sow("s", "sum", x, reduce_fn=lambda a, b: a + b, init_fn=lambda: 0.0)
      return (x, r)

  m = C()
  v = m.init(KEY, X)
  dense_alone = lambda module, name: type(module).__name__ == "Dense"  # noqa: E731
  return {
    "init": v,
    "nothing mutable": m.apply(v, X),
    "intermediates": m.apply(v, X, mutable=["intermediates"]),
    "s": m.apply(v, X, mutable=["s"]),
    "all captured": m.apply(v, X, capture_intermediates=True),
    "of Dense": m.apply(v, X, capture_intermediates=dense_alone, mutable=["intermediates"]),
  }


@as_flax(
  {
    "variables": {
      "params": {"Dense_0": {"kernel": (4, 4), "bias": (4,)}, "Dense_1": {"kernel": (4, 2), "bias": (2,)}},
      "perturbations": {"h": (3, 4)},
    },
    "loss": (),
    "without perturbations": (),
    "gradient": {"h": (3, 4)},
  }
)
def test_perturb_gives_the_gradient_of_an_intermediate(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self, x):
      x = nn.Dense(4)(x)
      x = self.perturb("h", x)
      return (nn.Dense(2)(x) ** 2).sum()

  m = C()
  v = m.init(KEY, X)
  g = jax.grad(lambda p: m.apply({"params": v["params"], "perturbations": p}, X))(v["perturbations"])
  loss, alone = m.apply(v, X), m.apply({"params": v["params"]}, X)
  return {"variables": v, "loss": loss, "without perturbations": alone, "gradient": g}


@raises_as_flax("ValueError")
def test_perturbation_of_another_name(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self, x):
      return self.perturb("h", x)

  return C().apply({"perturbations": {"z": X}}, X)


@as_flax({"params": {"a": (1,)}, "st": {"a": 1.0}})
def test_one_name_in_two_collections(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self, x):
      a = self.param("a", nn.initializers.ones, (1,))
      b = self.variable("st", "a", lambda: 1.0)
      return a + b.value

  return C().init(KEY, X)


@as_flax(({"params": {"t": {"a": (2,), "b": ((1,),)}}}, (2,)))
def test_parameter_that_is_a_tree(nn):

  class A(nn.Module):
    @nn.compact
    def __call__(self, x):
      t = self.param("t", lambda k: {"a": jnp.ones(2), "b": (jnp.zeros(1),)})
      return t["a"]

  v = A().init(KEY, X)
  return (v, A().apply(v, X))


def test_an_array_is_not_taken_for_two():
  """Flax hands it to the code that wanted two."""

  class Two(nn.Module):
    @nn.compact
    def __call__(self):
      return self.param("w", lambda key: (jnp.ones(2), jnp.ones(3)))

  assert len(Two().apply({"params": {"w": (jnp.ones(2), jnp.ones(3))}})) == 2
  with pytest.raises(errors.ScopeParamTypeError, match=r"its initializer\s+gives arrays of shape"):
    Two().apply({"params": {"w": jnp.ones(2)}})
