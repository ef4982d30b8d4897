"""Every layer and function of Linen takes the same arguments here, in the same order, with the same defaults."""

import dataclasses
import inspect

import flax.linen
import jax
import jax.numpy as jnp
import pytest
from oracle import equal

import minilinen

pytestmark = pytest.mark.grid

THEIRS = {name: value for name, value in vars(flax.linen).items() if name[0] != "_"}
LAYERS = [
  n for n, c in THEIRS.items() if isinstance(c, type) and issubclass(c, flax.linen.Module) and n != "Module"
]
SPACES = ["initializers", "activation", "pooling", "attention", "dtypes", "recurrent", "batch_apply"]
IMPORTED = {"compact", "merge_param", "nowrap", "overload", "partial", "default_kernel_init", "promote_dtype"}
FUNCTIONS = [
  f"{space}.{name}"
  for space in SPACES
  for name, value in vars(THEIRS[space]).items()
  if callable(value) and name[0].islower() and not isinstance(value, type)
  if name not in IMPORTED and (space, name) not in {("recurrent", "sigmoid"), ("recurrent", "tanh")}
]


def default(value):
  """A default as something that can be compared: functions by name."""
  if isinstance(value, (flax.core.FrozenDict, minilinen.FrozenDict)):
    return value.unfreeze()
  if value is None or isinstance(value, (bool, int, float, str, tuple, set)):
    return value
  if value in (inspect.Parameter.empty, dataclasses.MISSING):
    return "none"
  if isinstance(value, type) or not callable(value):
    return str(value)
  return getattr(value, "__name__", type(value).__name__)


def parameters(function):
  return [(p.name, p.kind, default(p.default)) for p in inspect.signature(function).parameters.values()]


def fields(layer):
  return [
    (
      f.name,
      f.kw_only,
      default(f.default if f.default_factory is dataclasses.MISSING else f.default_factory()),
    )
    for f in dataclasses.fields(layer)
  ]


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_takes_flaxs_arguments(name):
  theirs, ours = getattr(flax.linen, name), getattr(minilinen, name)
  expected, found = fields(theirs), fields(ours)
  if name in ("LSTMCell", "OptimizedLSTMCell"):
    expected[0] = ("features", False, None)  # which Linen's first form leaves out
  assert [f for f in found if f[0] not in ("parent", "name")] == [
    f for f in expected if f[0] not in ("parent", "name")
  ]
  for method in ("__call__", "attend", "initialize_carry"):
    if hasattr(theirs, method) and not (method == "initialize_carry" and "LSTMCell" in name):
      assert parameters(getattr(ours, method)) == parameters(getattr(theirs, method)), method


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_takes_flaxs_arguments(name):
  space, name = name.split(".")
  theirs, ours = getattr(THEIRS[space], name), getattr(getattr(minilinen, space), name)
  assert parameters(ours) == parameters(theirs)
  if hasattr(flax.linen, name) and getattr(flax.linen, name) is theirs:
    assert getattr(minilinen, name) is ours


def test_zeros_and_ones_are_functions_of_nn():
  key = jax.random.key(0)
  for name in ("zeros", "ones"):
    equal(
      getattr(flax.linen, name)(key, (2, 3), jnp.bfloat16),
      getattr(minilinen, name)(key, (2, 3), jnp.bfloat16),
    )


@pytest.mark.parametrize("name", [n for n in dir(flax.linen.initializers) if n[0].islower() and n[0] != "_"])
def test_initializers(name):
  theirs, ours = getattr(flax.linen.initializers, name), getattr(minilinen.initializers, name)
  args = {"constant": (2.0,), "variance_scaling": (1.0, "fan_in", "normal")}.get(name, ())
  if name not in ("zeros", "ones"):
    theirs, ours = theirs(*args), ours(*args)
  shape = (3, 3, 4, 8) if name == "delta_orthogonal" else (4, 6)
  for dtype in (jnp.float32, jnp.bfloat16) if "orthogonal" not in name else (jnp.float32,):
    equal(theirs(jax.random.key(1), shape, dtype), ours(jax.random.key(1), shape, dtype))
