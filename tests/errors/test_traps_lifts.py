"""Traps of lifted transforms: what a boundary stops, and stacked parameters with one key."""

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
from minilinen import errors

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
in module /CheckpointNorm_0/BatchNorm_0 (BatchNorm.__call__), called with
  (f32[4,3])""",
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
in module /Map_variablesNorm_0/BatchNorm_0 (BatchNorm.__call__), called with
  (f32[4,3])""",
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


def test_what_fails_deep_inside_is_looked_into_by_one_lift() -> None:
  """To see whether a carry changes a scan runs its body again; the scans around it need not, each twice as often."""
  runs = []

  class Block(nn.Module):
    depth: int

    @nn.compact
    def __call__(self, x: Any, _: Any = None) -> Any:
      if self.depth:
        return nn.scan(Block, length=2)(self.depth - 1)(x, None)
      runs.append(x)
      raise TypeError("the user's own")

  def times(depth: int) -> int:
    runs.clear()
    with pytest.raises(TypeError, match="the user's own"):
      Block(depth).apply({}, X)
    return len(runs)

  assert [times(depth) for depth in range(4)] == [1, 2, 2, 2]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2].__name__)
def test_message(case: Case) -> None:
  run(case)
