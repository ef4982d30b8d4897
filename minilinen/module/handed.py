"""May be skipped: references to variables that are handed over to a lifted function, or that modules keep in fields.

In `nn.remat(lambda model, cache, x: ...)(self, cache, x)` with `cache = self.variable(...)` JAX knows nothing of the
reference. It crosses the boundary as a module does, by its scope, and is there a reference to the variable inside.
"""

from __future__ import annotations

from typing import Any

from minilinen.core.scope import Variable
from minilinen.module.module import Module


class Handed(Module):
  """A reference on its way: which variable it is of the scope that this module has. It keeps the reference outside."""

  collection: str
  variable_name: str
  unbox: bool


def handed(value: Any) -> Any:
  """What crosses: a module itself, and of a reference a module with its scope."""
  if not isinstance(value, Variable):
    return value
  module = Handed(value.collection, value.name, value.unbox, parent=None)
  module.__dict__.update(scope=value.scope, _handed=value)
  return module


def arrived(module: Any) -> Any:
  """What stands for itself on the other side: the module, or the reference that it was."""
  if not isinstance(module, Handed):
    return module
  assert module.scope is not None
  return Variable(module.scope, module.collection, module.variable_name, module.unbox)
