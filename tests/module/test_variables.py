"""Variables of every collection, random streams, sow and perturb."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from oracle import KEY, KEY2, X, as_flax, raises_as_flax


@as_flax
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
  return (v, C().apply(v, mutable=["counter"]), C().apply(v, mutable=True), C().apply(v, mutable="counter"))


@raises_as_flax("ModifyScopeVariableError")
def test_write_to_an_immutable_collection(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self):
      c = self.variable("counter", "count", lambda: jnp.zeros((), jnp.int32))
      c.value += 1

  return C().apply({"counter": {"count": jnp.zeros(())}})


@as_flax
def test_streams_and_their_fallback(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self, x):
      a = self.make_rng("a")
      d = nn.Dropout(0.5, deterministic=False)(x)
      b = self.make_rng("b")
      p = self.make_rng()
      return (
        a,
        d,
        b,
        p,
        nn.Dropout(0.5, deterministic=False, rng_collection="a")(x),
        self.has_rng("b"),
        self.has_rng("zz"),
      )

  m = C()
  return (
    m.init_with_output({"params": KEY, "a": KEY2}, X),
    m.apply({}, X, rngs={"params": KEY, "dropout": KEY2}),
    m.apply({}, X, rngs=KEY),
    m.apply({}, X, rngs={"a": jax.random.key(0), "params": jax.random.key(1)})[0],
  )


@raises_as_flax("InvalidRngError")
def test_missing_stream(nn):
  return nn.Dropout(0.5, deterministic=False).apply({}, X, rngs={"a": KEY})


@as_flax
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
  return (
    v,
    m.apply(v, X),
    m.apply(v, X, mutable=["intermediates"]),
    m.apply(v, X, mutable=["s"]),
    m.apply(v, X, capture_intermediates=True),
    m.apply(
      v, X, capture_intermediates=lambda md, n: type(md).__name__ == "Dense", mutable=["intermediates"]
    ),
  )


@as_flax
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
  return (v, m.apply(v, X), m.apply({"params": v["params"]}, X), g)


@raises_as_flax("ValueError")
def test_perturbation_of_another_name(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self, x):
      return self.perturb("h", x)

  return C().apply({"perturbations": {"z": X}}, X)


@as_flax
def test_one_name_in_two_collections(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self, x):
      a = self.param("a", nn.initializers.ones, (1,))
      b = self.variable("st", "a", lambda: 1.0)
      return a + b.value

  return C().init(KEY, X)


@as_flax
def test_parameter_that_is_a_tree(nn):

  class A(nn.Module):
    @nn.compact
    def __call__(self, x):
      t = self.param("t", lambda k: {"a": jnp.ones(2), "b": (jnp.zeros(1),)})
      return t["a"]

  v = A().init(KEY, X)
  return (v, A().apply(v, X))
