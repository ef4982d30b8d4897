"""Dropout on arrays: `layers.Dropout` and the functional core's `dropout` bring the key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from minilinen.functions.axes import positive_axes


def drop(inputs: jax.Array, rate: float, rng: Any, broadcast_dims: Sequence[int] = ()) -> jax.Array:
  """Sets a random share of the inputs to zero and scales up the rest.

  Args:
    inputs: [...].
    rate: the share, between 0 and 1.
    rng: a random key.
    broadcast_dims: axes along which all entries have one fate.
  """
  keep = 1.0 - rate
  shape = [
    1 if axis in positive_axes(broadcast_dims, inputs.ndim) else n for axis, n in enumerate(inputs.shape)
  ]
  mask = jax.random.bernoulli(rng, p=keep, shape=shape)
  return lax.select(jnp.broadcast_to(mask, inputs.shape), inputs / keep, jnp.zeros_like(inputs))
