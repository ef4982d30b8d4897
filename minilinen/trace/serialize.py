"""A trace as JSON text, and back.

`Trace` saves, pickles and compares itself through the document that is built here: plain lists and dicts,
flat however deep the modules are nested, and of a size that grows linearly with the trace.

The document, version 1:

    {"format": "minilinen.trace", "version": 1,
     "name": ..., "error": ..., "args": value, "kwargs": value, "result": value,
     "names": [[parent, name], ...],             # paths: number n is names[n] below path `parent`; -1 is the root
     "sources": [[file, line, function], ...],   # the user's lines
     "records": [{"record": "Call", "span": -1, "path": 3, "source": 0, ...}, ...]}

Records stand depth first, so a record's number is its `order`, and `span` is the number of the span around
it. Fields that have their default are left out. Paths and derivation steps of keys are numbers into `names`.
None, booleans, numbers and strings stand for themselves. Any other value is an object with one entry that names
its kind: "tuple", "list", "dict" (a list of [path, value] for its leaves, an inner empty dict being a leaf),
"spec", "node", "opaque", "module", "lifted", "complex", and "float" for the floats that JSON lacks.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any

from minilinen.trace import events
from minilinen.trace.events import Lifted, Record, Span
from minilinen.trace.source import Source
from minilinen.trace.spec import ModuleRef, Node, Opaque, Spec, Value
from minilinen.trace.tree import leaves, put

if TYPE_CHECKING:
  from minilinen.trace.trace import Trace

FORMAT, VERSION = "minilinen.trace", 1
_AGAIN = "Record the trace again and save it with `trace.save(file)`."
_RECORDS = {
  kind.__name__: kind
  for kind in vars(events).values()
  if isinstance(kind, type) and issubclass(kind, Record) and kind not in (Record, Span, events.Variable)
}
_APART = ("order", "span", "path", "source", "items")
_HEAD = ("name", "error", "args", "kwargs", "result")


class TraceFileError(ValueError):
  """A saved trace cannot be read.

  Attributes:
    what: what is wrong with it.
    mend: what to do.
    file: where it came from.
  """

  def __init__(self, what: str, mend: str = _AGAIN, file: str = "the text"):
    super().__init__(f"{file}: {what}. {mend}")
    self.what = what
    self.mend = mend
    self.file = file


def dumps(trace: Trace) -> str:
  """A trace as JSON text, with a line for each record."""
  whole = document(trace)
  records = whole.pop("records")
  lines = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in whole.items()]
  rows = ",\n".join(json.dumps(record, allow_nan=False) for record in records)
  return "{" + ",\n".join(lines) + ',\n"records": [\n' + rows + "\n]}\n"


def loads(text: str, file: str = "the text") -> dict[str, Any]:
  """The constructor arguments of the trace that a JSON text holds.

  Raises:
    TraceFileError: if it holds none that can be read.
  """
  try:
    whole = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise TraceFileError(*_why_no_json(text, error), file=file) from None
  try:
    return read(whole)
  except TraceFileError as error:
    raise TraceFileError(error.what, error.mend, file) from None


def load(file: str | os.PathLike[str]) -> dict[str, Any]:
  """The same for a file."""
  name = os.fspath(file)
  try:
    with open(file, encoding="utf-8") as source:
      text = source.read()
  except UnicodeDecodeError:
    raise TraceFileError("it is no text", "Give a file that `trace.save(file)` wrote.", name) from None
  return loads(text, name)


def _why_no_json(text: str, error: Exception) -> tuple[str, str]:
  if not text.strip():
    return "it is empty", _AGAIN
  if f'"{FORMAT}"' not in text:
    return f"it is no trace: it is not JSON ({error})", "Give a file that `trace.save(file)` wrote."
  if not text.rstrip().endswith("}"):
    return f"it is cut off after {len(text):,} characters", _AGAIN
  return f"it is damaged: {error}", _AGAIN


# Writing.


def document(trace: Trace, sources: bool = True) -> dict[str, Any]:
  """A trace as plain data.

  Args:
    trace: the trace.
    sources: whether to keep the user's lines.
  """
  writer = _Writer()
  records = [writer.record(record, sources) for record in trace.records]
  head = {key: writer.value(getattr(trace, key)) for key in _HEAD}
  return {
    "format": FORMAT,
    "version": VERSION,
    **head,
    "names": writer.names,
    "sources": [[s.file, s.line, s.function] for s in writer.sources],
    "records": records,
  }


class _Writer:
  """Turns records into plain data, and keeps the tables of paths and sources."""

  def __init__(self) -> None:
    self.names: list[list[Any]] = []
    self.sources: dict[Source, int] = {}
    self._numbers: dict[tuple[int, type, str | int], int] = {}

  def path(self, path: tuple[str | int, ...]) -> int:
    """The number of a path; -1 is the root."""
    at = -1
    for name in path:
      key = (at, type(name), name)
      number = self._numbers.get(key)
      if number is None:
        number = self._numbers[key] = len(self.names)
        self.names.append([at, name])
      at = number
    return at

  def record(self, record: Record, sources: bool) -> dict[str, Any]:
    """A record without what is in it."""
    plain: dict[str, Any] = {"record": type(record).__name__, "span": record.span, "path": self.path(record.path)}
    if sources and record.source is not None:
      plain["source"] = self.sources.setdefault(record.source, len(self.sources))
    for f in fields(record):
      value = getattr(record, f.name)
      if f.name not in _APART and not _is_default(f, value):
        plain[f.name] = self.field(f.name, value)
    return plain

  def field(self, name: str, value: Any) -> Any:
    """The value of one field of a record or a `Lifted`."""
    if name in ("path", "other"):
      return self.path(value)
    return [self.path(step) for step in value] if name == "steps" else self.value(value)

  def value(self, value: Value) -> Any:
    """Any value."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
      return value
    if kind is float:
      return value if math.isfinite(value) else {"float": repr(value)}
    if kind is Spec:
      return {"spec": {f.name: _plain(getattr(value, f.name)) for f in _kept(value)}}
    if kind is tuple or kind is list:
      return {kind.__name__: [self.value(v) for v in value]}
    if kind is dict:
      return {"dict": [[self.path(at), self.value(v) if v != {} else {}] for at, v in leaves(value) if at]}
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
      case Lifted():
        return {"lifted": {f.name: self.field(f.name, getattr(value, f.name)) for f in _kept(value)}}
      case complex():
        return {"complex": [self.value(value.real), self.value(value.imag)]}
    raise TypeError(f"a trace holds plain data only, but found {value!r} of type {type(value).__name__}")


def _plain(value: Any) -> Any:
  return list(value) if isinstance(value, tuple) else value


def _kept(value: Any) -> list[Field[Any]]:
  """The fields of a value that don't have their default."""
  return [f for f in fields(value) if not _is_default(f, getattr(value, f.name))]


def _is_default(f: Field[Any], value: Any) -> bool:
  if f.default_factory is not MISSING:
    return value == f.default_factory()
  return type(value) is type(f.default) and value == f.default
