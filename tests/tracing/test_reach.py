"""What never reaches the output is found, in and out of loops, branches and jitted functions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import minilinen as nn
from minilinen.examples.transformer import Transformer
from minilinen.tracing import Dropped, Spec, Trace, Unused
from minilinen.tracing.recording import trace

KEY = jax.random.key(0)
X = jnp.ones((2, 4))
NOTHING = Unused((), (), ())


class Step(nn.Module):
  """A step of a scan: what it collects needs a layer of its own."""

  @nn.compact
  def __call__(self, carry, _):
    return carry + nn.Dense(4, name="through")(carry), nn.Dense(3, name="collected")(carry)


class Wasteful(nn.Module):
  """Half of what it computes is thrown away."""

  keep: bool = False

  @nn.compact
  def __call__(self, x):
    lost = nn.Dense(7, name="lost")(x)
    steps = nn.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
    x, collected = steps(name="steps")(x, None)
    return (x, lost, collected) if self.keep else x


@pytest.mark.parametrize("run", [lambda f: f, jax.jit, jax.checkpoint], ids=["plain", "jit", "remat"])
def test_parameters_modules_and_results_that_never_reach_the_output(run):
  variables = Wasteful().init(KEY, X)
  found = trace(run(lambda variables, x: Wasteful().apply(variables, x)))(variables, X).unused()
  assert found.inputs == tuple(
    f"variables/params/{path}/{name}" for path in ("lost", "steps/collected") for name in ("bias", "kernel")
  )
  assert found.modules == (("lost",), ("steps", "collected"))
  assert Dropped(("steps",), "scan", 1, Spec((3, 2, 3), "float32")) in found.results


def test_nothing_is_unused_when_all_is_returned():
  variables = Wasteful(keep=True).init(KEY, X)
  found = trace(Wasteful(keep=True).apply)(variables, X)
  assert found.unused() == NOTHING
  assert not found.unused()
  assert Trace.from_json(found.to_json()).unused() == NOTHING


def test_a_gradient_needs_all_of_a_correct_model():
  model = Transformer(2, 16, 2, 32, 8, scanned=True)
  tokens = jnp.ones((1, 8), int)
  variables = model.init(KEY, tokens)
  found = trace(lambda variables, tokens: jax.grad(lambda v: model.apply(v, tokens).sum())(variables))
  assert found(variables, tokens).unused().inputs == ()
  assert found(variables, tokens).unused().modules == ()


def test_what_comes_round_in_a_loop_is_needed():
  def rotate(c, _):
    a, b, unused = c
    return (b, a, unused), None

  def scan(a, b, c):
    return jax.lax.scan(rotate, (a, b, c), None, length=3)[0][0]

  assert trace(scan)(X, X, X).unused().inputs == ("c",)


def test_what_decides_is_needed():
  def loop(limit, x, other):
    carry = jax.lax.while_loop(
      lambda c: c[0] < limit, lambda c: (c[0] + 1, c[1] * x, c[2] + other), (0, x, x)
    )
    return carry[1]

  def branch(p, a, b, c):
    return jax.lax.cond(p, lambda: a, lambda: b)

  assert trace(loop)(3, X, X).unused().inputs == ("other",)
  assert trace(branch)(True, X, X, X).unused().inputs == ("c",)


def test_inputs_are_called_by_the_users_names():
  def step(state, batch, *rest, rate):
    return state["w"] * rate

  batch = {"image": X, "label": X}
  found = trace(step)({"w": X, "v": X}, batch, X, rate=jnp.ones(()))
  assert found.program.names == (
    "state/v", "state/w", "batch/image", "batch/label", "rest[0]", "rate",
  )  # fmt: skip
  assert found.unused().inputs == ("state/v", "batch/image", "batch/label", "rest[0]")
