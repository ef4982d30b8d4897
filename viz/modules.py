"""The modules of a trace as a tree: what was called at each path, how it was lifted, which variables it owns.

A trace tells what happened in order; a table wants one row per module. `module_trees` walks the records once and
gives a tree of `ModuleNode`s for each model that ran, which `table.py` turns into rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minilinen.tracing.events import Call, Create, Lift, Path, Read, Record, Run, Span, Write
from minilinen.tracing.spec import Value
from minilinen.tracing.trace import Trace
from minilinen.tracing.tree import leaves


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


@dataclass(eq=False)
class ModuleNode:
  """A module of a model.

  Attributes:
    name: its name, "" for the root.
    path: its path from the root.
    entries: the times it was entered, in order.
    variables: collection -> name -> value, for the variables it owns itself.
    children: its submodules by name, in the order they were first entered.
  """

  name: str
  path: Path
  entries: list[Entry] = field(default_factory=list)
  variables: dict[str, dict[str, Value]] = field(default_factory=dict)
  children: dict[str, ModuleNode] = field(default_factory=dict)


@dataclass(eq=False)
class Model:
  """A model of a trace: its modules, its runs by their order, and the variables that are whole dicts."""

  root: ModuleNode = field(default_factory=lambda: ModuleNode("", Path()))
  nodes: dict[Path, ModuleNode] = field(default_factory=dict)
  whole: set[tuple[str, Path, str]] = field(default_factory=set)
  runs: list[int] = field(default_factory=list)

  def at(self, path: Path) -> ModuleNode:
    """The node at a path; it is made if it isn't there."""
    node = self.root
    known = len(path)
    while known and path[:known] not in self.nodes:
      known -= 1
    if known:
      node = self.nodes[path[:known]]
    for end in range(known, len(path)):
      below = ModuleNode(path[end], path[: end + 1])
      self.nodes[below.path] = node.children[below.name] = below
      node = below
    return node


def models(trace: Trace) -> list[Model]:
  """The models of a trace in the order they first ran.

  Runs of one model (an `init` and then an `apply`) make one; the entries of the first run count.
  """
  found: dict[Any, Model] = {}
  for order, module, given, records in _runs(trace):
    variables = {Path(place): value for place, value in leaves(given) if value != {}}
    key = (module, frozenset(path for path in variables if path[0] == "params"))
    again = key in found
    model = found.setdefault(key, Model())
    model.runs.append(order)
    _enter(model, records, again)
    _place(model, variables)
  return list(found.values())


def _runs(trace: Trace) -> list[tuple[int, str, Mapping[str, Value], Sequence[Record]]]:
  """(order, root class, variables, records) of each run; records that stand in no run make one together."""
  runs = trace.runs
  if runs:
    return [(run.order, run.module, trace.variables(run), run.items) for run in runs]
  return [(-1, "", trace.variables(), trace.items)] if trace.calls() else []


def _enter(model: Model, records: Sequence[Record], again: bool) -> None:
  """Notes every entry into a module. Of a model's later runs only modules that are new count."""
  known = set(model.nodes) | {Path()} if again else set()
  stack: list[tuple[Record, Call | None, Entry | None, tuple[Lift, ...]]]
  stack = [(record, None, None, ()) for record in reversed(records)]
  while stack:
    record, call, entry, lifts = stack.pop()
    if isinstance(record, (Create, Read, Write)):
      value = record.after if isinstance(record, Write) else record.value
      if isinstance(value, Mapping):
        model.whole.add((record.collection, record.path, record.name))
    if not isinstance(record, Span) or isinstance(record, Run):
      continue
    if isinstance(record, Lift):
      if call is not None and entry is not None and _lifts_whole(record, call, entry):
        entry.module, entry.lifts = record.module, (*entry.lifts, record)
      else:
        lifts = (*lifts, record)
    elif isinstance(record, Call):
      entry, lifts = _entered(model, record, call, entry, lifts, known)
      call = record
    stack.extend((item, call, entry, lifts) for item in reversed(record.items))


def _lifts_whole(lift: Lift, call: Call, entry: Entry) -> bool:
  """Whether a transform is what a lifted module does when it is called, and not a part of what it does."""
  return lift.path == call.path and lift.method == call.method == entry.method


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
    model.at(owner).variables.setdefault(collection, {})[name] = value
