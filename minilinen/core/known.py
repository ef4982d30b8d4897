"""May be skipped: values that a function gives whatever its unknown inputs are.

`lazy_init` makes parameters from shapes alone, and a scan makes a broadcast variable once, before
its loop: both ask for outputs of a function that has inputs nobody knows. This file runs what does not
depend on those inputs, where it stands; the rest is traced and thrown away.
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
  leaves, inputs = jax.tree.flatten(unknown)
  result: Any = None

  def flat(*leaves: Any) -> list[Any]:
    nonlocal result
    out, result = jax.tree.flatten(fn(*jax.tree.unflatten(inputs, leaves)))
    return out

  values = []
  for value, aval in jax_internals.run_known(flat, leaves):
    if aval is not None:
      raise DependsOnInput(jax.ShapeDtypeStruct(aval.shape, aval.dtype))
    values.append(value)
  return jax.tree.unflatten(result, values)
