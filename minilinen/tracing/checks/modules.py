"""Modules that were declared in `setup` and that nobody called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from minilinen.tracing.checks.runs import whole_runs, with_branches
from minilinen.tracing.events import Name, Path, Record, Share
from minilinen.tracing.told import Told


def uncalled_modules(items: Iterable[Record]) -> Iterator[Told]:
  """Finds submodules of `setup` at whose path nothing ever happens, in runs of `__call__`."""
  declared: dict[tuple[int, Path], Name] = {}
  used: dict[int, set[Path]] = {}
  for run, records in whole_runs(items):
    for record in records:
      if isinstance(record, Name):
        if record.how == "attribute":
          declared.setdefault((run.tree, record.path), record)
        continue
      paths = (record.path, record.other) if isinstance(record, Share) else (record.path,)
      used.setdefault(run.tree, set()).update(paths)
  touched = {tree: with_branches(paths) for tree, paths in used.items()}
  for (tree, path), name in declared.items():
    if path not in touched.get(tree, ()):
      yield Told(
        "UncalledModuleHint",
        name.path,
        name.source,
        f"{name.module} {str(name.path)!r} is declared in setup, and nothing calls it or reads its variables.",
        "a call of every submodule",
        "none",
        "call it where it belongs, or delete it from setup",
        tree,
      )
