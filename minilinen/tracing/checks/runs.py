"""What went wrong while it happened, what ended a run, and runs that JAX traces again and again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from minilinen.tracing.events import Call, Caught, Record, Run, Span, depth_first
from minilinen.tracing.paths import ROOT
from minilinen.tracing.rebuilt import model_records
from minilinen.tracing.told import Told


def whole_runs(items: Iterable[Record]) -> Iterator[tuple[Run, list[Record]]]:
  """The outermost runs that came to their end and called the whole model, each with its records.

  A run of another method than `__call__` may well leave out parts of a model.
  """
  items = tuple(items)
  outermost = {record.order for record in model_records(items, bodies=False) if isinstance(record, Run)}
  for run, records in every_run(items):
    if run.order not in outermost:
      continue
    called = next((item for item in run.items if isinstance(item, Call)), None)
    if run.error is None and called is not None and called.method == "__call__" and called.path == ():
      yield run, records


def every_run(items: Iterable[Record]) -> Iterator[tuple[Run, list[Record]]]:
  """Every run that holds with its records that do, without those of runs inside of it, which are on other trees."""
  found: dict[int, tuple[Run, list[Record]]] = {}
  for record, run in _with_runs(items):
    if isinstance(record, Run):
      found[record.order] = record, []
    elif run is not None and record.holds:
      found[run.order][1].append(record)
  yield from (pair for pair in found.values() if pair[0].holds)


def _with_runs(items: Iterable[Record]) -> Iterator[tuple[Record, Run | None]]:
  """Every record, depth first, with the innermost run that it is of, which a run is itself; None outside of all."""
  around: dict[int, Run | None] = {-1: None}
  for record in depth_first(items):
    run = record if isinstance(record, Run) else around[record.span]
    if isinstance(record, Span):
      around[record.order] = run
    yield record, run


def with_branches(paths: Iterable[tuple[str, ...]]) -> set[tuple[str, ...]]:
  """Paths and everything above them; of a path whose branches are known already, nothing is looked at twice."""
  found: set[tuple[str, ...]] = set()
  for path in paths:
    while path not in found:
      found.add(path)
      path = path[:-1]
  return found


def caught_mistakes(items: Iterable[Record]) -> Iterator[Told]:
  """Gives the warnings that were shown while the trace was recorded."""
  for record, run in _with_runs(items):
    if isinstance(record, Caught) and record.holds:
      yield replace(record.told, tree=run.tree if run is not None and run.holds else None)


def ended_runs(items: Iterable[Record]) -> Iterator[Told]:
  """Finds runs that an exception ended, or a call in a bound module, and the innermost span that it left."""
  for run in model_records(items, bodies=True):
    if isinstance(run, Run):
      for span in _with_bound(run):
        if span.error is not None:
          kind, _, message = span.error.partition(": ")
          inner, tree = _innermost(span, span.error, run.tree)
          yield Told(kind, inner.path, inner.source, message or kind, tree=tree)


def _with_bound(span: Span) -> Iterator[Span]:
  """A span, or what is in it if it is a bound module's run: no exception leaves that, as it is left open."""
  if isinstance(span, Run) and span.name == "bind":
    yield from (item for item in span.items if isinstance(item, Span))
  else:
    yield span


def _innermost(span: Span, error: str, tree: int) -> tuple[Span, int]:
  """The innermost span that an exception left, and the tree that this is on."""
  for item in span.items:
    its = item.tree if isinstance(item, Run) else tree
    for below in _with_bound(item) if isinstance(item, Span) else ():
      if below.error is not None and error.startswith(below.error.removesuffix(".")):
        return _innermost(below, error, its)  # on its way out a text may have grown at its end
  return span, tree


_OFTEN = 3


def retraced_runs(items: Iterable[Record]) -> Iterator[Told]:
  """Finds runs that one line of code starts under several calls of `jax.jit`: each is traced and compiled anew."""
  alike: dict[tuple[object, ...], list[Run]] = defaultdict(list)
  for record in model_records(items, bodies=False):
    if isinstance(record, Run) and record.jitted and record.source is not None:
      alike[record.source, record.name, record.module, str(record.mutable)].append(record)
  for (_, name, module, _), runs in alike.items():
    if (times := len({run.jitted for run in runs})) >= _OFTEN:
      inputs = list(dict.fromkeys(_inputs(run) for run in runs))
      what = f"a bound {module}" if name == "bind" else f"{name} of {module}"
      found, mend = _why_again(inputs, len({run.jitted_function for run in runs}))
      yield Told(
        "RetracedWarning",
        ROOT,
        runs[0].source,
        f"{what} is traced {times} times from one line, for "
        + ("the same inputs." if len(inputs) == 1 else f"{len(inputs)} different inputs."),
        "one compiled function that is called many times",
        found,
        mend,
        runs[0].tree if len({run.tree for run in runs}) == 1 else None,
      )


def _why_again(inputs: Sequence[str], functions: int) -> tuple[str, str]:
  """Why JAX traced a run again, and what to do about it."""
  if len(inputs) > 1:
    return ", ".join(inputs[:4]), "pad the inputs to one shape, or to a few"
  if functions > 1:
    return "a new function for each call", "call jax.jit once, outside of the loop"
  return (
    "one jitted function, called with other arguments besides: static ones, or of another structure, shape or dtype",
    "pass as arrays of one shape what changes from call to call",
  )


def _inputs(run: Run) -> str:
  called = next((item for item in run.items if isinstance(item, Call)), None)
  return f"({', '.join(map(str, called.args))})" if called is not None else "()"
