"""`nn.check`: whether variables are those of a model, and what else is wrong with a call.

The model makes its variables on shapes alone, they are compared with those that were passed, and then the call is
traced with these; `Trace.check` looks at that trace. Nothing is computed, and no mistake that can be told as a
finding is raised.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax

from minilinen import errors
from minilinen.core.filters import CollectionFilter
from minilinen.module import Module
from minilinen.tracing import Trace, abstract, describe
from minilinen.tracing.checks import Findings
from minilinen.tracing.recording import trace
from minilinen.tracing.told import Told

_NO_VARIABLES = (errors.ApplyScopeInvalidVariablesTypeError, errors.ApplyScopeInvalidVariablesStructureError)


def check(
  model: Module,
  variables: Any,
  *args: Any,
  rngs: Any = None,
  method: Callable[..., Any] | str | None = None,
  mutable: CollectionFilter = False,
  **kwargs: Any,
) -> Findings:
  """What is wrong with `model.apply(variables, *args, ...)`, without computing it.

  Args:
    model: the module.
    variables: the variables as they would be passed to `apply`: arrays, or specs.
    *args, **kwargs: arguments of the method, as arrays, `ShapeDtypeStruct`s or spec strings ("f32[8,3]").
    rngs, method, mutable: as for `apply`.

  Returns:
    The findings: parameters that are missing, moved, of another shape or not the model's; the error that the call
    would end with; what `Trace.check` says of the call.

  >>> import jax, minilinen as nn
  >>> variables = nn.Dense(3).init(jax.random.key(0), jax.numpy.ones((1, 2)))
  >>> nn.check(nn.Dense(3), variables, "f32[1,2]")
  Nothing found.
  >>> print(nn.check(nn.Dense(4), variables, "f32[1,2]")[0].message)
  Variable 'params/kernel' is f32[2,3], and the model makes it f32[2,4], for inputs (f32[1,2]).
  """
  if not isinstance(model, Module):
    raise errors.InvalidInstanceModuleError(model, "nn.check")
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", errors.MinilinenWarning)
    called, failed = _traced(
      model.apply, variables, *args, rngs=rngs, method=method, mutable=mutable, **kwargs
    )
    differences: list[Told] = []
    if not isinstance(failed, _NO_VARIABLES):
      made, not_made = _traced(model.init, _keys(rngs), *args, method=method, **kwargs)
      if not_made is None:
        differences = _differences(made, variables, whole=method is None, state=failed is not None)
  if failed is not None:
    rest = () if differences else (Told.of(failed),)
    return Findings([*differences, *rest, *called.check().without(type(failed).__name__)])
  extra = {(f.path, f.found) for f in differences if f.kind == "ExtraVariableHint"}
  more = [f for f in called.check() if f.kind != "UnusedVariableHint" or (f.path, f.found) not in extra]
  return Findings([*differences, *more])


def _keys(rngs: Any) -> dict[str, Any]:
  """Keys to make variables with; their numbers don't matter."""
  streams = rngs if isinstance(rngs, Mapping) else {}
  return dict.fromkeys(("params", *(s for s in streams if isinstance(s, str))), jax.random.key(0))


def _traced(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Trace, Exception | None]:
  """The trace of a call, and the exception that ended it."""
  try:
    return trace(fn)(*args, **kwargs), None
  except Exception as error:
    return vars(error).get("trace", Trace()), error


def _differences(made: Trace, variables: Any, whole: bool, state: bool) -> list[Told]:
  given = describe(abstract(variables))
  if not isinstance(given, dict) or not isinstance(given.get("params"), Mapping):
    return []
  from minilinen.tracing.checks.variables import compared

  found = list(compared(made.variables(), given, made.items, state))
  return found if whole else [f for f in found if f.kind != "ExtraVariableHint"]
