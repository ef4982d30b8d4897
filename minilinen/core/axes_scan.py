"""May be skipped: `jax.lax.scan` that stacks on any axis, with loop constants on both sides.

`lax.scan` loops over axis 0 of everything. Here each argument and result says its own axis, or `broadcast`:
the same value in every step. `lift.scan` uses it to loop over variables stacked on any axis and
to create parameters that all steps share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from minilinen.core.known import DependsOnInput, known_outputs


class _Broadcast:
  """The one value of its class, `broadcast`: the same in every step."""

  def __repr__(self) -> str:
    return "broadcast"


broadcast = _Broadcast()

ScanAxis = int | _Broadcast


def scan(
  fn: Callable[..., Any],
  in_axes: Any,
  out_axes: Any,
  length: int | None = None,
  reverse: bool = False,
  unroll: int = 1,
  _split_transpose: bool = False,
  check_constancy_invariants: bool = True,
) -> Callable[..., Any]:
  """A loop over `fn(constants, carry, *args) -> (constants, carry, ys)`.

  Args:
    in_axes: pytree prefix of the arguments: an axis to loop over, or `broadcast`.
    out_axes: pytree prefix of `ys`: the axis to stack on, or `broadcast`.
    length: number of steps; read off the arguments if None.
    reverse: whether the last element comes first.
    unroll: steps of the compiled loop's body.
    check_constancy_invariants: whether `fn` is traced once before the loop for the results that are the
      same in every step. Without it there are none: the constants that came in are handed back.

  Returns:
    A function `(constants, carry, *args)` that gives constants, the last carry and the stacked `ys`.

  Raises:
    ValueError: if a broadcast result depends on the step.
  """

  def run(constants_in: Any, init: Any, *args: Any) -> tuple[Any, Any, Any]:
    xs = _map_prefix(_front, in_axes, args)

    def step(constants: Any, carry: Any, x: Any) -> tuple[Any, Any, Any]:
      filled = _map_prefix(lambda axis, arg, sliced: arg if axis is broadcast else sliced, in_axes, args, x)
      return fn(constants, carry, *filled)

    def constant_results(carry: Any, x: Any) -> tuple[Any, Any]:
      constants, _, ys = step(constants_in, carry, x)
      return constants, _map_prefix(lambda axis, y: y if axis is broadcast else (), out_axes, ys)

    def body(carry: Any, x: Any) -> tuple[Any, Any]:
      _, carry, ys = step(constants, carry, x)
      return carry, _map_prefix(lambda axis, y: () if axis is broadcast else y, out_axes, ys)

    constants, same = constants_in, None
    if check_constancy_invariants:
      first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), xs)
      try:
        constants, same = known_outputs(constant_results, jax.tree.map(_aval, init), first)
      except DependsOnInput:
        raise ValueError("broadcasted variable has a data dependency on the scan body.") from None
    carry, ys = jax.lax.scan(
      body, init, xs, length=length, reverse=reverse, unroll=unroll, _split_transpose=_split_transpose
    )
    if same is None:
      same = _map_prefix(lambda axis, y: (), out_axes, ys)
    joined = _map_prefix(lambda axis, c, y: c if axis is broadcast else _back(axis, y), out_axes, same, ys)
    return constants, carry, joined

  return run


def first_slices(axes: Any, args: Any) -> Any:
  """What the first step gets of the arguments."""
  return _map_prefix(lambda axis, tree: tree if axis is broadcast else _sliced(tree, axis), axes, args)


def _sliced(tree: Any, axis: int) -> Any:
  return jax.tree.map(lambda x: jax.lax.index_in_dim(x, 0, axis, keepdims=False), tree)


def _map_prefix(fn: Callable[..., Any], axes: Any, *trees: Any) -> Any:
  """Calls `fn(axis, subtree, ...)` for each axis of a prefix of the trees."""
  return jax.tree.map(fn, axes, *trees)


def _aval(x: Any) -> jax.ShapeDtypeStruct:
  return jax.eval_shape(lambda: x)


def _front(axis: Any, tree: Any) -> Any:
  if axis is broadcast:
    return ()
  return tree if axis == 0 else jax.tree.map(lambda x: _moved(x, axis, 0), tree)


def _back(axis: Any, tree: Any) -> Any:
  return tree if axis == 0 else jax.tree.map(lambda x: _moved(x, 0, axis), tree)


def _moved(x: Any, source: int, target: int) -> Any:
  order = list(range(np.ndim(x)))
  order.insert(target if target >= 0 else len(order) + target, order.pop(source))
  return jax.numpy.transpose(x, order)
