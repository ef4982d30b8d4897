"""May be skipped: marks: how a module call is found again in the equations that it led to.

While `nn.trace` runs, the recorder puts for each module call an object of its own on JAX's stack of names, which JAX
carries through differentiation, batching and recomputation: so `program` can read off each equation which calls it
stands in. A mark is no name: nobody can spell it with `jax.named_scope`, and a stack of names reads as without it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from minilinen import jax_internals


@dataclass(frozen=True, slots=True)
class Mark:
  """Stands in JAX's stack of names for a call, -1 for an initializer.

  JAX asks an entry of the stack for its `name`, and to `wrap` the names further in when the stack is written out.
  """

  call: int
  name: str = ""

  def wrap(self, names: list[str]) -> None:
    """Adds nothing to the names."""


_INITIALIZER = Mark(-1)


def marked(number: int) -> AbstractContextManager[object]:
  """For a `with` block, the equations that are traced stand in the call with this number."""
  return jax_internals.on_name_stack(Mark(number))


def initializing() -> AbstractContextManager[object]:
  """For a `with` block, the equations that are traced are marked as those of an initializer."""
  return jax_internals.on_name_stack(_INITIALIZER)


def calls_of(stack: tuple[Any, ...]) -> list[int]:
  """The numbers of the calls in a stack of names, outermost first."""
  return [entry.call for entry in stack if isinstance(entry, Mark) and entry is not _INITIALIZER]


def is_initializer(stack: tuple[Any, ...]) -> bool:
  """Whether a stack of names is that of an equation in an initializer."""
  return any(entry is _INITIALIZER for entry in stack)
