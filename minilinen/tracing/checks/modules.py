"""Modules that were declared in `setup` and that nobody called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from minilinen.tracing.checks.runs import every_run, whole_runs, with_branches
from minilinen.tracing.events import Name, Path, Record, Run, Share, depth_first
from minilinen.tracing.told import Told


def uncalled_modules(items: Iterable[Record]) -> Iterator[Told]:
  """Finds submodules that whole models declare in `setup`, and at whose path nothing happens in any of their runs."""
  for (tree, _), name in uncalled_paths(tuple(items)).items():
    yield Told(
      "UncalledModuleHint",
      name.path,
      name.source,
      f"{name.module} {str(name.path)!r} is declared in setup, and nothing in this trace calls it or reads its"
      " variables.",
      "a call of every submodule",
      "none",
      "call it where it belongs, or delete it from setup; nothing, if another method or other fields of the model"
      " call it",
      tree,
    )


def uncalled_paths(items: tuple[Record, ...]) -> dict[tuple[int, Path], Name]:
  """The names of such modules by tree and path.

  Without those of a class that has a run of its own inside: a module may be asked for its `apply`, with variables made
  for it.
  """
  declared: dict[tuple[int, Path], Name] = {}
  for run, records in whole_runs(items):
    inside = {record.module for record in depth_first(run.items) if isinstance(record, Run)}
    for record in records:
      if isinstance(record, Name) and record.how == "attribute" and record.module not in inside:
        declared.setdefault((run.tree, record.path), record)
  used: dict[int, set[Path]] = {}
  for run, records in every_run(items):
    for record in records:
      if not isinstance(record, Name):
        paths = (record.path, record.other) if isinstance(record, Share) else (record.path,)
        used.setdefault(run.tree, set()).update(paths)
  touched = {tree: with_branches(paths) for tree, paths in used.items()}
  return {place: name for place, name in declared.items() if place[1] not in touched.get(place[0], ())}
