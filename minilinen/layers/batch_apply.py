"""`BatchApply`: a function of one batch axis, called on several, which it sees as one.

The small functions below are what it is made of; they are public as `nn.batch_apply`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def ndim_at_least(x: Any, num_dims: int) -> bool:
  """Whether an array, or a number, has at least so many axes."""
  return jnp.ndim(x) >= num_dims


def arbitrary_mergeable_leaf(min_num_dims: int, args: Any, kwargs: Any) -> Any:
  """The first array with at least so many axes among the arguments, or None."""
  leaves = jax.tree.leaves((args, kwargs))
  return next((leaf for leaf in leaves if ndim_at_least(leaf, min_num_dims)), None)


def merge_leading_dims(x: Any, num_dims: int) -> Any:
  """The first axes made one; what has fewer stays as it is.

  >>> merge_leading_dims(jnp.ones((2, 3, 4)), 2).shape
  (6, 4)
  """
  if not ndim_at_least(x, num_dims):
    return x
  return jnp.reshape(x, (math.prod(x.shape[:num_dims]), *x.shape[num_dims:]))


def split_leading_dim(x: Any, to_dim: Sequence[int]) -> Any:
  """The first axis made several, of the sizes given.

  >>> split_leading_dim(jnp.ones((6, 4)), (2, 3)).shape
  (2, 3, 4)
  """
  return jnp.reshape(x, (*to_dim, *x.shape[1:]))


class BatchApply:
  """Calls a function, or a module, with the leading axes of all arrays merged to one, and splits them again.

  Args:
    f: what is called. Arrays with fewer axes than `num_dims` reach it as they are.
    num_dims: how many leading axes are merged; all arrays have the same ones.

  >>> import jax, minilinen as nn
  >>> BatchApply(lambda x: x + jnp.arange(6)[:, None])(jnp.ones((2, 3, 4))).shape
  (2, 3, 4)
  """

  def __init__(self, f: Callable[..., Any], num_dims: int = 2):
    self._f = f
    self.num_dims = num_dims

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    """What `f` returns, with the leading axes of the first array that has enough of them.

    Raises:
      ValueError: if no array has enough axes.
    """
    example = arbitrary_mergeable_leaf(self.num_dims, args, kwargs)
    if example is None:
      shapes = ", ".join(str(jnp.shape(leaf)) for leaf in jax.tree.leaves((args, kwargs)))
      raise ValueError(
        f"BatchApply requires at least one input with ndim >= {self.num_dims}: the shapes are {shapes or 'none'}."
      )
    merged = jax.tree.map(lambda x: merge_leading_dims(x, self.num_dims), (args, kwargs))
    args, kwargs = merged
    outputs = self._f(*args, **kwargs)
    return jax.tree.map(lambda x: split_leading_dim(x, example.shape[: self.num_dims]), outputs)
