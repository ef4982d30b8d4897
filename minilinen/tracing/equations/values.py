"""Which values of a program are the same, and what each was computed from.

`traced` asks here where the variables of a run came from. The program is gone through once, into and out of all bodies:
a value that only passes through a call or is copied stays the same, and two that were computed in the same way from
the same are equal (a cast that is done twice). What a loop hands to its body first stands for what it hands on later.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minilinen.tracing.equations.leaves import Leaves, leaves_in
from minilinen.tracing.equations.subjaxprs import SubJaxpr, subjaxprs_of
from minilinen.tracing.spec import Value, spec_of


@dataclass(frozen=True)
class KnownLeaves:
  """What one equation of `leaves` tells: the value of some leaves."""

  leaves: Leaves
  values: dict[int, int]


@dataclass
class Values:
  """The values of a program, each with a number.

  Attributes:
    equal: for each value the first that is equal to it.
    sources: for each value those that it was computed from.
    specs: shape and dtype of each.
    leaves: which values are leaves of variables.
    arguments: which values are the arguments.
    spread: for a value that is the same for all elements of a `jax.vmap`, the one with its axis in front.
  """

  equal: list[int] = field(default_factory=list)
  sources: list[tuple[int, ...]] = field(default_factory=list)
  specs: list[Value] = field(default_factory=list)
  leaves: list[KnownLeaves] = field(default_factory=list)
  arguments: tuple[int, ...] = ()
  spread: dict[int, int] = field(default_factory=dict)
  _known: dict[Hashable, int] = field(default_factory=dict)
  _whole: dict[int, int] = field(default_factory=dict)

  def new(self, aval: Any, sources: tuple[int, ...] = (), key: Hashable = None) -> int:
    """A value; equal to an earlier one with the same key, if it has a key."""
    number = len(self.equal)
    self.equal.append(number if key is None else self._known.setdefault(key, number))
    self.sources.append(sources)
    self.specs.append(spec_of(aval) if hasattr(aval, "shape") and hasattr(aval, "dtype") else None)
    return number

  def constant(self, value: Any) -> int:
    """A value that is a number already: an array, or a literal."""
    key = (
      ("array", id(value))
      if np.ndim(value) or hasattr(value, "devices")
      else ("literal", type(value), str(value))
    )
    return self._known[key] if key in self._known else self.new(value, key=key)

  def each(self, value: int, aval: Any) -> int:
    """What a loop takes of a stacked value in every step."""
    number = self.new(aval, (value,), ("each", self.equal[value]))
    self._whole[number] = value
    return number

  def whole(self, value: int) -> int:
    """The stacked value that a loop takes a value from; the value itself, if it is not taken from one."""
    while value in self._whole:
      value = self._whole[value]
    return value


def read_values(closed: Any) -> Values:
  """Goes through a program.

  Args:
    closed: the jaxpr with its constants.
  """
  values = Values()
  names = {v: values.constant(c) for v, c in zip(closed.jaxpr.constvars, closed.consts)}
  values.arguments = tuple(values.new(v.aval) for v in closed.jaxpr.invars)
  names.update(zip(closed.jaxpr.invars, values.arguments))
  _read(values, closed.jaxpr, names)
  return values


def read_top(closed: Any) -> Values:
  """As `read_values`, but looks at the leaves of runs only, and only outside of all bodies: for a single run."""
  values = Values()
  names = {v: values.constant(c) for v, c in zip(closed.jaxpr.constvars, closed.consts)}
  values.arguments = tuple(values.new(v.aval) for v in closed.jaxpr.invars)
  names.update(zip(closed.jaxpr.invars, values.arguments))
  for equation in closed.jaxpr.eqns:
    its = leaves_in(equation)
    if its is not None:
      for v in equation.invars:
        if not hasattr(v, "val") and v not in names:
          names[v] = values.new(v.aval, _COMPUTED)
      inputs = [values.constant(v.val) if hasattr(v, "val") else names[v] for v in equation.invars]
      values.leaves.append(KnownLeaves(its[0], dict(zip(its[1], inputs))))
  return values


_COMPUTED = (-1,)
"""Sources that nobody asks for."""


def _read(values: Values, jaxpr: Any, names: dict[Any, int]) -> None:
  """Goes through the equations of a jaxpr, whose inputs have numbers by now."""
  for equation in jaxpr.eqns:
    inputs = [values.constant(v.val) if hasattr(v, "val") else names[v] for v in equation.invars]
    its = leaves_in(equation)
    if its is not None:
      values.leaves.append(KnownLeaves(its[0], dict(zip(its[1], inputs))))
    bodies = subjaxprs_of(equation)
    outputs = _bodies(values, equation, bodies, inputs) if bodies else _plain(values, equation, inputs)
    names.update(zip(equation.outvars, outputs))


def _plain(values: Values, equation: Any, inputs: Sequence[int]) -> list[int]:
  """The results of an equation without a body."""
  name, outputs = equation.primitive.name, equation.outvars
  if name in _HANDS_ON or (name in _MAY_HAND_ON and _alike(equation.invars[0].aval, outputs[0].aval)):
    return list(inputs[: len(outputs)])
  key = (name, tuple(values.equal[i] for i in inputs), tuple(sorted(equation.params.items())))
  results = [values.new(v.aval, tuple(inputs), (key, i)) for i, v in enumerate(outputs)]
  if name == "broadcast_in_dim" and outputs[0].aval.shape[1:] == equation.invars[0].aval.shape:
    values.spread.setdefault(inputs[0], results[0])
  return results


def _bodies(values: Values, equation: Any, bodies: Sequence[SubJaxpr], inputs: Sequence[int]) -> list[int]:
  """The results of an equation with bodies, after these were gone through."""
  results = [_body(values, equation, body, inputs) for body in bodies]
  if len(bodies) == 1 and not bodies[0].again and equation.primitive.name not in _LOOPS:
    return results[0]
  sources = [tuple(found[i] for found in results if i < len(found)) for i in range(len(equation.outvars))]
  round_again = tuple(found[i] for body, found in zip(bodies, results) for i in range(len(body.again)))
  return [values.new(v.aval, (*sources[i], *round_again)) for i, v in enumerate(equation.outvars)]


def _body(values: Values, equation: Any, body: SubJaxpr, inputs: Sequence[int]) -> list[int]:
  jaxpr = body.jaxpr
  names = {v: values.constant(c) for v, c in zip(jaxpr.constvars, _constants(equation, jaxpr))}
  for variable, i in zip(jaxpr.invars, body.inputs):
    loops = equation.primitive.name == "scan" and equation.invars[i].aval.ndim > variable.aval.ndim
    names[variable] = values.each(inputs[i], variable.aval) if loops else inputs[i]
  _read(values, jaxpr, names)
  return [values.constant(v.val) if hasattr(v, "val") else names[v] for v in jaxpr.outvars]


def _constants(equation: Any, jaxpr: Any) -> Sequence[Any]:
  for value in equation.params.values():
    for part in value if isinstance(value, (tuple, list)) else (value,):
      if getattr(part, "jaxpr", None) is jaxpr:
        return part.consts
  return ()


def _alike(one: Any, other: Any) -> bool:
  return one.shape == other.shape and one.dtype == other.dtype


_HANDS_ON = frozenset((
  "copy", "copy_p", "device_put", "name", "optimization_barrier", "pvary", "sharding_constraint", "stop_gradient",
))  # fmt: skip
_MAY_HAND_ON = frozenset(("broadcast_in_dim", "convert_element_type", "reshape", "squeeze"))
_LOOPS = frozenset(("scan", "while", "cond", "shard_map"))
