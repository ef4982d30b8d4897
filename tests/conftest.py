"""What every test starts from: JAX on the CPU, and minilinen's default settings."""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import pytest

import minilinen


@pytest.fixture(autouse=True)
def default_settings():
  """Whatever a test sets is as it was for the next one."""
  before = dict(vars(minilinen.config))
  yield
  vars(minilinen.config).update(before)
