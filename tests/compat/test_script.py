"""`minilinen run` and `--flax`: a program and a model that know nothing of minilinen, from the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.grid

ROOT = Path(__file__).parents[2]

MODEL = """
import flax.linen as nn

class Net(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.Dense(3)(x)

net = Net()
"""

PROGRAM = """
import sys
import jax, jax.numpy as jnp
from model import net

if __name__ == "__main__":
  print(sys.argv[1:], sys.path[0], type(net).__mro__[1].__module__)
  if "--fail" in sys.argv:
    raise ValueError("of the program")
  if "--unbound" in sys.argv:
    net(1.0)
  if "--exit" in sys.argv:
    sys.exit(3)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
  (tmp_path / "package").mkdir()
  (tmp_path / "package" / "__init__.py").touch()
  for file, text in {"model": MODEL, "program": PROGRAM, "package/tool": PROGRAM}.items():
    (tmp_path / f"{file}.py").write_text(text)
  return tmp_path


def minilinen(project: Path, *words: str) -> tuple[int, str, str]:
  done = subprocess.run(
    [sys.executable, "-m", "minilinen", *words], cwd=project, capture_output=True, text=True, timeout=300,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
  )  # fmt: skip
  return done.returncode, done.stdout, done.stderr


def test_a_program_is_run_as_python_runs_it(project: Path):
  ran = minilinen(project, "run", "program.py", "-m", "--x", "3")
  assert ran == (0, f"['-m', '--x', '3'] {project} minilinen.module.module\n", "")
  code, out, _ = minilinen(project, "run", "-m", "package.tool", "--exit", "-y")
  assert (code, out) == (3, f"['--exit', '-y'] {project} minilinen.module.module\n")


def test_a_failure_is_the_programs_own(project: Path):
  code, _, err = minilinen(project, "run", "program.py", "--fail")
  lines = err.splitlines()
  assert code == 1 and lines[-1] == "ValueError: of the program"
  assert lines[:2] == ["Traceback (most recent call last):", '  File "program.py", line 9, in <module>']
  code, _, err = minilinen(project, "run", "program.py", "--unbound")
  assert code == 1 and "CallCompactUnboundModuleError" in err and "minilinen/compat" not in err


@pytest.mark.parametrize(
  "words, says",
  [
    (("program.pi",), "there is no file 'program.pi'"),
    (("-m", "pakage.tool"), "there is no module 'pakage'"),
    ((), "run: say which program, run script.py or run -m package.module"),
  ],
)
def test_there_is_no_such_program(project: Path, words: tuple[str, ...], says: str):
  assert minilinen(project, "run", *words) == (2, "", f"minilinen: {says}\n")


@pytest.mark.parametrize(
  "picture, shows", [("tabulate", "15 60 B"), ("trace", "call Dense_0"), ("graph", "Dense_0")]
)
def test_a_picture_of_a_model_of_flax(project: Path, picture: str, shows: str):
  code, out, err = minilinen(project, picture, "model.py:net", "-i", "f32[2,4]", "--flax")
  assert (code, err) == (0, "") and shows in out


def test_a_model_of_flax_without_the_flag(project: Path):
  code, _, err = minilinen(project, "tabulate", "model:net", "-i", "f32[2,4]")
  assert code == 2 and "net is a module of Flax; with --flax" in err
