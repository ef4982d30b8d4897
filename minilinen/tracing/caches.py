"""JAX's caches, put aside while somebody records.

A jitted function that JAX finds in its cache is not run by Python, and the modules in it would be missed. So `record`
makes the caches look empty: it puts the recording's number into their keys. Inside a layer of minilinen's, which
calls nothing but JAX, the call wrapper puts the caches back, or every recording would trace all of `jax.numpy` anew;
what a layer calls in its turn (the modules of a `Sequential`) has them put aside again.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import jax

_part_of_keys = jax.make_user_context()


def caches_aside(recording: int) -> AbstractContextManager[None]:
  """For a `with` block, of what JAX has traced before only that is found which this recording saw."""
  return _part_of_keys(recording)


def caches_back() -> AbstractContextManager[None]:
  """For a `with` block, the caches are as they are for those who don't record."""
  return _part_of_keys(None)
