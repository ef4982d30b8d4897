"""The Flax models of `transformers`, where it is installed, lead to no warning of `check`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IS_THERE = importlib.util.find_spec("transformers") is not None


@pytest.mark.long
@pytest.mark.skipif(not IS_THERE, reason="transformers is not installed; check_transformers.py says how")
def test_no_model_is_warned_of() -> None:
  """In a process of its own, since `flax.linen` is exchanged there."""
  program = [sys.executable, str(ROOT / "tests" / "tracing" / "check_transformers.py"), "--quick"]
  paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
  told = subprocess.run(program, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
  assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-2000:]
