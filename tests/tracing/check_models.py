"""Two small models whose calls `test_check` and `test_check_variables` check, and their variables."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import minilinen as nn
from minilinen import core

KEY = jax.random.key(0)
X = jnp.ones((4, 3))


class Mlp(nn.Module):
  sizes: tuple[int, ...] = (5, 2)

  @nn.compact
  def __call__(self, x: Any) -> Any:
    for size in self.sizes:
      x = nn.Dense(size)(x)
    return x


class Trains(nn.Module):
  @nn.compact
  def __call__(self, x: Any, train: bool = True) -> Any:
    x = nn.BatchNorm(use_running_average=not train)(nn.Dense(3, name="enc")(x))
    return nn.Dropout(0.5, deterministic=not train)(x)


MLP = core.unfreeze(Mlp().init(KEY, X))
TRAINS = core.unfreeze(Trains().init(KEY, X))
