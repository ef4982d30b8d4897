"""May be skipped: warnings that read the numbers of an array, where they are there already.

While JAX traces there are none, and then nothing is said; nor is anybody made to wait for what an accelerator still
computes. What the CPU computes is waited for, so that the same program always says the same there. No equation comes
of it.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from minilinen import errors, jax_internals


def numbers_of(x: Any) -> np.ndarray | None:
  """The numbers of an array, those of all elements where it is mapped; None if they are not there.

  >>> numbers_of(np.arange(2))
  array([0, 1])
  """
  x = jax_internals.number_behind(x)
  if x is None or (isinstance(x, jax.Array) and not (_is_near(x.sharding) or _is_there(x))):
    return None
  return np.asarray(x)


@functools.lru_cache(maxsize=16)
def _is_near(sharding: jax.sharding.Sharding) -> bool:
  """Whether arrays that lie like this are this process's, and the CPU's; kept, as each step asks."""
  return sharding.is_fully_addressable and all(device.platform == "cpu" for device in sharding.device_set)


def _is_there(x: jax.Array) -> bool:
  return x.is_fully_addressable and getattr(x, "is_ready", bool)()


def warn_if_full(index: Any, length: int, of: Any, name: str = "", **case: Any) -> None:
  """Warns if a cache of this length has no place for a position; `of` is its module, or the scope of `name`."""
  known = numbers_of(index)
  if known is not None and known.size and (position := int(known.max())) >= length:
    errors.warn(errors.FullCacheWarning(name or type(of).__name__, str(of.path), position, length, **case))


def _are_within(numbers: np.ndarray, size: int) -> bool:
  """Whether numbers are from 0 to below a size, by what costs little: as unsigned, negative ones are the largest."""
  kind = numbers.dtype
  if kind.kind not in "iu" or not kind.isnative:
    return False
  return 0 <= numbers.item(numbers.view(_UNSIGNED[kind.itemsize]).argmax()) < size


_UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


def warn_of_ids(ids: Any, size: int, instead: str, of: Any = None) -> None:
  """Warns if numbers are looked up that a table of this size has not: negative ones count from the end.

  Args:
    ids: the numbers.
    size: how many rows the table has.
    instead: what it gives for others, if it has several.
    of: the module that has the table, if it is one.
  """
  known = numbers_of(ids)
  if known is None or not known.size or _are_within(known, size):
    return
  low, high = int(known.min()), int(known.max())
  if high >= size or low < -size:
    path = "" if of is None else str(of.path)
    whose = "an Embedding" if of is None else f"{type(of).__name__} in {path!r}"
    gives = "its only vector" if size == 1 else instead
    errors.warn(errors.IdsOutsideWarning(whose, path, high if high >= size else low, size, gives))
