"""JAX's caches, put aside while somebody records.

A jitted function that JAX finds in its cache is not run by Python, and the modules in it would be missed. So `record`
makes the caches look empty: it puts an object of its own into their keys. Inside a layer of minilinen's, which
calls nothing but JAX, the call wrapper puts the caches back, or every recording would trace all of `jax.numpy` anew.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import jax

_part_of_keys = jax.make_user_context()


def caches_aside() -> AbstractContextManager[None]:
  """For a `with` block, nothing that JAX has traced before is found."""
  return _part_of_keys(object())


def caches_back() -> AbstractContextManager[None]:
  """For a `with` block, the caches are as they are for those who don't record."""
  return _part_of_keys(None)
