"""What one equation of a jaxpr costs, by its primitive.

`program` asks this for every equation that it reads; loops and branches are its affair, here an equation runs
once. Sizes may be symbolic, and then the costs are formulas. The counts follow XLA's cost analysis where it has
a rule: a multiplication and an addition are two FLOPs, whatever is done to each element is one, functions such
as `exp` are counted apart. Where they differ:

- a convolution counts the products with padding, as the formulas of papers do; XLA leaves them out;
- changing a dtype is no arithmetic here;
- bytes are those of every input and output, as if each equation went through memory; XLA counts after fusion;
- random bits, sorting, decompositions and Fourier transforms are estimates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from minilinen.tracing.equations.formula import Count
from minilinen.tracing.spec import itemsize


@dataclass(frozen=True, slots=True)
class Work:
  """What is done.

  Attributes:
    matmul: FLOPs of matrix products and convolutions; a multiplication and an addition are two.
    elementwise: FLOPs of everything else: one for each element of the output, or of the input of a reduction.
    transcendentals: how often `exp`, `tanh`, `rsqrt` and their like are evaluated; no FLOPs.
    read, written: bytes.
  """

  matmul: Count = 0
  elementwise: Count = 0
  transcendentals: Count = 0
  read: Count = 0
  written: Count = 0

  @property
  def flops(self) -> Count:
    """All FLOPs."""
    return self.matmul + self.elementwise

  @property
  def bytes(self) -> Count:
    """All bytes that are read or written."""
    return self.read + self.written

  def __add__(self, other: Work) -> Work:
    return Work(*(getattr(self, f) + getattr(other, f) for f in COUNTS))

  def __mul__(self, times: Count) -> Work:
    return Work(*(getattr(self, f) * times for f in COUNTS))


COUNTS = tuple(f.name for f in fields(Work))
NOTHING = Work()

_MOVES = """
  all_gather all_to_all axis_index bitcast_convert_type broadcast_in_dim concatenate convert_element_type
  copy copy_p create_token debug_callback debug_print device_put dynamic_slice dynamic_update_slice empty
  empty2 full gather iota mesh_cast name optimization_barrier pad pbroadcast ppermute pvary random_clone
  random_unwrap random_wrap reduce_precision reshape rev reshard scatter sharding_constraint slice split
  squeeze stack stop_gradient tile transpose unstack
"""

_ELEMENTWISE = """
  abs add add_any and ceil clz complex conj div eq eq_to floor ge gt imag is_finite le le_to lt lt_to max
  min mul mul_no_nan ne neg nextafter not or population_count psum pmax pmin psum_invariant real rem round
  select_n shift_left shift_right_arithmetic shift_right_logical sign square sub xor
"""

_TRANSCENDENTAL = """
  acos acosh asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt cos cosh digamma erf erf_inv erfc exp
  exp2 expm1 igamma igamma_grad_a igammac lgamma log log1p logistic polygamma pow
  regularized_incomplete_beta rsqrt sin sinh sqrt tan tanh zeta
"""

_OVER_THE_INPUT = """
  argmax argmin cumlogsumexp cummax cummin cumprod cumsum reduce_and reduce_max reduce_min reduce_or
  reduce_prod reduce_sum reduce_xor reduce select_and_scatter_add select_and_scatter select_and_gather_add
  top_k approx_top_k
"""

# Threefry turns two words into two by 20 rounds of 5 operations each and 5 additions of key words.
_FLOPS_OF_A_RANDOM_WORD = 57


def is_known(primitive: Any) -> bool:
  """Whether there is a rule for a primitive."""
  return primitive.name in _RULES


def work_of(equation: Any) -> tuple[Work, str | None]:
  """What an equation without a body does, and a note: "estimate", "unknown" (then only bytes are known), or None."""
  rule, mark = _RULES.get(equation.primitive.name, _UNKNOWN)
  return Work(*rule(equation), *traffic(equation)), mark


def traffic(equation: Any) -> tuple[Count, Count]:
  """Bytes of the inputs and of the outputs of an equation."""
  read = sum(_nbytes(v.aval) for v in equation.invars if not hasattr(v, "val"))
  return read, sum(_nbytes(v.aval) for v in equation.outvars)


def size(shape: tuple[Count, ...]) -> Count:
  """How many elements a shape has."""
  return math.prod(shape)


def _nbytes(aval: Any) -> Count:
  return size(aval.shape) * itemsize(str(aval.dtype)) if hasattr(aval, "shape") else 0


def _in(equation: Any, index: int = 0) -> Count:
  return size(equation.invars[index].aval.shape)


def _out(equation: Any) -> Count:
  return size(equation.outvars[0].aval.shape)


def _dot_general(equation: Any) -> Count:
  (contracted, _), _ = equation.params["dimension_numbers"]
  left = equation.invars[0].aval.shape
  return 2 * _out(equation) * size(tuple(left[i] for i in contracted))


def _ragged_dot_general(equation: Any) -> Count:
  """[m, k] rows, each with its group's [k, n] matrix (Gale et al. 2022, arXiv:2211.15841)."""
  numbers = equation.params["ragged_dot_dimension_numbers"].dot_dimension_numbers
  left = equation.invars[0].aval.shape
  return 2 * _out(equation) * size(tuple(left[i] for i in numbers[0][0]))


def _convolution(equation: Any) -> Count:
  """Each output is a product with a window of the kernel; zeros put between the inputs are not multiplied."""
  numbers = equation.params["dimension_numbers"]
  kernel = equation.invars[1].aval.shape
  _, features, *window = (kernel[i] for i in numbers.rhs_spec)
  holes = size(equation.params["lhs_dilation"] or ())
  return 2 * _out(equation) * features * size(tuple(window)) // holes


def _integer_pow(equation: Any) -> Count:
  """Squarings and multiplications of the binary method."""
  power = equation.params["y"]
  steps = max(abs(power).bit_length() + abs(power).bit_count() - 2, 0) + (power < 0)
  return steps * _out(equation)


def _reduce_window(equation: Any) -> Count:
  return _out(equation) * size(equation.params["window_dimensions"])


def _sort(equation: Any) -> Count:
  """Comparisons: n log2(n), where n has a number."""
  length = equation.invars[0].aval.shape[equation.params.get("dimension", -1)]
  return _in(equation) * (max(length - 1, 1).bit_length() if isinstance(length, int) else 1)


def _fft(equation: Any) -> Count:
  """5 n log2(n) (Cooley and Tukey 1965)."""
  return 5 * _out(equation) * max(math.prod(equation.params["fft_lengths"]) - 1, 1).bit_length()


def _cubic(factor: Callable[[Count], Count]) -> Callable[[Any], Count]:
  """FLOPs of a decomposition of [batch..., m, n]: m times n times the shorter side times a factor."""

  def rule(equation: Any) -> Count:
    *batch, m, n = equation.invars[0].aval.shape
    return factor(
      size(tuple(batch)) * m * n * (min(m, n) if isinstance(m, int) and isinstance(n, int) else n)
    )

  return rule


def _triangular_solve(equation: Any) -> Count:
  return _in(equation, 1) * equation.invars[0].aval.shape[-1]


def _matmul(rule: Callable[[Any], Count]) -> Callable[[Any], tuple[Count, Count, Count]]:
  return lambda equation: (rule(equation), 0, 0)


def _elementwise(rule: Callable[[Any], Count]) -> Callable[[Any], tuple[Count, Count, Count]]:
  return lambda equation: (0, rule(equation), 0)


_Rule = tuple[Callable[[Any], tuple[Count, Count, Count]], str | None]
"""(equation -> FLOPs of products, other FLOPs, transcendentals; a mark)"""

_UNKNOWN: _Rule = (lambda equation: (0, 0, 0), "unknown")

_RULES: dict[str, _Rule] = {
  **{name: (lambda equation: (0, 0, 0), None) for name in _MOVES.split()},
  **{name: (_elementwise(_out), None) for name in _ELEMENTWISE.split()},
  **{name: (lambda equation: (0, 0, _out(equation)), None) for name in _TRANSCENDENTAL.split()},
  **{name: (_elementwise(_in), None) for name in _OVER_THE_INPUT.split()},
  "clamp": (_elementwise(lambda e: 2 * _out(e)), None),
  "conv_general_dilated": (_matmul(_convolution), None),
  "dot_general": (_matmul(_dot_general), None),
  "ragged_dot_general": (_matmul(_ragged_dot_general), None),
  "integer_pow": (_elementwise(_integer_pow), None),
  **{
    name: (_elementwise(_reduce_window), None)
    for name in ("reduce_window", "reduce_window_sum", "reduce_window_max", "reduce_window_min")
  },
  **{
    name: (_elementwise(lambda e: _in(e, 2)), None)
    for name in ("scatter-add", "scatter-mul", "scatter-min", "scatter-max", "scatter-sub")
  },
  "random_bits": (_elementwise(lambda e: _FLOPS_OF_A_RANDOM_WORD * _out(e)), "estimate"),
  **{
    name: (_elementwise(lambda e: 2 * _FLOPS_OF_A_RANDOM_WORD * _out(e)), "estimate")
    for name in ("random_seed", "random_split", "random_fold_in", "threefry2x32")
  },
  "sort": (_elementwise(_sort), "estimate"),
  "fft": (_elementwise(_fft), "estimate"),
  "cholesky": (_elementwise(_cubic(lambda n: n // 3)), "estimate"),
  "lu": (_elementwise(_cubic(lambda n: 2 * n // 3)), "estimate"),
  "qr": (_elementwise(_cubic(lambda n: 2 * n)), "estimate"),
  "geqrf": (_elementwise(_cubic(lambda n: 2 * n)), "estimate"),
  "householder_product": (_elementwise(_cubic(lambda n: 2 * n)), "estimate"),
  "eigh": (_elementwise(_cubic(lambda n: 9 * n)), "estimate"),
  "svd": (_elementwise(_cubic(lambda n: 12 * n)), "estimate"),
  "triangular_solve": (_matmul(_triangular_solve), None),
}
