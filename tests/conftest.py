"""What every test starts from: JAX on the CPU, and minilinen's default settings."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# A program is compiled for one or two calls of it: without optimization that takes half the time, and Flax and
# minilinen are compared all the same. CI sets the flag otherwise at one end.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# Flax and minilinen lead to the same programs, and so does a second run of the tests: each is compiled once.
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import pytest
from hypothesis import settings

import minilinen

# Random programs are the same ones on every machine; FUZZ_EXAMPLES=500 looks for new ones.
settings.register_profile("minilinen", derandomize="FUZZ_EXAMPLES" not in os.environ, deadline=None)
settings.load_profile("minilinen")


# Files that pyright reads, one of them full of mistakes; and what imports libraries that only `make bench` installs.
collect_ignore_glob = ["typing/*", "benchmarks/peers.py"]


@pytest.fixture(autouse=True)
def default_settings():
  """Whatever a test sets is as it was for the next one."""
  before = minilinen.config.as_dict()
  yield
  for name, value in before.items():
    minilinen.config.update(name, value)


_tests = itertools.count(1)


@pytest.fixture(autouse=True)
def forgotten_programs():
  """A process can only map so many pieces of memory (65,530 on Linux); each program that JAX keeps has some."""
  yield
  if next(_tests) % 200 == 0:
    jax.clear_caches()


def pytest_configure(config: pytest.Config) -> None:
  """A warning of minilinen's is a false alarm, unless a test expects it."""
  config.addinivalue_line("filterwarnings", "error::minilinen.errors.MinilinenWarning")
  config.addinivalue_line("filterwarnings", "ignore::minilinen.errors.DeprecatedWarning")


def pytest_addoption(parser: pytest.Parser) -> None:
  parser.addoption("--all", action="store_true", help="the long tests too, and every case of the grids")


# Of a grid, so many cases are one of those that are always run.
ONE_OF = 10


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
  """Without `--all`, what is marked `long` is left out, and of a file marked `grid` all but every tenth test.

  A file or a test that is asked for by name is run whole.
  """
  if config.getoption("--all") or any(".py" in argument for argument in config.args):
    return
  cases: defaultdict[Path, itertools.count[int]] = defaultdict(itertools.count)

  def is_quick(item: pytest.Item) -> bool:
    if item.get_closest_marker("long"):
      return False
    return not item.get_closest_marker("grid") or next(cases[item.path]) % ONE_OF == 0

  quick = [is_quick(item) for item in items]
  config.hook.pytest_deselected(items=[item for item, runs in zip(items, quick) if not runs])
  items[:] = [item for item, runs in zip(items, quick) if runs]
