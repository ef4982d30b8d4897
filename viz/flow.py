"""What flows between the boxes of a network: read off the equations of a trace.

`network.py` has the modules; here JAX's equations are gone through once, in order. An equation of a module that is
drawn as a box belongs to that box. One of a module that is drawn as a frame is work between the calls of submodules:
such equations that follow each other make a small box together. Each value knows the boxes that it comes from, and
where it is used in another box, there is an arrow.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from minilinen.tracing import Trace
from minilinen.tracing.equations.phases import FORWARD
from minilinen.tracing.equations.program import Equation, owners_of
from minilinen.tracing.paths import Path
from minilinen.tracing.spec import Spec

from .house import Arrow, Box, House, Network, Place
from .words import printable, value_text


@dataclass(eq=False)
class Origin:
  """Where a value comes from.

  Attributes:
    key: key of the box that is drawn.
    place: of a module or of work, where it is.
    rank: how many boxes there are at most on the way to it.
    first: its rank when data came to it first.
    via: keys of the boxes of modules that called it though it is not theirs, the outermost first.
  """

  key: str
  place: Place | None = None
  rank: int = 0
  first: int = 0
  via: tuple[str, ...] = ()


class Flow:
  """The small boxes and the arrows of a network."""

  def __init__(self, trace: Trace, house: House):
    self._program = trace.program
    self._house = house
    self._origins: dict[int, tuple[Origin, ...]] = {}
    self._inner: dict[int, list[int]] = {}
    self._gradients: dict[int, tuple[Origin, ...]] = {}
    self._modules: dict[tuple[Place, tuple[str, ...]], Origin] = {}
    self._owners = owners_of(trace.records)
    self._callers: dict[tuple[tuple[int, ...], int], tuple[str, ...]] = {}
    self._work = Work(trace.program.equations)
    self._ends: dict[str, Box] = {}
    self._arrows: dict[tuple[str, str, bool], list[str]] = {}
    self._rounds: dict[str, int] = {}
    self._back: set[tuple[str, str]] = set()
    variables = {collection for run in trace.runs for collection in (*run.given, *run.result)}
    self._enter({number for tree in trace.trees for number, _ in tree.inputs}, variables)
    for number, equation in enumerate(self._program.equations):
      self._follow(number, equation)
    self._leave(variables)

  def network(self, title: str) -> Network:
    """All boxes and arrows."""
    found = self._with_rounds()
    merged = self._work.merged(found)
    arrows: dict[tuple[str, str, bool], list[str]] = {}
    for (start, end, again), labels in found.items():
      start, end = merged.get(start, start), merged.get(end, end)
      if start != end or again:
        known = arrows.setdefault((start, end, again), [])
        known.extend(label for label in labels if label not in known)
    starts = {start for start, _, _ in arrows}
    arrows = {arrow: labels for arrow, labels in arrows.items() if self._counts(arrow[1], starts)}
    touched = {key for start, end, _ in arrows for key in (start, end)}
    computes = touched | {origin.key for origin in self._modules.values()}
    modules = [
      box if box.kind == "frame" or box.key in computes else replace(box, kind="idle")
      for box in self._house.boxes.values()
    ]
    beside = [box for box in (*self._ends.values(), *self._work.boxes()) if box.key in touched]
    lines = (
      Arrow(start, end, _brief(labels), again, (start, end) in self._back)
      for (start, end, again), labels in arrows.items()
    )
    return Network(title, (*modules, *beside), tuple(lines))

  def _counts(self, end: str, starts: set[str]) -> bool:
    """Whether an arrow leads somewhere: not to work whose result nobody uses."""
    return end in starts or end in self._house.boxes or end in self._ends

  def _with_rounds(self) -> dict[tuple[str, str, bool], list[str]]:
    """The arrows, and in the place of those from stand-ins arrows from where the last run of the body ended."""
    found = {arrow: labels for arrow, labels in self._arrows.items() if arrow[0] not in self._rounds}
    for (start, end, _), labels in self._arrows.items():
      waiting, seen = [start], {start}
      while waiting and start in self._rounds:
        for origin in self._from((self._rounds[waiting.pop()],)):
          if origin.key not in self._rounds:
            found.setdefault((origin.key, end, True), labels)
          elif origin.key not in seen:
            seen.add(origin.key)
            waiting.append(origin.key)
    return found

  def _enter(self, leaves: set[int], variables: set[str]) -> None:
    """Draws what goes in, but for the variables: those that are `leaves` of a tree, and others by their names."""
    program = self._program
    for number, (name, value) in enumerate(zip(program.names, program.inputs)):
      if number not in leaves and not _is_variable(name, program.values[value], variables):
        key = f"in{len(self._ends)}"
        self._ends[key] = Box(key, "input", printable(name), value_text(program.values[value]))
        self._origins[value] = (Origin(key),)

  def _leave(self, variables: set[str]) -> None:
    program = self._program
    results = zip(program.results, program.outputs)
    found = [v for name, v in results if v < 0 or not _is_variable(name, program.values[v], variables)]
    self._end(found, "output")
    if "out" not in self._ends:
      self._end([value for _, value in program.of_inits], "output, which init drops")

  def _end(self, values: Iterable[int], title: str) -> None:
    """Draws the box that data goes to in the end, if there is any."""
    values = [value for value in values if value >= 0 and self._from((value,))]
    if values:
      specs = [value_text(self._program.values[value]) for value in values]
      self._ends["out"] = Box("out", "output", title, _brief(specs))
      self._connect(values, Origin("out"))

  def _from(self, values: Iterable[int]) -> tuple[Origin, ...]:
    """The boxes that values come from, each once."""
    found: dict[Origin, None] = {}
    waiting = [*values]
    seen = set()
    while waiting:
      value = waiting.pop()
      if value in self._origins:
        found.update(dict.fromkeys(self._origins[value]))
      elif value not in seen:
        seen.add(value)
        waiting.extend(self._inner.get(value, ()))
    return tuple(found)

  def _follow(self, number: int, equation: Equation) -> None:
    """Says where the outputs of an equation come from, and draws the arrows to it."""
    if equation.enters or equation.leaves:
      for outer, inner in equation.enters:
        if inner in self._origins:
          # What the body gets from its last run is not known before its end: a stand-in, until the arrows are drawn.
          self._rounds[f"round {outer}"] = outer
          self._origins[inner] = (*self._origins[inner], Origin(f"round {outer}", rank=-1))
        else:
          self._origins[inner] = self._from((outer,))
      for inner, outer in equation.leaves:
        self._inner.setdefault(outer, []).append(inner)
      return
    if equation.phase != FORWARD:
      behind = [origin for value in equation.inputs for origin in self._behind(value)]
      self._gradients.update(dict.fromkeys(equation.outputs, tuple(dict.fromkeys(behind))))
      self._origins.update(dict.fromkeys(equation.outputs, ()))
      return
    if self._house.place(equation.owner).key:
      self._origins.update(
        (value, self._behind(value)) for value in equation.inputs if value in self._gradients
      )
    origins = self._from(equation.inputs)
    if equation.primitive not in _FORMS:
      origin = self._box(number, equation, origins)
      self._connect(equation.inputs, origin)
      origins = (origin,)
    self._origins.update(dict.fromkeys(equation.outputs, origins))

  def _behind(self, value: int) -> tuple[Origin, ...]:
    """Where a value comes from, a gradient too: to a module that computes with one it is data like any other.

    The gradients of a training step, which nobody but the optimizer uses, are not drawn.
    """
    return self._from((value,)) or self._gradients.get(value, ())

  def _box(self, number: int, equation: Equation, origins: Sequence[Origin]) -> Origin:
    """The box that an equation is in."""
    place, via = self._house.place(equation.owner), self._via(equation)
    if place.opened:
      return self._work.box(number, place, via, origins)
    rank = max((o.rank + 1 for o in origins), default=0)
    origin = self._modules.get((place, via))
    if origin is None:
      origin = self._modules[place, via] = Origin(place.key, place, rank, rank, via)
    elif origins != (origin,):
      origin.rank = max(origin.rank, rank if origin not in origins else 0)
    return origin

  def _via(self, equation: Equation) -> tuple[str, ...]:
    """The boxes of the modules that called the one of an equation though it is not theirs: data goes through them."""
    key = equation.calls, equation.owner.tree
    if key not in self._callers:
      run, path, tree = equation.owner.run, equation.owner.path, equation.owner.tree
      others = (self._owners[call] for call in equation.calls)
      others = (replace(other, tree=tree) if other.run == run else other for other in others)
      foreign = (other for other in others if other.path != path[: len(other.path)])
      places = [self._house.place(other) for other in foreign]
      keys = dict.fromkeys(place.key for place in places if place.key and not place.opened)
      keys.pop(self._house.place(equation.owner).key, None)
      self._callers[key] = tuple(keys)
    return self._callers[key]

  def _connect(self, values: Iterable[int], end: Origin) -> None:
    for value in values:
      for start in self._from((value,)):
        if start is not end:
          label = value_text(self._program.values[value])
          same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(start.via, end.via)))
          stops = (start.key, *reversed(start.via[same:]), *end.via[same:], end.key)
          again = _is_again(start, end) and len(stops) == 2
          if end.place is not None and start.rank > end.first and len(stops) == 2:
            self._back.add((start.key, end.key))
          for one, other in itertools.pairwise(stops):
            labels = self._arrows.setdefault((one, other, again), [])
            if label not in labels:
              labels.append(label)


class Work:
  """The small boxes of what modules compute between the calls of their submodules."""

  def __init__(self, equations: Sequence[Equation]):
    self._equations = equations
    self._keys: dict[tuple[str, int], str] = {}
    self._into: dict[str, str] = {}
    self._labels: dict[str, list[str]] = {}
    self._places: dict[str, Place] = {}
    self._counts: dict[Place, int] = {}
    self._mine: set[Origin] = set()

  def box(self, number: int, place: Place, via: tuple[str, ...], origins: Sequence[Origin]) -> Origin:
    """The box of an equation: the one that its inputs come from, unless other inputs come from further down."""
    for origin in origins:
      near = origin in self._mine and (origin.place, origin.via) == (place, via)
      if near and all(o is origin or o.rank < origin.rank for o in origins):
        self._note(origin.key, number)
        return origin
    count = self._counts[place] = self._counts.get(place, -1) + 1
    key = self._keys.setdefault((place.key, count), f"w{len(self._keys)}")
    self._places.setdefault(key, place)
    rank = max((o.rank + 1 for o in origins), default=0)
    made = Origin(key, place, rank, rank, via)
    self._mine.add(made)
    self._note(key, number)
    return made

  def _note(self, key: str, number: int) -> None:
    label = self._label(number)
    labels = self._labels.setdefault(key, [])
    if label not in labels:
      labels.append(label)

  def _label(self, number: int) -> str:
    """What an equation computes: the name of the function it stands in, as "relu", or its primitive."""
    equation = self._equations[number]
    label = _SHORT.get(equation.primitive, equation.primitive)
    while equation.inside >= 0:
      equation = self._equations[equation.inside]
      if equation.owner != self._equations[number].owner:
        break
      if equation.name and equation.name not in _NAMELESS:
        label = equation.name.lstrip("_")
    return label

  def merged(self, arrows: Iterable[tuple[str, str, bool]]) -> dict[str, str]:
    """Draws a box that only leads to one other of the same module as a part of that; which into which."""
    ends: dict[str, set[str]] = {}
    for start, end, again in arrows:
      if start in self._labels and not again:
        ends.setdefault(start, set()).add(end)
    into = {}
    for key, (end, *others) in ends.items():
      if not others and end in self._labels and self._places[end].key == self._places[key].key:
        into[key] = end
    for key, end in into.items():
      while end in into:
        end = into[end]
      self._into[key] = end
      self._labels[end] = [*dict.fromkeys((*self._labels[end], *self._labels[key]))]
    return self._into

  def boxes(self) -> list[Box]:
    """All of them that stand for themselves."""
    left = {key: labels for key, labels in self._labels.items() if key not in self._into}
    return [Box(key, "work", _telling(labels), inside=self._places[key].key) for key, labels in left.items()]


def _telling(labels: Sequence[str]) -> str:
  """What is computed in few words: plain arithmetic is named last."""
  return _brief(sorted(labels, key=_PLAIN.__contains__) if len(labels) > 3 else labels, 3, " · ")


def _brief(labels: Sequence[str], most: int = 1, between: str = ", ") -> str:
  """The first labels, and how many more there are."""
  more = len(labels) - most
  return between.join(labels[:most]) + (f" +{more}" if more > 0 else "")


# Equations that only bring a value into another form are nobody's work.
_FORMS = frozenset((
  "broadcast_in_dim", "convert_element_type", "copy", "copy_p", "iota", "pvary", "reshape", "squeeze", "stop_gradient",
  "transpose",
))  # fmt: skip
_NAMELESS = frozenset(("__call__", "body", "compiled", "fn", "fun", "main", "run", "wrapped", "<lambda>"))
_PLAIN = frozenset(("add", "convert", "div", "max", "mul", "neg", "power", "select", "sub", "where"))
_SHORT = {
  "add_any": "add", "dot_general": "dot", "dynamic_slice": "slice", "dynamic_update_slice": "update",
  "integer_pow": "power", "reduce_max": "max", "reduce_sum": "sum", "reduce_window_max": "max window",
  "reduce_window_sum": "sum window", "select_n": "select",
}  # fmt: skip


def _is_variable(name: str, spec: object, collections: set[str]) -> bool:
  """Whether a value that goes in or out is a variable or a key, by its name in the arguments or the result."""
  is_key = isinstance(spec, Spec) and spec.dtype.startswith("key<")
  return is_key or any(part in collections for part in Path.parse(name))


def _is_again(start: Origin, end: Origin) -> bool:
  """Whether data goes from one of several repeated modules, which are drawn once, to another."""
  if start.place is None or end.place is None:
    return False
  for a, b, one, other in zip(start.place.path, end.place.path, start.place.copy, end.place.copy):
    if a != b:
      return False
    if one != other:
      return True
  return False
