"""Lifted loops: `scan`, `while_loop`, and `remat_scan`, which nests scans.

What is the same in all steps of a `scan` is found out in a pass over its body before the loop (`known_outputs`); the
loop itself is `jax.lax.scan`, over arrays that `axes_scan` has brought to their first axis. Both run one function,
`step`: `Loop.results` gives what the steps share in the pass before, and the carry and what is stacked in the loop.
There `step` finds what they share, so that a shared parameter is not made again.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from minilinen import errors
from minilinen.core import axes_scan, lifted_mistakes, meta
from minilinen.core.axes_scan import broadcast
from minilinen.core.boundary import Boundary, passing
from minilinen.core.filters import CollectionFilter
from minilinen.core.frozen_dict import FrozenDict
from minilinen.core.lift.compiled import remat
from minilinen.core.lift.crossing import Crossing, behind, spoken_of_as
from minilinen.core.lift.mapping import (
  Axes,
  axes,
  boxes,
  fold_streams,
  mapped_size,
  split_streams,
  splits,
)
from minilinen.core.lift.targets import Liftable, Target, also_called, lifted
from minilinen.jax_internals import known_outputs
from minilinen.tracing.events import Passing


@lifted("Scan", fn="target")
def scan(
  target: Liftable,
  variable_axes: Axes = FrozenDict(),
  variable_broadcast: CollectionFilter = False,
  variable_carry: CollectionFilter = False,
  split_rngs: Mapping[Any, bool] = FrozenDict(),
  in_axes: Any = 0,
  out_axes: Any = 0,
  length: int | None = None,
  reverse: bool = False,
  unroll: int = 1,
  data_transform: Callable[..., Any] | None = None,
  metadata_params: Mapping[Any, Any] = FrozenDict(),
  methods: Any = None,
  _split_transpose: bool = False,
  check_constancy_invariants: bool = True,
) -> Liftable:
  """`jax.lax.scan` for a module class, a method, or a function of a module or of a scope.

  Args:
    target: called as `target(carry, *xs) -> (carry, ys)` with one slice of the `xs`.
    variable_axes: collections -> the axis on which each step has its own variables.
    variable_broadcast: collections that all steps share. What the body writes there may not depend on the step: it is
      taken from the pass before the loop, and written back once.
    variable_carry: collections that one step hands to the next.
    split_rngs: streams -> whether each step draws its own keys.
    in_axes, out_axes: axis of each of the `xs` and `ys`, or `broadcast`.
    length: number of steps; read off the arguments if None.
    reverse, unroll, _split_transpose: as for `jax.lax.scan`.
    data_transform: called on the variables and keys of each step before they go in.
    metadata_params: passed to the boxes' `add_axis` and `remove_axis`.
    methods: of a class, which methods are lifted: a name, several, or name -> options; `__call__` by default.
    check_constancy_invariants: whether the body is traced once before the loop, for what is the same
      in every step; needed to create variables that are broadcast.

  Returns:
    A class, or a function `(module, carry, *xs) -> (carry, ys)`.
  """
  streams = splits(split_rngs)
  shared, carry = passing(variable_broadcast, "broadcast"), passing(variable_carry, "carry")
  options = {"in_axes": in_axes, "out_axes": out_axes, "reverse": reverse, "unroll": unroll}
  boundary = Boundary("scan", target, (shared, carry, *axes(variable_axes)), streams, options)
  into, out_of = boundary.ins[2:], boundary.outs[2:]
  all_in_axes = _scanned(into), tuple(0 if p.kind == "split" else broadcast for p in streams), in_axes

  @behind(boundary)
  def call(first: Any, *args: Any, **kwargs: Any) -> Any:
    with Crossing(boundary, first, args, kwargs) as crossing:
      (constants, of_carry, *variables), keys = crossing.groups()
      carry, xs = crossing.args[0], crossing.args[1:]
      stacked = boxes(meta.remove_axis, tuple(variables), into, metadata_params)
      steps = mapped_size((_scanned(into), in_axes), (stacked, xs), length, "length", crossing)
      crossing.tell(length=steps)
      given = stacked, split_streams(keys, streams, steps), xs
      loop = axes_scan.Loop(all_in_axes, (out_axes, _scanned(out_of)), given)

      def step(state: Any, x: Any) -> Any:
        of_carry, carry = state
        variables, keys, args = loop.arguments(x)
        groups = (constants, of_carry, *variables)
        if data_transform is not None:
          groups, keys = data_transform(groups, keys)
        with crossing.inside(groups, keys, (carry, *args)) as inner:
          gave, out = inner.leave(inner.run())
        crossing.odd = lifted_mistakes.no_pair(gave)
        carry, ys = gave
        known = tuple({**before, **after} for before, after in zip(constants, out[0]))
        return loop.results((out[1], carry), known, (ys, out[2:]))

      state = of_carry, carry
      crossing.again = lambda: (state, jax.eval_shape(step, *loop.unknown(state))[0])
      if check_constancy_invariants:
        with loop:
          constants, loop.same = known_outputs(step, *loop.unknown(state))
      (of_carry, carry), ys = jax.lax.scan(
        spoken_of_as(boundary.target, step), state, loop.xs, length=steps, reverse=reverse, unroll=unroll,
        _split_transpose=_split_transpose,
      )  # fmt: skip
      ys, written = loop.joined(ys)
      written = boxes(meta.add_axis, written, out_of, metadata_params)
      return crossing.back((carry, ys), (constants, of_carry, *written))

  return call


def _scanned(passings: Sequence[Passing]) -> tuple[Any, ...]:
  return tuple(passing.axis if passing.kind == "axis" else broadcast for passing in passings)


@also_called(scope="mdl")
def while_loop(
  cond_fn: Callable[[Any, Any], Any],
  body_fn: Callable[[Any, Any], Any],
  mdl: Any,
  init: Any,
  carry_variables: CollectionFilter = False,
  broadcast_variables: CollectionFilter = True,
  split_rngs: Mapping[Any, bool] = FrozenDict(),
) -> Any:
  """`jax.lax.while_loop` for functions of a module or of a scope, at once.

  Args:
    cond_fn: called as `cond_fn(module, carry)`; a boolean scalar. It can change no variable.
    body_fn: called as `body_fn(module, carry) -> carry`.
    mdl: the module, a scope, or a pytree of scopes.
    init: the first carry.
    carry_variables: collections that one step hands to the next; they must exist before the loop.
    broadcast_variables: collections that all steps share and none changes.
    split_rngs: streams -> whether each step draws its own keys.

  Returns:
    The last carry.
  """
  condition, target = Target.of(cond_fn), Target.of(body_fn)
  of_carry, shared = (
    passing(carry_variables, "carry"),
    passing(broadcast_variables, "broadcast", out_of=False),
  )
  if hasattr(mdl, "__carry__"):  # Flax hands them on as a pytree, and keys are folded in their order
    split_rngs = dict(sorted(split_rngs.items(), key=lambda item: str(item[0])))
  boundary = Boundary("while_loop", target, (of_carry, shared), splits(split_rngs), {"cond_fn": cond_fn})

  with Crossing(boundary, mdl, (init,)) as crossing:
    (of_carry, shared), keys = crossing.groups()

    def goes_on(state: Any) -> Any:
      number, (of_carry, carry) = state
      now = fold_streams(keys, boundary.streams, number, -1)
      inside = crossing.inside(
        (of_carry, shared), now, (carry,), target=condition, name="cond", mutable=False
      )
      with inside as inner:
        return inner.leave(inner.run())[0]

    def advance(state: Any) -> Any:
      number, (of_carry, carry) = state
      now = fold_streams(keys, boundary.streams, number, 1)
      with crossing.inside((of_carry, shared), now, (carry,)) as inner:
        carry, (of_carry,) = inner.leave(inner.run())
      return number + 1, (of_carry, carry)

    start = 0, (of_carry, *crossing.args)
    crossing.again = lambda: (start[1], jax.eval_shape(advance, start)[1])
    state = jax.lax.while_loop(
      spoken_of_as(condition, goes_on), spoken_of_as(boundary.target, advance), start
    )
    of_carry, carry = state[1]
    return crossing.back(carry, (of_carry,))


@lifted("Remat_scan", body_fn="target")
def remat_scan(
  target: Liftable,
  lengths: Sequence[int] = (),
  policy: Callable[..., bool] | None = None,
  variable_broadcast: CollectionFilter = False,
  variable_carry: CollectionFilter = False,
  variable_axes: Axes = FrozenDict({True: 0}),
  split_rngs: Mapping[Any, bool] = FrozenDict({True: True}),
) -> Liftable:
  """A module many times in a row: scans in scans, whose steps are computed again in the backward pass.

  The steps of the innermost scan are not.
  With d lengths of the d-th root of n, the backward pass of n steps keeps d times that many activations
  (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").

  Args:
    target: a module class, a method, or a function of a module or of a scope: called as `target(carry) -> carry`.
    lengths: of the scans, the outermost first; each adds a leading axis to the variables.
    policy: which activations are kept, of `jax.checkpoint_policies`.
    variable_broadcast, variable_carry, variable_axes, split_rngs: as for `scan`, for each of the scans.

  Returns:
    A class, or a function `(module, carry) -> carry`.

  Raises:
    MappedSizeError: if there are no lengths.

  >>> import jax, minilinen as nn
  >>> Deep = nn.remat_scan(nn.Dense, lengths=(3, 4))
  >>> Deep(5).init(jax.random.key(0), jax.numpy.ones((1, 5)))["params"]["kernel"].shape
  (3, 4, 5, 5)
  """
  if not lengths:
    raise errors.MappedSizeError.no_lengths(Boundary("remat_scan", target).at)
  each: Any = variable_broadcast, variable_carry, variable_axes, split_rngs
  whole: Any = dataclasses.replace(target, by="remat_scan")  # type: ignore[type-var]
  inside = whole.fn
  if len(lengths) > 1:
    rest: Any = remat_scan(whole, lengths[1:], policy, *each)
    inside = remat(dataclasses.replace(whole, fn=rest), policy=policy, prevent_cse=False)

  @functools.wraps(whole.fn)
  def step(module: Any, carry: Any) -> tuple[Any, tuple[()]]:
    return inside(module, carry), ()

  loop: Any = scan(
    dataclasses.replace(whole, fn=step), variable_axes, variable_broadcast, variable_carry, split_rngs,
    length=lengths[0],
  )  # fmt: skip

  @functools.wraps(loop)
  def run(module: Any, carry: Any) -> Any:
    return loop(module, carry)[0]

  return run  # type: ignore[return-value]
