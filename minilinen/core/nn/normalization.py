"""May be skipped: normalizations as functions of a scope: mean, deviation, scale and shift.

They differ in the axes that mean and deviation are taken over, and in the dtype that they compute in: `batch_norm` and
`group_norm` in float32 whatever the input's, `layer_norm` in that of its input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from minilinen.core.scope import Scope
from minilinen.functions import initializers
from minilinen.functions.axes import positive_axes
from minilinen.functions.initializers import Initializer


def batch_norm(
  scope: Scope,
  x: Any,
  use_running_average: bool = False,
  axis: int | Sequence[int] = -1,
  momentum: float = 0.99,
  epsilon: float = 1e-5,
  dtype: Any = jnp.float32,
  bias: bool = True,
  scale: bool = True,
  bias_init: Initializer = initializers.zeros,
  scale_init: Initializer = initializers.ones,
  axis_name: Any = None,
  axis_index_groups: Any = None,
  kind: str = "batch_stats",
) -> jax.Array:
  """Normalizes each feature over the batch (Ioffe and Szegedy 2015, arXiv:1502.03167).

  Args:
    scope: where `scale`, `bias` and, in the collection `kind`, the running `mean` and `var` live: all in the shape of
      the features, axes of size 1 left out.
    x: [batch, ..., features].
    use_running_average: whether to use the running statistics, not the batch's. If not, `kind` must be mutable, and
      the running statistics are moved towards the batch's.
    axis: the feature axes; mean and variance are taken over all others.
    momentum: how much of the running statistics stays at each call.
    epsilon: added to the variance.
    dtype: of the result.
    bias, scale: whether to shift and to scale.
    bias_init, scale_init: initializers.
    axis_name: name of a mapped axis over which the statistics are averaged too.
    axis_index_groups: groups of indices along that axis, each of which has its own statistics.
    kind: collection of the running statistics.

  Returns:
    The same shape.
  """
  x = jnp.asarray(x, jnp.float32)
  feature_axes = positive_axes(axis, x.ndim)
  reduced = tuple(i for i in range(x.ndim) if i not in feature_axes)

  def average(values: jax.Array) -> jax.Array:
    mean = jnp.mean(values, axis=reduced, keepdims=True)
    return mean if axis_name is None else lax.pmean(mean, axis_name, axis_index_groups=axis_index_groups)

  mean = average(x)
  var = average(lax.square(x)) - lax.square(mean)
  shape = tuple(d for d in mean.shape if d != 1)
  seen_before = scope.has_variable(kind, "mean")
  running_mean = scope.variable(kind, "mean", jnp.zeros, shape, jnp.float32)
  running_var = scope.variable(kind, "var", jnp.ones, shape, jnp.float32)
  if use_running_average:
    mean, var = (jnp.reshape(running.value, mean.shape) for running in (running_mean, running_var))
  elif seen_before:
    for running, new in ((running_mean, mean), (running_var, var)):
      running.value += (1 - momentum) * (jnp.squeeze(new) - running.value)
  y = x - mean
  multiplier = lax.rsqrt(var + epsilon)
  if scale:
    multiplier = multiplier * scope.param("scale", scale_init, shape).reshape(mean.shape)
  y = y * multiplier
  if bias:
    y = y + scope.param("bias", bias_init, shape).reshape(mean.shape)
  return jnp.asarray(y, dtype)


def layer_norm(
  scope: Scope,
  x: jax.Array,
  epsilon: float = 1e-6,
  dtype: Any = jnp.float32,
  bias: bool = True,
  scale: bool = True,
  bias_init: Initializer = initializers.zeros,
  scale_init: Initializer = initializers.ones,
) -> jax.Array:
  """Normalizes each example over its last axis (Ba et al. 2016, arXiv:1607.06450).

  Args:
    scope: where `scale` and `bias` [features] live.
    x: [..., features].
    epsilon: added to the variance.
    dtype: of scale and bias.
    bias, scale: whether to shift and to scale.
    bias_init, scale_init: initializers.

  Returns:
    The same shape, in the dtype that `x` and `dtype` promote to.
  """
  features = x.shape[-1]
  mean = jnp.mean(x, axis=-1, keepdims=True)
  var = jnp.mean(lax.square(x), axis=-1, keepdims=True) - lax.square(mean)
  multiplier = lax.rsqrt(var + epsilon)
  if scale:
    multiplier = multiplier * jnp.asarray(scope.param("scale", scale_init, (features,)), dtype)
  y = (x - mean) * multiplier
  if bias:
    y = y + jnp.asarray(scope.param("bias", bias_init, (features,)), dtype)
  return y


def group_norm(
  scope: Scope,
  x: Any,
  num_groups: int | None = 32,
  group_size: int | None = None,
  epsilon: float = 1e-6,
  dtype: Any = jnp.float32,
  bias: bool = True,
  scale: bool = True,
  bias_init: Initializer = initializers.zeros,
  scale_init: Initializer = initializers.ones,
) -> jax.Array:
  """Normalizes each example over groups of its features (Wu and He 2018, arXiv:1803.08494).

  Args:
    scope: where `scale` and `bias` [1, ..., features] live.
    x: [batch, ..., features].
    num_groups: number of groups; None if `group_size` is given.
    group_size: features of a group, in the place of `num_groups`.
    epsilon: added to the variance.
    dtype: of the result.
    bias, scale: whether to shift and to scale.
    bias_init, scale_init: initializers.

  Returns:
    The same shape.

  Raises:
    ValueError: if both or none of `num_groups` and `group_size` are given, or they don't divide the features.
  """
  x = jnp.asarray(x, jnp.float32)
  groups = _number_of_groups(x.shape[-1], num_groups, group_size)
  grouped = x.reshape(x.shape[:-1] + (groups, x.shape[-1] // groups))
  reduced = (*range(1, x.ndim - 1), x.ndim)
  mean = jnp.mean(grouped, axis=reduced, keepdims=True)
  var = jnp.mean(lax.square(grouped), axis=reduced, keepdims=True) - lax.square(mean)
  y = ((grouped - mean) * lax.rsqrt(var + epsilon)).reshape(x.shape)
  shape = (1,) * (x.ndim - 1) + (x.shape[-1],)
  if scale:
    y = y * scope.param("scale", scale_init, shape)
  if bias:
    y = y + scope.param("bias", bias_init, shape)
  return jnp.asarray(y, dtype)


def _number_of_groups(features: int, num_groups: int | None, group_size: int | None) -> int:
  if (num_groups is None) == (group_size is None):
    raise ValueError(
      f"Either `num_groups` or `group_size` should be specified, but not both of them: got num_groups={num_groups},"
      f" group_size={group_size}. For groups of 16: group_norm(scope, x, num_groups=None, group_size=16)."
    )
  if group_size is not None:
    if features % group_size != 0:
      raise ValueError(f"Number of channels ({features}) is not multiple of the group size ({group_size}).")
    return features // group_size
  assert num_groups is not None
  if num_groups <= 0 or features % num_groups != 0:
    raise ValueError(f"Number of groups ({num_groups}) does not divide the number of channels ({features}).")
  return num_groups
