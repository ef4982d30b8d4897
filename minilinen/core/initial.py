"""May be skipped: first values of parameters, without work done twice, and the check of a passed one's shape.

A model asks the same few initializers for the same shapes again and again. Shapes are remembered, so that `apply`
checks parameters against their initializers at no cost. Where JAX writes a program down, its own initializers are
traced once more when they are met again, and from then on copied, equation by equation, into it. `Scope` is the only
caller.
"""

from __future__ import annotations

import contextlib
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from minilinen import errors
from minilinen.core import initial_mistakes
from minilinen.core.initial_mistakes import Asked
from minilinen.core.rng import LazyRng
from minilinen.core.run_span import within
from minilinen.core.tree import Tree
from minilinen.jax_internals import copied_in, is_staged
from minilinen.tracing.paths import Path
from minilinen.tracing.recorder import current, initializing
from minilinen.tracing.spec import describe, made_by

Init = Callable[..., Any]


class Shapes(NamedTuple):
  """What an initializer gives: the shapes of its leaves, and whether it is one array and no tree of them."""

  leaves: list[tuple[int, ...]]
  is_array: bool


# Initializer -> (args, kwargs) -> what is known of the call. Weak, since an initializer may close over tracers.
_shapes: weakref.WeakKeyDictionary[Init, dict[Any, Shapes]] = weakref.WeakKeyDictionary()
_traced: weakref.WeakKeyDictionary[Init, dict[Any, Init | None]] = weakref.WeakKeyDictionary()


def initial_shapes(
  name: str, path: Path, init_fn: Init, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Shapes:
  """The shapes of the leaves that an initializer would give, without running it."""
  known = _known(_shapes, init_fn) if type(init_fn) is types.FunctionType else None
  call = _call(args, kwargs)
  if known is not None and call is not None and call in known:
    return known[call]
  try:
    result = jax.eval_shape(lambda: init_fn(jax.random.key(0), *args, **kwargs))
  except Exception as error:
    _explain(error, Asked(name, str(path), init_fn, args, kwargs, True))
    raise
  shapes = Shapes([leaf.shape for leaf in jax.tree.leaves(result)], isinstance(result, jax.ShapeDtypeStruct))
  if known is not None and call is not None:
    known[call] = shapes
  return shapes


def new_value(
  name: str, path: Path, init_fn: Init, key: LazyRng, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
  """What an initializer gives for a key.

  Args:
    name, path: of the parameter, for messages.

  Raises:
    SymbolicParamError: if a size of it is a symbol.
  """
  try:
    if current() is None:
      value = _initial_value(init_fn, key, args, kwargs)
    else:
      with initializing():
        value = _initial_value(init_fn, key, args, kwargs)
  except Exception as error:
    # Initializers reckon with sizes, and some fail at a symbol before they give anything.
    _check_sizes(
      name, path, [x for x in jax.tree.leaves((args, kwargs)) if isinstance(x, int) or _is_symbol(x)]
    )
    _explain(error, Asked(name, str(path), init_fn, args, kwargs, True))
    raise
  if callable(value):
    initial_mistakes.warn_of_function(value, Asked(name, str(path), init_fn, args, kwargs, True))
  for leaf in jax.tree.leaves(value):
    _check_sizes(name, path, getattr(leaf, "shape", ()))
  return value


def _explain(error: Exception, asked: Asked) -> None:
  """Raises the error that says more of an initializer that failed, if there is one."""
  better = None
  with contextlib.suppress(Exception):
    better = initial_mistakes.explained(error, asked)
  if better is not None:
    raise better from None


def _check_sizes(name: str, path: Path, shape: Sequence[Any]) -> None:
  for dimension in shape:
    if not isinstance(dimension, int) and _is_symbol(dimension):
      raise errors.SymbolicParamError(name, str(path), shape, dimension)


def position(tree: Tree) -> Any:
  """Where somebody records, how far the record of the run on a tree has come: before a variable is made."""
  return None if (recorder := current()) is None else within(recorder, tree).position()


def how_made(since: Any, init_fn: Init, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
  """What the trace shall know of how a variable was made; `since` is the `position` from before."""
  recorder = current()
  keys = recorder.keys_since(since) if recorder is not None else ()
  return dict(initializer=made_by(init_fn), args=describe(args), kwargs=describe(kwargs), keys=keys)


def _is_symbol(size: Any) -> bool:
  return not hasattr(size, "dtype") and jax.export.is_symbolic_dim(size)


def first_value(name: str, path: Path, init_fn: Init, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
  """What the initializer of a variable that is no parameter gives; it draws its own keys."""
  try:
    if current() is None:
      return init_fn(*args, **kwargs)
    with initializing():
      return init_fn(*args, **kwargs)
  except Exception as error:
    _explain(error, Asked(name, str(path), init_fn, args, kwargs, False))
    raise


def _initial_value(init_fn: Init, key: LazyRng, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
  if is_staged(key.rng) and _is_pure(init_fn) and (call := _call(args, kwargs)) is not None:
    known = _known(_traced, init_fn)
    if call in known:
      copied = known[call] = known[call] or _copied_in(init_fn, args, kwargs)
      return copied(key.rng, key.number())
    known[call] = None
  return init_fn(key.as_jax_rng(), *args, **kwargs)


def _is_pure(init_fn: Init) -> bool:
  """Whether a function is one of JAX's initializers, or wraps one (`functools.wraps` hands on where it is from).

  Others might draw from numpy: they run each time.
  """
  return type(init_fn) is types.FunctionType and init_fn.__module__.startswith("jax.")


def _copied_in(init_fn: Init, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Init:
  reference = weakref.ref(init_fn)

  def value(rng: Any, number: Any) -> Any:
    init_fn = reference()
    assert init_fn is not None
    return init_fn(jax.random.fold_in(rng, number), *args, **kwargs)

  return copied_in(value)


def _known(memory: Any, init_fn: Init) -> dict[Any, Any]:
  return memory.setdefault(init_fn, {})


def _call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
  """A call's arguments as a key, None if they are not hashable; shapes may be lists."""
  args = tuple((list, *arg) if type(arg) is list else arg for arg in args)
  call = (args, tuple(kwargs.items()))
  try:
    hash(call)
  except TypeError:
    return None
  return call


def check_shapes(name: str, path: Path, value: Any, expected: Shapes) -> tuple[Any, Any] | None:
  """Checks a parameter that was passed against the shapes that its initializer gives.

  Returns:
    The first shape that is another, and what it should be; None if all are right.

  Raises:
    ScopeParamTypeError: if it is no array, or not as many.
  """
  if isinstance(value, jax.Array) and len(expected.leaves) == 1:
    found = [value.shape]
  else:
    leaves = jax.tree.leaves(value)
    is_number = all(
      hasattr(leaf, "shape") or isinstance(leaf, (bool, int, float, complex)) for leaf in leaves
    )
    is_branch = expected.is_array and isinstance(value, Mapping)
    if not is_number or is_branch or len(leaves) != len(expected.leaves):
      raise errors.ScopeParamTypeError(name, str(path), value, expected.leaves)
    found = [np.shape(leaf) for leaf in leaves]
  return next(((is_shape, due) for is_shape, due in zip(found, expected.leaves) if is_shape != due), None)
