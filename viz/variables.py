"""The tree of variables: by collection, module and name, with shape, dtype, bytes and totals per branch.

`tree` draws what `init` returns, any other pytree (gradients, optimizer states, shapes of them), and the variables
that a trace tells of.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from minilinen.core.meta import AxisMetadata, unbox
from minilinen.tracing.globs import matches
from minilinen.tracing.identity import VariableTree
from minilinen.tracing.models import Model
from minilinen.tracing.paths import Path
from minilinen.tracing.spec import Node, Opaque, Spec, Value, boxed, describe
from minilinen.tracing.trace import Trace

from .errors import NoMatchError, NothingToDrawError
from .folding import Branch, Shown, folded, natural, preorder
from .items import tree_name, tree_notes
from .outline import Cell, Column, Outline, Row
from .view import OutlineView
from .words import Amount, amount, bytes_text, plain_count, value_text


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
  models = variables.models if isinstance(variables, Trace) else ()
  sources = [_of_tree(variables, model.tree) for model in models] if models else [_source(variables)]
  roots = [_branches(source) for source in sources]
  for tree in roots:
    _share_axes(tree)
  if pattern is not None:
    roots = _matching(roots, pattern)
  total = sum(map(_sum_up, roots), Amount())
  several = len(models) > 1
  branches = [_heading(*each) for each in zip(models, roots) if each[1]] if several else roots[0]
  if several:
    total = _counted(branches)
  shown = folded(branches, depth=None if depth is None else depth - (not several), fold=fold)
  notes = tree_notes(models)
  return OutlineView("tree", _outline(shown, total, pattern, notes), table_kwargs, column_kwargs)


def _of_tree(trace: Trace, tree: VariableTree) -> Any:
  """One tree of a trace: its variables in their boxes."""
  source: dict[str, Any] = {}
  for found in trace.find():
    if found.tree == tree.number:
      branch = source
      for name in found.place[:-1]:
        branch = branch.setdefault(name, {})
      branch[found.name] = _Boxed(found.value, found.axes) if found.axes is not None else found.value
  return source


def _heading(model: Model, roots: list[Branch]) -> Branch:
  """A row of its own above the variables of one of several models."""
  total = sum((root.item.total for root in roots), Amount())
  label = f"{model.module or 'variables'} {tree_name(model)}"
  for branch in preorder(roots):
    branch.item.tree = model.tree
  return Branch(label, _Item((), total=total, tree=model.tree), same=model.tree.number, children=roots)


def _counted(headings: Sequence[Branch]) -> Amount:
  """How much several models own together; what is another's, or computed from another's, counts once."""
  leaves = [branch.item for branch in preorder(headings) if branch.item.leaf]
  return sum((item.total for item in leaves if item.tree.counts(item.path)), Amount())


def _source(variables: Any) -> Any:
  """The tree to walk: what was passed."""
  if isinstance(variables, Trace):
    return {}
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
  """A node of the tree: its path, its value if it is a leaf, which of several trees it is in, and how much is below."""

  path: tuple[str, ...]
  value: Value = None
  axes: Value = None
  leaf: bool = False
  tree: VariableTree | None = None
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
    return None if boxed(value)[0] is not value or _is_axes(value) else dict(value.parts)
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
  item = branch.item
  if isinstance(value, _Boxed):
    item.value, item.axes = value.value, value.names
  else:
    item.value, item.axes = boxed(describe(value))
    if item.axes is None and isinstance(value, AxisMetadata):
      item.value = describe(unbox(value))
  while (inner := boxed(item.value)[0]) is not item.value:
    item.value = inner
  item.leaf = not _is_axes(item.value)
  if not item.leaf:
    item.value, item.axes = None, item.value.parts["names"]
  item.total = amount(item.value)
  branch.same = branch.alike = (value_text(item.value), _axes(item), getattr(item.value, "sharding", ""))


def _is_axes(value: Value) -> bool:
  """Whether a described value is what `nn.partitioning` keeps beside a variable: names of axes, and no array."""
  return isinstance(value, Node) and value.type == "AxisMetadata" and "names" in value.parts


def _share_axes(roots: Sequence[Branch]) -> None:
  """Gives variables the names of axes that stand in a collection beside theirs: "params_axes" for "params"."""
  items = {branch.item.path: branch.item for branch in preorder(roots) if not branch.children}
  for path, item in items.items():
    beside = items.get((f"{path[0]}_axes", *path[1:-1], f"{path[-1]}_axes")) if path else None
    if beside is not None and not beside.leaf and item.axes is None:
      item.axes = beside.axes


def _sum_up(roots: Sequence[Branch]) -> Amount:
  for branch in reversed(preorder(roots)):
    for child in branch.children:
      branch.item.total = branch.item.total + child.item.total
  return sum((root.item.total for root in roots), Amount())


def _matching(trees: Sequence[list[Branch]], pattern: str) -> list[list[Branch]]:
  """The trees cut down to what a pattern fits: a leaf, or a branch with all that is below."""
  wanted = Path.of(pattern)
  order = preorder([root for roots in trees for root in roots])
  kept: set[Branch] = set()
  for branch in order:
    if branch not in kept and matches(wanted, branch.item.path):
      kept.update(preorder([branch]))
  if order and not kept:
    raise NoMatchError(pattern, [Path(b.item.path).bare for b in order if b.item.leaf])
  for branch in reversed(order):
    branch.children = [c for c in branch.children if c in kept]
    if branch.children:
      kept.add(branch)
  return [[root for root in roots if root in kept] for roots in trees]


# From branches to rows.


def _outline(shown: Sequence[Shown], total: Amount, pattern: str | None, notes: list[str]) -> Outline:
  is_named = any(s.branch.item.axes is not None for s in shown)
  is_split = total.on_device != total.nbytes
  rows = tuple(_row(s, is_split) for s in shown)
  columns = [Column("value", "value", least=16)]
  if has_axes := any(row.cells["axes"].text for row in rows):
    columns.append(Column("axes", "axes" if is_named else "sharding", least=11))
  columns.append(Column("size", "size"))
  if is_split:
    columns.append(Column("on_device", "/device"))
  notes = [*notes] if shown else ["There are no variables."]
  if is_named and is_split:
    notes.append("axes: name→axis of the mesh that splits it.")
  if any(len(s.copies) > 1 for s in shown):
    notes.append("×n: that many equal branches in one row; its numbers are of one of them.")
  if any(s.closed == "depth" for s in shown):
    notes.append("⋯ has more inside, below depth.")
  return Outline(
    title="Variables" + (f" that fit {pattern}" if pattern is not None else ""),
    heading="path",
    columns=tuple(columns),
    rows=rows,
    totals={"size": Cell(numbers=total.numbers()), "on_device": _on_device(total)} if shown else {},
    notes=tuple(notes),
    shrink=(
      ("", "indent"),
      ("size", "numbers"),
      ("size", "numbers"),
      *([("", "room")] if has_axes else []),
      *([("size", "column")] if is_split else []),
      *([("axes", "column")] if has_axes else []),
    ),
    data={"total": _plain(total)},
  )


def _row(shown: Shown, is_split: bool) -> Row:
  item: _Item = shown.branch.item
  cells = {"size": Cell(numbers=item.total.numbers()), "on_device": _on_device(item.total)}
  if item.leaf:
    cells["value"] = Cell((value_text(item.value),))
  cells["axes"] = Cell(_laid_out(item, is_split))
  data = {
    "path": Path(item.path).bare,
    "tree": item.tree.number if item.tree is not None else 0,
    "names": [copy.label for copy in shown.copies],
    "times": len(shown.copies),
    "depth": shown.depth,
    "closed": shown.closed,
    "value": value_text(item.value) if item.leaf else None,
    "axes": _axes(item) if item.axes is not None else None,
    **_plain(item.total),
    "sharding": getattr(item.value, "sharding", "") or None,
  }
  return Row(shown.label, shown.depth, shown.mark, cells, data)


def _plain(held: Amount) -> dict[str, int | str]:
  return held.plain() | {"bytes_per_device": plain_count(held.on_device)}


def _on_device(held: Amount) -> Cell:
  return Cell(numbers=((bytes_text(held.on_device),),))


def _axes(item: _Item) -> str:
  return "" if item.axes is None else f"({', '.join(map(_name, _tuple(item.axes)))})"


def _tuple(axes: Value) -> tuple[Any, ...]:
  return tuple(axes) if isinstance(axes, (tuple, list)) else (axes,)


_LEFT = "UNCONSTRAINED"


def _name(axis: Any) -> str:
  """An axis in brief: embed, data+model, - for one without a name, ? for one that is left to XLA."""
  if isinstance(axis, Opaque) and axis.text == _LEFT:
    return "?"
  return "-" if axis is None else "+".join(map(str, axis)) if isinstance(axis, tuple) else str(axis)


def _splits(sharding: str) -> tuple[Any, ...]:
  """What a sharding says of each axis: ("data", None) for "P('data', None)"; its text where it has other words."""
  try:
    return ast.literal_eval(sharding.removeprefix("P").replace(_LEFT, "'?'")[:-1] + ",)") if sharding else ()
  except (SyntaxError, ValueError):
    return (sharding,)


def _laid_out(item: _Item, is_split: bool) -> tuple[str, ...]:
  """The axes and what splits them, from full to brief: (embed, heads→model), heads→model, →model.

  Args:
    item: a variable or a branch.
    is_split: whether there are others that are split: one that is not may then be "-" in brief.
  """
  split = _splits(getattr(item.value, "sharding", ""))
  if item.axes is None:
    pairs = [(_name(axis), axis) for axis in split]
  else:
    pairs = list(itertools.zip_longest(map(_name, _tuple(item.axes)), split, fillvalue=None))
    pairs = [(name or "-", axis) for name, axis in pairs]
  if not pairs:
    return ()
  words = [name if axis is None or name == _name(axis) else f"{name}→{_name(axis)}" for name, axis in pairs]
  full = f"({', '.join(words)})"
  used = [n for n, (_, axis) in enumerate(pairs) if axis is not None]
  if not used:
    return full, "-" if is_split else ",".join(words)
  axes = ", ".join(_name(pairs[n][1]) for n in used)
  return full, ", ".join(words[n] for n in used), axes if item.axes is None else f"→{axes}"
