"""Which operation a layer multiplies with: JAX's, or one that a user put in its place.

Layers take such an operation as a field twice: as a function (`dot_general=`), or as a class of modules that is
made anew in every call (`dot_general_cls=nn.Fp8DirectDotGeneralOp`), so that it has variables of its own.
"""

from __future__ import annotations

from typing import Any


def chosen(made_by: Any, given: Any, default: Any) -> Any:
  """The operation to use: a class's instance, the one given, or the default."""
  if made_by is not None:
    return made_by()
  return default if given is None else given
