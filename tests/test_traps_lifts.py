"""Traps of lifted transforms: what a boundary stops, what a carry may not do, which arguments are static."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mistakes
import pytest
from mistakes import Case, run

import minilinen as nn
from minilinen import core, errors

KEY = jax.random.key(0)
X = jnp.ones((4, 3))
CASES: list[Case] = []
raises = warns = functools.partial(mistakes.raises, CASES)


class Norm(nn.Module):
  @nn.compact
  def __call__(self, x: Any, _: Any = None) -> Any:
    return nn.BatchNorm(use_running_average=False)(x), None


class Drop(nn.Module):
  @nn.compact
  def __call__(self, x: Any, _: Any = None) -> Any:
    return nn.Dropout(0.5, deterministic=False)(x), None


class Sower(nn.Module):
  @nn.compact
  def __call__(self, x: Any, _: Any = None) -> Any:
    self.sow("intermediates", "h", x)
    return x, None


class Bump(nn.Module):
  @nn.compact
  def __call__(self, x: Any, _: Any = None) -> Any:
    return self.perturb("bump", x), None


def compact(fn: Callable[[nn.Module, Any], Any]) -> nn.Module:
  """A module whose call is a function of it."""

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return fn(self, x)

  return Net()


# Collections and streams that stop at a boundary.


@raises(
  errors.ScopeCollectionNotFound,
  """\
Tried to access 'mean' from collection 'batch_stats' in
  '/VmapNorm_0/BatchNorm_0', but the collection is empty.
It stops at nn.vmap of Norm, which does not pass it on.
  module  /VmapNorm_0/BatchNorm_0
  line    `return nn.BatchNorm(use_running_average=False)(x), None`
  lifted  `Many = nn.vmap(Norm, variable_axes={"params": 0}, split_rngs={"params": True})`
  right   nn.vmap(Norm, variable_axes={..., "batch_stats": 0}, ...)
in module /VmapNorm_0/BatchNorm_0 (BatchNorm.__call__), called with (f32[4,3])""",
)
def statistics_stop_at_vmap() -> Any:
  Many = nn.vmap(Norm, variable_axes={"params": 0}, split_rngs={"params": True})
  return compact(lambda self, x: Many()(x)).init(KEY, X[None])


@raises(
  errors.ScopeCollectionNotFound,
  """\
Tried to access 'kernel' from collection 'params' in '/VmapDense_0', but the
  collection is empty.
It stops at nn.vmap of Dense, which does not pass it on.
  module  /VmapDense_0
  line    `return compact(lambda self, x: nn.vmap(nn.Dense, split_rngs={"params": True})(2)(x)).init(KEY, X)`
  lifted  `return compact(lambda self, x: nn.vmap(nn.Dense, split_rngs={"params": True})(2)(x)).init(KEY, X)`
  right   nn.vmap(Dense, variable_axes={..., "params": 0}, ...)
in module /VmapDense_0 (VmapDense.__call__), called with (f32[4,3])""",
)
def parameters_stop_at_vmap() -> Any:
  return compact(lambda self, x: nn.vmap(nn.Dense, split_rngs={"params": True})(2)(x)).init(KEY, X)


@raises(
  errors.ScopeCollectionNotFound,
  """\
Tried to access 'mean' from collection 'batch_stats' in
  '/ScanNorm_0/BatchNorm_0', but the collection is empty.
It stops at nn.scan of Norm, which does not pass it on.
  module  /ScanNorm_0/BatchNorm_0
  line    `return nn.BatchNorm(use_running_average=False)(x), None`
  lifted  `Loop = nn.scan(Norm, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)`
  right   nn.scan(Norm, variable_axes={..., "batch_stats": 0}, ...)
in module /ScanNorm_0/BatchNorm_0 (BatchNorm.__call__), called with (f32[4,3])""",
)
def statistics_stop_at_scan() -> Any:
  Loop = nn.scan(Norm, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
  return compact(lambda self, x: Loop()(x, None)).init(KEY, X)


@raises(
  errors.ScopeCollectionNotFound,
  """\
Tried to access 'mean' from collection 'batch_stats' in
  '/CheckpointNorm_0/BatchNorm_0', but the collection is empty.
It stops at nn.remat of Norm, which does not pass it on.
  module  /CheckpointNorm_0/BatchNorm_0
  line    `return nn.BatchNorm(use_running_average=False)(x), None`
  lifted  `return compact(lambda self, x: nn.remat(Norm, variables="params")()(x)).init(KEY, X)`
  right   nn.remat(Norm, variables=True, ...)
in module /CheckpointNorm_0/BatchNorm_0 (BatchNorm.__call__), called with (f32[4,3])""",
)
def statistics_stop_at_remat() -> Any:
  return compact(lambda self, x: nn.remat(Norm, variables="params")()(x)).init(KEY, X)


@raises(
  errors.ModifyScopeVariableError,
  """\
Cannot update variable 'mean' in '/Map_variablesNorm_0/BatchNorm_0': collection
  'batch_stats' is immutable behind nn.map_variables of Norm, which does not
  hand it out.
  module  /Map_variablesNorm_0/BatchNorm_0
  line    `return nn.BatchNorm(use_running_average=False)(x), None`
  lifted  `Mapped = nn.map_variables(Norm, "batch_stats")`
  right   nn.map_variables(Norm, variables=True, mutable=True, ...)
in module /Map_variablesNorm_0/BatchNorm_0 (BatchNorm.__call__), called with (f32[4,3])""",
)
def statistics_stop_at_map_variables() -> Any:
  Mapped = nn.map_variables(Norm, "batch_stats")
  model = compact(lambda self, x: Mapped()(x))
  zeros = {"batch_stats": {"Map_variablesNorm_0": {"BatchNorm_0": {"mean": X[0], "var": X[0]}}}}
  affine = {"params": {"Map_variablesNorm_0": {"BatchNorm_0": {"scale": X[0], "bias": X[0]}}}}
  return model.apply({**zeros, **affine}, X, mutable="batch_stats")


@raises(
  errors.InvalidRngError,
  """\
/VmapDense_0 needs PRNG for "params", which stops at nn.vmap of Dense.
The streams passed on are: none.
  module  /VmapDense_0
  line    `return compact(lambda self, x: nn.vmap(nn.Dense, variable_axes={"params": 0})(2)(x)).init(KEY, X)`
  lifted  `return compact(lambda self, x: nn.vmap(nn.Dense, variable_axes={"params": 0})(2)(x)).init(KEY, X)`
  right   nn.vmap(Dense, split_rngs={..., "params": True}, ...)
in module /VmapDense_0 (VmapDense.__call__), called with (f32[4,3])""",
)
def parameters_have_no_key_in_vmap() -> Any:
  return compact(lambda self, x: nn.vmap(nn.Dense, variable_axes={"params": 0})(2)(x)).init(KEY, X)


@raises(
  errors.InvalidRngError,
  """\
/ScanDrop_0/Dropout_0 needs PRNG for "dropout", which stops at nn.scan of Drop.
The streams passed on are: none.
  module  /ScanDrop_0/Dropout_0
  line    `return nn.Dropout(0.5, deterministic=False)(x), None`
  lifted  `Loop = nn.scan(Drop, split_rngs={"params": True}, length=2)`
  right   nn.scan(Drop, split_rngs={..., "dropout": True}, ...)
in module /ScanDrop_0/Dropout_0 (Dropout.__call__), called with (f32[4,3])""",
)
def stream_stops_at_scan() -> Any:
  Loop = nn.scan(Drop, split_rngs={"params": True}, length=2)
  return compact(lambda self, x: Loop()(x, None)).apply({}, X, rngs={"dropout": KEY})


@raises(
  errors.InvalidRngError,
  """\
/JitDrop_0/Dropout_0 needs PRNG for "dropout", which stops at nn.jit of Drop.
The streams passed on are: none.
  module  /JitDrop_0/Dropout_0
  line    `return nn.Dropout(0.5, deterministic=False)(x), None`
  lifted  `return compact(lambda self, x: nn.jit(Drop, rngs="params")()(x)).apply({}, X, rngs={"dropout": KEY})`
  right   nn.jit(Drop, rngs=True, ...)
in module /JitDrop_0/Dropout_0 (Dropout.__call__), called with (f32[4,3])""",
)
def stream_stops_at_jit() -> Any:
  return compact(lambda self, x: nn.jit(Drop, rngs="params")()(x)).apply({}, X, rngs={"dropout": KEY})


@warns(
  errors.ServedByParamsWarning,
  """\
'/VmapDrop_0/Dropout_0' draws from the stream 'dropout', which stops at nn.vmap
  of Drop: "params" serves for it.
  module  /VmapDrop_0/Dropout_0
  line    `return nn.Dropout(0.5, deterministic=False)(x), None`
  lifted  `Many = nn.vmap(Drop, split_rngs={"params": True})`
  expects the stream 'dropout', which was passed to the run
  found   a key of "params"
  right   nn.vmap(Drop, split_rngs={..., "dropout": True}, ...)""",
)
def stream_stops_at_vmap_and_params_serves() -> Any:
  Many = nn.vmap(Drop, split_rngs={"params": True})
  return compact(lambda self, x: Many()(x)).apply({}, X, rngs={"dropout": KEY, "params": KEY})


@warns(
  errors.ServedByParamsWarning,
  """\
'/Dropout_0' draws from the stream 'dropout', which was not passed: "params"
  serves for it.
Is 'dropuot' misspelt?
  module  /Dropout_0
  line    `return nn.Dropout(0.5, deterministic=False)(x), None`
  expects a key for 'dropout'
  found   dropuot, params
  right   rngs={"dropout": key, ...}""",
)
def stream_misspelt_and_params_serves() -> Any:
  return Drop().apply({}, X, rngs={"dropuot": KEY, "params": KEY})


@warns(
  errors.DroppedValueWarning,
  """\
'/ScanSower_0' sows 'h', but collection 'intermediates' stops at nn.scan of
  Sower: nothing is kept.
  module  /ScanSower_0
  line    `self.sow("intermediates", "h", x)`
  lifted  `Loop = nn.scan(Sower, length=2)`
  expects collection 'intermediates' on both sides of the boundary
  found   a boundary that does not pass it on
  right   nn.scan(Sower, variable_axes={..., "intermediates": 0}, ...)""",
)
def sow_stops_at_scan() -> Any:
  Loop = nn.scan(Sower, length=2)
  return compact(lambda self, x: Loop()(x, None)).apply({}, X, mutable="intermediates")


@warns(
  errors.DroppedValueWarning,
  """\
'/VmapSower_0' sows 'h', but collection 'intermediates' stops at nn.vmap of
  Sower: nothing is kept.
  module  /VmapSower_0
  line    `self.sow("intermediates", "h", x)`
  lifted  `return compact(lambda self, x: nn.vmap(Sower)()(x)).apply({}, X, mutable=["intermediates"])`
  expects collection 'intermediates' on both sides of the boundary
  found   a boundary that does not pass it on
  right   nn.vmap(Sower, variable_axes={..., "intermediates": 0}, ...)""",
)
def sow_stops_at_vmap() -> Any:
  return compact(lambda self, x: nn.vmap(Sower)()(x)).apply({}, X, mutable=["intermediates"])


@warns(
  errors.DroppedValueWarning,
  """\
'/VmapBump_0' perturbs 'bump', but collection 'perturbations' stops at nn.vmap
  of Bump: nothing is kept.
  module  /VmapBump_0
  line    `return self.perturb("bump", x), None`
  lifted  `return compact(lambda self, x: nn.vmap(Bump)()(x)).apply({"perturbations": {"bump": X}}, X)`
  expects collection 'perturbations' on both sides of the boundary
  found   a boundary that does not pass it on
  right   nn.vmap(Bump, variable_axes={..., "perturbations": 0}, ...)""",
)
def perturbation_stops_at_vmap() -> Any:
  return compact(lambda self, x: nn.vmap(Bump)()(x)).apply({"perturbations": {"bump": X}}, X)


# Stacked parameters.


@warns(
  errors.StackedKeyWarning,
  """\
Parameter 'kernel' in '/VmapDense_0' has one entry for each element of nn.vmap
  of Dense, and all were made with one key: they are equal.
  module  /VmapDense_0
  line    `return compact(lambda self, x: Many(2)(x)).init(KEY, X)`
  lifted  `Many = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": False})`
  expects split_rngs={"params": True}
  found   "params" on an axis of its own, and its stream not split
  right   nn.vmap(Dense, split_rngs={..., "params": True}, ...)""",
)
def one_key_for_all_elements_of_a_vmap() -> Any:
  Many = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": False})
  return compact(lambda self, x: Many(2)(x)).init(KEY, X)


@warns(
  errors.StackedKeyWarning,
  """\
Parameter 'kernel' in '/ScanCell_0/Dense_0' has one entry for each element of
  nn.scan of Cell, and all were made with one key: they are equal.
  module  /ScanCell_0/Dense_0
  line    `return nn.Dense(3)(x), None`
  lifted  `Loop = nn.scan(Cell, variable_axes={"params": 0}, split_rngs={"params": False}, length=2)`
  expects split_rngs={"params": True}
  found   "params" on an axis of its own, and its stream not split
  right   nn.scan(Cell, split_rngs={..., "params": True}, ...)""",
)
def one_key_for_all_steps_of_a_scan() -> Any:
  class Cell(nn.Module):
    @nn.compact
    def __call__(self, x: Any, _: Any) -> Any:
      return nn.Dense(3)(x), None

  Loop = nn.scan(Cell, variable_axes={"params": 0}, split_rngs={"params": False}, length=2)
  return compact(lambda self, x: Loop()(x, None)).init(KEY, X)


# Carries.


@raises(
  errors.CarriedCollectionError,
  """\
Collection 'batch_stats' is carried by nn.scan of Norm, and the body creates
  'BatchNorm_0/mean', 'BatchNorm_0/var' in it: what is carried must be there
  before the loop begins.
  module  /ScanNorm_0
  line    `return compact(lambda self, x: Loop()(x, None)).init(KEY, X)`
  lifted  `Loop = nn.scan(`
  right   nn.scan(Norm, variable_axes={..., "batch_stats": 0}, ...)
  mend    or create the variables before the scan, which then carries them.
in module /ScanNorm_0 (ScanNorm.__call__), called with (f32[4,3], NoneType)""",
)
def statistics_are_created_in_a_carry() -> Any:
  Loop = nn.scan(
    Norm, variable_axes={"params": 0}, variable_carry="batch_stats", split_rngs={"params": True}, length=2
  )
  return compact(lambda self, x: Loop()(x, None)).init(KEY, X)


@raises(
  errors.CarryError,
  """\
The carry 'hidden' changes in nn.scan of Cell: it goes in as f32[4,3] and comes
  out as f32[4,5].
  module  /ScanCell_0
  line    `return compact(lambda self, x: Loop()(x, None)).init(KEY, X)`
  lifted  `Loop = nn.scan(Cell, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)`
  mend    return what went in, with the same shape and dtype, or begin with a
          carry as the body returns it.
in module /ScanCell_0 (ScanCell.__call__), called with (f32[4,3], NoneType)""",
)
def carry_grows() -> Any:
  class Cell(nn.Module):
    @nn.compact
    def __call__(self, hidden: Any, _: Any) -> Any:
      return nn.Dense(5)(hidden), None

  Loop = nn.scan(Cell, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
  return compact(lambda self, x: Loop()(x, None)).init(KEY, X)


@raises(
  errors.CarryError,
  """\
The carry "state['h']" changes in nn.scan of body: it goes in as f32[4,3] and
  comes out as bf16[4,3].
  module  /
  line    `return compact(lambda self, x: loop(self, {"h": x, "steps": 0}, None)).init(KEY, X)`
  lifted  `loop = nn.scan(body, length=2)`
  mend    return what went in, with the same shape and dtype, or begin with a
          carry as the body returns it.
in module / (Net.__call__), called with (f32[4,3])""",
)
def carry_changes_its_dtype() -> Any:
  def body(module: nn.Module, state: Any, _: Any) -> Any:
    return {**state, "h": state["h"].astype(jnp.bfloat16)}, None

  loop = nn.scan(body, length=2)
  return compact(lambda self, x: loop(self, {"h": x, "steps": 0}, None)).init(KEY, X)


@raises(
  errors.CarryError,
  """\
The carry 'h' changes in nn.scan of body: it goes in as f32[4,3] and comes out
  as (f32[4,3], f32[4,3]).
  module  /
  line    `return compact(lambda self, x: nn.scan(body, length=2)(self, x, None)).init(KEY, X)`
  lifted  `return compact(lambda self, x: nn.scan(body, length=2)(self, x, None)).init(KEY, X)`
  mend    return what went in, with the same shape and dtype, or begin with a
          carry as the body returns it.
in module / (Net.__call__), called with (f32[4,3])""",
)
def carry_changes_its_structure() -> Any:
  def body(module: nn.Module, h: Any, _: Any) -> Any:
    return (h, h), None

  return compact(lambda self, x: nn.scan(body, length=2)(self, x, None)).init(KEY, X)


@raises(
  errors.CarryError,
  """\
The carried variable 'state/seen' changes in nn.scan of body: it goes in as
  f32[4,3] and comes out as f32[8,3].
  module  /
  line    `return compact(lambda self, x: loop(self, x, None)).apply({"state": {"seen": X}}, X, mutable="state")`
  lifted  `loop = nn.scan(body, variable_carry="state", length=2)`
  mend    return what went in, with the same shape and dtype, or begin with a
          carry as the body returns it.
in module / (Net.__call__), called with (f32[4,3])""",
)
def carried_variable_grows() -> Any:
  def body(module: nn.Module, x: Any, _: Any) -> Any:
    seen = module.variable("state", "seen", lambda: x)
    seen.value = jnp.concatenate([seen.value, x])
    return x, None

  loop = nn.scan(body, variable_carry="state", length=2)
  return compact(lambda self, x: loop(self, x, None)).apply({"state": {"seen": X}}, X, mutable="state")


@raises(
  errors.CarryError,
  """\
The carry 'h' changes in nn.scan of body: it goes in as f32[4,3] and comes out
  as f32[8,3].
  module  /
  line    `return core.apply(lambda scope, x: core.lift.scan(body, length=2)(scope, x, None))({}, X)`
  mend    return what went in, with the same shape and dtype, or begin with a
          carry as the body returns it.""",
)
def carry_of_the_functional_core_grows() -> Any:
  def body(scope: core.Scope, h: Any, _: Any) -> Any:
    return jnp.concatenate([h, h]), None

  return core.apply(lambda scope, x: core.lift.scan(body, length=2)(scope, x, None))({}, X)


# Static arguments.


class Trains(nn.Module):
  @nn.compact
  def __call__(self, x: Any, train: bool) -> Any:
    return x * 2 if train else x


@raises(
  jax.errors.TracerBoolConversionError,
  """\
The static arguments of nn.remat of Trains are off: 'train' is True, and not
  static.
The arguments are counted so: 0 self, 1 x, 2 train.
  module  /CheckpointTrains_0
  line    `return compact(lambda self, x: nn.remat(Trains)()(x, True)).init(KEY, X)`
  lifted  `return compact(lambda self, x: nn.remat(Trains)()(x, True)).init(KEY, X)`
  expects static_argnums=(2,)
  found   static_argnums=()
  right   nn.remat(Trains, static_argnums=(2,))
in module /CheckpointTrains_0 (CheckpointTrains.__call__), called with (f32[4,3], True)""",
)
def nothing_static_under_remat() -> Any:
  return compact(lambda self, x: nn.remat(Trains)()(x, True)).init(KEY, X)


@raises(
  ValueError,
  """\
The static arguments of nn.remat of Trains are off: there is no argument number
  3.
The arguments are counted so: 0 self, 1 x, 2 train.
  module  /CheckpointTrains_0
  line    `return compact(lambda self, x: nn.remat(Trains, static_argnums=(3,))()(x, True)).init(KEY, X)`
  lifted  `return compact(lambda self, x: nn.remat(Trains, static_argnums=(3,))()(x, True)).init(KEY, X)`
  expects static_argnums=(2,)
  found   static_argnums=(3,)
  right   nn.remat(Trains, static_argnums=(2,))
in module /CheckpointTrains_0 (CheckpointTrains.__call__), called with (f32[4,3], True)""",
)
def static_argument_one_too_far() -> Any:
  return compact(lambda self, x: nn.remat(Trains, static_argnums=(3,))()(x, True)).init(KEY, X)


@raises(
  ValueError,
  """\
The static arguments of nn.remat of Trains are off: 'train' is passed by name,
  and only arguments passed by position are counted: 0 self, 1 x.
  module  /CheckpointTrains_0
  line    `return compact(lambda self, x: nn.remat(Trains, static_argnums=(2,))()(x, train=True)).init(KEY, X)`
  lifted  `return compact(lambda self, x: nn.remat(Trains, static_argnums=(2,))()(x, train=True)).init(KEY, X)`
  expects 'train' passed by position
  found   train=..., static_argnums=(2,)
  wrong   module(x, train=True)
  right   module(x, True)
in module /CheckpointTrains_0 (CheckpointTrains.__call__), called with (f32[4,3])""",
)
def static_argument_by_name() -> Any:
  return compact(lambda self, x: nn.remat(Trains, static_argnums=(2,))()(x, train=True)).init(KEY, X)


@warns(
  errors.StaticArgumentWarning,
  """\
The static arguments of nn.remat of Keeps are off: 'x' is an array, which must
  not be static.
The arguments are counted so: 0 self, 1 x, 2 train.
  module  /CheckpointKeeps_0
  line    `return compact(lambda self, x: nn.remat(Keeps, static_argnums=(1,))()(x, True)).init(KEY, X)`
  lifted  `return compact(lambda self, x: nn.remat(Keeps, static_argnums=(1,))()(x, True)).init(KEY, X)`
  expects static_argnums=(2,)
  found   static_argnums=(1,)
  right   nn.remat(Keeps, static_argnums=(2,))""",
)
def static_argument_one_too_near() -> Any:
  class Keeps(Trains):
    @nn.compact
    def __call__(self, x: Any, train: bool) -> Any:
      return jnp.where(train, x * 2, x)

  return compact(lambda self, x: nn.remat(Keeps, static_argnums=(1,))()(x, True)).init(KEY, X)


@raises(
  jax.errors.TracerBoolConversionError,
  """\
The static arguments of nn.jit of Trains are off: 'train' is True, and not
  static.
The arguments are counted so: 0 self, 1 x, 2 train.
  module  /JitTrains_0
  line    `return compact(lambda self, x: nn.jit(Trains)()(x, True)).init(KEY, X)`
  lifted  `return compact(lambda self, x: nn.jit(Trains)()(x, True)).init(KEY, X)`
  expects static_argnums=(2,)
  found   static_argnums=()
  right   nn.jit(Trains, static_argnums=(2,))
in module /JitTrains_0 (JitTrains.__call__), called with (f32[4,3], True)""",
)
def nothing_static_under_jit() -> Any:
  return compact(lambda self, x: nn.jit(Trains)()(x, True)).init(KEY, X)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2].__name__)
def test_message(case: Case) -> None:
  run(case)
