"""A trace as plain lists and dicts, and back.

`Trace` is saved (as JSON, by `serialize`), pickled and compared through the document that is built here. It
is flat however deep the modules are nested, and its size grows linearly with the trace.

The document, version 1:

    {"format": "minilinen.trace", "version": 1,
     "name": ..., "error": ..., "args": value, "kwargs": value, "result": value,
     "names": [[parent, name], ...],             # paths: number n is names[n] below path `parent`; -1 is the root
     "sources": [[file, line, function], ...],   # the user's lines
     "records": [{"record": "Call", "span": -1, "path": 3, "source": 0, ...}, ...],
     "trees": tuple,                             # the variable trees: a tuple of the fields of each `Tree`
     "program": {...}}                           # the equations, if there are any; see `listing`

Records stand depth first, so a record's number is its `order`, and `span` is the number of the span around
it. Fields that have their default are left out. Paths and derivation steps of keys are numbers into `names`.
None, booleans, numbers and strings stand for themselves. Any other value is an object with one entry that names
its kind: "tuple", "list", "dict" (a list of [path, value] for its leaves, an empty dict being a leaf), "spec",
"node", "opaque", "module", "lifted", "complex", and "float" for the floats that JSON lacks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from operator import itemgetter
from types import NoneType
from typing import TYPE_CHECKING, Any

from minilinen.spelling import did_you_mean
from minilinen.tracing import events
from minilinen.tracing.equations.listing import listed, listed_with_numbers, read_listing
from minilinen.tracing.equations.program import Program
from minilinen.tracing.events import Lifted, Passing, Path, Record, Span
from minilinen.tracing.source import Source
from minilinen.tracing.spec import ModuleRef, Node, Opaque, Spec, Value
from minilinen.tracing.told import Told
from minilinen.tracing.tree import leaves, put
from minilinen.tracing.trees import Tree

if TYPE_CHECKING:
  from minilinen.tracing.trace import Trace

FORMAT, VERSION = "minilinen.trace", 1
HEAD = {"name": str, "error": (str, NoneType), "args": tuple, "kwargs": dict, "result": object}
_APART = ("order", "span", "path", "source", "items")
_RECORDS: dict[str, type[Record]] = {
  kind.__name__: kind
  for kind in vars(events).values()
  if isinstance(kind, type) and issubclass(kind, Record) and kind not in (Record, Span, events.Variable)
}


class DocumentError(ValueError):
  """A document does not describe a trace."""


# Writing.


def document(trace: Trace, comparing: bool = False) -> dict[str, Any]:
  """A trace as plain data.

  Args:
    trace: the trace.
    comparing: whether to leave out what two equal traces may differ in: the user's lines, the order in dicts,
      the equations.
  """
  writer = _Writer(comparing)
  records = [writer.record(record) for record in trace.records]
  head = {key: writer.value(getattr(trace, key)) for key in HEAD}
  sources = [[source.file, source.line, source.function] for source in writer.sources]
  program = None if comparing or not trace.has_equations else listed(trace.program, writer.path, writer.value)
  trees = writer.value(tuple(tuple(getattr(tree, f.name) for f in fields(Tree)) for tree in trace.trees))
  tables = {"names": writer.names, "sources": sources, "records": records, "program": program, "trees": trees}
  return {"format": FORMAT, "version": VERSION, **head, **tables}


def with_numbers(whole: Any, number: Callable[[int | str], int]) -> Any:
  """A document with numbers in the place of symbolic dimensions.

  Args:
    whole: a document, or a part of one.
    number: gives the number of a size: an int, or a formula as text.
  """
  if isinstance(whole, list):
    return [with_numbers(part, number) for part in whole]
  if not isinstance(whole, dict):
    return whole
  found = {key: with_numbers(part, number) for key, part in whole.items() if key != "program"}
  if "shape" in found:
    found["shape"] = [number(size) for size in found["shape"]]
  if isinstance(found.get("length"), str):
    found["length"] = number(found["length"])
  if whole.get("program"):
    found["program"] = listed_with_numbers(with_numbers(whole["program"], number), number)
  return found


class _Writer:
  """Turns records into plain data, and keeps the tables of paths and sources."""

  def __init__(self, comparing: bool) -> None:
    self.names: list[list[Any]] = []
    self.sources: dict[Source, int] = {}
    self._numbers: dict[tuple[str | int, ...], int] = {(): -1}
    self._comparing = comparing

  def path(self, path: tuple[str | int, ...]) -> int:
    """The number of a path; -1 is the root."""
    number = self._numbers.get(path)
    if number is None:
      known = len(path) - 1
      while path[:known] not in self._numbers:
        known -= 1
      number = self._numbers[path[:known]]
      for end in range(known, len(path)):
        self.names.append([number, path[end]])
        number = self._numbers[path[: end + 1]] = len(self.names) - 1
    return number

  def record(self, record: Record) -> dict[str, Any]:
    """A record without what is in it."""
    plain: dict[str, Any] = {
      "record": type(record).__name__,
      "span": record.span,
      "path": self.path(record.path),
    }
    if record.source is not None and not self._comparing:
      plain["source"] = self.sources.setdefault(record.source, len(self.sources))
    for f in _fields(type(record)):
      value = getattr(record, f.name)
      if f.name not in _APART and not _is_default(f, value):
        plain[f.name] = self.field(f.name, value)
    return plain

  def field(self, name: str, value: Any) -> Any:
    """The value of one field of a record or a `Lifted`."""
    if name in ("path", "other"):
      return None if value is None else self.path(value)
    if name == "source":
      return None if value is None else self.sources.setdefault(value, len(self.sources))
    return [self.path(step) for step in value] if name == "steps" else self.value(value)

  def value(self, value: Value) -> Any:
    """Any value."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
      return value
    if kind is float:
      return value if math.isfinite(value) else {"float": repr(value)}
    if kind is Spec:
      shard = {} if value.shard is None else {"shard": list(value.shard)}
      return {"spec": {**self.parts(value), "shape": list(value.shape), **shard}}
    if kind is tuple or kind is list:
      return {kind.__name__: [self.value(v) for v in value]}
    if kind is dict:
      entries = list(leaves(value))
      if self._comparing:
        entries.sort(key=itemgetter(0))
      return {"dict": [[self.path(at), self.value(v)] for at, v in entries]}
    return self.tagged(value)

  def tagged(self, value: Value) -> Any:
    """A value of the rarer kinds."""
    match value:
      case Opaque():
        return {"opaque": [value.type, value.text]}
      case Node():
        return {"node": [value.type, self.value(dict(value.parts))]}
      case ModuleRef():
        return {"module": [value.module, None if value.path is None else self.path(value.path)]}
      case Told():
        return {"told": self.parts(value)}
      case Lifted():
        return {"lifted": self.parts(value)}
      case Passing():
        return {"passing": self.parts(value)}
      case complex():
        return {"complex": [self.value(value.real), self.value(value.imag)]}
    raise TypeError(f"a trace holds plain data only, but found {value!r} of type {type(value).__name__}")

  def parts(self, value: Any) -> dict[str, Any]:
    """The fields of a value that don't have their default."""
    kept = [f.name for f in _fields(type(value)) if not _is_default(f, getattr(value, f.name))]
    return {name: self.field(name, getattr(value, name)) for name in kept}


_fields = functools.cache(fields)


def _is_default(f: Field[Any], value: Any) -> bool:
  if f.default_factory is not MISSING:
    return value == f.default_factory()
  return type(value) is type(f.default) and value == f.default


# Reading.


def read(whole: Any) -> dict[str, Any]:
  """The constructor arguments of the trace that a document describes.

  Raises:
    DocumentError: if it describes none.
  """
  if not isinstance(whole, dict) or whole.get("format") != FORMAT:
    raise DocumentError(f'it is no trace: it lacks "format": "{FORMAT}"')
  if whole.get("version") != VERSION:
    raise DocumentError(
      f"it is of version {whole.get('version')!r}, and this minilinen reads version {VERSION}"
    )
  reader = _Reader(whole)
  unknown = whole.keys() - {"format", "version", "names", "sources", "records", "program", "trees", *HEAD}
  if unknown:
    raise DocumentError(f"it has the unknown entry {sorted(unknown)[0]!r}")
  head = {key: reader.checked(whole, key, kind) for key, kind in HEAD.items()}
  items, program = reader.items(whole["records"]), reader.program(whole.get("program"))
  return {"items": items, "program": program, "trees": reader.trees(whole), **head}


class _Reader:
  """Turns plain data into records, with the tables of a document at hand."""

  def __init__(self, whole: dict[str, Any]):
    for table in ("names", "sources", "records"):
      if not isinstance(whole.get(table), list):
        raise DocumentError(f"its entry {table!r} is missing or no list")
    self._names = whole["names"]
    self._paths: dict[int, Path] = {-1: Path()}
    try:
      self._sources = [Source(*entry) for entry in whole["sources"]]
    except TypeError as error:
      raise DocumentError(f"its sources are damaged ({error})") from None

  def checked(self, plain: dict[str, Any], key: str, kind: Any) -> Any:
    """The value of one entry."""
    if key not in plain:
      raise DocumentError(f"it lacks the entry {key!r}")
    try:
      value = self.value(plain[key])
    except (TypeError, ValueError, KeyError, IndexError) as error:
      raise DocumentError(f"its entry {key!r} is damaged ({error})") from None
    if not isinstance(value, kind):
      raise DocumentError(f"its entry {key!r} is {value!r}, which is of the wrong type")
    return value

  def trees(self, plain: dict[str, Any]) -> tuple[Tree, ...]:
    """The variable trees."""
    try:
      return tuple(Tree(*row) for row in self.checked(plain, "trees", tuple))
    except TypeError as error:
      raise DocumentError(f"its entry 'trees' is damaged ({error})") from None

  def program(self, plain: Any) -> Program | None:
    """The equations, None if there are none."""
    try:
      return None if plain is None else read_listing(plain, self.path, self.value)
    except (TypeError, ValueError, KeyError, IndexError) as error:
      raise DocumentError(f"its equations are damaged ({error})") from None

  def items(self, records: list[Any]) -> tuple[Record, ...]:
    """The tree of records; from the last to the first, so that a span comes after what is in it."""
    self._check_nesting(records)
    inside: dict[int, list[Record]] = {}
    for order in range(len(records) - 1, -1, -1):
      plain = records[order]
      items = tuple(reversed(inside.pop(order, ())))
      try:
        record = self.record(order, plain, items)
      except (TypeError, ValueError, KeyError, IndexError) as error:
        raise DocumentError(f"its record {order} ({plain['record']}) is damaged ({error})") from None
      inside.setdefault(plain["span"], []).append(record)
    return tuple(reversed(inside.pop(-1, ())))

  def _check_nesting(self, records: list[Any]) -> None:
    """Every record has a known kind and stands in a span that is still open."""
    around = [-1]
    for order, plain in enumerate(records):
      kind = plain.get("record") if isinstance(plain, dict) else None
      if kind not in _RECORDS:
        hint = did_you_mean(kind, _RECORDS)
        raise DocumentError(f"its record {order} is of the unknown kind {kind!r}.{hint}")
      while around and around[-1] != plain.get("span"):
        around.pop()
      if not around:
        raise DocumentError(
          f"its record {order} ({kind}) stands in {plain.get('span')!r}, which is no open span"
        )
      if issubclass(_RECORDS[kind], Span):
        around.append(order)

  def record(self, order: int, plain: dict[str, Any], items: tuple[Record, ...]) -> Record:
    """One record."""
    kind = _RECORDS[plain["record"]]
    kinds = _kinds_of(kind)
    given: dict[str, Any] = {"order": order, "span": plain["span"]}
    if issubclass(kind, Span):
      given["items"] = items
    for name, value in plain.items():
      if name == "source":
        given[name] = self._sources[value]
      elif name in kinds:
        given[name] = self.field(name, value, kinds[name])
      elif name != "record":
        raise ValueError(f"{kind.__name__} has no field {name!r}")
    return kind(**given)

  def field(self, name: str, plain: Any, kinds: tuple[type, ...] = (object,)) -> Any:
    """The value of one field of a record or a `Lifted`."""
    if name in ("path", "other"):
      return None if plain is None else self.path(plain)
    if name == "source":
      return None if plain is None else self._sources[plain]
    value = tuple(self.path(step) for step in plain) if name == "steps" else self.value(plain)
    if not isinstance(value, kinds):
      raise TypeError(f"its field {name!r} is {value!r}")
    return value

  def path(self, number: int) -> Path:
    """The path of a number."""
    unknown: list[int] = []
    at = number
    while at not in self._paths:
      if not isinstance(at, int) or not 0 <= at < len(self._names):
        raise ValueError(f"there is no path {number!r}")
      unknown.append(at)
      above = self._names[at][0]
      at = above if above == -1 or above < at else None
    for at in reversed(unknown):
      above, name = self._names[at]
      self._paths[at] = self._paths[above] / name
    return self._paths[number]

  def value(self, plain: Any) -> Value:
    """Any value."""
    if not isinstance(plain, dict):
      if isinstance(plain, list):
        raise ValueError("a list that says not what it is")
      return plain
    ((kind, content),) = plain.items()
    if kind not in _READ:
      raise ValueError(f"a value of the unknown kind {kind!r}")
    return _READ[kind](self, content)

  def mapping(self, entries: list[Any]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for path, value in entries:
      put(found, self.path(path), self.value(value))
    return found

  def module(self, content: Any) -> ModuleRef:
    name, path = content
    return ModuleRef(name, None if path is None else self.path(path))

  def parts(self, content: dict[str, Any]) -> dict[str, Any]:
    return {name: self.field(name, value) for name, value in content.items()}


def _spec(shape: list[Any], shard: list[int] | None = None, **rest: Any) -> Spec:
  return Spec(tuple(shape), shard=None if shard is None else tuple(shard), **rest)


_READ: dict[str, Callable[[_Reader, Any], Value]] = {
  "tuple": lambda self, c: tuple(self.value(v) for v in c),
  "list": lambda self, c: [self.value(v) for v in c],
  "dict": _Reader.mapping,
  "spec": lambda self, c: _spec(**c),
  "node": lambda self, c: Node(c[0], self.value(c[1])),
  "opaque": lambda self, c: Opaque(*c),
  "module": _Reader.module,
  "told": lambda self, c: Told(**self.parts(c)),
  "lifted": lambda self, c: Lifted(**self.parts(c)),
  "passing": lambda self, c: Passing(**self.parts(c)),
  "complex": lambda self, c: complex(*map(self.value, c)),
  "float": lambda self, c: float(c),
}


@functools.cache
def _kinds_of(record: type[Record]) -> dict[str, tuple[type, ...]]:
  """The types that each field of a record allows, as `isinstance` takes them."""
  plain = {"str": str, "int": int, "bool": bool, "tuple": tuple, "dict": dict, "None": NoneType}
  return {
    f.name: tuple(plain.get(part.split("[")[0], object) for part in str(f.type).split(" | "))
    for f in fields(record)
  }
