"""May be skipped: which of JAX's transforms is under way, for code that must not be inside of another."""

from __future__ import annotations

from typing import Any

from minilinen import errors, jax_internals


def current_trace() -> Any:
  """JAX's object for the innermost transform that is under way; eager evaluation counts as one.

  >>> check_trace_level(current_trace())
  """
  return jax_internals.current_trace()


def check_trace_level(base_level: Any) -> None:
  """Checks that no transform was entered since `current_trace` gave `base_level`.

  Raises:
    JaxTransformError: if one was.
  """
  if current_trace() is not base_level:
    raise errors.JaxTransformError()
