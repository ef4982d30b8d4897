"""A `Trace`: everything one recording saw, as a tree of records to look at.

A recording fills it and then lets go of it; from the outside it never changes, except that the trace
of a recording that still runs shows at each look what is there so far. It holds specs in the place of
arrays, so it can be kept, compared, pickled and saved. All views of `viz` are functions of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from minilinen import spelling
from minilinen.tracing import checks, codec, files, tree
from minilinen.tracing.checks import Findings
from minilinen.tracing.equations import formula
from minilinen.tracing.equations.cost import Cost, cost_of
from minilinen.tracing.equations.program import Equation, Program, read_program
from minilinen.tracing.equations.reach import Unused, unused
from minilinen.tracing.events import Call, Key, Lift, Name, Path, Record, Run, Span, nested
from minilinen.tracing.globs import matches
from minilinen.tracing.models import Model, models_of, trees_with_records, variables_of
from minilinen.tracing.plain import same, with_numbers
from minilinen.tracing.recorder import Recorder
from minilinen.tracing.spec import Value
from minilinen.tracing.tree import Found
from minilinen.tracing.trees import Tree, implied_trees

R = TypeVar("R", bound=Record)


class NoEquationsError(ValueError):
  """A trace was asked for what is known from the equations of a run, and has none."""

  def __init__(self) -> None:
    super().__init__(
      "this trace has no equations, since its code really ran or ended in an exception: record it with"
      " minilinen.trace(function)(...), which runs nothing and keeps JAX's equations."
    )


class UnknownEquationError(KeyError):
  """A trace was asked for the owner of an equation that has none, or several."""

  def __init__(self, primitive: str, owners: Iterable[str]):
    owners = sorted(owners)
    super().__init__(
      f"this {primitive} stands in a function that JAX traced once for several modules: {', '.join(owners)}."
      " Ask for each of its places: trace.equations()."
      if owners
      else f"this {primitive} is no equation of this trace. trace.equations() lists those that are."
    )

  def __str__(self) -> str:
    return self.args[0]


class NoSuchPathError(KeyError):
  """A trace was asked for a module path at which nothing was called."""

  def __init__(self, path: Path, known: Iterable[Path]):
    near = spelling.near(path.bare, [p.bare for p in known], 3)
    mend = f"The nearest are {', '.join(map(repr, near))}." if near else "`trace.paths` lists what there is."
    super().__init__(f"no module was called at {path.bare!r} in this trace. {mend}")

  def __str__(self) -> str:
    return self.args[0]


class Trace:
  """What happened, as records in order.

  Iterating yields every record depth first; a record's `order` is its place there. Two traces
  are equal if the same happened in the same order; the lines of code that caused it may differ.

  Attributes:
    name: what was traced: a function's name, "" for a recorded stretch of code.
    args, kwargs, result: what went in and out of the function.
    error: the exception that ended it, None if none did.
    jaxpr: the jaxpr of the same run without its constants, None if the code really ran. It is
      neither compared nor saved; `program` says the same in plain data, and is saved.
  """

  name: str
  args: tuple[Value, ...]
  kwargs: dict[str, Value]
  result: Value
  error: str | None
  jaxpr: Any

  def __init__(
    self,
    items: Iterable[Record] = (),
    *,
    name: str = "",
    args: tuple[Value, ...] = (),
    kwargs: Mapping[str, Value] | None = None,
    result: Value = None,
    error: str | None = None,
    jaxpr: Any = None,
    program: Program | None = None,
    trees: Iterable[Tree] = (),
    recorder: Recorder | None = None,
  ):
    """Makes a trace of finished records.

    Args:
      items: the top-level records, whose `order` counts all records depth first.
      name, args, kwargs, result, error, jaxpr, program: as the attributes.
      recorder: where the records come from as long as it records.
    """
    self._learn(name=name, args=args, kwargs=dict(kwargs or {}), result=result, error=error, jaxpr=jaxpr)
    self._recorder = recorder
    self._items = tuple(items)
    self._flat: tuple[Record, ...] | None = None
    self._calls: dict[Path, tuple[Call, ...]] | None = None
    self._found: tuple[Found, ...] | None = None
    self._models: tuple[Model, ...] | None = None
    self._marked: list[int] = []
    self._inputs: list[str] = []
    self._results: list[str] = []
    self._program = program
    self._trees = tuple(trees)
    self._numbers: dict[int, list[int]] = {}

  def _learn(self, **facts: Any) -> None:
    """Sets attributes, which only a recording may do."""
    self.__dict__.update(facts)

  def __setattr__(self, name: str, value: Any) -> None:
    if not name.startswith("_"):
      raise AttributeError(f"a trace does not change: its {name!r} cannot be set")
    super().__setattr__(name, value)

  def _end(self, **facts: Any) -> None:
    """Takes what the recorder has, parts from it, and learns the last facts."""
    self._refresh()
    self._recorder = None
    self._learn(**facts)

  def _refresh(self) -> None:
    if self._recorder is not None:
      self._items = self._recorder.freeze()
      self._trees = self._recorder.trees
      self._flat = self._calls = self._found = self._models = None

  # The records.

  @property
  def items(self) -> tuple[Record, ...]:
    """The records that stand in no span."""
    self._refresh()
    return self._items

  @property
  def records(self) -> tuple[Record, ...]:
    """Every record, depth first."""
    self._refresh()
    if self._flat is None:
      self._flat = tuple(depth_first(self._items))
    return self._flat

  def __iter__(self) -> Iterator[Record]:
    return iter(self.records)

  def __len__(self) -> int:
    return len(self.records)

  def __bool__(self) -> bool:
    return True

  def events(
    self, kind: type[R] | tuple[type[R], ...], path: str | Iterable[str] | None = None
  ) -> tuple[R, ...]:
    """The records of a kind, in order.

    Args:
      kind: a record class of `minilinen.tracing`, or several.
      path: only those of modules at this path, which may be a pattern.
    """
    return tuple(r for r in self._at(path) if isinstance(r, kind))

  def calls(self, path: str | Iterable[str] | None = None) -> tuple[Call, ...]:
    """The calls of modules, in order; with `path`, which may be a pattern, only those there."""
    return self.events(Call, path)

  @property
  def runs(self) -> tuple[Run, ...]:
    """Every `init` and `apply`."""
    return self.events(Run)

  @property
  def lifts(self) -> tuple[Lift, ...]:
    """Every run of a lifted transform."""
    return self.events(Lift)

  def _at(self, path: str | Iterable[str] | None) -> Iterable[Record]:
    if path is None:
      return self.records
    pattern = Path.of(path)
    return (r for r in self.records if r.path == pattern or matches(pattern, r.path))

  @property
  def paths(self) -> tuple[str, ...]:
    """The paths of all modules that were called, in the order of their first calls; "" is the root."""
    return tuple(path.bare for path in self._calls_by_path())

  def __getitem__(self, path: str | Iterable[str]) -> tuple[Call, ...]:
    """The calls of the module at a path.

    Raises:
      NoSuchPathError: if there are none.
    """
    by_path = self._calls_by_path()
    calls = by_path.get(Path.of(path))
    if calls is None:
      raise NoSuchPathError(Path.of(path), by_path)
    return calls

  def _calls_by_path(self) -> dict[Path, tuple[Call, ...]]:
    self._refresh()
    if self._calls is None:
      grouped: dict[Path, list[Call]] = {}
      for call in self.calls():
        grouped.setdefault(call.path, []).append(call)
      self._calls = {path: tuple(calls) for path, calls in grouped.items()}
    return self._calls

  def span_of(self, record: Record) -> Span | None:
    """The span that a record stands in, None at the top."""
    span = self.records[record.span] if record.span >= 0 else None
    assert span is None or isinstance(span, Span)
    return span

  def parents(self, record: Record) -> tuple[Span, ...]:
    """All spans around a record, the innermost first."""
    around: list[Span] = []
    span = self.span_of(record)
    while span is not None:
      around.append(span)
      span = self.span_of(span)
    return tuple(around)

  @property
  def trees(self) -> tuple[Tree, ...]:
    """The variable trees that the runs were on, in the order in which they were met; `Run.tree` is a number of them."""
    self._refresh()
    return self._trees or implied_trees(self.runs)

  @property
  def models(self) -> tuple[Model, ...]:
    """The models that ran, one for each tree: `trace.models[0]["encoder/Dense_0"]` is all about one module."""
    self._refresh()
    if self._models is None:
      self._models = models_of(self)
    return self._models

  # What is computed from the records.

  def variables(self, run: Run | None = None) -> dict[str, Any]:
    """The variable tree, collection -> path -> name -> `Spec`, rebuilt from the events.

    Args:
      run: the run whose variables are wanted; without it, all runs together, later ones winning.
    """
    return tree.variable_tree(self.items if run is None else (run,))

  def states(self) -> Iterator[tuple[Record, Mapping[str, Any]]]:
    """Every record of the outermost runs with the variable tree of its run before it, in order."""
    return tree.states(self.items)

  def find(self, pattern: str | Iterable[str] = "**") -> tuple[Found, ...]:
    """The variables of all trees whose collection/path/name fits a pattern, with everything that happened to them.

    Args:
      pattern: as "params/**/kernel": `*` is one name or a part of it, `**` any number of levels.
    """
    self._refresh()
    if self._found is None:
      self._found = tuple(
        found
        for known, _, records in trees_with_records(self)
        for found in tree.found_variables(records, variables_of(known, records), known.number)
      )
    wanted = Path.of(pattern)
    return tuple(found for found in self._found if matches(wanted, found.place))

  # The equations.

  @property
  def has_equations(self) -> bool:
    """Whether the equations of the run are known: not if the code really ran."""
    return self._program is not None or self.jaxpr is not None

  @property
  def program(self) -> Program:
    """The equations of the run, as plain data.

    Raises:
      NoEquationsError: if the code really ran: then JAX wrote none down.
    """
    if self._program is None:
      if self.jaxpr is None:
        raise NoEquationsError()
      self._program, self._numbers = read_program(
        self.jaxpr, self._marked, self.records, self._inputs, self._results
      )
    return self._program

  def equations(self, path: str | Iterable[str] | None = None) -> tuple[Equation, ...]:
    """The equations in order, also those in loops, branches and jitted functions.

    Args:
      path: only those that the module at this path owns; may be a pattern.
    """
    if path is None:
      return self.program.equations
    pattern = Path.of(path)
    return tuple(
      e
      for e in self.program.equations
      if e.owner.run >= 0 and (e.owner.path == pattern or matches(pattern, e.owner.path))
    )

  def owner(self, equation: Any) -> Path | None:
    """The path of the module that an equation belongs to, None if it stands outside of all modules.

    Args:
      equation: one of `equations()`, or one of `jaxpr`, at any depth.

    Raises:
      UnknownEquationError: if it is no equation of this trace, or one of a function that several modules called.
    """
    if not isinstance(equation, Equation):
      program = self.program
      found = {program.equations[i].owner for i in self._numbers.get(id(equation), ())}
      if len(found) != 1:
        raise UnknownEquationError(equation.primitive.name, [owner.path.bare for owner in found])
      (owner,) = found
    else:
      owner = equation.owner
    return owner.path if owner.run >= 0 else None

  def cost(self) -> Cost:
    """FLOPs, bytes and parameters of every module, forward and backward apart.

    Raises:
      NoEquationsError: if the code really ran: then JAX wrote no equations down.
    """
    return cost_of(self.name, self.program.equations, self.models)

  def unused(self) -> Unused:
    """Which inputs and modules never reach the output, and which results of loops and jitted functions.

    Raises:
      NoEquationsError: if the code really ran: then JAX wrote no equations down.
    """
    return unused(self.program, self.records)

  def check(self) -> Findings:
    """The mistakes that the trace shows.

    These are the warnings that were shown while it was recorded, keys that collide, parameters that were not read or
    whose use never reaches the output, modules that were not called, runs that ended in an exception or were traced
    again and again. `nn.check` asks more: whether variables are those of a model.
    """
    known = self.has_equations and self.error is None
    return checks.check(self.items, self.trees, (self.program, self.unused()) if known else None)

  def at(self, **dimensions: int) -> Trace:
    """The trace with numbers in the place of symbolic dimensions, as if it had been made with these.

    Raises:
      DimensionMissingError: if a dimension has none.
    """

    def numbers(value: Any) -> Any:
      return with_numbers(value, lambda size: formula.at(size, dimensions))

    saved = {f.name: numbers(getattr(self._saved(), f.name)) for f in fields(codec.Saved)}
    return Trace(nested(map(numbers, self.records)), **saved)

  # Keeping it.

  def _saved(self) -> codec.Saved:
    program = self.program if self.has_equations else None
    return codec.Saved(self.name, self.args, self.kwargs, self.result, self.error, self.trees, program)

  def to_json(self) -> str:
    """The trace as JSON text, one record a line; `codec` says how it is built."""
    return codec.encoded(self._saved(), self.records)

  @staticmethod
  def from_json(text: str) -> Trace:
    """The trace that `to_json` wrote.

    Raises:
      TraceFileError: if the text is no trace, is cut off, or is of another version.
    """
    return _trace_of(*files.loads(text))

  def save(self, file: str | os.PathLike[str]) -> None:
    """Writes the trace to a file, as JSON."""
    text = self.to_json()
    with open(file, "w", encoding="utf-8") as out:
      out.write(text)

  @staticmethod
  def load(file: str | os.PathLike[str]) -> Trace:
    """The trace that `save` wrote.

    Raises:
      TraceFileError: if the file holds no trace, is cut off, or is of another version.
    """
    return _trace_of(*files.load(file))

  def __eq__(self, other: object) -> bool:
    if not isinstance(other, Trace):
      return NotImplemented
    names = [f.name for f in fields(codec.Saved) if f.name != "program"]
    return same(self.records, other.records) and all(
      same(getattr(self, name), getattr(other, name)) for name in names
    )

  __hash__ = None  # type: ignore[assignment]

  def __reduce__(self) -> tuple[Any, ...]:
    return Trace.from_json, (self.to_json(),)

  def __repr__(self) -> str:
    records = self.records
    modules = {
      (known.number, r.path)
      for known, _, items in trees_with_records(self)
      for r in tree.model_records(items, bodies=True)
      if isinstance(r, (Call, Name))
    }
    keys = sum(isinstance(r, Key) for r in records)
    name = self.name or ", ".join(dict.fromkeys(run.name for run in self.runs))
    told = [_counted(len(modules), "module"), _counted(len(self.find()), "variable"), _counted(keys, "key")]
    if self._recorder is not None:
      told.append("still recording")
    if self.error is not None:
      told.append(f"ended by {self.error}")
    return f"<Trace{' of ' + name if name else ''}: {', '.join(told)}>"


def depth_first(items: Iterable[Record]) -> Iterator[Record]:
  """Every record of a tree of records, each span before what is in it."""
  stack = [iter(items)]
  while stack:
    record = next(stack[-1], None)
    if record is None:
      stack.pop()
      continue
    yield record
    if isinstance(record, Span):
      stack.append(iter(record.items))


def _trace_of(saved: codec.Saved, items: tuple[Record, ...]) -> Trace:
  return Trace(items, **{f.name: getattr(saved, f.name) for f in fields(saved)})


def _counted(n: int, what: str) -> str:
  return f"{n:,} {what}{'' if n == 1 else 's'}"
