"""Lifted derivatives: what `vjp`, `jvp`, `grad`, `value_and_grad` and `custom_vjp` give, against Flax to the bit."""

from __future__ import annotations

from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import KEY, KEY2, X, as_flax, core, equal, equations, raises_as_flax, same, shown

import minilinen
from minilinen.tracing import Lift, Passing

pytestmark = pytest.mark.grid

KEYS = {"params": KEY, "noise": KEY2}
# Of `net_of`, whose function was called once.
VARIABLES = {
  "params": {"dense": {"kernel": (4, 3), "bias": (3,)}},
  "state": {"count": 1},
  "constants": {"scale": 1},
}


def net_of(nn, run):
  """A module with parameters, a counter and a constant, that calls `run(self, f, x)` with a function of itself."""

  class Net(nn.Module):
    aux: bool = False

    def setup(self):
      self.dense = nn.Dense(3)
      self.count = self.variable("state", "count", lambda: jnp.zeros(()))
      self.scale = self.variable("constants", "scale", lambda: jnp.ones(()))

    def __call__(self, x):
      def f(net, x):
        net.count.value = net.count.value + 1.0
        y = jnp.sin(net.dense(x) * net.scale.value).sum() + jnp.float32(net.make_rng("noise")[0] % 7)
        return (y, {"hidden": net.dense(x)}) if self.aux else y

      return run(self, f, x)

  return Net


def outcome(nn, run, aux=False, mutable="state"):
  """Init, apply, the jaxpr of apply and the gradient through it."""
  net = net_of(nn, run)(aux)
  y, variables = net.init_with_output(KEYS, X)

  def apply(variables, x):
    return net.apply(variables, x, rngs=KEYS, mutable=mutable)

  def loss(params):
    leaves = jax.tree.leaves(apply({**variables, "params": params}, X))
    return sum(jnp.sum(leaf) for leaf in leaves)

  jaxpr = equations(jax.make_jaxpr(apply)(variables, X))
  return y, variables, apply(variables, X), jaxpr, jax.grad(loss)(variables["params"])


PARAMS, CONSTANTS = {"params": {"dense": {"kernel": (4, 3), "bias": (3,)}}}, {"constants": {"scale": ()}}
VJP_OPTIONS = [
  ({}, PARAMS),
  ({"vjp_variables": "constants"}, CONSTANTS),
  ({"vjp_variables": True}, {**PARAMS, **CONSTANTS, "state": {"count": 0}}),
  ({"vjp_variables": ["params", "constants"]}, {**PARAMS, **CONSTANTS}),
  ({"vjp_variables": False}, {}),
  ({"multi_scope": True}, [PARAMS]),
]


@pytest.mark.parametrize("options, gradients", VJP_OPTIONS, ids=[str(options) for options, _ in VJP_OPTIONS])
@pytest.mark.parametrize("aux", [False, True])
def test_vjp(options, gradients, aux):
  def program(nn):
    def run(net, f, x):
      y, pull, *rest = nn.vjp(f, net, x, has_aux=aux, **options)
      return y, pull(2.0), rest

    return outcome(nn, run, aux)

  _, variables, ((_, (trees, x_t), _), _), *_ = shown(same(program))
  assert variables == VARIABLES
  assert (trees, x_t) == (gradients, (3, 4))


def test_vjp_design():
  """The gradients of a Dense layer, from inside of the model that uses it."""

  class Net(minilinen.Module):
    @minilinen.compact
    def __call__(self, x):
      y, pull = minilinen.vjp(lambda dense, x: dense(x), minilinen.Dense(2), x)
      return pull(jnp.ones_like(y))

  (params_t, x_t), variables = Net().init_with_output(KEY, X)
  assert params_t == {}, "at init there is no variable yet that could have a gradient"
  params_t, x_t = Net().apply(variables, X)
  assert jax.tree.map(jnp.shape, params_t) == {"params": {"kernel": (4, 2), "bias": (2,)}}
  assert x_t.shape == X.shape
  np.testing.assert_array_equal(params_t["params"]["bias"], 3.0)


@pytest.mark.parametrize("has_aux", [False, True])
@pytest.mark.parametrize("transform", ["grad", "value_and_grad"])
def test_grad(transform, has_aux):
  def program(nn):
    return outcome(nn, lambda net, f, x: getattr(nn, transform)(f, net, x, has_aux=has_aux), has_aux)

  _, variables, (given, state), *_ = shown(same(program))
  assert variables == VARIABLES
  hidden, gradient = {"hidden": (3, 3)}, ((3, 4),)
  assert (
    given
    == {
      ("grad", False): gradient,
      ("grad", True): (gradient, hidden),
      ("value_and_grad", False): ((), gradient),
      ("value_and_grad", True): (((), hidden), gradient),
    }[transform, has_aux]
  )
  assert state == {"state": {"count": 2}}


@as_flax(
  (
    ((), ((3, 4), {"a": (3, 4)})),
    {"params": {"Dense_0": {"kernel": (4, 4), "bias": (4,)}}},
  )
)
def test_grad_of_several_arguments(nn):
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.value_and_grad(lambda net, x, y: jnp.sum(nn.Dense(4)(x) * y["a"]), self, x, {"a": x})

  return Net().init_with_output(KEY, X)


@pytest.mark.parametrize("given", ["nothing", "params", "none", "empty", "unknown", "both"])
def test_jvp(given):
  def program(nn):
    def run(net, f, x):
      ones = jax.tree.map(jnp.ones_like, dict(net.variables.get("params", {})))
      ones = {k: dict(v) for k, v in ones.items()}
      tangents = {
        "nothing": {},
        "params": {"params": ones},
        "none": {"params": None},
        "empty": {"params": {}},
        "unknown": {"unknown": {}},
        "both": {"params": ones, "constants": {"scale": jnp.ones(())}},
      }[given if ones else "nothing"]
      return nn.jvp(f, net, (x,), (x,), tangents)

    return outcome(nn, run)

  _, variables, *_ = shown(same(program))
  assert variables == VARIABLES


def signed(nn, grad_vars: Any = "params", nondiff=False):
  class Signed(nn.Module):
    """The sign of the gradient instead of the gradient."""

    @nn.compact
    def __call__(self, x, factor=2.0):
      def f(dense, x, factor):
        return dense(x) * factor

      def forward(dense, x, factor):
        return nn.vjp(f, dense, x, factor)

      def backward(*args):
        pull, y_t = args[-2:]
        params_t, *args_t = pull(y_t)
        return jax.tree.map(jnp.sign, params_t), *(args_t[:1] if nondiff else args_t)

      lifted = nn.custom_vjp(
        f, forward, backward, grad_vars=grad_vars, nondiff_argnums=(2,) if nondiff else ()
      )
      return lifted(nn.Dense(3), x, factor)

  return Signed()


def test_a_trace_says_which_arguments_of_a_custom_gradient_have_none():
  trace = minilinen.trace(signed(minilinen, nondiff=True).init)(KEYS, X)
  assert [lift.static for lift in trace.events(Lift) if lift.kind == "custom_vjp"] == [(2,)]


@pytest.mark.parametrize("nondiff", [False, True])
@pytest.mark.parametrize("grad_vars", ["params", True, ["params", "state"]], ids=str)
def test_custom_vjp(grad_vars, nondiff):
  def program(nn):
    net = signed(nn, grad_vars, nondiff)
    variables = net.init(KEYS, X)

    def loss(variables, x):
      return net.apply(variables, x, rngs=KEYS).sum()

    grads = jax.grad(loss, (0, 1))(variables, X)
    assert set(np.unique(jax.tree.leaves(grads[0])[1])) <= {-1.0, 0.0, 1.0}
    return (
      variables,
      grads,
      equations(jax.make_jaxpr(loss)(variables, X)),
      equations(jax.make_jaxpr(jax.grad(loss, (0, 1)))(variables, X)),
    )

  variables, gradients, *_ = shown(same(program))
  assert variables == {"params": {"Dense_0": {"kernel": (4, 3), "bias": (3,)}}}
  assert gradients == (variables, (3, 4))


def test_custom_vjp_with_state_and_keys():
  def program(nn):
    class Net(nn.Module):
      def setup(self):
        self.dense = nn.Dense(3)
        self.count = self.variable("state", "count", lambda: jnp.zeros(()))

      def __call__(self, x):
        def f(net, x):
          net.count.value = net.count.value + 1.0
          return net.dense(x) + jnp.float32(net.make_rng("noise")[0] % 7)

        def backward(pull, y_t):
          params_t, x_t = pull(y_t)
          return jax.tree.map(jnp.sign, params_t), x_t

        return nn.custom_vjp(f, lambda net, x: nn.vjp(f, net, x), backward)(self, x)

    net = Net()
    variables = net.init(KEYS, X)

    def loss(params, x):
      y, state = net.apply({**variables, "params": params}, x, rngs=KEYS, mutable=["state"])
      return y.sum(), state

    step = jax.value_and_grad(loss, has_aux=True)
    jaxpr = equations(jax.make_jaxpr(step)(variables["params"], X))
    return variables, loss(variables["params"], X), step(variables["params"], X), jaxpr

  variables, *_ = shown(same(program))
  assert variables == {"params": {"dense": {"kernel": (4, 3), "bias": (3,)}}, "state": {"count": 1}}


def test_several_scopes():
  def program(nn):
    class Outer(nn.Module):
      @nn.compact
      def __call__(self, x):
        inner = nn.Dense(4)
        y, pull = nn.vjp(lambda net, other, x: net(other(x)), nn.Dense(5), inner, x, multi_scope=True)
        variables_t, _, x_t = pull(y)
        return variables_t, x_t

    net = Outer()
    variables = net.init(KEY, X)
    return variables, net.apply(variables, X)

  inner, outer = {"kernel": (4, 4), "bias": (4,)}, {"kernel": (4, 5), "bias": (5,)}
  variables, gradients = shown(same(program))
  assert variables == {"params": {"Dense_0": inner, "Dense_1": outer}}
  assert gradients == ([{"params": inner}, {"params": outer}], (3, 4))


def outer_and_inner(nn, run):
  class Outer(nn.Module):
    @nn.compact
    def __call__(self, x):
      return run(nn.Dense(5), nn.Dense(4), x)

  return Outer().init(KEY, X)


@raises_as_flax("NotImplementedError")
def test_vjp_of_several_scopes_must_be_asked_for(nn):
  return outer_and_inner(nn, lambda net, other, x: nn.vjp(lambda net, other, x: net(other(x)), net, other, x))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("given", [{}, {"params": {}}], ids=["nothing", "no params"])
def test_a_module_without_parameters_has_no_gradients(several, given):
  """An empty tree, not an empty collection in it, also where the collection was passed."""

  def gradients(nn: Any) -> Any:
    class Double(nn.Module):
      @nn.compact
      def __call__(self, x):
        return 2 * x

    class Outer(nn.Module):
      @nn.compact
      def __call__(self, x):
        y, backward = nn.vjp(lambda layer, x: layer(x), Double(), x, multi_scope=several)
        return backward(jnp.ones_like(y))

    return Outer().apply(given, X)

  ours, flaxs = gradients(minilinen), gradients(flax.linen)
  assert ours[0] == flaxs[0] == ([{}] if several else {})
  equal(flaxs[1], ours[1])


@pytest.mark.parametrize("transform", ["grad", "value_and_grad"])
def test_grad_over_several_scopes(transform):
  def program(nn):
    def run(net, other, x):
      return getattr(nn, transform)(lambda net, other, x: net(other(x)).sum(), net, other, x)

    return outer_and_inner(nn, run)

  other, net = {"kernel": (4, 4), "bias": (4,)}, {"kernel": (4, 5), "bias": (5,)}
  assert shown(same(program)) == {"params": {"Dense_1": other, "Dense_0": net}}


@raises_as_flax("NotImplementedError")
def test_reduce_axes_is_gone(nn):
  return outer_and_inner(nn, lambda net, _, x: nn.vjp(lambda net, x: net(x), net, x, reduce_axes=("batch",)))


def test_core_gradients_have_the_form_of_the_scopes():
  forms = [lambda a, b: (a, b), lambda a, b: [a], lambda a, b: a, lambda a, b: {"z": a, "y": b}]

  def program(nn):
    def f(scope, x):
      a, b = scope.push("a"), scope.push("b")
      for s in (a, b):
        s.param("k", lambda key: jnp.ones(4))

      def g(tree, x):
        return sum((s.get_variable("params", "k") * x).sum() for s in jax.tree.leaves(tree))

      out = []
      for form in forms:
        y, pull = core(nn).lift.vjp(g, form(a, b), x)
        out.append((y, pull(1.0)))
        ones = jax.tree.map(lambda s: {"params": {"k": jnp.ones(4)}}, form(a, b))
        out.append(core(nn).lift.jvp(g, form(a, b), (x,), (x,), ones))
      return out

    return core(nn).init(f)(KEY, X)

  found, variables = shown(same(program))
  one = {"params": {"k": (4,)}}
  assert variables == {"params": {"a": {"k": (4,)}, "b": {"k": (4,)}}}
  assert [pulled for _, (pulled, _) in found[::2]] == [(one, one), [one], one, {"y": one, "z": one}]


def test_a_scope_inside_another_has_its_gradients_there():
  def f(scope, x):
    a = scope.push("a")
    a.param("k", lambda key: jnp.ones(4))
    _, pull = minilinen.core.vjp(
      lambda both, x: (both[1].get_variable("params", "k") * x).sum(), (scope, a), x
    )
    return pull(1.0)[0]

  (outer, inner), _ = minilinen.core.init(f)(KEY, X)
  assert jax.tree.map(jnp.shape, outer) == {"params": {"a": {"k": (4,)}}}
  assert inner is None


def test_a_module_among_the_primals_has_no_cotangent():
  class Outer(minilinen.Module):
    @minilinen.compact
    def __call__(self, x):
      y, pull = minilinen.vjp(
        lambda net, other, x: net(other(x)), minilinen.Dense(5), minilinen.Dense(4), x, multi_scope=True
      )
      return pull(y)

  variables = Outer().init(KEY, X)
  trees, nothing, x_t = Outer().apply(variables, X)
  assert [sorted(tree["params"]) for tree in trees] == [["bias", "kernel"]] * 2
  assert nothing is None and x_t.shape == X.shape


def test_the_pullback_may_leave_jit():
  """As in JAX a pullback is a pytree, so it can be a result of a compiled function."""

  def f(scope, x):
    scope.param("k", lambda key: jnp.ones(4))
    return minilinen.core.vjp(lambda s, x: (s.get_variable("params", "k") * x).sum(), scope, x)

  variables = minilinen.core.init(f)(KEY, X)[1]
  _, pull = jax.jit(lambda v, x: minilinen.core.apply(f)(v, x))(variables, X)
  equal(pull(1.0)[1], jnp.ones((3, 4)))


def test_gradients_in_the_trace():
  net = signed(minilinen)
  variables = net.init(KEY, X)
  trace = minilinen.trace(jax.grad(lambda v: net.apply(v, X).sum()))(variables)
  (lift,) = [lift for lift in trace.lifts if lift.kind == "custom_vjp"]
  assert Passing(("params",), kind="differentiated", out_of=False) in lift.collections
  assert {body.name for body in lift.items if hasattr(body, "name")} >= {"forward"}
  assert [inner.kind for inner in trace.lifts] == ["custom_vjp", "vjp"]
