"""The recorder: where events go while somebody records, and nowhere otherwise.

`current()` answers None unless this task records, and every place that could emit an event asks it first:
`if (rec := current()) is not None: rec.event(...)`. So not recording costs the reading of one context variable. The
core, the modules, their transforms and warnings (`errors.base`) ask. While recording, an event is kept as a
`Draft`, which costs little; records are made of the drafts when somebody looks at them.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from minilinen.in_force import Block, InForce
from minilinen.tracing.arrays import Arrays, trees_of_arrays
from minilinen.tracing.draft import Draft, records_of, settled
from minilinen.tracing.equations import marks
from minilinen.tracing.equations.leaves import Leaves, write
from minilinen.tracing.events import Body, Key, Path, Record, Run, Span
from minilinen.tracing.identity import VariableTree
from minilinen.tracing.source import user_source
from minilinen.tracing.told import first_line
from minilinen.tracing.traced import Traced, trees_of_program

_numbers = itertools.count(1)
_UNMARKED = contextlib.nullcontext()


_recorders: InForce[Recorder] = InForce("recorder")


def current() -> Recorder | None:
  """The recorder of this task, None if nobody records."""
  if (frame := _recorders.frame()) is None:
    return None
  recorder = _recorders.innermost() if frame.block.is_over else frame.value
  return recorder if recorder is not None and recorder.thread == threading.get_ident() else None


def recording(recorder: Recorder) -> Block[Recorder]:
  """Makes this task record into `recorder` for the length of a `with` block.

  A task that is started in the block records too, as long as the block lasts, unless it runs in another thread.
  """
  return _recorders.within(recorder)


def initializing() -> AbstractContextManager[object]:
  """For a `with` block, marks the equations that are traced as those of an initializer, if equations are marked."""
  recorder = current()
  return _UNMARKED if recorder is None or recorder.marked is None else marks.initializing()


class Recorder:
  """Collects records in order. One recorder serves one thread, and no two have the same `number`.

  If it is to mark equations, `marked` has for each mark the module call that it stands for, and `program` in the end
  the program with the names of its inputs. `emitted` grows with each event and span.
  `on` is what the innermost run that is open is on, as the core has it, held weakly, and that run.
  `jitted` has the numbers of what `jax.jit` is tracing, by function and arguments, and of the function; 0 if it traces
  nothing.
  """

  def __init__(self, marking: bool = False) -> None:
    self.number = next(_numbers)
    self.thread = threading.get_ident()
    self.items: list[Draft] = []
    self.marked: list[Draft] | None = [] if marking else None
    self.emitted = 0
    self.jitted: tuple[int, int] = (0, 0)
    self.runs: list[Traced] = []
    self.outputs: list[tuple[Draft, Leaves]] = []
    self.arrays = Arrays(looks=not marking)
    self.program: tuple[Any, Sequence[str]] = (None, ())
    self.trees: tuple[VariableTree, ...] = ()
    self.on: tuple[Callable[[], Any], Any] = (lambda: None), None
    self._open: list[_Opened] = []

  def innermost(self) -> Draft:
    """The span that is open and has no open span in it; a bound module's run is over then."""
    self.leave_bound()
    return self._open[-1].draft

  def keys_since(self, position: tuple[list[Draft], int]) -> tuple[Draft, ...]:
    """The keys that were drawn since then, in the span that was the innermost one."""
    return tuple(draft for draft in position[0][position[1] :] if draft.kind is Key)

  def position(self) -> tuple[list[Draft], int]:
    """The items of the innermost span, and how many they are now."""
    return self._items(), len(self._items())

  def leave_bound(self) -> None:
    """Closes the run of a bound module if it is the innermost span: the next record is not of that module."""
    if self._open and (last := self._open[-1]).draft.kind is Run and last.draft.fields["name"] == "bind":
      last.__exit__(None, None, None)

  def _items(self) -> list[Draft]:
    return self._open[-1].draft.items if self._open else self.items

  def event(self, kind: type[Record], path: Iterable[str], /, **fields: Any) -> None:
    """Adds an event."""
    fields["path"] = path if type(path) is Path else Path(path)
    fields["source"] = user_source(2)
    self.emitted += 1
    self._items().append(Draft(kind, fields))

  def span(self, kind: type[Span], path: Iterable[str], /, **fields: Any) -> _Opened:
    """Opens a span for the length of a `with` block; an exception closes it too, with its text."""
    fields["path"] = path if type(path) is Path else Path(path)
    fields["source"] = user_source(2)
    return _Opened(self, Draft(kind, fields))

  def marking(self, call: Draft) -> AbstractContextManager[object]:
    """For the `with` block of a module call, marks the equations that it leads to, if that is wanted."""
    if self.marked is None:
      return _UNMARKED
    self.marked.append(call)
    return marks.marked(len(self.marked) - 1)

  def given(self, run: Draft, variables: Any, rngs: Any) -> None:
    """Notes the variables and the root keys that a run is given."""
    if self.marked is not None:
      self.runs.append(Traced.begin(run, variables, rngs, self.arrays.passed))
    else:
      self.arrays.begin(run, variables, rngs)

  def made(self, run: Draft, variables: Any) -> None:
    """Notes the variables that a run hands back, or has besides by now."""
    if self.marked is None:
      self.arrays.end(run, variables)
    else:
      next(traced for traced in reversed(self.runs) if traced.run is run).hands_back(variables)

  def returned(self, run: Draft, result: Any) -> None:
    """Notes what the function of an `init` returned: most callers of `init` never see it."""
    if self.marked is not None and run.fields["name"] == "init":
      self.outputs.append((run, write({"": result})))

  def marked_calls(self) -> list[int]:
    """The order of the call that each mark stands for; where a pass does not hold, of its like in the one that does."""
    return [(call.stands_for or call).order for call in self.marked or ()]

  def body(self, lift: Draft | None, path: Iterable[str], name: str = "body", **fields: Any) -> _Opened:
    """One pass over a body of a lift.

    A body that runs when its lift is over (the backward pass of a custom gradient) stands wherever it runs. `lift` is
    None if it was not recorded.
    """
    passes = [] if lift is None else lift.passes.get(name, [])
    fields["path"] = Path(path)
    fields["name"] = name
    fields["number"] = len(passes)
    fields["source"] = passes[0].fields["source"] if passes else user_source(2)
    draft = Draft(Body, fields)
    if lift is not None:
      lift.passes[name] = [*passes, draft]
    return _Opened(self, draft)

  def freeze(self) -> tuple[Record, ...]:
    """Everything recorded so far, as records; a span that is open has what is in it by now.

    The variable trees that the runs were on are in `trees` then.
    """
    drafts = settled(self.items)
    if self.marked is None:
      grown = trees_of_arrays(self.arrays)
    else:
      grown = trees_of_program([traced for traced in self.runs if traced.run.holds], *self.program)
    self.trees = tuple(tree.finished() for tree in grown)
    for draft, _ in drafts:
      if draft.kind is Run and not draft.holds:
        draft.fields["tree"] = draft.stands_for.fields["tree"] if draft.stands_for else -1
    return records_of(drafts)


class _Opened:
  """The `with` block of a span. A class, since a generator would add frames to every exception."""

  __slots__ = ("recorder", "draft", "_around")

  def __init__(self, recorder: Recorder, draft: Draft):
    self.recorder = recorder
    self.draft = draft

  def __enter__(self) -> Draft:
    self.recorder.emitted += 1
    self.recorder._items().append(self.draft)
    self.recorder._open.append(self)
    self._around = self.recorder.on
    return self.draft

  def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
    if error is not None:
      self.draft.fields["error"] = in_words(error)
    still_open = self.recorder._open
    while still_open and still_open.pop() is not self:
      pass
    self.recorder.on = self._around


def in_words(error: BaseException) -> str:
  """An exception in one line: its class and the first line of its text, if it can give one."""
  return f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")
