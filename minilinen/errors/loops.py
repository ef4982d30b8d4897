"""Mistakes with what a `vmap` or a scan maps over: how many there are, and what is the same for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minilinen.errors.base import MinilinenError
from minilinen.errors.lifts import LiftedAt


class MappedSizeError(MinilinenError, ValueError, IndexError):
  """What a `vmap` or a scan maps over has several sizes, or none that is known.

  Example:
    nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True}, axis_size=3)(4).init(key, x)
  """

  takes = ("says", "lift", "path")
  sizes = "The sizes on the mapped axis of {lift} differ: {listed}."
  nothing = "{what} should be specified manually: {lift} maps over no argument and no variable."
  scalar = "{what} is mapped by {lift} over axis {axis}, and has the shape {shape}."
  alone = "{lift} was called with one argument, the carry: its body takes ({names}), and it loops over what follows."
  begins = "a cell gives the first carry: cell.initialize_carry(key, x.shape), for the x of one step."
  empty = "{lift} needs at least one length."

  by_given = "or leave {what} away: it is read off the arrays."
  by_lengths = "let lengths be the leading axes of the variables, or make others by init of this model."
  made_for = "the variables were made for {size}: pass as many, or make others by init."
  given_for = "the variables were made for {size}; init of this model makes others."
  shared = "what is mapped has one size on its axis; what all share has {none} for an axis, in in_axes."

  @classmethod
  def differ(
    cls,
    lift: LiftedAt,
    path: str,
    variables: Mapping[Any, str],
    arguments: Mapping[Any, str],
    given: int | None,
    what: str,
  ) -> MappedSizeError:
    """For several sizes, each with the first variable and the first argument that has it."""
    what = "lengths" if lift.kind == "remat_scan" else what
    asked = [] if given is None else [f"{given} ({what})"]
    listed = [f"{size} ({where})" for sizes in (variables, arguments) for size, where in sizes.items()]
    facts: dict[str, Any] = dict(what=what, size=next(iter(variables), None), none=_none(lift))
    facts["listed"] = ", ".join(asked + listed)
    if what == "lengths":
      case = dict(mend=cls.by_lengths)
    elif len(variables) > 1 or len(arguments) > 1:
      case = dict(mend=cls.shared)
    elif variables and not arguments:
      case = dict(right=lift.call(f"{what}={next(iter(variables))}, ..."), mend=cls.given_for)
    elif variables and [*variables] != [*arguments]:
      case = dict(mend=cls.made_for)
    else:
      size = next(iter(arguments))
      right = lift.call(f"{what}={size}, ...") if isinstance(size, int) else ""
      case = dict(right=right, mend=cls.by_given if right else cls.by_given.removeprefix("or "))
    return cls(cls.sizes, lift, path, **facts, **case)

  @classmethod
  def unknown(cls, lift: LiftedAt, path: str, what: str) -> MappedSizeError:
    """For nothing that is mapped, and no size given."""
    return cls(cls.nothing, lift, path, what=what, right=lift.call(f"{what}=4, ..."))

  @classmethod
  def carry_alone(cls, lift: LiftedAt, path: str, names: Sequence[str]) -> MappedSizeError:
    """For a scan that was called with one argument, which it takes for the carry, and a body that takes more."""
    listed = ", ".join(names)
    return cls(cls.alone, lift, path, names=listed, right=f"module({listed})", mend=cls.begins)

  @classmethod
  def no_axis(
    cls, lift: LiftedAt, path: str, what: str, shape: tuple[Any, ...], axis: int
  ) -> MappedSizeError:
    """For an array that has no such axis."""
    mend = "pass an array with that axis, or give it another in in_axes; {none} if all share it."
    if what.startswith("variable"):
      mend = "pass variables as init of this model makes them, with an axis for what is mapped."
    facts = dict(what=what[0].upper() + what[1:], shape=shape, axis=axis, none=_none(lift))
    return cls(cls.scalar, lift, path, mend=mend, **facts)

  @classmethod
  def no_lengths(cls, lift: LiftedAt) -> MappedSizeError:
    """For a `remat_scan` that was told no length."""
    right = lift.call("lengths=(10,), ...")
    return cls(cls.empty, lift, right=right, mend="for 12 steps in two levels, lengths=(3, 4).")


def _none(lift: LiftedAt) -> str:
  return "nn.broadcast" if lift.kind == "scan" else "None"


class DependsOnStepError(MinilinenError, ValueError):
  """What shall be the same in every step of a scan depends on the step.

  Example:
    class Step(nn.Module):
      @nn.compact
      def __call__(self, carry, x):
        return carry, nn.Dense(4)(x)
    nn.scan(Step, variable_broadcast="params", split_rngs={"params": True})().init(key, x, x)
  """

  takes = ("place", "lift", "path")
  says = "A result of {loop} shall be the same in every step, as out_axes says, and depends on the step."
  mend = "stack it, with an axis in out_axes, or return it in the carry, of which the last is given back."

  variable = (
    "broadcasted variable has a data dependency on the scan body: {name!r} of {loop} shall be the same in every step, "
    "and depends on the step."
  )
  split = "its key is another in each step, and all share it."
  parameter = "make its first value of shapes alone, not of the carry or the inputs."
  state = "share what no step changes; what one step hands to the next is carried, and must be there before the loop."

  def __init__(self, place: str, lift: LiftedAt | None = None, path: str = "", **case: Any):
    super().__init__(place, lift, path, loop=lift or "a scan", **case)
    self.place, self.lift = place, lift

  @classmethod
  def of_variable(
    cls, place: str, lift: LiftedAt, path: str, name: str, col: str, is_split: bool, is_shared: bool
  ) -> DependsOnStepError:
    """For a variable: of a collection that all steps share, or of one with None for an axis."""
    if is_split:
      case = dict(right=lift.call('split_rngs={"params": False}, ...'), mend=cls.split)
    elif not is_shared:
      case = dict(right=lift.call(f'variable_axes={{..., "{col}": 0}}, ...'), mend="")
    elif col == "params":
      case = dict(mend=cls.parameter)
    else:
      case = dict(right=lift.call(f'variable_carry="{col}", ...'), mend=cls.state)
    return cls(place, lift, path, says=cls.variable, name=name, **case)
