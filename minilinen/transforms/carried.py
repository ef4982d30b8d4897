"""Modules on their way across a boundary of `core.lift`, which knows scopes only.

A lifted function takes the scopes out of the module, of its submodules and of the modules among the arguments
(`outside`), lets `core.lift` transform the raw function over them, and inside runs it on copies bound to the inner
scopes (`inside`). Every transform of modules is one of `core.lift` between these two.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax import core

from minilinen import errors
from minilinen.core.frozen_dict import FrozenDict
from minilinen.core.scope import Scope, Variable
from minilinen.module.attributes import map_modules
from minilinen.module.context import running
from minilinen.module.module import Module
from minilinen.tracing.source import Source


class Skeleton:
  """A module without its scopes, as static data of a pytree."""

  __slots__ = ("module", "others", "scoped", "states")

  def __init__(self, module: Module, others: tuple[Any, ...]):
    self.module = module
    self.others = others
    self.scoped = _scoped_modules((others, module))
    self.states = [m._state.copy() for m in self.scoped]  # a body may run twice: from the same start


@jax.tree_util.register_pytree_node_class
class Carried:
  """The scopes of a skeleton's modules: what `pack` takes for a tree of scopes."""

  def __init__(self, skeleton: Skeleton, scopes: tuple[Scope, ...]):
    self.skeleton = skeleton
    self.scopes = scopes

  def tree_flatten(self) -> tuple[tuple[Scope, ...], Skeleton]:
    return self.scopes, self.skeleton

  @classmethod
  def tree_unflatten(cls, skeleton: Skeleton, scopes: Iterable[Scope]) -> Carried:
    return cls(skeleton, tuple(scopes))

  @property
  def fingerprint(self) -> tuple[Any, ...]:
    """Equal if a body that was compiled for one does the same for the other; it holds no module."""
    return tuple(_fingerprint(module) for module in self.skeleton.scoped)

  def open(self, base: type[Module] | None) -> tuple[Module, tuple[Any, ...]]:
    """Copies of the module and of the modules in the arguments, bound to these scopes."""
    copies: dict[int, Module] = {}
    for outer, state, scope in zip(self.skeleton.scoped, self.skeleton.states, self.scopes):
      copy = object.__new__(base if base is not None and outer is self.skeleton.module else type(outer))
      copy.__dict__.update(outer.__dict__)
      copy.__dict__.update(scope=scope, _state=state.copy())
      copy._forget_setup()
      copies[id(outer)] = copy

    def inner(suffix: str, module: Module) -> Module:
      return copies.get(id(module), module)

    for copy in copies.values():
      for name, value in copy.__dict__.items():
        if name not in ("scope", "_state", "name"):
          copy.__dict__[name] = map_modules(inner, value)
    others = tuple(copies.get(id(m), m) for m in self.skeleton.others)
    return copies[id(self.skeleton.module)], others


@jax.tree_util.register_static
class Stand:
  """Stands in the arguments for the module number `index` while they pass through JAX."""

  def __init__(self, index: int):
    self.index = index

  def __eq__(self, other: object) -> bool:
    return isinstance(other, Stand) and self.index == other.index

  def __hash__(self) -> int:
    return self.index


def _scoped_modules(value: Any) -> list[Module]:
  """Every bound module in a value or in the attributes of one that is, each once and after those inside of it."""
  found: dict[int, Module] = {}
  seen: set[int] = set()

  def visit(suffix: str, module: Module) -> Module:
    if module.scope is not None and id(module) not in seen:
      seen.add(id(module))
      for name, attribute in module.__dict__.items():
        if name not in ("parent", "scope", "_state", "name", "_adopted_from"):
          map_modules(visit, attribute)
      found[id(module)] = module
    return module

  map_modules(visit, value)
  return list(found.values())


def _fingerprint(module: Module) -> tuple[Any, ...]:
  """What decides how a module computes: its class, settings and state, without parents and scopes."""
  settings = tuple(_comparable(module.__dict__.get(f)) for f in module._fields())
  state = module._state
  return (
    type(module),
    module.name,
    settings,
    (state.in_compact, state.setup_done, tuple(state.cursors.items())),
  )


def _comparable(value: Any) -> Any:
  """A setting without scopes, to be compared."""
  if isinstance(value, Module):
    return _fingerprint(value)
  if isinstance(value, (tuple, list)):
    return tuple(_comparable(v) for v in value)
  if isinstance(value, (dict, FrozenDict)):
    return tuple((k, _comparable(v)) for k, v in value.items())
  if isinstance(value, (np.ndarray, jax.Array)) and not isinstance(value, core.Tracer):
    return value.shape, str(value.dtype), np.asarray(value).tobytes()
  try:
    hash(value)
  except TypeError:
    return object()  # equal to nothing: better compiled again than wrong
  return value


def here() -> Source:
  """The line that calls a transform, whether anybody records or not: errors name it."""
  frame = sys._getframe(2)
  while frame.f_back is not None and frame.f_globals.get("__name__", "") in _OURS:
    frame = frame.f_back
  return Source(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname)


_OURS = ("minilinen.transforms.targets", "minilinen.partitioning")


def inside(
  fn: Callable[..., Any], base: type[Module] | None = None, at: Source | None = None
) -> Callable[..., Any]:
  """A function of a module as one of what `outside` gives: what a lifted transform runs on the inner side.

  Args:
    fn: called as `fn(module, *args, **kwargs)`.
    base: the class of the module inside, if it is another than outside.
    at: the line that lifts it, for messages.
  """

  @functools.wraps(fn)
  def run(carried: Carried, *args: Any, **kwargs: Any) -> Any:
    module, others = carried.open(base)

    def real(x: Any) -> Any:
      return others[x.index] if isinstance(x, Stand) else x

    args, kwargs = jax.tree.map(real, (args, kwargs), is_leaf=lambda x: isinstance(x, Stand))
    around = running.set(module)
    try:
      module._try_setup()
      y = fn(module, *args, **kwargs)
    finally:
      running.reset(around)
    carried.skeleton.module._state.take_names(module._state)
    if any(isinstance(leaf, (Module, Variable)) for leaf in jax.tree.leaves(y)):
      raise errors.TransformedMethodReturnValueError(fn.__name__)
    return y

  run.lifted_at = at  # type: ignore[attr-defined]
  return run


def outside(
  fn: Callable[..., Any], module: Any, args: Any, kwargs: Any, kind: str = "jit"
) -> tuple[Carried, Any, Any]:
  """The scopes of a module and of those among the arguments, and the arguments with stands in their place.

  Args:
    fn, kind: what is lifted, and by which transform, for messages.

  Raises:
    LiftedFunctionError: if `module` is no module.
    CallCompactUnboundModuleError: if it isn't bound.
  """
  if not isinstance(module, Module):
    raise errors.LiftedFunctionError(fn.__name__, module, kind)
  if module.scope is None:
    raise errors.CallCompactUnboundModuleError(fn.__name__)
  others: list[Module] = []

  def stand(suffix: str, module: Module) -> Any:
    if module.scope is None:
      return module
    others.append(module)
    return Stand(len(others) - 1)

  args, kwargs = map_modules(stand, args), map_modules(stand, kwargs)
  skeleton = Skeleton(module, tuple(others))
  return Carried(skeleton, tuple(m.scope for m in skeleton.scoped)), args, kwargs  # type: ignore[misc]
