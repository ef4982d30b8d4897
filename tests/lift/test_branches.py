"""`cond`, `switch` and `while_loop` over modules and scopes, against Flax to the bit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from oracle import KEY, KEY2, X, as_flax, core, equations, raises_as_flax, same, shown

import minilinen

pytestmark = pytest.mark.grid

DENSE = {"kernel": (4, 4), "bias": (4,)}
KEYS = {"params": KEY, "noise": KEY2, "kept": jax.random.PRNGKey(5)}


def noise(module, stream="noise"):
  return jnp.float32(module.make_rng(stream)[0] % 7)


def outcome(net, *args, mutable=("state",)):
  """Init, apply, the jaxpr of apply and the gradient through it."""
  y, variables = net.init_with_output(KEYS, *args)

  def apply(variables, *args):
    return net.apply(variables, *args, rngs=KEYS, mutable=mutable)

  def loss(params):
    return sum(jnp.sum(x) for x in jax.tree.leaves(apply({**variables, "params": params}, *args)))

  grads = jax.grad(loss)(variables["params"]) if mutable != ("loop",) else None
  return y, variables, apply(variables, *args), equations(jax.make_jaxpr(apply)(variables, *args)), grads


def choosing(nn, **options):
  class Net(nn.Module):
    def setup(self):
      self.dense = nn.Dense(4)
      self.other = nn.Dense(4)
      self.count = self.variable("state", "count", lambda: jnp.zeros(()))

    def __call__(self, x, flip):
      if self.is_initializing():
        self.dense(x), self.other(x)

      def yes(net, x):
        net.count.value = net.count.value + 1.0
        return net.dense(x) + noise(net)

      def no(net, x):
        return net.other(x) * noise(net)

      return nn.cond(flip, yes, no, self, x, **options) + noise(self)

  return Net()


@pytest.mark.parametrize("options", [{}, {"variables": ["params", "state"]}, {"rngs": ["noise"]}], ids=str)
@pytest.mark.parametrize("flip", [True, False])
def test_cond(flip, options):
  found = same(lambda nn: outcome(choosing(nn, **options), X, flip))
  counted = {"count": 1 if flip else 0}
  assert shown(found[1]) == {"params": {"dense": DENSE, "other": DENSE}, "state": counted}


@raises_as_flax("TypeError")
def test_branches_that_create_different_variables(nn):
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x, flip):
      def no(net, x):
        return x * net.param("scale", nn.initializers.ones, (4,))

      return nn.cond(flip, lambda net, x: x, no, self, x)

  return Net().init(KEY, X, True)


@as_flax(((3, 4), {"params": {"scale": (4,)}}))
def test_cond_in_a_compact_method(nn):
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x, flip):
      self.param("scale", nn.initializers.ones, (4,))

      def branch(factor):
        return lambda net, x: factor * net.get_variable("params", "scale") * x

      return nn.cond(flip, branch(2.0), branch(3.0), self, x)

  return Net().init_with_output(KEY, X, True)


@as_flax([{"Dense_0": DENSE, "Dense_1": {"kernel": (4, 2), "bias": (2,)}}] * 2)
def test_layers_made_in_branches(nn):
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x, flip):
      def branch(net, x):
        return nn.Dense(4)(x)

      y = nn.cond(flip, branch, branch, self, x)
      return nn.Dense(2)(y)

  return [Net().init(KEYS, X, flip)["params"] for flip in (True, False)]


@pytest.mark.parametrize("index", [0, 1, 2, 7])
def test_switch(index):
  def program(nn):
    class Net(nn.Module):
      def setup(self):
        self.layers = [nn.Dense(4) for _ in range(3)]
        self.count = self.variable("state", "count", lambda: jnp.zeros(()))

      def __call__(self, x, index):
        if self.is_initializing():
          [layer(x) for layer in self.layers]

        def branch(i):
          def run(net, x):
            net.count.value = net.count.value + i
            return net.layers[i](x) + noise(net)

          return run

        return nn.switch(index, [branch(i) for i in range(3)], self, x)

    return outcome(Net(), X, index)

  layers = {"layers_0": DENSE, "layers_1": DENSE, "layers_2": DENSE}
  assert shown(same(program)[1]) == {"params": layers, "state": {"count": min(index, 2)}}


def looping(nn, **options):
  class Net(nn.Module):
    def setup(self):
      self.dense = nn.Dense(4)
      self.count = self.variable("state", "count", lambda: jnp.zeros((), jnp.int32))
      self.scale = self.variable("constants", "scale", lambda: jnp.ones(()))

    def __call__(self, x):
      if self.is_initializing():
        self.dense(x)

      def goes_on(net, carry):
        if net.has_rng("noise") and options.get("draws"):
          noise(net)
        return carry[0] < 3

      def body(net, carry):
        net.count.value = net.count.value + 1
        extra = sum(noise(net, s) for s in ("noise", "kept") if s in options.get("split_rngs", {}))
        return carry[0] + 1, net.dense(carry[1]) * net.scale.value + extra

      loop = {k: v for k, v in options.items() if k != "draws"}
      return nn.while_loop(goes_on, body, self, (0, x), carry_variables="state", **loop)

  return Net()


WHILE_OPTIONS = [
  {},
  {"split_rngs": {"noise": True}},
  {"split_rngs": {"noise": True}, "draws": True},
  {"split_rngs": {"noise": True, "kept": False}},
  {"split_rngs": {"noise": False}, "draws": True},
  {"broadcast_variables": ["params", "constants"]},
]


@pytest.mark.parametrize("options", WHILE_OPTIONS, ids=str)
def test_while_loop(options):
  def program(nn):
    net = looping(nn, **options)
    y, variables = net.init_with_output(KEYS, X)

    def apply(variables, x):
      return net.apply(variables, x, rngs=KEYS, mutable=["state"])

    return y, variables, apply(variables, X), equations(jax.make_jaxpr(apply)(variables, X))

  assert shown(same(program)[1]) == {
    "params": {"dense": DENSE},
    "state": {"count": 3},
    "constants": {"scale": 1},
  }


@raises_as_flax("ModifyScopeVariableError")
def test_while_loop_without_carried_state(nn):
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      count = self.variable("state", "count", lambda: jnp.zeros(()))

      def body(net, carry):
        net.put_variable("state", "count", count.value + 1.0)
        return carry + 1

      return nn.while_loop(lambda net, carry: carry < 3, body, self, 0)

  return Net().init(KEY, X)


@as_flax((((3, 4), 5), {"params": {"k": (4,)}, "state": {"count": 5}}))
def test_core_branches_and_loops(nn):
  lift = core(nn).lift

  def f(scope, x):
    scope.param("k", lambda key: jnp.ones(4))
    count = scope.variable("state", "count", lambda: jnp.zeros(()))

    def step(scope, x):
      scope.put_variable("state", "count", scope.get_variable("state", "count") + 1.0)
      return x * scope.get_variable("params", "k")

    x = lift.cond(True, step, lambda scope, x: x, scope, x)
    x = lift.switch(1, [step, step, step], scope, x)
    x = lift.while_loop(
      lambda s, c: s.get_variable("state", "count") < 5.0, step, scope, x, carry_variables="state"
    )
    return x, count.value

  return core(nn).init(f)(KEY, X)


def test_branches_in_the_trace():
  net = choosing(minilinen)
  trace = minilinen.trace(net.init)(KEYS, X, True)
  (lift,) = trace.lifts
  assert lift.kind == "cond" and [body.name for body in lift.items] == ["branch 0", "branch 1"]
  for event in trace.events(minilinen.events.Key):
    root = KEYS[event.served]
    assert minilinen.replay_key(event, root).shape == (2,)


def test_keys_of_a_loop_are_replayed_step_by_step():
  drawn = []

  class Net(minilinen.Module):
    def __call__(self, x):
      def body(net, step):
        key = net.make_rng("noise")
        jax.debug.callback(lambda step, key: drawn.append((int(step), key)), step, key)
        return step + 1

      return minilinen.while_loop(lambda net, step: step < 3, body, self, x, split_rngs={"noise": True})

  with minilinen.record() as trace:
    Net().apply({}, jnp.int32(0), rngs={"noise": KEY})
  jax.effects_barrier()
  (event,) = trace.events(minilinen.events.Key)
  assert event.steps[0] == ("step", 1)
  assert len(drawn) == 3
  for step, key in drawn:
    assert (minilinen.replay_key(event, KEY, steps=(step,)) == key).all()
  with pytest.raises(ValueError, match=r"another in every step of a while_loop.*steps=\(0,\)"):
    minilinen.replay_key(event, KEY)
  assert minilinen.Trace.from_json(trace.to_json()) == trace
