"""A transformer over data and model axes on eight simulated devices, in a process that has them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from minilinen.examples import sharded

HERE = Path(__file__).parent
# Random bits are the same however an array is split. What is reckoned from them is rounded as XLA compiles it: alike in
# JAX 0.10, and in JAX 0.12 up to the last places.
ULPS = 0 if jax.__version_info__ < (0, 11) else 8


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
  environment = {
    **os.environ,
    "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]),
  }
  done = subprocess.run(
    [sys.executable, str(HERE / "sharded_program.py")],
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(done.stdout)


def test_no_device_ever_holds_the_whole(result: dict[str, Any]) -> None:
  """Each parameter with an axis on "model" is made in four parts, each on two devices."""
  split = {name for name, shards in result["shards"].items() if shards[0] != result["shapes"][name]}
  assert split == {name for name in result["shapes"] if "LayerNorm" not in name}
  for name, shards in result["shards"].items():
    parts = 4 if name in split else 1
    assert len(shards) == 8
    assert {math.prod(shard) * parts for shard in shards} == {math.prod(result["shapes"][name])}


def test_same_numbers_as_on_one_device(result: dict[str, Any]) -> None:
  """The first parameters have the same random bits; losses differ as sums over devices run in another order."""
  assert result["ulps_from_alone"] <= ULPS
  losses, alone, _ = result["losses"]
  np.testing.assert_allclose(losses, alone, rtol=1e-5)
  assert losses[0] > losses[1] > losses[2]


def test_same_as_flax(result: dict[str, Any]) -> None:
  assert result["ulps_from_flax"] <= ULPS
  losses, alone, theirs = result["losses"]
  np.testing.assert_allclose([losses[0], alone[0]], theirs, rtol=1e-6)


def test_the_trace_knows_axes_and_sharding(result: dict[str, Any]) -> None:
  kernel = result["trace"]["params/blocks/Dense_0/kernel"]
  assert kernel == [[None, "embed", "mlp"], "P(None, None, 'model')", [2, 16, 8]]
  assert result["trace"]["params/embed/embedding"] == [["vocab", "embed"], "P('model', None)", [8, 16]]


def test_the_tree_shows_bytes_per_device(result: dict[str, Any]) -> None:
  assert result["tree"]["params/embed/embedding"][:2] == [32 * 16 * 4, 32 * 16]
  nbytes, per_device, _ = result["tree"]["params"]
  assert per_device == sum(
    math.prod(shards[0]) * 4 for name, shards in result["shards"].items() if name.startswith("params")
  )
  assert per_device < nbytes / 3
  assert "(-, embed, heads→model, kv)" in result["text"]["120"]
  for width, text in result["text"].items():
    assert "/device" in text and "→model" in text
    assert max(map(len, text.splitlines())) <= int(width)


def test_too_few_devices() -> None:
  with pytest.raises(
    ValueError, match=r"needs 8000 devices.*XLA_FLAGS=--xla_force_host_platform_device_count=8000"
  ):
    sharded.mesh_of(2, 4000)
