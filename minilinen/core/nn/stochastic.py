"""May be skipped: dropout as a function of a scope."""

from __future__ import annotations

from typing import Any

import jax

from minilinen.core.scope import Scope
from minilinen.functions.dropping import drop


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
