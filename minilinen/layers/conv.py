"""Convolutions over any number of spatial axes: `Conv`, `ConvLocal`, `ConvTranspose`."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from minilinen import errors
from minilinen.functions.axes import conv_dimension_numbers, per_axis
from minilinen.functions.initializers import default_kernel_init, zeros
from minilinen.layers.dtypes import Array, Dtype, Initializer, promote_dtype
from minilinen.layers.injection import chosen
from minilinen.module import Module, compact, nowrap

Padding = str | int | Sequence[int | tuple[int, int]]


def canonicalize_padding(padding: Padding, rank: int) -> Any:
  """Padding as JAX takes it: a name, or (before, after) for each spatial axis.

  Raises:
    ValueError: if it is neither.
  """
  if isinstance(padding, str):
    return padding
  if isinstance(padding, int):
    return [(padding, padding)] * rank
  if isinstance(padding, Sequence) and len(padding) == rank:
    pairs = [(p, p) if isinstance(p, int) else tuple(p) for p in padding if isinstance(p, int) or len(p) == 2]
    if len(pairs) == rank:
      return pairs
  raise ValueError(
    f"Invalid padding format: {padding}, should be str, int, or a sequence of {rank} where each element is an"
    " int or a pair of ints (before, after)."
  )


def _flat_batch(inputs: Array, rank: int) -> tuple[Array, tuple[int, ...] | None]:
  """The input with one batch axis, and the shape of those it had if that was another number."""
  n = inputs.ndim - (rank + 1)
  if n == 1:
    return inputs, None
  if n < 0:
    raise ValueError(
      f"a convolution over {rank} axes needs an input [batch..., {rank} spatial axes, features], got shape"
      f" {inputs.shape}."
    )
  shape = inputs.shape[:n]
  return jnp.reshape(inputs, (math.prod(shape), *inputs.shape[n:])), shape


def _padded(
  inputs: Array, padding: Any, kernel_size: Sequence[int], dilation: Sequence[int]
) -> tuple[Array, Any]:
  """The input padded by hand for the paddings that XLA doesn't know, and the padding left to do."""
  if padding in ("CIRCULAR", "REFLECT"):
    spans = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation)]
    pads = [(0, 0), *(((k - 1) // 2, k // 2) for k in spans), (0, 0)]
    return jnp.pad(inputs, pads, mode="wrap" if padding == "CIRCULAR" else "reflect"), "VALID"
  if padding == "CAUSAL":
    if len(kernel_size) != 1:
      raise ValueError("Causal padding is only implemented for 1D convolutions.")
    return jnp.pad(inputs, [(0, 0), (dilation[0] * (kernel_size[0] - 1), 0), (0, 0)]), "VALID"
  return inputs, padding


def _check_mask(mask: Array | None, kernel_shape: tuple[int, ...]) -> None:
  if mask is not None and mask.shape != kernel_shape:
    raise ValueError(
      f"Mask needs to have the same shape as weights. Shapes are: {mask.shape}, {kernel_shape}"
    )


def _check_size(conv: Any, shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> None:
  """Warns of a kernel size that is one number where the input has several axes to slide over, if that matters."""
  if isinstance(conv.kernel_size, int) and len(shape) > 3 and not _is_pointwise(conv):
    errors.warn(
      errors.KernelSizeWarning(type(conv).__name__, str(conv.path), conv.kernel_size, shape, kernel_shape)
    )


def _is_pointwise(conv: Any) -> bool:
  """Whether a layer does the same over one axis as over several: it looks at each point for itself."""
  steps = (*per_axis(conv.strides, 1), *per_axis(getattr(conv, "input_dilation", 1), 1))
  return conv.kernel_size == 1 and isinstance(conv.padding, str) and all(step == 1 for step in steps)


class _Conv(Module):
  """What `Conv` and `ConvLocal` have in common; see `Conv`."""

  features: int
  kernel_size: int | Sequence[int]
  strides: None | int | Sequence[int] = 1
  padding: Padding = "SAME"
  input_dilation: None | int | Sequence[int] = 1
  kernel_dilation: None | int | Sequence[int] = 1
  feature_group_count: int = 1
  use_bias: bool = True
  mask: Array | None = None
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  precision: Any = None
  kernel_init: Initializer = default_kernel_init
  bias_init: Initializer = zeros
  promote_dtype: Callable[..., Any] = promote_dtype
  conv_general_dilated: Callable[..., Any] | None = None
  conv_general_dilated_cls: Any = None

  @property
  def shared_weights(self) -> bool:
    """Whether every window has the same kernel."""
    raise NotImplementedError

  @compact
  def __call__(self, inputs: Array) -> Array:
    """[batch..., spatial..., in] to [batch..., spatial..., features]."""
    kernel_size = per_axis(self.kernel_size, 1)
    rank = len(kernel_size)
    shape = inputs.shape
    inputs, batch_shape = _flat_batch(inputs, rank)
    strides, input_dilation, kernel_dilation = (
      per_axis(x, rank) for x in (self.strides, self.input_dilation, self.kernel_dilation)
    )
    padding = canonicalize_padding(self.padding, rank)
    inputs, padding = _padded(inputs, padding, kernel_size, kernel_dilation)
    numbers = conv_dimension_numbers(inputs.ndim)
    in_features = inputs.shape[-1]
    conv = chosen(self.conv_general_dilated_cls, self.conv_general_dilated, lax.conv_general_dilated)
    settings: dict[str, Any] = dict(
      lhs_dilation=input_dilation, rhs_dilation=kernel_dilation, dimension_numbers=numbers
    )

    kernel_shape = (*kernel_size, in_features // self.feature_group_count, self.features)
    bias_shape = (self.features,)
    if not self.shared_weights:
      if self.feature_group_count != 1:
        raise NotImplementedError(
          f"`lax.conv_general_dilated_local` has no groups, got {self.feature_group_count}."
        )
      specs = (
        jax.ShapeDtypeStruct(inputs.shape, inputs.dtype),
        jax.ShapeDtypeStruct(kernel_shape, inputs.dtype),
      )
      out = jax.eval_shape(lambda x, k: lax.conv_general_dilated(x, k, strides, padding, **settings), *specs)
      kernel_shape = (*out.shape[1:-1], math.prod(kernel_size) * in_features, self.features)
      bias_shape = out.shape[1:]
    _check_mask(self.mask, kernel_shape)
    _check_size(self, shape, kernel_shape)
    kernel = self.param("kernel", self.kernel_init, kernel_shape, self.param_dtype)
    if self.mask is not None:
      kernel *= self.mask
    bias = self.param("bias", self.bias_init, bias_shape, self.param_dtype) if self.use_bias else None
    inputs, kernel, bias = self.promote_dtype(inputs, kernel, bias, dtype=self.dtype)
    if self.shared_weights:
      settings["feature_group_count"] = self.feature_group_count
      y = conv(inputs, kernel, strides, padding, **settings, precision=self.precision)
    else:
      y = lax.conv_general_dilated_local(
        inputs, kernel, strides, padding, filter_shape=kernel_size, **settings, precision=self.precision
      )
    if bias is not None:
      y += bias.reshape((1,) * (y.ndim - bias.ndim) + bias.shape)
    return y if batch_shape is None else jnp.reshape(y, batch_shape + y.shape[1:])


class Conv(_Conv):
  """A convolution: the same kernel at every place.

  Attributes:
    features: size of the last axis of the output.
    kernel_size: sizes of the window; as many as there are spatial axes.
    strides: steps between windows.
    padding: "SAME", "VALID", "CIRCULAR", "REFLECT", "CAUSAL" (one axis), a number, or (before, after) per axis.
    input_dilation, kernel_dilation: steps between the entries of input and kernel.
    feature_group_count: number of groups of features that don't see each other.
    mask: what the kernel is multiplied by.
    conv_general_dilated: takes the place of `jax.lax.conv_general_dilated`.
    conv_general_dilated_cls: makes it, called without arguments.
    others: as for `Dense`; the kernel is [spatial..., in / groups, features].
  """

  @property
  def shared_weights(self) -> bool:
    return True


class ConvLocal(_Conv):
  """A convolution with a kernel of its own at every place. See `Conv`."""

  @property
  def shared_weights(self) -> bool:
    return False


class ConvTranspose(Module):
  """A transposed convolution: the gradient of a convolution by its input.

  Attributes:
    features, kernel_size, strides, padding, kernel_dilation, mask: as for `Conv`.
    transpose_kernel: whether the kernel is flipped and its feature axes swapped; it is then
      [spatial..., features, in].
    preferred_element_type: dtype to accumulate in.
    others: as for `Dense`.
  """

  features: int
  kernel_size: int | Sequence[int]
  strides: Sequence[int] | None = None
  padding: Padding = "SAME"
  kernel_dilation: Sequence[int] | None = None
  use_bias: bool = True
  mask: Array | None = None
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  precision: Any = None
  kernel_init: Initializer = default_kernel_init
  bias_init: Initializer = zeros
  transpose_kernel: bool = False
  promote_dtype: Callable[..., Any] = promote_dtype
  preferred_element_type: Any = None

  @compact
  def __call__(self, inputs: Array) -> Array:
    """[batch..., spatial..., in] to [batch..., spatial * stride..., features]."""
    kernel_size = per_axis(self.kernel_size, 1)
    rank = len(kernel_size)
    shape = inputs.shape
    inputs, batch_shape = _flat_batch(inputs, rank)
    strides, dilation = per_axis(self.strides, rank), per_axis(self.kernel_dilation, rank)
    in_features = inputs.shape[-1]
    ends = (self.features, in_features) if self.transpose_kernel else (in_features, self.features)
    kernel_shape = (*kernel_size, *ends)
    _check_mask(self.mask, kernel_shape)
    _check_size(self, shape, kernel_shape)
    kernel = self.param("kernel", self.kernel_init, kernel_shape, self.param_dtype)
    if self.mask is not None:
      kernel *= self.mask
    padding = canonicalize_padding(self.padding, rank)
    bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
    inputs, kernel, bias = self.promote_dtype(inputs, kernel, bias, dtype=self.dtype)
    y = lax.conv_transpose(
      inputs,
      kernel,
      strides,
      "VALID" if padding == "CIRCULAR" else padding,
      rhs_dilation=dilation,
      transpose_kernel=self.transpose_kernel,
      precision=self.precision,
      preferred_element_type=self.preferred_element_type,
    )
    if padding == "CIRCULAR":
      y = self._wrapped_around(y, inputs.shape, strides)
    if bias is not None:
      y += lax.reshape(bias, (1,) * (y.ndim - 1) + bias.shape)
    return y if batch_shape is None else jnp.reshape(y, batch_shape + y.shape[1:])

  @nowrap
  def _wrapped_around(self, y: Array, input_shape: tuple[int, ...], strides: Sequence[int]) -> Array:
    """The full result, with what hangs over one end added at the other."""
    scaled = [size * stride for size, stride in zip(input_shape[1:-1], strides)]
    missing = [
      -(size - period) % (2 * period) for size, period in zip(y.shape[1:-1], scaled)
    ]  # to an odd number
    if self.transpose_kernel:
      pads = [(d // 2, -(-d // 2)) for d in missing]
    else:
      pads = [(-(-d // 2), d // 2) for d in missing]
    y = jnp.pad(y, [(0, 0), *pads, (0, 0)])
    for axis, period in enumerate(scaled, 1):
      y = y.reshape(y.shape[:axis] + (-1, period) + y.shape[axis + 1 :])
      y = y.sum(axis=axis)
    return y
