"""Lifted loops: `scan` runs a function of a scope step by step, with a carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from minilinen.core import axes_scan
from minilinen.core.axes_scan import broadcast
from minilinen.core.filters import CollectionFilter, is_filter_empty
from minilinen.core.frozen_dict import FrozenDict
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
from minilinen.core.lift.pack import Boundary, Groups, note, pack, pure, split_streams


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
    steps = mapped_size((in_variable_axes, in_axes), (stacked, args), length, "length")
    note(length=steps)
    rngs = split_streams(rngs, tuple(split_rngs.values()), steps)
    own = remove_axes(stacked, list(in_variable_axes), metadata_params)
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
      *_named(variable_broadcast, "broadcast"),
      *_named(variable_carry, "carry"),
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


def _named(collections: CollectionFilter, how: str) -> list[tuple[CollectionFilter, str]]:
  return [] if is_filter_empty(collections) else [(collections, how)]
