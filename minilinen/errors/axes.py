"""Errors about the names of axes: of arrays, of rules, and of meshes.

`core.meta`, `core.spmd` and `partitioning` raise them. JAX would notice most of these later, and not say whose line it
was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from minilinen.errors.base import MinilinenError, nearest, short


class PartitioningUnspecifiedError(MinilinenError):
  """A box was lifted and nobody said what its new axis is called."""

  def __init__(self, target: Any):
    super().__init__(
      f"Trying to transform a Partitioned variable but metadata_params['partition_name'] is not specified: "
      f"{short(target)} with the axes {getattr(target, 'names', ())}.",
      right='nn.scan(..., metadata_params={nn.PARTITION_NAME: "layers"})',
    )


class LogicalAxisError(MinilinenError, ValueError):
  """Names of axes, rules and mesh do not fit together."""

  def __init__(
    self,
    message: str,
    right: str = 'with nn.logical_axis_rules([("batch", "data"), ("mlp", "model")]): ...',
    mend: str = "name each axis of an array once, with None for those that stay whole, and give a rule for each name.",
  ):
    super().__init__(message, right=right, mend=mend)

  @classmethod
  def no_rule(cls, names: Sequence[Any], lacking: Sequence[str], known: Iterable[Any]) -> LogicalAxisError:
    """For axes that no rule is left for."""
    what = f"Axis names {tuple(names)} did not match a rule: there is none left for {_listed(lacking)}."
    return cls(what + nearest(lacking[0], dict.fromkeys(known)))

  @classmethod
  def not_in_mesh(cls, axis: str, spec: tuple[Any, ...], known: Sequence[Any]) -> LogicalAxisError:
    """For a layout over an axis that the mesh has not."""
    return cls(
      f"The mesh has no axis {axis!r}, which {spec} names.{nearest(axis, known)}",
      right="",
      mend="let the rule or the box name an axis that the mesh has.",
    )

  @classmethod
  def too_many(cls, spec: tuple[Any, ...], shape: tuple[Any, ...]) -> LogicalAxisError:
    """For more names than the array has axes."""
    return cls(
      f"An array of shape {shape} cannot lie on {spec}: it has {len(shape)} axes.",
      right="",
      mend="give one name for each axis of the array, None for those that stay whole.",
    )

  @classmethod
  def changed(cls, name: str, now: Any, before: Any) -> LogicalAxisError:
    """For a variable that was given other axes before."""
    return cls(
      f"The axes of {name!r} are {now} now and were {before}.",
      right="",
      mend="give a variable the same axes wherever it is made.",
    )

  @classmethod
  def text_for_names(cls, text: str) -> LogicalAxisError:
    """For a string where a tuple of names belongs: Python would take its letters for names."""
    return cls(
      f"The names of an array's axes are a tuple of them or a PartitionSpec, and {text!r} is a string.",
      right=f"({text!r},)   # an array with one axis; ({text!r}, None) with two",
      mend="give one name for each axis of the array.",
    )

  @classmethod
  def bad_rules(cls, rules: Any) -> LogicalAxisError:
    """For rules that are no list of pairs."""
    return cls(
      f"Axis rules are a list or tuple of pairs of a logical axis and a mesh axis, and these are not: {short(rules)}.",
      mend="several mesh axes go in a tuple, None means that the axis stays whole.",
    )


class DuplicateSpecError(MinilinenError, ValueError):
  """Two axes of an array shall be split over the same axis of the mesh."""

  def __init__(self, spec: tuple[Any, ...], twice: Sequence[str]):
    super().__init__(
      f"An array cannot lie on {spec}: an axis of the mesh can split one axis of an array, and "
      f"{_listed(twice)} stands there more than once.",
      mend="put None in the place of all but one of them.",
    )


class RemovedAxisError(MinilinenError, AssertionError, IndexError, ValueError):
  """A lifted transform takes an axis away that the variable's names call otherwise, or have not."""

  def __init__(self, index: int, names: Sequence[Any], expected: Any):
    super().__init__(
      f"Axis {index} of a variable with the axes {tuple(names)} is to be taken away, and is not {expected!r}.",
      mend="give the transform that runs the model the axis, and its name, of the one that made the variables.",
    )


class AxesCollectionError(MinilinenError, AttributeError):
  """Something stands in a collection of axes that holds none."""

  def __init__(self, place: Sequence[str], found: Any):
    super().__init__(
      f"There are no names of axes at {'/'.join(place)!r}.",
      expected="nn.partitioning.AxisMetadata",
      found=short(found),
      right='nn.partitioning.get_axis_names(variables["params_axes"])',
    )


class NoModuleCalledError(MinilinenError, AssertionError):
  """A variable with axes was asked for outside of every module."""

  def __init__(self, what: str):
    super().__init__(
      f"{what} makes a variable of the module that is being called, and none is.",
      mend="use it in a method of a module, or pass module=self.",
    )


def _listed(names: Iterable[Any]) -> str:
  return ", ".join(map(repr, names))
