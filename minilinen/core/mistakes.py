"""May be skipped: what a scope says of a mistake, and of what Flax lets pass.

A scope comes here only when something is wrong or might be, so nothing here has to be fast.
"""

from __future__ import annotations

import sys
import traceback
import types
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import core

from minilinen import errors, jax_internals
from minilinen.core import home, meta
from minilinen.core.filters import filter_in_words
from minilinen.core.rng import is_key
from minilinen.core.tree import Tree
from minilinen.spelling import near
from minilinen.tracing.paths import Path
from minilinen.tracing.source import source_at


def collection_not_found(
  tree: Tree, path: Path, col: str, name: str, creatable: bool = True
) -> errors.ScopeCollectionNotFound:
  """The error for a collection that is empty: perhaps a boundary keeps it out."""
  stopped_by, frozen_by = home.stopping_collection(tree, col), home.stopping_writes(tree, col)
  return errors.ScopeCollectionNotFound(
    col, name, str(path), tree.variables, stopped_by, None if stopped_by else frozen_by,
    mutable=_mutable(tree, col), initializing=bool(tree.flags.get("initializing")), creatable=creatable,
  )  # fmt: skip


def not_mutable(tree: Tree, path: Path, col: str, name: str) -> errors.ModifyScopeVariableError:
  """The error for a write to a collection that is not mutable: here, or behind a boundary only."""
  behind, initializing = home.stopping_writes(tree, col), bool(tree.flags.get("initializing"))
  return errors.ModifyScopeVariableError(col, name, str(path), behind, _mutable(tree, col), initializing)


def _mutable(tree: Tree, meant: str) -> tuple[str, ...]:
  """The names of the collections that may be written, if they can be listed, without one that is misspelt."""
  words = filter_in_words(tree.mutable)
  names = words if isinstance(words, tuple) else ()
  return tuple(name for name in names if name in tree.variables or not near(meant, [name]))


def param_not_found(tree: Tree, path: Path, name: str) -> errors.ScopeParamNotFoundError:
  """The error for a missing parameter; where the module has none at all, with the modules beside it."""
  here = tree.read("params", path)
  beside = {} if here else _beside(tree, path)
  frozen_by = home.stopping_writes(tree, "params")
  inside = [n for n, branch in here.items() if isinstance(branch, Mapping) and name in branch]
  return errors.ScopeParamNotFoundError(name, str(path), here, _last(path), beside, frozen_by, inside)


def param_shape(tree: Tree, path: Path, name: str, found: Any, expected: Any) -> errors.ScopeParamShapeError:
  """The error for a parameter of another shape, with the modules of the same automatic name that it would fit."""
  prefix, _, number = _last(path).rpartition("_")
  beside = _beside(tree, path) if number.isdigit() else {}
  near = [n for n in beside if n.startswith(f"{prefix}_") and isinstance(beside[n], Mapping)]
  fitting = [n for n in near if getattr(meta.unbox(beside[n].get(name)), "shape", None) == expected]
  others = [n for n in near if n != _last(path)]
  return errors.ScopeParamShapeError(name, str(path), found, expected, fitting=fitting, beside=others)


def _last(path: Path) -> str:
  return path[-1] if path else ""


def _beside(tree: Tree, path: Path) -> Mapping[str, Any]:
  """The parameters of the module around, as far as they are on this side of a boundary."""
  return tree.read("params", path.parent) if len(path) > len(tree.path) else {}


def warn_of_leak(tree: Tree, path: Path, col: str, name: str, value: Any) -> None:
  """Warns if a value that is written belongs to a JAX transform inside of the tree."""
  between = tree.transforms_inside()
  for leaf in jax.tree.leaves(value):
    trace = jax_internals.trace_of(leaf) if isinstance(leaf, core.Tracer) else None
    if trace is not None and any(trace is inner for inner in between):
      kind = jax_internals.transform_of(trace)
      errors.warn(errors.LeakedTracerWarning(col, name, str(path), kind, home.lift_between(tree)))
      return


def warn_of_reuse(tree: Tree, path: Path, stream: str) -> None:
  """Warns if a key is drawn for all elements or steps of a JAX transform at once.

  The stream "params" is for parameters, which shall be the same for all.
  """
  if stream == "params":
    return
  for trace in tree.transforms_inside():
    kind = jax_internals.transform_of(trace)
    if kind in jax_internals.REPEATING:
      errors.warn(errors.ReusedKeyWarning(stream, str(path), kind, home.lift_between(tree)))
      return


def warn_of_shared_key(
  tree: Tree,
  path: Path,
  name: str,
  init_fn: Callable[..., Any],
  args: tuple[Any, ...],
  kwargs: dict[str, Any],
) -> None:
  """Warns if a stacked parameter is made of random numbers, with one key for all that are stacked."""
  lift = home.sharing_key(tree)
  if lift is None:
    return
  try:
    jax_internals.known_outputs(
      lambda key: init_fn(key, *args, **kwargs), jax.eval_shape(lambda: jax.random.key(0))
    )
  except jax_internals.DependsOnInput:
    errors.warn(errors.StackedKeyWarning(name, str(path), lift))
  except Exception:
    return  # whoever makes the value next says what is wrong


def no_key(rngs: Any, module: str) -> errors.InvalidRngError:
  """The error for what is passed to `init`, of a module perhaps, and is neither a key nor a dict of keys."""
  if not module:
    return errors.InvalidRngError.no_key("init", rngs, "core.init(fn)(jax.random.key(0), x)")
  call = called()
  right = f'model.{call}(jax.random.key(0), x) or model.{call}({{"params": key, "dropout": key2}}, x)'
  return errors.InvalidRngError.no_key(f"{call} of {module}", rngs, right)


def no_key_of(stream: Any, value: Any, initialized: str) -> errors.InvalidRngError:
  """The error for what is no key of a stream: for a module that is `initialized`, its variables perhaps."""
  if initialized and isinstance(value, Mapping) and not any(map(is_key, jax.tree.leaves(value))):
    return errors.InvalidRngError.of_variables(f"{called()} of {initialized}")
  return errors.InvalidRngError.of_stream(stream, value)


def called() -> str:
  """The method that a user called which ran `init`: it, or `tabulate` and so on."""
  name = "init"
  for frame, line in traceback.walk_stack(None):
    if source_at(frame, line) is not None:
      break
    if (asked := frame.f_code.co_name.strip("_")) in _RUNS and {"self", "rngs"} <= {*frame.f_locals}:
      name = asked
  return name


_RUNS = ("init", "init_with_output", "lazy_init", "trace", "tabulate", "module_paths")


def no_stream(tree: Tree, path: Path, stream: str) -> errors.InvalidRngError:
  """The error for a key of a stream that was not passed, or that a boundary keeps out."""
  return errors.InvalidRngError.missing(
    stream, str(path), tree.rngs, home.stopping_stream(tree, stream), bool(tree.flags.get("initializing"))
  )


def warn_of_served(tree: Tree, path: Path, stream: str) -> None:
  """Warns if "params" serves for a stream that was passed and stopped, or passed under another name."""
  lift = home.stopping_stream(tree, stream)
  if lift is not None:
    errors.warn(errors.ServedByParamsWarning(stream, str(path), tree.rngs, lift))
  elif len(tree.rngs) > 1 and near(stream, [s for s in tree.rngs if s != "params"]):
    errors.warn(errors.ServedByParamsWarning(stream, str(path), tree.rngs))


def too_deep(error: RecursionError) -> errors.NestingTooDeepError | None:
  """The error for modules in modules, too many of them; a function that calls itself is named in a note instead."""
  if type(error) is not RecursionError or "__notes__" in vars(error):
    return None
  steps, step = [], error.__traceback__
  while step is not None:
    steps.append(step)
    step = step.tb_next
  paths = {scope.path for step in steps if (scope := _scope_in(step.tb_frame)) is not None}
  limit = sys.getrecursionlimit()
  if len(paths) > limit // _FRAMES_OF_A_MODULE:
    return errors.NestingTooDeepError(limit)
  calls = Counter(at for step in steps if (at := source_at(step.tb_frame, step.tb_lineno)) is not None)
  if calls:
    at, times = calls.most_common(1)[0]
    error.add_note(
      f"{at.function} calls itself without end: it stands here {times} times, at {at.file}:{at.line}"
    )
  return None


_FRAMES_OF_A_MODULE = 20  # at most; modules that nest have about five


def _scope_in(frame: types.FrameType) -> Any:
  """The scope that a frame works on: it, or that of its module."""
  for name in ("self", "scope"):
    found = frame.f_locals.get(name)
    scope = getattr(found, "__dict__", {}).get("scope", found) if found is not None else None
    if hasattr(type(scope), "path_text"):
      return scope
  return None
