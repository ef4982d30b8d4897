"""May be skipped: Python's garbage collector rests while very many objects are made that stay."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
  """A `with` block, or a function, without the collector, which would look at all that is alive again and again.

  Only for what runs no code of the user's.
  """
  enabled = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    if enabled:
      gc.enable()
