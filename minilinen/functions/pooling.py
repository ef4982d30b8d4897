"""Pooling: one number for each window. All take [batch..., spatial..., features]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax


def pool(
  inputs: Array,
  init: Any,
  reduce_fn: Callable[..., Any],
  window_shape: Sequence[int],
  strides: Sequence[int] | None,
  padding: str | Sequence[tuple[int, int]],
) -> Array:
  """Reduces each window with any function.

  Args:
    inputs: [batch..., spatial..., features]; the batch axes may be missing.
    init: the value that the reduction begins with.
    reduce_fn: of two numbers, associative.
    window_shape: sizes of the window.
    strides: steps between windows, 1 by default.
    padding: "SAME", "VALID", or (before, after) for each spatial axis.

  Raises:
    ValueError: if strides or padding do not fit the window.
  """
  strides = strides or (1,) * len(window_shape)
  if len(window_shape) != len(strides):
    raise ValueError(f"len({window_shape}) must equal len({strides}): a stride for each axis of the window.")
  window_shape, strides = tuple(window_shape), tuple(strides)
  batch_dims = inputs.ndim - (len(window_shape) + 1)
  strides = (1,) * (batch_dims or 1) + strides + (1,)
  dims = (1,) * (batch_dims or 1) + window_shape + (1,)
  single = batch_dims == 0
  if single:
    inputs = inputs[None]
  if inputs.ndim != len(dims):
    raise ValueError(
      f"a window {window_shape} needs {len(window_shape) + 1} axes or more, got shape {inputs.shape}."
    )
  if not isinstance(padding, str):
    pads: list[Any] = [tuple(pad) for pad in padding]
    if len(pads) != len(window_shape) or any(len(pad) != 2 for pad in pads):
      raise ValueError(
        f"padding {tuple(pads)} must have (before, after) for each of {len(window_shape)} spatial axes."
      )
    padding = [(0, 0)] * (batch_dims or 1) + pads + [(0, 0)]
  y = lax.reduce_window(inputs, init, reduce_fn, dims, strides, padding)
  return jnp.squeeze(y, axis=0) if single else y


def avg_pool(
  inputs: Array,
  window_shape: Sequence[int],
  strides: Sequence[int] | None = None,
  padding: str | Sequence[tuple[int, int]] = "VALID",
  count_include_pad: bool = True,
) -> Array:
  """The mean of each window. Arguments as for `pool`.

  Args:
    count_include_pad: whether padding counts as zeros; otherwise it does not count, and the mean has at
      least the precision of float32.
  """
  y = pool(inputs, 0.0, lax.add, window_shape, strides, padding)
  if count_include_pad:
    return y / np.prod(window_shape)
  one_batch_axis = inputs.ndim == len(window_shape) + 2
  ones = jnp.ones((1 if one_batch_axis else inputs.shape[0], *inputs.shape[1:-1], 1))
  return y / pool(ones, 0.0, lax.add, window_shape, strides, padding)


def max_pool(
  inputs: Array,
  window_shape: Sequence[int],
  strides: Sequence[int] | None = None,
  padding: str | Sequence[tuple[int, int]] = "VALID",
) -> Array:
  """The largest number of each window. Arguments as for `pool`."""
  return pool(inputs, -jnp.inf, lax.max, window_shape, strides, padding)


def min_pool(
  inputs: Array,
  window_shape: Sequence[int],
  strides: Sequence[int] | None = None,
  padding: str | Sequence[tuple[int, int]] = "VALID",
) -> Array:
  """The smallest number of each window. Arguments as for `pool`."""
  return pool(inputs, jnp.inf, lax.min, window_shape, strides, padding)
