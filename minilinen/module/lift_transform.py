"""May be skipped: a transform of scopes that a user has written, for modules: Linen's `nn.transforms.lift_transform`.

The transforms of minilinen take modules by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minilinen.module.module import Module


def lift_transform(
  transform: Callable[..., Any], target: Any, *trafo_args: Any, methods: Any = None, **trafo_kwargs: Any
) -> Any:
  """A module class, or a method, as a transform of functions of a scope makes it.

  Args:
    transform: takes a function of a scope first, and gives one: `core.lift.vmap`, or a function of the user's over
      such transforms.
    target: the class, or the method.
    *trafo_args, **trafo_kwargs: its other arguments.
    methods: of a class, which methods are lifted: a name, several, or name -> arguments of the transform by name;
      `__call__` by default.

  >>> import jax, minilinen as nn
  >>> def twice(fn, axes):
  ...   return nn.core.lift.vmap(nn.core.lift.jit(fn), variable_axes=axes, split_rngs={"params": True})
  >>> Heads = nn.transforms.lift_transform(twice, nn.Dense, {"params": 0})
  >>> variables = Heads(3).init(jax.random.key(0), jax.numpy.ones((2, 4)))
  >>> variables["params"]["kernel"].shape
  (2, 4, 3)
  """
  if isinstance(target, type) and issubclass(target, Module):

    def one(fn: Callable[..., Any], **own: Any) -> Any:
      return transform(fn, *trafo_args, **(own or trafo_kwargs))

    prefix = getattr(transform, "__name__", "").capitalize()
    return target.__lift__(one, prefix, methods)  # type: ignore[attr-defined]
  return transform(target, *trafo_args, **trafo_kwargs)
