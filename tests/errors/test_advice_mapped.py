"""The advice about what a `vmap` or a scan maps over: sizes that differ, and what shall be the same in every step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from situations import Advice

import minilinen as nn
from minilinen import errors

pytestmark = pytest.mark.grid

STEP = """
    class Step(nn.Module):
      @nn.compact
      def __call__(self, carry, x, mask=None):
        return nn.Dense(3)(carry), x
    xs = jnp.ones((8, 2, 3))
"""
NET = """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, mask=None):
        return nn.Dense(4)(x)
"""
SHARED = "variable_broadcast='params', split_rngs={'params': False}"
STACKED = "variable_axes={'params': 0}, split_rngs={'params': True}"

ADVICE = [
  # Sizes.
  Advice(
    errors.MappedSizeError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        cell = nn.scan(nn.LSTMCell, variable_broadcast="params", split_rngs={"params": False}, in_axes=1)(8)
        return cell(x)
    Net().init(key, jnp.ones((2, 5, 3)))
    """,
    ["called with one argument, the carry: its body takes (carry, inputs)", "right module(carry, inputs)"],
    ("length",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        cell = nn.scan(nn.LSTMCell, variable_broadcast="params", split_rngs={"params": False}, in_axes=1)(8)
        return cell(cell.initialize_carry(key, x[:, 0].shape), x)
    Net().init(key, jnp.ones((2, 5, 3)))
    """,
  ),
  Advice(
    errors.MappedSizeError,
    f"{STEP}\n    nn.scan(Step, {SHARED}, length=9)().init(key, x, xs)",
    [
      "9 (length), 8 (argument 'x')",
      "right nn.scan(Step, length=8, ...)",
      "or leave length away",
      "module /",
    ],
    ("variable", "in_axes"),
    f"{STEP}\n    nn.scan(Step, {SHARED}, length=8)().init(key, x, xs)",
  ),
  Advice(
    errors.MappedSizeError,
    f"{STEP}\n    nn.scan(Step, {SHARED})().init(key, x, xs, jnp.ones((2, 3)))",
    ["8 (argument 'x'), 2 (argument 'mask')", "what all share has nn.broadcast for an axis, in in_axes"],
    ("length", "None for"),
    f"{STEP}\n    nn.scan(Step, {SHARED}, in_axes=(0, nn.broadcast))().init(key, x, xs, jnp.ones((2, 3)))",
  ),
  Advice(
    errors.MappedSizeError,
    f"{NET}\n    nn.vmap(Net, {STACKED})().init(key, {{'a': x, 'b': jnp.ones((3, 3))}})",
    ["2 (argument \"x['a']\"), 3 (argument \"x['b']\")", "what all share has None for an axis"],
    ("axis_size", "broadcast"),
  ),
  Advice(
    errors.MappedSizeError,
    f"{NET}\n    model = nn.vmap(Net, {STACKED})()\n    model.apply(model.init(key, x), jnp.ones((5, 3)))",
    ["2 (variable 'params/Dense_0/bias'), 5 (argument 'x')", "the variables were made for 2: pass as many"],
    ("axis_size", "in_axes"),
    f"{NET}\n    model = nn.vmap(Net, {STACKED})()\n    model.apply(model.init(key, x), jnp.ones((2, 3)))",
  ),
  Advice(
    errors.MappedSizeError,
    f"""{STEP}
    variables = nn.scan(Step, {STACKED}, length=4)().init(key, x, None)
    nn.scan(Step, {STACKED}, length=3)().apply(variables, x, None)
    """,
    ["3 (length), 4 (variable 'params/Dense_0/bias')", "right nn.scan(Step, length=4, ...)", "made for 4"],
    ("argument", "in_axes"),
    f"""{STEP}
    variables = nn.scan(Step, {STACKED}, length=4)().init(key, x, None)
    nn.scan(Step, {STACKED}, length=4)().apply(variables, x, None)
    """,
  ),
  Advice(
    errors.MappedSizeError,
    f"{NET}\n    nn.vmap(Net, {STACKED}, in_axes=None)().init(key, x)",
    ["axis_size should be specified manually", "right nn.vmap(Net, axis_size=4, ...)"],
    ("length",),
    f"{NET}\n    nn.vmap(Net, {STACKED}, in_axes=None, axis_size=4)().init(key, x)",
  ),
  Advice(
    errors.MappedSizeError,
    f"{STEP}\n    nn.scan(Step, {SHARED})().init(key, x, None)",
    ["length should be specified manually: nn.scan of Step", "right nn.scan(Step, length=4, ...)"],
    ("axis_size",),
    f"{STEP}\n    nn.scan(Step, {SHARED}, length=4)().init(key, x, None)",
  ),
  Advice(
    errors.MappedSizeError,
    f"{NET}\n    nn.vmap(Net, {STACKED}, in_axes=(0, 0))().init(key, x, 1.0)",
    [
      "Argument 'mask' is mapped by nn.vmap of Net over axis 0, and has the shape ().",
      "None if all share it",
    ],
    ("broadcast",),
    f"{NET}\n    nn.vmap(Net, {STACKED}, in_axes=(0, None))().init(key, x, 1.0)",
  ),
  Advice(
    errors.MappedSizeError,
    f"""{NET}
    nn.vmap(Net, variable_axes={{"params": 1}}, split_rngs={{"params": True}})().apply(Net().init(key, x), x)
    """,
    ["Variable 'params/Dense_0/bias' is mapped by nn.vmap of Net over axis 1", "as init of this model makes"],
    ("in_axes",),
  ),
  Advice(
    errors.MappedSizeError,
    "nn.remat_scan(nn.Dense)(3).init(key, x)",
    ["needs at least one length", "right nn.remat_scan(Dense, lengths=(10,), ...)"],
    ("length=",),
    "nn.remat_scan(nn.Dense, lengths=(10,))(3).init(key, x)",
  ),
  Advice(
    errors.MappedSizeError,
    """
    variables = nn.remat_scan(nn.Dense, lengths=(2, 3))(3).init(key, x)
    nn.remat_scan(nn.Dense, lengths=(2, 4))(3).apply(variables, x)
    """,
    ["4 (lengths), 3 (variable 'params/bias')", "mend let lengths be the leading axes of the variables"],
    ("length=", "leave"),
    """
    variables = nn.remat_scan(nn.Dense, lengths=(2, 3))(3).init(key, x)
    nn.remat_scan(nn.Dense, lengths=(2, 3))(3).apply(variables, x)
    """,
  ),
  # What is the same in every step.
  Advice(
    errors.DependsOnStepError,
    f"{STEP}\n    nn.scan(Step, variable_broadcast='params', split_rngs={{'params': True}})().init(key, x, xs)",
    ["'params/Dense_0/kernel' of nn.scan of Step", 'right nn.scan(Step, split_rngs={"params": False}, ...)'],
    ("shapes alone", "variable_carry"),
    f"{STEP}\n    nn.scan(Step, variable_broadcast='params', split_rngs={{'params': False}})().init(key, x, xs)",
  ),
  Advice(
    errors.DependsOnStepError,
    f"""
    class Step(nn.Module):
      @nn.compact
      def __call__(self, carry, x):
        return carry, x + self.param("offset", lambda key: x.mean(0))
    nn.scan(Step, {SHARED})().init(key, x, jnp.ones((8, 2, 3)))
    """,
    ["'params/offset'", "make its first value of shapes alone"],
    ("split_rngs", "variable_carry"),
    f"""
    class Step(nn.Module):
      @nn.compact
      def __call__(self, carry, x):
        return carry, x + self.param("offset", lambda key: jnp.zeros(x.shape[1:]))
    nn.scan(Step, {SHARED})().init(key, x, jnp.ones((8, 2, 3)))
    """,
  ),
  Advice(
    errors.DependsOnStepError,
    """
    class Step(nn.Module):
      @nn.compact
      def __call__(self, carry, x):
        mean = self.variable("stats", "mean", lambda: jnp.zeros(()))
        mean.value += x.mean()
        return carry, x
    nn.scan(Step, variable_broadcast="stats")().apply({"stats": {"mean": 0.0}}, x, x, mutable="stats")
    """,
    ["'stats/mean'", 'right nn.scan(Step, variable_carry="stats", ...)', "must be there before the loop"],
    ("split_rngs", "shapes alone"),
    """
    class Step(nn.Module):
      @nn.compact
      def __call__(self, carry, x):
        mean = self.variable("stats", "mean", lambda: jnp.zeros(()))
        mean.value += x.mean()
        return carry, x
    nn.scan(Step, variable_carry="stats")().apply({"stats": {"mean": jnp.zeros(())}}, x, x, mutable="stats")
    """,
  ),
  Advice(
    errors.DependsOnStepError,
    """
    class Step(nn.Module):
      @nn.compact
      def __call__(self, carry, x):
        self.sow("intermediates", "x", x)
        return carry, x
    nn.scan(Step, variable_axes={"intermediates": nn.broadcast})().apply({}, x, x, mutable="intermediates")
    """,
    ["'intermediates/x'", 'right nn.scan(Step, variable_axes={..., "intermediates": 0}, ...)'],
    ("variable_carry", "split_rngs"),
    """
    class Step(nn.Module):
      @nn.compact
      def __call__(self, carry, x):
        self.sow("intermediates", "x", x)
        return carry, x
    nn.scan(Step, variable_axes={"intermediates": 0})().apply({}, x, x, mutable="intermediates")
    """,
  ),
  Advice(
    errors.DependsOnStepError,
    f"{STEP}\n    nn.scan(Step, {SHARED}, out_axes=nn.broadcast)().init(key, x, xs)",
    ["A result of nn.scan of Step", "stack it, with an axis in out_axes, or return it in the carry"],
    ("variable_axes", "data dependency"),
    f"{STEP}\n    nn.scan(Step, {SHARED}, out_axes=0)().init(key, x, xs)",
  ),
]


@pytest.mark.parametrize("advice", ADVICE, ids=str)
def test_advice(advice: Advice) -> None:
  advice.holds()


def test_every_leaf_is_looked_at() -> None:
  """A leaf of another size behind one that fits."""

  class Net(nn.Module):
    @nn.compact
    def __call__(self, xs):
      return nn.Dense(4)(xs["a"] + xs["b"])

  model = nn.vmap(Net, variable_axes={"params": 0}, split_rngs={"params": True})()
  x = jnp.ones((2, 3))
  variables = model.init(jax.random.key(0), {"a": x, "b": x})
  odd = {"params": {"Dense_0": {"bias": jnp.ones((2, 4)), "kernel": jnp.ones((5, 3, 4))}}}
  with pytest.raises(errors.MappedSizeError, match=r"5 \(variable\s+'params/Dense_0/kernel'\)"):
    model.apply(odd, {"a": x, "b": x})
  assert model.apply(variables, {"a": x, "b": x}).shape == (2, 4)


def test_flax_raises_a_value_error_too() -> None:
  assert issubclass(errors.MappedSizeError, ValueError) and issubclass(errors.DependsOnStepError, ValueError)
