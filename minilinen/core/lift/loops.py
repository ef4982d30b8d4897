"""Lifted loops: `scan` runs a function of a scope step by step, `while_loop` as long as a condition holds.

`remat_scan` nests scans, so that the backward pass keeps few activations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from minilinen.core import axes_scan
from minilinen.core.axes_scan import broadcast
from minilinen.core.boundary import Boundary, passing
from minilinen.core.filters import CollectionFilter
from minilinen.core.frozen_dict import FrozenDict
from minilinen.core.lift.compiled import remat
from minilinen.core.lift.crossing import Crossing, Groups, around
from minilinen.core.lift.mapping import (
  Axes,
  add_axes,
  axes,
  fold_streams,
  mapped_size,
  remove_axes,
  split_streams,
  splits,
)
from minilinen.tracing.events import Passing


def scan(
  fn: Callable[..., Any],
  variable_axes: Axes = FrozenDict(),
  variable_broadcast: CollectionFilter = False,
  variable_carry: CollectionFilter = False,
  split_rngs: Mapping[CollectionFilter, bool] = FrozenDict(),
  in_axes: Any = 0,
  out_axes: Any = 0,
  length: int | None = None,
  reverse: bool = False,
  unroll: int = 1,
  _split_transpose: bool = False,
  data_transform: Callable[..., Any] | None = None,
  metadata_params: Mapping[Any, Any] = FrozenDict(),
  check_constancy_invariants: bool = True,
) -> Callable[..., Any]:
  """`jax.lax.scan` for a function of a scope.

  Args:
    fn: called as `fn(scope, carry, *xs) -> (carry, ys)` with one slice of the `xs`.
    variable_axes: collections -> the axis on which each step has its own variables.
    variable_broadcast: collections that all steps share and none changes.
    variable_carry: collections that one step hands to the next.
    split_rngs: streams -> whether each step draws its own keys.
    in_axes, out_axes: axis of each of the `xs` and `ys`, or `broadcast`.
    length: number of steps; read off the arguments if None.
    reverse, unroll, _split_transpose: as for `jax.lax.scan`.
    data_transform: called on the variables and keys of each step before they go in.
    metadata_params: passed to the boxes' `add_axis` and `remove_axis`.
    check_constancy_invariants: whether the body is traced once before the loop, for what is the same
      in every step; needed to create variables that are broadcast.

  Returns:
    A function `(scope, carry, *xs) -> (carry, ys)`.
  """
  streams = splits(split_rngs)
  collections = (
    passing(variable_broadcast, "broadcast"),
    passing(variable_carry, "carry"),
    *axes(variable_axes),
  )
  options = {"in_axes": in_axes, "out_axes": out_axes, "reverse": reverse, "unroll": unroll}
  boundary = Boundary("scan", fn, collections, streams, options)
  into, out_of = boundary.ins[2:], boundary.outs[2:]

  def across(crossing: Crossing, groups: Groups, keys: Groups, init: Any, *args: Any) -> Any:
    def step(constants: Any, carry: Any, variables: Groups, keys: Groups, args: Any) -> Any:
      carried, carry = carry
      groups = (constants, carried, *variables)
      if data_transform is not None:
        groups, keys = data_transform(groups, keys)
      with crossing.inside(groups, keys, (carry, *args)) as inner:
        (carry, ys), out = inner.leave(inner.call(fn, carry, *args))
      known = tuple({**before, **after} for before, after in zip(constants, out[0]))
      return known, (out[1], carry), (ys, out[2:])

    constants, carried = groups[:2]
    stacked = remove_axes(groups[2:], into, metadata_params)
    axes_in = tuple(_scanned(p) for p in into)
    steps = mapped_size((axes_in, in_axes), (stacked, args), length, "length")
    crossing.tell(length=steps)
    xs = stacked, split_streams(keys, streams, steps), args
    all_axes = axes_in, tuple(0 if p.kind == "split" else broadcast for p in streams), in_axes
    loop = axes_scan.scan(
      crossing.named(step),
      all_axes,
      (out_axes, tuple(_scanned(p) for p in out_of)),
      length=steps,
      reverse=reverse,
      unroll=unroll,
      _split_transpose=_split_transpose,
      check_constancy_invariants=check_constancy_invariants,
    )
    state = carried, init
    crossing.again = lambda: (
      state, jax.eval_shape(lambda: step(constants, state, *axes_scan.first_slices(all_axes, xs))[1]),
    )  # fmt: skip
    constants, (carried, carry), (ys, written) = loop(constants, state, *xs)
    return (carry, ys), (constants, carried, *add_axes(written, out_of, metadata_params))

  return around(boundary, across)


def _scanned(passing: Passing) -> Any:
  return passing.axis if passing.kind == "axis" else broadcast


def while_loop(
  cond_fn: Callable[[Any, Any], Any],
  body_fn: Callable[[Any, Any], Any],
  scope: Any,
  init: Any,
  carry_variables: CollectionFilter = False,
  broadcast_variables: CollectionFilter = True,
  split_rngs: Mapping[CollectionFilter, bool] = FrozenDict(),
) -> Any:
  """`jax.lax.while_loop` for functions of a scope, at once.

  Args:
    cond_fn: called as `cond_fn(scope, carry)`; a boolean scalar. It can change no variable.
    body_fn: called as `body_fn(scope, carry) -> carry`.
    scope: a scope, or a pytree of them.
    init: the first carry.
    carry_variables: collections that one step hands to the next; they must exist before the loop.
    broadcast_variables: collections that all steps share and none changes.
    split_rngs: streams -> whether each step draws its own keys.

  Returns:
    The last carry.
  """
  collections = passing(carry_variables, "carry"), passing(broadcast_variables, "broadcast", out_of=False)
  streams = splits(split_rngs)

  def across(crossing: Crossing, groups: Groups, keys: Groups, init: Any) -> Any:
    carried, shared = groups

    def goes_on(state: Any) -> Any:
      step, (carried, carry) = state
      now = fold_streams(keys, streams, step, -1)
      with crossing.inside((carried, shared), now, (carry,), "cond", mutable=False) as inner:
        return inner.leave(inner.call(cond_fn, carry))[0]

    def advance(state: Any) -> Any:
      step, (carried, carry) = state
      now = fold_streams(keys, streams, step, 1)
      with crossing.inside((carried, shared), now, (carry,)) as inner:
        carry, (carried,) = inner.leave(inner.call(body_fn, carry))
      return step + 1, (carried, carry)

    state = 0, (carried, init)
    crossing.again = lambda: (state[1], jax.eval_shape(advance, state)[1])
    _, (carried, carry) = jax.lax.while_loop(crossing.named(goes_on, cond_fn), crossing.named(advance), state)
    return carry, (carried,)

  boundary = Boundary("while_loop", body_fn, collections, streams, {"cond_fn": cond_fn})
  return around(boundary, across)(scope, init)


def remat_scan(
  body_fn: Callable[..., Any],
  lengths: Sequence[int],
  policy: Callable[..., bool] | None = None,
  variable_broadcast: CollectionFilter = False,
  variable_carry: CollectionFilter = False,
  variable_axes: Axes = FrozenDict({True: 0}),
  split_rngs: Mapping[CollectionFilter, bool] = FrozenDict({True: True}),
) -> Callable[..., Any]:
  """Scans in scans, all but the innermost computed again in the backward pass.

  With d lengths of the d-th root of n, the backward pass of n steps keeps d times that many activations
  (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").

  Args:
    body_fn: called as `body_fn(scope, carry) -> carry`.
    lengths: of the scans, the outermost first; each adds a leading axis to the variables.
    policy: which activations are kept, of `jax.checkpoint_policies`.
    variable_broadcast, variable_carry, variable_axes, split_rngs: as for `scan`, for each of the scans.

  Returns:
    A function `(scope, carry) -> carry`.

  Raises:
    ValueError: if there are no lengths.
  """
  if not lengths:
    raise ValueError("remat_scan needs at least one length: lengths=(10,), or lengths=(3, 4) for 12 steps.")

  @functools.wraps(body_fn)
  def step(scope: Any, carry: Any) -> tuple[Any, tuple[()]]:
    return inside(scope, carry), ()

  inside = body_fn
  if len(lengths) > 1:
    rest = remat_scan(
      body_fn, lengths[1:], policy, variable_broadcast, variable_carry, variable_axes, split_rngs
    )
    inside = remat(rest, policy=policy, prevent_cse=False)
  loop = scan(
    step,
    variable_axes=variable_axes,
    variable_broadcast=variable_broadcast,
    variable_carry=variable_carry,
    split_rngs=split_rngs,
    length=lengths[0],
  )
  return functools.wraps(body_fn)(lambda scope, carry: loop(scope, carry)[0])
