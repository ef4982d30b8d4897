"""Two places that drew the same key.

Without the setting `fix_rng_separator` the names of a path run together before they are hashed, as in Flax: the
paths ("ab", "c") and ("a", "bc") give one key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from minilinen.tracing.events import Key, Record, Run
from minilinen.tracing.rebuilt import model_records
from minilinen.tracing.told import Told


def colliding_keys(items: Iterable[Record]) -> Iterator[Told]:
  """Finds keys that are equal though they were drawn by different names."""
  first: dict[Any, Key] = {}
  run, tree = -1, None
  for record in model_records(items, bodies=True):
    if isinstance(record, Run):
      run, tree = record.order, record.tree
    if not isinstance(record, Key):
      continue
    other = first.setdefault((run, record.served, tuple(map(_run_together, record.steps))), record)
    if other.steps != record.steps:
      yield Told(
        "KeyCollisionWarning",
        record.path,
        record.source,
        f"{str(record.path)!r} and {str(other.path)!r} draw the same key of the stream {record.served!r}:"
        " their names run together to one text.",
        "a key of its own for each",
        f"{_names(record)} and {_names(other)}",
        'nn.config.update("fix_rng_separator", True)',
        tree,
      )


def _run_together(step: tuple[Any, ...]) -> Any:
  """A step of a derivation as the hash sees it."""
  kind, *parts = step
  if kind != "fold":
    return step
  return b"".join(
    part.encode() if isinstance(part, str) else part.to_bytes((part.bit_length() + 7) // 8, "big")
    for part in parts
  )


def _names(record: Key) -> str:
  return " then ".join(str(step[1:]) for step in record.steps)
