"""May be skipped: calls of modules in JAX's profiles, and functions that show there like methods.

Whether calls show is the setting `config.profile`, for all threads; here it is as Linen's functions.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax

from minilinen import errors
from minilinen.configurations import config
from minilinen.core.callables import named
from minilinen.module.call import label_of
from minilinen.module.module import Module

F = TypeVar("F", bound=Callable[..., Any])


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


def named_call(class_fn: F, force: bool = True) -> F:
  """A function that shows under the name of its module: `nn.named_call(helper)(self, x)` shows as "Net.helper".

  Args:
    class_fn: called with a module first; a method, or a function.
    force: whether also if calls show in no profile.

  Raises:
    LiftedFunctionError: by the function, if its first argument is no module.
  """
  class_fn = named(class_fn)  # type: ignore[assignment]

  @functools.wraps(class_fn)
  def call(self: Module, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(self, Module):
      raise errors.LiftedFunctionError(class_fn.__name__, self)
    if not (force or config.profile):
      return class_fn(self, *args, **kwargs)
    with jax.named_scope(label_of(self, class_fn.__name__)):
      return class_fn(self, *args, **kwargs)

  return call  # type: ignore[return-value]
