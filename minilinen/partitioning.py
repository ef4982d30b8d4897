"""May be skipped without meshes: logical axes beside variables, in "params_axes" for "params".

The older of Linen's two ways to say how variables lie on a mesh: `param_with_axes` makes a parameter, constrains it
(`core.spmd`), and sows an `AxisMetadata` with its axes under the parameter's name and "_axes". The values stay plain
arrays; `scan_with_axes` and `vmap_with_axes` add the name of the new axis. New code uses boxes,
`nn.with_logical_partitioning`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import Any

import jax
from jax.sharding import PartitionSpec

from minilinen import errors
from minilinen.core import FrozenDict, freeze, lift, unfreeze
from minilinen.core.filters import union_filters
from minilinen.core.lift import In as ScanIn
from minilinen.core.lift import Out as ScanOut
from minilinen.core.lift.targets import Target, lifted
from minilinen.core.scope import Variable
from minilinen.core.spmd import LogicalRules as LogicalRules
from minilinen.core.spmd import RulesFallback as RulesFallback
from minilinen.core.spmd import get_logical_axis_rules as get_axis_rules
from minilinen.core.spmd import logical_axis_rules as axis_rules
from minilinen.core.spmd import logical_to_mesh as logical_to_mesh
from minilinen.core.spmd import logical_to_mesh_axes as logical_to_mesh_axes
from minilinen.core.spmd import set_logical_axis_rules as set_axis_rules
from minilinen.core.spmd import with_logical_constraint as with_sharding_constraint
from minilinen.module import Module
from minilinen.module.context import running
from minilinen.transforms import map_variables, scan, vmap

__all__ = [
  "AxisMetadata", "LogicalRules", "PartitionedVariable", "RulesFallback", "ScanIn", "ScanOut", "axis_rules",
  "core_remat_static", "freeze", "get_axis_names", "get_axis_rules", "logical_to_mesh", "logical_to_mesh_axes",
  "param_with_axes", "remat", "scan_with_axes", "set_axis_rules", "unfreeze", "variable_with_axes", "vmap_with_axes",
  "with_sharding_constraint",
]  # fmt: skip


@jax.tree_util.register_static
@dataclass(frozen=True)
class AxisMetadata:
  """The logical names of a variable's axes, as a variable that holds no array."""

  names: Any

  def replace(self, **changes: Any) -> AxisMetadata:
    """The same with other names."""
    return replaced(self, **changes)


def _module(module: Module | None, what: str) -> Module:
  found = module if module is not None else running.get()
  if not isinstance(found, Module):
    raise errors.NoModuleCalledError(what)
  return found


def _sow_axes(module: Module, collection: str, name: str, axes: tuple[str, ...]) -> None:
  def same(before: AxisMetadata | None, now: AxisMetadata) -> AxisMetadata:
    if before not in (None, now):
      raise errors.LogicalAxisError.changed(name, axes, getattr(before, "names", ""))
    return now

  module.sow(f"{collection}_axes", f"{name}_axes", AxisMetadata(axes), reduce_fn=same, init_fn=lambda: None)  # type: ignore[arg-type]


def param_with_axes(
  name: str,
  init_fn: Callable[..., Any],
  *init_args: Any,
  axes: tuple[str, ...] | None = None,
  module: Module | None = None,
  **init_kwargs: Any,
) -> Any:
  """A parameter, constrained to lie where the rules put its axes.

  Args:
    name, init_fn, *init_args, **init_kwargs: as for `Module.param`.
    axes: the logical names of its axes; None for none.
    module: the module; by default the one that is being called.

  Raises:
    NoModuleCalledError: if there is none.
    LogicalAxisError: if it was given other axes before.
  """
  module = _module(module, "param_with_axes")
  value = module.param(name, init_fn, *init_args, **init_kwargs)
  if axes is None:
    return value
  _sow_axes(module, "params", name, axes)
  return with_sharding_constraint(value, PartitionSpec(*axes))


class PartitionedVariable(Variable[Any]):
  """A `Variable` whose value is constrained to lie where the rules put its axes, whenever it is read or set."""

  __slots__ = ("axes", "fallback")

  def __init__(
    self,
    scope: Any,
    collection: str,
    name: str,
    axes: tuple[str, ...] | None = None,
    fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED,
  ):
    super().__init__(scope, collection, name)
    self.axes = axes
    self.fallback = fallback

  def _constrained(self, value: Any) -> Any:
    return (
      with_sharding_constraint(value, self.axes, fallback=self.fallback) if self.axes is not None else value
    )

  @property
  def value(self) -> Any:
    """The variable's value. Setting it needs the collection to be mutable."""
    return self._constrained(super().value)

  @value.setter
  def value(self, value: Any) -> None:
    Variable.value.__set__(self, self._constrained(value))


def variable_with_axes(
  collection: str,
  name: str,
  init_fn: Callable[..., Any],
  *init_args: Any,
  axes: tuple[str, ...] | None = None,
  module: Module | None = None,
  fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED,
  **init_kwargs: Any,
) -> PartitionedVariable:
  """A variable, constrained to lie where the rules put its axes.

  Args:
    collection, name, init_fn, *init_args, **init_kwargs: as for `Module.variable`.
    axes: the logical names of its axes; None for none.
    module: the module; by default the one that is being called.
    fallback: what to do about a name that no rule is for.

  Raises:
    NoModuleCalledError: if there is none.
    LogicalAxisError: if it was given other axes before, or there is no rule for one and `fallback` says so.
  """
  module = _module(module, "variable_with_axes")

  def first() -> Any:
    value = init_fn(*init_args, **init_kwargs)
    return with_sharding_constraint(value, axes, fallback=fallback) if axes is not None else value

  variable = module.variable(collection, name, first)
  if axes is not None:
    _sow_axes(module, collection, name, axes)
  return PartitionedVariable(variable.scope, collection, name, axes, fallback)


def get_axis_names(axes_metadata: Any) -> FrozenDict[str, Any]:
  """The `PartitionSpec` of every variable, from a collection such as "params_axes".

  Raises:
    AxesCollectionError: if something else than an `AxisMetadata` stands in it.

  >>> tuple(get_axis_names({"dense": {"kernel_axes": AxisMetadata(("embed", "mlp"))}})["dense"]["kernel"])
  ('embed', 'mlp')
  """

  def walk(tree: Any, place: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(tree, Mapping):
      raise errors.AxesCollectionError("/".join(place), tree)
    found: dict[str, Any] = {}
    for name, inner in tree.items():
      if isinstance(inner, AxisMetadata):
        found[name.removesuffix("_axes")] = PartitionSpec(*inner.names)
      elif branch := walk(inner, (*place, name)):
        found[name] = branch
    return found

  return freeze(walk(axes_metadata, ()))


def _with_axis_named(target: Any, collection: str, axis: Any, axis_name: str | None, methods: Any) -> Any:
  """A lifted target, told that in a collection of axes there is one more outside than inside."""
  ins, outs = (axis.axis if isinstance(axis, kind) else axis for kind in (ScanIn, ScanOut))

  def without(names: list[Any]) -> None:
    if not -len(names) <= ins < len(names) or names[ins] != axis_name:
      option = f'partitioning_axis_names={{{{"{collection.removesuffix("_axes")}": {{}}}}}}'
      raise errors.RemovedAxisError(ins, tuple(names), axis_name, option)
    del names[ins]

  def renamed(change: Callable[[list[Any]], None]) -> Callable[[Any], Any]:
    def rename(box: AxisMetadata) -> AxisMetadata:
      names = list(box.names)
      change(names)
      return box.replace(names=tuple(names))

    return lambda tree: jax.tree.map(rename, tree, is_leaf=lambda x: isinstance(x, AxisMetadata))

  return map_variables(
    target,
    f"{collection}_axes",
    renamed(without) if isinstance(ins, int) else lambda tree: tree,
    renamed(lambda names: names.insert(outs, axis_name)) if isinstance(outs, int) else lambda tree: tree,
    mutable=True,
    methods=methods,
  )


def scan_with_axes(
  target: Any,
  variable_axes: lift.Axes = FrozenDict(),
  variable_broadcast: Any = False,
  variable_carry: Any = False,
  split_rngs: Mapping[Any, bool] = FrozenDict(),
  in_axes: Any = 0,
  out_axes: Any = 0,
  length: int | None = None,
  reverse: bool = False,
  unroll: int = 1,
  axis_name: str = "layers",
  axes_collections: tuple[str, ...] = ("params",),
  data_transform: Callable[..., Any] | None = None,
  methods: Any = None,
) -> Any:
  """`nn.scan` that gives the variables' axes the name of the axis they are stacked on.

  Args:
    axis_name: that name.
    axes_collections: the collections whose axes are named.

  Raises:
    RemovedAxisError: if the variables passed were stacked on an axis of another name, or another place.
  """
  named = [f"{collection}_axes" for collection in axes_collections]
  lifted = scan(
    target, variable_axes=variable_axes, variable_broadcast=union_filters(variable_broadcast, named),
    variable_carry=variable_carry, split_rngs=split_rngs, in_axes=in_axes, out_axes=out_axes, length=length,
    reverse=reverse, unroll=unroll, data_transform=data_transform, methods=methods,
  )  # fmt: skip
  for collection in axes_collections:
    if collection in variable_axes:
      lifted = _with_axis_named(lifted, collection, variable_axes[collection], axis_name, methods)
  return lifted


def vmap_with_axes(
  target: Any,
  variable_axes: lift.Axes,
  split_rngs: Mapping[Any, bool] = FrozenDict(),
  in_axes: Any = 0,
  out_axes: Any = 0,
  axis_size: int | None = None,
  axis_name: str | None = None,
  partitioning_axis_names: Mapping[Any, str] = FrozenDict(),
  spmd_axis_name: str | None = None,
  methods: Any = None,
) -> Any:
  """`nn.vmap` that gives the variables' axes the name of the axis they are stacked on.

  Args:
    partitioning_axis_names: collection -> that name.

  Raises:
    RemovedAxisError: if the variables passed were stacked on an axis of another name, or another place.
  """
  axes = {f"{collection}_axes": None for collection in partitioning_axis_names}
  lifted = vmap(
    target, variable_axes={**variable_axes, **axes}, split_rngs=split_rngs, in_axes=in_axes, out_axes=out_axes,
    axis_size=axis_size, axis_name=axis_name, spmd_axis_name=spmd_axis_name, methods=methods,
  )  # fmt: skip
  for collection, name in partitioning_axis_names.items():
    if collection in variable_axes:
      lifted = _with_axis_named(lifted, collection, variable_axes[collection], name, methods)
  return lifted


def core_remat_static(
  fn: Callable[..., Any],
  variables: Any = True,
  rngs: Any = True,
  concrete: bool = False,
  prevent_cse: bool = True,
  static_argnums: int | Sequence[int] = (),
  policy: Callable[..., bool] | None = None,
) -> Callable[..., Any]:
  """`core.lift.remat`, with static arguments counted without the scope: number 0 is the first after it.

  Positions at which a call has no argument don't matter.
  """
  target: Any = Target.of(fn)
  static = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)

  @functools.wraps(target.fn)
  def run(scope: Any, *args: Any, **kwargs: Any) -> Any:
    there = tuple(n + 1 for n in static if 0 <= n < len(args))
    return lift.remat(target, variables, rngs, concrete, prevent_cse, there, policy)(scope, *args, **kwargs)

  run.lifted = {"remat", *getattr(target.fn, "lifted", ())}  # type: ignore[attr-defined]
  return run


@lifted("Core_remat_static")
def remat(
  target: Any,
  variables: Any = True,
  rngs: Any = True,
  concrete: bool = False,
  prevent_cse: bool = True,
  static_argnums: int | Sequence[int] = (),
  policy: Callable[..., bool] | None = None,
  methods: Any = None,
) -> Any:
  """`nn.remat`, with static arguments counted without the module."""
  return core_remat_static(target, variables, rngs, concrete, prevent_cse, static_argnums, policy)
