"""What minilinen gives, without `compat`, in the hands of Flax's other parts, optax and orbax; and Flax's in ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import flax
import flax.core
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import serialization, traverse_util
from flax.training import checkpoints
from flax.training.train_state import TrainState

import minilinen as nn
from minilinen.core import freeze, unfreeze

pytestmark = pytest.mark.grid

ROOT = Path(__file__).parents[2]
KEY, X = jax.random.key(0), jnp.ones((2, 4))
FROZEN = (nn.FrozenDict, flax.core.FrozenDict)
MODEL = nn.Sequential([nn.Dense(3), nn.BatchNorm(use_running_average=True)])
VARIABLES = MODEL.init(KEY, X)
PARAMS = VARIABLES["params"]


def equal(a: Any, b: Any) -> bool:
  return jax.tree.structure(a) == jax.tree.structure(b) and all(
    np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))
  )


def zero_kernels(path: Any, x: Any) -> Any:
  return x * 0 if "kernel" in path else x


def test_traverse_util():
  flat = traverse_util.flatten_dict(PARAMS, sep="/")
  assert list(flat) == ["layers_0/kernel", "layers_0/bias", "layers_1/scale", "layers_1/bias"]
  assert equal(freeze(traverse_util.unflatten_dict(flat, sep="/")), PARAMS)
  theirs = traverse_util.path_aware_map(zero_kernels, flax.core.freeze(unfreeze(PARAMS)))
  assert equal(traverse_util.path_aware_map(zero_kernels, PARAMS), theirs)


def test_flax_core():
  assert equal(flax.core.unfreeze(VARIABLES), unfreeze(VARIABLES))
  assert type(flax.core.freeze(VARIABLES)["params"]) is flax.core.FrozenDict
  rest, params = flax.core.pop(VARIABLES, "params")
  assert type(rest) is nn.FrozenDict and list(rest) == ["batch_stats"] and equal(params, PARAMS)


def test_what_either_writes_the_other_reads():
  theirs = flax.core.freeze(unfreeze(VARIABLES))
  written = serialization.to_bytes(VARIABLES)
  assert written == serialization.to_bytes(theirs)
  assert equal(serialization.from_bytes(VARIABLES, written), VARIABLES)
  assert equal(serialization.from_bytes(theirs, written), theirs)
  assert equal(serialization.to_state_dict(VARIABLES), serialization.to_state_dict(theirs))


@pytest.mark.parametrize("kind", FROZEN, ids=["minilinen", "flax"])
def test_a_dict_that_lacks_something(kind: Any):
  with pytest.raises(ValueError, match=r"'b'.* at (path )?\./a"):
    serialization.from_state_dict(kind({"a": {"b": 1, "d": 2}}), {"a": {"c": 1, "d": 2}})
  assert serialization.from_state_dict(kind({"a": 1}), {"a": 2, "more": 3}) == kind({"a": 2})


@pytest.mark.parametrize("with_names", ["with_partitioning", "with_logical_partitioning"])
def test_boxes(with_names: str):
  def variables(linen: Any, mixed: Any = None) -> Any:
    names = getattr(mixed or linen, with_names)
    return linen.Dense(3, kernel_init=names(nn.initializers.lecun_normal(), ("a", "b"))).init(KEY, X)

  ours, theirs = variables(nn), variables(flax.linen)
  state = serialization.to_state_dict(ours)
  assert equal(state, serialization.to_state_dict(theirs))
  back = serialization.from_state_dict(ours, state)
  assert equal(back, ours) and back["params"]["kernel"].names == ("a", "b")
  y = nn.Dense(3).apply(ours, X)
  assert equal(nn.Dense(3).apply(theirs, X), y) and equal(flax.linen.Dense(3).apply(unfreeze(ours), X), y)
  assert equal(unfreeze(variables(nn, mixed=flax.linen)), theirs)


def test_a_frozen_dict_of_flax_is_one():
  theirs = flax.core.freeze(unfreeze(VARIABLES))
  assert equal(freeze(theirs), VARIABLES) and equal(unfreeze(theirs), unfreeze(VARIABLES))
  assert equal(MODEL.apply(theirs, X), MODEL.apply(VARIABLES, X))
  for mixed in (theirs, {col: flax.core.freeze(tree) for col, tree in unfreeze(VARIABLES).items()}):
    assert equal(MODEL.apply(mixed, X, mutable=True)[1], VARIABLES)


def test_train_state(tmp_path: Path):
  def loss(params: Any) -> Any:
    return MODEL.apply({**VARIABLES, "params": params}, X).sum()

  state = TrainState.create(apply_fn=MODEL.apply, params=PARAMS, tx=optax.adam(1e-3))
  state = state.apply_gradients(grads=jax.grad(loss)(state.params))
  assert type(state.params) is nn.FrozenDict and not equal(state.params, PARAMS)
  assert equal(serialization.from_bytes(state, serialization.to_bytes(state)), state)
  checkpoints.save_checkpoint(tmp_path, state, 1)
  assert equal(checkpoints.restore_checkpoint(tmp_path, state), state)


def test_optax():
  kernels = freeze(traverse_util.path_aware_map(lambda path, _: "kernel" in path, PARAMS))
  masked = optax.masked(optax.sgd(1.0), kernels)
  updates, _ = masked.update(PARAMS, masked.init(PARAMS))
  assert equal(updates["layers_0"]["kernel"], -PARAMS["layers_0"]["kernel"])
  assert equal(updates["layers_1"], PARAMS["layers_1"])
  labels = jax.tree.map(lambda kernel: "train" if kernel else "freeze", kernels)
  two = optax.multi_transform({"train": optax.sgd(1.0), "freeze": optax.set_to_zero()}, labels)
  updates, _ = two.update(PARAMS, two.init(PARAMS))
  assert not updates["layers_1"]["scale"].any() and updates["layers_0"]["kernel"].any()


@pytest.mark.filterwarnings("ignore")
def test_orbax(tmp_path: Path):
  import orbax.checkpoint as ocp

  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(tmp_path / "x", VARIABLES)
    checkpointer.wait_until_finished()
    assert equal(checkpointer.restore(tmp_path / "x", VARIABLES), VARIABLES)
    assert equal(freeze(checkpointer.restore(tmp_path / "x")), VARIABLES)


@pytest.mark.parametrize("first", ["import minilinen as nn, jax", "from flax import serialization"])
def test_whichever_is_imported_first(first: str):
  program = f"""
{first}
import sys
import jax, minilinen as nn
assert ("flax" in sys.modules) == ("flax" in {first!r})
variables = nn.Dense(3).init(jax.random.key(0), jax.numpy.ones((2, 4)))
from flax import serialization, traverse_util
assert serialization.to_state_dict(variables).keys() == {{"params"}}
assert len(traverse_util.flatten_dict(variables)) == 2
"""
  subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=300)
