"""JAX speaks of what the user wrote: no function between it and the user's shows in a jaxpr, a profile or a record."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
import trace_models
from trace_models import MODELS

import minilinen
from minilinen import errors
from minilinen.tracing.events import Lift

pytestmark = pytest.mark.grid

HOME = Path(inspect.getfile(minilinen)).parent
WRITTEN = set(re.findall(r"\w+|<lambda>", inspect.getsource(trace_models))) | {"<lambda>", "step", "RNN"}
FLOORS_BELOW = [str(HOME / floor) for floor in ("core", "module", "tracing", "transforms")]


def spoken_of(program: Any) -> Iterator[tuple[str, str]]:
  """Every function that JAX holds a jaxpr of: what it is called, and where it stands."""
  jaxpr = getattr(program, "jaxpr", program)
  yield jaxpr.debug_info.func_name, jaxpr.debug_info.func_src_info
  for equation in jaxpr.eqns:
    if "name" in equation.params:
      yield str(equation.params["name"]), ""
    for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(getattr(v, "jaxpr", v), "eqns")):
      if hasattr(getattr(value, "jaxpr", value), "eqns"):
        yield from spoken_of(value)


@pytest.mark.parametrize("name", MODELS)
def test_jax_speaks_of_the_users_functions(name: str) -> None:
  module, rngs, inputs = MODELS[name]()
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", errors.MinilinenWarning)
    program = jax.make_jaxpr(lambda rngs, *xs: module.init_with_output(rngs, *xs))(rngs, *inputs)
    trace = minilinen.trace(module.init_with_output)(rngs, *inputs)
  ours = [
    (name, place) for name, place in spoken_of(program) if place and any(f in place for f in FLOORS_BELOW)
  ]
  assert not ours
  for lift in trace.events(Lift):
    assert lift.source is not None and "tests" in Path(lift.source.file).parts, lift
    assert lift.method in WRITTEN and lift.target.split(".")[-1] in WRITTEN, lift


def test_a_function_of_ours_would_be_seen() -> None:
  def stranger(x: Any) -> Any:
    return x

  assert ("stranger", True) in [
    (name, "test_private_names.py" in place)
    for name, place in spoken_of(jax.make_jaxpr(jax.jit(stranger))(1.0))
  ]


def test_an_initializer_that_jax_has_traced_before_leads_to_the_same_program() -> None:
  module, key, x = minilinen.Dense(7), jax.random.key(0), jax.numpy.ones((2, 5))
  programs = [re.sub("0x[0-9a-f]+", "", str(jax.make_jaxpr(module.init)(key, x))) for _ in range(3)]
  assert programs[0] == programs[1] == programs[2]
