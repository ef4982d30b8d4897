"""May be skipped: the variables of a trace, rebuilt from its events; whose they are is in `identity.py`.

`init` returns a tree of variables; the events that led to it say the same, one by one. `Trace.variables`
and `Trace.find` come from here. Events inside a lifted transform see a slice of each variable, so in the
place of a lift's body the account of its boundary (`Lift.variables`) is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from minilinen.tracing import events
from minilinen.tracing.events import Path, Record
from minilinen.tracing.spec import Node, Value, boxed

Place = tuple[str, ...]
"""A variable's place: collection, names of the path, name."""


@dataclass(frozen=True)
class Found:
  """A variable with everything that happened to it.

  Attributes:
    collection, path, name: its place; `path` is that of its module.
    value: its spec as seen from outside of all lifted transforms.
    axes: the axis names of its box, or those kept beside it, seen from outside too; None if it has none.
    create: the event that made it, None if it was passed in.
    reads, writes: the events on it, in order; those in a lifted body have the specs of the inside.
    tree: the number of the variable tree that it is in, among `Trace.trees`.
  """

  collection: str
  path: Path
  name: str
  value: Value
  axes: Value = None
  create: events.Create | None = None
  reads: tuple[events.Read, ...] = ()
  writes: tuple[events.Write, ...] = ()
  tree: int = 0

  @property
  def place(self) -> Path:
    """Collection, path and name in one."""
    return Path((self.collection, *self.path, self.name))

  def __str__(self) -> str:
    return f"{self.place.bare}: {self.value}"


def model_records(items: Iterable[Record], bodies: bool) -> Iterator[Record]:
  """The records that hold of the outermost runs, depth first; what a run inside a run did is another model's affair.

  Args:
    items: the top of a trace.
    bodies: whether to go into the bodies of lifted transforms, which see a slice of each variable. What a lift
      records beside its body happened outside: a function that maps variables may make some of its own.
  """
  return (record for record in _of_outermost_runs(items, bodies) if record.holds)


def _of_outermost_runs(items: Iterable[Record], bodies: bool) -> Iterator[Record]:
  """The same with all passes over each body."""
  stack = [(iter(items), False)]
  while stack:
    level, in_run = stack[-1]
    record = next(level, None)
    if record is None:
      stack.pop()
    elif not (in_run and isinstance(record, events.Run)):
      yield record
      if isinstance(record, events.Span) and (bodies or not isinstance(record, events.Body)):
        stack.append((iter(record.items), in_run or isinstance(record, events.Run)))


def variable_tree(items: Iterable[Record]) -> dict[str, Any]:
  """The variables as these records leave them: collection -> path -> name -> spec."""
  tree: dict[str, Any] = {}
  for record in model_records(items, bodies=False):
    for place, value in _said_by(record, tree):
      put(tree, place, value)
  return tree


def states(items: Iterable[Record]) -> Iterator[tuple[Record, Mapping[str, Any]]]:
  """Every record of the outermost runs, depth first, with the variables of its run before it.

  What a lift does to variables shows after it: its body sees slices. Two trees share what is the same in both.
  """
  items = tuple(items)
  outside = {record.order for record in model_records(items, bodies=False)}
  tree: Mapping[str, Any] = {}
  around: list[Record] = []
  for record in _of_outermost_runs(items, bodies=True):
    while around and around[-1].order != record.span:
      over = around.pop()
      tree = _after(over, tree) if isinstance(over, events.Lift) and over.order in outside else tree
    tree = {} if isinstance(record, events.Run) else tree
    yield record, tree
    if isinstance(record, events.Span):
      around.append(record)
    if record.order in outside and not isinstance(record, events.Lift):
      tree = _after(record, tree)


def _after(record: Record, tree: Mapping[str, Any]) -> Mapping[str, Any]:
  for place, value in _said_by(record, tree):
    tree = _with(tree, place, value)
  return tree


def _said_by(record: Record, tree: Mapping[str, Any]) -> Iterator[tuple[Place, Value]]:
  """What a record says of variables: new values, and those that a tree lacks."""
  match record:
    case events.Run():
      yield from ((place, boxed(value)[0]) for place, value in leaves(record.given))
    case events.Lift():
      for lifted in record.variables:
        place = (lifted.collection, *lifted.path, lifted.name)
        if lifted.written or not _has(tree, place):
          yield place, lifted.outside
    case events.Create():
      yield place_of(record), record.value
    case events.Write():
      yield place_of(record), record.after
    case events.Read():
      if not _has(tree, place_of(record)):
        yield place_of(record), record.value


def _with(tree: Mapping[str, Any], place: Place, value: Value) -> Mapping[str, Any]:
  """A tree with another value at a place; the dicts on the way are new, all others the same."""
  top: dict[str, Any] = dict(tree)
  node = top
  for name in place[:-1]:
    below = node.get(name)
    node[name] = node = dict(below) if isinstance(below, Mapping) else {}
  put(node, place[-1:], value)
  return top


def found_variables(items: Iterable[Record], variables: Mapping[str, Any], tree: int) -> tuple[Found, ...]:
  """Every variable of a tree with its events, in the order of the tree.

  Args:
    items: the runs on it.
    variables: collection -> path -> name -> spec.
    tree: its number.
  """
  items = tuple(items)
  table: dict[Place, dict[str, Any]] = {}
  for place, value in leaves(variables):
    if len(place) > 1 and value != {}:
      table[place] = {"value": value}
  for record in model_records(items, bodies=True):
    match record:
      case events.Run():
        for place, value in (*leaves(record.given), *leaves(record.result)):
          if place in table and boxed(value)[1] is not None:
            table[place]["axes"] = boxed(value)[1]
      case events.Create(value=value):
        _note(table, record, value, "create")
      case events.Read(value=value):
        _note(table, record, value, "reads")
      case events.Write(after=value):
        _note(table, record, value, "writes")
  for place, known in table.items():
    if known.get("axes") is None:
      known["axes"] = _axes_beside(table, place)
  return tuple(
    Found(place[0], Path(place[1:-1]), place[-1], tree=tree, **known) for place, known in table.items()
  )


def _axes_beside(table: Mapping[Place, Mapping[str, Any]], place: Place) -> Value:
  """The axis names that `partitioning.param_with_axes` keeps in a collection of their own, None if it has none."""
  beside = table.get((f"{place[0]}_axes", *place[1:-1], f"{place[-1]}_axes"), {}).get("value")
  return beside.parts.get("names") if isinstance(beside, Node) and beside.type == "AxisMetadata" else None


def _note(table: dict[Place, dict[str, Any]], record: events.Variable, value: Value, role: str) -> None:
  """Enters an event under its variable; an event on a whole branch, under each variable of it."""
  for place, leaf in leaves(value, place_of(record)):
    known = table.setdefault(place, {"value": leaf})
    if role == "create":
      known["create"] = record
      known.setdefault("axes", getattr(record, "axes", None))
    else:
      known[role] = (*known.get(role, ()), record)


def place_of(record: events.Variable) -> Place:
  """The place of the variable that an event is about."""
  return (record.collection, *record.path, record.name)


def leaves(value: Value, place: Place = ()) -> Iterator[tuple[Place, Value]]:
  """Everything inside nested dicts that is no dict, or an empty one, with its place; in order."""
  stack = [iter([(place, value)])]
  while stack:
    entry = next(stack[-1], None)
    if entry is None:
      stack.pop()
      continue
    at, below = entry
    if isinstance(below, Mapping) and below:
      stack.append(iter([((*at, name), inner) for name, inner in below.items()]))
    elif at:
      yield at, below


def put(tree: dict[str, Any], place: Place, value: Value) -> None:
  """Sets what stands at a place, and makes the dicts on the way."""
  node = tree
  for name in place[:-1]:
    below = node.get(name)
    if not isinstance(below, dict):
      below = node[name] = {}
    node = below
  if not isinstance(value, Mapping):
    node[place[-1]] = value
    return
  node[place[-1]] = {}
  for inner, leaf in leaves(value):
    put(tree, (*place, *inner), leaf)


def _has(tree: Mapping[str, Any], place: Place) -> bool:
  node: Any = tree
  for name in place:
    if not isinstance(node, Mapping) or name not in node:
      return False
    node = node[name]
  return True
