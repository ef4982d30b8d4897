"""May be skipped on one device: logical axes, named by models and laid on the mesh's axes by rules.

A model says that the axes of a kernel are ("embed", "mlp") and those of an activation ("batch", "embed"). Which of
them are split over which devices is decided elsewhere, by rules such as (("batch", "data"), ("mlp", "model")), so that
one model runs on any mesh. XLA's partitioner does the rest: it is told by constraints, which change no number.
Without rules or without a mesh nothing of this does anything.
"""

from __future__ import annotations

import contextlib
import enum
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from minilinen import errors
from minilinen.core.meta import LogicalNames, Partitioned, constrained, mesh_in_force
from minilinen.in_force import InForce

A = TypeVar("A")

LogicalRules = Sequence[tuple[str, str | tuple[str, ...] | None]]
"""Pairs of a logical axis and the mesh axis that it lies on, several of them, or None; the first that fits counts."""


class RulesFallback(enum.Enum):
  """What a constraint does about a logical axis that no rule is for."""

  AXIS_IS_UNSHARDED = "axis_is_unsharded"
  RAISE_ERROR = "raise_error"
  NO_CONSTRAINT = "no_constraint"


_rules: InForce[LogicalRules] = InForce("rules")


def set_logical_axis_rules(rules: LogicalRules) -> None:
  """Sets this task's rules."""
  _rules.set(rules)


def get_logical_axis_rules() -> LogicalRules:
  """This task's rules."""
  rules = _rules.innermost()
  return () if rules is None else rules


@contextlib.contextmanager
def logical_axis_rules(rules: LogicalRules) -> Iterator[None]:
  """Sets this task's rules for the length of a `with` block.

  >>> with logical_axis_rules([("batch", "data"), ("mlp", "model")]):
  ...   tuple(logical_to_mesh_axes(("batch", "embed")))
  ('data', None)
  """
  with _rules.within(rules):
    yield


_UNCONSTRAINED = PartitionSpec.UNCONSTRAINED


def _assigned(names: Sequence[Any], rules: LogicalRules | None) -> list[tuple[Any, bool]]:
  """For each axis the mesh axis it lies on, and whether anybody says so: a rule, None, or what is no name and stays.

  A mesh axis is given only once.
  """
  rules = get_logical_axis_rules() if rules is None else rules
  _check(names, rules)
  names = tuple(names)
  found = [(None, False) if isinstance(name, str) else (name, True) for name in names]
  used = set().union(*(_mesh_axes(name) for name, said in found if said))
  for name, target in rules:
    place = names.index(name) if name in names else -1
    if place >= 0 and not found[place][1] and not (wanted := _mesh_axes(target)) & used:
      found[place] = (target, True)
      used |= wanted
  return found


def _mesh_axes(target: Any) -> set[Any]:
  """The axes of the mesh that something lies on. What is left to XLA is none of them."""
  return {axis for axis in jax.tree.leaves(target) if axis is not _UNCONSTRAINED}


def _check(names: Sequence[Any], rules: Any) -> None:
  pairs = (list, tuple)
  if not isinstance(rules, pairs) or not all(isinstance(rule, pairs) and len(rule) == 2 for rule in rules):
    raise errors.LogicalAxisError.bad_rules(rules)
  # A string is a sequence too, of names with one letter each.
  if isinstance(names, str) and any(
    isinstance(name, str) and len(name) > 1 and name in names for name, _ in rules
  ):
    raise errors.LogicalAxisError.text_for_names(names)
  texts = [name for name in names if isinstance(name, str)]
  if twice := sorted({name for name in texts if texts.count(name) > 1}):
    raise errors.LogicalAxisError.twice(names, twice)


def logical_to_mesh_axes(
  array_dim_names: Sequence[str | None] | None, rules: LogicalRules | None = None
) -> PartitionSpec | None:
  """The mesh axes that the axes of an array lie on.

  Args:
    array_dim_names: for each axis its logical name, or None; None for an array that is left alone. Anything else
      than a name stays as it is: `PartitionSpec.UNCONSTRAINED`, or a tuple of mesh axes.
    rules: those in force, if None.

  Raises:
    LogicalAxisError: if a name comes twice, or the names are a string, or the rules are no pairs.

  >>> tuple(logical_to_mesh_axes(("batch", "mlp"), [("batch", "data"), ("mlp", "model")]))
  ('data', 'model')
  """
  if array_dim_names is None:
    return None
  return PartitionSpec(*(axis for axis, _ in _assigned(array_dim_names, rules)))


def logical_to_mesh(tree: Any, rules: LogicalRules | None = None) -> Any:
  """A tree of `PartitionSpec`s over logical axes as one over mesh axes."""
  return jax.tree.map(lambda spec: logical_to_mesh_axes(spec, rules), tree, is_leaf=_is_spec)


def logical_to_mesh_sharding(tree: Any, mesh: Mesh, rules: LogicalRules | None = None) -> Any:
  """A tree of `PartitionSpec`s over logical axes as one of shardings on a mesh."""
  specs = logical_to_mesh(tree, rules)
  return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs, is_leaf=_is_spec)


def _is_spec(x: Any) -> bool:
  return isinstance(x, PartitionSpec)


def _is_names(x: Any) -> bool:
  """Whether a constraint takes something for the names of one array: other tuples are trees of them."""
  return x is None or _is_spec(x) or (isinstance(x, tuple) and all(map(_is_name, x)))


def _is_name(x: Any) -> bool:
  return x is None or x is _UNCONSTRAINED or isinstance(x, str)


def with_logical_constraint(
  x: Any,
  logical_axis_resources: Any,
  rules: LogicalRules | None = None,
  mesh: Mesh | None = None,
  fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED,
) -> Any:
  """Says how arrays lie on the mesh, by logical axes. Without rules or mesh the arrays come back as they are.

  Args:
    x: a pytree of arrays.
    logical_axis_resources: for each array, or for a whole branch of the pytree, the logical names of its axes; None in
      it is an array on every device whole, None for all of it leaves the arrays alone.
    rules: those in force, if None.
    mesh: the one in force, if None.
    fallback: what to do about a name that no rule is for.

  Raises:
    LogicalAxisError: if a name comes twice, or no rule is for it and `fallback` says so, or there are more names than
      axes, or the mesh has not the axis that a rule gives.
    DuplicateSpecError: if two axes lie on the same axis of the mesh.
  """

  def constrain(names: Any, branch: Any) -> Any:
    return jax.tree.map(lambda leaf: _constrained(leaf, names or (), rules, mesh, fallback), branch)

  if logical_axis_resources is None or not (get_logical_axis_rules() if rules is None else rules):
    return x
  return jax.tree.map(constrain, logical_axis_resources, x, is_leaf=_is_names)


def _constrained(
  x: Any, names: Any, rules: LogicalRules | None, mesh: Mesh | None, fallback: RulesFallback
) -> Any:
  found = _assigned(names, rules)
  lacking = [name for name, (_, said) in zip(names, found) if not said]
  if lacking and fallback is RulesFallback.RAISE_ERROR:
    known = [name for name, _ in (get_logical_axis_rules() if rules is None else rules)]
    raise errors.LogicalAxisError.no_rule(names, lacking, known)
  if lacking and fallback is RulesFallback.NO_CONSTRAINT:
    return x
  return constrained(x, PartitionSpec(*(axis for axis, _ in found)), mesh)


@functools.partial(
  jax.tree_util.register_dataclass, data_fields=["value"], meta_fields=["names", "mesh", "rules"]
)
@dataclass(frozen=True)
class LogicallyPartitioned(Partitioned[A]):
  """A value and the logical names of its axes.

  Attributes:
    value: the array.
    names: for each of its axes a logical name, or None.
    mesh: the mesh, if it is not the one in force.
    rules: the rules, if they are not those in force.
  """

  rules: LogicalRules | None = None

  def mesh_spec(self) -> PartitionSpec | None:
    """The mesh axes that the rules put its axes on, None if there are no rules."""
    rules = get_logical_axis_rules() if self.rules is None else self.rules
    return logical_to_mesh_axes(self.names, rules) if rules else None

  def unbox(self, apply_constraint: bool = True) -> A:
    """The value, constrained to where the rules put it if there is a mesh."""
    if not apply_constraint or mesh_in_force(self.mesh) is None:
      return self.value
    return with_logical_constraint(self.value, self.get_partition_spec(), rules=self.rules, mesh=self.mesh)


def with_logical_partitioning(
  fn: Callable[..., Any], names: LogicalNames, mesh: Mesh | None = None, rules: LogicalRules | None = None
) -> Callable[..., Any]:
  """An initializer whose value comes in a `LogicallyPartitioned` box.

  Args:
    fn: an initializer.
    names: the logical name of each axis of the value, or None.
    mesh, rules: if they are not those in force.

  >>> import jax, minilinen as nn
  >>> kernel_init = nn.with_logical_partitioning(nn.initializers.ones, ("embed", "mlp"))
  >>> kernel = nn.Dense(3, kernel_init=kernel_init).init(jax.random.key(0), jax.numpy.ones((1, 2)))["params"]["kernel"]
  >>> kernel.names
  ('embed', 'mlp')
  """
  given = None if rules is None else tuple(rules)

  @functools.wraps(fn)
  def boxed(*args: Any, **kwargs: Any) -> LogicallyPartitioned[Any]:
    return LogicallyPartitioned(fn(*args, **kwargs), names, mesh=mesh, rules=given)

  return boxed
