"""Models whose runs go through everything: several collections, streams, lifted transforms, sharing, setup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import minilinen as nn

KEY = jax.random.key(0)
X = jnp.linspace(-1, 1, 12).reshape(4, 3)
RNGS = {"params": KEY, "dropout": jax.random.key(1), "noise": jax.random.key(2)}


class Small(nn.Module):
  """What a beginner writes."""

  @nn.compact
  def __call__(self, x: Any) -> Any:
    x = nn.BatchNorm(use_running_average=False)(nn.Dense(4)(x))
    x = nn.Dropout(0.5, deterministic=False)(nn.relu(x))
    self.sow("intermediates", "hidden", x)
    return nn.Dense(2, name="head")(x)


class Block(nn.Module):
  """The body of a scan: a residual layer with a counter."""

  @nn.compact
  def __call__(self, x: Any, _: Any) -> Any:
    count = self.variable("counter", "count", lambda: jnp.zeros((), jnp.int32))
    count.value += 1
    return x + nn.Dropout(0.1, deterministic=False)(nn.Dense(x.shape[-1])(nn.LayerNorm()(x))), None


class Lifted(nn.Module):
  """A scan of rematerialised blocks, an ensemble, a branch and a jitted head."""

  def setup(self) -> None:
    axes = {"params": 0, "counter": 0}
    self.blocks = nn.scan(
      nn.remat(Block), variable_axes=axes, split_rngs={"params": True, "dropout": True}, length=3
    )()
    self.ensemble = nn.vmap(
      nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, axis_size=2
    )(3)
    self.head = nn.jit(nn.Dense)(2)
    self.shared = nn.Dense(3)

  def __call__(self, x: Any) -> Any:
    x, _ = self.blocks(self.shared(x), None)
    x = self.ensemble(x).mean(0)
    x = nn.cond(x.sum() > 0, lambda m, x: m.shared(x), lambda m, x: m.shared(-x), self, x)
    return self.head(self.shared(x))


def initialised(model: nn.Module) -> Callable[[], Any]:
  """A run of `init`."""
  return lambda: model.init(RNGS, X)


def applied(model: nn.Module) -> Callable[[], Any]:
  """A run of `apply` that changes what it may."""
  variables = jax.device_get(model.init(RNGS, X))
  return lambda: model.apply(variables, X, rngs=RNGS, mutable=True)


def differentiated(model: nn.Module) -> Callable[[], Any]:
  """A gradient, as a training step has it."""
  variables = jax.device_get(model.init(RNGS, X))

  def loss(params: Any) -> Any:
    out, changed = model.apply({**variables, "params": params}, X, rngs=RNGS, mutable=True)
    return (out**2).sum(), changed

  return lambda: jax.grad(loss, has_aux=True)(variables["params"])


RUNS: dict[str, Callable[[], Any]] = {
  f"{make.__name__} {model.__name__}": (lambda make=make, model=model: make(model()))
  for make in (initialised, applied, differentiated)
  for model in (Small, Lifted)
}
