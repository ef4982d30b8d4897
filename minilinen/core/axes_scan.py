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

from minilinen import errors
from minilinen.jax_internals import DependsOnInput, known_outputs


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
    DependsOnStepError: if a broadcast result depends on the step.
  """

  def run(constants: Any, init: Any, *args: Any) -> tuple[Any, Any, Any]:
    loop = Loop(in_axes, out_axes, args)

    def step(carry: Any, x: Any) -> Any:
      after, carry, ys = fn(constants, carry, *loop.arguments(x))
      return loop.results(carry, after, ys)

    if check_constancy_invariants:
      with loop:
        constants, loop.same = known_outputs(step, *loop.unknown(init))
    carry, ys = jax.lax.scan(
      step, init, loop.xs, length=length, reverse=reverse, unroll=unroll, _split_transpose=_split_transpose
    )
    return constants, carry, loop.joined(ys)

  return run


class Loop:
  """What the steps of a loop are given, and what becomes of their results, by the axes of both.

  A step calls `arguments` and `results`. Before the loop it may run once, for what is the same in every step: in a
  `with` block of the loop.

  Attributes:
    xs: the arguments that differ from step to step, stacked on axis 0.
    same: the results that are `broadcast`, if they were found out before the loop.

  Raises:
    DependsOnStepError: by the `with` block, if a result that shall be the same depends on the step.
  """

  def __init__(self, in_axes: Any, out_axes: Any, args: Any):
    self._in_axes, self._out_axes, self._args = in_axes, out_axes, args
    self._is_before = False
    self.xs = _map_prefix(_front, in_axes, args)
    self.same: Any = None

  def arguments(self, x: Any) -> Any:
    """The arguments of the step that is given `x` of `xs`."""
    return _map_prefix(
      lambda axis, arg, sliced: arg if axis is broadcast else sliced, self._in_axes, self._args, x
    )

  def results(self, carry: Any, constants: Any, ys: Any) -> Any:
    """What a step hands to JAX: the carry and what is stacked; before the loop what is the same in every step."""
    if self._is_before:
      return constants, _map_prefix(lambda axis, y: y if axis is broadcast else (), self._out_axes, ys)
    return carry, _map_prefix(lambda axis, y: () if axis is broadcast else y, self._out_axes, ys)

  def __enter__(self) -> None:
    self._is_before = True

  def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
    self._is_before = False
    if isinstance(error, DependsOnInput):
      raise errors.DependsOnStepError(error.path) from None

  def unknown(self, init: Any) -> tuple[Any, Any]:
    """Specs of the first carry and of what the first step is given."""
    first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), self.xs)
    return jax.tree.map(_aval, init), first

  def joined(self, ys: Any) -> Any:
    """The results of the whole loop, of what was stacked."""
    same = _map_prefix(lambda axis, y: (), self._out_axes, ys) if self.same is None else self.same
    return _map_prefix(
      lambda axis, c, y: c if axis is broadcast else _back(axis, y), self._out_axes, same, ys
    )


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
