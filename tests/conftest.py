"""What every test starts from: JAX on the CPU, and minilinen's default settings."""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import pytest
from hypothesis import settings

import minilinen

# Random programs are the same ones on every machine; FUZZ_EXAMPLES=500 looks for new ones.
settings.register_profile("minilinen", derandomize="FUZZ_EXAMPLES" not in os.environ, deadline=None)
settings.load_profile("minilinen")


@pytest.fixture(autouse=True)
def default_settings():
  """Whatever a test sets is as it was for the next one."""
  before = dict(vars(minilinen.config))
  yield
  vars(minilinen.config).update(before)


def pytest_configure(config: pytest.Config) -> None:
  """A warning of minilinen's is a false alarm, unless a test expects it."""
  config.addinivalue_line("filterwarnings", "error::minilinen.errors.MinilinenWarning")
