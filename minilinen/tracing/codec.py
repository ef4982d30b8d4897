"""May be skipped: what a trace holds as JSON and back: how each type is written follows from the fields of its class.

A dataclass is the list of its fields in order; those at the end that have their default are left out. A path is a
number into a table of names, a line of code one into a table of lines (`Tables`). What may be any value is written as
it is if JSON has it, and else is [number], a number into the table of values. There it says what it is: {"tuple":
[...]}, {"dict": [[path, leaf], ...]}, {"Spec": [...]}, {"size": "2*b"}. Of what there is very much, `rows` writes
little. `files` makes the whole document of these.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import jax

from minilinen.tracing import events
from minilinen.tracing.equations import formula
from minilinen.tracing.equations.program import Stored, Unread
from minilinen.tracing.events import Record, Span
from minilinen.tracing.paths import Path
from minilinen.tracing.rebuilt import leaves, put
from minilinen.tracing.rows import Column, Rows, numbered
from minilinen.tracing.source import Source
from minilinen.tracing.spec import ModuleRef, Node, Opaque, Spec, Value, itemsize
from minilinen.tracing.tables import Damaged, Tables, checked, checked_list

_VALUES = {kind.__name__: kind for kind in (Spec, Node, Opaque, ModuleRef)}
RECORDS: dict[str, type[Record]] = {
  kind.__name__: kind
  for kind in vars(events).values()
  if isinstance(kind, type) and issubclass(kind, Record) and kind not in (Record, Span, events.Variable)
}


Write = Callable[[Tables, Any], Any]
Read = Callable[[Tables, Any], Any]


@functools.cache
def coder(kind: Any) -> tuple[Write, Read]:
  """How values of a type are written, and read with a look whether they are of it."""
  args = get_args(kind)
  if kind is Any:
    return _write_any, _read_any
  if kind is Path:
    return Tables.number, Tables.module_path
  if kind is Source:
    return Tables.source_number, Tables.source
  if kind == tuple[str | int, ...] or kind == tuple[int | str, ...]:
    return Tables.number, Tables.path
  if kind in (str, int, bool, float):
    return (lambda t, v: v), (lambda t, v: checked(type(v) is kind, v, kind.__name__))
  if get_origin(kind) is Literal:
    return (lambda t, v: v), (lambda t, v: checked(v in args, v, f"one of {args}"))
  if get_origin(kind) in (Union, UnionType):
    return _several(args)
  if get_origin(kind) is tuple:
    return _tuples(args)
  if get_origin(kind) in (dict, Mapping):
    return _write_any, lambda t, v: checked(type(found := _read_any(t, v)) is dict, found, "dict")
  if get_origin(kind) is Annotated:
    return _many(get_args(args[0])[0])
  assert is_dataclass(kind), kind
  return _values(kind) if kind in _VALUES.values() else _rows(kind)


def _several(kinds: tuple[Any, ...]) -> tuple[Write, Read]:
  """One of several types: something or None, or one of several plain types. A program is read before it is written."""
  rest = [kind for kind in kinds if kind not in (NoneType, Stored, Unread)]
  if len(rest) > 1:
    return (lambda t, v: v), (
      lambda t, v: checked(type(v) in kinds, v, " or ".join(k.__name__ for k in kinds))
    )
  write, read = coder(rest[0])
  return (lambda t, v: None if v is None else write(t, v)), (lambda t, v: None if v is None else read(t, v))


def _tuples(kinds: tuple[Any, ...]) -> tuple[Write, Read]:
  if kinds[-1] is ...:
    write, read = coder(kinds[0])
    return (lambda t, v: [write(t, x) for x in v]), (
      lambda t, v: tuple([read(t, x) for x in checked_list(v)])
    )
  coders = [coder(kind) for kind in kinds]

  def read_fixed(t: Tables, plain: Any) -> Any:
    checked(len(checked_list(plain)) == len(coders), plain, f"list of {len(coders)}")
    return tuple(read(t, x) for (_, read), x in zip(coders, plain))

  return (lambda t, v: [write(t, x) for (write, _), x in zip(coders, v)]), read_fixed


def _many(kind: Any) -> tuple[Write, Read]:
  """Very many of one type: rows of a dataclass, or values of which most are equal to others."""
  if isinstance(kind, type) and is_dataclass(kind):
    rows = Rows(kind, [Column(f.name, types_of(kind)[f.name], *its) for f, *its in fields_of(kind)])
    return rows.write, rows.read
  write, read = coder(kind)

  def write_values(t: Tables, values: Any) -> Any:
    different, rows = numbered(values)
    return {"different": [write(t, v) for v in different], "rows": rows.tolist()}

  def read_values(t: Tables, plain: Any) -> Any:
    different = dict(enumerate([read(t, x) for x in checked_list(plain["different"])]))
    return tuple(map(different.__getitem__, checked_list(plain["rows"])))

  return write_values, read_values


@functools.cache
def types_of(kind: type[Any]) -> dict[str, Any]:
  """The types of the fields of a dataclass."""
  return get_type_hints(kind, include_extras=True)


@functools.cache
def fields_of(kind: type[Any]) -> list[tuple[Field[Any], Write, Read]]:
  """The fields of a dataclass with their codes; without those that say where a record stands and what is in it."""
  types = types_of(kind)
  apart = ("order", "span", "items") if issubclass(kind, Record) or "items" in types else ()
  return [(f, *coder(types[f.name])) for f in fields(kind) if f.name not in apart]


@functools.cache
def defaults_of(kind: type[Any]) -> list[Any]:
  """The default of each of these fields, `MISSING` if it has none."""
  factories = [(f.default, f.default_factory) for f, *_ in fields_of(kind)]
  return [default if make is MISSING else make() for default, make in factories]


def is_default(value: Any, default: Any) -> bool:
  """Whether a field has its default."""
  return value is default or (type(value) is type(default) and value == default)


@functools.cache
def _rows(kind: Any) -> tuple[Write, Read]:
  """A dataclass as the list of its fields, without those at the end that have their default."""

  def write_row(t: Tables, value: Any) -> Any:
    values = [getattr(value, f.name) for f, *_ in fields_of(kind)]
    defaults, end = defaults_of(kind), len(values)
    while end and is_default(values[end - 1], defaults[end - 1]):
      end -= 1
    return [write(t, v) for (_, write, _), v in zip(fields_of(kind), values[:end])]

  def read_row(t: Tables, plain: Any) -> Any:
    row = checked_list(plain)
    needed = sum(f.default is MISSING and f.default_factory is MISSING for f, *_ in fields_of(kind))
    checked(needed <= len(row) <= len(fields_of(kind)), plain, kind.__name__)
    value = kind(*(read(t, x) for (_, _, read), x in zip(fields_of(kind), row)))
    return _checked_spec(t, value) if kind is Spec else value

  return write_row, read_row


def _values(kind: Any) -> tuple[Write, Read]:
  """What may stand anywhere else, too, stands in the table of values."""
  return _write_any, lambda t, v: checked(type(found := _read_any(t, v)) is kind, found, kind.__name__)


def _checked_spec(t: Tables, spec: Spec) -> Spec:
  for size in spec.shape:
    checked(formula.parse(size) is not None and (isinstance(size, str) or size >= 0), size, "size")
  checked(spec.dtype.startswith("key<") or itemsize(spec.dtype) >= 0, spec.dtype, "dtype")
  return spec


def _write_dict(t: Tables, value: Any) -> Any:
  return [[t.number(at), _write_any(t, v)] for at, v in leaves(value)]


def _read_dict(t: Tables, plain: Any) -> dict[str, Value]:
  found: dict[str, Value] = {}
  for entry in checked_list(plain):
    number, leaf = checked(type(entry) is list and len(entry) == 2 and entry[0] != -1, entry, "[path, value]")
    put(found, t.module_path(number), _read_any(t, leaf))
  return found


def _write_any(t: Tables, value: Any) -> Any:
  kind = type(value)
  if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
    return value
  if kind not in (Spec, Opaque):  # Those can be looked up as they are.
    return [t.value_number(_said(t, value))]
  if value not in t.known:
    t.known[value] = [t.value_number(_said(t, value))]
  return t.known[value]


def _said(t: Tables, value: Any) -> dict[str, Any]:
  """A value that says what it is."""
  kind = type(value)
  if kind.__name__ in _VALUES:
    return {kind.__name__: _rows(kind)[0](t, value)}
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


def _read_any(t: Tables, plain: Any) -> Any:
  if type(plain) is list:
    return t.value(plain[0] if len(plain) == 1 else plain)
  return checked(not isinstance(plain, dict), plain, "value")


def read_value(t: Tables, plain: Any) -> Any:
  """A value of the table of values; those in it stand there before it."""
  ((kind, content),) = plain.items()
  if kind in _VALUES:
    return _rows(_VALUES[kind])[1](t, content)
  match kind:
    case "tuple":
      return tuple([_read_any(t, x) for x in checked_list(content)])
    case "list":
      return [_read_any(t, x) for x in checked_list(content)]
    case "dict":
      return _read_dict(t, content)
    case "float":
      return float(checked(content in ("nan", "inf", "-inf"), content, "float"))
    case "complex":
      real, imag = (_read_any(t, x) for x in checked_list(content))
      return complex(real, imag)
    case "size":
      return formula.parse(checked(isinstance(content, str), content, "size"))
  raise Damaged(f"a value of the unknown kind {kind!r}")


def read_part(t: Tables, read: Read, plain: Any, what: str) -> Any:
  """Reads a part; whatever Python says of a damaged one, says which it is."""
  try:
    return read(t, plain)
  except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError) as error:
    raise Damaged(f"{what} is damaged ({error})") from None


def is_count(value: Any) -> bool:
  """Whether a value says how many: a number from 0 on, or a formula."""
  return value >= 0 if type(value) is int else not isinstance(value, bool) and _is_symbol(value)


def _is_symbol(value: Any) -> bool:
  return not isinstance(value, int) and jax.export.is_symbolic_dim(value)
