"""Carriers: what can be passed in the place of a scope.

A pytree of scopes is its own carrier. Anything else, such as a module, has a method `__carry__(args, kwargs, target)`:
it gives a carrier, and the arguments with stands in the place of whatever in them has scopes too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax

from minilinen import errors
from minilinen.core.lift.form import Form
from minilinen.core.lift.targets import Target
from minilinen.core.scope import Scope
from minilinen.tracing.spec import Value


@jax.tree_util.register_static
@dataclass(frozen=True)
class Stand:
  """Stands in the arguments for something among them that has scopes, while they pass through JAX.

  Attributes:
    index: which of them.
    described: for the trace: what it stands for, if somebody records.
  """

  index: int
  described: Value = field(compare=False)

  def __trace_describe__(self) -> Value:
    return self.described


def replaced_stands(real: Callable[[int], Any], tree: Any) -> Any:
  """A pytree with something else in the place of each stand, found by its number."""

  def is_stand(x: Any) -> bool:
    return isinstance(x, Stand)

  return jax.tree.map(lambda x: real(x.index) if is_stand(x) else x, tree, is_leaf=is_stand)


class Carrier(Protocol):
  """What a crossing asks of a carrier.

  Attributes:
    scopes: all its scopes.
    own: which of them is the lifted module's own.
    class_name: the lifted module's class, "" if it is none.
    names: how many automatic names the module has given, by class.
  """

  scopes: Sequence[Scope]
  own: int
  names: dict[str, int]
  class_name: str

  @property
  def fingerprint(self) -> Any:
    """Equal for carriers with which a body does the same; it can be hashed, and holds no scope."""
    ...

  def call(self, scopes: Sequence[Scope], target: Target, args: Any, kwargs: Any) -> Any:
    """The `with` block of a call of a function, with other scopes in the place of its own.

    Its attribute `run` calls the function; through `left(y)` the result leaves.
    """
    ...

  def set_up(self, target: Target, form: Form, streams: Sequence[Any]) -> None:
    """Makes ahead what the function would make before it is called, with the random streams of those that cross."""
    ...

  def gradients(self, form: Form, several: bool) -> Any:
    """The pytree in which gradients are handed out, one for each scope that crosses; or if not `several`, for one."""

  def by_scope(self, form: Form, directions: Any) -> tuple[Any, ...]:
    """What the user gave in that form, for each scope that crosses."""
    ...


class ScopeTree:
  """A scope, or a pytree of them."""

  class_name = ""
  own = -1

  def __init__(self, tree: Any, target: Target, kind: str):
    self.names: dict[str, int] = {}
    self.scopes: Sequence[Scope]
    self.scopes, self.fingerprint = jax.tree.flatten(tree)
    if not all(isinstance(scope, Scope) for scope in self.scopes):
      raise errors.LiftedFunctionError(getattr(target.fn, "__name__", target.name), tree, target.by or kind)

  def call(self, scopes: Sequence[Scope], target: Target, args: Any, kwargs: Any) -> _Plain:
    return _Plain(functools.partial(target.fn, jax.tree.unflatten(self.fingerprint, scopes), *args, **kwargs))

  def set_up(self, target: Target, form: Form, streams: Sequence[Any]) -> None: ...

  def gradients(self, form: Form, several: bool) -> Any:
    return jax.tree.structure(jax.tree.unflatten(self.fingerprint, form.numbers()))

  def by_scope(self, form: Form, directions: Any) -> tuple[Any, ...]:
    given = zip(form.numbers(), self.fingerprint.flatten_up_to(directions))
    return tuple(value for number, value in given if number is not None)


@dataclass
class _Plain:
  """A call of a function of scopes: nothing is around it."""

  run: Callable[[], Any]

  def __enter__(self) -> None: ...

  def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None: ...

  def left(self, y: Any) -> Any:
    return y


def carrier_of(first: Any, args: Any, kwargs: Any, target: Target, kind: str) -> tuple[Carrier, Any, Any]:
  """The carrier of what a lifted function was called with first, and the arguments on their way through JAX.

  Args:
    kind: name of the transform, for messages.

  Raises:
    LiftedFunctionError: if it is nothing that has scopes.
  """
  if hasattr(first, "__carry__"):
    return first.__carry__(args, kwargs, target)
  return ScopeTree(first, target, kind), args, kwargs
