"""Rounding to float8: the scale that an array is divided by, and how the next one is found.

An array is divided by a scale, cut off at float8's largest number and rounded; the scale is the largest absolute
value of the last steps, put at the end of float8's range ("delayed scaling", see `layers/fp8_ops.py`, which
multiplies what is rounded here).

The functions come in threes, as `jax.custom_vjp` wants them: `f`, `f_fwd` and `f_bwd`. The gradients of a scale and
of a history are their next values.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from minilinen.layers.dtypes import Array, Dtype
from minilinen.layers.fp8_meta import as_float, is_meta

Pair = tuple[Array, Array]
"""A scale [1] and its history [amax_history_length], newest value first."""


# Scale and history.


def get_fp8_max(fp8_dtype: Dtype, out_dtype: Dtype) -> Any:
  """The largest number of a float8 dtype, in another dtype."""
  return jnp.finfo(fp8_dtype).max.astype(out_dtype)


def compute_scale(amax: Array, scale: Array, fp8_max: Any, margin: int = 0) -> Array:
  """The scale that maps `amax` to `fp8_max / 2^margin`.

  Args:
    amax: largest absolute value.
    scale: what it was; stays if `amax` is zero or not finite.
    fp8_max: largest number of the float8 dtype.
    margin: powers of two to keep free.

  >>> float(compute_scale(jnp.float32(7.0), jnp.float32(1.0), 448.0))
  0.015625
  """
  before = 1.0 / scale
  inverse = (fp8_max / amax) / (2**margin)
  inverse = jnp.where(amax > 0.0, inverse, before)
  inverse = jnp.where(jnp.isfinite(amax), inverse, before)
  return 1.0 / inverse


def compute_amax_history(x: Array, amax_history: Array) -> Array:
  """The history with the largest absolute value of `x` put first and the oldest dropped."""
  amax = jnp.max(jnp.abs(x)).astype(amax_history.dtype)
  return jnp.roll(amax_history, shift=-1, axis=0).at[0].set(amax)


def update_fp8_meta(x: Array, q_dtype: Dtype, scale: Array, amax_history: Array) -> Pair:
  """Scale and history for the next step; the scale from the history before `x` came."""
  dtype, meta = amax_history.dtype, is_meta(amax_history)
  if meta:
    amax_history, scale = as_float(amax_history), as_float(scale)
  new_scale = compute_scale(jnp.max(amax_history, axis=0), scale, get_fp8_max(q_dtype, jnp.float32))
  new_history = compute_amax_history(x, amax_history)
  if meta:
    new_history = lax.convert_element_type(new_history, dtype)
    new_scale = lax.convert_element_type(new_scale, dtype)
  return new_scale, new_history


# Rounding.


def quantize(x: Array, q_dtype: Dtype, scale: Array, compute_dtype: Dtype) -> Array:
  """`x / scale` in a float8 dtype; what is out of its range becomes its largest number.

  >>> quantize(jnp.array([1.0, 1.1, 9000.0]), jnp.float8_e4m3fn, jnp.array([2.0]), jnp.float32).astype(jnp.float32)
  Array([  0.5   ,   0.5625, 448.    ], dtype=float32)
  """
  largest = get_fp8_max(q_dtype, compute_dtype)
  scaled = x / jnp.broadcast_to(jnp.asarray(as_float(scale), compute_dtype), x.shape)
  return jnp.clip(scaled, -largest, largest).astype(q_dtype)


def dequantize(x: Array, dq_dtype: Dtype, scale: Array) -> Array:
  """`x * scale` in another dtype."""
  return x.astype(dq_dtype) * jnp.broadcast_to(jnp.asarray(as_float(scale), dq_dtype), x.shape)


def qdq(x: Array, q_dtype: Dtype, scale: Array, compute_dtype: Dtype) -> Array:
  """`x` with no more precision than the float8 dtype has."""
  return dequantize(quantize(x, q_dtype, scale, compute_dtype), x.dtype, scale)


def quantize_dequantize_update(
  x: Array, q_dtype: Dtype, scale: Array, amax_history: Array, compute_dtype: Dtype
) -> tuple[Array, Array, Array]:
  """`qdq` with the new scale, the new scale and the new history."""
  new_scale, new_history = update_fp8_meta(x, q_dtype, scale, amax_history)
  return qdq(x, q_dtype, as_float(new_scale), compute_dtype), new_scale, new_history


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def in_qdq(compute_dtype: Dtype, q_dtype: Dtype, inp: Array, scale: Array, amax_history: Array) -> Array:
  """An input in the precision of a float8."""
  return quantize_dequantize_update(inp, q_dtype, scale, amax_history, compute_dtype)[0]


def in_qdq_fwd(
  compute_dtype: Dtype, q_dtype: Dtype, inp: Array, scale: Array, amax_history: Array
) -> tuple[Array, Pair]:
  """Keeps the next scale and history."""
  out, *new = quantize_dequantize_update(inp, q_dtype, scale, amax_history, compute_dtype)
  return out, (new[0], new[1])


def in_qdq_bwd(compute_dtype: Dtype, q_dtype: Dtype, res: Pair, g: Array) -> tuple[Array, Array, Array]:
  """The gradient passes as if nothing had been rounded."""
  return g, *res


in_qdq.defvjp(in_qdq_fwd, in_qdq_bwd)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def out_qdq(compute_dtype: Dtype, q_dtype: Dtype, out: Array, scale: Array, amax_history: Array) -> Array:
  """An output as it is, whose gradient is rounded."""
  return out


def out_qdq_fwd(
  compute_dtype: Dtype, q_dtype: Dtype, out: Array, scale: Array, amax_history: Array
) -> tuple[Array, Pair]:
  """Keeps scale and history."""
  return out, (scale, amax_history)


def out_qdq_bwd(compute_dtype: Dtype, q_dtype: Dtype, res: Pair, g: Array) -> tuple[Array, Array, Array]:
  """Rounds the gradient."""
  return quantize_dequantize_update(g, q_dtype, *res, compute_dtype)


out_qdq.defvjp(out_qdq_fwd, out_qdq_bwd)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def in_q(compute_dtype: Dtype, q_dtype: Dtype, inp: Array, scale: Array, amax_history: Array) -> Pair:
  """An input as a float8, and the scale that it was divided by."""
  return in_q_fwd(compute_dtype, q_dtype, inp, scale, amax_history)[0]


def in_q_fwd(
  compute_dtype: Dtype, q_dtype: Dtype, inp: Array, scale: Array, amax_history: Array
) -> tuple[Pair, Pair]:
  """Keeps the next scale and history."""
  new_scale, new_history = update_fp8_meta(inp, q_dtype, scale, amax_history)
  return (quantize(inp, q_dtype, new_scale, compute_dtype), new_scale), (new_scale, new_history)


def in_q_bwd(compute_dtype: Dtype, q_dtype: Dtype, res: Pair, _: Any) -> tuple[None, Array, Array]:
  """Nothing for the input: its gradient comes by `quantized_dot`."""
  return None, *res


in_q.defvjp(in_q_fwd, in_q_bwd)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def out_dq(dq_type: Dtype, lhs_scale: Array, rhs_scale: Array, out: Array) -> Array:
  """A product of two float8 arrays in another dtype, times both scales."""
  return dequantize(out, dq_type, as_float(lhs_scale) * as_float(rhs_scale))


def out_dq_fwd(dq_type: Dtype, lhs_scale: Array, rhs_scale: Array, out: Array) -> tuple[Array, None]:
  """Keeps nothing."""
  return out_dq(dq_type, lhs_scale, rhs_scale, out), None


def out_dq_bwd(dq_type: Dtype, _: None, g: Array) -> tuple[None, None, Array]:
  """The gradient passes; `quantized_dot` knows the scales."""
  return None, None, g


out_dq.defvjp(out_dq_fwd, out_dq_bwd)
