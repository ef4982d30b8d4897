"""Training split over eight devices, in one process and in two: each is Flax's to the last bit, and both are one."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minilinen import checkpoints

PROGRAM = Path(__file__).with_name("parallel.py")
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.long


def started(program: Path, out: Path, *distributed: str) -> subprocess.Popen[str]:
  """A process of the program."""
  devices = 8 // int(distributed[1]) if distributed else 8
  flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
  environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
  command = [sys.executable, str(program), str(out), *distributed]
  return subprocess.Popen(
    command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
  )


def finished(*processes: subprocess.Popen[str]) -> None:
  for process in processes:
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed[-3000:]


def found(out: Path, process: int = 0) -> dict[str, Any]:
  """What a process saw."""
  return json.loads(Path(f"{out}.{process}.json").read_text())


def parameters(out: Path) -> list[np.ndarray]:
  with np.load(f"{out}.npz") as arrays:
    return [arrays[name] for name in arrays]


def bits(out: Path) -> list[bytes]:
  return [array.tobytes() for array in parameters(out)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """What one process makes of it."""
  out = tmp_path_factory.mktemp("alone") / "out"
  finished(started(PROGRAM, out))
  return out


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """What two processes make of it together."""
  out = tmp_path_factory.mktemp("two") / "out"
  finished(*together(PROGRAM, out))
  return out


def together(program: Path, out: Path) -> list[subprocess.Popen[str]]:
  with socket.socket() as free:
    free.bind(("localhost", 0))
    coordinator = f"localhost:{free.getsockname()[1]}"
  return [started(program, out, str(n), "2", coordinator) for n in range(2)]


@pytest.fixture
def flaxs(tmp_path: Path) -> Path:
  """The program on Flax."""
  source = PROGRAM.read_text().replace("import minilinen as nn", "import flax.linen as nn")
  source = source.replace(", nn.record() as trace", "").replace("str(viz.tree(trace))", '""')
  source = source.replace("str(viz.tabulate(trace))", '""')
  assert "flax.linen" in source and "nn.record" not in source
  (tmp_path / "flaxs.py").write_text(source)
  return tmp_path / "flaxs.py"


def test_in_one_process_it_is_flaxs_training(alone: Path, flaxs: Path, tmp_path: Path):
  finished(started(flaxs, tmp_path / "out"))
  assert found(tmp_path / "out")["losses"] == found(alone)["losses"]
  assert bits(tmp_path / "out") == bits(alone)
  assert found(alone)["losses"][-1] < found(alone)["losses"][0]


def test_in_two_processes_it_is_flaxs_training(two: Path, flaxs: Path, tmp_path: Path):
  finished(*together(flaxs, tmp_path / "out"))
  assert found(tmp_path / "out", 1)["losses"] == found(two, 1)["losses"]
  assert bits(tmp_path / "out") == bits(two)


def test_two_processes_train_as_one(alone: Path, two: Path):
  """Between processes sums are made in another order: what differs is the rounding of the last bits."""
  for process in range(2):
    seen, whole = found(two, process), found(alone)
    assert {**seen, "losses": 0} == {**whole, "losses": 0}
    np.testing.assert_allclose(seen["losses"], whole["losses"], rtol=1e-6)
  for part, whole in zip(parameters(two), parameters(alone)):
    np.testing.assert_allclose(part, whole, rtol=1e-5, atol=1e-6)


def test_every_process_sees_the_whole_tree_and_what_a_device_holds(alone: Path):
  seen = found(alone)
  assert re.search(r"kernel +f32\[64,64\] +\(in, hidden→model\) +4,096 +16.4 KB +8.2 KB", seen["tree"]), seen[
    "tree"
  ]
  assert re.search(r"kernel +f32\[64,10\]", seen["trace"]), seen["trace"]
  assert "Dropout_0" in seen["table"]


def test_the_checkpoint_of_all_is_one_tree(alone: Path):
  found = checkpoints.load(f"{alone}.checkpoint")
  assert {"0", "1", "2"} <= found.keys()
