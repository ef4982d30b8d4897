"""Values that a function gives whatever its unknown inputs are.

`lazy_init` makes parameters from shapes alone, and a scan makes a broadcast variable once, before
its loop: both ask for outputs of a function that has inputs nobody knows. This file traces the
function, drops every equation that the wanted outputs don't need, and runs the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from minilinen import jax_internals


class DependsOnInput(Exception):
  """An output depends on an input that is not known; `leaf` is its spec."""

  def __init__(self, leaf: jax.ShapeDtypeStruct):
    super().__init__(f"an output of {leaf} depends on an unknown input")
    self.leaf = leaf


def known_outputs(fn: Callable[..., Any], *unknown: Any) -> Any:
  """The result of `fn`, computed although its arguments are only specs.

  Args:
    fn: closes over what is known, tracers included; its arguments are unknown.
    *unknown: pytrees of arrays or `ShapeDtypeStruct`s, of which only the shape is used.

  Raises:
    DependsOnInput: if a leaf of the result needs the value of an argument.
  """
  closed, specs = jax.make_jaxpr(fn, return_shape=True)(*unknown)
  leaves, treedef = jax.tree.flatten(specs)
  values = jax_internals.evaluate_independent(closed, [True] * len(leaves))
  if values is not None:
    return jax.tree.unflatten(treedef, values)
  alone = ([i == index for i in range(len(leaves))] for index in range(len(leaves)))
  dependent = (
    leaf for leaf, wanted in zip(leaves, alone) if jax_internals.evaluate_independent(closed, wanted) is None
  )
  raise DependsOnInput(next(dependent))
