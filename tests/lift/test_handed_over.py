"""Bound methods, closures and references to variables in lifted functions, and what is handed down through several."""

from __future__ import annotations

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from oracle import KEY, KEY2, X, equations, same

import minilinen
import minilinen.errors

pytestmark = pytest.mark.grid


def net(nn, how):
  class Net(nn.Module):
    def setup(self):
      self.first, self.second = nn.Dense(4), nn.Dense(4)
      self.count = self.variable("state", "n", lambda: jnp.zeros(()))
      self.drop = nn.Dropout(0.5, deterministic=False)

    def skip(self, x):
      return x

    def step(self, x):
      self.count.value += 1
      return self.first(x)

    def deep(self, x):
      return self.second(jnp.tanh(self.first(x)))

    def noisy(self, x):
      return self.drop(x)

    def goes_on(self, x):
      return self.count.value < 3

    def double(self, x):
      self.count.value += 1
      return 2 * x

    def __call__(self, x):
      self.first(x), self.second(x), self.drop(x)
      return how(nn, self, x)

  return Net()


def positive(x):
  return jnp.sum(x) > 0


def whole(model, gradient=True):
  """What init and apply give, with the equations of the gradient."""
  keys = {"params": KEY, "dropout": KEY2}
  y, variables = model.init_with_output(keys, X)

  def apply(params):
    return model.apply({**variables, "params": params}, X, rngs=keys, mutable=["state"])

  def loss(params):
    return jnp.sum(jax.tree.leaves(apply(params))[0] ** 2)

  found = y, variables, apply(variables["params"])
  return (*found, equations(jax.make_jaxpr(jax.grad(loss))(variables["params"]))) if gradient else found


SHARED = dict(
  variable_broadcast="params", variable_carry="state", split_rngs={"params": False, "dropout": True}
)
PROGRAMS = {
  "cond of bound methods": lambda nn, s, x: nn.cond(positive(x), s.skip, s.deep, s, x),
  "cond that writes": lambda nn, s, x: nn.cond(positive(x), s.step, s.skip, s, x),
  "cond that draws": lambda nn, s, x: nn.cond(positive(x), s.noisy, s.skip, s, x),
  "cond of a partial": lambda nn, s, x: nn.cond(
    positive(x), partial(lambda m, x, k: m.first(x) * k, k=2), s.skip, s, x
  ),
  "cond over closures": lambda nn, s, x: nn.cond(
    positive(x), lambda m, x: s.first(x), lambda m, x: s.second(x), s, x
  ),
  "cond of a submodule": lambda nn, s, x: nn.cond(
    positive(x), lambda m, x: m(x), lambda m, x: s.second(x), s.first, x
  ),
  "switch of bound methods": lambda nn, s, x: nn.switch(
    positive(x).astype(int), [s.skip, s.step, s.deep], s, x
  ),
  "vjp of a bound method": lambda nn, s, x: nn.vjp(s.deep, s, x)[1](x),
  "in jit": lambda nn, s, x: nn.jit(lambda m, x: nn.cond(positive(x), m.skip, m.step, m, x))(s, x),
  "in jit, of the module outside": lambda nn, s, x: nn.jit(
    lambda m, x: nn.cond(positive(x), s.skip, s.deep, m, x)
  )(s, x),
  "in remat": lambda nn, s, x: nn.remat(lambda m, x: nn.cond(positive(x), m.skip, m.step, m, x))(s, x),
  "in scan": lambda nn, s, x: nn.scan(
    lambda m, c, x: (nn.cond(positive(c), m.noisy, m.step, m, c), x), **SHARED
  )(s, x, x),
  "in vmap": lambda nn, s, x: nn.vmap(
    lambda m, x: nn.cond(positive(x), m.skip, m.deep, m, x),
    variable_axes={"params": None, "state": None},
    split_rngs={"params": False},
  )(s, x),
  "reference to a variable": lambda nn, s, x: nn.remat(lambda m, c, x: x + c.value)(s, s.count, x),
  "reference by name": lambda nn, s, x: nn.remat(lambda m, x, c: x + c.value)(s, x, c=s.count),
  "reference in a list": lambda nn, s, x: nn.jit(lambda m, cs, x: x + cs[0].value)(s, [s.count], x),
  "reference in cond": lambda nn, s, x: nn.cond(
    positive(x), lambda m, c, x: x + c.value, lambda m, c, x: x, s, s.count, x
  ),
}


@pytest.mark.parametrize("how", PROGRAMS.values(), ids=PROGRAMS)
def test_what_lifted_functions_are_given(how):
  same(lambda nn: whole(net(nn, how)))


def test_what_a_closure_writes_is_lost_with_a_warning():
  """No branch sees the tracer of another, and outside is what a branch hands out."""

  def program(nn):
    def how(nn, s, x):
      return nn.cond(positive(x), lambda m, x: s.step(x), lambda m, x: x, s, x)

    with warnings.catch_warnings(record=nn is minilinen) as caught:
      warnings.simplefilter("always")
      found = whole(net(nn, how))
    assert nn is not minilinen or caught[0].category is minilinen.errors.LeakedTracerWarning
    return found

  assert same(program)[2][1]["state"]["n"] == 0


def test_while_loops_of_bound_methods_count():
  def program(nn):
    return whole(
      net(nn, lambda nn, s, x: nn.while_loop(s.goes_on, s.double, s, x, carry_variables="state")),
      gradient=False,
    )

  assert same(program)[2][1]["state"]["n"] == 3


@pytest.mark.parametrize("lift", ["jit", "remat"])
def test_a_reference_writes_the_variable_outside(lift):
  def how(nn, s, x):
    def counted(m, count, x):
      count.value += 1
      return x

    return getattr(nn, lift)(counted)(s, s.count, x)

  assert same(lambda nn: whole(net(nn, how)))[2][1]["state"]["n"] == 2


LIFTS = {
  "jit": lambda nn: nn.jit,
  "remat": lambda nn: nn.remat,
  "jit of remat": lambda nn: lambda cls: nn.jit(nn.remat(cls)),
  "remat of jit": lambda nn: lambda cls: nn.remat(nn.jit(cls)),
  "vmap": lambda nn: partial(
    nn.vmap, in_axes=(0, None), variable_axes={"params": None, "state": None}, split_rngs={"params": False}
  ),
}


@pytest.mark.parametrize("place", ["argument", "argument in a dict", "of a sibling", "field"])
@pytest.mark.parametrize("lift", LIFTS.values(), ids=LIFTS)
def test_a_reference_is_handed_to_a_lifted_class(lift, place):
  def program(nn):
    class Sub(nn.Module):
      cache: object = None

      @nn.compact
      def __call__(self, x, cache):
        cache = self.cache or (cache["of"][0] if isinstance(cache, dict) else cache)
        cache.value += 1
        return nn.Dense(4)(x) + cache.value

    class Sibling(nn.Module):
      @nn.compact
      def __call__(self):
        return self.variable("state", "n", lambda: jnp.zeros(()))

    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        cache = Sibling()() if place == "of a sibling" else self.variable("state", "n", lambda: jnp.zeros(()))
        if place == "field":
          return lift(nn)(Sub)(cache)(x, None)
        return lift(nn)(Sub)()(x, {"of": [cache], "by": 1.0} if place == "argument in a dict" else cache)

    return whole(Net())

  if place == "field" and lift is LIFTS["vmap"]:
    pytest.skip("writes what is shared")
  same(program)


@pytest.mark.parametrize("around", [lambda net: net, lambda net: [net]], ids=["alone", "in a list"])
def test_the_module_around_is_an_argument_of_what_is_compiled(around):
  """Its keys forget their path, and those of the layer below it do too."""

  def program(nn):
    class Layer(nn.Module):
      @nn.compact
      def __call__(self, x, net):
        return nn.Dense(4)(x), jax.tree.leaves(net, is_leaf=lambda m: isinstance(m, nn.Module))[0].make_rng(
          "params"
        )

    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        before = self.make_rng("params")
        return before, nn.jit(Layer)()(x, around(self)), self.make_rng("params")

    class Outer(nn.Module):
      @nn.compact
      def __call__(self, x):
        return Net(name="net")(x)

    return Outer().init_with_output(KEY, X)

  same(program)


# Adaptive computation time, as people write it.


def adaptive(nn, style):
  class Cell(nn.Module):
    @nn.compact
    def __call__(self, h, x):
      return jnp.tanh(nn.Dense(4)(jnp.concatenate([h, x], -1)))

  class Adaptive(nn.Module):
    epsilon: float = 0.01
    most: int = 5

    def setup(self):
      self.cell, self.halt = Cell(), nn.Dense(1)
      self.ponder = self.variable("state", "ponder", lambda: jnp.zeros(()))

    def keep(self, state, x=None):
      return jnp.any(state[2] < 1 - self.epsilon) & (state[3] < self.most)

    def skip(self, state, x):
      return state

    def step(self, state, x):
      h, y, p, n = state
      h = self.cell(h, x)
      q = nn.sigmoid(self.halt(h))[..., 0]
      q = jnp.where(p + q > 1 - self.epsilon, 1 - p, q)
      self.ponder.value += 1
      return h, y + q[:, None] * h, p + q, n + 1

    def maybe(self, state, x):
      return nn.cond(self.keep(state), self.step, self.skip, self, state, x)

    def __call__(self, x):
      state = jnp.zeros_like(x), jnp.zeros_like(x), jnp.zeros(len(x)), jnp.zeros((), int)
      if self.is_initializing():
        return self.step(state, x)
      if style == "while":
        loop = partial(nn.while_loop, carry_variables="state")
        return loop(lambda m, c: m.keep(c), lambda m, c: m.step(c, x), self, state)
      if style == "cond":
        for _ in range(3):
          state = self.maybe(state, x)
        return state

      def body(m, c, _):
        return m.maybe(c, x), None

      body = nn.remat(body) if style == "remat in scan" else body
      return nn.scan(body, **SHARED, length=3)(self, state, None)[0]

  return Adaptive()


@pytest.mark.parametrize("style", ["while", "cond", "scan", "remat in scan"])
def test_adaptive_computation_time(style):
  same(lambda nn: whole(adaptive(nn, style), gradient=style != "while"))


# Variables through several boundaries.

NESTS = [
  "remat scan jit", "jit remat scan", "scan jit remat", "shared remat vmap", "scan vmap", "scan remat shared",
  "vmap shared",
]  # fmt: skip


@pytest.mark.parametrize("nest", NESTS)
def test_variables_are_handed_down(nest):
  def program(nn):
    class Layer(nn.Module):
      @nn.compact
      def __call__(self, c, x):
        count = self.variable("state", "n", lambda: jnp.zeros(()))
        count.value += 1
        return nn.Dense(4)(c) + nn.Dropout(0.5, deterministic=False)(x), count.value

    over = dict(in_axes=(None, None), axis_size=2)
    stacked = dict(variable_axes={"params": 0, "state": 0}, split_rngs={"params": True, "dropout": True})
    shared = dict(variable_axes={"params": None, "state": 0}, split_rngs={"params": False, "dropout": True})
    carried = dict(variable_carry="state", variable_axes={"params": 0}, split_rngs={"params": True})
    lifts = {
      "jit": nn.jit, "remat": nn.remat, "scan": partial(nn.scan, **stacked, length=3),
      "carry": partial(nn.scan, **carried, length=3), "vmap": partial(nn.vmap, **stacked, **over),
      "shared": partial(nn.vmap, **shared, **over),
    }  # fmt: skip
    cls = Layer
    for lift in nest.split():
      cls = lifts[lift](cls)

    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        self.variable("state", "outer", lambda: jnp.zeros(()))
        looped = "scan" in nest or "carry" in nest
        return cls(name="layer")(x, jnp.broadcast_to(x, (3, *x.shape)) if looped else x)

    return whole(Net())

  same(program)


def test_a_reference_is_what_the_trace_says_of_it():
  class Net(minilinen.Module):
    @minilinen.compact
    def __call__(self, x):
      count = self.variable("state", "n", lambda: jnp.zeros(()))
      return minilinen.remat(lambda m, count, x: x + count.value)(self, count, x)

  (lift,) = Net().trace(KEY, X).lifts
  assert "state/n" in str(lift.args[0])
