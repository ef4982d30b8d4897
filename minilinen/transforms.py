"""Lifted transforms for modules: `core.lift`, with a module in the place of a scope.

A transform of a method takes the scopes out of the module, of its submodules and of the modules among the arguments,
lets `core.lift` transform the raw method over them, and inside runs it on copies bound to the inner scopes. A
transform of a class makes a subclass whose methods are transformed that way; one of a function of a module
treats it as a method. So each transform here is one line.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax import core

from minilinen import errors
from minilinen.core import lift
from minilinen.core.frozen_dict import FrozenDict
from minilinen.core.scope import Scope, Variable
from minilinen.module.attributes import map_modules
from minilinen.module.call import raw_method, wrapped
from minilinen.module.context import context
from minilinen.module.module import Module
from minilinen.trace.source import Source

# A module, its submodules and the modules among the arguments, on their way across a boundary.


class _Skeleton:
  """A module without its scopes, as static data of a pytree."""

  __slots__ = ("module", "others", "scoped", "states")

  def __init__(self, module: Module, others: tuple[Any, ...]):
    self.module = module
    self.others = others
    self.scoped = _scoped_modules((others, module))
    self.states = [m._state.copy() for m in self.scoped]  # a body may run twice: from the same start


@jax.tree_util.register_pytree_node_class
class _Carried:
  """The scopes of a skeleton's modules: what `pack` takes for a tree of scopes."""

  def __init__(self, skeleton: _Skeleton, scopes: tuple[Scope, ...]):
    self.skeleton = skeleton
    self.scopes = scopes

  def tree_flatten(self) -> tuple[tuple[Scope, ...], _Skeleton]:
    return self.scopes, self.skeleton

  @classmethod
  def tree_unflatten(cls, skeleton: _Skeleton, scopes: Iterable[Scope]) -> _Carried:
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
class _Stand:
  """Stands in the arguments for the module number `index` while they pass through JAX."""

  def __init__(self, index: int):
    self.index = index

  def __eq__(self, other: object) -> bool:
    return isinstance(other, _Stand) and self.index == other.index

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


def lift_method(
  transform: Callable[..., Any],
  fn: Callable[..., Any],
  base: type[Module] | None,
  options: dict[str, Any],
  at: Source | None = None,
) -> Callable[..., Any]:
  """A method, or a function of a module, lifted: with a module in the place of a scope.

  Args:
    transform: one of `core.lift`'s.
    fn: called as `fn(module, *args, **kwargs)`.
    base: the class of the module inside, if it is another than outside.
    options: the transform's other arguments.
    at: the line that lifts it, for messages.
  """

  @functools.wraps(fn)
  def core_fn(carried: _Carried, *args: Any, **kwargs: Any) -> Any:
    module, others = carried.open(base)

    def real(x: Any) -> Any:
      return others[x.index] if isinstance(x, _Stand) else x

    args, kwargs = jax.tree.map(real, (args, kwargs), is_leaf=lambda x: isinstance(x, _Stand))
    context.modules.append(module)
    try:
      module._try_setup()
      y = fn(module, *args, **kwargs)
    finally:
      context.modules.pop()
    carried.skeleton.module._state.take_names(module._state)
    if any(isinstance(leaf, (Module, Variable)) for leaf in jax.tree.leaves(y)):
      raise errors.TransformedMethodReturnValueError(fn.__name__)
    return y

  core_fn.lifted_at = at  # type: ignore[attr-defined]
  lifted = transform(core_fn, **options)

  @functools.wraps(fn)
  def method(self: Module, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(self, Module):
      raise errors.LiftedFunctionError(fn.__name__, self)
    if self.scope is None:
      raise errors.CallCompactUnboundModuleError(fn.__name__)
    others: list[Module] = []

    def stand(suffix: str, module: Module) -> Any:
      if module.scope is None:
        return module
      others.append(module)
      return _Stand(len(others) - 1)

    args, kwargs = map_modules(stand, args), map_modules(stand, kwargs)
    skeleton = _Skeleton(self, tuple(others))
    return lifted(_Carried(skeleton, tuple(m.scope for m in skeleton.scoped)), *args, **kwargs)  # type: ignore[misc]

  method.lifted = True  # type: ignore[attr-defined]
  return method


def lift_target(
  transform: Callable[..., Any], target: Any, methods: Any, prefix: str, options: dict[str, Any]
) -> Any:
  """A class, a method or a function of a module, lifted.

  Args:
    transform: one of `core.lift`'s.
    target: what is lifted.
    methods: of a class, which methods: a name, several, or name -> options; `__call__` by default.
    prefix: beginning of the new class's name.
    options: the transform's other arguments.

  Raises:
    TransformTargetError: if the target is an instance, or nothing that can be called.
  """
  caller = sys._getframe(2)  # who calls `vmap` calls this
  at = Source(caller.f_code.co_filename, caller.f_lineno, caller.f_code.co_qualname)
  if isinstance(target, type) and issubclass(target, Module):
    if methods is None:
      methods = ("__call__",)
    if isinstance(methods, str):
      methods = (methods,)
    if not isinstance(methods, Mapping):
      methods = {name: {} for name in methods}
    namespace: dict[str, Any] = {
      "lifted_class": True,
      "__module__": target.__module__,
      "__doc__": target.__doc__,
    }
    for name, own in methods.items():
      fn = raw_method(getattr(target, name))
      namespace[name] = wrapped(lift_method(transform, fn, target, {**options, **own}, at))
    return type(prefix + target.__name__, (target,), namespace)
  if not callable(target) or isinstance(target, Module):
    raise errors.TransformTargetError(target)
  return lift_method(transform, target, None, options, at)


def vmap(
  target: Any,
  variable_axes: lift.Axes = FrozenDict(),
  split_rngs: Mapping[Any, bool] = FrozenDict(),
  in_axes: Any = 0,
  out_axes: Any = 0,
  axis_size: int | None = None,
  axis_name: str | None = None,
  spmd_axis_name: str | None = None,
  metadata_params: Mapping[Any, Any] = FrozenDict(),
  methods: Any = None,
) -> Any:
  """`jax.vmap` for a module class, a method or a function of a module. See `core.lift.vmap`.

  Args:
    target: what is lifted.
    methods: of a class, the methods that are lifted; `__call__` by default.

  >>> import jax, minilinen as nn
  >>> Heads = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, axis_size=4)
  >>> Heads(3).init(jax.random.key(0), jax.numpy.ones((2, 5)))["params"]["kernel"].shape
  (4, 5, 3)
  """
  options = dict(
    variable_axes=variable_axes, split_rngs=split_rngs, in_axes=in_axes, out_axes=out_axes, axis_size=axis_size,
    axis_name=axis_name, spmd_axis_name=spmd_axis_name, metadata_params=metadata_params,
  )  # fmt: skip
  return lift_target(lift.vmap, target, methods, "Vmap", options)


def scan(
  target: Any,
  variable_axes: lift.Axes = FrozenDict(),
  variable_broadcast: Any = False,
  variable_carry: Any = False,
  split_rngs: Mapping[Any, bool] = FrozenDict(),
  in_axes: Any = 0,
  out_axes: Any = 0,
  length: int | None = None,
  reverse: bool = False,
  unroll: int = 1,
  data_transform: Callable[..., Any] | None = None,
  metadata_params: Mapping[Any, Any] = FrozenDict(),
  methods: Any = None,
  _split_transpose: bool = False,
  check_constancy_invariants: bool = True,
) -> Any:
  """`jax.lax.scan` for a module class, a method or a function of a module. See `core.lift.scan`.

  Args:
    target: called as `target(carry, *xs) -> (carry, ys)`.
    methods: of a class, the methods that are lifted; `__call__` by default.
  """
  options = dict(
    variable_axes=variable_axes, variable_broadcast=variable_broadcast, variable_carry=variable_carry,
    split_rngs=split_rngs, in_axes=in_axes, out_axes=out_axes, length=length, reverse=reverse, unroll=unroll,
    data_transform=data_transform, metadata_params=metadata_params, _split_transpose=_split_transpose,
    check_constancy_invariants=check_constancy_invariants,
  )  # fmt: skip
  return lift_target(lift.scan, target, methods, "Scan", options)


def jit(
  target: Any,
  variables: Any = True,
  rngs: Any = True,
  static_argnums: int | Iterable[int] = (),
  static_argnames: str | Iterable[str] = (),
  donate_argnums: int | Iterable[int] = (),
  device: Any = None,
  backend: str | None = None,
  methods: Any = None,
) -> Any:
  """`jax.jit` for a module class, a method or a function of a module. See `core.lift.jit`.

  Args:
    target: what is compiled.
    static_argnums: positions of static arguments; the module is number 0.
    methods: of a class, the methods that are compiled; `__call__` by default.
  """
  options = dict(
    variables=variables, rngs=rngs, static_argnums=static_argnums, static_argnames=static_argnames,
    donate_argnums=donate_argnums, device=device, backend=backend,
  )  # fmt: skip
  return lift_target(lift.jit, target, methods, "Jit", options)


def remat(
  target: Any,
  variables: Any = True,
  rngs: Any = True,
  concrete: bool = False,
  prevent_cse: bool = True,
  static_argnums: int | tuple[int, ...] = (),
  policy: Callable[..., bool] | None = None,
  methods: Any = None,
) -> Any:
  """`jax.checkpoint` for a module class, a method or a function of a module. See `core.lift.remat`.

  Args:
    target: what is computed again in the backward pass.
    static_argnums: positions of static arguments; the module is number 0.
    methods: of a class, the methods that are lifted; `__call__` by default.
  """
  options = dict(
    variables=variables, rngs=rngs, concrete=concrete, prevent_cse=prevent_cse, static_argnums=static_argnums,
    policy=policy,
  )  # fmt: skip
  return lift_target(lift.remat, target, methods, "Checkpoint", options)


checkpoint = remat


def map_variables(
  target: Any,
  mapped_collections: Any = True,
  trans_in_fn: Callable[[Any], Any] = lambda variables: variables,
  trans_out_fn: Callable[[Any], Any] = lambda variables: variables,
  init: bool = False,
  mutable: bool = False,
  rngs: Any = True,
  variables: Any = True,
  methods: Any = None,
) -> Any:
  """Lets a module see some of its variables through a function. See `core.lift.map_variables`.

  Args:
    target: a module class, a method or a function of a module.
    mapped_collections: which collections are mapped.
    trans_in_fn: from the variables outside to those inside.
    trans_out_fn: the way back.
    methods: of a class, the methods that are lifted; `__call__` by default.
  """
  options = dict(
    mapped_collections=mapped_collections, map_in_fn=trans_in_fn, map_out_fn=trans_out_fn, init=init,
    mutable=mutable, rngs=rngs, variables=variables,
  )  # fmt: skip
  return lift_target(lift.map_variables, target, methods, "Map_variables", options)
