"""Errors about the names of axes: of arrays, of rules, and of meshes.

`core.meta`, `core.spmd` and `partitioning` raise them. JAX would notice most of these later, and not say whose line it
was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from minilinen.errors.base import MinilinenError, nearest
from minilinen.errors.lifts import LiftedAt


class PartitioningUnspecifiedError(MinilinenError):
  """A box was lifted and nobody said what its new axis is called.

  Example:
    stacked = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True})
    stacked(4, kernel_init=nn.with_partitioning(nn.initializers.ones, ("in", "out"))).init(key, x)
  """

  says = (
    "Trying to transform a Partitioned variable but metadata_params['partition_name'] is not specified: "
    "{target:short} with the axes {names}.{given}"
  )
  right = 'box.add_axis(0, {nn.PARTITION_NAME: "layers"})'
  from_lift = 'metadata_params={nn.PARTITION_NAME: "layers"}, ...'
  by_remat_scan = (
    "nn.remat_scan takes no metadata_params: make the parameters without boxes, or stack the module by a scan of its"
    " nn.remat, which takes them."
  )

  def __init__(self, target: Any, lift: LiftedAt | None = None, given: Iterable[Any] = ()):
    advice: dict[str, Any] = {"given": ""}
    if given := [*given]:
      advice["given"] = f" What was passed has {', '.join(map(repr, given))} only."
    if lift is not None and lift.kind == "remat_scan":
      advice |= {"right": "", "mend": self.by_remat_scan}
    elif lift is not None:
      advice |= {"right": lift.call(self.from_lift)}
    super().__init__(target=target, names=getattr(target, "names", ()), lift=lift, **advice)
    self.box, self.lift, self.given = target, lift, given


class LogicalAxisError(MinilinenError, ValueError):
  """Names of axes, rules and mesh do not fit together.

  Example:
    nn.logical_to_mesh_axes(("batch", "batch"), [("batch", "data")])
  """

  takes = ("says", "right", "mend")
  right = 'with nn.logical_axis_rules([("batch", "data"), ("mlp", "model")]): ...'
  mend = (
    "name each axis of an array once, with None for those that stay whole, and give a rule for each name."
  )

  @classmethod
  def twice(cls, names: Sequence[Any], twice: Sequence[Any]) -> LogicalAxisError:
    """For a name that two axes of an array have."""
    return cls(
      "The axes {names} have a name more than once: {twice:listed}.",
      right="",
      mend="name each axis of an array once, with None for those that stay whole.",
      names=tuple(names),
      twice=twice,
    )

  @classmethod
  def no_rule(cls, names: Sequence[Any], lacking: Sequence[str], known: Iterable[Any]) -> LogicalAxisError:
    """For axes that no rule is left for."""
    return cls(
      "Axis names {names} did not match a rule: there is none left for {lacking:quoted}.{hint}",
      names=tuple(names),
      lacking=lacking,
      hint=nearest(lacking[0], dict.fromkeys(known)),
    )

  @classmethod
  def not_in_mesh(cls, axis: str, spec: tuple[Any, ...], known: Sequence[Any]) -> LogicalAxisError:
    """For a layout over an axis that the mesh has not."""
    return cls(
      "The mesh has no axis {axis!r}, which {spec} names.{hint}",
      right="",
      mend="let the rule or the box name an axis that the mesh has.",
      axis=axis,
      spec=spec,
      hint=nearest(axis, known),
    )

  @classmethod
  def too_many(cls, spec: tuple[Any, ...], shape: tuple[Any, ...]) -> LogicalAxisError:
    """For more names than the array has axes."""
    return cls(
      "An array of shape {shape} cannot lie on {spec}: it has {count} axes.",
      right="",
      mend="give one name for each axis of the array, None for those that stay whole.",
      shape=shape,
      spec=spec,
      count=len(shape),
    )

  @classmethod
  def changed(cls, name: str, now: Any, before: Any) -> LogicalAxisError:
    """For a variable that was given other axes before."""
    return cls(
      "The axes of {name!r} are {now} now and were {before}.",
      right="",
      mend="give a variable the same axes wherever it is made.",
      name=name,
      now=now,
      before=before,
    )

  @classmethod
  def text_for_names(cls, text: str) -> LogicalAxisError:
    """For a string where a tuple of names belongs: Python would take its letters for names."""
    return cls(
      "The names of an array's axes are a tuple of them or a PartitionSpec, and {text!r} is a string.",
      right="({text!r},)   # an array with one axis; ({text!r}, None) with two",
      mend="give one name for each axis of the array.",
      text=text,
    )

  @classmethod
  def bad_rules(cls, rules: Any) -> LogicalAxisError:
    """For rules that are no list of pairs."""
    return cls(
      "Axis rules are a list or tuple of pairs of a logical axis and a mesh axis, and these are not: {rules:short}.",
      mend="several mesh axes go in a tuple, None means that the axis stays whole.",
      rules=rules,
    )


class DuplicateSpecError(MinilinenError, ValueError):
  """Two axes of an array shall be split over the same axis of the mesh.

  Example:
    nn.Partitioned(x, ("data", "data"), mesh=jax.make_mesh((1,), ("data",))).unbox()
  """

  takes = ("spec", "twice")
  says = (
    "An array cannot lie on {spec}: an axis of the mesh can split one axis of an array, and {twice:quoted} "
    "stands there more than once."
  )
  mend = "put None in the place of all but one of them."


_NAME = "metadata_params={{nn.PARTITION_NAME: {}}}"


class RemovedAxisError(MinilinenError, AssertionError, IndexError, ValueError):
  """A lifted transform takes an axis away that the variable's names call otherwise, or have not.

  Example:
    nn.Partitioned(x, ("layers", "out")).remove_axis(0, {nn.PARTITION_NAME: "blocks"})
  """

  takes = ("index", "names", "expected_name")
  says = "Axis {index} of a variable with the axes {names} is to be taken away, and is not {expected_name!r}."
  mend = "if they were stacked along {there!r}, say so: {option}. If they never were, make them by this model's init."

  moved = "{expected_name!r} is axis {place} of them: let variable_axes say {place}."
  absent = "they have no such axis, so they are not this model's: make them by its init."

  def __init__(self, index: int, names: Sequence[Any], expected_name: Any, option: str = _NAME):
    case: dict[str, Any] = dict(mend=self.absent)
    if expected_name in names:
      case = dict(mend=self.moved, place=names.index(expected_name))
    elif -len(names) <= index < len(names):
      case = dict(there=names[index], option=option.format(repr(names[index])))
    super().__init__(index, names, expected_name, **case)


class AxesCollectionError(MinilinenError, AttributeError):
  """Something stands in a collection of axes that holds none.

  Example:
    nn.partitioning.get_axis_names({"Dense_0": {"kernel_axes": ("in", "out")}})
  """

  takes = ("place", "value")
  says = "There are no names of axes at {place!r}."
  expected = "nn.partitioning.AxisMetadata"
  found = "{value:short}"
  right = 'nn.partitioning.get_axis_names(variables["params_axes"])'

  def __init__(self, place: str, value: Any):
    case = {}
    if hasattr(value, "get_partition_spec"):
      case = dict(
        right="nn.get_partition_spec(variables)",
        mend="the value is in a box, which has the names of its axes.",
      )
    elif isinstance(value, (tuple, list)):
      case = dict(right="nn.partitioning.AxisMetadata({value})")
    super().__init__(place, value, **case)


class NoModuleCalledError(MinilinenError, AssertionError):
  """A variable with axes was asked for outside of every module.

  Example:
    nn.partitioning.param_with_axes("kernel", nn.initializers.ones, (3, 4), axes=("in", "out"))
  """

  takes = ("what",)
  says = "{what} makes a variable of the module that is being called, and none is."
  mend = "use it in a method of a module, or pass module=self."
