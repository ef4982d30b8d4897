"""May be skipped: records in the making.

While somebody records, the recorder keeps drafts, for a span learns its result at its end and a body may be run again
from the start. When a lift is over its passes are settled; when somebody looks, the drafts are numbered and become
records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from minilinen.tracing.events import Call, Caught, Create, Key, Lift, Passing, Read, Record, Run, Span


class Draft:
  """A record in the making; a span may still be told more while it is open.

  Attributes:
    kind: the record's class.
    fields: its constructor's arguments, without `order`, `span` and `items`.
    items: what happened in it; stays empty for an event.
    bodies: of a lift, the latest pass of each body by name.
    first: of a body, what happened in its first pass, if there were several.
    order: the record's number, -1 as long as it has none.
  """

  __slots__ = ("kind", "fields", "items", "bodies", "first", "order")

  def __init__(self, kind: type[Record], fields: dict[str, Any]):
    self.kind = kind
    self.fields = fields
    self.items: list[Draft] = []
    self.bodies: dict[str, Draft] = {}
    self.first: list[Draft] | None = None
    self.order = -1

  def pass_again(self, fields: dict[str, Any]) -> None:
    """Begins the next pass over a body."""
    self.first = self.first or self.items
    self.fields = fields
    self.items = []
    self.bodies = {}

  def set(self, **fields: Any) -> None:
    """Says more about the span."""
    self.fields.update(fields)

  @property
  def variable(self) -> tuple[Any, ...]:
    """Which variable an event is about."""
    return self.fields["path"], self.fields.get("collection"), self.fields.get("name")


def frozen(drafts: list[Draft]) -> tuple[Record, ...]:
  """Drafts as records, numbered depth first; a call also says how many of its like came before it in its run.

  Runs over a list and not over itself, so that the depth of the nesting is no limit.
  """
  numbered: list[tuple[Draft, int]] = []
  calls: Counter[Any] = Counter()
  waiting = [(draft, -1, -1) for draft in reversed(drafts)]
  while waiting:
    draft, span, run = waiting.pop()
    order = draft.order = len(numbered)
    numbered.append((draft, span))
    if draft.kind is Call:
      same = (run, draft.fields["path"], draft.fields.get("method"))
      draft.fields["number"] = calls[same]
      calls[same] += 1
    inner_run = order if draft.kind is Run else run
    waiting.extend([(inner, order, inner_run) for inner in reversed(draft.items)])
  return _records(numbered)


def _records(numbered: list[tuple[Draft, int]]) -> tuple[Record, ...]:
  """Records of drafts that stand depth first, each with the number of the span around it."""
  inside: dict[int, list[Record]] = {}
  for order in range(len(numbered) - 1, -1, -1):
    draft, span = numbered[order]
    known: dict[str, Any] = {"order": order, "span": span, **draft.fields}
    if "keys" in known:
      known["keys"] = tuple(key.order for key in known["keys"])
    if issubclass(draft.kind, Span):
      known["items"] = tuple(reversed(inside.pop(order, ())))
    inside.setdefault(span, []).append(draft.kind(**known))
  return tuple(reversed(inside.pop(-1, ())))


def settle(lift: Draft) -> None:
  """Keeps of each body's first pass what held: the creation of variables that the last pass did not make.

  A scan makes the variables that all its steps share in the first pass, and throws away those of the last; a
  `map_variables` that initialises makes all in the first and only reads them in the last.
  """
  if lift.kind is not Lift:
    return
  told: tuple[Passing, ...] = lift.fields.get("collections", ())
  broadcast = {
    v.collection
    for v in lift.fields.get("variables", ())
    if next((p.kind for p in told if p.takes(v.collection)), "") == "broadcast"
  }
  for body in lift.bodies.values():
    if body.first is not None:
      made = {items[i].variable: _creation(items, i) for items, i in _creations(body.first)}
      for items in _levels(body.items):
        items[:] = _with_creations(items, made, broadcast)
      body.items.extend(_caught_first(body))
      body.first = None


def _caught_first(body: Draft) -> list[Draft]:
  """The mistakes that only the first pass over a body made."""
  again = [draft.fields for items in _levels(body.items) for draft in items if draft.kind is Caught]
  first = [draft for items in _levels(body.first or []) for draft in items if draft.kind is Caught]
  return [draft for draft in first if draft.fields not in again]


def _with_creations(items: list[Draft], made: dict[Any, list[Draft]], broadcast: set[str]) -> list[Draft]:
  """The items of a span, with variables created as in the first pass where that is what held."""
  found: list[Draft] = []
  for draft in items:
    found.append(draft)
    first = made.pop(draft.variable, None) if draft.kind in (Create, Read) else None
    if first is not None and (draft.kind is Read or draft.fields.get("collection") in broadcast):
      del found[-len(_creation(found, len(found) - 1)) :]
      found.extend(first)
  return found


def _creation(items: list[Draft], end: int) -> list[Draft]:
  """An event on a variable; of its creation, also the keys drawn for it, which stand right before it."""
  start = end
  while (
    start and items[end].kind is Create
    and items[start - 1].kind is Key and items[start - 1].fields["path"] == items[end].fields["path"]
  ):  # fmt: skip
    start -= 1
  return items[start : end + 1]


def _creations(items: list[Draft]) -> Iterator[tuple[list[Draft], int]]:
  """Where variables are created, at any depth: a span's items and the place among them."""
  return ((level, i) for level in _levels(items) for i, draft in enumerate(level) if draft.kind is Create)


def _levels(items: list[Draft]) -> Iterator[list[Draft]]:
  """The items of every span, outer ones first."""
  waiting = [items]
  while waiting:
    level = waiting.pop()
    yield level
    waiting.extend(draft.items for draft in reversed(level) if draft.items)
