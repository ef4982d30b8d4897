"""Everything that a trace tells, in order: spans as branches, events as leaves, with the user's lines.

This is the view that hides nothing; `minilinen trace` prints it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from minilinen.tracing.events import (
  Body,
  Call,
  Caught,
  Create,
  Key,
  Lift,
  Name,
  Path,
  Perturb,
  Read,
  Record,
  Run,
  Share,
  Sow,
  Span,
  Variable,
  Write,
)
from minilinen.tracing.trace import Trace

from .errors import NothingToDrawError
from .folding import Branch, Shown, folded
from .items import tree_name
from .outline import Cell, Column, Outline, Row
from .view import OutlineView
from .words import arguments, several, value_text


def timeline(
  trace: Trace,
  depth: int | None = None,
  *,
  fold: bool = True,
  table_kwargs: Mapping[str, Any] = {},
  column_kwargs: Mapping[str, Any] = {},
) -> OutlineView:
  """Every span and event of a trace in order, with what it says and the line of code that caused it.

  Args:
    trace: the trace.
    depth: how many levels of spans are opened; all if None.
    fold: whether equal spans of neighbours with numbered names become one row.
    table_kwargs: for the `rich.table.Table`.
    column_kwargs: for every `Table.add_column`.

  Raises:
    NothingToDrawError: if `trace` is no trace.
  """
  if not isinstance(trace, Trace):
    raise NothingToDrawError(
      "viz.timeline", "a Trace", trace, mend="a trace comes from nn.trace(model.init)(key, x) or nn.record()."
    )
  roots = _branches(trace)
  shown = folded(roots, depth=None if depth is None else depth - 1, fold=fold)
  notes = ["×n: that many equal spans in one row."] if any(len(s.copies) > 1 for s in shown) else []
  if any(not s.branch.item[0].holds for s in shown):
    notes.append(
      "~: only tried, in a pass over a body that another followed. What bears no mark there counts."
    )
  outline = Outline(
    title="Trace",
    heading="what",
    columns=(Column("says", "says", least=22), Column("line", "line", least=16)),
    rows=tuple(_row(s) for s in shown),
    notes=tuple(notes),
    shrink=(("", "indent"), ("line", "column"), ("says", "column")),
  )
  return OutlineView("trace", outline, table_kwargs, column_kwargs)


def _branches(trace: Trace) -> list[Branch]:
  top = Branch("")
  names = {model.tree.number: tree_name(model) for model in trace.models} if len(trace.trees) > 1 else {}
  stack: list[tuple[Branch, Record]] = [(top, r) for r in reversed(trace.items)]
  while stack:
    above, record = stack.pop()
    says = _says(record)
    if isinstance(record, Run) and len(trace.trees) > 1:
      says = (" ".join(filter(None, (*says, names.get(record.tree)))),)
    around = above.item[0].path if above.item is not None else Path()
    same = type(record), says, _line(record)
    if isinstance(record, Run):
      same = (*same, _in_a_row(above.children, same))
    above.children.append(branch := Branch(_label(record, around), (record, says), same))
    if isinstance(record, Span):
      stack.extend((branch, item) for item in reversed(record.items))
  return top.children


def _in_a_row(before: Sequence[Branch], same: tuple[Any, ...]) -> int:
  """The place from which on all runs are like this one: only those are one row, so that a loop is told in order."""
  last = before[-1].same if before else None
  return last[-1] if isinstance(last, tuple) and last[:-1] == same else len(before)


def _label(record: Record, around: Path) -> str:
  """What happened and to whom: "call Dense_0", "create params/kernel", "key dropout"."""
  trial = "" if record.holds else "~ trial" if isinstance(record, Body) else "~"
  return " ".join(part for part in (trial, _event(record), _name(record, around)) if part)


def _name(record: Record, around: Path = Path()) -> str:
  """The name a record goes by; of what is not of the module `around` it, with the path from there."""
  if isinstance(record, Run):
    return record.name
  if isinstance(record, Call):
    return record.path[-1] if record.path else record.module
  if isinstance(record, Lift):
    return record.kind if record.length is None else f"{record.kind} ×{record.length}"
  if isinstance(record, Body):
    return "" if record.name == "body" else record.name
  is_below = record.path[: len(around)] == around
  inside = Path(record.path[len(around) :]) if is_below else record.path
  if isinstance(record, Variable):
    return Path((record.collection, *inside, record.name)).bare
  if isinstance(record, Key):
    return f"{record.stream} of {inside.bare}" if inside else record.stream
  return record.path[-1] if record.path else "."


def _event(record: Record) -> str:
  """What happened, in a word."""
  return type(record).__name__.lower()


def _says(record: Record) -> tuple[str, ...]:
  """What a record says, from full to brief."""
  if isinstance(record, Span) and record.error is not None:
    return (f"left by {record.error}",)
  if isinstance(record, Run):
    return (record.module,) if record.module else ()
  if isinstance(record, Call):
    name = record.module if record.method == "__call__" else f"{record.module}.{record.method}"
    return _flow(name, arguments(record.args, record.kwargs), record.result)
  if isinstance(record, Lift):
    told = _flow(
      record.target.removesuffix(".__call__"), arguments(record.args, record.kwargs), record.result
    )
    return told if record.body_of is None else tuple(f"{text}, body as traced before" for text in told)
  if isinstance(record, Body):
    return _flow("", arguments(record.args, record.kwargs), record.result)[:-1]
  return _event_says(record)


def _event_says(record: Record) -> tuple[str, ...]:
  match record:
    case Name():
      return (f"{record.module}, {record.how}", record.module)
    case Create():
      axes = f" axes {value_text(record.axes)}" if record.axes is not None else ""
      return (f"{value_text(record.value)}{axes}", value_text(record.value))
    case Read():
      return (value_text(record.value),)
    case Write():
      before, after = value_text(record.before), value_text(record.after)
      return (after,) if before == after else (f"{before} → {after}", after)
    case Sow() | Perturb():
      return (value_text(record.value) + ("" if record.accepted else ", not accepted"),)
    case Key():
      served = f", served by {record.served}" if record.served != record.stream else ""
      steps = " → ".join(f"{kind} {'/'.join(map(str, parts))}" for kind, *parts in record.steps)
      return (f"number {record.counter}{served}: {steps}", f"number {record.counter}{served}")
    case Caught():
      return (f"{record.told.kind}: {record.told.message}", record.told.kind)
    case Share():
      return (f"also stands for {record.other.bare or '.'}",)
  return ()


def _flow(name: str, args: tuple[str, ...], result: Any) -> tuple[str, ...]:
  """What went in and out, in full; with fewer arguments; without the name; and what came out alone."""
  out = several(result) if isinstance(result, tuple) else value_text(result)
  texts = [f"{name}({text}) → {out}" for text in args or ("",)]
  return (*texts, f"({args[-1] if args else ''}) → {out}", f"→ {out}")


def _line(record: Record) -> str:
  source = record.source
  return f"{os.path.basename(source.file)}:{source.line}" if source is not None else ""


def _row(shown: Shown) -> Row:
  record, says = shown.branch.item
  cells = {"says": Cell(says), "line": Cell((_line(record),))}
  data = {
    "order": record.order,
    "event": _event(record),
    "path": record.path.bare,
    "name": _name(record),
    "times": len(shown.copies),
    "depth": shown.depth,
    "holds": record.holds,
    "says": says[0] if says else "",
    "source": str(record.source) if record.source is not None else None,
  }
  return Row(shown.label, shown.depth, shown.mark, cells, data)
