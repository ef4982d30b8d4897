"""What one equation of a jaxpr costs, by its primitive.

`reading` asks this for every equation that it reads; loops and branches are its affair, here an equation runs
once. Sizes may be symbolic, and then the costs are formulas. The counts follow XLA's cost analysis where it has
a rule: a multiplication and an addition are two FLOPs, whatever is done to each element is one, functions such
as `exp` are counted apart. Where they differ:

- changing a dtype, and deriving a random key from another, are no arithmetic here;
- pooling does not count what is added to padding;
- bytes are those of every input and output, as if each equation went through memory; XLA counts after fusion;
- random bits, sorting, decompositions and Fourier transforms are estimates.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from minilinen.tracing.equations.formula import Count
from minilinen.tracing.equations.windows import meetings
from minilinen.tracing.equations.work import Work
from minilinen.tracing.spec import itemsize

Counts = tuple[Count, Count, Count, str | None]
Rule = Callable[[Any], Counts]
"""From an equation to its FLOPs of products, other FLOPs, transcendentals, and a note."""

_MOVES = """
  all_gather all_to_all axis_index bitcast_convert_type broadcast_in_dim concatenate convert_element_type
  copy copy_p create_token debug_callback debug_print device_put dynamic_slice dynamic_update_slice empty
  empty2 full gather iota mesh_cast name optimization_barrier pad pbroadcast ppermute pvary random_clone
  random_fold_in random_seed random_split random_unwrap random_wrap reduce_precision reshape reshard rev
  scatter sharding_constraint slice split squeeze stack stop_gradient tile transpose unstack
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

_REDUCTIONS = """
  argmax argmin reduce reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum reduce_xor
"""

_WINDOWED = "reduce_window reduce_window_max reduce_window_min reduce_window_sum"

_CUMULATIVE = "cumlogsumexp cummax cummin cumprod cumsum"

_SCATTERS = "scatter-add scatter-mul scatter-min scatter-max scatter-sub"

# Threefry turns two words into two by 20 rounds of 5 operations each and 5 additions of key words.
_FLOPS_OF_A_RANDOM_WORD = 57


def is_known(primitive: Any) -> bool:
  """Whether there is a rule for a primitive."""
  return primitive.name in _RULES


def work_of(equation: Any) -> tuple[Work, str | None]:
  """What an equation without a body does, and a note: "estimate", "unknown" (then only bytes are known), or None."""
  products, others, functions, note = _RULES.get(equation.primitive.name, _unknown)(equation)
  return Work(products, others, functions, *traffic(equation)), note


def traffic(equation: Any) -> tuple[Count, Count]:
  """Bytes of the inputs and of the outputs of an equation."""
  read = sum(_nbytes(v.aval) for v in equation.invars if not hasattr(v, "val"))
  return read, sum(_nbytes(v.aval) for v in equation.outvars)


def size(shape: tuple[Count, ...]) -> Count:
  """How many elements a shape has."""
  return math.prod(shape)


def _nbytes(aval: Any) -> Count:
  return size(aval.shape) * _itemsize(aval.dtype) if hasattr(aval, "shape") else 0


@functools.lru_cache(maxsize=256)
def _itemsize(dtype: Any) -> int:
  return itemsize(str(dtype))


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


def _convolution(equation: Any) -> Counts:
  """Each output is a product with a window of the kernel; zeros around and between the inputs are not multiplied."""
  params, numbers = equation.params, equation.params["dimension_numbers"]
  image, kernel = (v.aval.shape for v in equation.invars)
  out = equation.outvars[0].aval.shape
  sizes = [[shape[i] for i in spec[2:]] for shape, spec in zip((image, kernel, out), numbers)]
  met = _met(params, sizes, ("lhs_dilation", "rhs_dilation"))
  pairs = size(tuple(out[i] for i in numbers.out_spec[:2])) * kernel[numbers.rhs_spec[1]]
  if met is None:
    return 2 * pairs * size(tuple(sizes[1])) * size(tuple(sizes[2])), 0, 0, "estimate"
  return 2 * pairs * met, 0, 0, None


def _met(params: Any, sizes: Sequence[Sequence[Count]], dilations: tuple[str, str]) -> Count | None:
  """How often a window meets an element, over all its axes; None if that is not known of one.

  Args:
    params: of the equation.
    sizes: those of the input, of the window and of the output, axis by axis.
    dilations: the names of the parameters for that of the input and that of the window.
  """
  lows = [low for low, _ in params["padding"]]
  each = zip(*sizes, params["window_strides"], lows, *(params[name] for name in dilations))
  found = [meetings(*axis) for axis in each]
  return None if None in found else size(tuple(found))


def _integer_pow(equation: Any) -> Count:
  """Squarings and multiplications of the binary method."""
  power = equation.params["y"]
  steps = max(abs(power).bit_length() + abs(power).bit_count() - 2, 0) + (power < 0)
  return steps * _out(equation)


def _reduction(equation: Any) -> Count:
  """Of n elements that become one, all but the first are added to it."""
  return _beyond(_in(equation), _out(equation))


def _cumulative(equation: Any) -> Count:
  shape, axis = equation.invars[0].aval.shape, equation.params["axis"]
  return _beyond(size(shape), size(shape[:axis] + shape[axis + 1 :]))


def _beyond(many: Count, first: Count) -> Count:
  """How many more there are; symbols are never 0, but a reduction of nothing has more results than elements."""
  return max(many - first, 0) if isinstance(many, int) and isinstance(first, int) else many - first


def _pooling(equation: Any) -> Counts:
  params, out = equation.params, _out(equation)
  window = params["window_dimensions"]
  sizes = equation.invars[0].aval.shape, window, equation.outvars[0].aval.shape
  met = _met(params, sizes, ("base_dilation", "window_dilation"))
  if met is None:
    return 0, out * (size(window) - 1), 0, "estimate"
  return 0, _beyond(met, out), 0, None


def _pooled_back(equation: Any) -> Count:
  """In each window the greatest is looked for, and what belongs to it is added there."""
  return _in(equation) * size(equation.params["window_dimensions"])


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


def _matmul(rule: Callable[[Any], Count]) -> Rule:
  return lambda equation: (rule(equation), 0, 0, None)


def _elementwise(rule: Callable[[Any], Count], note: str | None = None) -> Rule:
  return lambda equation: (0, rule(equation), 0, note)


def _unknown(equation: Any) -> Counts:
  return 0, 0, 0, "unknown"


_RULES: dict[str, Rule] = {
  **{name: (lambda equation: (0, 0, 0, None)) for name in _MOVES.split()},
  **{name: _elementwise(_out) for name in _ELEMENTWISE.split()},
  **{name: (lambda equation: (0, 0, _out(equation), None)) for name in _TRANSCENDENTAL.split()},
  **{name: _elementwise(_reduction) for name in _REDUCTIONS.split()},
  **{name: _elementwise(_cumulative) for name in _CUMULATIVE.split()},
  **{name: _elementwise(_in) for name in ("top_k", "approx_top_k")},
  **dict.fromkeys(_WINDOWED.split(), _pooling),
  **{name: _elementwise(_pooled_back) for name in ("select_and_scatter_add", "select_and_scatter")},
  **{name: _elementwise(lambda e: _in(e, 2)) for name in _SCATTERS.split()},
  "select_and_gather_add": _elementwise(lambda e: _out(e) * (size(e.params["window_dimensions"]) - 1)),
  "clamp": _elementwise(lambda e: 2 * _out(e)),
  "conv_general_dilated": _convolution,
  "dot_general": _matmul(_dot_general),
  "ragged_dot_general": _matmul(_ragged_dot_general),
  "integer_pow": _elementwise(_integer_pow),
  "random_bits": _elementwise(lambda e: _FLOPS_OF_A_RANDOM_WORD * _out(e), "estimate"),
  "threefry2x32": _elementwise(lambda e: 2 * _FLOPS_OF_A_RANDOM_WORD * _out(e), "estimate"),
  "sort": _elementwise(_sort, "estimate"),
  "fft": _elementwise(_fft, "estimate"),
  "cholesky": _elementwise(_cubic(lambda n: n // 3), "estimate"),
  "lu": _elementwise(_cubic(lambda n: 2 * n // 3), "estimate"),
  "qr": _elementwise(_cubic(lambda n: 2 * n), "estimate"),
  "geqrf": _elementwise(_cubic(lambda n: 2 * n), "estimate"),
  "householder_product": _elementwise(_cubic(lambda n: 2 * n), "estimate"),
  "eigh": _elementwise(_cubic(lambda n: 9 * n), "estimate"),
  "svd": _elementwise(_cubic(lambda n: 12 * n), "estimate"),
  "triangular_solve": _matmul(_triangular_solve),
}
