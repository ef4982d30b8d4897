"""What a scope says of a mistake: the errors that need a look around, and the warnings of what Flax lets pass.

A scope comes here only when something is wrong or might be, so nothing here has to be fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
from jax import core

from minilinen import errors, jax_internals
from minilinen.core import meta
from minilinen.core.filters import filter_in_words
from minilinen.core.known import DependsOnInput, known_outputs
from minilinen.spelling import near

if TYPE_CHECKING:
  from minilinen.core.scope import Scope


def collection_not_found(scope: Scope, col: str, name: str) -> errors.ScopeCollectionNotFound:
  """The error for a collection that is empty: perhaps a boundary keeps it out."""
  stopped_by, frozen_by = scope._home.stopping_collection(col), scope._home.stopping_writes(col)
  return errors.ScopeCollectionNotFound(
    col, name, scope.path_text, scope.root._variables, stopped_by, None if stopped_by else frozen_by
  )


def not_mutable(scope: Scope, col: str, name: str) -> errors.ModifyScopeVariableError:
  """The error for a write to a collection that is not mutable: here, or behind a boundary only."""
  words = filter_in_words(scope.mutable)
  also = words if isinstance(words, tuple) else ()
  return errors.ModifyScopeVariableError(col, name, scope.path_text, scope._home.stopping_writes(col), also)


def param_not_found(scope: Scope, name: str) -> errors.ScopeParamNotFoundError:
  """The error for a missing parameter; where the module has none at all, with the modules beside it."""
  here = scope._collection("params")
  beside = scope.parent._collection("params") if not here and scope.parent is not None else {}
  frozen_by = scope._home.stopping_writes("params")
  return errors.ScopeParamNotFoundError(name, scope.path_text, here, scope.name or "", beside, frozen_by)


def param_shape(scope: Scope, name: str, found: Any, expected: Any) -> errors.ScopeParamShapeError:
  """The error for a parameter of another shape, with the modules of the same automatic name that it would fit."""
  prefix, _, number = (scope.name or "").rpartition("_")
  beside = scope.parent._collection("params") if scope.parent is not None and number.isdigit() else {}
  near = [n for n in beside if n.startswith(f"{prefix}_") and isinstance(beside[n], Mapping)]
  fitting = [n for n in near if getattr(meta.unbox(beside[n].get(name)), "shape", None) == expected]
  others = [n for n in near if n != scope.name]
  return errors.ScopeParamShapeError(name, scope.path_text, found, expected, fitting=fitting, beside=others)


def warn_of_leak(scope: Scope, col: str, name: str, value: Any) -> None:
  """Warns if a value that is written belongs to a JAX transform inside of the scope's home."""
  between = scope._home.transforms_between()
  for leaf in jax.tree.leaves(value):
    trace = jax_internals.trace_of(leaf) if isinstance(leaf, core.Tracer) else None
    if trace is not None and any(trace is inner for inner in between):
      kind = jax_internals.transform_of(trace)
      lift = scope._home.lift_between()
      errors.warn(errors.LeakedTracerWarning(col, name, scope.path_text, kind, lift))
      return


def warn_of_reuse(scope: Scope, stream: str) -> None:
  """Warns if a key is drawn for all elements or steps of a JAX transform at once.

  The stream "params" is for parameters, which shall be the same for all.
  """
  if stream == "params":
    return
  for trace in scope._home.transforms_between():
    kind = jax_internals.transform_of(trace)
    if kind in jax_internals.REPEATING:
      lift = scope._home.lift_between()
      errors.warn(errors.ReusedKeyWarning(stream, scope.path_text, kind, lift))
      return


def warn_of_shared_key(
  scope: Scope, name: str, init_fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
  """Warns if a stacked parameter is made of random numbers, with one key for all that are stacked."""
  lift = scope._home.shares_key
  assert lift is not None
  try:
    known_outputs(lambda key: init_fn(key, *args, **kwargs), jax.eval_shape(lambda: jax.random.key(0)))
  except DependsOnInput:
    errors.warn(errors.StackedKeyWarning(name, scope.path_text, lift))


def warn_of_served(scope: Scope, stream: str) -> None:
  """Warns if "params" serves for a stream that was passed and stopped, or passed under another name."""
  lift = scope._home.stopping_stream(stream)
  if lift is not None:
    errors.warn(errors.ServedByParamsWarning(stream, scope.path_text, scope.rngs, lift))
  elif len(scope.rngs) > 1 and near(stream, [s for s in scope.rngs if s != "params"]):
    errors.warn(errors.ServedByParamsWarning(stream, scope.path_text, scope.rngs))
