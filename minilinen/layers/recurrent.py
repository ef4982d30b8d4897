"""Recurrent cells: one step of a loop over a sequence, from a carry and an input to both again.

A cell is scanned: `nn.scan(nn.LSTMCell, variable_broadcast="params", split_rngs={"params": False})`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from minilinen.core.nn.initializers import Initializer, orthogonal, zeros
from minilinen.layers.activation import sigmoid, tanh
from minilinen.layers.dtypes import Array, Dtype, promote_dtype
from minilinen.layers.linear import Dense, default_kernel_init
from minilinen.module import Module, compact, nowrap

Carry = Any


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


class RNNCellBase(Module):
  """Base class of cells.

  A cell is called as `cell(carry, inputs) -> (carry, outputs)`.
  """

  @property
  def num_feature_axes(self) -> int:
    """How many trailing axes of the input are features."""
    raise NotImplementedError

  @nowrap
  def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Carry:
    """The carry to begin with, for inputs of a shape."""
    raise NotImplementedError


def _carry_of(self: Any, rng: Any, input_shape: tuple[int, ...], parts: int) -> Any:
  shape = (*input_shape[:-1], self.features)
  if parts == 1:
    return self.carry_init(rng, shape, self.param_dtype)
  keys = jax.random.split(rng, parts)
  return tuple(self.carry_init(key, shape, self.param_dtype) for key in keys)


class LSTMCell(RNNCellBase):
  """Long short-term memory (Hochreiter & Schmidhuber 1997).

      i = sigmoid(W_ii x + W_hi h + b_hi)      f = sigmoid(W_if x + W_hf h + b_hf)
      g = tanh(W_ig x + W_hg h + b_hg)         o = sigmoid(W_io x + W_ho h + b_ho)
      c' = f * c + i * g                       h' = o * tanh(c')

  Attributes:
    features: size of `c` and `h`; read off the carry if None.
    gate_fn, activation_fn: in the place of sigmoid and tanh.
    kernel_init, recurrent_kernel_init, bias_init: of `W_i*`, `W_h*` and `b`.
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
  def __call__(self, carry: tuple[Array, Array], inputs: Array) -> tuple[tuple[Array, Array], Array]:
    """One step: carry (c, h), each [batch..., features], and inputs [batch..., in]."""
    c, h = carry
    features = h.shape[-1] if self.features is None else self.features
    dense_h = functools.partial(
      Dense, features=features, use_bias=True, kernel_init=self.recurrent_kernel_init, bias_init=self.bias_init,
      dtype=self.dtype, param_dtype=self.param_dtype,
    )  # fmt: skip
    dense_i = functools.partial(
      Dense, features=features, use_bias=False, kernel_init=self.kernel_init, dtype=self.dtype,
      param_dtype=self.param_dtype,
    )  # fmt: skip
    i = self.gate_fn(dense_i(name="ii")(inputs) + dense_h(name="hi")(h))
    f = self.gate_fn(dense_i(name="if")(inputs) + dense_h(name="hf")(h))
    g = self.activation_fn(dense_i(name="ig")(inputs) + dense_h(name="hg")(h))
    o = self.gate_fn(dense_i(name="io")(inputs) + dense_h(name="ho")(h))
    c = f * c + i * g
    h = o * self.activation_fn(c)
    return (c, h), h

  @_CarryMaker
  def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> tuple[Array, Array]:  # pyright: ignore[reportIncompatibleMethodOverride]
    """The carry (c, h) to begin with.

    Args:
      rng: a random key.
      input_shape: [batch..., in]. On the class: `LSTMCell.initialize_carry(key, batch_dims, size)`.
    """
    return _carry_of(self, rng, input_shape, 2)

  @property
  def num_feature_axes(self) -> int:
    return 1


class OptimizedLSTMCell(LSTMCell):
  """`LSTMCell` in two products instead of eight; the same parameters and the same numbers."""

  @compact
  def __call__(self, carry: tuple[Array, Array], inputs: Array) -> tuple[tuple[Array, Array], Array]:
    """One step: carry (c, h), each [batch..., features], and inputs [batch..., in]."""
    c, h = carry
    features = h.shape[-1]

    def product(x: Array, names: list[str], kernel_init: Initializer, use_bias: bool) -> list[Array]:
      layers = [
        _DenseParams(features, use_bias, self.param_dtype, kernel_init, self.bias_init, name=name)(x)
        for name in names
      ]
      kernel = jnp.concatenate([kernel for kernel, _ in layers], axis=-1)
      bias = jnp.concatenate([bias for _, bias in layers], axis=-1) if use_bias else None
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


class _DenseParams(Module):
  """The parameters of a `Dense`, without the product."""

  features: int
  use_bias: bool
  param_dtype: Dtype
  kernel_init: Initializer
  bias_init: Initializer

  @compact
  def __call__(self, inputs: Array) -> tuple[Array, Array | None]:
    kernel = self.param("kernel", self.kernel_init, (inputs.shape[-1], self.features), self.param_dtype)
    bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
    return kernel, bias
