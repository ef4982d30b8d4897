"""A `Trace`: the records of one recording, and every question to them; what is computed for it stands in other files.

It is frozen data and holds specs in the place of arrays, so it can be kept, compared, pickled and saved. What can be
asked of it is computed from its fields when somebody asks: models (`models.py`), costs (`equations/`), mistakes
(`checks/`), its file (`files.py`); what only few ask for is imported then. `recording` makes it; the trace of a
recording that still runs (`recording.Live`) shows at each look what is there so far. All views of `viz` are functions
of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeVar

from minilinen.tracing import errors, rebuilt
from minilinen.tracing.checks import Findings
from minilinen.tracing.equations import formula
from minilinen.tracing.equations.cost import Cost
from minilinen.tracing.equations.program import Equation, Program, Stored, Unread
from minilinen.tracing.equations.reach import Unused, unused
from minilinen.tracing.events import Call, Key, Lift, Name, Path, Record, Run, Span, depth_first, nested
from minilinen.tracing.globs import matches
from minilinen.tracing.identity import VariableTree, implied_trees
from minilinen.tracing.models import Model, models_of, trees_with_runs, variables_of
from minilinen.tracing.plain import same, with_numbers
from minilinen.tracing.rebuilt import Found
from minilinen.tracing.spec import Value

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
  """What happened, as records in order.

  Iterating yields every record depth first; a record's `order` is its place there. Two traces
  are equal if the same happened in the same order; the lines of code that caused it may differ.

  Attributes:
    items: the records that stand in no span; a record's `order` counts all depth first.
    name: what was traced: a function's name, "" for a recorded stretch of code.
    args, kwargs, result: what went in and out of the function.
    error: the exception that ended it, None if none did.
    trees: the variable trees that the runs were on, in the order in which they were met; `Run.tree` is a number of
      them.
    code: the equations of the run, read, as JAX wrote them down, or as they stand in a file; None if the code
      really ran. They are not compared. `program` is what is read in them.
  """

  items: tuple[Record, ...] = ()
  name: str = ""
  args: tuple[Value, ...] = ()
  kwargs: dict[str, Value] = field(default_factory=dict)
  result: Value = None
  error: str | None = None
  trees: tuple[VariableTree, ...] = ()
  code: Program | Unread | Stored | None = field(default=None, compare=False)

  def __post_init__(self) -> None:
    if not self.trees:
      object.__setattr__(self, "trees", implied_trees(self.runs))

  # The records.

  @property
  def records(self) -> tuple[Record, ...]:
    """Every record, depth first."""
    return self._records

  @cached_property
  def _records(self) -> tuple[Record, ...]:
    return tuple(depth_first(self.items))

  def __iter__(self) -> Iterator[Record]:
    return iter(self.records)

  def __len__(self) -> int:
    return len(self.records)

  def __bool__(self) -> bool:
    return True

  def events(
    self, kind: type[R] | tuple[type[R], ...], path: str | Iterable[str] | None = None
  ) -> tuple[R, ...]:
    """The records of a kind, in order; of every pass over a body, whether it holds or not.

    Args:
      kind: a record class of `minilinen.tracing`, or several.
      path: only those of modules at this path, which may be a pattern.
    """
    return tuple(r for r in self._at(path) if isinstance(r, kind))

  def calls(self, path: str | Iterable[str] | None = None) -> tuple[Call, ...]:
    """The calls of modules that hold, in order; with `path`, which may be a pattern, only those there."""
    return tuple(call for call in self.events(Call, path) if call.holds)

  @property
  def runs(self) -> tuple[Run, ...]:
    """Every `init` and `apply`."""
    return tuple(run for run in self.events(Run) if run.holds)

  @property
  def lifts(self) -> tuple[Lift, ...]:
    """Every run of a lifted transform, once."""
    return tuple(lift for lift in self.events(Lift) if lift.holds)

  def _at(self, path: str | Iterable[str] | None) -> Iterable[Record]:
    if path is None:
      return self.records
    pattern = Path.of(path)
    return (r for r in self.records if r.path == pattern or matches(pattern, r.path))

  @property
  def paths(self) -> tuple[str, ...]:
    """The paths of all modules that were called, in the order of their first calls; "" is the root."""
    return tuple(path.bare for path in self._calls_by_path)

  def __getitem__(self, path: str | Iterable[str]) -> tuple[Call, ...]:
    """The calls of the module at a path.

    Raises:
      NoSuchPathError: if there are none.
    """
    by_path = self._calls_by_path
    calls = by_path.get(Path.of(path))
    if calls is None:
      raise errors.NoSuchPathError.of(Path.of(path).bare, self.paths)
    return calls

  @cached_property
  def _calls_by_path(self) -> dict[Path, tuple[Call, ...]]:
    grouped: dict[Path, list[Call]] = {}
    for call in self.calls():
      grouped.setdefault(call.path, []).append(call)
    return {path: tuple(calls) for path, calls in grouped.items()}

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

  @cached_property
  def models(self) -> tuple[Model, ...]:
    """The models that ran, one for each tree: `trace.models[0]["encoder/Dense_0"]` is all about one module."""
    return models_of(self)

  # What is computed from the records.

  def variables(self, run: Run | None = None) -> dict[str, Any]:
    """The variable tree, collection -> path -> name -> `Spec`, rebuilt from the events.

    It is as the runs saw it: under a user's own `jax.vmap` without the mapped axis, which `find` and `models` have.

    Args:
      run: the run whose variables are wanted; without it, all runs together, later ones winning.
    """
    return rebuilt.variable_tree(self.items if run is None else (run,))

  def states(self) -> Iterator[tuple[Record, Mapping[str, Any]]]:
    """Every record of the outermost runs with the variable tree of its run before it, in order."""
    return rebuilt.states(self.items)

  def find(self, pattern: str | Iterable[str] = "**") -> tuple[Found, ...]:
    """The variables of all trees whose collection/path/name fits a pattern, with everything that happened to them.

    Args:
      pattern: as "params/**/kernel": `*` is one name or a part of it, `**` any number of levels.
    """
    wanted = Path.of(pattern)
    return tuple(found for found in self._found if matches(wanted, found.place))

  @cached_property
  def _found(self) -> tuple[Found, ...]:
    return tuple(
      found
      for known, runs in trees_with_runs(self)
      for found in rebuilt.found_variables(runs, variables_of(known, runs), known.number)
    )

  # The equations.

  @property
  def has_equations(self) -> bool:
    """Whether the equations of the run are known: not if the code really ran."""
    return self.code is not None

  @property
  def jaxpr(self) -> Any:
    """The jaxpr of the run without its constants, None if there is none, or the trace was read back from a file."""
    return self.code.jaxpr if isinstance(self.code, Unread) else None

  @property
  def program(self) -> Program:
    """The equations of the run, as plain data.

    Raises:
      NoEquationsError: if the code really ran: then JAX wrote none down.
    """
    return self._reading[0]

  @cached_property
  def _reading(self) -> tuple[Program, dict[int, list[int]]]:
    """The program, and for the `id` of each of JAX's equations the numbers of ours."""
    if self.code is None:
      raise errors.NoEquationsError()
    if not isinstance(self.code, Unread):
      return (self.code.make() if isinstance(self.code, Stored) else self.code), {}
    from minilinen.tracing.equations import reading

    return reading.read(self.code, self.records)

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
      UnknownEquationError: if it is no equation of this trace.
      SharedEquationError: if it is one of a function that several modules called.
    """
    if not isinstance(equation, Equation):
      program, numbers = self._reading
      places = (program.equations[i].owner for i in numbers.get(id(equation), ()))
      found = {(owner.run, owner.path): owner for owner in places}
      if not found:
        raise errors.UnknownEquationError(primitive=getattr(equation, "primitive", repr(equation)))
      if len(found) > 1:
        owners = ", ".join(sorted(path.bare for _, path in found))
        raise errors.SharedEquationError(primitive=equation.primitive.name, owners=owners)
      (owner,) = found.values()
    else:
      owner = equation.owner
    return owner.path if owner.run >= 0 else None

  def cost(self) -> Cost:
    """FLOPs, bytes and parameters of every module, forward and backward apart.

    Raises:
      NoEquationsError: if the code really ran: then JAX wrote no equations down.
    """
    from minilinen.tracing.equations.accounts import cost_of

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
    from minilinen.tracing.checks import every

    known = self.has_equations and self.error is None
    return every.check(self.items, self.trees, (self.program, self.unused()) if known else None)

  def at(self, **dimensions: int) -> Trace:
    """The trace with numbers in the place of symbolic dimensions, as if it had been made with these.

    Raises:
      DimensionMissingError: if a dimension has none.
    """

    def numbers(value: Any) -> Any:
      return with_numbers(value, lambda size: formula.at(size, dimensions))

    facts = {f.name: getattr(self._plain(), f.name) for f in fields(Trace) if f.name != "items"}
    return Trace(nested(map(numbers, self.records)), **{name: numbers(fact) for name, fact in facts.items()})

  # Keeping it.

  def _plain(self) -> Trace:
    """The trace with its equations read."""
    return replace(self, code=self.program) if self.code is not None else self

  def to_json(self) -> str:
    """The trace as JSON text, one record a line; `files` says how it is built."""
    from minilinen.tracing import files

    return files.dumps(self._plain(), self.records)

  @staticmethod
  def from_json(text: str) -> Trace:
    """The trace that `to_json` wrote.

    Raises:
      TraceFileError: if the text is no trace, is cut off, or is of another version.
    """
    from minilinen.tracing import files

    return files.loads(Trace, text)

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
    from minilinen.tracing import files

    return files.load(Trace, file)

  def __eq__(self, other: object) -> bool:
    if not isinstance(other, Trace):
      return NotImplemented
    names = [f.name for f in fields(Trace) if f.compare and f.name != "items"]
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
      for known, runs in trees_with_runs(self)
      for r in rebuilt.model_records(runs, bodies=True)
      if isinstance(r, (Call, Name))
    }
    keys = sum(isinstance(r, Key) and r.holds for r in records)
    name = self.name or ", ".join(dict.fromkeys(run.name for run in self.runs))
    told = [_counted(len(modules), "module"), _counted(len(self.find()), "variable"), _counted(keys, "key")]
    if self.error is not None:
      told.append(f"ended by {self.error}")
    return f"<Trace{' of ' + name if name else ''}: {', '.join(told)}>"


def _counted(n: int, what: str) -> str:
  return f"{n:,} {what}{'' if n == 1 else 's'}"
