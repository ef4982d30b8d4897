"""May be skipped: the models of a trace. Each variable tree has its modules, and each module one handle.

A trace tells what happened in order; whoever asks about a module wants it in one place. `Trace.models` goes through the
records once and gives a `Model` for each tree of `Trace.trees`, with a `ModuleNode` for each path:
`trace.models[0]["encoder/Dense_0"]` knows its calls, lifts, variables, keys, cost, equations and line. Costs, checks
and all views stand on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from minilinen.tracing.equations.cost import Cost
from minilinen.tracing.equations.program import Equation
from minilinen.tracing.errors import NoSuchModuleError
from minilinen.tracing.events import Call, Create, Key, Lift, Path, Read, Record, Run, Span, Write
from minilinen.tracing.identity import VariableTree
from minilinen.tracing.paths import ROOT
from minilinen.tracing.rebuilt import leaves, put, variable_tree
from minilinen.tracing.source import Source
from minilinen.tracing.spec import Value


class Recorded(Protocol):
  """What is asked of a trace. `Trace` is one."""

  @property
  def trees(self) -> tuple[VariableTree, ...]: ...
  @property
  def items(self) -> tuple[Record, ...]: ...
  @property
  def records(self) -> tuple[Record, ...]: ...
  def equations(self) -> tuple[Equation, ...]: ...
  def cost(self) -> Cost: ...


@dataclass(eq=False)
class Entry:
  """One time that a module was entered from outside.

  A lifted module is called twice at the same path, around the transform and inside it: that is one entry.

  Attributes:
    module: class name; that of the module inside, if it is lifted.
    method: the method entered.
    args, kwargs, result: what went in and out, as seen from outside a lifted module.
    lifts: the transforms between this module and the one that called it, outermost first.
    error: the exception that left it, None if none did.
  """

  module: str
  method: str
  args: tuple[Value, ...]
  kwargs: Mapping[str, Value]
  result: Value
  lifts: tuple[Lift, ...] = ()
  error: str | None = None


@dataclass(eq=False, repr=False)
class ModuleNode:
  """A module of a model, and everything that the trace knows of it.

  Attributes:
    model: the model.
    name: its name, "" for the root.
    path: its path from the root.
    entries: the times it was entered in the model's first run, in order.
    calls: all calls of its methods, in order.
    keys: the random keys that it drew.
    variables: collection -> name -> value, for the variables it owns itself.
    children: its submodules by name, in the order they were first entered.
  """

  model: Model
  name: str
  path: Path
  entries: list[Entry] = field(default_factory=list)
  calls: list[Call] = field(default_factory=list)
  keys: list[Key] = field(default_factory=list)
  variables: dict[str, dict[str, Value]] = field(default_factory=dict)
  children: dict[str, ModuleNode] = field(default_factory=dict)

  @property
  def tree(self) -> int:
    """The number of the model's variable tree."""
    return self.model.tree.number

  @property
  def module(self) -> str:
    """Its class, "" if it was never called."""
    return self.entries[0].module if self.entries else self.calls[0].module if self.calls else ""

  @property
  def lifts(self) -> tuple[Lift, ...]:
    """The transforms that it was called through, outermost first."""
    return tuple({lift.order: lift for entry in self.entries for lift in entry.lifts}.values())

  @property
  def source(self) -> Source | None:
    """The user's line that called it first."""
    return self.calls[0].source if self.calls else None

  @property
  def equations(self) -> tuple[Equation, ...]:
    """The equations that it computes itself, without those of its submodules.

    Raises:
      NoEquationsError: if the code really ran: then JAX wrote none down.
    """
    orders = {call.order for call in self.calls}
    found = (e for e in self.model.trace.equations() if e.call in orders)
    return tuple(e for e in found if e.owner.run < 0 or e.owner.tree == self.tree)

  @property
  def cost(self) -> Cost:
    """What it costs.

    Raises:
      NoEquationsError: if the code really ran: then JAX wrote no equations down.
    """
    return self.model.trace.cost().of(self.tree, self.path)

  def counts(self, collection: str, name: str) -> bool:
    """Whether one of its variables is counted here, and not with another tree."""
    return self.model.tree.counts((collection, *self.path, *name.split("/")))

  def __repr__(self) -> str:
    calls = f"{len(self.calls)} call{'' if len(self.calls) == 1 else 's'}"
    return f"<{self.module or 'module'} at {str(self.path)!r}: {calls}>"


@dataclass(eq=False, repr=False)
class Model:
  """The modules that ran on one variable tree.

  Attributes:
    trace: where it was seen.
    tree: the variable tree.
    runs: the runs on it.
    variables: collection -> path -> name -> `Spec`, seen from outside of all transforms.
    keys: the random keys that it drew.
    root: its root module.
    nodes: path -> module.
    whole: the variables that are whole dicts, as (collection, path, name).
  """

  trace: Recorded
  tree: VariableTree
  runs: tuple[Run, ...] = ()
  variables: dict[str, Any] = field(default_factory=dict)
  keys: list[Key] = field(default_factory=list)
  nodes: dict[Path, ModuleNode] = field(default_factory=dict)
  whole: set[tuple[str, Path, str]] = field(default_factory=set)

  def __post_init__(self) -> None:
    self.root = self.nodes[ROOT] = ModuleNode(self, "", ROOT)

  @property
  def module(self) -> str:
    """The class of the root module."""
    return self.root.module or self.tree.module

  @property
  def paths(self) -> tuple[str, ...]:
    """The paths of its modules, depth first."""
    return tuple(node.path.bare for node in self)

  def __iter__(self) -> Iterator[ModuleNode]:
    """All modules, depth first."""
    waiting = [self.root]
    while waiting:
      node = waiting.pop()
      yield node
      waiting.extend(reversed(node.children.values()))

  def __getitem__(self, path: str | Path) -> ModuleNode:
    """The module at a path; "" is the root.

    Raises:
      NoSuchModuleError: if there is none.
    """
    wanted = Path.of(path)
    if wanted not in self.nodes:
      raise NoSuchModuleError.of(wanted.bare, self.paths)
    return self.nodes[wanted]

  def at(self, path: Path) -> ModuleNode:
    """The node at a path; it is made if it isn't there."""
    known = len(path)
    while path[:known] not in self.nodes:
      known -= 1
    node = self.nodes[Path(path[:known])]
    for end in range(known, len(path)):
      below = ModuleNode(self, path[end], Path(path[: end + 1]))
      self.nodes[below.path] = node.children[below.name] = below
      node = below
    return node

  def __repr__(self) -> str:
    return f"<Model {self.module} on tree {self.tree.number}: {len(self.nodes)} modules>"


def variables_of(tree: VariableTree, items: Iterable[Record]) -> dict[str, Any]:
  """The variables of a tree as its runs leave them; those that runs saw in slices are whole."""
  variables = variable_tree(items)
  for place, spec in tree.stacked:
    put(variables, place, spec)
  return variables


def trees_with_runs(trace: Recorded) -> list[tuple[VariableTree, tuple[Run, ...]]]:
  """Each tree with the runs on it."""
  records = trace.records
  return [
    (tree, tuple(run for order in tree.runs if isinstance(run := records[order], Run)))
    for tree in trace.trees
  ]


def models_of(trace: Recorded) -> tuple[Model, ...]:
  """The models of a trace, in the order they first ran."""
  models = []
  for tree, runs in trees_with_runs(trace):
    model = Model(trace, tree, runs, variables_of(tree, runs))
    for number, run in enumerate(runs):
      _enter(model, run.items, again=number > 0)
    _place(model, {Path(place): value for place, value in leaves(model.variables) if value != {}})
    for key in model.keys:
      if key.path in model.nodes:
        model.nodes[key.path].keys.append(key)
    models.append(model)
  return tuple(models)


def _enter(model: Model, records: Sequence[Record], again: bool) -> None:
  """Notes every call and every entry into a module. Of a model's later runs only entries into new modules count."""
  known = {path for path, node in model.nodes.items() if node.entries} if again else set()
  stack: list[tuple[Record, Call | None, Entry | None, tuple[Lift, ...]]]
  stack = [(record, None, None, ()) for record in reversed(records)]
  while stack:
    record, call, entry, lifts = stack.pop()
    if isinstance(record, (Create, Read, Write)) and record.holds:
      value = record.after if isinstance(record, Write) else record.value
      if isinstance(value, Mapping):
        model.whole.add((record.collection, record.path, record.name))
    elif isinstance(record, Key) and record.holds:
      model.keys.append(record)
    if not isinstance(record, Span) or isinstance(record, Run):
      continue
    if not record.holds:
      pass  # only variables that it made count, and their keys
    elif isinstance(record, Lift):
      if call is not None and entry is not None and _lifts_whole(record, call, entry):
        entry.module, entry.lifts = _target_class(record), (*entry.lifts, record)
      else:
        lifts = (*lifts, record)
    elif isinstance(record, Call):
      model.at(record.path).calls.append(record)
      entry, lifts = _entered(model, record, call, entry, lifts, known)
      call = record
    stack.extend((item, call, entry, lifts) for item in reversed(record.items))


def _lifts_whole(lift: Lift, call: Call, entry: Entry) -> bool:
  """Whether a transform is what a lifted module does when it is called, and not a part of what it does."""
  method = lift.target.rpartition(".")[2]
  return lift.path == call.path and method == call.method == entry.method


def _target_class(lift: Lift) -> str:
  return lift.target.split(".")[-2] if "." in lift.target else lift.target


def _entered(
  model: Model,
  record: Call,
  call: Call | None,
  entry: Entry | None,
  lifts: tuple[Lift, ...],
  known: set[Path],
) -> tuple[Entry, tuple[Lift, ...]]:
  """What a call means: a new entry, or a method that calls another of its own module.

  Returns:
    The entry that what follows belongs to, and the transforms between it and what follows.
  """
  if call is not None and entry is not None and call.path == record.path:
    return entry, lifts
  outer = next((lift for lift in lifts if lift.path == record.path and lift.args), None)
  seen = outer if outer is not None else record
  entry = Entry(record.module, record.method, seen.args, seen.kwargs, seen.result, lifts, record.error)
  if record.path not in known:
    model.at(record.path).entries.append(entry)
  return entry, ()


def _place(model: Model, variables: Mapping[Path, Value]) -> None:
  """Gives each variable to the module that owns it; a variable that is a dict stays one variable."""
  for path, value in variables.items():
    collection, inside = path[0], path[1:]
    if not inside:
      model.root.variables.setdefault(collection, {})["(all)"] = value
      continue
    owner, name = inside[:-1], inside[-1]
    if model.whole:
      for n in range(len(inside) - 1):
        if (collection, inside[:n], inside[n]) in model.whole:
          owner, name = inside[:n], "/".join(inside[n:])
          break
    model.at(Path(owner)).variables.setdefault(collection, {})[name] = value
