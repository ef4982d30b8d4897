"""The table of a model: `model.tabulate(key, x)`, and as a function of the arguments `nn.tabulate(model, key)(x)`.

A table is drawn by `viz`, of which the class layer below knows nothing: the method is put on `Module` here.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

from minilinen.core.filters import CollectionFilter, DenyList
from minilinen.module import Module
from minilinen.module.backward import traces_with_vjp
from minilinen.module.runs import ModuleRuns, check_instance
from minilinen.pictures import pictures
from minilinen.tracing.tracebacks import entry

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
  return functools.partial(
    module.tabulate, rngs,
    depth=depth, show_repeated=show_repeated, mutable=mutable,
    console_kwargs=console_kwargs, table_kwargs=table_kwargs, column_kwargs=column_kwargs,
    compute_flops=compute_flops, compute_vjp_flops=compute_vjp_flops, **kwargs,
  )  # fmt: skip


@entry
def _tabulate(
  self: ModuleRuns,
  rngs: Any,
  *args: Any,
  depth: int | None = None,
  show_repeated: bool = False,
  mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
  console_kwargs: Mapping[str, Any] | None = None,
  table_kwargs: Mapping[str, Any] = types.MappingProxyType({}),
  column_kwargs: Mapping[str, Any] = types.MappingProxyType({}),
  compute_flops: bool = False,
  compute_vjp_flops: bool = False,
  **kwargs: Any,
) -> str:
  """A table of the module's calls and variables, as text; nothing is computed.

  Args:
    rngs: a key or stream -> key.
    *args, **kwargs: arguments of the method; arrays may be given as "f32[8,28,28,1]".
    depth, ...: as for `nn.tabulate`.
  """
  check_instance(self, "tabulate")
  method = kwargs.pop("method", None)
  vjp_trace = None
  if compute_vjp_flops:
    trace, vjp_trace = traces_with_vjp(self, rngs, args, kwargs, method, mutable)
  else:
    trace = ModuleRuns.trace(self, rngs, *args, method=method, mutable=mutable, **kwargs)
  return (
    pictures()
    .tabulate(
      trace,
      depth=depth,
      show_repeated=show_repeated,
      console_kwargs=console_kwargs,
      table_kwargs=table_kwargs,
      column_kwargs=column_kwargs,
      compute_flops=compute_flops,
      compute_vjp_flops=compute_vjp_flops,
      vjp_trace=vjp_trace,
    )
    .text()
  )


Module.tabulate = _tabulate
