"""Recurrent cells: one step through a sequence, from a carry and an input to the next carry and an output.

Here are the base class and the cells whose carry is one array; those that carry two are in `layers.lstm`. A cell knows
nothing of time. `layers.recurrent` takes it through a whole sequence, and so does a scan of one's own:
`nn.scan(nn.LSTMCell, variable_broadcast="params", split_rngs={"params": False})`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from minilinen.functions.initializers import ones, orthogonal, zeros
from minilinen.layers.activation import sigmoid, tanh
from minilinen.layers.dtypes import Array, Dtype, Initializer
from minilinen.layers.linear import Dense, default_kernel_init
from minilinen.module import Module, compact, nowrap

Carry = Any
Pair = tuple[Array, Array]


class RNNCellBase(Module):
  """Base class of cells.

  A cell is called as `cell(carry, inputs) -> (carry, outputs)`; one of your own also says what it starts from:

  >>> import jax, jax.numpy as jnp, minilinen as nn
  >>> class Sum(nn.RNNCellBase):
  ...   def __call__(self, carry, x): return carry + x, carry + x
  ...   def initialize_carry(self, rng, input_shape): return jnp.zeros(input_shape)
  ...   num_feature_axes = 1
  >>> nn.RNN(Sum()).apply({}, jnp.ones((3, 2))).tolist()
  [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
  """

  @nowrap
  def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Carry:
    """The carry to begin with.

    Args:
      rng: a random key.
      input_shape: of the input of one step, [batch..., features...].
    """
    raise NotImplementedError(f"{type(self).__name__} is a cell without initialize_carry(rng, input_shape).")

  @property
  def num_feature_axes(self) -> int:
    """How many trailing axes of the input are features; the axes before are of the batch."""
    raise NotImplementedError(f"{type(self).__name__} is a cell without the property num_feature_axes.")


def first_carry(cell: Any, rng: Any, shape: tuple[int, ...]) -> Array:
  """An array of a shape, from the cell's `carry_init`."""
  return cell.carry_init(rng, shape, cell.param_dtype)


def first_pair(cell: Any, rng: Any, shape: tuple[int, ...]) -> Pair:
  """Two of them, each from a key of its own."""
  one, two = jax.random.split(rng)
  return first_carry(cell, one, shape), first_carry(cell, two, shape)


def denses(cell: Any, features: int) -> tuple[Callable[..., Dense], Callable[..., Dense]]:
  """Makers of the layers of the input and of the carry, the latter without bias."""
  common = dict(features=features, dtype=cell.dtype, param_dtype=cell.param_dtype)
  of_input = functools.partial(Dense, **common, kernel_init=cell.kernel_init)
  of_carry = functools.partial(Dense, **common, kernel_init=cell.recurrent_kernel_init)
  return of_input, functools.partial(of_carry, use_bias=False)


def check_carry(cell: Module, carry: Any, inputs: Array, pair: bool = False, feature_axes: int = 1) -> Any:
  """The carry, if it is an array, or a pair (c, h) of them, with the batch axes of the inputs.

  Raises:
    ValueError: if it isn't.
  """
  parts = carry if pair else (carry,)
  if not (
    isinstance(parts, (tuple, list)) and len(parts) == 1 + pair and all(hasattr(x, "ndim") for x in parts)
  ):
    expected = "a pair (c, h) of arrays" if pair else "an array"
    raise ValueError(
      f"The carry of {type(cell).__name__} is {expected}, but got {jax.tree.map(jnp.shape, carry)} (shapes). A cell"
      " is called as cell(carry, inputs), and begins with cell.initialize_carry(key, inputs.shape)."
    )
  batch = inputs.shape[: inputs.ndim - feature_axes]
  for part in parts:
    try:
      fits = jnp.broadcast_shapes(part.shape[: part.ndim - feature_axes], batch)
    except ValueError:
      fits = None
    if fits is None:
      raise ValueError(
        f"The carry of {type(cell).__name__} has shape {part.shape} where the inputs have {inputs.shape}: their batch"
        f" axes {batch} must be the same. Begin with cell.initialize_carry(key, inputs.shape)."
      )
  return carry


class SimpleCell(RNNCellBase):
  """The Elman network (Elman 1990, "Finding structure in time").

      h' = tanh(W_i x + b_i + W_h h)

  Attributes:
    features: size of `h`.
    activation_fn: in the place of tanh.
    kernel_init, recurrent_kernel_init, bias_init: of `W_i`, `W_h` and `b_i`.
    dtype, param_dtype: as for `Dense`.
    carry_init: initializer of the first carry.
    residual: whether `h` is added before the activation.
  """

  features: int
  activation_fn: Callable[..., Any] = tanh
  kernel_init: Initializer = default_kernel_init
  recurrent_kernel_init: Initializer = orthogonal()
  bias_init: Initializer = zeros
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  carry_init: Initializer = zeros
  residual: bool = False

  @compact
  def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:
    """One step: carry h [batch..., features] and inputs [batch..., in]."""
    h = check_carry(self, carry, inputs)
    of_input, of_carry = denses(self, h.shape[-1])
    new = of_input(bias_init=self.bias_init, name="i")(inputs) + of_carry(name="h")(h)
    h = self.activation_fn(new + h if self.residual else new)
    return h, h

  @nowrap
  def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Array:
    """The carry h to begin with, for inputs [batch..., in]."""
    return first_carry(self, rng, (*input_shape[:-1], self.features))

  @property
  def num_feature_axes(self) -> int:
    return 1


class GRUCell(RNNCellBase):
  """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078).

      r = sigmoid(W_ir x + b_ir + W_hr h)
      z = sigmoid(W_iz x + b_iz + W_hz h)
      n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
      h' = (1 - z) * n + z * h

  Attributes:
    features: size of `h`.
    gate_fn, activation_fn: in the place of sigmoid and tanh.
    kernel_init, recurrent_kernel_init, bias_init: of `W_i*`, `W_h*` and `b_*`.
    dtype, param_dtype: as for `Dense`.
    carry_init: initializer of the first carry.
  """

  features: int
  gate_fn: Callable[..., Any] = sigmoid
  activation_fn: Callable[..., Any] = tanh
  kernel_init: Initializer = default_kernel_init
  recurrent_kernel_init: Initializer = orthogonal()
  bias_init: Initializer = zeros
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  carry_init: Initializer = zeros

  @compact
  def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:
    """One step: carry h [batch..., features] and inputs [batch..., in]."""
    h = check_carry(self, carry, inputs)
    of_input, of_carry = denses(self, h.shape[-1])
    of_input = functools.partial(of_input, bias_init=self.bias_init)
    r = self.gate_fn(of_input(name="ir")(inputs) + of_carry(name="hr")(h))
    z = self.gate_fn(of_input(name="iz")(inputs) + of_carry(name="hz")(h))
    candidate = of_carry(use_bias=True, bias_init=self.bias_init, name="hn")
    n = self.activation_fn(of_input(name="in")(inputs) + r * candidate(h))
    h = (1.0 - z) * n + z * h
    return h, h

  @nowrap
  def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Array:
    """The carry h to begin with, for inputs [batch..., in]."""
    return first_carry(self, rng, (*input_shape[:-1], self.features))

  @property
  def num_feature_axes(self) -> int:
    return 1


class MGUCell(RNNCellBase):
  """Minimal gated unit: a GRU with one gate (Zhou et al. 2016, arXiv:1603.09420).

      f = sigmoid(W_if x + b_if + W_hf h)
      n = tanh(W_in x + b_in + f * (W_hn h + b_hn))
      h' = (1 - f) * n + f * h

  Without the reset gate (the MGU2 of Heck & Salem 2017, arXiv:1701.03452): `n = tanh(W_in x + b_in + W_hn h)`.

  Attributes:
    features: size of `h`.
    gate_fn, activation_fn: in the place of sigmoid and tanh.
    kernel_init, recurrent_kernel_init: of `W_i*` and `W_h*`.
    forget_bias_init, activation_bias_init: of `b_if`, and of `b_in` and `b_hn`.
    dtype, param_dtype: as for `Dense`.
    carry_init: initializer of the first carry.
    reset_gate: whether `n` sees `h` through the gate.
  """

  features: int
  gate_fn: Callable[..., Any] = sigmoid
  activation_fn: Callable[..., Any] = tanh
  kernel_init: Initializer = default_kernel_init
  recurrent_kernel_init: Initializer = orthogonal()
  forget_bias_init: Initializer = ones
  activation_bias_init: Initializer = zeros
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  carry_init: Initializer = zeros
  reset_gate: bool = True

  @compact
  def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:
    """One step: carry h [batch..., features] and inputs [batch..., in]."""
    h = check_carry(self, carry, inputs)
    of_input, of_carry = denses(self, h.shape[-1])
    f = self.gate_fn(of_input(bias_init=self.forget_bias_init, name="if")(inputs) + of_carry(name="hf")(h))
    past = of_carry(use_bias=self.reset_gate, bias_init=self.activation_bias_init, name="hn")(h)
    past = past * f if self.reset_gate else past
    n = self.activation_fn(of_input(bias_init=self.activation_bias_init, name="in")(inputs) + past)
    h = (1.0 - f) * n + f * h
    return h, h

  @nowrap
  def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Array:
    """The carry h to begin with, for inputs [batch..., in]."""
    return first_carry(self, rng, (*input_shape[:-1], self.features))

  @property
  def num_feature_axes(self) -> int:
    return 1
