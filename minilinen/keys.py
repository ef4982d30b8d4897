"""The hash that folds a path and a counter into a random key.

Linen gives each place in a model keys of its own by folding its path and a counter into the key of a stream. The core
does that when a key that was drawn is asked for (`core.rng`), with the number from `hashed` alone in the program of an
initializer (`core.initial`), and the trace when it draws a recorded key again (`tracing.replay`).
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import jax
import numpy as np

Step = tuple[str | int, ...]


def fold(key: Any, parts: Step, separated: bool) -> Any:
  """Folds names and numbers into a key, as Linen does.

  Args:
    key: a key.
    parts: names of a path and a counter; without any the key stays as it is.
    separated: whether parts are kept apart in the hash.
  """
  return jax.random.fold_in(key, hashed(parts, separated)) if parts else key


@functools.lru_cache(maxsize=4096)
def hashed(parts: Step, separated: bool) -> np.uint32:
  """The number that stands for names and numbers: the first 32 bits of their SHA-1.

  Args:
    parts: names of a path and a counter.
    separated: whether a zero byte stands before each part; without it ("ab", "c")
      and ("a", "bc") give the same number.
  """
  texts = (p.encode() if isinstance(p, str) else p.to_bytes((p.bit_length() + 7) // 8, "big") for p in parts)
  text = b"".join(b"\x00" * separated + part for part in texts)
  return np.uint32(int.from_bytes(hashlib.sha1(text).digest()[:4], "big"))
