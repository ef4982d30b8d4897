"""Random keys again, from what a trace says of them.

A `Key` event holds no key, only how it came from its stream's root key. `replay_key` goes that way once
more; the key is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from minilinen.keys import Step, fold
from minilinen.tracing.events import Key


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
    KeyError: if `roots` lacks the stream that served the key.
    ValueError: if the event has a step of an unknown kind, or was drawn in a loop for which `steps` has no number.
  """
  if isinstance(roots, Mapping):
    if event.served not in roots:
      raise KeyError(
        f"stream {event.served!r} is not among the root keys ({', '.join(map(repr, roots))}): add"
        f" the key that the run was given for it"
      )
    key = roots[event.served]
  else:
    key = roots
  axes = 0
  numbers = iter(steps)
  for step in event.steps:
    if step[0] == "step":
      step = ("step", _next_number(numbers, event) * int(step[1]))
    key = _over_axes(step, axes)(key)
    axes += step[0] == "split"
  return key


def _next_number(numbers: Iterator[int], event: Key) -> int:
  number = next(numbers, None)
  if number is None:
    raise ValueError(
      f"the key of stream {event.stream!r} was drawn in a while_loop, which draws another in every step:"
      " say in which, replay_key(event, roots, steps=(0,))"
    )
  return number


def _over_axes(step: Step, axes: int) -> Any:
  """A step as a function of a key, mapped over the leading axes that earlier splits made."""

  def take(key: Any) -> Any:
    match step:
      case ("split", int(n)):
        return jax.random.split(key, n)
      case ("step", int(n)):
        return jax.random.fold_in(key, np.int32(n))
      case ("fold" | "fold_sep" as kind, *parts):
        return fold(key, tuple(parts), separated=kind == "fold_sep")
    raise ValueError(
      f"{step!r} is no step that derives a key; there are 'fold', 'fold_sep', 'split' and 'step'"
    )

  function = take
  for _ in range(axes):
    function = jax.vmap(function)
  return function
