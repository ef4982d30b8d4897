"""The table of a model as a function of its arguments: `nn.tabulate(model, key)(x)` is `model.tabulate(key, x)`."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any

from minilinen.core.filters import CollectionFilter, DenyList
from minilinen.module import Module

_ALL_BUT_INTERMEDIATES = DenyList("intermediates")


def tabulate(
  module: Module,
  rngs: Any,
  depth: int | None = None,
  show_repeated: bool = False,
  mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
  console_kwargs: Mapping[str, Any] | None = None,
  table_kwargs: Mapping[str, Any] = types.MappingProxyType({}),
  column_kwargs: Mapping[str, Any] = types.MappingProxyType({}),
  compute_flops: bool = False,
  compute_vjp_flops: bool = False,
  **kwargs: Any,
) -> Callable[..., str]:
  """A function that takes the module's arguments and gives the table of its calls and variables, as text.

  Args:
    module: the model.
    rngs: a key or stream -> key.
    depth: how many levels of submodules have rows of their own.
    show_repeated: whether every call of a module has its own row.
    mutable: the collections that are created.
    console_kwargs, table_kwargs, column_kwargs: for rich's `Console`, `Table` and `add_column`.
    compute_flops: whether there is a column with the FLOPs of the forward pass.
    compute_vjp_flops: whether there is one with those of the forward and the backward pass.
    **kwargs: for `Module.init`, such as `method`.

  >>> import jax, minilinen as nn
  >>> table = tabulate(nn.Dense(3), jax.random.key(0))("f32[2,4]")
  >>> "Dense" in table
  True
  """

  def table(*args: Any, **call_kwargs: Any) -> str:
    return module.tabulate(
      rngs, *args,
      depth=depth, show_repeated=show_repeated, mutable=mutable,
      console_kwargs=console_kwargs, table_kwargs=table_kwargs, column_kwargs=column_kwargs,
      compute_flops=compute_flops, compute_vjp_flops=compute_vjp_flops,
      **kwargs, **call_kwargs,
    )  # fmt: skip

  return table
