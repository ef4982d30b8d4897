"""Mistakes in what is passed to `init`, `apply` and their relatives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minilinen.errors.base import MinilinenError, misspelt, nearest, short
from minilinen.errors.lifts import LiftedAt
from minilinen.tracing.spec import Spec, describe


class InvalidRngError(MinilinenError, ValueError):
  """A random stream is missing, or its key is no key."""

  def __init__(self, msg: str, **told: Any):
    super().__init__(msg, **told)

  @classmethod
  def no_key(cls, whose: str, found: Any, right: str) -> InvalidRngError:
    """For what is passed to `init` and is neither a key nor a dict of keys."""
    return cls(f"{whose} needs a random key or a dict of them, but got {_in_words(found)}.", right=right)

  @classmethod
  def missing(
    cls, stream: str, path: str, available: Iterable[str], lift: LiftedAt | None = None
  ) -> InvalidRngError:
    """For a stream that was asked for and not passed, or that stops at a boundary."""
    streams = list(available)
    if lift is not None:
      return cls(
        f'{path} needs PRNG for "{stream}", which stops at {lift}. The streams passed on are:'
        f" {', '.join(streams) or 'none'}.",
        path=path,
        places=lift.places,
        right=lift.passing_stream(stream),
      )
    return cls(
      f'{path} needs PRNG for "{stream}", but the streams passed are: {", ".join(streams) or "none"}.'
      f"{misspelt(stream, streams)}",
      path=path,
      right=f'model.apply(variables, x, rngs={{"{stream}": key}})',
    )


class LayerInputError(MinilinenError, TypeError, IndexError):
  """A layer was called with something that is no array of numbers, or that has no axes."""

  def __init__(self, module: str, path: str, found: Any):
    super().__init__(
      f"{module} in {path!r} works on an array of numbers that has axes, but its input is {_in_words(found)}.",
      path=path,
      mend='pass an array, such as jnp.ones((8, 3)). A shape alone, such as "f32[8,3]", is for nn.trace and'
      " model.tabulate.",
    )


class ApplyScopeInvalidVariablesTypeError(MinilinenError):
  """The variables passed to apply are no dict of dicts."""

  def __init__(self, found: Any = None) -> None:
    super().__init__(
      f"apply needs variables as a dict: collection -> nested dict of arrays, but got {short(found)}.",
      wrong="model.apply(params, x)",
      right='model.apply({"params": params}, x)',
    )


class ApplyScopeInvalidVariablesStructureError(MinilinenError):
  """The variables have a level too many: "params" inside "params"."""

  def __init__(self, variables: Any):
    super().__init__(
      'The variables have "params" inside "params": '
      f'variables["params"] has the keys {sorted(map(str, variables["params"]))[:8]}.',
      wrong='model.apply({"params": variables}, x)',
      right="model.apply(variables, x)",
    )


class LazyInitError(MinilinenError):
  """A variable's first value depends on an argument of which only the shape is known."""

  def __init__(self, partial_val: Any):
    super().__init__(
      f"lazy_init cannot make a variable of {partial_val}: its value depends on an argument that was passed "
      "as a jax.ShapeDtypeStruct.",
      mend="pass that argument as an array, or make the variable from shapes only.",
    )


class ApplyModuleInvalidMethodError(MinilinenError):
  """`method=` names no method of the module."""

  def __init__(self, method: Any, candidates: Iterable[str] = ()):
    super().__init__(
      f"Cannot call apply(): {method!r} is not a valid function, or no method of the module."
      f"{nearest(getattr(method, '__name__', method), candidates) if candidates else ''}",
      right="model.apply(variables, x, method=Model.encode) or method='encode'",
    )


class InvalidInstanceModuleError(MinilinenError):
  """A method was called on the class instead of an instance."""

  def __init__(self, found: Any = None) -> None:
    got = "" if found is None else f", but the first argument is {short(found)}"
    super().__init__(
      f"Can only call init, init_with_output, apply or bind methods on an instance of a Module{got}.",
      wrong="Net.init(key, x)",
      right="Net().init(key, x)",
    )


class NestingTooDeepError(MinilinenError, RecursionError):
  """Modules are nested deeper than Python's stack allows."""

  def __init__(self, limit: int):
    super().__init__(
      f"The modules are nested deeper than Python can call: its limit is {limit} calls, and a module in a module"
      " takes about five.",
      right="sys.setrecursionlimit(100_000) before init and apply",
      mend="or build the depth with a loop, or with nn.scan, instead of modules in modules.",
    )


def _in_words(found: Any) -> str:
  """What was passed: an array as its shape, a number as it is, anything else in a few words."""
  described = describe(found)
  return str(described) if isinstance(described, (Spec, bool, int, float)) else short(found)
