"""The same key twice: drawn by two places of a run, by one in several runs, or in every step of a loop around.

Without the setting `fix_rng_separator` the names of a path run together before they are hashed, as in Flax: the
paths ("ab", "c") and ("a", "bc") give one key.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from minilinen.tracing.checks.runs import every_run
from minilinen.tracing.events import Call, Key, Record, Run
from minilinen.tracing.identity import VariableTree
from minilinen.tracing.rebuilt import model_records
from minilinen.tracing.told import Told


def colliding_keys(items: Iterable[Record]) -> Iterator[Told]:
  """Finds keys that are equal though they were drawn by different names."""
  first: dict[Any, Key] = {}
  keys = ((run, record) for run, records in every_run(items) for record in records if isinstance(record, Key))
  for run, record in keys:
    other = first.setdefault((run.order, record.served, tuple(map(_run_together, record.steps))), record)
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
        run.tree,
      )


def same_keys(items: Iterable[Record], trees: Sequence[VariableTree]) -> Iterator[Told]:
  """Finds runs of one model that drew the same keys, so that a place has the same random numbers in each.

  It may be meant: a gradient is checked, a loss is asked for its value again. `init` and `apply` may share a key, and
  so may two models: what has no variables is another if its fields differ. The keys of parameters are to be the same.
  """
  family = _families(trees)
  drawn: dict[Any, dict[int, tuple[Run, Key]]] = defaultdict(dict)
  for run in model_records(items, bodies=False):
    if isinstance(run, Run) and run.name == "apply" and run.roots:
      model = family.get(run.tree, run.tree) if run.given else _fields(run)
      for key in model_records(run.items, bodies=True):
        if isinstance(key, Key) and key.stream != "params" and key.served in run.roots:
          what = model, run.module, run.roots[key.served], key.stream, key.steps
          drawn[what].setdefault(run.order, (run, key))
  told: set[Any] = set()
  for (_, module, _, stream, _), keys in drawn.items():
    if len(keys) > 1 and (stream, *keys) not in told:
      told.add((stream, *keys))
      (first, key), *_, (last, _) = keys.values()
      yield Told(
        "SameKeyHint",
        key.path,
        last.source,
        f"{len(keys)} runs of {module or 'a function'} draw the same keys of the stream {stream!r}: the random numbers"
        " are the same in each, the masks of a dropout for one.",
        "a key of its own for each run, if they shall differ",
        f"one key for all of them, first in {first.source or 'the first'}",
        f'rngs={{"{key.served}": jax.random.fold_in(key, step)}}',
        last.tree if all(run.tree == last.tree for run, _ in keys.values()) else None,
      )


def _fields(run: Run) -> str:
  """The fields of the model of a run, as text."""
  return next((str(item.fields) for item in run.items if isinstance(item, Call)), "")


def repeated_keys(items: Iterable[Record]) -> Iterator[Told]:
  """Finds runs in a loop or `jax.vmap` that draw in every step, or for every element, from one key of outside.

  A key that the body of a loop computes itself is not told of, though it may be the same in every step too.
  """
  for run in model_records(items, bodies=False):
    if isinstance(run, Run) and run.name == "apply" and run.repeats:
      first: dict[str, Key] = {}
      for key in model_records(run.items, bodies=True):
        if isinstance(key, Key) and key.stream != "params" and key.served in run.repeats:
          first.setdefault(key.stream, key)
      for stream, key in first.items():
        transform = run.repeats[key.served]
        loop, each, mend = _EACH[transform]
        yield Told(
          "SameKeyHint",
          key.path,
          run.source,
          f"{run.module or 'A function'} runs in {loop} and draws the same keys of the stream {stream!r} for every"
          f" {each}: the random numbers are the same in each, the masks of a dropout for one.",
          f"a key of its own for each {each}, if they shall differ",
          "one key for all of them, from outside of it",
          mend.replace("STREAM", key.served),
          run.tree,
        )


_EACH = {
  "jax.vmap": ("jax.vmap", "element", "map over the keys jax.random.split(key, len(xs)) too"),
  "jax.lax.scan": (
    "a jax.lax.scan or map",
    "step",
    "loop over the keys too: (xs, jax.random.split(key, len(xs)))",
  ),
  "jax.lax.fori_loop": ("jax.lax.fori_loop", "step", 'rngs={"STREAM": jax.random.fold_in(key, i)}'),
  "jax.lax.while_loop": (
    "jax.lax.while_loop",
    "step",
    'rngs={"STREAM": jax.random.fold_in(key, i)}, with a counter i in what is carried',
  ),
}


def _families(trees: Sequence[VariableTree]) -> dict[int, int]:
  """For each tree the first that it was computed from, over others perhaps."""
  family: dict[int, int] = {}
  for tree in trees:
    family[tree.number] = min((family.get(n, n) for n in tree.derived_from), default=tree.number)
  return family


def _run_together(step: tuple[Any, ...]) -> Any:
  """A step of a derivation as the hash sees it."""
  kind, *parts = step
  if kind != "fold":
    return step
  return b"".join(
    part.encode(errors="surrogatepass")
    if isinstance(part, str)
    else part.to_bytes((part.bit_length() + 7) // 8, "big")
    for part in parts
  )


def _names(record: Key) -> str:
  return " then ".join(str(step[1:]) for step in record.steps)
