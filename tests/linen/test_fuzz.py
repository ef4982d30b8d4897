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
from oracle import agree, equations, run_both, shown

from minilinen import errors

pytestmark = pytest.mark.grid

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "15"))


def both(node: tuple, grad: bool = False) -> tuple[Any, Any]:
  """The variables, outputs, mutations, jaxpr and gradients of a program with both, or what they raise."""

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
    return run_both(program)


def check(node: tuple, grad: bool = False) -> None:
  """Asserts that all of a program is the same with both."""
  theirs, ours = both(node, grad)
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


@pytest.mark.parametrize(
  "node, raised",
  [
    (
      ("setup", (("name_scope", (("dropout", None), ("dropout", "a"), ("sow", None))),)),
      "AssignSubModuleError",
    ),
    (("name_scope", (("scan_shared", ("vmap", ("perturb", None))), ("name_scope", (("noise", "a"),)))), None),
    (
      ("name_scope", (("name_scope", (("noise", "a"),)), ("name_scope", (("noise", "a"),)))),
      "NameInUseError",
    ),
  ],
  ids=["not in compact", "other keys", "a name twice"],
)
def test_a_name_scope_is_its_modules_own_where_flax_hangs_it_on_the_one_that_constructs_it(node, raised):
  """A deviation from a mistake of Flax's: it raises, or draws other random numbers than those of the module's path."""
  theirs, ours = both(node)
  assert isinstance(ours, dict)
  if raised:
    assert type(theirs).__name__ == raised
  else:
    assert shown(theirs["variables"]) == shown(ours["variables"]) == {}
    with pytest.raises(AssertionError, match=r"\['apply'\]\[0\]: Flax"):
      agree(theirs, ours)
