"""May be skipped: how often a window meets something, for the FLOPs of convolutions and pooling (`work`).

A window slides over an input that has zeros around it (padding) and between its elements (dilation). Products with
those zeros are no work: a transposed convolution, and the gradient of one with strides, mostly meet them. Here it is
counted, axis by axis, how often an entry of the window meets an element, as XLA's cost analysis does; sizes may be
symbolic.
"""

from __future__ import annotations

import math

from jax import core

from minilinen.tracing.equations.formula import Count


def meetings(
  inputs: Count, window: Count, outputs: Count, stride: int, low: Count, holes: int, spread: int
) -> Count | None:
  """How often, along one axis, an entry of a window meets an element; None if sizes are symbols that do not tell.

  At output i the entry j of the window stands at the place `i * stride + j * spread - low` of the dilated input.

  Args:
    inputs, window, outputs: how many elements there are of each.
    stride: of the window.
    low: how much padding is before the input; negative if it is cut off.
    holes: the dilation of the input: from one element to the next.
    spread: the dilation of the window.

  >>> meetings(5, 3, 5, stride=1, low=1, holes=1, spread=1)  # a window of 3 over 5 elements: twice one is outside
  13
  >>> meetings(1, 3, 3, stride=1, low=2, holes=1, spread=1)  # transposed: each element meets each entry once
  3
  """
  last = (inputs - 1) * holes
  if isinstance(window, int) and not (isinstance(outputs, int) and outputs < window):
    found = [_places(outputs, stride, entry * spread - low, last, holes) for entry in range(window)]
  elif isinstance(outputs, int):
    found = [_places(window, spread, place * stride - low, last, holes) for place in range(outputs)]
  else:
    return None
  known = [count for count in found if count is not None]
  return sum(known) if len(known) == len(found) else None


def _places(numbers: Count, step: int, start: Count, last: Count, holes: int) -> Count | None:
  """For how many i in `range(numbers)` an element is at `start + i * step`: one of 0, holes, 2 * holes ... last."""
  common = math.gcd(step, holes)
  if common > 1 and not isinstance(start, int):
    return None
  if start % common:
    return 0
  period = holes // common
  first = core.max_dim(0, -(start // step))
  if period > 1:
    first = first + (-(start // common) * pow(step // common, -1, period) - first) % period
  end = core.min_dim(numbers - 1, (last - start) // step)
  return core.max_dim(0, (end - first) // period + 1)
