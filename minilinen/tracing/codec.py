"""May be skipped: a trace as JSON text and back. What is written follows from the fields of the dataclasses.

    {"format": "minilinen.trace", "version": 2,
     "names": [[parent, name], ...],             # paths: number n is names[n] below path `parent`; -1 is the root
     "sources": [[file, line, function], ...],   # the user's lines
     "name": ..., "args": ..., ...               # the fields of `Saved`
     "records": [{"record": "Call", "span": -1, "path": 3, "source": 0, ...}, ...]}

Records stand depth first, so a record's number is its `order`, and `span` is the number of the span around it. Other
dataclasses are lists of their fields in order. Fields at their end, or of a record, that have their default are left
out. A path is a number into `names`, a line of code one into `sources`. What may be any value says what it is, unless
JSON has it: {"tuple": [...]}, {"dict": [[path, leaf], ...]}, {"Spec": [...]}, {"size": "2*b"}. Whoever changes a field
raises VERSION.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import jax

from minilinen.spelling import did_you_mean
from minilinen.tracing import events
from minilinen.tracing.equations.formula import Formulas
from minilinen.tracing.equations.program import PHASES, Program
from minilinen.tracing.equations.work import COUNTS
from minilinen.tracing.events import Create, Key, Record, Run, Span, nested
from minilinen.tracing.paths import Path
from minilinen.tracing.source import Source
from minilinen.tracing.spec import ModuleRef, Node, Opaque, Spec, Value, itemsize
from minilinen.tracing.tree import leaves, put
from minilinen.tracing.trees import Tree

FORMAT, VERSION = "minilinen.trace", 2
_VALUES = {kind.__name__: kind for kind in (Spec, Node, Opaque, ModuleRef)}
_RECORDS: dict[str, type[Record]] = {
  kind.__name__: kind
  for kind in vars(events).values()
  if isinstance(kind, type) and issubclass(kind, Record) and kind not in (Record, Span, events.Variable)
}


@dataclass(frozen=True)
class Saved:
  """What is saved of a trace besides its records; the fields are those of `Trace`."""

  name: str
  args: tuple[Value, ...]
  kwargs: dict[str, Value]
  result: Value
  error: str | None
  trees: tuple[Tree, ...]
  program: Program | None


class Damaged(ValueError):
  """What was read describes no trace."""


Write = Callable[["_Tables", Any], Any]
Read = Callable[["_Tables", Any], Any]


class _Tables:
  """The paths and lines of a trace, by number."""

  def __init__(self, names: Any = (), sources: Any = ()):
    self.names: list[Any] = [*names]
    self.numbers: dict[tuple[str | int, ...], int] = {(): -1}
    self.sources: dict[Source, int] = {}
    self.formulas = Formulas()
    self._paths: dict[int, tuple[Any, ...]] = {-1: ()}
    self._lines = [_read(self, coder(tuple[str, int, str]), line, "one of its sources") for line in sources]

  def number(self, path: tuple[str | int, ...]) -> int:
    known = len(path)
    while path[:known] not in self.numbers:
      known -= 1
    number = self.numbers[path[:known]]
    for end in range(known, len(path)):
      self.names.append([number, path[end]])
      number = self.numbers[tuple(path[: end + 1])] = len(self.names) - 1
    return number

  def path(self, number: int) -> tuple[Any, ...]:
    unknown: list[int] = []
    at = number
    while at not in self._paths:
      if type(at) is not int or not 0 <= at < len(self.names):
        raise Damaged(f"there is no path {number!r}")
      unknown.append(at)
      above, name = self.names[at]
      if type(name) not in (str, int) or type(above) is not int or (above != -1 and not 0 <= above < at):
        raise Damaged(f"there is no path {number!r}")
      at = above
    for at in reversed(unknown):
      above, name = self.names[at]
      self._paths[at] = (*self._paths[above], name)
    return self._paths[number]

  def line(self, number: Any) -> Source:
    if type(number) is not int or not 0 <= number < len(self._lines):
      raise Damaged(f"there is no line {number!r}")
    return Source(*self._lines[number])


def _checked(right: bool, value: Any, what: str) -> Any:
  if not right:
    raise Damaged(f"{value!r} is no {what}")
  return value


@functools.cache
def coder(kind: Any) -> tuple[Write, Read]:
  """How values of a type are written, and read with a look whether they are of it."""
  args = get_args(kind)
  if kind is Any:
    return _write_any, _read_any
  if kind is Path:
    return _Tables.number, _read_path
  if kind is Source:
    return (lambda t, v: t.sources.setdefault(v, len(t.sources))), _Tables.line
  if kind == tuple[str | int, ...] or kind == tuple[int | str, ...]:
    return _Tables.number, _Tables.path
  if kind in (str, int, bool, float):
    return (lambda t, v: v), (lambda t, v: _checked(type(v) is kind, v, kind.__name__))
  if get_origin(kind) is Literal:
    return (lambda t, v: v), (lambda t, v: _checked(v in args, v, f"one of {args}"))
  if get_origin(kind) in (Union, UnionType):
    return _several(args)
  if get_origin(kind) is tuple:
    return _tuples(args)
  if get_origin(kind) in (dict, Mapping):
    return _write_dict, _read_dict
  assert is_dataclass(kind), kind
  return _rows(kind)


def _several(kinds: tuple[Any, ...]) -> tuple[Write, Read]:
  """One of several types: something or None, or one of several plain types."""
  rest = [kind for kind in kinds if kind is not NoneType]
  if len(rest) > 1:
    return (lambda t, v: v), (
      lambda t, v: _checked(type(v) in kinds, v, " or ".join(k.__name__ for k in kinds))
    )
  write, read = coder(rest[0])
  return (lambda t, v: None if v is None else write(t, v)), (lambda t, v: None if v is None else read(t, v))


def _tuples(kinds: tuple[Any, ...]) -> tuple[Write, Read]:
  if kinds[-1] is ...:
    write, read = coder(kinds[0])
    return (lambda t, v: [write(t, x) for x in v]), (lambda t, v: tuple([read(t, x) for x in _list(v)]))
  coders = [coder(kind) for kind in kinds]

  def read_fixed(t: _Tables, plain: Any) -> Any:
    _checked(len(_list(plain)) == len(coders), plain, f"list of {len(coders)}")
    return tuple(read(t, x) for (_, read), x in zip(coders, plain))

  return (lambda t, v: [write(t, x) for (write, _), x in zip(coders, v)]), read_fixed


def _list(plain: Any) -> list[Any]:
  return _checked(type(plain) is list, plain, "list")


@functools.cache
def _fields(kind: type[Any]) -> list[tuple[Field[Any], Write, Read]]:
  types = get_type_hints(kind)
  apart = ("order", "span", "items") if issubclass(kind, Record) else ()
  return [(f, *coder(types[f.name])) for f in fields(kind) if f.name not in apart]


def _is_default(f: Field[Any], value: Any) -> bool:
  if f.default_factory is not MISSING:
    return value == f.default_factory()
  return type(value) is type(f.default) and value == f.default


def _rows(kind: Any) -> tuple[Write, Read]:
  """A dataclass as the list of its fields, without those at the end that have their default."""

  def write_row(t: _Tables, value: Any) -> Any:
    values = [getattr(value, f.name) for f, *_ in _fields(kind)]
    end = len(values)
    while end and _is_default(_fields(kind)[end - 1][0], values[end - 1]):
      end -= 1
    return [write(t, v) for (_, write, _), v in zip(_fields(kind), values[:end])]

  def read_row(t: _Tables, plain: Any) -> Any:
    row = _list(plain)
    needed = sum(f.default is MISSING and f.default_factory is MISSING for f, *_ in _fields(kind))
    _checked(needed <= len(row) <= len(_fields(kind)), plain, kind.__name__)
    value = kind(*(read(t, x) for (_, _, read), x in zip(_fields(kind), row)))
    return _checked_spec(t, value) if kind is Spec else value

  return write_row, read_row


def _checked_spec(t: _Tables, spec: Spec) -> Spec:
  for size in spec.shape:
    _checked(t.formulas.parse(size) is not None and (isinstance(size, str) or size >= 0), size, "size")
  _checked(spec.dtype.startswith("key<") or itemsize(spec.dtype) >= 0, spec.dtype, "dtype")
  return spec


def _read_path(t: _Tables, number: Any) -> Path:
  path = t.path(number)
  return Path(_checked(all(isinstance(name, str) for name in path), path, "path"))


def _write_dict(t: _Tables, value: Any) -> Any:
  return [[t.number(at), _write_any(t, v)] for at, v in leaves(value)]


def _read_dict(t: _Tables, plain: Any) -> dict[str, Value]:
  found: dict[str, Value] = {}
  for entry in _list(plain):
    number, leaf = _checked(
      type(entry) is list and len(entry) == 2 and entry[0] != -1, entry, "[path, value]"
    )
    put(found, _read_path(t, number), _read_any(t, leaf))
  return found


def _write_any(t: _Tables, value: Any) -> Any:
  kind = type(value)
  if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
    return value
  if kind.__name__ in _VALUES:
    return {kind.__name__: coder(kind)[0](t, value)}
  if kind in (tuple, list, Path):
    return {"list" if kind is list else "tuple": [_write_any(t, v) for v in value]}
  if kind is dict:
    return {"dict": _write_dict(t, value)}
  if kind is float:
    return {"float": repr(value)}
  if kind is complex:
    return {"complex": [_write_any(t, value.real), _write_any(t, value.imag)]}
  if _is_symbol(value):
    return {"size": str(value)}
  raise TypeError(f"a trace holds plain data only, but found {value!r} of type {kind.__name__}")


def _read_any(t: _Tables, plain: Any) -> Any:
  if not isinstance(plain, dict):
    if isinstance(plain, list):
      raise Damaged("a list that says not what it is")
    return plain
  ((kind, content),) = plain.items()
  if kind in _VALUES:
    return coder(_VALUES[kind])[1](t, content)
  match kind:
    case "tuple":
      return tuple([_read_any(t, x) for x in _list(content)])
    case "list":
      return [_read_any(t, x) for x in _list(content)]
    case "dict":
      return _read_dict(t, content)
    case "float":
      return float(_checked(content in ("nan", "inf", "-inf"), content, "float"))
    case "complex":
      real, imag = (_read_any(t, x) for x in _list(content))
      return complex(real, imag)
    case "size":
      return t.formulas.parse(_checked(isinstance(content, str), content, "size"))
  raise Damaged(f"a value of the unknown kind {kind!r}")


# The whole.


def encoded(saved: Saved, records: tuple[Record, ...]) -> str:
  """A trace as JSON text, with a line for each record; the records stand last."""
  t = _Tables()
  rows = [_record(t, record) for record in records]
  head = {f.name: write(t, getattr(saved, f.name)) for f, write, _ in _fields(Saved)}
  sources = [[line.file, line.line, line.function] for line in t.sources]
  whole = {"format": FORMAT, "version": VERSION, "names": t.names, "sources": sources, **head}
  lines = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)},\n" for key, value in whole.items()]
  return (
    "{"
    + "".join(lines)
    + '"records": [\n'
    + ",\n".join(json.dumps(row, allow_nan=False) for row in rows)
    + "\n]}\n"
  )


def _record(t: _Tables, record: Record) -> dict[str, Any]:
  plain: dict[str, Any] = {"record": type(record).__name__, "span": record.span}
  for f, write, _ in _fields(type(record)):
    value = getattr(record, f.name)
    if not _is_default(f, value):
      plain[f.name] = write(t, value)
  return plain


def decoded(whole: Any) -> tuple[Saved, tuple[Record, ...]]:
  """What a JSON object describes: all but the records, and the tree of records.

  Raises:
    Damaged: if it describes no trace.
  """
  if not isinstance(whole, dict) or whole.get("format") != FORMAT:
    raise Damaged(f'it is no trace: it lacks "format": "{FORMAT}"')
  if whole.get("version") != VERSION:
    age = "is of an older minilinen" if whole.get("version") == 1 else "is of another minilinen"
    raise Damaged(
      f"it {age}: it is of version {whole.get('version')!r}, and this one reads version {VERSION}"
    )
  for table in ("names", "sources", "records"):
    if not isinstance(whole.get(table), list):
      raise Damaged(f"its entry {table!r} is missing or no list")
  known = {f.name for f in fields(Saved)}
  if strange := sorted(whole.keys() - {"format", "version", "names", "sources", "records"} - known):
    raise Damaged(f"it has the unknown entry {strange[0]!r}")
  t = _Tables(whole["names"], whole["sources"])
  records = _read_records(t, whole["records"])
  head = {}
  for f, write, read in _fields(Saved):
    if f.name not in whole:
      raise Damaged(f"it lacks the entry {f.name!r}")
    head[f.name] = _read(t, (write, read), whole[f.name], f"its entry {f.name!r}")
  saved = Saved(**head)
  _check(saved, records)
  return saved, nested(records)


def _read(t: _Tables, code: tuple[Write, Read], plain: Any, what: str) -> Any:
  """Reads a part; whatever Python says of a damaged one, says which it is."""
  try:
    return code[1](t, plain)
  except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError) as error:
    raise Damaged(f"{what} is damaged ({error})") from None


def _read_records(t: _Tables, rows: list[Any]) -> list[Record]:
  """The records without what is in them. Every one has a known kind and stands in a span that is still open."""
  records, around = [], [-1]
  for order, row in enumerate(rows):
    kind = row.get("record") if isinstance(row, dict) else None
    if not isinstance(kind, str) or kind not in _RECORDS:
      hint = did_you_mean(str(kind), _RECORDS).rstrip(".")
      raise Damaged(f"its record {order} is of the unknown kind {kind!r}.{hint}")
    while around and around[-1] != row.get("span"):
      around.pop()
    if not around or type(row["span"]) is not int:
      raise Damaged(f"its record {order} ({kind}) stands in {row.get('span')!r}, which is no open span")
    if issubclass(_RECORDS[kind], Span):
      around.append(order)
    code = _record, functools.partial(_read_record, order)
    records.append(_read(t, code, row, f"its record {order} ({kind})"))  # type: ignore[arg-type]
  return records


def _read_record(order: int, t: _Tables, row: dict[str, Any]) -> Record:
  kind = _RECORDS[row["record"]]
  known = {f.name: read for f, _, read in _fields(kind)}
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


def _check(saved: Saved, records: list[Record]) -> None:
  """Every number that stands for something stands for something that is there."""

  def within(numbers: Any, least: int, end: int, what: str) -> None:
    for number in numbers:
      if not least <= number < end:
        raise Damaged(f"it speaks of {what} {number}, which is not there")

  for record in records:
    if isinstance(record, Run) and saved.trees:
      within([record.tree], 0, len(saved.trees), "tree")
    if isinstance(record, Create) and not all(
      0 <= n < len(records) and isinstance(records[n], Key) for n in record.keys
    ):
      raise Damaged(f"its record {record.order} names keys that are none")
  for n, tree in enumerate(saved.trees):
    above = [tree.within[0]] if tree.within is not None else []
    within([tree.number, *tree.derived_from, *above], 0, len(saved.trees), "tree")
    within(tree.runs, 0, len(records), "record")
    if tree.number != n or not all(isinstance(records[run], Run) for run in tree.runs):
      raise Damaged(f"its tree {n} is damaged")
  if saved.program is not None:
    values = len(saved.program.values)
    within((*saved.program.inputs, *saved.program.outputs), -1, values, "value")
    for n, e in enumerate(saved.program.equations):
      ties = [number for tie in (*e.enters, *e.leaves) for number in tie]
      within((*e.inputs, *e.outputs, *ties), -1, values, "value")
      within([e.inside], -1, n, "equation")
      within([e.owner.run, *e.calls], -1, len(records), "record")
      if e.phase not in PHASES or not all(
        map(_is_count, (e.times, *(getattr(e.work, name) for name in COUNTS)))
      ):
        raise Damaged(f"its equation {n} is damaged")
    if not all(isinstance(value, (Spec, Opaque)) for value in saved.program.values):
      raise Damaged("one of its program's values is none")


def _is_count(value: Any) -> bool:
  return value >= 0 if type(value) is int else not isinstance(value, bool) and _is_symbol(value)


def _is_symbol(value: Any) -> bool:
  return not isinstance(value, int) and jax.export.is_symbolic_dim(value)
