"""Programs that train go down Flax's curve of losses to the last bit, recorded or not, and learn."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import pytest
import training_programs as programs
from twins import flax_twin

import minilinen as nn
import viz
from minilinen.tracing import Trace

pytestmark = pytest.mark.grid

MODELS = {
  "gan": 2,
  "restored": 3,
}  # What comes from a file are other arrays, and those made to be replaced a third tree.
NAMES = [program.__name__ for program in programs.PROGRAMS]


def bits(value: Any) -> list[Any]:
  """Everything in a result: dtypes, shapes and bytes."""
  leaves = jax.tree.leaves(value)
  return [(np.asarray(leaf).dtype.name, np.shape(leaf), np.asarray(leaf).tobytes()) for leaf in leaves]


@functools.cache
def ours(name: str) -> Any:
  """What the program gives on minilinen."""
  return getattr(programs, name)()


@pytest.mark.parametrize("name", NAMES)
def test_the_curve_is_flaxs(name: str):
  assert bits(ours(name)) == bits(getattr(flax_twin("training_programs"), name)())


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(name: str):
  losses = np.asarray(ours(name)[0])
  assert np.isfinite(losses[-1]).all() and len(losses) == programs.STEPS
  if name not in ("gan", "mixed_precision"):
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_recorded_it_is_the_same_and_the_trace_can_be_drawn(name: str):
  with nn.record() as trace:
    result = getattr(programs, name)()
  assert bits(result) == bits(ours(name))
  for kind in ("table", "tree", "trace"):
    assert str(viz.render(trace, kind))
  assert Trace.from_json(trace.to_json()) == trace
  assert len(trace.models) == MODELS.get(name, 1), trace.models
