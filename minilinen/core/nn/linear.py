"""May be skipped: layers that multiply by a matrix, as functions of a scope: dense, convolutions, embedding.

Each makes its parameters in the scope that it is given, computes in `dtype` (float32 unless told otherwise, whatever
the input's), and returns an array: `y = scope.child(dense, "hidden")(x, features=32)`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from minilinen.core.scope import Scope
from minilinen.functions import initializers
from minilinen.functions.axes import as_tuple, conv_dimension_numbers, per_axis, positive_axes
from minilinen.functions.initializers import Initializer, default_embed_init, default_kernel_init
from minilinen.functions.known import warn_of_ids


def dense(
  scope: Scope,
  inputs: Any,
  features: int,
  bias: bool = True,
  dtype: Any = jnp.float32,
  precision: Any = None,
  kernel_init: Initializer = default_kernel_init,
  bias_init: Initializer = initializers.zeros,
) -> jax.Array:
  """A linear layer over the last axis: `y = x W + b`.

  Args:
    scope: where `kernel` [in, features] and `bias` [features] live.
    inputs: [..., in].
    features: size of the last axis of the output.
    bias: whether there is a `b`.
    dtype: dtype of the computation.
    precision: of the product, see `jax.lax.Precision`.
    kernel_init, bias_init: initializers.

  Returns:
    [..., features].
  """
  inputs = jnp.asarray(inputs, dtype)
  kernel = scope.param("kernel", kernel_init, (inputs.shape[-1], features))
  kernel = jnp.asarray(kernel, dtype)
  y = lax.dot_general(inputs, kernel, (((inputs.ndim - 1,), (0,)), ((), ())), precision=precision)
  return _with_bias(scope, y, features, dtype, bias_init) if bias else y


def _with_bias(scope: Scope, y: jax.Array, features: int, dtype: Any, init: Initializer) -> jax.Array:
  bias = jnp.asarray(scope.param("bias", init, (features,)), dtype)
  return y + jnp.reshape(bias, (1,) * (y.ndim - 1) + (-1,))


def dense_general(
  scope: Scope,
  inputs: Any,
  features: int | Sequence[int],
  axis: int | Sequence[int] = -1,
  batch_dims: int | Sequence[int] = (),
  bias: bool = True,
  dtype: Any = jnp.float32,
  kernel_init: Initializer = default_kernel_init,
  bias_init: Initializer = initializers.zeros,
  precision: Any = None,
) -> jax.Array:
  """A linear layer over several axes at once, with batch axes of its own kernels.

  Args:
    scope: where `kernel` [batch..., axis..., features...] and `bias` [batch..., features...] live.
    inputs: [batch..., rest..., axis...]; `axis` may be anywhere after the batch axes.
    features: size, or sizes, of the new axes of the output, which come last.
    axis: axis, or axes, of the input that are summed over.
    batch_dims: leading axes that each have their own kernel; all kernels begin with the same values.
    others: as for `dense`.

  Returns:
    [batch..., rest..., features...].

  Raises:
    ValueError: if `batch_dims` are not the leading axes.
  """
  inputs = jnp.asarray(inputs, dtype)
  ndim, features = inputs.ndim, as_tuple(features)
  axis, batch_dims = positive_axes(axis, ndim), positive_axes(batch_dims, ndim)
  n_batch = len(batch_dims)
  if set(batch_dims) != set(range(n_batch)):
    raise ValueError(f"batch_dims {batch_dims} must be consecutive leading dimensions starting from 0.")
  batch_shape = tuple(inputs.shape[ax] for ax in batch_dims)
  kernel_shape = batch_shape + tuple(inputs.shape[ax] for ax in axis) + features
  kernel = scope.param("kernel", _as_matrix(kernel_init, n_batch, len(axis)), kernel_shape)
  kernel = jnp.asarray(kernel, dtype)
  summed = tuple(range(n_batch, n_batch + len(axis)))
  contracted = ((axis, summed), (batch_dims, tuple(range(n_batch))))
  out = lax.dot_general(inputs, kernel, contracted, precision=precision)
  if not bias:
    return out
  b = scope.param("bias", _as_matrix(bias_init, n_batch, 0), batch_shape + features)
  for place in range(n_batch, ndim - len(axis)):
    b = jnp.expand_dims(b, place)
  return out + jnp.asarray(b, dtype)


@functools.lru_cache(maxsize=256)
def _as_matrix(init: Initializer, n_batch: int, n_in: int) -> Any:
  """An initializer that draws one matrix [in, out], without input axes a vector, and repeats it for the batch."""

  def draw(rng: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    batch, rows = shape[:n_batch], shape[n_batch : n_batch + n_in]
    columns = math.prod(shape[n_batch + n_in :])
    flat = (math.prod(rows), columns) if n_in else (columns,)
    draws = [init(rng, flat, dtype) for _ in range(math.prod(batch))]
    return jnp.reshape(jnp.concatenate(draws), shape)

  return draw


def conv(
  scope: Scope,
  inputs: Any,
  features: int,
  kernel_size: int | Sequence[int],
  strides: Sequence[int] | None = None,
  padding: str | Sequence[tuple[int, int]] = "SAME",
  input_dilation: Sequence[int] | None = None,
  kernel_dilation: Sequence[int] | None = None,
  feature_group_count: int = 1,
  bias: bool = True,
  dtype: Any = jnp.float32,
  precision: Any = None,
  kernel_init: Initializer = default_kernel_init,
  bias_init: Initializer = initializers.zeros,
) -> jax.Array:
  """A convolution over any number of spatial axes.

  Args:
    scope: where `kernel` [*kernel_size, in / groups, features] and `bias` [features] live.
    inputs: [batch, spatial..., in].
    features: number of filters.
    kernel_size: size of the window, a number for each spatial axis.
    strides: steps between windows, 1 by default.
    padding: "SAME", "VALID", or (before, after) for each spatial axis.
    input_dilation: dilation of the input, 1 by default; 2 puts a zero between any two entries.
    kernel_dilation: dilation of the window, 1 by default.
    feature_group_count: number of groups that the features fall into.
    others: as for `dense`.

  Returns:
    [batch, spatial..., features].

  Raises:
    ValueError: if the input has not as many axes as the window asks for, or the groups don't divide it.
  """
  inputs, kernel_size = jnp.asarray(inputs, dtype), as_tuple(kernel_size)
  rank = _spatial_rank("conv", inputs, kernel_size)
  in_features = inputs.shape[-1]
  if in_features % feature_group_count != 0:
    raise ValueError(
      f"feature_group_count={feature_group_count} does not divide the {in_features} features of the input."
    )
  kernel_shape = (*kernel_size, in_features // feature_group_count, features)
  kernel = jnp.asarray(scope.param("kernel", kernel_init, kernel_shape), dtype)
  y = lax.conv_general_dilated(
    inputs,
    kernel,
    per_axis(strides, rank),
    padding,
    lhs_dilation=per_axis(input_dilation, rank),
    rhs_dilation=per_axis(kernel_dilation, rank),
    dimension_numbers=conv_dimension_numbers(inputs.ndim),
    feature_group_count=feature_group_count,
    precision=precision,
  )
  return _with_bias(scope, y, features, dtype, bias_init) if bias else y


def conv_transpose(
  scope: Scope,
  inputs: Any,
  features: int,
  kernel_size: int | Sequence[int],
  strides: Sequence[int] | None = None,
  padding: str | Sequence[tuple[int, int]] = "SAME",
  kernel_dilation: Sequence[int] | None = None,
  bias: bool = True,
  dtype: Any = jnp.float32,
  precision: Any = None,
  kernel_init: Initializer = default_kernel_init,
  bias_init: Initializer = initializers.zeros,
) -> jax.Array:
  """A transposed convolution: with strides, the output is larger than the input.

  Args:
    scope: where `kernel` [*kernel_size, in, features] and `bias` [features] live.
    inputs: [batch, spatial..., in].
    strides: how many outputs an input becomes along each axis, 1 by default.
    others: as for `conv`.

  Returns:
    [batch, spatial..., features].

  Raises:
    ValueError: if the input has not as many axes as the window asks for.
  """
  inputs, kernel_size = jnp.asarray(inputs, dtype), as_tuple(kernel_size)
  rank = _spatial_rank("conv_transpose", inputs, kernel_size)
  kernel = scope.param("kernel", kernel_init, (*kernel_size, inputs.shape[-1], features))
  y = lax.conv_transpose(
    inputs,
    jnp.asarray(kernel, dtype),
    per_axis(strides, rank),
    padding,
    rhs_dilation=per_axis(kernel_dilation, rank),
    precision=precision,
  )
  return _with_bias(scope, y, features, dtype, bias_init) if bias else y


def _spatial_rank(layer: str, inputs: jax.Array, kernel_size: tuple[int, ...]) -> int:
  """The number of spatial axes, checked."""
  rank = len(kernel_size)
  if inputs.ndim != rank + 2:
    raise ValueError(
      f"{layer} with kernel_size={kernel_size} needs an input [batch, {rank} spatial axes, features], got shape"
      f" {inputs.shape}."
    )
  return rank


@functools.partial(jax.tree_util.register_dataclass, data_fields=["table"], meta_fields=[])
@dataclass(frozen=True)
class Embedding:
  """A table of vectors, as `embedding` returns it; a pytree.

  Attributes:
    table: [num_embeddings, features].
  """

  table: Any

  def lookup(self, indices: Any) -> jax.Array:
    """Whole numbers [...] to vectors [..., features].

    Raises:
      ValueError: if the numbers are no integers.
    """
    if not jnp.issubdtype(jnp.result_type(indices), jnp.integer):
      raise ValueError(
        f"Input type must be an integer or unsigned integer, got {jnp.result_type(indices)}: use x.astype('int32')."
      )
    warn_of_ids(indices, self.table.shape[0], "the vector at the nearer end")
    return self.table[indices]

  def attend(self, query: jax.Array) -> jax.Array:
    """[..., features] to scores [..., num_embeddings]: how much a query is like each vector."""
    return jnp.dot(query, self.table.T)

  def replace(self, **changes: Any) -> Embedding:
    """The same with some fields changed."""
    return replace(self, **changes)


def embedding(
  scope: Scope, num_embeddings: int, features: int, init_fn: Initializer = default_embed_init
) -> Embedding:
  """A table of vectors for the numbers 0 to `num_embeddings` - 1.

  Args:
    scope: where `table` [num_embeddings, features] lives.
    num_embeddings: how many vectors.
    features: their size.
    init_fn: initializer of the table.

  Returns:
    An `Embedding`, with `lookup` and `attend`.
  """
  return Embedding(scope.param("table", init_fn, (num_embeddings, features)))
