"""Lifted transforms of a module class, of a method, or of a function of a module: `vmap`, `scan`, `jit` ...

A transform of a class makes a subclass whose methods are transformed; one of a function of a module treats it as a
method. So each transform here is one line over `core.lift`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from minilinen import errors
from minilinen.core import lift
from minilinen.core.frozen_dict import FrozenDict
from minilinen.module.call import raw_method, wrapped
from minilinen.module.module import Module
from minilinen.tracing.source import Source
from minilinen.transforms.carried import here, inside, outside

# A lifted class or method is typed as what it was made of: editors and type checkers know its fields and arguments.
Target = TypeVar("Target", bound=Callable[..., Any])


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
  at = here()
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
      namespace[name] = wrapped(_lift_method(transform, fn, target, {**options, **own}, at))
    return type(prefix + target.__name__, (target,), namespace)
  if not callable(target) or isinstance(target, Module):
    raise errors.TransformTargetError(
      target, transform.__name__, type(target).__name__ if isinstance(target, Module) else ""
    )
  return _lift_method(transform, target, None, options, at)


def _lift_method(
  transform: Callable[..., Any],
  fn: Callable[..., Any],
  base: type[Module] | None,
  options: dict[str, Any],
  at: Source,
) -> Callable[..., Any]:
  """A method, or a function of a module, lifted."""
  lifted = transform(inside(fn, base, at), **options)

  @functools.wraps(fn)
  def method(self: Module, *args: Any, **kwargs: Any) -> Any:
    carried, args, kwargs = outside(fn, self, args, kwargs, transform.__name__)
    return lifted(carried, *args, **kwargs)

  method.lifted = True  # type: ignore[attr-defined]
  return method


def vmap(
  target: Target,
  variable_axes: lift.Axes = FrozenDict(),
  split_rngs: Mapping[Any, bool] = FrozenDict(),
  in_axes: Any = 0,
  out_axes: Any = 0,
  axis_size: int | None = None,
  axis_name: str | None = None,
  spmd_axis_name: str | None = None,
  metadata_params: Mapping[Any, Any] = FrozenDict(),
  methods: Any = None,
) -> Target:
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
  target: Target,
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
) -> Target:
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
  target: Target,
  variables: Any = True,
  rngs: Any = True,
  static_argnums: int | Iterable[int] = (),
  static_argnames: str | Iterable[str] = (),
  donate_argnums: int | Iterable[int] = (),
  device: Any = None,
  backend: str | None = None,
  methods: Any = None,
) -> Target:
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
  target: Target,
  variables: Any = True,
  rngs: Any = True,
  concrete: bool = False,
  prevent_cse: bool = True,
  static_argnums: int | tuple[int, ...] = (),
  policy: Callable[..., bool] | None = None,
  methods: Any = None,
) -> Target:
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
  target: Target,
  mapped_collections: Any = True,
  trans_in_fn: Callable[[Any], Any] = lambda variables: variables,
  trans_out_fn: Callable[[Any], Any] = lambda variables: variables,
  init: bool = False,
  mutable: bool = False,
  rngs: Any = True,
  variables: Any = True,
  methods: Any = None,
) -> Target:
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


def add_metadata_axis(
  target: Target,
  variable_axes: lift.Axes = FrozenDict(),
  metadata_params: Mapping[Any, Any] = FrozenDict(),
  methods: Any = None,
) -> Target:
  """Gives the boxes of variables an axis more, and their values none. See `core.lift.add_metadata_axis`.

  Args:
    target: a module class, a method or a function of a module.
    variable_axes: collections -> index of the axis in the boxes.
    metadata_params: passed to the boxes' `add_axis` and `remove_axis`.
    methods: of a class, the methods that are lifted; `__call__` by default.
  """
  options = dict(variable_axes=variable_axes, metadata_params=metadata_params)
  return lift_target(lift.add_metadata_axis, target, methods, "Map_variables", options)


def fold_rngs(target: Target, variables: Any = True, rngs: Any = True, methods: Any = None) -> Target:
  """Folds path and counter into the random streams at this place. See `core.lift.fold_rngs`.

  Args:
    target: a module class, a method or a function of a module.
    methods: of a class, the methods that are lifted; `__call__` by default.
  """
  return lift_target(lift.fold_rngs, target, methods, "Fold_rngs", dict(variables=variables, rngs=rngs))


def remat_scan(
  target: Target,
  lengths: Sequence[int] = (),
  policy: Callable[..., bool] | None = None,
  variable_broadcast: Any = False,
  variable_carry: Any = False,
  variable_axes: lift.Axes = FrozenDict({True: 0}),
  split_rngs: Mapping[Any, bool] = FrozenDict({True: True}),
) -> Target:
  """A module many times in a row, by scans in scans that are computed again backwards. See `core.lift.remat_scan`.

  Args:
    target: called as `target(carry) -> carry`.
    lengths: of the scans, the outermost first.

  >>> import jax, minilinen as nn
  >>> Deep = nn.remat_scan(nn.Dense, lengths=(3, 4))
  >>> Deep(5).init(jax.random.key(0), jax.numpy.ones((1, 5)))["params"]["kernel"].shape
  (3, 4, 5, 5)
  """
  options = dict(
    lengths=lengths, policy=policy, variable_broadcast=variable_broadcast, variable_carry=variable_carry,
    variable_axes=variable_axes, split_rngs=split_rngs,
  )  # fmt: skip
  return lift_target(lift.remat_scan, target, None, "Remat_scan", options)
