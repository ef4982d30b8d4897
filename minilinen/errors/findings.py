"""Mistakes that show only when a run is over, by name: `Trace.check` and `nn.check` find them.

What they say is made where they are found, from a trace (`minilinen.tracing.checks`). The classes are here so that each
kind of finding can be warned of, and turned off, like any other.
"""

from __future__ import annotations

from minilinen.errors.base import MinilinenWarning


class ExtraVariableWarning(MinilinenWarning):
  """A variable was passed that the model does not have."""


class UnusedVariableWarning(MinilinenWarning):
  """A variable was passed, and nothing in the run read it."""


class MovedNameWarning(MinilinenWarning):
  """Parameters fit under other automatic names: a layer was put in or taken out before them."""


class UncalledModuleWarning(MinilinenWarning):
  """A module was declared in setup and never called."""


class KeyCollisionWarning(MinilinenWarning):
  """Two places drew the same key: their paths run together to one text."""


class RetracedWarning(MinilinenWarning):
  """JAX traced a run of the same module from the same line several times."""
