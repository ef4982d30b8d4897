"""May be skipped: `pack`, for transforms of the user's own, and for those that were written for Flax's core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from minilinen.core.boundary import Boundary, passing
from minilinen.core.filters import CollectionFilter
from minilinen.core.lift.crossing import Crossing, Groups, behind
from minilinen.core.lift.targets import Target


def pack(
  fn: Callable[..., Any],
  in_variable_filters: Sequence[CollectionFilter],
  out_variable_filters: Sequence[CollectionFilter],
  rng_filters: Sequence[CollectionFilter],
  name: str | None = None,
  enable_kwargs: bool = False,
) -> Callable[..., Any]:
  """Makes a function of variables and keys into a function of scopes.

  Args:
    fn: called as `fn(scope_fn, repack_fn, variable_groups, rng_groups, *args, **kwargs)`; gives the result and the
      groups of variables to write back, one for each out filter. `scope_fn(variable_groups, rng_groups)` makes inner
      scopes, `repack_fn` of them gives the groups that leave.
    in_variable_filters: which collections go in, grouped; a collection goes to the first that matches.
    out_variable_filters: which collections come back, grouped.
    rng_filters: which random streams go in, grouped; others do not exist inside.
    name: name of the transform, for messages and the trace.
    enable_kwargs: whether keyword arguments are passed on; otherwise they are dropped with a warning.

  Returns:
    A function `(scope_tree, *args, **kwargs)` of any pytree of scopes.
  """
  ins, outs = list(in_variable_filters), list(out_variable_filters)
  both = [passing(f) for f in ins] if ins == outs else []
  collections = both or [*(passing(f, out_of=False) for f in ins), *(passing(f, into=False) for f in outs)]
  kind = name or getattr(fn, "__name__", "lift")
  streams = tuple(map(passing, rng_filters))
  boundary = Boundary(kind, Target.of(fn), tuple(collections), streams, takes_keywords=enable_kwargs)

  @behind(boundary)
  def call(first: Any, *args: Any, **kwargs: Any) -> Any:
    with Crossing(boundary, first, args, kwargs) as crossing:

      def scope_fn(variables: Groups, keys: Groups, mutable_filter: CollectionFilter = True) -> Any:
        inner = crossing.form.opened(crossing.opened(variables, keys, mutable_filter))
        return crossing.carrier.call(inner, Target(lambda scope_tree: scope_tree), (), {}).run()

      def repack_fn(scope_tree: Any) -> Groups:
        tops = crossing.form.inner_tops(jax.tree.leaves(scope_tree))
        groups = crossing.leave(tops)
        for top in tops:
          top.invalidate()
        return groups

      return crossing.back(*fn(scope_fn, repack_fn, *crossing.groups(), *crossing.args, **crossing.kwargs))

  return call
