"""Random keys again, from what a trace says of them.

A `Key` event holds no key, only how it came from its stream's root key. `replay_key` goes that way once
more; the key is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from minilinen.keys import Step, fold
from minilinen.tracing.errors import LoopStepMissingError, NoSuchRootKeyError, UnknownKeyStepError
from minilinen.tracing.events import Key, Path


def replay_key(event: Key, roots: Any, steps: Sequence[int] = ()) -> Any:
  """The key that an event tells of.

  Args:
    event: the event.
    roots: the key given to `init` or `apply`, or a dict of them by stream.
    steps: which step of each `while_loop` that splits the stream, the outermost first.

  Returns:
    The key; with a leading axis for each ("split", n) on its way, in order: the keys of all copies that
    a lifted transform made.

  Raises:
    NoSuchRootKeyError: if `roots` lacks the stream that served the key.
    LoopStepMissingError: if the key was drawn in a loop for which `steps` has no number.
    UnknownKeyStepError: if the event has a step of an unknown kind.
  """
  if isinstance(roots, Mapping):
    if event.served not in roots:
      known = ", ".join(map(repr, roots)) or "none"
      raise NoSuchRootKeyError(where=_where(event), stream=event.served, known=known)
    key = roots[event.served]
  else:
    key = roots
  loops = sum(step[0] == "step" for step in event.steps)
  if len(steps) < loops:
    raise LoopStepMissingError(
      stream=event.stream, where=_where(event), loops=f"{loops} loops" if loops > 1 else "a while_loop",
      given=len(steps) or "none", steps=(*steps, *(0,) * (loops - len(steps))),
    )  # fmt: skip
  axes = 0
  numbers = iter(steps)
  for step in event.steps:
    if step[0] == "step":
      step = ("step", next(numbers) * int(step[1]))
    key = _over_axes(step, axes, event)(key)
    axes += step[0] == "split"
  return key


def _where(event: Key) -> str:
  """The module and the user's line."""
  return f"in {str(Path(event.path))!r}{f' ({event.source})' if event.source is not None else ''}"


def _over_axes(step: Step, axes: int, event: Key) -> Any:
  """A step as a function of a key, mapped over the leading axes that earlier splits made."""

  def take(key: Any) -> Any:
    match step:
      case ("split", int(n)):
        return jax.random.split(key, n)
      case ("step", int(n)):
        return jax.random.fold_in(key, np.int32(n))
      case ("fold" | "fold_sep" as kind, *parts):
        return fold(key, tuple(parts), separated=kind == "fold_sep")
    raise UnknownKeyStepError(step=step, where=_where(event))

  function = take
  for _ in range(axes):
    function = jax.vmap(function)
  return function
