"""What a picture tells of a module: its calls, its lifts, its variables and its cost, as branches that can be folded.

The table makes rows of these branches, and the graph makes nodes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from minilinen.tracing.events import Lift
from minilinen.tracing.models import Entry, Model, ModuleNode
from minilinen.tracing.spec import boxed

from .costs import Costs, Counts
from .folding import Branch, preorder
from .words import Amount, amount, arguments, names_text, passing_text, value_text, variables_text


@dataclass(eq=False)
class Item:
  """What a row is made of.

  Attributes:
    node: the module.
    entry: how it was entered; None if it never was.
    again: whether this is a later call of the same module.
    counts: what the module and all below it cost, in all its calls, by column.
    total: collection -> how much the module and all below it own.
  """

  node: ModuleNode
  entry: Entry | None
  again: bool = False
  counts: Counts = field(default_factory=dict)
  total: dict[str, Amount] = field(default_factory=dict)


def module_branch(model: Model, costs: Costs, show_repeated: bool) -> Branch:
  """A model's modules as branches."""

  def new(node: ModuleNode, entry: Entry | None, again: bool) -> Branch:
    return _new(Item(node, entry, again, {} if again else costs.of(node)), costs)

  root = model.root
  top = new(root, root.entries[0] if root.entries else None, False)
  stack = [top]
  while stack:
    branch = stack.pop()
    for child in branch.item.node.children.values():
      entries = child.entries or [None]
      made = new(child, entries[0], False)
      branch.children.append(made)
      stack.append(made)
      if show_repeated:
        branch.children.extend(new(child, entry, True) for entry in entries[1:])
  return top


def _new(item: Item, costs: Costs) -> Branch:
  node, entry, again = item.node, item.entry, item.again
  owned = {} if again else node.variables
  same = (
    module_text(item), lift_text(entry), inputs_text(item), outputs_text(item), again,
    tuple((c, variables_text(v)[:1]) for c, v in owned.items()),
    tuple(str(item.counts.get(key)) for key in costs.keys),
  )  # fmt: skip
  if not node.path:
    same = (*same, node.tree)
  alike = (module_text(item), lift_text(entry), again, tuple((c, tuple(v)) for c, v in owned.items()))
  return Branch(node.name or ".", item, same, alike, kind=alike[:2])


def sum_up(roots: Sequence[Branch]) -> None:
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


def counted(models: Sequence[Model]) -> dict[str, Amount]:
  """How much all models own together, by collection; what is another's, or computed from another's, counts once."""
  total: dict[str, Amount] = {}
  for model in models:
    for node in model:
      for collection, variables in node.variables.items():
        for name, value in variables.items():
          if node.counts(collection, name):
            total[collection] = total.get(collection, Amount()) + amount(boxed(value)[0])
          else:
            total.setdefault(collection, Amount())
  return total


def root_label(model: Model, several: bool) -> str:
  """What a model's root is called: of several models by the argument that its variables were, or by its tree."""
  return f". {tree_name(model)}" if several else "."


def tree_name(model: Model) -> str:
  """What one of several models goes by: the argument that its variables were, or its tree."""
  return model.tree.argument or f"(tree {model.tree.number})"


def tree_notes(models: Sequence[Model]) -> list[str]:
  """What is to be known of the variables of several models."""
  notes = []
  unclear = []
  names = {model.tree.number: tree_name(model).strip("()") for model in models}
  for model in models:
    tree = model.tree
    title = f"{tree} ({names[tree.number]})"
    if tree.within is not None:
      notes.append(f"The variables of {title} are a part of {names[tree.within[0]]}, and counted there.")
    elif tree.derived_from:
      others = _listed([names[number] for number in tree.derived_from])
      notes.append(f"The variables of {title} are computed from {others}, and not counted again.")
    elif tree.elsewhere and not tree.known:
      notes.append(f"Whether the variables of {title} are another's is not known; they are not counted.")
    elif tree.elsewhere:
      notes.append(f"Some of the variables of {title} are another tree's, and counted there.")
    elif not tree.known and len(models) > 1:
      unclear.append(title)
    elif not tree.known:
      notes.append(f"Whether all runs were on one {tree.module or 'model'} is not known; it is counted once.")
  if unclear:
    each = "is one model of its own" if len(unclear) == 1 else "are each one model of its own"
    notes.append(
      f"Whether {_listed(unclear)} {each} is not known; {'it is' if len(unclear) == 1 else 'they are'} counted."
    )
  return notes


def _listed(names: Sequence[str]) -> str:
  """Names as in a sentence.

  >>> _listed(["a", "b", "c"])
  'a, b and c'
  """
  return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def class_name(item: Item) -> str:
  """The class, "" if the module was never called."""
  return item.entry.module if item.entry is not None else ""


def module_text(item: Item) -> str:
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


def lift_text(entry: Entry | None) -> str:
  """How a module is lifted, outermost transform first: "scan ×12 remat"."""
  lifts = entry.lifts if entry is not None else ()
  return " ".join(_one_lift(lift) for lift in lifts)


def lift_details(entry: Entry | None) -> str:
  """What the transforms do to collections and streams: "params axis 0, dropout split"."""
  lifts = entry.lifts if entry is not None else ()
  passings = [p for lift in lifts for p in (*lift.collections, *lift.streams)]
  told = [f"{names_text(p)} {passing_text(p)}" for p in passings if p.kind != "same"]
  return ", ".join(dict.fromkeys(told))


def _one_lift(lift: Lift) -> str:
  return lift.kind if lift.length is None else f"{lift.kind} ×{lift.length}"


def inputs_text(item: Item) -> tuple[str, ...]:
  """What goes in, in full and in brief."""
  return arguments(item.entry.args, dict(item.entry.kwargs)) if item.entry is not None else ()


def outputs_text(item: Item) -> tuple[str, ...]:
  """What comes out, in full and in brief."""
  if item.entry is None:
    return ()
  result, error = item.entry.result, item.entry.error
  if error is not None:
    return (f"left by {error}", error.partition(":")[0])
  if isinstance(result, tuple):
    return arguments(result, {})
  return (value_text(result),)
