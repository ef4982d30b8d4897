"""Dropout as a function of a scope; `drop` is the computation on arrays, which `minilinen.layers` uses too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from minilinen.core.nn.axes import positive_axes
from minilinen.core.scope import Scope


def dropout(
  scope: Scope, inputs: jax.Array, rate: float, deterministic: bool = False, rng: Any = None
) -> jax.Array:
  """Sets a share of the inputs to zero and scales up the rest (Srivastava et al. 2014).

  Args:
    scope: gives the key, from the stream "dropout".
    inputs: [...], what to drop from.
    rate: the share, between 0 and 1.
    deterministic: whether nothing is dropped.
    rng: a key in the place of one from the stream.

  Returns:
    [...], the inputs or what is left of them.
  """
  if rate == 0.0 or deterministic:
    return inputs
  if rng is None:
    rng = scope.make_rng("dropout")
  return drop(inputs, rate, rng)


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
