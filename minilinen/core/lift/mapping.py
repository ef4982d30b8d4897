"""`vmap` and `map_variables`; and what `vmap` shares with `scan`: axes of collections, split keys, mapped sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import jax

from minilinen.core import meta
from minilinen.core.boundary import Boundary, passing
from minilinen.core.filters import (
  CollectionFilter,
  intersect_filters,
  is_filter_empty,
  subtract_filters,
)
from minilinen.core.frozen_dict import FrozenDict, unfreeze
from minilinen.core.lift.crossing import Crossing, Groups, behind, spoken_of_as
from minilinen.core.lift.targets import Liftable, lifted
from minilinen.core.lifted_mistakes import not_one_size, size_on
from minilinen.core.rng import LazyRng
from minilinen.core.scope import Scope
from minilinen.tracing.events import Kind, Passing

A = TypeVar("A")


@dataclass(frozen=True)
class In(Generic[A]):
  """An axis for variables on their way in only."""

  axis: A


@dataclass(frozen=True)
class Out(Generic[A]):
  """An axis for variables on their way out only."""

  axis: A


Axes = Mapping[CollectionFilter, Any]


def axes(variable_axes: Axes) -> tuple[Passing, ...]:
  """What a dict of axes, some of them for one direction only, says of collections."""
  found = []
  for names, axis in variable_axes.items():
    into, out_of = not isinstance(axis, Out), not isinstance(axis, In)
    axis = axis.axis if isinstance(axis, (In, Out)) else axis
    kind: Kind = "axis" if isinstance(axis, int) else "broadcast"
    found.append(passing(names, kind, axis if kind == "axis" else None, into, out_of))
  return tuple(found)


def splits(split_rngs: Mapping[CollectionFilter, bool]) -> tuple[Passing, ...]:
  """What a dict of streams that are to be split, or not, says of them."""
  return tuple(passing(names, "split" if split else "same") for names, split in split_rngs.items())


def split_streams(keys: Groups, streams: Sequence[Passing], n: int) -> Groups:
  """For `vmap` and `scan`: the streams with the root keys of those that are to be split in `n`, all at once."""
  return _each_stream(lambda rng: rng.split(n), keys, streams)


def fold_streams(keys: Groups, streams: Sequence[Passing], step: Any, sign: int) -> Groups:
  """For `while_loop`, of which nobody knows the number of steps: `sign` times a step's folded into those root keys."""
  return _each_stream(lambda rng: rng.at_step(step, sign), keys, streams)


def _each_stream(change: Callable[[LazyRng], LazyRng], keys: Groups, streams: Sequence[Passing]) -> Groups:
  return tuple(
    tuple({stream: change(scope[stream]) for stream in sorted(scope)} for scope in group)
    if passing.kind == "split"
    else group
    for group, passing in zip(keys, streams)
  )


def boxes(
  change: Callable[..., Any], groups: Groups, passings: Sequence[Passing], params: Mapping[Any, Any]
) -> Groups:
  """The groups when the mapped axis was taken out of their boxes, or put in: `meta.remove_axis`, `meta.add_axis`."""
  return tuple(change(g, p.axis, params) if p.kind == "axis" else g for g, p in zip(groups, passings))


def mapped_size(axes: Any, trees: Any, given: int | None, what: str, crossing: Crossing) -> int:
  """The size of the mapped axis, from an `axis_size` or `length` given, or read off the arrays.

  Args:
    axes: pytree prefix of `trees`, the variables and the arguments; what is no integer is not mapped.
    what: the parameter's name, for the message.

  Raises:
    MappedSizeError: if sizes disagree, or there are none.
  """
  sizes: set[Any] = set() if given is None else {given}

  def look(axis: Any, tree: Any) -> None:
    if isinstance(axis, int):
      sizes.update(size_on(leaf, axis) for leaf in jax.tree.leaves(tree))

  jax.tree.map(look, axes, trees, is_leaf=lambda x: x is None)
  if len(sizes) != 1 or None in sizes:
    raise not_one_size(axes, trees, given, what, crossing)
  return sizes.pop()


@lifted("Vmap", fn="target")
def vmap(
  target: Liftable,
  variable_axes: Axes = FrozenDict(),
  split_rngs: Mapping[Any, bool] = FrozenDict(),
  in_axes: Any = 0,
  out_axes: Any = 0,
  axis_size: int | None = None,
  axis_name: str | None = None,
  spmd_axis_name: str | None = None,
  metadata_params: Mapping[Any, Any] = FrozenDict(),
  methods: Any = None,
) -> Liftable:
  """`jax.vmap` for a module class, a method, or a function of a module or of a scope.

  Args:
    target: what is lifted; it gets arguments without the mapped axis.
    variable_axes: collections -> the axis they have one entry per element on, or None if all
      elements share them. A collection that is not named does not exist inside.
    split_rngs: streams -> whether each element draws its own keys.
    in_axes, out_axes, axis_size, axis_name, spmd_axis_name: as for `jax.vmap`.
    metadata_params: passed to the boxes' `add_axis` and `remove_axis`.
    methods: of a class, which methods are lifted: a name, several, or name -> options; `__call__` by default.

  Returns:
    A class, or a function with arguments that have the mapped axis.

  >>> import jax, minilinen as nn
  >>> Heads = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, axis_size=4)
  >>> Heads(3).init(jax.random.key(0), jax.numpy.ones((2, 5)))["params"]["kernel"].shape
  (4, 5, 3)
  """
  streams = splits(split_rngs)
  boundary = Boundary(
    "vmap", target, axes(variable_axes), streams,
    options={"in_axes": in_axes, "out_axes": out_axes, "axis_name": axis_name},
  )  # fmt: skip
  into, out_of = (tuple(p.axis for p in passings) for passings in (boundary.ins, boundary.outs))

  @behind(boundary)
  def call(first: Any, *args: Any, **kwargs: Any) -> Any:
    with Crossing(boundary, first, args, kwargs) as crossing:

      def body(variables: Groups, keys: Groups, args: Any) -> Any:
        with crossing.inside(variables, keys, args) as inner:
          return inner.leave(inner.run())

      variables, keys = crossing.groups()
      variables = boxes(meta.remove_axis, variables, boundary.ins, metadata_params)
      size = mapped_size((into, in_axes), (variables, crossing.args), axis_size, "axis_size", crossing)
      crossing.tell(length=size)
      mapped = jax.vmap(
        spoken_of_as(boundary.target, body),
        in_axes=(into, tuple(0 if p.kind == "split" else None for p in streams), in_axes),
        out_axes=(out_axes, out_of),
        axis_name=axis_name,
        axis_size=size,
        spmd_axis_name=spmd_axis_name,
      )
      y, written = mapped(variables, split_streams(keys, streams, size), crossing.args)
      return crossing.back(y, boxes(meta.add_axis, written, boundary.outs, metadata_params))

  return call


@lifted("Map_variables", fn="target", map_in_fn="trans_in_fn", map_out_fn="trans_out_fn")
def map_variables(
  target: Liftable,
  mapped_collections: CollectionFilter = True,
  trans_in_fn: Callable[[Any], Any] = lambda variables: variables,
  trans_out_fn: Callable[[Any], Any] = lambda variables: variables,
  init: bool = False,
  mutable: bool = False,
  rngs: CollectionFilter = True,
  variables: CollectionFilter = True,
  methods: Any = None,
) -> Liftable:
  """Lets a module, or a function of one or of a scope, see some of its variables through a function.

  Args:
    target: a module class, a method or a function; inside, the mapped collections went through `trans_in_fn`.
    mapped_collections: which collections are mapped.
    trans_in_fn: from the variables outside to those inside (collection -> nested dict).
    trans_out_fn: the way back, for variables that are created or changed inside.
    init: whether variables may be created inside: the body then runs once more, to make them.
    mutable: whether changes of mapped variables are mapped back.
    rngs: the streams that exist inside.
    variables: the other collections that exist inside.
    methods: of a class, which methods are lifted; `__call__` by default.
  """
  maps_back = mutable or init
  boundary = Boundary(
    "map_variables", target, (passing(mapped_collections, "mapped", out_of=maps_back), passing(variables)),
    (passing(rngs),), {"map_in_fn": trans_in_fn, "map_out_fn": trans_out_fn, "init": init, "mutable": mutable},
    takes_keywords=True,
  )  # fmt: skip
  writable = True if maps_back else subtract_filters(True, mapped_collections)

  @behind(boundary)
  def call(first: Any, *args: Any, **kwargs: Any) -> Any:
    with Crossing(boundary, first, args, kwargs) as crossing:
      (mapped, others), keys = crossing.groups()

      def body(mapped: Any, mutable: CollectionFilter) -> Any:
        groups = mapped, others
        with crossing.inside(groups, keys, crossing.args, crossing.kwargs, mutable=mutable) as inner:
          return inner.leave(inner.run())

      if init and any(_may_write(top, mapped_collections) for top in crossing.tops):
        _, (created, _) = body(mapped, True)
        mapped = tuple(map(trans_out_fn, created))
      y, written = body(tuple(trans_in_fn(unfreeze(tree)) for tree in mapped), writable)
      return crossing.back(y, ((*map(trans_out_fn, written[0]),), written[1]) if maps_back else written)

  return call


def _may_write(scope: Scope, collections: CollectionFilter) -> bool:
  return not is_filter_empty(intersect_filters(scope.mutable, collections))


def swap_collection(fn: Liftable, col_a: str, col_b: str) -> Liftable:
  """Lets a function of a scope see two collections under each other's name."""

  def swap(variables: dict[str, Any]) -> dict[str, Any]:
    names = {col_a: col_b, col_b: col_a}
    return {names.get(col, col): tree for col, tree in variables.items()}

  return map_variables(fn, (col_a, col_b), swap, swap, mutable=True)


@lifted("Map_variables", fn="target")
def add_metadata_axis(
  target: Liftable,
  variable_axes: Axes = FrozenDict(),
  metadata_params: Mapping[Any, Any] = FrozenDict(),
  methods: Any = None,
) -> Liftable:
  """Gives the boxes of variables an axis more, as a transform would, and their values none.

  It is for code that stacks variables by itself: the boxes inside do not know of the axis.

  Args:
    target: a module class, a method, or a function of a module or of a scope.
    variable_axes: collections -> index of the axis in the boxes.
    metadata_params: passed to the boxes' `add_axis` and `remove_axis`.
    methods: of a class, which methods are lifted; `__call__` by default.
  """
  whole: Any = dataclasses.replace(target, by="add_metadata_axis")  # type: ignore[type-var]
  for collection, box in zip(variable_axes, axes(variable_axes)):

    def map_in(tree: Any, box: Passing = box) -> Any:
      return meta.remove_axis(tree, box.axis, metadata_params) if box.axis is not None and box.into else tree

    def map_out(tree: Any, box: Passing = box) -> Any:
      return meta.add_axis(tree, box.axis, metadata_params) if box.axis is not None and box.out_of else tree

    whole = dataclasses.replace(whole, fn=map_variables(whole, collection, map_in, map_out, mutable=True))
  return whole.fn
