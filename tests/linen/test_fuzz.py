"""Random module programs, run with Flax and with minilinen.

What a program is stands in `fuzz_programs`. `FUZZ_EXAMPLES=500` in the environment asks for more programs. What a run
once found is a test of its own at the end.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from fuzz_programs import INPUT, KEYS, MUTABLE, build, programs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import agree, equations, run_both

from minilinen import errors

pytestmark = pytest.mark.grid

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "15"))


def check(node: tuple, grad: bool = False) -> None:
  """Asserts that a program has the same variables, outputs, mutations, jaxpr and gradients with both."""

  def program(nn: Any) -> Any:
    model = build(nn, node)
    y, variables = model.init_with_output(KEYS, INPUT)

    def apply(variables: Any, x: Any) -> Any:
      return model.apply(variables, x, rngs=KEYS, mutable=MUTABLE)

    result = {"init": y, "variables": variables, "apply": apply(variables, INPUT)}
    result["jaxpr"] = equations(jax.make_jaxpr(apply)(variables, INPUT))
    if grad and "params" in variables:
      loss = lambda p: jnp.sum(apply({**variables, "params": p}, INPUT)[0] ** 2)  # noqa: E731
      result["grad"] = jax.grad(loss)(variables["params"])
    return result

  with warnings.catch_warnings():
    warnings.simplefilter("ignore", errors.MinilinenWarning)  # Flax is silent, and goes on
    theirs, ours = run_both(program)
    if isinstance(theirs, AssertionError) and "scope list mismatch" in str(theirs):
      # Flax cannot lift a function of a module that holds a module which no scope has seen yet.
      assert not isinstance(ours, Exception)
      return
    agree(theirs, ours)


@settings(
  max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 15, suppress_health_check=list(HealthCheck)
)
@given(node=programs, grad=st.sampled_from([False, False, True]))
def test_random_program(node, grad):
  check(node, grad)


@pytest.mark.parametrize(
  "node",
  [
    ("scan", ("vmap", ("compact", (("dense", None), ("dropout", None), ("sow", None))))),
    ("vmap", ("scan_shared", ("adopted_twice", ("norm", None)))),
    ("remat", ("scan", ("setup", (("boxed", None), ("counter", None))))),
    ("twice", ("jit", ("compact", (("dense", None), ("noise", None), ("dropout", None))))),
    ("map_variables", ("vmap_shared", ("share_scope", ("parameter", None)))),
    ("share_scope", ("adopted", (("dense", None),))),
    ("vmap", ("vmap_function", ("boxed", None))),
    ("lstm", None),
    ("fold_rngs", ("jit", ("dropout", None))),
    ("while_loop", ("jit", ("dropout", None))),
    ("vmap", ("vmap", ("attention", None))),
    ("vmap", ("vmap", ("group_norm", None))),
  ],
)
def test_lift_in_lift(node):
  check(node, grad=True)


@pytest.mark.xfail(
  strict=True,
  reason="Flax hangs the name scope of a module that is constructed in another's method on that other module",
)
@pytest.mark.parametrize(
  "node",
  [
    ("setup", (("name_scope", (("dropout", None), ("dropout", "a"), ("sow", None))),)),
    ("name_scope", (("scan_shared", ("vmap", ("perturb", None))), ("name_scope", (("noise", "a"),)))),
    ("name_scope", (("name_scope", (("noise", "a"),)), ("name_scope", (("noise", "a"),)))),
  ],
)
def test_found_and_not_yet_mended(node):
  check(node)
