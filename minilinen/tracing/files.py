"""May be skipped: a saved trace, one JSON object, and what to say when it cannot be read.

    {"format": "minilinen.trace", "version": 7,
     "names": [[parent, name], ...],             # paths: number n is names[n] below path `parent`; -1 is the root
     "sources": [[file, line, function], ...],   # the user's lines
     "values": [{"Spec": [2, "float32"]}, ...],  # what JSON lacks; elsewhere [n] is values[n]
     "name": ..., "args": ..., ...               # the fields of `Trace` but its items
     "records": [{"record": "Call", "span": -1, "path": 3, "source": 0, ...}, ...]}

Records stand depth first, so a record's number is its `order`, and `span` is the number of the span around it. Its
fields are left out where they have their default. `codec` writes what stands in them. Whoever changes a field of what
is saved raises VERSION.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from minilinen.spelling import did_you_mean
from minilinen.tracing.codec import (
  RECORDS,
  defaults_of,
  fields_of,
  is_count,
  is_default,
  read_part,
  read_value,
)
from minilinen.tracing.equations.phases import PHASES
from minilinen.tracing.equations.program import Program, Stored
from minilinen.tracing.equations.work import COUNTS
from minilinen.tracing.errors import TraceFileError
from minilinen.tracing.events import Create, Key, Lift, Record, Run, Span, nested
from minilinen.tracing.identity import VariableTree
from minilinen.tracing.rows import Packed
from minilinen.tracing.spec import Opaque, Spec
from minilinen.tracing.tables import Damaged, Tables, as_text
from minilinen.tracing.uncollected import uncollected

FORMAT, VERSION = "minilinen.trace", 8
_TABLES = "names", "sources", "values", "records"
T = TypeVar("T")

_AGAIN = "Record the trace again and save it with `trace.save(file)`."
_OTHER = "Give a file that `trace.save(file)` wrote."


def loads(kind: type[T], text: str, file: str = "the text") -> T:
  """The trace that a JSON text holds; `kind` is the class of it, `Trace`.

  Raises:
    TraceFileError: if it holds none that can be read.
  """
  with uncollected():
    return _loads(kind, text, file)


def _loads(kind: type[T], text: str, file: str) -> T:
  try:
    whole = json.loads(text, parse_constant=_no_number)
  except (ValueError, RecursionError) as error:
    raise TraceFileError(file=file, **_why_no_json(text, error)) from None
  try:
    return _decoded(kind, whole)
  except Damaged as error:
    no_trace = not isinstance(whole, dict) or whole.get("format") != FORMAT
    raise TraceFileError(file=file, what=error, mend=_OTHER if no_trace else _AGAIN) from None


def load(kind: type[T], file: str | os.PathLike[str]) -> T:
  """The trace that a file holds.

  Raises:
    TraceFileError: if it holds none that can be read.
  """
  try:
    with open(file, encoding="utf-8") as source:
      text = source.read()
  except UnicodeDecodeError:
    raise TraceFileError(file=file, what="it is no trace: it is no text", mend=_OTHER) from None
  return loads(kind, text, os.fspath(file))


def _no_number(text: str) -> None:
  raise ValueError(f"{text} is no number of JSON")


def _why_no_json(text: str, error: Exception) -> dict[str, str]:
  if not text.strip():
    return {"what": "it is empty", "mend": _AGAIN}
  if f'"{FORMAT}"' not in text:
    return {"what": f"it is no trace: it is not JSON ({error})", "mend": _OTHER}
  if not text.rstrip().endswith("]}"):
    return {"what": f"it is cut off after {len(text):,} characters", "mend": _AGAIN}
  return {"what": f"it is damaged: {error}", "mend": _AGAIN}


def dumps(trace: Any, records: tuple[Record, ...]) -> str:
  """A trace, whose equations are read, as JSON text, with a line for each of its records; they stand last."""
  with uncollected():
    return _dumps(trace, records)


def _dumps(trace: Any, records: tuple[Record, ...]) -> str:
  t = Tables()
  rows = [_record(t, record) for record in records]
  head = {f.name: write(t, getattr(trace, f.name)) for f, write, _ in fields_of(type(trace))}
  sources = [[line.file, line.line, line.function] for line in t.sources]
  start = {"format": FORMAT, "version": VERSION, "names": t.names, "sources": sources}
  return "".join([
    "{", *map(_entry, start.items()),
    '"values": [\n', ",\n".join(t.values), "\n],\n", *map(_entry, head.items()),
    '"records": [\n', _in_lines(rows), "\n]}\n",
  ])  # fmt: skip


def _entry(entry: tuple[str, Any]) -> str:
  key, value = entry
  return f"{as_text(key)}: {as_text(value)},\n"


def _record(t: Tables, record: Record) -> dict[str, Any]:
  kind = type(record)
  plain: dict[str, Any] = {"record": kind.__name__, "span": record.span}
  for (f, write, _), default in zip(fields_of(kind), defaults_of(kind)):
    if not is_default(value := getattr(record, f.name), default):
      plain[f.name] = write(t, value)
  return plain


def _in_lines(records: list[dict[str, Any]]) -> str:
  """Plain records as JSON, a line for each: what stands between two of them stands nowhere inside of one."""
  return as_text(records)[1:-1].replace('}, {"record": ', '},\n{"record": ')


def _decoded(kind: type[T], whole: Any) -> T:
  if not isinstance(whole, dict) or whole.get("format") != FORMAT:
    raise Damaged(f'it is no trace: it lacks "format": "{FORMAT}"')
  if (version := whole.get("version")) != VERSION:
    older = type(version) is int and 0 < version < VERSION
    age = "is of an older minilinen" if older else "is of another minilinen"
    raise Damaged(f"it {age}: it is of version {version!r}, and this one reads version {VERSION}")
  for table in _TABLES:
    if not isinstance(whole.get(table), list):
      raise Damaged(f"its entry {table!r} is missing or no list")
  known = {f.name for f, *_ in fields_of(kind)}
  if strange := sorted(whole.keys() - {"format", "version", *_TABLES} - known):
    raise Damaged(f"it has the unknown entry {strange[0]!r}")
  t = Tables(whole["names"], whole["sources"])
  for number, plain in enumerate(whole["values"]):
    t.found.append(read_part(t, read_value, plain, f"its value {number}"))
  records = _read_records(t, whole["records"])
  head = {}
  for f, _, read in fields_of(kind):
    if f.name not in whole:
      raise Damaged(f"it lacks the entry {f.name!r}")
    head[f.name] = read_part(t, read, whole[f.name], f"its entry {f.name!r}")
  _check_records(records, head["trees"])
  _check_trees(head["trees"], records)
  if head["code"] is not None:
    head["code"] = _check_program(head["code"], len(records))
  return kind(nested(records), **head)  # type: ignore[call-arg]


def _read_records(t: Tables, rows: list[Any]) -> list[Record]:
  """The records without what is in them. Every one has a known kind and stands in a span that is still open."""
  records, around = [], [-1]
  for order, row in enumerate(rows):
    kind = row.get("record") if isinstance(row, dict) else None
    if not isinstance(kind, str) or kind not in RECORDS:
      hint = did_you_mean(str(kind), RECORDS).rstrip(".")
      raise Damaged(f"its record {order} is of the unknown kind {kind!r}.{hint}")
    while around and around[-1] != row.get("span"):
      around.pop()
    if not around or type(row["span"]) is not int:
      raise Damaged(f"its record {order} ({kind}) stands in {row.get('span')!r}, which is no open span")
    if issubclass(RECORDS[kind], Span):
      around.append(order)
    read = functools.partial(_read_record, order)
    records.append(read_part(t, read, row, f"its record {order} ({kind})"))
  return records


@functools.cache
def _readers(kind: type[Record]) -> dict[str, Any]:
  return {f.name: read for f, _, read in fields_of(kind)}


def _read_record(order: int, t: Tables, row: dict[str, Any]) -> Record:
  kind = RECORDS[row["record"]]
  known = _readers(kind)
  given = {}
  for name, plain in row.items():
    if name in known:
      try:
        given[name] = known[name](t, plain)
      except Damaged as error:
        raise Damaged(f"its field {name!r}: {error}") from None
    elif name not in ("record", "span"):
      raise Damaged(f"{kind.__name__} has no field {name!r}")
  return kind(order=order, span=row["span"], **given)


def _within(numbers: Iterable[int], least: int, end: int, what: str) -> None:
  """Every number that stands for something stands for something that is there."""
  found = [*numbers]
  for number in (min(found), max(found)) if found else ():
    if not least <= number < end:
      raise Damaged(f"it speaks of {what} {number}, which is not there")


def _check_records(records: list[Record], trees: tuple[VariableTree, ...]) -> None:
  for record in records:
    if isinstance(record, Run) and trees:
      _within([record.tree], -1, len(trees), "tree")
    if isinstance(record, Lift) and record.body_of is not None:
      _within([record.body_of], 0, record.order, "record")
    if isinstance(record, Create) and not all(
      0 <= n < len(records) and isinstance(records[n], Key) for n in record.keys
    ):
      raise Damaged(f"its record {record.order} names keys that are none")
    if isinstance(record, Key):
      folded = [part for kind, *parts in record.steps if kind != "step" for part in parts]
      if any(part < 0 for part in folded if type(part) is int):
        raise Damaged(f"its record {record.order} folds a negative number into a key")


def _check_trees(trees: tuple[VariableTree, ...], records: list[Record]) -> None:
  for n, tree in enumerate(trees):
    above = [tree.within[0]] if tree.within is not None else []
    _within([tree.number, *tree.derived_from, *above], 0, len(trees), "tree")
    _within(tree.runs, 0, len(records), "record")
    if tree.number != n or not all(isinstance(records[run], Run) for run in tree.runs):
      raise Damaged(f"its tree {n} is damaged")


def _check_program(program: Program, records: int) -> Stored:
  """A program in which every number stands for something that is there; its equations are made when asked for."""
  equations, values = program.equations, len(program.values)
  assert isinstance(equations, Packed)
  _within((*program.inputs, *program.outputs, *(value for _, value in program.of_inits)), -1, values, "value")
  _within((run for run, _ in program.of_inits), 0, records, "record")
  _within((owner.run for owner in equations.different("owner")), -1, records, "record")
  for name in ("inputs", "outputs", "enters", "leaves", "calls"):
    for _, numbers in equations.numbers(name):
      ends = (numbers.min(), numbers.max()) if numbers.size else ()
      _within(ends, -1, *((records, "record") if name == "calls" else (values, "value")))
  for rows, numbers in equations.numbers("inside"):
    for n, inside in zip(rows.tolist(), numbers[:, 0].tolist()):
      if not -1 <= inside < n:
        raise Damaged(f"its equation {n} stands in {inside}, which is no equation before it")
  costs = equations.different("work")
  counts = (*equations.different("times"), *(getattr(work, name) for work in costs for name in COUNTS))
  if not all(map(is_count, counts)) or not set(equations.different("phase")) <= set(PHASES):
    raise Damaged("what one of its equations counts or which phase it is of is damaged")
  if not all(isinstance(value, (Spec, Opaque)) for value in program.values):
    raise Damaged("one of its program's values is none")

  @uncollected()
  def make() -> Program:
    return replace(program, equations=equations.made())

  return Stored(make)
