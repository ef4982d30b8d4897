"""The dtype whose gradients are merged by maximum: for what float8 layers remember of the largest values they saw.

JAX adds the gradients of a value that is used more than once. The "gradient" of a scale or of a history is its
next value (see `layers/fp8_ops.py`), and next values must not be added: of two, the larger is right. So a user
who shares them among the steps of a loop turns them into `fm32` first, and back into float32 after:

  scale = jax.lax.convert_element_type(scale, fm32)

Values of this dtype exist only in programs that JAX is writing down, so all of this stands inside `jax.jit`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import core, lax

from minilinen.jax_internals import ExtendedDType


class fp8_meta_dtype(jax.dtypes.extended):
  """What `jnp.issubdtype` tells such dtypes by."""


class Fp8MetaTyRules:
  """What JAX asks of a dtype that numpy does not know."""

  @staticmethod
  def physical_element_aval(dtype: Any) -> Any:
    """What an element is stored as."""
    return core.ShapedArray((), jnp.dtype(dtype.float_dtype))

  @staticmethod
  def tangent_dtype(dtype: Any) -> Any:
    """The dtype of a gradient."""
    return dtype

  @staticmethod
  def full(shape: Any, fill_value: Any, dtype: Any) -> Any:
    """An array of one value."""
    return lax.convert_element_type(jnp.full(shape, fill_value, dtype=dtype.float_dtype), dtype)

  @staticmethod
  def add(dt: Any, x: Any, y: Any) -> Any:
    """Two gradients of one value: the larger of each pair of elements."""
    larger = jnp.maximum(_as_float(x, dt), _as_float(y, dt))
    return lax.convert_element_type(larger, dt)

  @staticmethod
  def zero(dt: Any) -> Any:
    """The gradient of a value that is not used: less than any other."""
    return lax.convert_element_type(jnp.array(-jnp.inf, dtype=dt.float_dtype), dt)

  @staticmethod
  def convert_from(fp8_meta_dtype: Any, other_dtype: Any) -> bool:
    """Whether such values can be turned into another dtype."""
    return fp8_meta_dtype.float_dtype == other_dtype

  @staticmethod
  def convert_to(other_dtype: Any, fp8_meta_dtype: Any) -> bool:
    """Whether another dtype can be turned into this one."""
    return fp8_meta_dtype.float_dtype == other_dtype

  @staticmethod
  def global_sharded_result_handler(aval: Any, out_sharding: Any, committed: bool) -> Any:
    """Values outside of a jitted function, of which there are none.

    Raises:
      TypeError: always.
    """
    raise TypeError(
      f"A value of dtype {aval.dtype} would leave a jitted function. Put what uses it under jax.jit, and turn it "
      f"back with jax.lax.convert_element_type(x, jnp.float32) before it is returned."
    )


@dataclasses.dataclass(frozen=True)
class fp8_meta_dtype_wrapper(ExtendedDType):
  """A dtype for meta values that are stored as floats.

  Attributes:
    float_dtype: what they are stored as.
  """

  float_dtype: Any
  _rules: type = Fp8MetaTyRules
  type: type = fp8_meta_dtype

  @property
  def name(self) -> str:
    """fp8_meta and the number of bits."""
    return f"fp8_meta{jnp.dtype(self.float_dtype).itemsize * 8}"

  __str__ = __repr__ = name.fget  # type: ignore[assignment]


fm32 = fp8_meta_dtype_wrapper(jnp.float32)
fp32_max_grad = fm32


def is_meta(x: Any) -> bool:
  """Whether a value is of such a dtype."""
  return isinstance(getattr(x, "dtype", None), fp8_meta_dtype_wrapper)


def as_float(x: Any) -> Any:
  """The float that a meta value is stored as; other values as they are."""
  return _as_float(x, x.dtype) if is_meta(x) else x


def _as_float(x: Any, dtype: Any) -> Any:
  return lax.convert_element_type(x, dtype.float_dtype)
