"""Variables against what a model makes of them: passed and never read, missing, of another shape, moved."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from minilinen import spelling
from minilinen.tracing.checks.modules import uncalled_paths
from minilinen.tracing.checks.runs import every_run, whole_runs, with_branches
from minilinen.tracing.equations.phases import BACKWARD
from minilinen.tracing.equations.program import Program
from minilinen.tracing.equations.reach import Unused
from minilinen.tracing.events import Body, Call, Lift, Path, Read, Record, Run
from minilinen.tracing.identity import VariableTree
from minilinen.tracing.rebuilt import Place, leaves
from minilinen.tracing.source import Source
from minilinen.tracing.spec import Spec, Value, boxed
from minilinen.tracing.told import Told

Leaves = dict[Place, Value]


def unread_parameters(items: Iterable[Record]) -> Iterator[Told]:
  """Finds parameters that were passed to a whole model, and that no run of it in this trace read, by any method.

  Those of a module that is declared and not called are left to `uncalled_modules`, which knows why.
  """
  items = tuple(items)
  given: dict[int, dict[Place, Run]] = {}
  for run, _ in whole_runs(items):
    if run.name == "apply":
      for place, _ in leaves(run.given.get("params", {})):
        given.setdefault(run.tree, {}).setdefault(place, run)
  read: dict[int, set[Place]] = {}
  for run, records in every_run(items):
    read.setdefault(run.tree, set()).update(place for record in records for place in _read_by(record))
  uncalled = uncalled_paths(items)
  for tree, places in given.items():
    for branch, run in _branches(places, read[tree]):
      if not any((tree, branch[:end]) in uncalled for end in range(1, len(branch) + 1)):
        text = Path(branch).bare
        yield Told(
          "UnusedVariableHint",
          Path(branch[:-1]),
          run.source,
          f"Parameters {text!r} are passed to {run.module}, and no apply in this trace reads them.",
          "a run that reads all parameters that it is given",
          text,
          "take them out of the tree, or pass the parameters of this very model; nothing, if other arguments, fields"
          " or methods of it need them",
          tree,
        )


def idle_parameters(
  program: Program, unused: Unused, items: Iterable[Record], trees: Sequence[VariableTree]
) -> Iterator[Told]:
  """Finds parameters that were read, and that have no influence on what the function returned.

  What is known of why is said: they go into a derivative rule only, or the trace is one of derivatives.
  """
  has_backward = any(e.phase == BACKWARD for e in program.equations)
  happened: dict[int, list[Record]] = {}
  for run, records in whole_runs(items):
    happened.setdefault(run.tree, []).extend(records)
  for tree in trees:
    if tree.within is None:
      of = f" of {tree}" if len(trees) > 1 else ""
      inputs = {place[1:]: program.names[number] for number, place in tree.inputs if place[0] == "params"}
      yield from _idle(inputs, unused, happened.get(tree.number, []), of, tree.number, has_backward)


def _idle(
  inputs: Mapping[Place, str],
  unused: Unused,
  happened: Sequence[Record],
  of: str,
  tree: int,
  has_backward: bool,
) -> Iterator[Told]:
  """Those of one tree, whose parameters are these inputs."""
  idle = {place: name for place, name in inputs.items() if name in unused.inputs}
  read = {place for record in happened for place in _read_by(record)}
  calls: dict[Place, Call] = {record.path: record for record in happened if isinstance(record, Call)}
  for branch, name in _branches(idle, inputs.keys() - idle.keys()):
    places = [place for place in idle if place[: len(branch)] == branch]
    # A parameter in a box is an input below its own name.
    if any(place[:end] in read for place in places for end in range(1, len(place) + 1)):
      path = branch if branch in calls else branch[:-1]
      for_rule = all(idle[place] in unused.of_rules for place in places)
      yield Told(
        "UnusedVariableHint",
        Path(path),
        calls[path].source if path in calls else None,
        f"Parameters {Path(branch).bare!r}{of} are read, but what is computed from them never reaches the output."
        + (_FOR_RULE if for_rule else ""),
        "a result that depends on all parameters",
        name,
        (
          "use what the module returns, or take the module out"
          if branch in calls
          else "use it in what the module returns, or take it out of the module"
        )
        + (
          "; nothing, if that backward pass needs them"
          if for_rule
          else _NOT_IN_GRADIENTS
          if has_backward
          else ""
        ),
        tree,
      )


_FOR_RULE = (
  " They go into a function with a derivative rule of its own, whose backward pass alone may need them."
)
_NOT_IN_GRADIENTS = "; nothing, if gradients alone are asked for, and do not depend on it"


def _read_by(record: Record) -> Iterator[Place]:
  """The parameters that a record is about, as places in "params", a branch for all that is below it."""
  if isinstance(record, Read) and record.collection == "params":
    yield from ((*record.path, record.name, *below) for below, _ in (*leaves(record.value), ((), None)))
  if isinstance(record, Lift):
    # What is mapped has other names inside; a body that JAX found in its cache tells nothing.
    hidden = not any(isinstance(item, Body) for item in record.items)
    passing = record.passing("params")
    for lifted in record.variables if hidden or (passing is not None and passing.kind == "mapped") else ():
      if lifted.collection == "params":
        yield (*lifted.path, lifted.name)


def _branches(places: Mapping[Place, Any], known: Iterable[Place]) -> Iterator[tuple[Place, Any]]:
  """The places that are not known, those of a branch of which nothing is known as one."""
  alive = with_branches(known)
  told: set[Place] = set()
  for place, what in places.items():
    if place not in alive:
      end = next(end for end in range(1, len(place) + 1) if place[:end] not in alive)
      if place[:end] not in told:
        told.add(place[:end])
        yield place[:end], what


def compared(
  expected: Mapping[str, Any], given: Mapping[str, Any], items: Iterable[Record], state: bool = True
) -> Iterator[Told]:
  """Compares variables with those that a model makes.

  Args:
    expected: collection -> nested dict of specs, as the model makes them.
    given: the same of the variables that shall be checked.
    items: the records of the run that made `expected`.
    state: whether the shapes of other collections than "params" are compared too. A cache may rightly be of
      another size than these inputs would make it.
  """
  calls: dict[Place, Call] = {record.path: record for record in _calls(items)}
  due: Leaves = dict(leaves(expected.get("params", {})))
  got: Leaves = {place: boxed(value)[0] for place, value in leaves(given.get("params", {}))}
  for finding, path, prefix in list(_moved(due, got, calls)):
    yield finding
    due, got = _rest(due, path, prefix), _rest(got, path, prefix)
  missing = list(_missing(due, got, calls))
  yield from missing
  yield from _extra(due, got, bool(missing))
  for col in expected:
    if col in given and (state or col == "params"):
      due = dict(leaves(expected[col])) if col != "params" else due
      got = {p: boxed(v)[0] for p, v in leaves(given[col])} if col != "params" else got
      yield from _of_another_shape(col, due, got, calls)


def _calls(items: Iterable[Record]) -> Iterator[Call]:
  for _, records in whole_runs(items):
    yield from (record for record in records if isinstance(record, Call))


def _missing(due: Leaves, got: Leaves, calls: Mapping[Place, Call]) -> Iterator[Told]:
  for branch, _ in _branches(due, got):
    near = _beside(branch, got)
    close = _close(branch, near, due)
    yield Told(
      "ScopeParamNotFoundError",
      Path(branch[:-1]),
      _line(branch, calls),
      f"Parameters {Path(branch).bare!r} are missing." + (f" Did you mean {close[0]!r}?" if close else ""),
      Path(branch).bare,
      ", ".join(near) or "nothing",
      "pass the parameters of this very model; if a layer was added or renamed, init again",
    )


def _extra(due: Leaves, got: Leaves, is_wrong: bool) -> Iterator[Told]:
  """What the model does not make: it may be for other arguments, unless something is missing."""
  for branch, _ in _branches(got, due):
    near = _beside(branch, due)
    close = _close(branch, near, got)
    yield Told(
      "ExtraVariableHint",
      Path(branch[:-1]),
      None,
      f"Parameters {Path(branch).bare!r} are none that the model makes for these arguments"
      + (f". Did you mean {close[0]!r}?" if close else "." if is_wrong else ", and nothing reads them."),
      ", ".join(near) or "nothing",
      Path(branch).bare,
      "take them out of the tree, or pass the parameters of this very model"
      + ("" if is_wrong else "; nothing, if other arguments or another method need them"),
    )


def _close(branch: Place, names: list[str], tree: Leaves) -> list[str]:
  """Of names, the one that the last of a branch may be meant to be: no other of the branch's own tree."""
  free = [name for name in names if name not in _beside(branch, tree)]
  return spelling.near(branch[-1], free)


def _beside(branch: Place, tree: Leaves) -> list[str]:
  """The names that a tree has where the last name of a branch would stand."""
  at = len(branch) - 1
  return list(dict.fromkeys(place[at] for place in tree if place[:at] == branch[:-1] and len(place) > at))


def _of_another_shape(col: str, due: Leaves, got: Leaves, calls: Mapping[Place, Call]) -> Iterator[Told]:
  for place, value in due.items():
    found = got.get(place)
    if (
      place in got and isinstance(value, Spec) and (not isinstance(found, Spec) or found.shape != value.shape)
    ):
      call = calls.get(place[:-1])
      inputs = f", for inputs ({', '.join(map(str, call.args))})" if call is not None else ""
      told = str(found) if isinstance(found, Spec) else repr(found)
      again = "pass an input of the size that the variables were made for, or init again for this one"
      yield Told(
        "ScopeParamShapeError" if isinstance(found, Spec) else "ScopeParamTypeError",
        Path(place[:-1]),
        call.source if call is not None else None,
        f"Variable {Path((col, *place)).bare!r} is {told}, and the model makes it {value}{inputs}.",
        str(value),
        told,
        again if isinstance(found, Spec) else "pass the variables as init returns them",
      )


def _line(branch: Place, calls: Mapping[Place, Call]) -> Source | None:
  """The line of the module of a branch, or of the nearest around it."""
  for end in range(len(branch), -1, -1):
    if branch[:end] in calls:
      return calls[branch[:end]].source
  return None


# Names that moved: automatic names are counted, so a layer that is put in moves those behind it.

_AUTOMATIC = re.compile(r"(.+)_(\d+)")


def _moved(due: Leaves, got: Leaves, calls: Mapping[Place, Call]) -> Iterator[tuple[Told, Place, str]]:
  """Layers that fit under other numbers; with each finding where they are and what their names begin with."""
  wanted, there = _numbered(due), _numbered(got)
  for (path, prefix), new in wanted.items():
    old = there.get((path, prefix), {})
    names = _new_names(prefix, old, new) if old and len(old) != len(new) else {}
    if any(a != b for a, b in names.items()):
      yield _moved_finding(path, prefix, list(old), list(new), names, calls), path, prefix


def _new_names(prefix: str, old: Mapping[int, Any], new: Mapping[int, Any]) -> dict[str, str]:
  """New name -> old name, if all layers of the shorter row find their place in the longer one."""
  blocks = difflib.SequenceMatcher(
    None, [*old.values()], [*new.values()], autojunk=False
  ).get_matching_blocks()
  pairs = [(block.a + k, block.b + k) for block in blocks for k in range(block.size)]
  if len(pairs) < min(len(old), len(new)):
    return {}
  return {f"{prefix}_{[*new][j]}": f"{prefix}_{[*old][i]}" for i, j in pairs}


def _moved_finding(
  path: Place,
  prefix: str,
  old: list[int],
  new: list[int],
  names: Mapping[str, str],
  calls: Mapping[Place, Call],
) -> Told:
  put_in = len(new) > len(old)
  row, kept = (new, names.keys()) if put_in else (old, names.values())
  odd = next(f"{prefix}_{n}" for n in row if f"{prefix}_{n}" not in kept)
  moves = [f'"{a}": params["{b}"]' for a, b in names.items() if a != b]
  fresh = [f'"{name}": init["{name}"]' for n in new if (name := f"{prefix}_{n}") not in names]
  gone = ", ".join(f'"{prefix}_{n}"' for n in old if n not in new)
  changed = f"{{**params, {', '.join(moves + fresh)}}}" + (f" without {gone}" if gone else "")
  return Told(
    "MovedNameWarning",
    Path(path),
    _line((*path, odd), calls),
    f"The parameters of {prefix} in {str(Path(path))!r} fit under other numbers: {odd!r} was"
    f" {'put in' if put_in else 'taken out'}, and the automatic names behind it moved.",
    ", ".join(f"{prefix}_{n}" for n in new),
    ", ".join(f"{prefix}_{n}" for n in old),
    f"{changed}, or give the layers names (name=...)",
  )


def _rest(tree: Leaves, path: Place, prefix: str) -> Leaves:
  """A tree without the automatically named layers that begin with a prefix."""
  at = len(path)

  def is_one(place: Place) -> bool:
    automatic = _AUTOMATIC.fullmatch(place[at]) if len(place) > at and place[:at] == path else None
    return automatic is not None and automatic[1] == prefix

  return {place: value for place, value in tree.items() if not is_one(place)}


def _numbered(tree: Leaves) -> dict[tuple[Place, str], dict[int, frozenset[Any]]]:
  """For each place and class the automatically named layers there: number -> what is in it."""
  found: dict[tuple[Place, str], dict[int, set[Any]]] = {}
  for place, value in tree.items():
    for at in range(len(place) - 1):
      automatic = _AUTOMATIC.fullmatch(place[at])
      if automatic is not None:
        layers = found.setdefault((place[:at], automatic[1]), {})
        layers.setdefault(int(automatic[2]), set()).add((place[at + 1 :], getattr(value, "shape", None)))
  return {key: {n: frozenset(layers[n]) for n in sorted(layers)} for key, layers in found.items()}
