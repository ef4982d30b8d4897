"""Marks: how a module call is found again in the equations that it led to.

While `nn.trace` runs, the recorder opens for each module call a name of its own in JAX's stack of names, "@@12@@". JAX
carries the stack through differentiation, batching and recomputation, so that `program` can read off each equation
which call it comes from. Such a jaxpr is only looked at; what is compiled to be run never holds a mark.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager

import jax

_MARK = re.compile(r"@@(\d+)@@")
_INITIALIZER = "@@init@@"


def marked(number: int) -> AbstractContextManager[object]:
  """For a `with` block, the equations that are traced have this mark, unless there is another inside."""
  return jax.named_scope(f"@@{number}@@")


def initializing() -> AbstractContextManager[object]:
  """For a `with` block, the equations that are traced are marked as those of an initializer."""
  return jax.named_scope(_INITIALIZER)


def innermost(names: str) -> int | None:
  """The innermost mark in a stack of names."""
  found = _MARK.findall(names)
  return int(found[-1]) if found else None


def is_initializer(names: str) -> bool:
  """Whether a stack of names is that of an equation in an initializer."""
  return _INITIALIZER in names
