"""The program of a trace as plain lists, and back: the part "program" of a trace's `document`.

Equations are many, so each is a row of numbers into tables:

    {"owners": [[run, path], ...], "calls": [[call, ...], ...], "sources": [[file, line, function], ...],
     "primitives": [name, ...], "specs": [value, ...],
     "values": [spec, ...], "inputs": [value, ...], "outputs": [value, ...], "names": [name of an input, ...],
     "results": [name of an output, ...],
     "equations": [[primitive, owner, phase, times, inside, [matmul, elementwise, transcendentals, read, written],
                    inputs, outputs, enters, leaves, marks, name, calls, source], ...]}

A count that is a formula is its text.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from minilinen.tracing.equations.formula import Formulas
from minilinen.tracing.equations.program import Equation, Owner, Program
from minilinen.tracing.equations.work import COUNTS, Count, Work
from minilinen.tracing.events import Path
from minilinen.tracing.source import Source
from minilinen.tracing.spec import Value

T = TypeVar("T", bound=Hashable)


def listed(program: Program, path: Callable[[Path], int], value: Callable[[Value], Any]) -> dict[str, Any]:
  """A program as plain data.

  Args:
    program: the program.
    path, value: how the document writes a path and a value.
  """
  owners: dict[Owner, int] = {}
  primitives: dict[str, int] = {}
  specs: dict[Value, int] = {}
  calls: dict[tuple[int, ...], int] = {}
  sources: dict[Source | None, int] = {None: 0}
  rows = [
    [
      _number(primitives, e.primitive), _number(owners, e.owner), e.phase, _plain(e.times), e.inside,
      [_plain(getattr(e.work, name)) for name in COUNTS],
      list(e.inputs), list(e.outputs), list(map(list, e.enters)), list(map(list, e.leaves)), list(e.marks), e.name,
      _number(calls, e.calls), _number(sources, e.source),
    ]
    for e in program.equations
  ]  # fmt: skip
  values = [_number(specs, spec) for spec in program.values]
  return {
    "owners": [[owner.run, path(owner.path)] for owner in owners],
    "calls": list(map(list, calls)),
    "sources": [[source.file, source.line, source.function] for source in sources if source is not None],
    "primitives": list(primitives),
    "specs": [value(spec) for spec in specs],
    "values": values,
    "inputs": list(program.inputs),
    "outputs": list(program.outputs),
    "names": list(program.names),
    "results": list(program.results),
    "equations": rows,
  }


def listed_with_numbers(plain: dict[str, Any], number: Callable[[int | str], int]) -> dict[str, Any]:
  """A program as plain data, with numbers in the place of formulas."""
  rows = [
    [*row[:3], number(row[3]), row[4], [number(count) for count in row[5]], *row[6:]]
    for row in plain["equations"]
  ]
  return {**plain, "equations": rows}


def read_listing(plain: Any, path: Callable[[int], Path], value: Callable[[Any], Value]) -> Program:
  """The program that `listed` wrote.

  Raises:
    TypeError, ValueError, KeyError, IndexError: if it is damaged.
  """
  formulas = Formulas()
  owners = [Owner(run, path(number)) for run, number in plain["owners"]]
  specs = [value(spec) for spec in plain["specs"]]
  calls = [tuple(chain) for chain in plain["calls"]]
  sources = [None, *(Source(*source) for source in plain["sources"])]

  def equation(row: list[Any]) -> Equation:
    (
      primitive,
      owner,
      phase,
      times,
      inside,
      counts,
      inputs,
      outputs,
      enters,
      leaves,
      marks,
      name,
      chain,
      source,
    ) = row
    work = Work(*map(formulas.parse, counts))
    return Equation(
      plain["primitives"][primitive], owners[owner], phase, formulas.parse(times), work, tuple(inputs),
      tuple(outputs), inside, tuple(map(tuple, enters)), tuple(map(tuple, leaves)), tuple(marks), name,
      calls[chain], sources[source],
    )  # fmt: skip

  return Program(
    tuple(equation(row) for row in plain["equations"]),
    tuple(specs[number] for number in plain["values"]),
    tuple(plain["inputs"]),
    tuple(plain["outputs"]),
    tuple(plain["names"]),
    tuple(plain["results"]),
  )


def _number(table: dict[T, int], entry: T) -> int:
  return table.setdefault(entry, len(table))


def _plain(count: Count) -> int | str:
  return count if isinstance(count, int) else str(count)
