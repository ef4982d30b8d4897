"""Layers that bring their input to mean 0 and variance 1, over different axes."""

from collections.abc import Sequence
from typing import Any, cast

import jax.numpy as jnp
from jax import lax

from minilinen.functions.axes import ascending_axes
from minilinen.functions.initializers import ones, zeros
from minilinen.layers.dtypes import Array, Dtype, Initializer, as_dtype, canonicalize_dtype
from minilinen.layers.reparametrized import SpectralNorm as SpectralNorm
from minilinen.layers.reparametrized import WeightNorm as WeightNorm
from minilinen.module import Module, compact, merge_param, nowrap

Axes = int | Sequence[int]


def _abs_sq(x: Array) -> Array:
  """|x|^2; real for complex numbers."""
  if jnp.iscomplexobj(x):
    return lax.square(lax.real(x)) + lax.square(lax.imag(x))
  return lax.square(x)


def compute_stats(
  x: Array,
  axes: Axes,
  dtype: Dtype | None,
  axis_name: str | None = None,
  axis_index_groups: Any = None,
  use_mean: bool = True,
  use_fast_variance: bool = True,
  mask: Array | None = None,
  force_float32_reductions: bool = True,
) -> tuple[Array, Array]:
  """Mean and variance over axes, and over a mapped axis of devices.

  Args:
    x: [...].
    axes: the axes to reduce.
    dtype: dtype of the statistics; at least float32 if `force_float32_reductions`.
    axis_name, axis_index_groups: a mapped axis, as for `jax.lax.pmean`.
    use_mean: whether the mean is subtracted; it is 0 otherwise.
    use_fast_variance: whether the variance is E[x^2] - E[x]^2, which rounds worse, instead of E[(x - E[x])^2].
    mask: which entries count.
  """
  dtype = jnp.result_type(x) if dtype is None else dtype
  if force_float32_reductions:
    dtype = jnp.promote_types(cast(Any, dtype), jnp.float32)
  x = as_dtype(x, dtype)
  axes = ascending_axes(axes, x.ndim)

  def means(*xs: Array) -> list[Array]:
    local = [x.mean(axes, where=mask) for x in xs]
    if axis_name is None:
      return local
    if len(local) == 1:
      return [lax.pmean(local[0], axis_name, axis_index_groups=axis_index_groups)]
    both = lax.pmean(jnp.stack(local, axis=0), axis_name, axis_index_groups=axis_index_groups)
    return [both[i] for i in range(len(local))]

  if not use_mean:
    (var,) = means(_abs_sq(x))
    return jnp.zeros_like(var), var
  if use_fast_variance:
    mean, square = means(x, _abs_sq(x))
    return mean, jnp.maximum(0.0, square - _abs_sq(mean))
  (mean,) = means(x)
  (var,) = means(_abs_sq(x - jnp.expand_dims(mean, axes)))
  return mean, var


class _Norm(Module):
  """What normalizing layers have in common: they scale and shift what they normalized."""

  @nowrap
  def _normalize(self, x: Array, mean: Array, var: Array, reduction_axes: Axes, feature_axes: Axes) -> Array:
    """(x - mean) / sqrt(var + epsilon) * scale + bias.

    Args:
      x: [...].
      mean, var: the shape of `x` without the reduced axes.
      feature_axes: the axes that scale and bias have.
    """
    layer: Any = self
    reduction_axes, feature_axes = (
      ascending_axes(reduction_axes, x.ndim),
      ascending_axes(feature_axes, x.ndim),
    )
    feature_shape = [x.shape[ax] if ax in feature_axes else 1 for ax in range(x.ndim)]
    param_shape = [x.shape[ax] for ax in feature_axes]
    mean, var = lax.expand_dims(mean, reduction_axes), lax.expand_dims(var, reduction_axes)
    args = [x]
    y = x - mean
    factor = lax.rsqrt(var + layer.epsilon)
    if layer.use_scale:
      scale = lax.reshape(
        self.param("scale", layer.scale_init, param_shape, layer.param_dtype), feature_shape
      )
      factor *= scale
      args.append(scale)
    y *= factor
    if getattr(layer, "use_bias", False):
      bias = lax.reshape(self.param("bias", layer.bias_init, param_shape, layer.param_dtype), feature_shape)
      y += bias
      args.append(bias)
    return as_dtype(y, canonicalize_dtype(*args, dtype=layer.dtype))


class BatchNorm(_Norm):
  """Normalizes each feature over the batch (Ioffe & Szegedy 2015, arXiv:1502.03167).

  While training it takes the statistics of the batch and keeps a running average of them in the collection
  "batch_stats" (mean, var); otherwise it takes those.

  Attributes:
    use_running_average: whether to take the running average; given here or in the call.
    axis: the feature axis, or axes; all others are reduced.
    momentum: weight of the past in the running average.
    epsilon: added to the variance.
    dtype: dtype of the result; by default what input and parameters promote to.
    param_dtype: dtype of scale and bias, and of the running average unless `force_float32_reductions`.
    use_bias, use_scale, bias_init, scale_init: the parameters [features...].
    axis_name, axis_index_groups: a mapped axis over which the batch lies too.
    use_fast_variance, force_float32_reductions: see `compute_stats`.
  """

  use_running_average: bool | None = None
  axis: Axes = -1
  momentum: float = 0.99
  epsilon: float = 1e-5
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  use_bias: bool = True
  use_scale: bool = True
  bias_init: Initializer = zeros
  scale_init: Initializer = ones
  axis_name: str | None = None
  axis_index_groups: Any = None
  use_fast_variance: bool = True
  force_float32_reductions: bool = True

  @compact
  def __call__(
    self, x: Array, use_running_average: bool | None = None, *, mask: Array | None = None
  ) -> Array:
    """[...] to the same shape; `mask` says which entries count."""
    use_running_average = merge_param("use_running_average", self.use_running_average, use_running_average)
    feature_axes = ascending_axes(self.axis, x.ndim)
    reduction_axes = tuple(i for i in range(x.ndim) if i not in feature_axes)
    shape = [x.shape[ax] for ax in feature_axes]
    dtype = jnp.float32 if self.force_float32_reductions else self.param_dtype
    running_mean = self.variable("batch_stats", "mean", lambda s: jnp.zeros(s, dtype), shape)
    running_var = self.variable("batch_stats", "var", lambda s: jnp.ones(s, dtype), shape)
    if use_running_average:
      mean, var = running_mean.value, running_var.value
    else:
      initializing = self.is_initializing()
      mean, var = compute_stats(
        x,
        reduction_axes,
        dtype=self.dtype,
        axis_name=None if initializing else self.axis_name,
        axis_index_groups=self.axis_index_groups,
        use_fast_variance=self.use_fast_variance,
        mask=mask,
        force_float32_reductions=self.force_float32_reductions,
      )
      if not initializing:
        running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
        running_var.value = self.momentum * running_var.value + (1 - self.momentum) * var
    return self._normalize(x, mean, var, reduction_axes, feature_axes)


class LayerNorm(_Norm):
  """Normalizes each example over its features (Ba et al. 2016, arXiv:1607.06450).

  Attributes:
    reduction_axes: the axes that are reduced.
    feature_axes: the axes that scale and bias have.
    others: as for `BatchNorm`.
  """

  epsilon: float = 1e-6
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  use_bias: bool = True
  use_scale: bool = True
  bias_init: Initializer = zeros
  scale_init: Initializer = ones
  reduction_axes: Axes = -1
  feature_axes: Axes = -1
  axis_name: str | None = None
  axis_index_groups: Any = None
  use_fast_variance: bool = True
  force_float32_reductions: bool = True

  @compact
  def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
    """[...] to the same shape; `mask` says which entries count."""
    mean, var = compute_stats(
      x, self.reduction_axes, self.dtype, self.axis_name, self.axis_index_groups,
      use_fast_variance=self.use_fast_variance, mask=mask,
      force_float32_reductions=self.force_float32_reductions,
    )  # fmt: skip
    return self._normalize(x, mean, var, self.reduction_axes, self.feature_axes)


class RMSNorm(_Norm):
  """As `LayerNorm` without mean and bias (Zhang & Sennrich 2019, arXiv:1910.07467)."""

  epsilon: float = 1e-6
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  use_scale: bool = True
  scale_init: Initializer = ones
  reduction_axes: Axes = -1
  feature_axes: Axes = -1
  axis_name: str | None = None
  axis_index_groups: Any = None
  use_fast_variance: bool = True
  force_float32_reductions: bool = True

  @compact
  def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
    """[...] to the same shape; `mask` says which entries count."""
    mean, var = compute_stats(
      x, self.reduction_axes, self.dtype, self.axis_name, self.axis_index_groups, use_mean=False,
      use_fast_variance=self.use_fast_variance, mask=mask,
      force_float32_reductions=self.force_float32_reductions,
    )  # fmt: skip
    return self._normalize(x, mean, var, self.reduction_axes, self.feature_axes)


class GroupNorm(_Norm):
  """Normalizes groups of features of each example (Wu & He 2018, arXiv:1803.08494).

  Attributes:
    num_groups, group_size: how many groups, or how large; one of them is None.
    reduction_axes: the axes that are reduced; all but the first by default.
    others: as for `BatchNorm`.
  """

  num_groups: int | None = 32
  group_size: int | None = None
  epsilon: float = 1e-6
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  use_bias: bool = True
  use_scale: bool = True
  bias_init: Initializer = zeros
  scale_init: Initializer = ones
  reduction_axes: Axes | None = None
  axis_name: str | None = None
  axis_index_groups: Any = None
  use_fast_variance: bool = True
  force_float32_reductions: bool = True

  @compact
  def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
    """[batch, ..., features] to the same shape; `mask` says which entries count.

    Raises:
      ValueError: if groups and features don't fit each other.
    """
    reduction_axes = (
      [*range(1, x.ndim - 1), x.ndim - 1]
      if self.reduction_axes is None
      else list(ascending_axes(self.reduction_axes, x.ndim))
    )
    if x.ndim - 1 not in reduction_axes:
      raise ValueError(f"the last axis of the input must be among the reduction axes, got {reduction_axes}.")
    num_groups = self._number_of_groups(x.shape[-1])
    group_size = x.shape[-1] // num_groups
    grouped = x.shape[:-1] + (num_groups, group_size)

    def broadcast(stat: Array) -> Array:
      return jnp.repeat(stat, group_size, axis=-1)

    if mask is not None:
      mask = mask.reshape(mask.shape[:-1] + (num_groups, group_size))
    axes = [*reduction_axes[:-1], x.ndim]
    mean, var = compute_stats(
      x.reshape(grouped), axes, self.dtype, self.axis_name, self.axis_index_groups,
      use_fast_variance=self.use_fast_variance,
      mask=mask,
      force_float32_reductions=self.force_float32_reductions,
    )  # fmt: skip
    return self._normalize(x, broadcast(mean), broadcast(var), reduction_axes[:-1], (x.ndim - 1,))

  @nowrap
  def _number_of_groups(self, channels: int) -> int:
    if (self.num_groups is None) == (self.group_size is None):
      raise ValueError(
        f"Either `num_groups` or `group_size` should be specified, but not both: {self.num_groups}, {self.group_size}."
        " GroupNorm(num_groups=None, group_size=16)."
      )
    if self.group_size is not None:
      if channels % self.group_size != 0:
        raise ValueError(
          f"Number of channels ({channels}) is not multiple of the group size ({self.group_size})."
        )
      return channels // self.group_size
    assert self.num_groups is not None
    if self.num_groups <= 0 or channels % self.num_groups != 0:
      raise ValueError(
        f"Number of groups ({self.num_groups}) does not divide the number of channels ({channels})."
      )
    return self.num_groups


class InstanceNorm(_Norm):
  """Normalizes each feature of each example (Ulyanov et al. 2016, arXiv:1607.08022).

  Attributes:
    feature_axes: the axes that scale and bias have; all others but the first are reduced.
    others: as for `BatchNorm`.
  """

  epsilon: float = 1e-6
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  use_bias: bool = True
  use_scale: bool = True
  bias_init: Initializer = zeros
  scale_init: Initializer = ones
  feature_axes: Axes = -1
  axis_name: str | None = None
  axis_index_groups: Any = None
  use_fast_variance: bool = True
  force_float32_reductions: bool = True

  @compact
  def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
    """[batch, ..., features] to the same shape; `mask` says which entries count.

    Raises:
      ValueError: if the first axis is a feature axis.
    """
    feature_axes = ascending_axes(self.feature_axes, x.ndim)
    if 0 in feature_axes:
      raise ValueError(
        "The channel axes cannot include the leading dimension as this is assumed to be the batch axis."
      )
    reduction_axes = [i for i in range(1, x.ndim) if i not in feature_axes]
    mean, var = compute_stats(
      x, reduction_axes, self.dtype, self.axis_name, self.axis_index_groups,
      use_fast_variance=self.use_fast_variance, mask=mask,
      force_float32_reductions=self.force_float32_reductions,
    )  # fmt: skip
    return self._normalize(x, mean, var, reduction_axes, feature_axes)
