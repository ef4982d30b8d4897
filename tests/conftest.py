"""What every test starts from: JAX on the CPU, and minilinen's default settings."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Flax and minilinen lead to the same programs, and so does a second run of the tests: each is compiled once.
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import pytest
from hypothesis import settings

import minilinen

# Random programs are the same ones on every machine; FUZZ_EXAMPLES=500 looks for new ones.
settings.register_profile("minilinen", derandomize="FUZZ_EXAMPLES" not in os.environ, deadline=None)
settings.load_profile("minilinen")


# Files that pyright reads, one of them full of mistakes.
collect_ignore_glob = ["typing/*"]


@pytest.fixture(autouse=True)
def default_settings():
  """Whatever a test sets is as it was for the next one."""
  before = minilinen.config.as_dict()
  yield
  for name, value in before.items():
    minilinen.config.update(name, value)


def pytest_configure(config: pytest.Config) -> None:
  """A warning of minilinen's is a false alarm, unless a test expects it."""
  config.addinivalue_line("filterwarnings", "error::minilinen.errors.MinilinenWarning")
