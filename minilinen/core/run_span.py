"""May be skipped: the run that a record stands in: that of an `init` or `apply`, or of a bound module.

`init` and `apply` open a span and close it (`run.py`). Nothing does that for a bound module, which is called, read and
written whenever the user likes, also in the middle of another model's run. So whatever records something of a tree
asks for the recorder `within` the run on that tree, which is opened if the code stands in no run or in another's. It
stays open until something else happens, so that calls in a row are in one run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from minilinen.core.filters import CollectionFilter, filter_in_words
from minilinen.core.tree import Tree
from minilinen.tracing import events
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
      self._recorder.tree = tree

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
  elif (whole := tree.whole) is not recorder.tree:
    recorder.leave_bound()
    if whole is not recorder.tree:
      opened = _opened(recorder, "bind", whole.module, whole.variables, whole.mutable, tuple(whole.rngs))
      recorder.given(opened.__enter__(), whole.variables, None)
      recorder.tree = whole
  return recorder
