"""What a transform lifts, and how it is called: with a class, a method, or a function of a module or of a scope.

Every transform of this folder is one function. `lifted` lets it take whatever can be lifted, by Flax's names of
arguments. The core knows nothing of modules: a class that can be lifted has a method `__lift__`, and what can be passed
in the place of a scope a method `__carry__`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from minilinen import errors
from minilinen.core.callables import class_apart, named, unbound
from minilinen.tracing.source import CodePlace, Source, source_of_frames, user_place

Transform = TypeVar("Transform", bound=Callable[..., Any])
Liftable = TypeVar("Liftable", bound=Callable[..., Any])
"""A lifted class or method is typed as what it was made of: editors and type checkers know its fields and arguments."""


@dataclass(frozen=True)
class Target:
  """What is lifted.

  Attributes:
    fn: the user's function.
    base: the class of which it is a method, if a class was lifted: inside, the module is one of that class.
    place: where in the user's code it is lifted.
    by: the transform that was called, if it is another than the one that lifts.
  """

  fn: Callable[..., Any]
  base: type[Any] | None = None
  place: CodePlace | None = None
  by: str = ""

  @staticmethod
  def of(fn: Any) -> Target:
    """A target of a function that is lifted in the user's line that is running."""
    return fn if isinstance(fn, Target) else Target(named(unbound(fn)), place=user_place(2))

  @property
  def name(self) -> str:
    """The function's name: "Net.__call__"."""
    return getattr(self.fn, "__qualname__", type(self.fn).__name__)

  @property
  def source(self) -> Source | None:
    """The line that lifts it."""
    return source_of_frames([self.place] if self.place is not None else [])


def also_called(**also: str) -> Callable[[Transform], Transform]:
  """Gives arguments of a transform their other names in Flax's core: other name -> the argument."""

  def decorate(transform: Transform) -> Transform:
    @functools.wraps(transform)
    def lift(*args: Any, **kwargs: Any) -> Any:
      return transform(*args, **{also.get(name, name): value for name, value in kwargs.items()})

    lift.also_called = also  # type: ignore[attr-defined]
    return lift  # type: ignore[return-value]

  return decorate


def lifted(prefix: str, **also: str) -> Callable[[Transform], Transform]:
  """Lets a transform of functions lift classes too.

  Args:
    prefix: beginning of a lifted class's name.
    also: as for `also_called`.
  """

  def decorate(transform: Transform) -> Transform:
    known = inspect.signature(transform)

    @also_called(**also)
    @functools.wraps(transform)
    def lift(*args: Any, **kwargs: Any) -> Any:
      options = known.bind(*args, **kwargs).arguments
      methods, (target, with_settings) = options.pop("methods", None), class_apart(options.pop("target"))
      if isinstance(target, Target):
        return transform(target, **options)
      place = user_place(3)
      if isinstance(target, type) and hasattr(target, "__lift__"):

        def one(fn: Callable[..., Any], **own: Any) -> Any:
          return lift(Target(fn, target, place), **{**options, **own})

        return with_settings(target.__lift__(one, prefix, methods))
      if not callable(target) or hasattr(target, "__carry__"):
        raise errors.TransformTargetError(target, transform.__name__)
      return transform(Target(named(target), place=place), **options)

    return lift  # type: ignore[return-value]

  return decorate
