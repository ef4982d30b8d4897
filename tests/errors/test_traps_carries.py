"""Traps of lifted transforms: what a carry may not do, and which arguments are static."""

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


def compact(fn: Callable[[nn.Module, Any], Any]) -> nn.Module:
  """A module whose call is a function of it."""

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return fn(self, x)

  return Net()


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
  mend    create the variables before the scan, which then carries them, or give
          each step its own: variable_axes={"batch_stats": 0} instead of
          variable_carry.
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
  lifted  `return core.apply(lambda scope, x: core.lift.scan(body, length=2)(scope, x, None))({}, X)`
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
in module /CheckpointTrains_0 (CheckpointTrains.__call__), called with
  (f32[4,3], True)""",
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
in module /CheckpointTrains_0 (CheckpointTrains.__call__), called with
  (f32[4,3], True)""",
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
in module /CheckpointTrains_0 (CheckpointTrains.__call__), called with
  (f32[4,3])""",
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
