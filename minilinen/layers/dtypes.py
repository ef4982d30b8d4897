"""Which dtype a layer computes in: its own if it names one, else what its inputs and parameters promote to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Dtype = Any
Array = jax.Array
Precision = None | str | jax.lax.Precision
PrecisionLike = Precision | tuple[Precision, Precision]
# `lambda key, shape, dtype: ...` is one too, which JAX's protocol would have named as its own parameters are.
Initializer = jax.nn.initializers.Initializer | Callable[..., Any]


def canonicalize_dtype(*args: Any, dtype: Dtype | None = None, inexact: bool = True) -> Dtype:
  """The dtype to compute in.

  Args:
    *args: arrays; None is passed over.
    dtype: the dtype that was asked for; if None it is what the arrays promote to.
    inexact: whether it must be a floating point or complex dtype.

  Raises:
    ValueError: if a dtype was asked for that is not inexact although it must be.
  """
  if dtype is None:
    found = {_known(x) for x in args if x is not None}
    if len(found) == 1 and found <= _USUAL:
      return found.pop()
    dtype = jnp.result_type(*[jnp.asarray(x) for x in args if x is not None])
    if inexact and not jnp.issubdtype(dtype, jnp.inexact):
      dtype = jnp.promote_types(jnp.float32, dtype)
  if inexact and not jnp.issubdtype(dtype, jnp.inexact):
    raise ValueError(f"Dtype must be inexact: {dtype}. Use a floating point dtype such as jnp.bfloat16.")
  return dtype


def promote_dtype(*args: Any, dtype: Dtype | None = None, inexact: bool = True) -> list[Any]:
  """The arrays in the dtype that `canonicalize_dtype` gives; None stays None.

  >>> [x.dtype.name for x in promote_dtype(jnp.ones(2, jnp.bfloat16), jnp.ones(2))]
  ['float32', 'float32']
  """
  dtype = canonicalize_dtype(*args, dtype=dtype, inexact=inexact)
  return [as_dtype(x, dtype) if x is not None else None for x in args]


def as_dtype(x: Any, dtype: Dtype) -> Any:
  """`jnp.asarray(x, dtype)`, without asking JAX where nothing is to be done, as nearly always.

  >>> as_dtype(1, jnp.float32).dtype
  dtype('float32')
  """
  return x if _known(x) == dtype else jnp.asarray(x, dtype)


# Those that no setting of JAX's turns into others.
_USUAL = frozenset(map(jnp.dtype, ("float32", "bfloat16", "float16")))


def _known(x: Any) -> Dtype:
  """The dtype of an array, if it is a usual one and not weak; else False, which is no dtype."""
  return isinstance(x, jax.Array) and not getattr(x, "weak_type", True) and x.dtype in _USUAL and x.dtype
