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
from minilinen.core.filters import CollectionFilter
from minilinen.core.frozen_dict import FrozenDict
from minilinen.core.lift.compiled import remat
from minilinen.core.lift.explain import Carries
from minilinen.core.lift.mapping import (
  Axes,
  add_axes,
  axis_in_words,
  in_and_out,
  mapped_size,
  remove_axes,
  split_in_words,
)
from minilinen.core.lift.pack import Boundary, Groups, fold_streams, named, note, pack, pure, split_streams


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
  ins, outs = in_and_out(variable_axes)
  in_variable_axes, out_variable_axes = tuple(ins.values()), tuple(outs.values())
  rng_axes = tuple(0 if split else broadcast for split in split_rngs.values())

  def inner(scope_fn: Any, repack_fn: Any, groups: Groups, rngs: Groups, init: Any, *args: Any) -> Any:
    constants, carried, stacked = groups[0], groups[1], groups[2:]
    own = remove_axes(stacked, list(in_variable_axes), metadata_params)
    steps = mapped_size((in_variable_axes, in_axes), (stacked, args), length, "length")
    note(length=steps)
    rngs = split_streams(rngs, tuple(split_rngs.values()), steps)
    body = pure(fn, scope_fn, repack_fn)

    def step(constants: Any, carry: Any, variables: Groups, rngs: Groups, args: Any) -> Any:
      carried, carry = carry
      groups = (constants, carried, *variables)
      if data_transform is not None:
        groups, rngs = data_transform(groups, rngs)
      (carry, ys), out = body(groups, rngs, carry, *args)
      known = tuple({**before, **after} for before, after in zip(constants, out[0]))
      return known, (out[1], carry), (ys, out[2:])

    carries = Carries()
    loop = axes_scan.scan(
      carries.kept(step),
      (in_variable_axes, rng_axes, in_axes),
      (out_axes, out_variable_axes),
      length=steps,
      reverse=reverse,
      unroll=unroll,
      _split_transpose=_split_transpose,
      check_constancy_invariants=check_constancy_invariants,
    )
    with carries.explained(boundary, scope_fn.__self__):
      constants, (carried, carry), (ys, variables) = loop(constants, (carried, init), own, rngs, args)
    return (carry, ys), (constants, carried, *add_axes(variables, list(out_variable_axes), metadata_params))

  boundary = Boundary(
    "scan",
    fn,
    collections=[
      *named(variable_broadcast, "broadcast"),
      *named(variable_carry, "carry"),
      *((f, axis_in_words(axis)) for f, axis in variable_axes.items()),
    ],
    streams=split_in_words(split_rngs),
    options={"in_axes": in_axes, "out_axes": out_axes, "reverse": reverse, "unroll": unroll},
  )
  return pack(
    inner,
    (variable_broadcast, variable_carry, *ins),
    (variable_broadcast, variable_carry, *outs),
    tuple(split_rngs),
    name="scan",
    boundary=boundary,
  )


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

  def inner(scope_fn: Any, repack_fn: Any, groups: Groups, rngs: Groups, init: Any) -> Any:
    carried, shared = groups
    condition = pure(cond_fn, scope_fn, repack_fn, "cond", mutable_filter=False)
    body = pure(body_fn, scope_fn, repack_fn, mutable_filter=carry_variables)

    def streams(step: Any, sign: int) -> Groups:
      return fold_streams(rngs, tuple(split_rngs.values()), step, sign)

    def goes_on(step: Any, state: Any) -> Any:
      return condition((state[0], shared), streams(step, -1), state[1])[0]

    def advance(step: Any, state: Any) -> Any:
      carry, (carried,) = body((state[0], shared), streams(step, 1), state[1])
      return step + 1, (carried, carry)

    carries = Carries()
    kept = carries.kept(advance)
    with carries.explained(boundary, scope_fn.__self__):
      _, (carried, carry) = jax.lax.while_loop(
        lambda s: goes_on(*s), lambda s: kept(*s), (0, (carried, init))
      )
    return carry, (carried,)

  boundary = Boundary(
    "while_loop",
    body_fn,
    collections=[*named(carry_variables, "carry"), *named(broadcast_variables, "broadcast")],
    streams=split_in_words(split_rngs),
    options={"cond_fn": cond_fn},
  )
  ins = (carry_variables, broadcast_variables)
  lifted = pack(inner, ins, (carry_variables,), tuple(split_rngs), name="while_loop", boundary=boundary)
  return lifted(scope, init)


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
