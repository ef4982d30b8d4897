"""Axes and sizes in the forms that layers are given them, as functions of plain numbers.

The modules of `minilinen.layers` and the functional layers of `core.nn` both use them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from jax import lax


def as_tuple(x: Any) -> tuple[Any, ...]:
  """One thing, or several, as a tuple.

  >>> as_tuple(3), as_tuple([3, 4])
  ((3,), (3, 4))
  """
  return tuple(x) if isinstance(x, Iterable) else (x,)


def positive_axes(axes: int | Iterable[int], ndim: int) -> tuple[int, ...]:
  """Axes counted from the front.

  >>> positive_axes((0, -1), 4)
  (0, 3)
  """
  return tuple(ax if ax >= 0 else ndim + ax for ax in as_tuple(axes))


def ascending_axes(axes: int | Iterable[int], ndim: int) -> tuple[int, ...]:
  """Axes counted from the front, the first one first: the order that the layers take them in.

  >>> ascending_axes((-1, 0), 4)
  (0, 3)
  """
  return tuple(sorted(positive_axes(axes, ndim)))


def per_axis(x: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
  """A number for each of `rank` spatial axes; None is 1."""
  if x is None:
    x = 1
  return (x,) * rank if isinstance(x, int) else tuple(x)


def conv_dimension_numbers(ndim: int) -> lax.ConvDimensionNumbers:
  """Batch first, features last; kernels [spatial..., in, out]."""
  ends = (0, ndim - 1, *range(1, ndim - 1))
  return lax.ConvDimensionNumbers(ends, (ndim - 1, ndim - 2, *range(ndim - 2)), ends)
