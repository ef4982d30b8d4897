"""Long short-term memory: the cells that carry a memory `c` and an output `h`.

See `layers.cells` for what a cell is, and `layers.recurrent` for the layers that take it through a sequence.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from minilinen.functions.initializers import orthogonal, zeros
from minilinen.layers.activation import sigmoid, tanh
from minilinen.layers.cells import Carry, Pair, RNNCellBase, check_carry, denses, first_pair
from minilinen.layers.conv import Conv
from minilinen.layers.dtypes import Array, Dtype, Initializer, promote_dtype
from minilinen.layers.linear import default_kernel_init
from minilinen.module import Module, compact, nowrap


class _CarryMaker:
  """`initialize_carry` in both of its forms: of a cell, and of the class.

  Linen's first document calls `LSTMCell.initialize_carry(key, batch_dims, size)` on the class; today it is
  `cell.initialize_carry(key, input_shape)`. Only a descriptor can tell the two apart.
  """

  def __init__(self, of_cell: Callable[..., Carry]):
    self.of_cell = of_cell
    self.__doc__ = of_cell.__doc__

  def __get__(self, cell: Any, cls: type[Any]) -> Callable[..., Carry]:
    if cell is not None:
      return functools.partial(self.of_cell, cell)

    def of_class(key: Any, batch_dims: tuple[int, ...], size: int, init_fn: Initializer = zeros) -> Carry:
      return cls(features=size, carry_init=init_fn, parent=None).initialize_carry(key, (*batch_dims, size))

    return of_class


class LSTMCell(RNNCellBase):
  """Long short-term memory (Hochreiter & Schmidhuber 1997).

      i = sigmoid(W_ii x + W_hi h + b_hi)      f = sigmoid(W_if x + W_hf h + b_hf)
      g = tanh(W_ig x + W_hg h + b_hg)         o = sigmoid(W_io x + W_ho h + b_ho)
      c' = f * c + i * g                       h' = o * tanh(c')

  Attributes:
    features: size of the first `c` and `h`; None if the carry is made elsewhere.
    gate_fn, activation_fn: in the place of sigmoid and tanh.
    kernel_init, recurrent_kernel_init, bias_init: of `W_i*`, `W_h*` and `b_*`.
    dtype, param_dtype: as for `Dense`.
    carry_init: initializer of the first carry.
  """

  features: int | None = None
  gate_fn: Callable[..., Any] = sigmoid
  activation_fn: Callable[..., Any] = tanh
  kernel_init: Initializer = default_kernel_init
  recurrent_kernel_init: Initializer = orthogonal()
  bias_init: Initializer = zeros
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  carry_init: Initializer = zeros

  @compact
  def __call__(self, carry: Pair, inputs: Array) -> tuple[Pair, Array]:
    """One step: carry (c, h), each [batch..., features], and inputs [batch..., in]."""
    c, h = check_carry(self, carry, inputs, pair=True)
    of_input, of_carry = denses(self, h.shape[-1])
    of_input = functools.partial(of_input, use_bias=False)
    of_carry = functools.partial(of_carry, use_bias=True, bias_init=self.bias_init)
    i = self.gate_fn(of_input(name="ii")(inputs) + of_carry(name="hi")(h))
    f = self.gate_fn(of_input(name="if")(inputs) + of_carry(name="hf")(h))
    g = self.activation_fn(of_input(name="ig")(inputs) + of_carry(name="hg")(h))
    o = self.gate_fn(of_input(name="io")(inputs) + of_carry(name="ho")(h))
    c = f * c + i * g
    h = o * self.activation_fn(c)
    return (c, h), h

  @_CarryMaker
  def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Pair:  # pyright: ignore[reportIncompatibleMethodOverride]
    """The carry (c, h) to begin with.

    Args:
      rng: a random key.
      input_shape: [batch..., in]. On the class: `LSTMCell.initialize_carry(key, batch_dims, size)`.

    Raises:
      ValueError: if the cell doesn't know its features.
    """
    if self.features is None:
      raise ValueError(
        "LSTMCell() without features takes them from its carry and cannot make one: write LSTMCell(features), or"
        " LSTMCell.initialize_carry(key, batch_dims, size) on the class."
      )
    return first_pair(self, rng, (*input_shape[:-1], self.features))

  @property
  def num_feature_axes(self) -> int:
    return 1


class DenseParams(Module):
  """The parameters of a `Dense`, without the product.

  Attributes:
    features, use_bias, param_dtype, precision, kernel_init, bias_init: as for `Dense`.
  """

  features: int
  use_bias: bool = True
  param_dtype: Dtype = jnp.float32
  precision: Any = None
  kernel_init: Initializer = default_kernel_init
  bias_init: Initializer = zeros

  @compact
  def __call__(self, inputs: Array) -> tuple[Array, Array | None]:
    """Kernel [in, features] and bias [features], for inputs [..., in]."""
    kernel = self.param("kernel", self.kernel_init, (inputs.shape[-1], self.features), self.param_dtype)
    bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
    return kernel, bias


class OptimizedLSTMCell(LSTMCell):
  """`LSTMCell` in two products instead of eight; the same parameters and the same numbers."""

  @compact
  def __call__(self, carry: Pair, inputs: Array) -> tuple[Pair, Array]:
    """One step: carry (c, h), each [batch..., features], and inputs [batch..., in]."""
    c, h = check_carry(self, carry, inputs, pair=True)
    features = h.shape[-1]

    def product(x: Array, names: list[str], kernel_init: Initializer, use_bias: bool) -> list[Array]:
      layers = [
        DenseParams(
          features,
          use_bias,
          self.param_dtype,
          kernel_init=kernel_init,
          bias_init=self.bias_init,
          name=name,
        )(x)
        for name in names
      ]
      kernel = jnp.concatenate([kernel for kernel, _ in layers], axis=-1)
      bias = jnp.concatenate([bias for _, bias in layers if bias is not None], axis=-1) if use_bias else None
      x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
      y = jnp.dot(x, kernel)
      if bias is not None:
        y += jnp.reshape(bias, (1,) * (y.ndim - 1) + (-1,))
      return jnp.split(y, list(range(features, 4 * features, features)), axis=-1)

    h_parts = product(h, ["hi", "hf", "hg", "ho"], self.recurrent_kernel_init, True)
    i_parts = product(inputs, ["ii", "if", "ig", "io"], self.kernel_init, False)
    i = self.gate_fn(h_parts[0] + i_parts[0])
    f = self.gate_fn(h_parts[1] + i_parts[1])
    g = self.activation_fn(h_parts[2] + i_parts[2])
    o = self.gate_fn(h_parts[3] + i_parts[3])
    c = f * c + i * g
    h = o * self.activation_fn(c)
    return (c, h), h


class ConvLSTMCell(RNNCellBase):
  """An LSTM with convolutions (Shi et al. 2015, arXiv:1506.04214), without its peepholes.

      i, g, f, o = W_ih * x + b_ih + W_hh * h + b_hh      (four parts of one convolution each)
      c' = sigmoid(f + 1) c + sigmoid(i) tanh(g)           h' = sigmoid(o) tanh(c')

  The one added to `f` lets the cell remember at first (Jozefowicz et al. 2015).

  Attributes:
    features: number of features of `c` and `h`.
    kernel_size: size of the window on each spatial axis.
    strides, padding, use_bias, dtype, param_dtype: as for `Conv`; the result must keep the size of the input.
    carry_init: initializer of the first carry.
  """

  features: int
  kernel_size: Sequence[int]
  strides: Sequence[int] | None = None
  padding: str | Sequence[tuple[int, int]] = "SAME"
  use_bias: bool = True
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  carry_init: Initializer = zeros

  @compact
  def __call__(self, carry: Pair, inputs: Array) -> tuple[Pair, Array]:
    """One step: carry (c, h), each [batch..., spatial..., features], and inputs [batch..., spatial..., in]."""
    c, h = check_carry(self, carry, inputs, pair=True, feature_axes=self.num_feature_axes)
    conv = functools.partial(
      Conv, 4 * self.features, self.kernel_size, strides=self.strides, padding=self.padding, use_bias=self.use_bias,
      dtype=self.dtype, param_dtype=self.param_dtype,
    )  # fmt: skip
    gates = conv(name="ih")(inputs) + conv(name="hh")(h)
    if gates.shape[:-1] != c.shape[:-1]:
      raise ValueError(
        f"The convolutions of ConvLSTMCell give shape {gates.shape[:-1]} where the carry has {c.shape[:-1]}: strides"
        f" and padding must keep the size of the input, but are {self.strides} and {self.padding!r}."
      )
    i, g, f, o = jnp.split(gates, 4, axis=-1)
    c = sigmoid(f + 1) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return (c, h), h

  @nowrap
  def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Pair:
    """The carry (c, h) to begin with, for inputs [batch..., spatial..., in]."""
    return first_pair(self, rng, (*input_shape[:-1], self.features))

  @property
  def num_feature_axes(self) -> int:
    return len(self.kernel_size) + 1
