"""May be skipped: what was sown in a run, and where it could not be, to warn of what an earlier run sowed and of names.

A value that is sown finds a tuple in its place if a call before sowed there, or if the user passed what an earlier run
gave. Which of the two it was nobody can see from the tuple, so the places of a run are noted here, by its tree.
"""

from __future__ import annotations

import difflib
import re
import weakref
from collections.abc import Collection, Mapping
from typing import Any

from minilinen import errors
from minilinen.core import home
from minilinen.core.tree import Tree
from minilinen.tracing.paths import Path

_sown: weakref.WeakKeyDictionary[Tree, set[tuple[Path, str, str]]] = weakref.WeakKeyDictionary()
_refused: weakref.WeakKeyDictionary[Tree, set[str]] = weakref.WeakKeyDictionary()


def note(tree: Tree, path: Path, col: str, name: str, stored: Any) -> None:
  """Notes that a value is sown, and warns if what is `stored` there came from outside of the run."""
  places = _sown.setdefault(_outermost(tree), set())
  if isinstance(stored, tuple) and stored and (path, col, name) not in places:
    errors.warn(errors.FedBackWarning(col, name, str(path), len(stored)))
  places.add((path, col, name))


def refused(tree: Tree, path: Path, col: str, name: str) -> None:
  """Notes that a value is sown into a collection that is not mutable, and warns if a boundary made it so."""
  outermost = _outermost(tree)
  if outermost.mutable:
    _refused.setdefault(outermost, set()).add(col)
  if not tree.flags.get("initializing") and (lift := home.stopping_writes(tree, col)) is not None:
    errors.warn(errors.DroppedValueWarning("sows", col, name, str(path), lift))


def not_passed(tree: Tree, path: Path, col: str, name: str) -> None:
  """Warns if a boundary keeps out the collection of a perturbation."""
  if not tree.flags.get("initializing"):
    lift = home.stopping_collection(tree, col, passed=True)
    if lift is not None:
      errors.warn(errors.DroppedValueWarning("perturbs", col, name, str(path), lift))


def warn_of_misspelt(tree: Tree, mutated: Mapping[str, Any]) -> None:
  """Warns if a collection that is mutable does not exist, and looks like one that does, or that was sown into."""
  named = [tree.mutable] if isinstance(tree.mutable, str) else tree.mutable
  if not isinstance(named, Collection) or all(name in mutated for name in named):
    return
  refused = _refused.get(tree, set())
  others = {*refused, *tree.variables} - {*named}
  for name in (name for name in named if name not in mutated):
    meant = max(others, key=lambda other: _likeness(name, other), default="")
    if _likeness(name, meant) >= _ALIKE:
      errors.warn(errors.MisspeltCollectionWarning(name, meant, sorted(named), meant in refused))


_ALIKE = 0.8  # a letter too much, too few or another; "stats" and "batch_stats" are two


def _likeness(name: str, other: str) -> float:
  """How alike two names are; those of a row ("aux_1" and "aux_2", "losses" and "losses_b") are two, however alike."""
  are_of_a_row = _END_OF_ROW.sub("", name) == _END_OF_ROW.sub("", other)
  return 0.0 if are_of_a_row else difflib.SequenceMatcher(None, name, other).ratio()


_END_OF_ROW = re.compile(r"_?\d+$|_[a-z]$", re.IGNORECASE)


def _outermost(tree: Tree) -> Tree:
  while tree.behind is not None:
    tree = tree.behind.outer
  return tree
