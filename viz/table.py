"""The table of a model: one row per module, with what goes in and out and what it owns.

`tabulate` is the view; `Module.tabulate` traces `init` abstractly and calls it. Rows stand as a tree, equal
blocks are folded, and a lifted module says how it is lifted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minilinen.trace.events import Lift
from minilinen.trace.trace import Trace
from viz.errors import CostsMissingError, NothingToDrawError
from viz.folding import Branch, Shown, folded, preorder
from viz.layout import cut_end
from viz.modules import Entry, Model, ModuleNode, models
from viz.outline import Cell, Column, Outline, Row
from viz.view import OutlineView
from viz.words import Amount, amount, arguments, boxed, printable, value_text, variables_text


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
  fold: bool = True,
  rows: int | None = 32,
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
    compute_flops, compute_vjp_flops: whether to show costs, which a trace does not tell.
    fold: whether equal neighbours become one row.
    rows: where there would be more rows, a block built like one above in other sizes stays closed; never if None.

  Raises:
    NothingToDrawError: if `trace` is no trace, or no module ran in it.
    CostsMissingError: if costs are asked for.
  """
  if compute_flops or compute_vjp_flops:
    raise CostsMissingError()
  if not isinstance(trace, Trace):
    mend = "viz.tree draws variables; a trace comes from nn.trace(model.init)(key, x) or nn.record()."
    raise NothingToDrawError("viz.tabulate", "a Trace", trace, mend=mend)
  found = models(trace)
  if not found:
    raise NothingToDrawError(
      "viz.tabulate",
      "a trace in which a model ran",
      trace,
      mend="trace model.init or model.apply: nn.trace(model.init)(key, x).",
    )
  outline = _outline(found, depth, show_repeated, fold, rows if fold else None)
  return OutlineView("table", outline, table_kwargs, column_kwargs, console_kwargs or {})


@dataclass(eq=False)
class _Item:
  """What a row is made of.

  Attributes:
    node: the module.
    entry: how it was entered; None if it never was.
    again: whether this is a later call of the same module.
    total: collection -> how much the module and all below it own.
  """

  node: ModuleNode
  entry: Entry | None
  again: bool = False
  total: dict[str, Amount] = field(default_factory=dict)


def _outline(
  found: Sequence[Model], depth: int | None, show_repeated: bool, fold: bool, rows: int | None
) -> Outline:
  roots = [_branch(model.root, show_repeated) for model in found]
  _sum_up(roots)
  totals: dict[str, Amount] = {}
  for root in roots:
    for collection, part in root.item.total.items():
      totals[collection] = totals.get(collection, Amount()) + part
  collections = _ordered(totals)
  shown = folded(roots, depth=depth, fold=fold, rows=rows)
  name = " and ".join(dict.fromkeys(_class(r.item) or "Model" for r in roots))
  return Outline(
    title=f"{name} Summary",
    heading="path",
    columns=_columns(collections),
    rows=tuple(_row(s, collections) for s in shown),
    totals={c: Cell(numbers=totals[c].numbers()) for c in collections},
    notes=_notes(shown, totals, depth),
    shrink=_shrink(collections),
    data={"totals": {c: {"count": totals[c].count, "bytes": totals[c].nbytes} for c in collections}},
  )


def _ordered(collections: Mapping[str, Any]) -> list[str]:
  return sorted(collections, key=lambda c: (c != "params", c))


def _columns(collections: Sequence[str]) -> tuple[Column, ...]:
  fixed = (
    Column("\0module", "module", least=24),
    Column("\0inputs", "inputs", least=18),
    Column("\0outputs", "outputs", least=18),
  )
  return (*fixed, *(Column(c, printable(c), least=28) for c in collections))


def _shrink(collections: Sequence[str]) -> tuple[tuple[str, str], ...]:
  """What goes first: shapes of variables, then inputs and bytes, then digits; the module's class goes last."""
  first, others = collections[:1], [*reversed(collections[1:])]
  steps = [(c, "text") for c in others] + [(c, "text") for c in first]
  steps += [(c, "numbers") for c in others] + [("\0inputs", "column"), ("", "indent")]
  steps += [(c, "numbers") for c in (*others, *first)]
  steps += [(c, "column") for c in others[: max(0, len(others) - 1)]]
  steps += [(c, "numbers") for c in first] + [(c, "column") for c in others[-1:]]
  steps += [("\0outputs", "column"), ("", "room")]
  return (*steps, *((c, "column") for c in first), ("\0module", "column"))


# From modules to branches.


def _branch(root: ModuleNode, show_repeated: bool) -> Branch:
  """A module and everything below it as branches."""
  top = _new(root, root.entries[0] if root.entries else None, False)
  stack = [top]
  while stack:
    branch = stack.pop()
    for child in branch.item.node.children.values():
      entries = child.entries or [None]
      made = _new(child, entries[0], False)
      branch.children.append(made)
      stack.append(made)
      if show_repeated:
        branch.children.extend(_new(child, entry, True) for entry in entries[1:])
  return top


def _new(node: ModuleNode, entry: Entry | None, again: bool) -> Branch:
  item = _Item(node, entry, again)
  owned = {} if again else node.variables
  same = (
    _module_text(item), _lift_text(entry), _inputs(item), _outputs(item), again,
    tuple((c, variables_text(v)[:1]) for c, v in owned.items()),
  )  # fmt: skip
  alike = (_module_text(item), _lift_text(entry), again, tuple((c, tuple(v)) for c, v in owned.items()))
  return Branch(node.name or ".", item, same, alike)


def _sum_up(roots: Sequence[Branch]) -> None:
  """Finds how much each module owns with everything below it."""
  for branch in reversed(preorder(roots)):
    item = branch.item
    if item.again:
      continue
    for collection, variables in item.node.variables.items():
      for value in variables.values():
        item.total[collection] = item.total.get(collection, Amount()) + amount(boxed(value)[0])
    for child in branch.children:
      for collection, part in child.item.total.items():
        item.total[collection] = item.total.get(collection, Amount()) + part


# From branches to rows.


def _class(item: _Item) -> str:
  return item.entry.module if item.entry is not None else ""


def _module_text(item: _Item) -> str:
  """The class, and in brackets a method other than `__call__`; with "+" those called besides."""
  entry = item.entry
  if entry is None:
    return ""
  if item.again:
    return entry.module + _method(entry.method)
  others = dict.fromkeys(e.method for e in item.node.entries)
  others.pop(entry.method, None)
  return entry.module + _method(entry.method) + "".join(f" (+{m})" if m != "__call__" else "" for m in others)


def _method(name: str) -> str:
  return "" if name == "__call__" else f" ({name})"


def _lift_text(entry: Entry | None) -> str:
  """How a module is lifted, outermost transform first: "scan ×12 remat"."""
  lifts = entry.lifts if entry is not None else ()
  return " ".join(_one_lift(lift) for lift in lifts)


def _one_lift(lift: Lift) -> str:
  return lift.kind if lift.length is None else f"{lift.kind} ×{lift.length}"


def _inputs(item: _Item) -> tuple[str, ...]:
  return arguments(item.entry.args, dict(item.entry.kwargs)) if item.entry is not None else ()


def _outputs(item: _Item) -> tuple[str, ...]:
  if item.entry is None:
    return ()
  result, error = item.entry.result, item.entry.error
  if error is not None:
    return (f"left by {error}", error.partition(":")[0])
  if isinstance(result, tuple):
    return arguments(result, {})
  return (value_text(result),)


def _row(shown: Shown, collections: Sequence[str]) -> Row:
  item: _Item = shown.branch.item
  cells = {
    "\0module": Cell(_module_cell(item)),
    "\0inputs": Cell(_inputs(item)),
    "\0outputs": Cell(_outputs(item)),
  }
  for c in collections:
    owned = {} if item.again else item.node.variables.get(c, {})
    total = item.total.get(c)
    if total is not None:
      cells[c] = Cell(variables_text(owned), total.numbers())
  label = "." if not item.node.path else shown.label
  mark = f"{shown.mark} (again)".strip() if item.again else shown.mark
  return Row(label, shown.depth, mark, cells, _data(shown, collections))


def _module_cell(item: _Item) -> tuple[str, ...]:
  """The class and how it is lifted; what is left last is how."""
  name, lifts = _module_text(item), _lift_text(item.entry)
  if not lifts:
    return (name,)
  return (f"{name} {lifts}", f"{cut_end(name, 8)} {lifts}", f"{cut_end(name, 4)} {lifts}", lifts)


def _data(shown: Shown, collections: Sequence[str]) -> dict[str, Any]:
  """The row as plain data."""
  item: _Item = shown.branch.item
  entry = item.entry
  return {
    "path": "/".join(item.node.path),
    "names": [copy.label for copy in shown.copies],
    "times": len(shown.copies),
    "depth": shown.depth,
    "closed": shown.closed,
    "module": _class(item),
    "method": entry.method if entry is not None else "",
    "calls": len(item.node.entries),
    "lifts": [
      {"kind": lift.kind, "length": lift.length} for lift in (entry.lifts if entry is not None else ())
    ],
    "inputs": "".join(_inputs(item)[:1]),
    "outputs": "".join(_outputs(item)[:1]),
    "collections": {c: _collection_data(item, c) for c in collections if c in item.total},
  }


def _collection_data(item: _Item, collection: str) -> dict[str, Any]:
  owned = item.node.variables.get(collection, {})
  total = item.total[collection]
  return {
    "variables": {name: value_text(boxed(value)[0]) for name, value in owned.items()},
    "count": total.count,
    "bytes": total.nbytes,
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
