"""Layers that multiply by a matrix: `Dense`, `DenseGeneral`, `Einsum`, `Embed`.

`nn.linear` is this file, and Linen's users find the convolutions there too, so it names them.
"""

import functools
import math
import string
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import lax

from minilinen.functions.axes import as_tuple, ascending_axes
from minilinen.functions.initializers import default_embed_init, default_kernel_init, zeros
from minilinen.functions.known import warn_of_ids
from minilinen.layers.conv import Conv as Conv
from minilinen.layers.conv import ConvLocal as ConvLocal
from minilinen.layers.conv import ConvTranspose as ConvTranspose
from minilinen.layers.conv import canonicalize_padding as canonicalize_padding
from minilinen.layers.dtypes import Array, Dtype, Initializer, promote_dtype
from minilinen.layers.dtypes import PrecisionLike as PrecisionLike
from minilinen.layers.injection import chosen
from minilinen.module import Module, compact, merge_param, nowrap


class Dense(Module):
  """A linear layer over the last axis: `y = x W + b`.

  Attributes:
    features: size of the last axis of the output.
    use_bias: whether there is a `b`.
    dtype: dtype of the computation; by default what inputs and parameters promote to.
    param_dtype: dtype of the parameters.
    precision: of the product, see `jax.lax.Precision`.
    kernel_init, bias_init: initializers of `W` [in, features] and `b` [features].
    promote_dtype: brings inputs and parameters to one dtype.
    dot_general: takes the place of `jax.lax.dot_general`.
    dot_general_cls: makes it, called without arguments.
  """

  features: int
  use_bias: bool = True
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  precision: Any = None
  kernel_init: Initializer = default_kernel_init
  bias_init: Initializer = zeros
  promote_dtype: Callable[..., Any] = promote_dtype
  dot_general: Callable[..., Array] | None = None
  dot_general_cls: Any = None

  @compact
  def __call__(self, inputs: Array) -> Array:
    """[..., in] to [..., features]."""
    kernel = self.param("kernel", self.kernel_init, (jnp.shape(inputs)[-1], self.features), self.param_dtype)
    bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
    inputs, kernel, bias = self.promote_dtype(inputs, kernel, bias, dtype=self.dtype)
    dot_general = chosen(self.dot_general_cls, self.dot_general, lax.dot_general)
    y = dot_general(inputs, kernel, (((inputs.ndim - 1,), (0,)), ((), ())), precision=self.precision)
    if bias is not None:
      y += lax.reshape(bias, (1,) * (y.ndim - 1) + bias.shape)
    return y


class DenseGeneral(Module):
  """A linear layer over several axes at once, with batch axes of its own kernels.

  Attributes:
    features: size, or sizes, of the new axes of the output, which come last.
    axis: axis, or axes, of the input that are summed over.
    batch_dims: leading axes that each have their own kernel.
    others: as for `Dense`.
  """

  features: int | Sequence[int]
  axis: int | Sequence[int] = -1
  batch_dims: int | Sequence[int] = ()
  use_bias: bool = True
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  kernel_init: Initializer = default_kernel_init
  bias_init: Initializer = zeros
  precision: Any = None
  promote_dtype: Callable[..., Any] = promote_dtype
  dot_general: Callable[..., Array] | None = None
  dot_general_cls: Any = None

  @compact
  def __call__(self, inputs: Array) -> Array:
    """[batch..., rest..., axis...] to [batch..., rest..., features...]."""
    features, axis, batch_dims = as_tuple(self.features), as_tuple(self.axis), as_tuple(self.batch_dims)
    if batch_dims and set(batch_dims) != set(range(max(batch_dims) + 1)):
      raise ValueError(f"batch_dims {batch_dims} must be consecutive leading dimensions starting from 0.")
    ndim, n_batch = inputs.ndim, len(batch_dims)
    axis, batch_dims = ascending_axes(axis, ndim), ascending_axes(batch_dims, ndim)
    batch_shape = tuple(inputs.shape[ax] for ax in batch_dims)
    n_features, n_axis = len(features), len(axis)

    kernel_shape = tuple(inputs.shape[ax] for ax in axis) + features
    kernel_init = _as_matrix(self.kernel_init, n_batch, n_axis, n_features)
    kernel = self.param("kernel", kernel_init, batch_shape + kernel_shape, self.param_dtype)
    bias_init = _as_matrix(self.bias_init, n_batch, 0, n_features)
    bias = self.param("bias", bias_init, batch_shape + features, self.param_dtype) if self.use_bias else None
    inputs, kernel, bias = self.promote_dtype(inputs, kernel, bias, dtype=self.dtype)
    dot_general = chosen(self.dot_general_cls, self.dot_general, lax.dot_general)
    summed = tuple(range(n_batch, n_axis + n_batch))
    out = dot_general(
      inputs, kernel, ((axis, summed), (batch_dims, tuple(range(n_batch)))), precision=self.precision
    )
    if bias is not None:
      rest = tuple(inputs.shape[ax] if ax in batch_dims else 1 for ax in range(ndim) if ax not in axis)
      out += lax.reshape(bias, rest + features)
    return out


@functools.lru_cache(maxsize=256)
def _as_matrix(init: Initializer, n_batch: int, n_in: int, n_out: int) -> Initializer:
  """An initializer that draws a kernel as a matrix [batch * in, out], and without input axes as a vector."""

  @functools.wraps(init)
  def draw(rng: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    rows = math.prod(shape[:n_batch]) * math.prod(shape[n_batch : n_batch + n_in])
    columns = math.prod(shape[-n_out:])
    flat = (rows, columns) if n_in else (rows * columns,)
    return jax.tree.map(lambda x: jnp.reshape(x, shape), init(rng, flat, dtype))

  return cast(Initializer, draw)


class Einsum(Module):
  """An einsum of the input and a learned kernel.

  Attributes:
    shape: shape of the kernel.
    einsum_str: the equation, "input,kernel->output"; given here or in the call.
    preferred_element_type: dtype to accumulate in.
    others: as for `Dense`; the bias has the kernel's axes that are in the output.
  """

  shape: Sequence[int]
  einsum_str: str | None = None
  use_bias: bool = True
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  precision: Any = None
  kernel_init: Initializer = default_kernel_init
  bias_init: Initializer = zeros
  promote_dtype: Callable[..., Any] = promote_dtype
  preferred_element_type: Dtype | None = None

  @compact
  def __call__(self, inputs: Array, einsum_str: str | None = None) -> Array:
    """Shapes as the equation says.

    Raises:
      ValueError: if the equation is missing, given twice, or has not two inputs and one output.
    """
    equation = merge_param("einsum_str", self.einsum_str, einsum_str).replace(" ", "")
    if "->" not in equation:
      raise ValueError(f"`einsum_str` equation must be explicit and include '->': {equation!r}.")
    if equation.count(",") != 1:
      raise ValueError(f"`einsum_str` equation must have exactly two operands and so one ',': {equation!r}.")
    kernel = self.param("kernel", self.kernel_init, self.shape, self.param_dtype)
    bias, broadcast = None, ()
    if self.use_bias:
      bias_shape, broadcast = self._bias_shapes(equation, inputs, kernel)
      bias = self.param("bias", self.bias_init, bias_shape, self.param_dtype)
    inputs, kernel, bias = self.promote_dtype(inputs, kernel, bias, dtype=self.dtype)
    y = jnp.einsum(
      equation, inputs, kernel, precision=self.precision, preferred_element_type=self.preferred_element_type
    )
    if bias is not None:
      y += jnp.reshape(bias, broadcast)
    return y

  @nowrap
  def _bias_shapes(self, equation: str, lhs: Array, rhs: Array) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The bias's own shape, and the one that broadcasts against the output."""
    inputs, kernel, output = equation.replace("->", ",").split(",")
    free = "".join(c for c in string.ascii_letters if c not in equation)

    def hidden(term: str, ndim: int) -> str:
      """The letters that "..." stands for."""
      rank = ndim - len(term.replace(".", "")) if "..." in term else 0
      return free[:rank][::-1]

    longest = max(hidden(inputs, lhs.ndim), hidden(kernel, rhs.ndim), key=len)
    kernel = kernel.replace("...", hidden(kernel, rhs.ndim))
    sizes = dict(zip(kernel, self.shape))
    output = output.replace("...", longest)
    return tuple(sizes[c] for c in output if c in sizes), tuple(sizes.get(c, 1) for c in output)


class Embed(Module):
  """A table of vectors, looked up by whole numbers.

  Attributes:
    num_embeddings: how many vectors.
    features: their size.
    dtype, param_dtype, promote_dtype: as for `Dense`.
    embedding_init: initializer of the table [num_embeddings, features].
  """

  num_embeddings: int
  features: int
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  embedding_init: Initializer = default_embed_init
  promote_dtype: Callable[..., Any] = promote_dtype

  def setup(self) -> None:
    self.embedding = self.param(
      "embedding", self.embedding_init, (self.num_embeddings, self.features), self.param_dtype
    )

  def __call__(self, inputs: Array) -> Array:
    """Numbers [...] to vectors [..., features].

    Raises:
      ValueError: if the numbers are no integers.
    """
    if not jnp.issubdtype(inputs.dtype, jnp.integer):
      raise ValueError(
        f"Input type must be an integer or unsigned integer, got {inputs.dtype}: use x.astype('int32')."
      )
    (embedding,) = self.promote_dtype(self.embedding, dtype=self.dtype, inexact=False)
    is_float = jnp.issubdtype(embedding.dtype, jnp.inexact)
    warn_of_ids(inputs, self.num_embeddings, "NaN" if is_float else "the least number that there is", self)
    if self.num_embeddings == 1:
      return jnp.broadcast_to(embedding, inputs.shape + (self.features,))
    return jnp.take(embedding, inputs, axis=0)

  def attend(self, query: Array) -> Array:
    """[..., features] to scores [..., num_embeddings]: how much a query is like each vector."""
    query, embedding = self.promote_dtype(query, self.embedding, dtype=self.dtype)
    return jnp.dot(query, embedding.T)
