"""Under `jax.checking_leaks()` nothing of ours keeps a tracer: lifted models, tables, traces, runs that fail."""

from __future__ import annotations

import contextlib

import jax
import jax.numpy as jnp
import pytest

import minilinen as nn

pytestmark = pytest.mark.grid

KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
X = jnp.ones((3, 4))


class Layer(nn.Module):
  """It makes arrays in `setup`, and has state, a submodule and random numbers."""

  def setup(self):
    self.dense, self.drop = nn.Dense(4), nn.Dropout(0.5, deterministic=False)
    self.table = jnp.tril(jnp.ones((4, 4)))
    self.count = self.variable("state", "n", lambda: jnp.zeros(()))

  def __call__(self, x, _=None):
    self.count.value += 1
    return self.dense(self.drop(x)) @ self.table

  def step(self, c, x):
    return self(c), x


STACKED = dict(variable_axes={"params": 0, "state": 0}, split_rngs={"params": True, "dropout": True})
LIFTS = {
  "jit": lambda x: nn.jit(Layer)()(x),
  "remat": lambda x: nn.remat(Layer)()(x),
  "vmap": lambda x: nn.vmap(Layer, **STACKED)()(x),
  "scan": lambda x: nn.scan(Layer, **STACKED, length=2, methods=["step"])().step(x, None),
  "remat in scan": lambda x: nn.scan(
    nn.remat(Layer, methods=["step"]), **STACKED, length=2, methods=["step"]
  )().step(x, None),
}


class Net(nn.Module):
  lift: str

  @nn.compact
  def __call__(self, x):
    return LIFTS[self.lift](x)


def failed(model, variables):
  for wrong in ({}, variables):
    with contextlib.suppress(Exception):
      model.apply(wrong, jnp.ones((3, 7)), rngs=KEYS, mutable=["state"])


WAYS = {
  "init": lambda model, variables: model.init(KEYS, X),
  "apply": lambda model, variables: model.apply(variables, X, rngs=KEYS, mutable=["state"]),
  "tabulate": lambda model, variables: model.tabulate(KEYS, X),
  "trace": lambda model, variables: nn.trace(model.init)(KEYS, X),
  "jit of init": lambda model, variables: jax.jit(model.init)(KEYS, X),
  "shapes of init": lambda model, variables: jax.eval_shape(model.init, KEYS, X),
  "checkpoint of init": lambda model, variables: jax.checkpoint(model.init)(KEYS, X),
  "failed": failed,
}


@pytest.mark.parametrize(
  "lift, way",
  [*((lift, "init") for lift in LIFTS), *(("remat in scan", way) for way in WAYS if way != "init")],
)
def test_no_tracer_is_kept(lift, way):
  model = Net(lift)
  variables = model.init(KEYS, X)
  with jax.checking_leaks():
    WAYS[way](model, variables)
