"""Products in float8: operators that take the place of `jax.lax.dot_general` in a layer.

  nn.Dense(64, dot_general_cls=nn.Fp8DirectDotGeneralOp)

A float8 has few bits and a small range, so an array is divided by a scale before it is rounded ("FP8 Formats for
Deep Learning", Micikevicius et al. 2022, https://arxiv.org/abs/2209.05433: e4m3 for inputs and kernels, e5m2, with
the wider range, for gradients). The scale that would fit is known only once the array is there, so that of the last
steps is taken ("delayed scaling"): of each array the layer keeps a history of largest absolute values, and the
scale that puts the largest of them at the end of float8's range.

The largest gradient is seen only in the backward pass, where nothing can be written to a variable. So scales and
histories are variables of a collection of their own whose *gradient is their next value*: a training step puts it
in their place instead of handing it to the optimizer.

Rounding is in `fp8_rounding.py`; here are the two ways to multiply, and the modules over them.
"""

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from minilinen import errors
from minilinen.layers.dtypes import Array, Dtype
from minilinen.layers.fp8_meta import Fp8MetaTyRules as Fp8MetaTyRules
from minilinen.layers.fp8_meta import as_float
from minilinen.layers.fp8_meta import fm32 as fm32
from minilinen.layers.fp8_meta import fp8_meta_dtype as fp8_meta_dtype
from minilinen.layers.fp8_meta import fp8_meta_dtype_wrapper as fp8_meta_dtype_wrapper
from minilinen.layers.fp8_meta import fp32_max_grad as fp32_max_grad
from minilinen.layers.fp8_rounding import Pair
from minilinen.layers.fp8_rounding import compute_amax_history as compute_amax_history
from minilinen.layers.fp8_rounding import compute_scale as compute_scale
from minilinen.layers.fp8_rounding import dequantize as dequantize
from minilinen.layers.fp8_rounding import get_fp8_max as get_fp8_max
from minilinen.layers.fp8_rounding import in_q as in_q
from minilinen.layers.fp8_rounding import in_q_bwd as in_q_bwd
from minilinen.layers.fp8_rounding import in_q_fwd as in_q_fwd
from minilinen.layers.fp8_rounding import in_qdq as in_qdq
from minilinen.layers.fp8_rounding import in_qdq_bwd as in_qdq_bwd
from minilinen.layers.fp8_rounding import in_qdq_fwd as in_qdq_fwd
from minilinen.layers.fp8_rounding import out_dq as out_dq
from minilinen.layers.fp8_rounding import out_dq_bwd as out_dq_bwd
from minilinen.layers.fp8_rounding import out_dq_fwd as out_dq_fwd
from minilinen.layers.fp8_rounding import out_qdq as out_qdq
from minilinen.layers.fp8_rounding import out_qdq_bwd as out_qdq_bwd
from minilinen.layers.fp8_rounding import out_qdq_fwd as out_qdq_fwd
from minilinen.layers.fp8_rounding import qdq as qdq
from minilinen.layers.fp8_rounding import quantize as quantize
from minilinen.layers.fp8_rounding import quantize_dequantize_update as quantize_dequantize_update
from minilinen.layers.fp8_rounding import update_fp8_meta as update_fp8_meta
from minilinen.module import Module

OVERWRITE_WITH_GRADIENT = "_overwrite_with_gradient"
"""The collection of scales and histories."""


def dot_general_transpose_lhs(
  g: Array, x: Array, y: Array, *, dimension_numbers: Any, precision: Any, preferred_element_type: Any,
  swap_ans: bool = False,
) -> Array:  # fmt: skip
  """The gradient by `x` of `dot_general(x, y)`, itself a product: of `g`, the gradient by the result, and `y`.

  Args:
    g: axes [batch..., rest of x..., rest of y...].
    x, y: what was multiplied; only the number of axes of `x` matters.
    dimension_numbers, precision, preferred_element_type: as for `jax.lax.dot_general`.
    swap_ans: whether the rest of `y` comes before the rest of `x` in `g`.
  """
  (x_summed, y_summed), (x_batch, y_batch) = dimension_numbers
  x_rest = [i for i in range(x.ndim) if i not in (*x_summed, *x_batch)]
  y_rest = [i for i in range(y.ndim) if i not in (*y_summed, *y_batch)]
  first = len(x_batch) + (0 if swap_ans else len(x_rest))
  g_summed = range(first, first + len(y_rest))
  dims = ((tuple(g_summed), tuple(y_rest)), (tuple(range(len(x_batch))), tuple(y_batch)))
  out = lax.dot_general(g, y, dims, precision=precision, preferred_element_type=preferred_element_type)
  summed = [x_summed[i] for i in np.argsort(y_summed)]
  return lax.transpose(out, tuple(int(i) for i in np.argsort([*x_batch, *x_rest, *summed])))


def dot_general_transpose_rhs(
  g: Array, x: Array, y: Array, *, dimension_numbers: Any, precision: Any, preferred_element_type: Any
) -> Array:
  """The gradient by `y`; arguments as for `dot_general_transpose_lhs`."""
  swapped = tuple((y_axes, x_axes) for x_axes, y_axes in dimension_numbers)
  return dot_general_transpose_lhs(
    g, y, x, dimension_numbers=swapped, precision=precision,
    preferred_element_type=preferred_element_type, swap_ans=True,
  )  # fmt: skip


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def dot_general_with_precision(
  lhs: Array, rhs: Array, dimension_numbers: Any, precision: Any = None, preferred_element_type: Any = None
) -> Array:
  """`dot_general` in the default precision, whose gradients are products in the highest.

  XLA takes the pair for a product of float8 arrays with fast and with exact accumulation. The two last arguments
  are there because `dot_general` has them.
  """
  if precision is not None or preferred_element_type is not None:
    _ignored("dot_general_with_precision", "precision/preferred_element_type")
  return lax.dot_general(lhs, rhs, dimension_numbers, precision=lax.Precision.DEFAULT)


@dot_general_with_precision.defjvp
def dot_general_with_precision_jvp(
  dimension_numbers: Any, precision: Any, preferred_element_type: Any, primals: Any, tangents: Any
) -> Pair:
  """The product, and how it changes with each factor."""
  (lhs, rhs), (lhs_dot, rhs_dot) = primals, tangents
  exact = functools.partial(
    lax.dot_general, dimension_numbers=dimension_numbers, precision=lax.Precision.HIGHEST
  )
  out = lax.dot_general(lhs, rhs, dimension_numbers, precision=lax.Precision.DEFAULT)
  return out, exact(lhs_dot, rhs) + exact(lhs, rhs_dot)


def _ignored(function: str, argument: str) -> None:
  warnings.warn(f"{function} sets {argument} itself and ignores what was passed.", stacklevel=3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(8, 9))
def quantized_dot(
  lhs: Array, q_lhs: Array, lhs_scale: Array, rhs: Array, q_rhs: Array, rhs_scale: Array,
  out_grad_scale: Array, out_grad_amax_history: Array, dimension_numbers: Any, preferred_element_type: Any = None,
) -> Array:  # fmt: skip
  """The product of two float8 arrays, not yet times their scales.

  Args:
    lhs, rhs: what was rounded; they get the gradients.
    q_lhs, q_rhs, lhs_scale, rhs_scale: what `in_q` gave for them.
    out_grad_scale, out_grad_amax_history: of the gradient by the result.
    dimension_numbers, preferred_element_type: as for `jax.lax.dot_general`.
  """
  args = (lhs, q_lhs, lhs_scale, rhs, q_rhs, rhs_scale, out_grad_scale, out_grad_amax_history)
  return quantized_dot_fwd(*args, dimension_numbers, preferred_element_type)[0]


def quantized_dot_fwd(
  lhs: Array, q_lhs: Array, lhs_scale: Array, rhs: Array, q_rhs: Array, rhs_scale: Array,
  out_grad_scale: Array, out_grad_amax_history: Array, dimension_numbers: Any, preferred_element_type: Any,
) -> tuple[Array, Any]:  # fmt: skip
  """Keeps all of its arguments."""
  args = (lhs, q_lhs, lhs_scale, rhs, q_rhs, rhs_scale, out_grad_scale, out_grad_amax_history)
  out = lax.dot_general(
    q_lhs, q_rhs, dimension_numbers, lax.Precision.DEFAULT, preferred_element_type=preferred_element_type
  )
  return out, args


def quantized_dot_bwd(dimension_numbers: Any, preferred_element_type: Any, res: Any, g: Array) -> Any:
  """Rounds the gradient to a float8 and multiplies it with the other factor, also in float8."""
  lhs, q_lhs, lhs_scale, rhs, q_rhs, rhs_scale, scale, history = res
  new_scale, new_history = update_fp8_meta(g, jnp.float8_e5m2, scale, history)
  q_g = quantize(g, jnp.float8_e5m2, new_scale, preferred_element_type)
  options = dict(
    dimension_numbers=dimension_numbers, precision=lax.Precision.HIGHEST,
    preferred_element_type=preferred_element_type,
  )  # fmt: skip
  by_lhs = dot_general_transpose_lhs(q_g, lhs, q_rhs, **options)
  by_lhs = dequantize(by_lhs, preferred_element_type, as_float(rhs_scale) * as_float(new_scale))
  by_rhs = dot_general_transpose_rhs(q_g, q_lhs, rhs, **options)
  by_rhs = dequantize(by_rhs, preferred_element_type, as_float(lhs_scale) * as_float(new_scale))
  return by_lhs, None, None, by_rhs, None, None, new_scale, new_history


quantized_dot.defvjp(quantized_dot_fwd, quantized_dot_bwd)


def fp8_scaled_dot_general(
  lhs: Array, rhs: Array, dimension_numbers: Any, precision: Any = None, preferred_element_type: Any = None, *,
  lhs_scale: Any = None, rhs_scale: Any = None, grad_scale: Any = None,
  lhs_amax_history: Any = None, rhs_amax_history: Any = None, grad_amax_history: Any = None,
  quantize_compute_type: Dtype = jnp.float32,
) -> Array:  # fmt: skip
  """`dot_general` of two arrays that are rounded to float8 for it.

  Args:
    lhs, rhs, dimension_numbers, preferred_element_type: as for `jax.lax.dot_general`.
    precision: there because `dot_general` has it.
    lhs_scale, rhs_scale, grad_scale: scales [1] of both and of the gradient by the result.
    lhs_amax_history, rhs_amax_history, grad_amax_history: their histories.
    quantize_compute_type: dtype to divide by the scales in, and of the result.
  """
  if precision is not None:
    _ignored("fp8_scaled_dot_general", "precision")
  to_float8 = functools.partial(in_q, quantize_compute_type, jnp.float8_e4m3fn)
  q_lhs, new_lhs_scale = to_float8(lhs, lhs_scale, lhs_amax_history)
  q_rhs, new_rhs_scale = to_float8(rhs, rhs_scale, rhs_amax_history)
  y = quantized_dot(
    lhs, q_lhs, new_lhs_scale, rhs, q_rhs, new_rhs_scale, grad_scale, grad_amax_history,
    dimension_numbers, preferred_element_type,
  )  # fmt: skip
  return out_dq(preferred_element_type or jnp.float32, new_lhs_scale, new_rhs_scale, y)


# Modules.


class Fp8DotGeneralBase(Module):
  """The scales and histories of a product: of its input, its kernel, and the gradient by its output.

  Attributes:
    amax_history_length: of how many steps the largest values are kept.
    e4m3_dtype: float8 dtype of inputs and kernels.
    e5m2_dtype: of gradients.
  """

  amax_history_length: int = 1024
  e4m3_dtype: Dtype = jnp.float8_e4m3fn
  e5m2_dtype: Dtype = jnp.float8_e5m2

  def setup(self) -> None:
    def meta(name: str, fill: Any, length: int) -> Any:
      return self.variable(OVERWRITE_WITH_GRADIENT, name, fill, (length,), jnp.float32)

    self.input_amax_history = meta("input_amax_history", jnp.zeros, self.amax_history_length)
    self.kernel_amax_history = meta("kernel_amax_history", jnp.zeros, self.amax_history_length)
    self.output_grad_amax_history = meta("output_grad_amax_history", jnp.zeros, self.amax_history_length)
    self.input_scale = meta("input_scale", jnp.ones, 1)
    self.kernel_scale = meta("kernel_scale", jnp.ones, 1)
    self.output_grad_scale = meta("output_grad_scale", jnp.ones, 1)

  def _scaled(self, **options: Any) -> Any:
    """`fp8_scaled_dot_general` with this module's scales and histories."""
    return functools.partial(
      fp8_scaled_dot_general,
      lhs_scale=self.input_scale.value,
      rhs_scale=self.kernel_scale.value,
      grad_scale=self.output_grad_scale.value,
      lhs_amax_history=self.input_amax_history.value,
      rhs_amax_history=self.kernel_amax_history.value,
      grad_amax_history=self.output_grad_amax_history.value,
      **options,
    )


class Fp8DotGeneralOp(Fp8DotGeneralBase):
  """Rounds to float8 and back, and multiplies as ever: XLA finds the pattern and takes float8 products."""

  def __post_init__(self) -> None:
    if not isinstance(self, NANOOFp8DotGeneralOp):
      errors.show(errors.DeprecatedWarning("Fp8DotGeneralOp", "nn.Fp8DirectDotGeneralOp"))
    super().__post_init__()

  def __call__(self, *args: Any, **kwargs: Any) -> Array:
    """As `jax.lax.dot_general(lhs, rhs, dimension_numbers)`; further options are ignored.

    Raises:
      ValueError: if there are not three arguments by position.
    """
    x, kernel, dimension_numbers, dtype = _factors(args)
    x = in_qdq(dtype, self.e4m3_dtype, x, self.input_scale.value, self.input_amax_history.value)
    kernel = in_qdq(dtype, self.e4m3_dtype, kernel, self.kernel_scale.value, self.kernel_amax_history.value)
    y = dot_general_with_precision(x, kernel, dimension_numbers)
    grad_meta = self.output_grad_scale.value, self.output_grad_amax_history.value
    return out_qdq(dtype, self.e5m2_dtype, y, *grad_meta)


class Fp8DirectDotGeneralOp(Fp8DotGeneralBase):
  """Multiplies float8 arrays.

  >>> from minilinen.layers.linear import Dense
  >>> layer = Dense(2, dot_general_cls=functools.partial(Fp8DirectDotGeneralOp, amax_history_length=3))
  >>> x = jnp.array([[1.0, -4.0]])
  >>> variables = layer.init(jax.random.key(0), x)
  >>> scales = jax.grad(lambda v: layer.apply(v, x).sum())(variables)[OVERWRITE_WITH_GRADIENT]
  >>> scales["Fp8DirectDotGeneralOp_0"]["input_amax_history"]  # in a training step this is its next value
  Array([4., 0., 0.], dtype=float32)
  """

  def __call__(self, *args: Any, **kwargs: Any) -> Array:
    """As `jax.lax.dot_general(lhs, rhs, dimension_numbers)`; further options are ignored.

    Raises:
      ValueError: if there are not three arguments by position.
    """
    x, kernel, dimension_numbers, dtype = _factors(args)
    return self._scaled(quantize_compute_type=dtype)(
      x, kernel, dimension_numbers, preferred_element_type=dtype
    )


Fp8DotGeneral = Fp8DirectDotGeneralOp


class Fp8Einsum(Fp8DotGeneralBase):
  """An einsum of float8 arrays."""

  def __call__(
    self, eqn: str, lhs: Array, rhs: Array, precision: Any = None, preferred_element_type: Any = None
  ) -> Array:
    """As `jax.numpy.einsum` of two arrays.

    Args:
      eqn: the equation.
      lhs, rhs: input and kernel.
      precision, preferred_element_type: there because `jax.numpy.einsum` has them.
    """
    dot_general = self._scaled(quantize_compute_type=rhs.dtype)
    lhs = jnp.asarray(lhs, rhs.dtype)
    return jnp.einsum(
      eqn, lhs, rhs, precision=precision, preferred_element_type=preferred_element_type,
      _dot_general=dot_general,
    )  # fmt: skip


class NANOOFp8DotGeneralOp(Fp8DotGeneralOp):
  """`Fp8DotGeneralOp` in the float8 of AMD's chips, which has no negative zero."""

  e4m3_dtype: Dtype = jnp.float8_e4m3fnuz
  e5m2_dtype: Dtype = jnp.float8_e5m2fnuz


def _factors(args: tuple[Any, ...]) -> tuple[Array, Array, Any, Dtype]:
  """Both factors in the dtype of the second, the dimension numbers, and the dtype."""
  if len(args) != 3:
    raise ValueError(f"Expected lhs, rhs and dimension_numbers by position, got {len(args)} arguments.")
  x, kernel, dimension_numbers = args
  return jnp.asarray(x, kernel.dtype), kernel, dimension_numbers, kernel.dtype
