"""The tree of variables: by collection, module and name, with shape, dtype, bytes and totals per branch.

`tree` draws what `init` returns, any other pytree (gradients, optimizer states, shapes of them), and the variables
that a trace tells of.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from minilinen.core.meta import AxisMetadata, unbox
from minilinen.trace.globs import matches, split_path
from minilinen.trace.spec import Node, Opaque, Spec, Value, boxed, describe
from minilinen.trace.trace import Trace
from viz.errors import NoMatchError, NothingToDrawError
from viz.folding import Branch, Shown, folded, natural, preorder
from viz.outline import Cell, Column, Outline, Row
from viz.view import OutlineView
from viz.words import Amount, amount, bytes_text, value_text


def tree(
  variables: Any,
  pattern: str | None = None,
  depth: int | None = None,
  *,
  fold: bool = True,
  table_kwargs: Mapping[str, Any] = {},
  column_kwargs: Mapping[str, Any] = {},
) -> OutlineView:
  """One row per variable, and one per branch with the total of what is below.

  Args:
    variables: nested dicts of arrays, `ShapeDtypeStruct`s, `Spec`s or boxes, any other pytree, or a `Trace`.
    pattern: which variables to show, as collection/path/name: "params/**/kernel". "*" stands for one
      level or a part of it, "**" for any number of levels.
    depth: how many levels get rows; all if None.
    fold: whether equal neighbours with numbered names become one row.
    table_kwargs: for the `rich.table.Table`.
    column_kwargs: for every `Table.add_column`.

  Raises:
    NoMatchError: if there are variables and the pattern fits none.
    NothingToDrawError: if `variables` is no tree.

  >>> import numpy as np
  >>> view = tree({"params": {"Dense_0": {"kernel": np.ones((3, 4)), "bias": np.ones(4)}}}, "params/**/kernel")
  >>> [row["path"] for row in view.to_rows()]
  ['params', 'params/Dense_0', 'params/Dense_0/kernel']
  """
  source = _source(variables)
  roots = _branches(source)
  if pattern is not None:
    roots = _matching(roots, pattern)
  total = _sum_up(roots)
  shown = folded(roots, depth=None if depth is None else depth - 1, fold=fold)
  return OutlineView("tree", _outline(shown, total, pattern), table_kwargs, column_kwargs)


def _source(variables: Any) -> Any:
  """The tree to walk: a trace's variables in their boxes, or what was passed."""
  if isinstance(variables, Trace):
    tree: dict[str, Any] = {}
    for found in variables.find():
      branch = tree
      for name in found.place[:-1]:
        branch = branch.setdefault(name, {})
      branch[found.name] = _Boxed(found.value, found.axes) if found.axes is not None else found.value
    return tree
  if variables is None or isinstance(variables, (str, bytes, int, float)) or callable(variables):
    raise NothingToDrawError(
      "viz.tree", "variables (nested dicts of arrays) or a Trace", variables,
      mend="pass what model.init returns, or a trace: nn.trace(model.init)(key, x).",
    )  # fmt: skip
  return variables


@dataclass(frozen=True)
class _Boxed:
  """A variable of a trace that has axis names."""

  value: Value
  names: Value


@dataclass(eq=False)
class _Item:
  """A node of the tree: its path, its value if it is a leaf, and how much is below."""

  path: tuple[str, ...]
  value: Value = None
  axes: Value = None
  leaf: bool = False
  total: Amount = field(default_factory=Amount)


def _branches(source: Any) -> list[Branch]:
  """The tree as branches, in natural order, params first."""
  top = Branch("", _Item(()))
  stack: list[tuple[Branch, Any]] = [(top, source)]
  while stack:
    branch, value = stack.pop()
    parts = _parts(value)
    if parts is None or (not parts and branch is not top):
      _make_leaf(branch, value)
      continue
    for name in sorted(parts, key=natural):
      child = Branch(name, _Item((*branch.item.path, name)))
      branch.children.append(child)
      stack.append((child, parts[name]))
  if top.item.leaf:
    return [top]
  top.children.sort(key=lambda b: b.label != "params")
  return top.children


def _parts(value: Any) -> dict[str, Any] | None:
  """What is one level inside a value, None if it is a leaf."""
  if isinstance(value, Mapping):
    return {str(k): v for k, v in value.items()}
  if isinstance(value, Node):
    return None if boxed(value)[0] is not value else dict(value.parts)
  if value is None or isinstance(value, (Spec, Opaque, _Boxed, AxisMetadata)):
    return None
  if isinstance(value, tuple) and hasattr(value, "_fields"):
    return dict(zip(value._fields, value))  # type: ignore[attr-defined]
  if isinstance(value, (tuple, list)):
    return {str(i): v for i, v in enumerate(value)}
  children = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda x: x is not value)[0]
  if not children or (len(children) == 1 and not children[0][0]):
    return None
  return {_key(path): child for path, child in children}


def _key(path: Sequence[Any]) -> str:
  return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def _make_leaf(branch: Branch, value: Any) -> None:
  if isinstance(value, _Boxed):
    value, axes = value.value, value.names
  elif isinstance(value, AxisMetadata):
    value, axes = unbox(value), describe(getattr(value, "names", None))
  else:
    value, axes = boxed(describe(value))
  item = branch.item
  item.value, item.axes, item.leaf = describe(value), axes, True
  item.total = amount(item.value)
  branch.same = branch.alike = (value_text(item.value), _axes(item), getattr(item.value, "sharding", ""))


def _sum_up(roots: Sequence[Branch]) -> Amount:
  for branch in reversed(preorder(roots)):
    for child in branch.children:
      branch.item.total = branch.item.total + child.item.total
  return sum((root.item.total for root in roots), Amount())


def _matching(roots: Sequence[Branch], pattern: str) -> list[Branch]:
  """The trees cut down to what a pattern fits: a leaf, or a branch with all that is below."""
  wanted = split_path(pattern)
  order = preorder(roots)
  kept: set[Branch] = set()
  for branch in order:
    if branch not in kept and matches(wanted, branch.item.path):
      kept.update(preorder([branch]))
  if order and not kept:
    raise NoMatchError(pattern, ["/".join(b.item.path) for b in order if b.item.leaf])
  for branch in reversed(order):
    branch.children = [c for c in branch.children if c in kept]
    if branch.children:
      kept.add(branch)
  return [root for root in roots if root in kept]


# From branches to rows.


def _outline(shown: Sequence[Shown], total: Amount, pattern: str | None) -> Outline:
  boxes = any(s.branch.item.axes is not None for s in shown)
  columns = [Column("value", "value", least=16)]
  if boxes:
    columns.append(Column("axes", "axes", least=12))
  if sharded := total.on_device != total.nbytes:
    columns.append(Column("sharding", "sharding", least=12))
  columns.append(Column("size", "size"))
  if sharded:
    columns.append(Column("on_device", "per device"))
  notes = [] if shown else ["There are no variables."]
  if total.unknown:
    notes.append("?: arrays of symbolic size, which have no number.")
  if any(len(s.copies) > 1 for s in shown):
    notes.append("×n: that many equal branches in one row; its numbers are of one of them.")
  if any(s.closed == "depth" for s in shown):
    notes.append("⋯ has more inside, below depth.")
  return Outline(
    title="Variables" + (f" that fit {pattern}" if pattern is not None else ""),
    heading="path",
    columns=tuple(columns),
    rows=tuple(_row(s) for s in shown),
    totals={"size": Cell(numbers=total.numbers()), "on_device": _on_device(total)} if shown else {},
    notes=tuple(notes),
    shrink=(
      ("", "indent"),
      *([("axes", "column")] if boxes else []),
      ("size", "numbers"),
      ("size", "numbers"),
      *([("sharding", "column")] if sharded else []),
    ),
    data={"total": {"count": total.count, "bytes": total.nbytes, "bytes_per_device": total.on_device}},
  )


def _row(shown: Shown) -> Row:
  item: _Item = shown.branch.item
  cells = {"size": Cell(numbers=item.total.numbers()), "on_device": _on_device(item.total)}
  if item.leaf:
    cells["value"] = Cell((value_text(item.value),))
  if item.axes is not None:
    cells["axes"] = Cell((_axes(item),))
  if sharding := getattr(item.value, "sharding", ""):
    cells["sharding"] = Cell((_names(ast.literal_eval(sharding.removeprefix("P")[:-1] + ",)")),))
  data = {
    "path": "/".join(item.path),
    "names": [copy.label for copy in shown.copies],
    "times": len(shown.copies),
    "depth": shown.depth,
    "closed": shown.closed,
    "value": value_text(item.value) if item.leaf else None,
    "axes": _axes(item) if item.axes is not None else None,
    "count": item.total.count,
    "bytes": item.total.nbytes,
    "sharding": sharding or None,
    "bytes_per_device": item.total.on_device,
  }
  return Row(shown.label, shown.depth, shown.mark, cells, data)


def _on_device(held: Amount) -> Cell:
  return Cell(numbers=((bytes_text(held.on_device),),))


def _axes(item: _Item) -> str:
  if item.axes is None:
    return ""
  return _names(item.axes if isinstance(item.axes, (tuple, list)) else (item.axes,))


def _names(axes: Sequence[Any]) -> str:
  """Names of axes in brief: (-, embed, data+model)."""
  return (
    "(" + ", ".join("-" if n is None else "+".join(n) if isinstance(n, tuple) else str(n) for n in axes) + ")"
  )
