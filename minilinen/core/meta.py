"""May be skipped: boxes: values that carry a note, above all the names of their axes.

An initializer may return a box; the variable then is the box, and modules see what is inside. A lifted
transform that stacks a variable tells its box about the new axis. `Partitioned` is the box that says how
an array lies on a mesh of devices.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, TypeVar

import jax
from jax.core import Tracer

from minilinen import errors
from minilinen.tracing.spec import Node, describe

A = TypeVar("A")

PARTITION_NAME = "partition_name"

LogicalNames = tuple[str | None, ...]


class AxisMetadata(Generic[A], metaclass=abc.ABCMeta):
  """A box around one value, or a pytree of them. Subclasses are pytrees."""

  @abc.abstractmethod
  def unbox(self) -> A:
    """What is inside."""

  @abc.abstractmethod
  def replace_boxed(self, val: Any) -> AxisMetadata[Any]:
    """The same box around another value."""

  @abc.abstractmethod
  def add_axis(self, index: int, params: Mapping[Any, Any]) -> AxisMetadata[A]:
    """The box, told that a lifted transform put an axis in at `index`."""

  @abc.abstractmethod
  def remove_axis(self, index: int, params: Mapping[Any, Any]) -> AxisMetadata[A]:
    """The box, told that a lifted transform took the axis at `index` away."""


def is_axis_metadata(val: Any) -> bool:
  """Whether a value is a box."""
  return isinstance(val, AxisMetadata)


def map_axis_meta(fn: Callable[[AxisMetadata[Any]], Any], tree: Any) -> Any:
  """The tree with `fn` applied to every box in it."""
  return jax.tree.map(lambda x: fn(x) if is_axis_metadata(x) else x, tree, is_leaf=is_axis_metadata)


def add_axis(tree: Any, index: int, params: Mapping[Any, Any]) -> Any:
  """Tells every box of a tree of a new axis."""
  return map_axis_meta(lambda box: box.add_axis(index, params), tree)


def remove_axis(tree: Any, index: int, params: Mapping[Any, Any]) -> Any:
  """Tells every box of a tree that an axis is gone."""
  return map_axis_meta(lambda box: box.remove_axis(index, params), tree)


def unbox(tree: Any) -> Any:
  """The tree with every box replaced by what is inside, boxes in boxes too."""
  if isinstance(tree, jax.Array):
    return tree
  return map_axis_meta(lambda box: unbox(box.unbox()), tree)


def replace_boxed(tree: Any, updates: Any) -> Any:
  """A tree of boxes with new values inside."""

  def put(box: Any, update: Any) -> Any:
    if not is_axis_metadata(box):
      return update
    return box.replace_boxed(replace_boxed(box.unbox(), update))

  if tree is None:
    return updates
  return jax.tree.map(put, tree, updates, is_leaf=is_axis_metadata)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["value"], meta_fields=["names", "mesh"])
@dataclass(frozen=True)
class Partitioned(AxisMetadata[A]):
  """A value and the mesh axes that its axes lie on.

  Attributes:
    value: the array.
    names: for each of its axes a mesh axis, several of them, or None.
    mesh: the mesh, if it is not the one in force.
  """

  value: Any
  names: LogicalNames
  mesh: jax.sharding.Mesh | None = None

  def unbox(self, apply_constraint: bool = True) -> A:
    """The value, constrained to its sharding if there is a mesh."""
    return constrained(self.value, self.get_partition_spec(), self.mesh) if apply_constraint else self.value

  def mesh_spec(self) -> jax.sharding.PartitionSpec | None:
    """The mesh axes that its axes lie on, None if nobody says."""
    return self.get_partition_spec()

  def __trace_describe__(self) -> Node:
    box = laid_out(self)
    return Node(type(self).__name__, {f.name: describe(getattr(box, f.name)) for f in fields(self)})

  def replace_boxed(self, val: Any) -> Partitioned[Any]:
    return replace(self, value=val)

  def replace(self, **changes: Any) -> Partitioned[Any]:
    """The same box with some fields changed."""
    return replace(self, **changes)

  def add_axis(self, index: int, params: Mapping[Any, Any]) -> Partitioned[A]:
    names = list(self.names)
    while len(names) < index:
      names.append(None)
    names.insert(index, self._axis_name(params))
    return replace(self, names=tuple(names))

  def remove_axis(self, index: int, params: Mapping[Any, Any]) -> Partitioned[A]:
    names, expected = list(self.names), self._axis_name(params)
    if not -len(names) <= index < len(names) or names[index] != expected:
      raise errors.RemovedAxisError(index, tuple(names), expected)
    del names[index]
    return replace(self, names=tuple(names))

  def _axis_name(self, params: Mapping[Any, Any]) -> Any:
    if PARTITION_NAME not in params:
      raise errors.PartitioningUnspecifiedError(self, given=params)
    return params[PARTITION_NAME]

  def get_partition_spec(self) -> jax.sharding.PartitionSpec:
    """The axes as JAX's `PartitionSpec`."""
    return jax.sharding.PartitionSpec(*self.names)

  def get_sharding(self, mesh: jax.sharding.Mesh) -> jax.sharding.Sharding:
    """The axes as a sharding on a mesh."""
    return jax.sharding.NamedSharding(mesh, self.get_partition_spec())


def constrained(x: Any, spec: jax.sharding.PartitionSpec, mesh: jax.sharding.Mesh | None = None) -> Any:
  """An array that XLA shall lay out so, on a mesh or the one in force; without any it comes back as it is.

  Raises:
    LogicalAxisError: if there are more names than axes, or the mesh has not the axis that is named.
    DuplicateSpecError: if an axis of the mesh is named twice.
  """
  force = mesh_in_force(mesh)
  if force is None:
    return x
  axes = [axis for axis in jax.tree.leaves(tuple(spec)) if isinstance(axis, str)]
  for axis in axes:
    if axis not in force.axis_names:
      raise errors.LogicalAxisError.not_in_mesh(axis, tuple(spec), force.axis_names)
  if twice := sorted({axis for axis in axes if axes.count(axis) > 1}):
    raise errors.DuplicateSpecError(tuple(spec), twice)
  if len(spec) > jax.numpy.ndim(x):
    raise errors.LogicalAxisError.too_many(tuple(spec), jax.numpy.shape(x))
  return jax.lax.with_sharding_constraint(x, spec if mesh is None else jax.sharding.NamedSharding(mesh, spec))


def mesh_in_force(mesh: jax.sharding.Mesh | None) -> jax.sharding.Mesh | jax.sharding.AbstractMesh | None:
  """A mesh, or the one that `jax.set_mesh` has put in force; None without either."""
  force = jax.sharding.get_abstract_mesh() if mesh is None else mesh
  return None if force.empty else force


def laid_out(box: Any) -> Any:
  """A box with shape and sharding in the place of its value, as a mesh and rules in force have it: for the trace."""
  if not isinstance(box, Partitioned) or not hasattr(box.value, "shape") or _is_placed(box.value):
    return box
  mesh, value = mesh_in_force(box.mesh), box.value
  if mesh is None:
    return box
  try:
    spec = box.mesh_spec()
    if spec is None:
      return box
    sharding = jax.sharding.NamedSharding(mesh, spec)
    weak = getattr(value, "weak_type", False)
    return box.replace_boxed(
      jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=sharding, weak_type=weak)
    )
  except Exception:
    # Whoever unboxes it is told what is wrong with its names; looking on must not raise.
    return box


def _is_placed(value: Any) -> bool:
  """Whether a value says itself where it lies."""
  if isinstance(value, jax.ShapeDtypeStruct):
    return value.sharding is not None
  return isinstance(value, jax.Array) and not isinstance(value, Tracer)


def with_partitioning(
  fn: Callable[..., Any], names: LogicalNames, mesh: jax.sharding.Mesh | None = None
) -> Callable[..., Any]:
  """An initializer whose value comes in a `Partitioned` box.

  Args:
    fn: an initializer.
    names: the mesh axis of each axis of the value, or None.
    mesh: the mesh, if it is not the one in force.
  """

  @functools.wraps(fn)
  def boxed(*args: Any, **kwargs: Any) -> Partitioned[Any]:
    return Partitioned(fn(*args, **kwargs), names, mesh=mesh)

  return boxed


def get_partition_spec(tree: Any) -> Any:
  """The `PartitionSpec` of every variable of a tree; of those without a box, the empty one."""

  def spec(x: Any) -> Any:
    if isinstance(x, Partitioned):
      return x.get_partition_spec()
    return jax.sharding.PartitionSpec() if hasattr(x, "shape") else None

  return jax.tree.map(spec, tree, is_leaf=is_axis_metadata)


def get_sharding(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """The sharding of every variable of a tree on a mesh."""

  def sharding(x: Any) -> Any:
    if isinstance(x, Partitioned):
      return x.get_sharding(mesh)
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()) if hasattr(x, "shape") else None

  return jax.tree.map(sharding, tree, is_leaf=is_axis_metadata)
