"""May be skipped: variable trees in a traced program: which of its values each run was given says on which tree it was.

Each leaf of a run's variables is a value of the program (`values`), through calls, loops and branches. So it is known
which runs were on the same variables, which argument these were, and what was computed from what.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minilinen import jax_internals
from minilinen.tracing.equations.leaves import Leaves, repeating_keys, root_keys, write
from minilinen.tracing.equations.values import KnownLeaves, Values, read_top, read_values
from minilinen.tracing.identity import Growing, Numbers, Place, Seen, grow, makes_variables
from minilinen.tracing.rebuilt import leaves
from minilinen.tracing.spec import boxed


@dataclass(eq=False)
class Traced:
  """A run in a program that JAX writes down.

  Attributes:
    run: its draft.
    given, made: the leaves of its variables, of which the program tells later.
    trees: the number of its tree at each place where the program tells of what it was given.
    keys: the root keys of its streams.
    inside: the bodies of loops and branches that it is in, each of which has keys of its own: of two branches one runs.
  """

  run: Any
  given: Leaves
  made: Leaves | None = None
  trees: tuple[int, ...] = ()
  keys: Leaves | None = None
  inside: tuple[Any, ...] = ()

  @staticmethod
  def begin(run: Any, variables: Any, rngs: Any, passed: Sequence[Sequence[Any]] = ()) -> Traced:
    """Notes what a run is given, as it begins, while `passed` are the arguments of each `jax.jit` that is tracing."""
    given, keys = write(variables), write(root_keys(rngs))
    run.set(repeats=repeating_keys(rngs, passed))
    return Traced(run, given, keys=keys, inside=jax_internals.bodies_around())

  def hands_back(self, variables: Any) -> None:
    """Notes what the run hands back, or has besides by now."""
    if self.made is None:
      self.made = Leaves([])
    self.made.also(variables)


def trees_of_program(runs: Sequence[Traced], closed: Any, names: Sequence[str]) -> list[Growing]:
  """The trees of the runs of a traced function.

  Args:
    runs: in their order.
    closed: the program with its constants; None if the function did not come to its end.
    names: what each input of it is in the function's arguments.
  """
  values = read_top(closed) if runs and closed is not None else Values()
  if runs and closed is not None and (len(runs) > 1 or not _is_plain(values, runs[0])):
    values = read_values(closed)
  known_as: dict[Leaves, list[dict[int, int]]] = defaultdict(list)
  for entry in values.leaves:
    known_as[entry.leaves].append(entry.values)

  def numbers(leaves: Leaves | None) -> tuple[list[Numbers], list[int]]:
    if leaves is None or not leaves.places:
      return [], []
    known = {i: values.constant(array) for i, array in leaves.arrays.items()}
    found, which = _instances(known, known_as[leaves], values)
    return [{leaves.places[i]: number for i, number in sorted(each.items())} for each in found], which

  seen: list[Seen] = []
  places: list[list[int]] = []
  for traced in runs:
    (given, which), (made, _) = numbers(traced.given), numbers(traced.made)
    made = [_spread(traced, each, values) for each in made]
    places.append(which)
    makes = not traced.given.places and makes_variables(traced.run)
    is_known = bool(made if makes else given) or not (traced.given.places or makes)
    seen.append(Seen(traced.run, given, made[0] if made else {}, makes, is_known))
  trees = grow(seen, values)
  for traced, each, which in zip(runs, seen, places):
    traced.trees = tuple(each.trees[place] for place in which)
  for tree in trees:
    _say_origin(tree, values, names)
  _say_roots(runs, values)
  return trees


def _say_roots(runs: Sequence[Traced], values: Values) -> None:
  """Says of each run which root keys it was given, by numbers that are the same for equal keys."""
  told: dict[Leaves, list[KnownLeaves]] = defaultdict(list)
  for entry in values.leaves:
    told[entry.leaves].append(entry)
  numbers: dict[Any, int] = {}
  for run in runs:
    keys = run.keys or Leaves([])
    found = {i: {values.constant(array)} for i, array in keys.arrays.items()}
    for i, value in (item for entry in told[keys] for item in entry.values.items()):
      found.setdefault(i, set()).add(values.equal[value])
    run.run.fields["roots"] = {
      keys.places[i][0]: numbers.setdefault((run.inside, *its), len(numbers))
      for i, its in sorted(found.items())
      if len(its) == 1
    }


def _spread(run: Traced, made: Numbers, values: Values) -> Numbers:
  """What an `init` made; of one under `jax.vmap` also what is the same for all as `jax.vmap` hands it on, for each."""
  said = _shapes_said(run)
  sizes = _mapped_sizes(said, made.items(), values)
  if len(sizes) != 1:
    return made
  spread = {place: values.spread.get(number, number) for place, number in made.items()}
  due = {place: (*next(iter(sizes)), *(said.get(place) or ())) for place in made}
  return {p: n if getattr(values.specs[n], "shape", ()) == due[p] else made[p] for p, n in spread.items()}


def _shapes_said(run: Traced) -> dict[Place, Any]:
  """The shapes of what a run made, as it saw them itself."""
  return {place: getattr(boxed(spec)[0], "shape", None) for place, spec in leaves(run.run.fields["result"])}


def _mapped_sizes(
  said: Mapping[Place, Any], made: Iterable[tuple[Place, int]], values: Values
) -> set[tuple[Any, ...]]:
  """The sizes of the axes that `jax.vmap` has in front of what a run made, each once."""
  shapes = ((place, getattr(values.specs[number], "shape", ())) for place, number in made)
  return {shape[:1] for place, shape in shapes if shape[1:] == said.get(place) != shape}


def _is_plain(values: Values, run: Traced) -> bool:
  """Whether what was looked at tells of all leaves of a run, and nothing that it made is mapped."""
  its = run.given if run.given.places else run.made
  found = [number for entry in values.leaves if entry.leaves is its for number in entry.values]
  if its is None or not len({*found, *its.arrays}) == len(its.places) > 0:
    return False
  parts = [entry for entry in values.leaves if run.made is not None and entry.leaves is run.made]
  made = ((entry.leaves.places[i], number) for entry in parts for i, number in entry.values.items())
  return not parts or not _mapped_sizes(_shapes_said(run), made, values)


def _instances(
  known: dict[int, int], parts: Sequence[dict[int, int]], values: Values
) -> tuple[list[dict[int, int]], list[int]]:
  """What the leaves were, in each of the places where the program has the run; it is in several if JAX traced it once.

  One place may tell of it in several parts, as its leaves belonged to different transforms.

  Returns:
    The leaves in each place that differs, and for each part the place it is of.
  """
  found: list[dict[int, int]] = []
  which = []
  for part in parts:
    fits = (
      n
      for n, each in enumerate(found)
      if all(values.equal[each.get(i, value)] == values.equal[value] for i, value in part.items())
    )
    place = next(fits, len(found))
    which.append(place)
    if place == len(found):
      found.append({**known, **part})
    else:
      found[place].update({i: n for i, n in part.items() if i not in found[place]})
  for later in found[1:]:
    for i, number in found[0].items():
      later.setdefault(i, number)
  return found or ([known] if known else []), which


def _say_origin(tree: Growing, values: Values, names: Sequence[str]) -> None:
  """Says where a tree came from, and which of its variables are larger than a run saw them."""
  if not tree.states:
    return
  arguments = dict(zip(values.arguments, names))
  whole = {place: values.whole(number) for place, number in tree.states[0].items()}
  numbers = {number: index for index, number in enumerate(values.arguments)}
  tree.inputs = sorted((numbers[number], place) for place, number in whole.items() if number in numbers)
  inputs = [(place, arguments[number]) for place, number in whole.items() if number in arguments]
  if tree.origin != "init":
    sources = [number for number in whole.values() if values.sources[number]]
    computed = bool(sources) or bool(tree.derived_from)
    tree.origin = "computed" if computed else "argument" if inputs else "array"
    if inputs and not computed:
      tree.argument = _common_name(*inputs[0])
  said = dict(leaves(tree.first.run.fields.get("result" if tree.origin == "init" else "given", {})))
  for place, number in whole.items():
    spec, inner = values.specs[number], boxed(said.get(place))[0]
    if spec is not None and getattr(inner, "shape", None) not in (None, spec.shape):
      tree.stacked.append((place, spec))


def _common_name(place: Place, name: str) -> str:
  """What an argument is called, of which a leaf is an input: its name without the leaf's own place in it."""
  parts, rest = name.split("/"), list(place)
  while len(parts) > 1 and rest and parts[-1] == rest[-1]:
    parts.pop()
    rest.pop()
  return "/".join(parts)
