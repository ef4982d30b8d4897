"""The recorder: where events go while somebody records, and nowhere otherwise.

`current()` answers None unless this thread records, and every place that could emit an
event asks it first: `if (rec := current()) is not None: rec.event(...)`. So not recording
costs one attribute read. The core and the module layer are the only callers; `record` opens
a recorder, and a `Trace` is made of what it collected.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from minilinen.trace.events import Body, Path, Record, Span
from minilinen.trace.source import user_source


class _State(threading.local):
  recorder: Recorder | None = None


_state = _State()


def current() -> Recorder | None:
  """The recorder of this thread, None if nobody records."""
  return _state.recorder


class Draft:
  """A span that is still open: what is known of it so far, and what happened in it.

  `fields` are the constructor arguments of the span's record; `bodies` holds the
  latest pass of each body by name.
  """

  __slots__ = ("kind", "fields", "items", "bodies")

  def __init__(self, kind: type[Span], fields: dict[str, Any]):
    self.kind = kind
    self.fields = fields
    self.items: list[Record | Draft] = []
    self.bodies: dict[str, Draft] = {}

  def set(self, **fields: Any) -> None:
    """Says more about the span."""
    self.fields.update(fields)

  def freeze(self) -> Span:
    """The record, with whatever is still open in it as it stands."""
    items = tuple(i.freeze() if isinstance(i, Draft) else i for i in self.items)
    return self.kind(**self.fields, items=items)


class Recorder:
  """Collects records in order. One recorder serves one thread."""

  def __init__(self) -> None:
    self.items: list[Record | Draft] = []
    self._open: list[Draft] = []
    self._order = 0

  def _common(self, path: Path) -> dict[str, Any]:
    order = self._order
    self._order = order + 1
    span = self._open[-1].fields["order"] if self._open else -1
    return {"order": order, "span": span, "path": path, "source": user_source(3)}

  def _append(self, item: Record | Draft) -> None:
    (self._open[-1].items if self._open else self.items).append(item)

  def innermost(self) -> Draft:
    """The span that is open and has no open span in it."""
    return self._open[-1]

  def event(self, kind: type[Record], path: Path, **fields: Any) -> None:
    """Adds an event."""
    self._append(kind(**self._common(path), **fields))

  @contextlib.contextmanager
  def span(self, kind: type[Span], path: Path, **fields: Any) -> Iterator[Draft]:
    """Opens a span for the length of a `with` block; an exception closes it too, with its text."""
    draft = Draft(kind, {**self._common(path), **fields})
    self._append(draft)
    with self._inside(draft):
      yield draft

  @contextlib.contextmanager
  def body(self, path: Path, name: str = "body", **fields: Any) -> Iterator[Draft]:
    """One pass over a body of the lift whose span is open; a later pass takes an earlier one's place."""
    lift = self._open[-1]
    earlier = lift.bodies.get(name)
    if earlier is None:
      draft = Draft(Body, {**self._common(path), "span": lift.fields["order"], "name": name, **fields})
      lift.items.append(draft)
    else:
      draft = earlier
      draft.items.clear()
      draft.bodies.clear()
      draft.set(traced=draft.fields.get("traced", 1) + 1, **fields)
    lift.bodies[name] = draft
    with self._inside(draft):
      yield draft

  @contextlib.contextmanager
  def _inside(self, draft: Draft) -> Iterator[None]:
    self._open.append(draft)
    try:
      yield
    except BaseException as error:
      text = str(error).strip()
      draft.set(error=f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__)
      raise
    finally:
      while self._open and self._open.pop() is not draft:
        pass

  def freeze(self) -> tuple[Record, ...]:
    """Everything recorded so far, as records."""
    return tuple(i.freeze() if isinstance(i, Draft) else i for i in self.items)


@contextlib.contextmanager
def recording(recorder: Recorder) -> Iterator[Recorder]:
  """Makes this thread record into `recorder` for the length of a `with` block."""
  outer, _state.recorder = _state.recorder, recorder
  try:
    yield recorder
  finally:
    _state.recorder = outer
