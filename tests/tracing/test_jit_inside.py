"""A user's own `jax.jit` function, called several times inside of modules: each call is in the trace, and is counted.

JAX runs such a function once, when it is called first. What it does is compared with the same model without `jax.jit`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import minilinen as nn
import viz
from minilinen.tracing import Trace

KEY = jax.random.key(0)
X = jnp.ones((2, 5))
INNER = nn.Sequential([nn.Dense(7), nn.relu, nn.Dense(5)])
VARIABLES = INNER.init(KEY, X)
BOUND = INNER.bind(VARIABLES)


def plain(x: Any) -> Any:
  return jnp.tanh(x @ jnp.ones((5, 5)))


def applied(x: Any) -> Any:
  return INNER.apply(VARIABLES, x)


def bound(x: Any) -> Any:
  return BOUND(x)


def alone(fn: Any) -> Any:
  return fn


class Part(nn.Module):
  """Calls a function of the user's twice."""

  fn: Callable[[Any], Any]

  @nn.compact
  def __call__(self, x: Any) -> Any:
    return self.fn(self.fn(nn.Dense(5)(x)))


class Parts(nn.Module):
  """Two modules that call one function of the user's."""

  fn: Callable[[Any], Any]

  @nn.compact
  def __call__(self, x: Any) -> Any:
    return Part(self.fn, name="b")(Part(self.fn, name="a")(x))


class Own(nn.Module):
  """Calls its own layer in a function of the user's."""

  how: Callable[[Any], Any]

  def setup(self) -> None:
    self.layer = nn.Dense(5)

  def __call__(self, x: Any) -> Any:
    fn = self.how(lambda x: self.layer(x))
    return fn(fn(self.layer(x)))


MODELS: dict[str, Callable[[Any], nn.Module]] = {
  "plain": lambda how: Parts(how(plain)),
  "applied": lambda how: Parts(how(applied)),
  "bound": lambda how: Parts(how(bound)),
  "own": Own,
}
# Per function: calls of modules, and FLOPs: a Dense of 5 is 2 * 2 * 5 * 5 + 10 = 110, `plain` 100,
# the two layers of INNER 2 * 2 * 5 * 7 + 14 + 2 * 2 * 7 * 5 + 10 and 14 for relu.
CALLS = {"plain": 5, "applied": 5 + 4 * 3, "bound": 5 + 4 * 3, "own": 4}
FLOPS = {"plain": 2 * 110 + 4 * 100, "applied": 220 + 4 * 318, "bound": 220 + 4 * 318, "own": 3 * 110}


def flops(trace: Trace) -> list[tuple[str, int]]:
  rows = viz.tabulate(trace, compute_flops=True).to_rows()
  return [(row["path"], row["flops"]) for row in rows]


@pytest.mark.parametrize("name", MODELS)
def test_each_call_is_there_and_counts(name: str) -> None:
  inside, jitted = (MODELS[name](how) for how in (alone, jax.jit))
  variables = inside.init(KEY, X)
  expected = nn.trace(inside.apply)(variables, X)
  assert (len(expected.calls()), expected.cost().flops) == (CALLS[name], FLOPS[name])
  for _ in range(2):  # JAX knows the function by then.
    trace = nn.trace(jitted.apply)(variables, X)
    with nn.record() as recorded:
      jitted.apply(variables, X)
    paths = [call.path for call in expected.calls()]
    assert [call.path for call in trace.calls()] == [call.path for call in recorded.calls()] == paths
    assert flops(trace) == flops(expected) and trace.cost().flops == expected.cost().flops
    assert not trace.check() and not recorded.check() and not trace.unused()
    jitted.apply(variables, X)


def test_a_function_belongs_to_each_module_that_calls_it() -> None:
  fn = jax.jit(plain)
  trace = nn.trace(Parts(fn).apply)(Parts(fn).init(KEY, X), X)
  for path in ("a", "b"):
    assert [e.primitive for e in trace.equations(path)].count("dot_general") == 2
