"""May be skipped: which values of a program a run was given as its variables, and which it made.

While `nn.trace` runs, each run writes an equation into the program that has the leaves of its variables for inputs, and
on which nothing depends. JAX takes it through `jit`, `grad`, `vmap`, `scan` and `remat` like any other; so in the end
`identity` can read off where the variables of each run came from. Nobody else sees these equations: `take_out` gives
the program as it is without them. What is a number when the run begins (an array that the traced function closes over)
needs no equation, and is kept here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from minilinen import jax_internals

Place = tuple[str, ...]
_NAME = "leaves"


@jax_internals.kept_weakly
@dataclass(eq=False)
class Leaves:
  """The leaves of one tree of variables, as a run was given it or made it.

  Attributes:
    places: collection, path and name of each leaf.
    arrays: the leaves that are arrays, by their numbers; of the others the program tells.
  """

  places: list[Place]
  arrays: dict[int, Any] = field(default_factory=dict)

  def also(self, variables: Any) -> None:
    """Writes more leaves; of those of one place the last counts."""
    found, so_far = list(leaves_of(variables)) if isinstance(variables, Mapping) else [], len(self.places)
    self.places.extend(place for place, _ in found)
    _tell([leaf for _, leaf in found], self, tuple(range(so_far, len(self.places))))


def write(variables: Any) -> Leaves:
  """Writes into the programs that JAX is tracing which of their values are leaves of variables."""
  leaves = Leaves([])
  leaves.also(variables)
  return leaves


def leaves_of(variables: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
  """The leaves of nested dicts with their places; those of a box or another pytree all have its place."""
  if isinstance(variables, Mapping):
    for name, below in variables.items():
      yield from leaves_of(below, (*place, str(name)))
  else:
    yield from ((place, leaf) for leaf in jax.tree.leaves(variables))


def root_keys(rngs: Any) -> Mapping[str, Any]:
  """The root keys that a run is given, by stream: one key alone is that of "params"."""
  return rngs if isinstance(rngs, Mapping) else {} if rngs is None else {"params": rngs}


def repeating_keys(rngs: Any, passed: Sequence[Sequence[Any]]) -> dict[str, str]:
  """The streams whose root key is the same each time that a loop or `jax.vmap` around runs, and which that is."""
  found = {
    str(stream): jax_internals.repeating(leaf, passed)
    for stream, key in root_keys(rngs).items()
    for leaf in jax.tree.leaves(key)
  }
  return {stream: transform for stream, transform in found.items() if transform}


def _tell(values: Sequence[Any], leaves: Leaves, numbers: tuple[int, ...]) -> None:
  """Says of values which leaves they are, each to the transform that it belongs to."""
  traces: dict[int, tuple[Any, list[Any], list[int]]] = {}
  for number, value in zip(numbers, values):
    trace = jax_internals.trace_of(value)
    if trace is None:
      leaves.arrays[number] = value
    else:
      _, its, known = traces.setdefault(id(trace), (trace, [], []))
      its.append(value)
      known.append(number)
  for trace, its, known in traces.values():
    _bind(trace, its, {"leaves": leaves, "numbers": tuple(known)})


_bind = jax_internals.witness(_NAME, _tell)


def leaves_in(equation: Any) -> tuple[Leaves, tuple[int, ...]] | None:
  """What an equation of this kind tells: its inputs are leaves with these numbers. None of any other equation."""
  if equation.primitive.name != _NAME or "leaves" not in equation.params:
    return None
  return equation.params["leaves"], equation.params["numbers"]


def take_out(jaxpr: Any) -> tuple[Any, dict[int, list[tuple[int, Any]]]]:
  """A program without the equations of this kind, and those by the `id` of the jaxpr in which they stood.

  Each with the number of the equation that it stood before.
  """
  return jax_internals.without(jaxpr, _NAME)
