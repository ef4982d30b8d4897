"""Whether calls of modules show in JAX's profiles and jaxprs, as functions: the setting `config.profile`.

A setting holds for all threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from minilinen.config import config


def enable_named_call() -> None:
  """Every call opens a `jax.named_scope` from now on."""
  config.update("profile", True)


def disable_named_call() -> None:
  """No call opens a `jax.named_scope` from now on."""
  config.update("profile", False)


@contextlib.contextmanager
def override_named_call(enable: bool = True) -> Iterator[None]:
  """Whether calls open a `jax.named_scope`, for the length of a `with` block.

  >>> with override_named_call(False):
  ...   config.profile
  False
  """
  with config.temp_flip_flag("profile", enable):
    yield
