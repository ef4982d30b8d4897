"""May be skipped: what is wrong with an initializer that failed: it is none, makes one, or takes other arguments.

Only what JAX's or Python's message would leave to guess is said; what a user's initializer raises is the user's.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from minilinen import errors
from minilinen.errors.base import short


class Asked(NamedTuple):
  """What was asked for a first value: a variable's name and path, and the call, with a key or without one."""

  name: str
  path: str
  init_fn: Any
  args: tuple[Any, ...]
  kwargs: dict[str, Any]
  has_key: bool

  def call(self) -> str:
    """How it is called, in words."""
    known = ["key"] * self.has_key
    if self.args and isinstance(self.args[0], (tuple, list)):
      known.append("shape")
    more = len(self.args) + self.has_key - len(known)
    return (
      f"init_fn({', '.join(known + ['dtype' if more == 1 and 'shape' in known else '...'] * bool(more))})"
    )


def explained(error: Exception, asked: Asked) -> Exception | None:
  """The error that says more than Python's or JAX's; None if it is the user's affair."""
  if isinstance(error, errors.MinilinenError):
    return None
  if not callable(asked.init_fn):
    return _error(asked, given=asked.init_fn, **_of_value(asked))
  if type(error) is TypeError:
    return _of_function(asked)
  return _of_jax(error, asked) if type(error) is ValueError else None


def warn_of_function(value: Any, asked: Asked) -> None:
  """Warns of a parameter that became a function: what makes an initializer was given in its place."""
  if type(value) is types.FunctionType and (texts := _of_maker(asked)):
    call = asked.call()
    errors.warn(errors.UncalledInitializerWarning(asked.name, asked.path, call=call, **texts))


def _error(asked: Asked, **case: Any) -> errors.InitializerError:
  return errors.InitializerError(asked.name, asked.path, **{"call": asked.call(), **case})


def _of_value(asked: Asked) -> dict[str, str]:
  """What stands in the place of an initializer: a value, a shape, a name."""
  value, key = asked.init_fn, "key" * asked.has_key
  arguments = ", ".join(part for part in (key, "*args" * bool(asked.args)) if part)
  if isinstance(value, (tuple, list)) and asked.args and callable(asked.args[0]):
    return dict(right=f"self.param({asked.name!r}, init_fn, shape)" if key else "the function first")
  if isinstance(value, str) and hasattr(jax.nn.initializers, value):
    return dict(right=_maker_called(getattr(jax.nn.initializers, value)))
  if isinstance(value, (bool, int, float)) and key and asked.args:
    return dict(right=f"nn.initializers.constant({value!r})")
  if isinstance(value, (bool, int, float)):
    return dict(right=f"lambda {arguments}: jnp.array({value!r})".replace(" :", ":"))
  if isinstance(value, (jax.Array, np.ndarray)):
    return dict(right=f"lambda {arguments}: value   # the array".replace(" :", ":"))
  return {}


def _of_function(asked: Asked) -> Exception | None:
  """For a function that cannot be called so; None if it can, and failed inside."""
  if texts := _of_maker(asked):
    return _error(asked, says=errors.InitializerError.uncalled, **texts)
  function = _plain(asked.init_fn)
  signature = _signature(function)
  if signature is None:
    return None
  key, name = (None,) * asked.has_key, getattr(function, "__name__", type(function).__name__)
  is_jax = _module(function).startswith("jax.") and "key" not in signature.parameters
  takes_call = _takes(signature, *key, *asked.args, **asked.kwargs)
  if takes_call and not (is_jax and asked.has_key):
    return None
  shown = ", ".join(signature.parameters)
  case = dict(says=errors.InitializerError.other, function=short(asked.init_fn), signature=shown)
  of_jax = f"nn.initializers.{name}" if name in ("zeros", "ones") else ""
  if asked.has_key and is_jax and of_jax:
    case["right"] = of_jax
  elif asked.has_key and _takes(signature, *asked.args, **asked.kwargs):
    lambdas = f"lambda key{', *args' * bool(asked.args)}: "
    case["right"] = lambdas + ("..." if name == "<lambda>" and not asked.args else _call_of(name, asked.args))
  elif not asked.args and not asked.kwargs and _takes(signature, None, None) and _has(signature, "shape"):
    given = of_jax or "init_fn"
    case["right"] = f"self.param({asked.name!r}, {given}, shape)"
    if not asked.has_key:
      case["right"] = f'lambda: {given}(self.make_rng("params"), shape)'
  elif not asked.has_key and _takes(signature, None, *asked.args, **asked.kwargs) and _has(signature, "key"):
    case["right"] = 'lambda: init_fn(self.make_rng("params"), ...)' if asked.args else "lambda: ..."
  return _error(asked, **case)


def _call_of(name: str, args: tuple[Any, ...]) -> str:
  name = "init_fn" if name == "<lambda>" else name
  return f"{name}({'*args' * bool(args)})"


def _of_maker(asked: Asked) -> dict[str, str]:
  """For what makes an initializer, such as `normal`, where `normal()` was meant."""
  function = _plain(asked.init_fn)
  signature = _signature(function)
  name, module = getattr(function, "__name__", ""), _module(function)
  of_jax = getattr(jax.nn.initializers, name, None)
  is_ours = module == "minilinen.initializers"
  if signature is None or "key" in signature.parameters or not (of_jax is function or is_ours):
    return {}
  return dict(function=f"nn.initializers.{name}", right=_maker_called(function))


def _maker_called(function: Any) -> str:
  """The code that calls what makes an initializer; a plain initializer stays as it is."""
  signature, call = _signature(function), f"nn.initializers.{function.__name__}"
  if signature is None or "key" in signature.parameters:
    return call
  return f"{call}()" if _takes(signature) else f"{call}(...)"


def _of_jax(error: ValueError, asked: Asked) -> Exception | None:
  """For what JAX's own initializers do not do: a vector from two axes, whole numbers at random."""
  said = str(error)
  if not _module(_plain(asked.init_fn)).startswith("jax."):
    return None
  case: dict[str, str] = {}
  if re.match(r"Can't compute input and output sizes of a \d-dimensional", said):
    mend = (
      "this initializer scales by the sizes of two axes; for fewer take nn.initializers.normal() or zeros."
    )
    case = dict(mend=mend)
  elif "must be a float dtype" in said:
    case = dict(mend="what is drawn at random is of a float type: param_dtype=jnp.float32.")
  if not case:
    return None
  return _error(asked, says=errors.InitializerError.failed, python=said, expected="", **case)


def _module(function: Any) -> str:
  return getattr(function, "__module__", None) or ""


def _plain(function: Any) -> Any:
  """A function without what wraps it (`functools.wraps`, `jax.jit`)."""
  try:
    return inspect.unwrap(function)
  except ValueError:
    return function


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
  try:
    return inspect.signature(function)
  except (TypeError, ValueError):
    return None


def _takes(signature: inspect.Signature, *args: Any, **kwargs: Any) -> bool:
  try:
    signature.bind(*args, **kwargs)
  except TypeError:
    return False
  return True


def _has(signature: inspect.Signature, name: str) -> bool:
  return name in signature.parameters
