"""May be skipped: the errors of checkpoints, files and cursors, which Flax's other parts raise."""

from __future__ import annotations

from typing import Any

from minilinen.errors import MinilinenError


class InvalidCheckpointError(MinilinenError):
  """A checkpoint is older than one that is there."""

  takes = ("path", "step")
  says = "the checkpoint of step {step} in {place} is older than one that is there already."
  mend = "save_checkpoint(..., overwrite=True) removes those that are later."

  def __init__(self, path: Any, step: Any):
    super().__init__(step=step, place=path)


class AlreadyExistsError(MinilinenError):
  """A file is there already."""

  says = "{place} is there already."
  mend = "pass overwrite=True to replace it."

  def __init__(self, path: Any):
    super().__init__(place=path)


class MPACheckpointingRequiredError(MinilinenError):
  """Arrays over several processes need a manager of their own to be saved."""

  says = "the checkpoint of step {step} in {place} has arrays that lie on several processes."
  mend = "save it with orbax: orbax.checkpoint.StandardCheckpointer."

  def __init__(self, path: Any, step: Any):
    super().__init__(step=step, place=path)


class MPARestoreTargetRequiredError(MinilinenError):
  """Arrays over several processes need a target to be restored."""

  says = "the checkpoint of step {step} in {place} has arrays that lie on several processes{key}."
  mend = "restore_checkpoint needs a target that has arrays of the same sharding there."

  def __init__(self, path: Any, step: Any, key: Any = None):
    super().__init__(step=step, place=path, key=f", at {key!r}" if key is not None else "")


class MPARestoreDataCorruptedError(MinilinenError):
  """Arrays over several processes were not saved whole."""

  says = "the checkpoint of step {step} in {place} is not whole: its saving was not finished."
  mend = "restore an earlier step."

  def __init__(self, step: Any, path: Any):
    super().__init__(step=step, place=path)


class CursorFindError(MinilinenError):
  """A cursor's condition fits nothing, or more than one."""

  says = "the condition of Cursor.find fits {what}."
  mend = "Cursor.find_all gives all that fit a condition."

  def __init__(self, cursor: Any = None, cursor2: Any = None):
    found = [c for c in (cursor, cursor2) if c is not None]
    super().__init__(what=f"more than one: {found[0]!r} and {found[1]!r}" if len(found) > 1 else "nothing")


class TraverseTreeError(MinilinenError):
  """A cursor was given both an update and a condition, or neither."""

  says = "a traversal takes either an update_fn or a cond_fn: {what} given."

  def __init__(self, update_fn: Any, cond_fn: Any):
    super().__init__(what="neither was" if update_fn is None and cond_fn is None else "both were")


OTHER_ERRORS: dict[str, Any] = {
  name: value
  for name, value in vars().items()
  if isinstance(value, type) and issubclass(value, MinilinenError)
}
del OTHER_ERRORS["MinilinenError"]
