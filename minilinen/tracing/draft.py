"""May be skipped: which of several passes over a body holds, and how drafts become records.

While somebody records, the recorder keeps drafts, for a span learns its result at its end. When somebody looks, it is
decided which drafts hold, they are numbered and become records. Python may run a body several times; all passes are
kept, and `_aside` is the one place that decides what of them holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from minilinen.tracing.events import Body, Call, Caught, Create, Lift, Record, Run, Span
from minilinen.tracing.uncollected import uncollected

# Of the very many drafts of events; they stay empty.
_NO_ITEMS: list[Draft] = []
_NO_PASSES: dict[str, list[Draft]] = {}


class Draft:
  """A record in the making; a span may still be told more while it is open.

  Attributes:
    kind: the record's class.
    fields: its constructor's arguments, without `order`, `span`, `items` and `holds`.
    items: what happened in it; stays empty for an event.
    passes: of a lift, the passes over each body by name.
    order: the record's number, -1 as long as it has none.
    holds: whether it holds, as far as is known.
    stands_for: of a run or call in a pass that does not hold, its like in the one that does, if it has one.
  """

  __slots__ = ("kind", "fields", "items", "passes", "order", "holds", "stands_for")

  def __init__(self, kind: type[Record], fields: dict[str, Any]):
    self.kind = kind
    self.fields = fields
    self.items: list[Draft] = [] if issubclass(kind, Span) else _NO_ITEMS
    self.passes: dict[str, list[Draft]] = {} if kind is Lift else _NO_PASSES
    self.order = -1
    self.holds = True
    self.stands_for: Draft | None = None

  def set(self, **fields: Any) -> None:
    """Says more about the span."""
    self.fields.update(fields)

  @property
  def variable(self) -> tuple[Any, ...]:
    """Which variable an event is about."""
    return self.fields["path"], self.fields.get("collection"), self.fields.get("name")


@uncollected()
def settled(drafts: list[Draft]) -> list[tuple[Draft, int]]:
  """All drafts depth first, each with the number of the span around it; it is decided now which of them hold."""
  aside = _aside(drafts)
  numbered: list[tuple[Draft, int]] = []
  waiting = [(draft, -1) for draft in reversed(drafts)]
  while waiting:
    draft, span = waiting.pop()
    order = draft.order = len(numbered)
    draft.holds = draft not in aside
    numbered.append((draft, span))
    waiting.extend([(inner, order) for inner in reversed(draft.items)])
  _count_calls(drafts)
  _find_bodies([draft for draft, _ in numbered])
  return numbered


@uncollected()
def records_of(numbered: list[tuple[Draft, int]]) -> tuple[Record, ...]:
  """Records of drafts that are settled."""
  inside: dict[int, list[Record]] = {}
  for order in range(len(numbered) - 1, -1, -1):
    draft, span = numbered[order]
    known: dict[str, Any] = {"order": order, "span": span, "holds": draft.holds, **draft.fields}
    if "keys" in known:
      known["keys"] = tuple(key.order for key in known["keys"])
    if issubclass(draft.kind, Span):
      known["items"] = tuple(reversed(inside.pop(order, ())))
    inside.setdefault(span, []).append(draft.kind(**known))
  return tuple(reversed(inside.pop(-1, ())))


def _count_calls(drafts: list[Draft]) -> None:
  """Tells each call how many of its like came before it in its run.

  A pass that does not hold counts by itself, from where it begins: a call in it stands for the one of the same number
  in the pass that holds. So do the runs in it, and the calls in these.
  """
  counts: Counter[Any] = Counter()
  known: dict[Any, int] = {}
  held: dict[Any, Draft] = {}
  others: list[tuple[Any, Draft]] = []
  waiting: list[tuple[Draft, Any, tuple[Draft | None, ...]]]
  waiting = [(draft, None, (None,)) for draft in reversed(drafts)]
  while waiting:
    draft, run, asides = waiting.pop()
    if draft.kind is Body and not draft.holds:
      asides = (*asides, draft)
    elif draft.kind in (Run, Call):
      what = (draft.fields[name] for name in (("name",) if draft.kind is Run else ("path", "method")))
      like = (run, *what)
      number = sum(counts[aside, like] for aside in asides)
      counts[asides[-1], like] += 1
      if draft.kind is Run:
        run = known.setdefault((like, number), len(known))
      else:
        draft.fields["number"] = number
      if draft.holds:
        held[like, number] = draft
      else:
        others.append(((like, number), draft))
    waiting.extend([(inner, run, asides) for inner in reversed(draft.items)])
  for like_number, draft in others:
    draft.stands_for = held.get(like_number)


def _find_bodies(drafts: list[Draft]) -> None:
  """Tells each `jit` that has no body, since JAX knew it, which one has it: the last like it that was traced."""
  traced: dict[Any, Draft] = {}
  for draft in drafts:
    if draft.kind is Lift and draft.fields["kind"] == "jit":
      what = (
        str(draft.fields.get(name)) for name in ("path", "target", "module", "static", "args", "kwargs")
      )
      like = tuple(what)
      if draft.passes:
        traced[like] = draft
      elif like in traced and "result" in draft.fields:
        draft.fields["body_of"] = traced[like].order


def _aside(drafts: list[Draft]) -> set[Draft]:
  """The drafts that do not hold.

  Of several passes over a body the last holds, and of the others only what it took from them: the variables that they
  created and it did not, with the keys drawn for these. A scan makes the variables that all its steps share in the
  first pass, a `map_variables` that initialises makes all. A mistake holds where it was made first, if the last pass
  does not make it again.
  """
  aside: set[Draft] = set()
  for lift in reversed([draft for draft in _below(drafts) if draft.passes]):
    for *earlier, last in lift.passes.values():
      if earlier:
        taken = {_what(draft) for draft in _below([last]) if draft not in aside}
        for body in earlier:
          aside |= _not_taken(body, taken, aside)
  return aside


def _not_taken(body: Draft, taken: set[Any], aside: set[Draft]) -> set[Draft]:
  """What does not hold of an earlier pass; `taken` has what later ones do themselves, and learns what holds."""
  within = list(_below([body]))
  holds: set[Draft] = set()
  for draft in within:
    if draft.kind in (Create, Caught) and draft not in aside and _what(draft) not in taken:
      taken.add(_what(draft))
      holds |= {draft, *draft.fields.get("keys", ())}
  return {draft for draft in within if draft not in holds}


def _what(draft: Draft) -> Any:
  """What a creation makes, or a mistake says; None of all else."""
  return draft.variable if draft.kind is Create else draft.fields["told"] if draft.kind is Caught else None


def _below(drafts: list[Draft]) -> Iterator[Draft]:
  """Drafts and all that is in them, depth first.

  Over a list and not over itself, so that the depth of the nesting is no limit.
  """
  waiting = list(reversed(drafts))
  while waiting:
    draft = waiting.pop()
    yield draft
    waiting.extend(reversed(draft.items))
