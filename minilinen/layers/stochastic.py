"""`Dropout`: random zeros while training."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from minilinen.functions.dropping import drop
from minilinen.layers.dtypes import Array
from minilinen.module import Module, compact, merge_param


class Dropout(Module):
  """Sets a share of the inputs to zero and scales up the rest (Srivastava et al. 2014).

  Attributes:
    rate: the share, between 0 and 1.
    broadcast_dims: axes along which all entries have one fate.
    deterministic: whether nothing is dropped; given here or in the call.
    rng_collection: the random stream to draw from.
  """

  rate: float
  broadcast_dims: Sequence[int] = ()
  deterministic: bool | None = None
  rng_collection: str = "dropout"

  @compact
  def __call__(self, inputs: Array, deterministic: bool | None = None, rng: Any = None) -> Array:
    """[...] to the same shape.

    Args:
      inputs: what to drop from.
      deterministic: whether nothing is dropped.
      rng: a key in the place of one from the stream.

    Raises:
      ValueError: if `deterministic` is given nowhere or twice.
      InvalidRngError: if there is no key.
    """
    deterministic = merge_param("deterministic", self.deterministic, deterministic)
    if self.rate == 0.0 or deterministic:
      return inputs
    if self.rate == 1.0:
      return jnp.zeros_like(inputs)
    if rng is None:
      rng = self.make_rng(self.rng_collection)
    return drop(inputs, self.rate, rng, self.broadcast_dims)
