"""The table of a model: one row per module, with what goes in and out and what it owns.

`tabulate` is the view; `Module.tabulate` traces `init` abstractly and calls it. Rows stand as a tree, equal
blocks are folded, and a lifted module says how it is lifted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from minilinen.tracing.equations.formula import as_number
from minilinen.tracing.globs import matches
from minilinen.tracing.models import Model
from minilinen.tracing.paths import Path
from minilinen.tracing.spec import boxed
from minilinen.tracing.trace import Trace

from .costs import SHARE, Costs
from .costs import costs as costs_of
from .errors import NoMatchError, NothingToDrawError, UnknownColumnError
from .folding import Branch, Shown, folded, preorder
from .items import (
  Item,
  class_name,
  counted,
  inputs_text,
  lift_text,
  module_branch,
  module_text,
  outputs_text,
  root_label,
  sum_up,
  tree_notes,
)
from .layout import cut_end
from .outline import Cell, Column, Outline, Row
from .view import OutlineView
from .words import Amount, plain_count, printable, value_text, variables_text


def tabulate(
  trace: Trace,
  depth: int | None = None,
  show_repeated: bool = False,
  console_kwargs: Mapping[str, Any] | None = None,
  table_kwargs: Mapping[str, Any] = {},
  column_kwargs: Mapping[str, Any] = {},
  compute_flops: bool = False,
  compute_vjp_flops: bool = False,
  *,
  vjp_trace: Trace | None = None,
  fold: bool = True,
  rows: int | None = 32,
  sort: str | None = None,
  where: str | None = None,
  columns: Sequence[str] | None = None,
) -> OutlineView:
  """One row per module: path, class, inputs, outputs and the variables of each collection.

  A row's numbers are of the module and everything in it. Of equal neighbours with numbered names one row
  stands for all ("×6"). `str()` of the view is what Linen's `tabulate` returns.

  Args:
    trace: of a run of a model, abstract or real.
    depth: how many levels below the root get rows; all if None.
    show_repeated: whether a module that is called again gets a row again.
    console_kwargs: for the `rich.console.Console` that `str()` and `text()` write with.
    table_kwargs: for the `rich.table.Table`.
    column_kwargs: for every `Table.add_column`.
    compute_flops: whether to show the FLOPs of the forward pass, those of initializers apart, and each module's
      share of the whole.
    compute_vjp_flops: the same of the forward and the backward pass together.
    vjp_trace: a trace of the same modules' backward pass, where `trace` has none: `Module.tabulate` shows what `init`
      does, and takes these FLOPs from another run.
    fold: whether equal neighbours become one row.
    rows: where there would be more rows, a block built like one above in other sizes stays closed; never if None.
    sort: a column of numbers; of the modules in one module the largest comes first.
    where: a pattern of paths ("**/query"), or a class; only these modules have rows, one below the other.
    columns: the columns to show; all if None.

  Raises:
    NothingToDrawError: if `trace` is no trace, or no module ran in it.
    CostsMissingError: if it is asked for costs that the trace does not know.
    UnknownColumnError: if there is no column that is to be shown or sorted by.
    NoMatchError: if no module fits `where`.
  """
  if not isinstance(trace, Trace):
    mend = "viz.tree draws variables; a trace comes from nn.trace(model.init)(key, x) or nn.record()."
    raise NothingToDrawError("viz.tabulate", "a Trace", trace, mend=mend)
  found = trace.models
  if not found:
    raise NothingToDrawError(
      "viz.tabulate",
      "a trace in which a model ran",
      trace,
      mend="trace model.init or model.apply: nn.trace(model.init)(key, x).",
    )
  costs = costs_of(trace, compute_flops, vjp_trace or trace if compute_vjp_flops else None)
  outline = _outline(
    found, costs, show_repeated, _Choice(depth, fold, rows if fold else None, sort, where, columns)
  )
  return OutlineView("table", outline, table_kwargs, column_kwargs, console_kwargs or {})


@dataclass(frozen=True)
class _Choice:
  """What of the table is shown, as `tabulate` was asked for it."""

  depth: int | None
  fold: bool
  rows: int | None
  sort: str | None
  where: str | None
  columns: Sequence[str] | None


def _outline(found: Sequence[Model], costs: Costs, show_repeated: bool, choice: _Choice) -> Outline:
  roots = [module_branch(model, costs, show_repeated) for model in found]
  sum_up(roots)
  totals = counted(found)
  collections = _ordered(totals)
  name = " and ".join(dict.fromkeys(class_name(r.item) or "Model" for r in roots))
  columns = _chosen((*_columns(costs), *(Column(c, printable(c), least=28) for c in collections)), choice)
  if choice.sort is not None:
    _sort(roots, _sort_key(choice.sort, collections, costs))
  if choice.where is not None:
    roots = _matching(roots, choice.where)
  shown = folded(roots, depth=choice.depth, fold=choice.fold, rows=choice.rows)
  cells = {c: Cell(numbers=totals[c].numbers()) for c in collections}
  if costs.whole is not None:
    cells |= costs.cells(costs.whole)
  return Outline(
    title=f"{name} Summary",
    heading="path",
    columns=columns,
    rows=tuple(_row(s, collections, costs, len(found) > 1) for s in shown),
    totals=cells,
    notes=(*_notes(shown, totals, choice.depth), *tree_notes(found), *costs.notes()),
    shrink=_shrink(collections, costs),
    data={"totals": {c: totals[c].plain() for c in collections}},
  )


# What is shown, and in which order.


def _chosen(columns: tuple[Column, ...], choice: _Choice) -> tuple[Column, ...]:
  """The columns that were asked for, in that order."""
  if choice.columns is None:
    return columns
  by_name = {column.title: column for column in columns}
  for name in choice.columns:
    if name not in by_name and name != "path":
      raise UnknownColumnError(name, by_name, "columns")
  return tuple(by_name[name] for name in choice.columns if name != "path")


def _sort_key(name: str, collections: Sequence[str], costs: Costs) -> Callable[[Item], int]:
  """The number that a column has for a module, to sort by."""
  if name in collections:
    return lambda item: as_number(item.total.get(name, Amount()).count)
  key = f"\0{name}"
  if key not in costs.keys:
    raise UnknownColumnError(name, [*(k[1:] for k in costs.keys), *collections], "sort")
  return lambda item: as_number(item.counts.get(key, 0))


def _sort(roots: list[Branch], key: Callable[[Item], int]) -> None:
  """Sorts the branches below each branch, the largest first."""
  for branch in preorder(roots):
    branch.children.sort(key=lambda child: -key(child.item))
  roots.sort(key=lambda root: -key(root.item))


def _matching(roots: Sequence[Branch], where: str) -> list[Branch]:
  """The branches whose path or class fits, one below the other."""
  pattern = Path.of(where)
  found = [
    replace(branch, label=branch.item.node.path.bare or ".", children=[])
    for branch in preorder(roots)
    if class_name(branch.item) == where or matches(pattern, branch.item.node.path)
  ]
  if not found:
    paths = [branch.item.node.path.bare for branch in preorder(roots)]
    raise NoMatchError(where, [p for p in paths if p], "module")
  return found


def _ordered(collections: Mapping[str, Any]) -> list[str]:
  return sorted(collections, key=lambda c: (c != "params", c))


def _columns(costs: Costs) -> tuple[Column, ...]:
  """The columns that do not depend on the model."""
  return (
    Column("\0module", "module", least=24),
    Column("\0inputs", "inputs", least=18),
    Column("\0outputs", "outputs", least=18),
    *costs.columns(),
  )


def _shrink(collections: Sequence[str], costs: Costs) -> tuple[tuple[str, str], ...]:
  """What goes first: shapes of variables, then inputs and bytes, then digits; the module's class goes last."""
  first, others = collections[:1], [*reversed(collections[1:])]
  steps = [(c, "text") for c in others] + [(c, "text") for c in first]
  steps += [(c, "numbers") for c in others] + [("\0inputs", "column"), ("", "indent")]
  steps += [(key, "numbers") for key in costs.keys if key != SHARE]
  steps += [(c, "numbers") for c in (*others, *first)]
  steps += [(c, "column") for c in others[: max(0, len(others) - 1)]]
  steps += [(c, "numbers") for c in first] + [(c, "column") for c in others[-1:]]
  steps += [("\0outputs", "column"), *((key, "column") for key in costs.keys if key == SHARE), ("", "room")]
  return (*steps, *((c, "column") for c in first), ("\0module", "column"))


# From branches to rows.


def _row(shown: Shown, collections: Sequence[str], costs: Costs, several: bool) -> Row:
  item: Item = shown.branch.item
  cells = {
    "\0module": Cell(_module_cell(item)),
    "\0inputs": Cell(inputs_text(item)),
    "\0outputs": Cell(outputs_text(item)),
    **costs.cells(item.counts),
  }
  for c in collections:
    owned = {} if item.again else item.node.variables.get(c, {})
    total = item.total.get(c)
    if total is not None:
      cells[c] = Cell(variables_text(owned), total.numbers())
  label = shown.label if item.node.path else root_label(item.node.model, several)
  mark = f"{shown.mark} (again)".strip() if item.again else shown.mark
  return Row(label, shown.depth, mark, cells, _data(shown, collections) | _cost_data(item, costs))


def _module_cell(item: Item) -> tuple[str, ...]:
  """The class and how it is lifted; what is left last is how."""
  name, lifts = module_text(item), lift_text(item.entry)
  if not lifts:
    return (name,)
  return (f"{name} {lifts}", f"{cut_end(name, 8)} {lifts}", f"{cut_end(name, 4)} {lifts}", lifts)


def _data(shown: Shown, collections: Sequence[str]) -> dict[str, Any]:
  """The row as plain data."""
  item: Item = shown.branch.item
  entry = item.entry
  return {
    "path": item.node.path.bare,
    "tree": item.node.tree,
    "names": [copy.label for copy in shown.copies],
    "times": len(shown.copies),
    "depth": shown.depth,
    "closed": shown.closed,
    "module": class_name(item),
    "method": entry.method if entry is not None else "",
    "calls": len(item.node.entries),
    "lifts": [
      {"kind": lift.kind, "length": lift.length} for lift in (entry.lifts if entry is not None else ())
    ],
    "inputs": "".join(inputs_text(item)[:1]),
    "outputs": "".join(outputs_text(item)[:1]),
    "collections": {c: _collection_data(item, c) for c in collections if c in item.total},
  }


def _cost_data(item: Item, costs: Costs) -> dict[str, Any]:
  counts = {key[1:]: item.counts.get(key, 0) for key in costs.keys if key != SHARE}
  return {name: plain_count(count) for name, count in counts.items()}


def _collection_data(item: Item, collection: str) -> dict[str, Any]:
  owned = item.node.variables.get(collection, {})
  total = item.total[collection]
  return {
    "variables": {name: value_text(boxed(value)[0]) for name, value in owned.items()},
    **total.plain(),
  }


def _notes(shown: Sequence[Shown], totals: Mapping[str, Amount], depth: int | None) -> tuple[str, ...]:
  whole = sum(totals.values(), Amount())
  parts = ", ".join(f"{c} {totals[c]}" for c in _ordered(totals)) if len(totals) > 1 else ""
  notes = [f"Total Parameters: {whole}" + (f" = {parts}" if parts else "")]
  if any(len(s.copies) > 1 for s in shown):
    notes.append("×n: that many equal modules in one row; its numbers are of one of them.")
  if any(s.closed == "alike" for s in shown):
    notes.append("⋯ built like that class above, in other sizes; rows=None opens all.")
  if any(s.closed == "depth" for s in shown):
    notes.append(f"⋯ has modules inside, below depth={depth}.")
  return tuple(notes)
