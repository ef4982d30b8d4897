"""Lifted transforms that map: over an axis (`vmap`), and over the variables themselves (`map_variables`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import jax

from minilinen.core import meta
from minilinen.core.filters import (
  CollectionFilter,
  intersect_filters,
  is_filter_empty,
  subtract_filters,
)
from minilinen.core.frozen_dict import FrozenDict, unfreeze
from minilinen.core.lift.pack import Boundary, Groups, note, pack, pure, split_streams

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


def in_and_out(variable_axes: Axes) -> tuple[dict[CollectionFilter, Any], dict[CollectionFilter, Any]]:
  """Splits a dict of axes, some of them for one direction only, into one for each direction."""
  ins = {f: a.axis if isinstance(a, In) else a for f, a in variable_axes.items() if not isinstance(a, Out)}
  outs = {f: a.axis if isinstance(a, Out) else a for f, a in variable_axes.items() if not isinstance(a, In)}
  return ins, outs


def axis_in_words(axis: Any) -> str:
  """How the trace names what happens to a collection."""
  if isinstance(axis, (In, Out)):
    return f"{axis_in_words(axis.axis)} ({type(axis).__name__.lower()} only)"
  return f"axis {axis}" if isinstance(axis, int) else "broadcast"


def split_in_words(split_rngs: Mapping[CollectionFilter, bool]) -> list[tuple[CollectionFilter, str]]:
  """How the trace names what happens to a stream."""
  return [(f, "split" if split else "same") for f, split in split_rngs.items()]


def remove_axes(groups: Groups, axes: list[Any], params: Mapping[Any, Any]) -> Groups:
  """Takes the mapped axis out of the boxes of each group, before their values go in."""
  return _each(meta.remove_axis, groups, axes, params)


def add_axes(groups: Groups, axes: list[Any], params: Mapping[Any, Any]) -> Groups:
  """Puts the mapped axis into the boxes of each group, after their values came out."""
  return _each(meta.add_axis, groups, axes, params)


def _each(change: Any, groups: Groups, axes: list[Any], params: Mapping[Any, Any]) -> Groups:
  return tuple(change(g, a, params) if isinstance(a, int) else g for g, a in zip(groups, axes))


def mapped_size(axes: Any, trees: Any, given: int | None, what: str) -> int:
  """The size of the mapped axis, from an `axis_size` or `length` given, or read off the arrays.

  Args:
    axes: pytree prefix of `trees`; what is no integer is not mapped.
    what: the parameter's name, for the message.

  Raises:
    ValueError: if the arrays disagree, or there are none.
  """

  def size(axis: Any, tree: Any) -> Any:
    leaves = jax.tree.leaves(tree) if isinstance(axis, int) else []
    return leaves[0].shape[axis] if leaves else ()

  sizes = set(jax.tree.leaves(jax.tree.map(size, axes, trees, is_leaf=lambda x: x is None)))
  if given is not None:
    return given
  if len(sizes) > 1:
    raise ValueError(
      f"Inconsistent batch axis sizes: {', '.join(_sizes_in_words(axes, trees))}. Everything that is mapped needs one"
      " size on its axis; what all elements share has the axis None."
    )
  if not sizes:
    raise ValueError(f"{what} should be specified manually: no argument and no variable is mapped.")
  return sizes.pop()


def _sizes_in_words(axes: Any, trees: Any) -> list[str]:
  """For each size the first variable or argument that has it: "8 (params/Dense_0/kernel)"."""
  (variable_axes, in_axes), (variables, args) = axes, trees
  if not isinstance(in_axes, (tuple, list)):
    in_axes = (in_axes,) * len(args)
  found: dict[Any, str] = {}
  for axis, group in zip(variable_axes, variables):
    for path, leaf in jax.tree_util.tree_leaves_with_path(group) if isinstance(axis, int) else []:
      found.setdefault(leaf.shape[axis], "/".join(str(getattr(key, "key", "")) for key in path[1:]))
  for number, (axis, arg) in enumerate(zip(in_axes, args)):
    for leaf in jax.tree.leaves(arg) if isinstance(axis, int) else []:
      found.setdefault(leaf.shape[axis], f"argument {number}")
  return [f"{size} ({where})" for size, where in found.items()]


def vmap(
  fn: Callable[..., Any],
  variable_axes: Axes,
  split_rngs: Mapping[CollectionFilter, bool],
  in_axes: Any = 0,
  out_axes: Any = 0,
  axis_size: int | None = None,
  axis_name: str | None = None,
  spmd_axis_name: str | None = None,
  metadata_params: Mapping[Any, Any] = FrozenDict(),
) -> Callable[..., Any]:
  """`jax.vmap` for a function of a scope.

  Args:
    fn: called with a scope and arguments without the mapped axis.
    variable_axes: collections -> the axis they have one entry per element on, or None if all
      elements share them. A collection that is not named does not exist inside.
    split_rngs: streams -> whether each element draws its own keys.
    in_axes, out_axes, axis_size, axis_name, spmd_axis_name: as for `jax.vmap`.
    metadata_params: passed to the boxes' `add_axis` and `remove_axis`.

  Returns:
    A function of a scope and arguments with the mapped axis.
  """
  ins, outs = in_and_out(variable_axes)
  in_variable_axes, out_variable_axes = tuple(ins.values()), tuple(outs.values())
  rng_axes = tuple(0 if split else None for split in split_rngs.values())

  def inner(scope_fn: Any, repack_fn: Any, variables: Groups, rngs: Groups, *args: Any) -> Any:
    variables = remove_axes(variables, list(in_variable_axes), metadata_params)
    size = mapped_size((in_variable_axes, in_axes), (variables, args), axis_size, "axis_size")
    note(length=size)
    rngs = split_streams(rngs, tuple(split_rngs.values()), size)
    body = pure(fn, scope_fn, repack_fn)
    mapped = jax.vmap(
      lambda variables, rngs, args: body(variables, rngs, *args),
      in_axes=(in_variable_axes, rng_axes, in_axes),
      out_axes=(out_axes, out_variable_axes),
      axis_name=axis_name,
      axis_size=size,
      spmd_axis_name=spmd_axis_name,
    )
    y, out = mapped(variables, rngs, args)
    return y, add_axes(out, list(out_variable_axes), metadata_params)

  boundary = Boundary(
    "vmap",
    fn,
    collections=[(f, axis_in_words(axis)) for f, axis in variable_axes.items()],
    streams=split_in_words(split_rngs),
    options={"in_axes": in_axes, "out_axes": out_axes, "axis_name": axis_name},
  )
  return pack(inner, tuple(ins), tuple(outs), tuple(split_rngs), name="vmap", boundary=boundary)


def map_variables(
  fn: Callable[..., Any],
  mapped_collections: CollectionFilter,
  map_in_fn: Callable[[Any], Any] = lambda variables: variables,
  map_out_fn: Callable[[Any], Any] = lambda variables: variables,
  init: bool = False,
  mutable: bool = False,
  rngs: CollectionFilter = True,
  variables: CollectionFilter = True,
) -> Callable[..., Any]:
  """Lets a function of a scope see some of its variables through a function.

  Args:
    fn: called with a scope in which the mapped collections went through `map_in_fn`.
    mapped_collections: which collections are mapped.
    map_in_fn: from the variables outside to those inside (collection -> nested dict).
    map_out_fn: the way back, for variables that are created or changed inside.
    init: whether variables may be created inside: `fn` then runs once more, to make them.
    mutable: whether changes of mapped variables are mapped back.
    rngs: the streams that exist inside.
    variables: the other collections that exist inside.
  """
  maps_back = mutable or init
  frozen = True if maps_back else subtract_filters(True, mapped_collections)

  def inner(scope_fn: Any, repack_fn: Any, groups: Groups, streams: Groups, *args: Any, **kwargs: Any) -> Any:
    target, others = groups
    if init and _may_write(scope_fn(groups, streams), mapped_collections):
      _, (created, _) = pure(fn, scope_fn, repack_fn)(groups, streams, *args, **kwargs)
      target = tuple(map(map_out_fn, created))
    target = tuple(map_in_fn(unfreeze(tree)) for tree in target)
    body = pure(fn, scope_fn, repack_fn, mutable_filter=frozen)
    y, (written, others) = body((target, others), streams, *args, **kwargs)
    return y, (tuple(map(map_out_fn, written)) if maps_back else written, others)

  ins = (mapped_collections, variables)
  boundary = Boundary(
    "map_variables",
    fn,
    collections=[(mapped_collections, "mapped"), (variables, "same")],
    streams=[(rngs, "same")],
    options={"map_in_fn": map_in_fn, "map_out_fn": map_out_fn, "init": init, "mutable": mutable},
  )
  outs = ins if maps_back else (False, subtract_filters(variables, mapped_collections))
  return pack(inner, ins, outs, (rngs,), name="map_variables", enable_kwargs=True, boundary=boundary)


def _may_write(scope_tree: Any, collections: CollectionFilter) -> bool:
  scopes = jax.tree.leaves(scope_tree)
  return any(not is_filter_empty(intersect_filters(s.mutable, collections)) for s in scopes)


def swap_collection(fn: Callable[..., Any], col_a: str, col_b: str) -> Callable[..., Any]:
  """Lets a function of a scope see two collections under each other's name."""

  def swap(variables: dict[str, Any]) -> dict[str, Any]:
    names = {col_a: col_b, col_b: col_a}
    return {names.get(col, col): tree for col, tree in variables.items()}

  return map_variables(fn, (col_a, col_b), swap, swap, mutable=True)


def add_metadata_axis(
  fn: Callable[..., Any],
  variable_axes: Axes = FrozenDict(),
  metadata_params: Mapping[Any, Any] = FrozenDict(),
) -> Callable[..., Any]:
  """Gives the boxes of variables an axis more, as a transform would, and their values none.

  It is for code that stacks variables by itself: the boxes inside do not know of the axis.

  Args:
    fn: called with a scope and the arguments.
    variable_axes: collections -> index of the axis in the boxes.
    metadata_params: passed to the boxes' `add_axis` and `remove_axis`.
  """
  ins, outs = in_and_out(variable_axes)
  for collection in {**ins, **outs}:

    def map_in(tree: Any, axis: Any = ins.get(collection)) -> Any:
      return meta.remove_axis(tree, axis, metadata_params) if axis is not None else tree

    def map_out(tree: Any, axis: Any = outs.get(collection)) -> Any:
      return meta.add_axis(tree, axis, metadata_params) if axis is not None else tree

    fn = map_variables(fn, collection, map_in, map_out, mutable=True)
  return fn
