"""Lifted scan: axes, carries, broadcasts, boxes, sharing."""

from __future__ import annotations

from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
import pytest
from oracle import KEY, KEY2, X, as_flax, equal, flax_settings, raises_as_flax, same, shown

import minilinen


def partitioned_step(nn):

  class Step(nn.Module):
    @nn.compact
    def __call__(self, c, _):
      return (nn.Dense(4, kernel_init=nn.with_partitioning(nn.initializers.ones_init(), ("a", "b")))(c), None)

  return Step


@as_flax(
  {
    "alone": {"kernel": {"box": "Partitioned", "value": (4, 3), "names": ("a", "b")}, "bias": (3,)},
    "output": (3, 3),
    "scanned": {
      "Dense_0": {
        "kernel": {"box": "Partitioned", "value": (2, 4, 4), "names": ("l", "a", "b")},
        "bias": (2, 4),
      }
    },
  }
)
def test_boxes_get_the_axis_name(nn):
  d = nn.Dense(3, kernel_init=nn.with_partitioning(nn.initializers.ones_init(), ("a", "b")))
  v = d.init(KEY, X)
  L = nn.scan(
    partitioned_step(nn),
    variable_axes={"params": 0},
    split_rngs={"params": True},
    length=2,
    metadata_params={nn.PARTITION_NAME: "l"},
  )
  return {"alone": v["params"], "output": d.apply(v, X), "scanned": L().init(KEY, X, None)["params"]}


@raises_as_flax("PartitioningUnspecifiedError")
def test_boxes_without_metadata_params(nn):
  L = nn.scan(partitioned_step(nn), variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
  return L().init(KEY, X, None)


LSTM = {
  **{gate: {"kernel": (3, 4)} for gate in ("ii", "if", "ig", "io")},
  **{gate: {"kernel": (4, 4), "bias": (4,)} for gate in ("hi", "hf", "hg", "ho")},
}


@as_flax(
  {
    "params": {"ScanLSTMCell_0": LSTM},
    "outputs": (((2, 4), (2, 4)), (2, 5, 4)),
    "gradient": {"ScanLSTMCell_0": LSTM},
  }
)
def test_recurrent_cell(nn):

  class N(nn.Module):
    @nn.compact
    def __call__(self, xs):
      L = nn.scan(
        nn.LSTMCell, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1
      )
      cell = L(4)
      c = cell.initialize_carry(KEY, xs[:, 0].shape)
      return cell(c, xs)

  m = N()
  xs = jax.random.normal(KEY, (2, 5, 3))
  v = m.init(KEY, xs)

  def f(p):
    return (m.apply({"params": p}, xs)[1] ** 2).sum()

  return {**v, "outputs": m.apply(v, xs), "gradient": jax.grad(f)(v["params"])}


@as_flax(
  (
    {
      "params": {
        "BatchNorm_0": {"scale": (4, 3), "bias": (4, 3)},
        "Dense_0": {"kernel": (4, 3, 4), "bias": (4, 3)},
      },
      "batch_stats": {"BatchNorm_0": {"mean": (3, 4), "var": (3, 4)}},
    },
    ((3, 4), (3,)),
    {"batch_stats": {"BatchNorm_0": {"mean": (3, 4), "var": (3, 4)}}, "intermediates": {"h": ((3, 3, 4),)}},
  )
)
def test_every_collection_stacked_in_reverse_unrolled(nn):

  class Step(nn.Module):
    @nn.compact
    def __call__(self, c, x):
      c = nn.Dense(4)(c)
      c = nn.BatchNorm(use_running_average=False)(c)
      c = nn.Dropout(0.5, deterministic=False)(c)
      self.sow("intermediates", "h", c)
      return (c, c.sum())

  m = nn.scan(
    Step,
    variable_axes={"params": 1, "batch_stats": 0, "intermediates": 0},
    split_rngs={"params": True, "dropout": True},
    length=3,
    reverse=True,
    unroll=2,
  )()
  v = m.init({"params": KEY, "dropout": KEY2}, X, None)
  return (v, *m.apply(v, X, None, rngs={"dropout": KEY}, mutable=["batch_stats", "intermediates"]))


@as_flax((((3, 4), (3,)), {"state": {"ScanStep_0": {"n": 3}}}))
def test_carried_collection(nn):

  class Step(nn.Module):
    @nn.compact
    def __call__(self, c, x):
      n = self.variable("state", "n", lambda: jnp.zeros(()))
      n.value = n.value + 1.0
      c = nn.Dense(4)(c)
      c = nn.Dropout(0.5, deterministic=False)(c)
      return (c, c.sum())

  class N(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.scan(
        Step,
        variable_broadcast="params",
        variable_carry="state",
        split_rngs={"params": False, "dropout": True},
        in_axes=0,
        length=3,
      )()(x, jnp.arange(3.0))

  m = N()
  v = {
    "params": {"ScanStep_0": {"Dense_0": nn.Dense(4).init(KEY, X)["params"]}},
    "state": {"ScanStep_0": {"n": jnp.zeros(())}},
  }
  return m.apply(v, X, rngs={"dropout": KEY}, mutable=["state"])


@raises_as_flax("TypeError")
def test_carried_collection_at_init(nn):
  """What goes round must be there before the first step, which creates it here."""

  class Step(nn.Module):
    @nn.compact
    def __call__(self, c, x):
      n = self.variable("state", "n", lambda: jnp.zeros(()))
      n.value = n.value + 1.0
      return (c, c.sum())

  return nn.scan(Step, variable_carry="state", length=3)().init(KEY, X, None)


@raises_as_flax("ValueError")
def test_broadcast_parameter_that_depends_on_the_carry(nn):

  class Step(nn.Module):
    @nn.compact
    def __call__(self, c, x):
      self.param("w", lambda k: c)
      return (c, c.sum())

  return nn.scan(Step, variable_broadcast="params", split_rngs={"params": False}, length=3)().init(
    KEY, X, None
  )


@as_flax(
  (
    {
      "params": {
        "Dense_0": {"kernel": (4, 4), "bias": (4,)},
        "ScanW_0": {"Dense_0": {"kernel": (4, 4), "bias": (4,)}},
      }
    },
    (3, 4),
  )
)
def test_module_from_outside_is_shared(nn):

  class N(nn.Module):
    @nn.compact
    def __call__(self, x):
      d = nn.Dense(4)

      class W(nn.Module):
        a: Any

        @nn.compact
        def __call__(self, c, _):
          return (self.a(c) + nn.Dense(4)(c), None)

      y, _ = nn.scan(W, variable_broadcast="params", split_rngs={"params": False}, length=2)(d)(x, None)
      return d(y)

  m = N()
  v = m.init(KEY, X)
  return (v, m.apply(v, X))


def test_a_module_from_outside_of_the_body_is_made_when_its_parameters_are_shared():
  """Flax could do that on older versions of JAX; where it still can, both do the same."""

  def program(nn, looped=True):
    class Loop(nn.Module):
      @nn.compact
      def __call__(self, x):
        outside = nn.Dense(3, name="outside")

        def step(self, x, _):
          return outside(x), None

        if not looped:
          return outside(outside(x))
        loop = nn.scan(step, variable_broadcast="params", split_rngs={"params": False}, length=2)
        return loop(self, x, None)[0]

    return Loop().init_with_output(KEY, jnp.ones((2, 3)))

  with flax_settings():
    found = program(minilinen)
    equal(program(minilinen, looped=False), found)
    assert shown(found) == ((2, 3), {"params": {"outside": {"kernel": (3, 3), "bias": (3,)}}})
  try:
    program(flax.linen)
  except jax.errors.UnexpectedTracerError:
    return
  same(program)


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_the_loop_over_arrays_alone(checked: bool, reverse: bool):
  """`core.axes_scan.scan`: constants on both sides, axes of arguments and results other than 0, a broadcast one."""

  def loop(axes_scan: Any) -> Any:
    broadcast = axes_scan.broadcast

    def step(constants: Any, carry: Any, x: Any, y: Any) -> Any:
      return (constants * 2 if checked else constants), carry + x.sum(), (carry * x + y.sum(), constants + 1)

    run = axes_scan.scan(
      step,
      (1, broadcast),
      (1, broadcast if checked else 0),
      reverse=reverse,
      check_constancy_invariants=checked,
    )
    return run(jnp.ones(2), jnp.zeros(()), jnp.arange(12.0).reshape(3, 4), jnp.arange(3.0))

  equal(loop(flax.core.axes_scan), loop(minilinen.core.axes_scan))
  assert loop(minilinen.core.axes_scan)[1] == 66


@pytest.mark.parametrize("split", [True, False])
def test_the_loop_of_jax_is_given_what_was_asked_for(split: bool, monkeypatch: pytest.MonkeyPatch):
  """JAX takes `_split_transpose` and, since 0.10, drops it: no equation says whether it got there."""
  given, scan = [], jax.lax.scan

  def seen(*args: Any, **options: Any) -> Any:
    given.append([options[name] for name in ("reverse", "unroll", "_split_transpose")])
    return scan(*args, **options)

  class Step(minilinen.Module):
    @minilinen.compact
    def __call__(self, carry: Any, x: Any) -> Any:
      return minilinen.Dense(2)(carry), x

  asked: Any = {"reverse": True, "unroll": 3, "_split_transpose": split}
  monkeypatch.setattr(jax.lax, "scan", seen)
  Loop = minilinen.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, **asked)
  Loop().init(KEY, jnp.ones((4, 2)), jnp.arange(3.0))
  assert given == [[True, 3, split]]
  step = lambda constants, carry, x: (constants, carry + x, x)  # noqa: E731
  minilinen.core.axes_scan.scan(step, (0,), 0, **asked)(jnp.ones(2), jnp.zeros(()), jnp.arange(3.0))
  assert given == [[True, 3, split]] * 2
