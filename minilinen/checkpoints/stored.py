"""An array in a file, of which only the header was read, and what every kind of file has to check.

Each kind of file gives a nested dict of these (`safetensors`, `npz`, `msgpack`, `orbax`); `files` reads the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from minilinen.tracing.paths import Path
from minilinen.tracing.spec import KEYS, Spec

Names = tuple[str, ...]


class Damaged(ValueError):
  """What a file says cannot be; the text is what is said of it."""


@dataclass(frozen=True, eq=False)
class StoredArray:
  """An array in a file. `np.asarray` reads it, and so does `value`.

  Attributes:
    shape: its sizes.
    dtype: the name of its dtype; of random keys "key<fry>" and the like.
    read: reads its values; of random keys their raw data.
  """

  shape: tuple[int, ...]
  dtype: str
  read: Callable[[], np.ndarray] = field(repr=False)

  @property
  def size(self) -> int:
    """How many elements it has."""
    return math.prod(self.shape)

  @property
  def nbytes(self) -> int:
    """How many bytes its values have."""
    return self.size * dtype_of(self.dtype).itemsize

  def value(self) -> Any:
    """The array, or the random keys; as numpy's unless these are keys.

    Raises:
      Damaged: if the file has other values than its header says.
    """
    data = self.read()
    if self.dtype in KEYS:
      return jax.random.wrap_key_data(jax.numpy.asarray(data), impl=KEYS[self.dtype])
    if data.shape != self.shape or data.dtype != dtype_of(self.dtype):
      raise Damaged(
        f"its header says {self.dtype}{[*self.shape]}, and its values are {data.dtype}{[*data.shape]}"
      )
    return data

  def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    return np.asarray(self.read(), dtype)

  def __trace_describe__(self) -> Spec:
    return Spec(self.shape, self.dtype)


def stored(shape: Any, dtype: Any, read: Callable[[], np.ndarray], where: str) -> StoredArray:
  """An array as a header describes it.

  Raises:
    Damaged: if no array is like that; `where` names it.
  """
  right = isinstance(shape, (list, tuple)) and all(type(n) is int and n >= 0 for n in shape)
  if not right or len(shape) > 64 or math.prod(shape) >= 2**63:
    raise Damaged(f"{where} has the impossible shape {shape!r:.80}")
  if not isinstance(dtype, str) or dtype not in KEYS:
    found = dtype_of(dtype, where)
    dtype = found.name if found.kind not in "SU" and found.type is not np.void else found.str.lstrip("<>|=")
  return StoredArray(tuple(shape), dtype, read)


def stored_at(file: str, start: int, shape: Any, dtype: Any, where: str) -> StoredArray:
  """An array whose bytes stand in a file as they are, from a byte on."""

  def values() -> np.ndarray:
    return np.fromfile(file, dtype_of(dtype), array.size, offset=start).reshape(array.shape)

  array = stored(shape, dtype, values, where)
  return array


def dtype_of(name: Any, where: str = "an array") -> np.dtype[Any]:
  """The dtype of a name, those of JAX too.

  Raises:
    Damaged: if there is none, or its elements are Python objects.
  """
  try:
    found = jax.numpy.dtype(name) if isinstance(name, (str, np.dtype)) else None
  except TypeError:
    found = None
  if found is None or found.hasobject:
    raise Damaged(f"{where} has the unknown dtype {name!r:.80}")
  return found


def raw(key_or_array: Any) -> tuple[np.ndarray, str]:
  """An array, or the raw data of random keys, and the name of the dtype."""
  if isinstance(key_or_array, jax.Array) and jax.numpy.issubdtype(key_or_array.dtype, jax.dtypes.prng_key):
    return np.asarray(jax.random.key_data(key_or_array)), str(key_or_array.dtype)
  array = np.asarray(key_or_array)
  if array.dtype.hasobject:
    raise Damaged(f"a value of type {type(key_or_array).__name__} is no array")
  return array, array.dtype.name


def put(tree: dict[str, Any], path: Names, leaf: Any) -> None:
  """Sets a leaf of nested dicts.

  Raises:
    Damaged: if something stands there, or on the way.
  """
  node = tree
  for name in path[:-1]:
    node = node.setdefault(name, {})
    if not isinstance(node, dict):
      raise Damaged(f"it has something at {Path(path).bare!r:.200} and something else above it")
  if path[-1] in node and not (leaf == {} and isinstance(node[path[-1]], dict)):
    raise Damaged(f"it has {Path(path).bare!r:.200} twice")
  node[path[-1]] = leaf
