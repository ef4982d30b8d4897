"""May be skipped: the run that a record stands in: that of an `init` or `apply`, or of a bound module.

`init` and `apply` open a span and close it (`run.py`). Nothing does that for a bound module, which is called, read and
written whenever the user likes, also in the middle of another model's run. So whatever records something of a tree
asks for the recorder `within` the run on that tree, which is opened if the code stands in no run or in another's. It
stays open until something else happens, so that calls in a row are in one run.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, Self

from minilinen.core.filters import CollectionFilter, filter_in_words
from minilinen.core.tree import Tree
from minilinen.tracing import events
from minilinen.tracing.paths import Path
from minilinen.tracing.rebuilt import leaves, put
from minilinen.tracing.recorder import Recorder, current
from minilinen.tracing.spec import describe


class RunSpan:
  """The `with` block of an `init` or `apply`: its span in the trace, if somebody records.

  Args:
    fn: what runs; if it runs a module, `module_name` is that one's class.
    variables, rngs, mutable, flags: as the user passes them.
  """

  __slots__ = ("_recorder", "_opened", "_module", "_given")

  def __init__(
    self, fn: Any, variables: Any, rngs: Any, mutable: CollectionFilter, flags: Mapping[str, Any] | None
  ):
    self._recorder = recorder = current()
    self._module = getattr(fn, "module_name", "")
    self._given = variables, rngs
    if recorder is not None:
      recorder.leave_bound()
      name = "init" if (flags or {}).get("initializing") else "apply"
      streams = tuple(rngs) if isinstance(rngs, Mapping) else ("params",) * (rngs is not None)
      self._opened = _opened(recorder, name, self._module, variables, mutable, streams)

  def __enter__(self) -> Self:
    if self._recorder is not None:
      self._recorder.given(self._opened.__enter__(), *self._given)
    return self

  def __exit__(self, *error: Any) -> None:
    if self._recorder is not None:
      self._opened.__exit__(*error)

  def on(self, tree: Tree) -> None:
    """Says which tree it is a run on."""
    tree.module = self._module
    if self._recorder is not None:
      self._recorder.on = weakref.ref(tree), self._opened.draft

  def gave(self, y: Any, mutated: Mapping[str, Any]) -> None:
    """Says what came out: the result, and the variables."""
    if self._recorder is not None:
      draft = self._opened.draft
      draft.set(result=describe(mutated))
      self._recorder.made(draft, mutated)
      self._recorder.returned(draft, y)


def _opened(
  recorder: Recorder,
  name: str,
  module: str,
  variables: Any,
  mutable: CollectionFilter,
  streams: tuple[str, ...],
) -> Any:
  return recorder.span(
    events.Run, (), name=name, module=module, given=describe(variables), mutable=filter_in_words(mutable),
    jitted=recorder.jitted[0], jitted_function=recorder.jitted[1], streams=streams,
  )  # fmt: skip


def within(recorder: Recorder, tree: Tree | None) -> Recorder:
  """The recorder, in the run on a tree; in none that is not closed if there is no tree."""
  if tree is None:
    recorder.leave_bound()
  elif (whole := tree.whole) is not recorder.on[0]():
    recorder.leave_bound()
    if whole is not recorder.on[0]():
      opened = _opened(recorder, "bind", whole.module, whole.variables, whole.mutable, tuple(whole.rngs))
      recorder.given(opened.__enter__(), whole.variables, None)
      recorder.on = weakref.ref(whole), opened.draft
  return recorder


def store(recorder: Recorder | None, tree: Tree, col: str, path: Path, name: str, value: Any) -> None:
  """Sets a variable in a tree; if somebody records, a bound module's run is told, for nothing hands it back in the end.

  It is told at once: later the value may be none any more, as JAX has left the transform that it is of.
  """
  if recorder is None or tree.behind is not None:
    tree.store(col, path, name, value)
    return
  _, run = within(recorder, tree).on
  tree.store(col, path, name, value)
  if run.fields["name"] == "bind":
    is_first = "result" not in run.fields
    told = tree.variables if is_first else {col: _nested((*path[len(tree.path) :], name), value)}
    recorder.made(run, told)
    result = run.fields.setdefault("result", {})
    for place, spec in leaves(describe({c: v for c, v in told.items() if tree.may_write(c)})):
      put(result, place, spec)


def _nested(path: tuple[str, ...], value: Any) -> Any:
  for name in reversed(path):
    value = {name: value}
  return value
