"""What the benchmarks rest on: both libraries compile to the same program, and times are taken fairly."""

import jax
import pytest
from oracle import equations

from minilinen.tracing.recorder import current
from tests.benchmarks import cases
from tests.benchmarks.programs import same_programs
from tests.benchmarks.timing import geometric_mean, medians, without_collection

pytestmark = pytest.mark.grid


@pytest.mark.parametrize("case", cases.COMPILED, ids=lambda case: case.name)
def test_xla_compiles_the_same_program_forward_and_backward(case):
  for theirs, ours in same_programs(case):
    assert len(ours.splitlines()) > 100
    assert theirs == ours


def test_variants_take_turns_and_the_first_round_does_not_count():
  ran = []
  found = medians({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, rounds=2, repeats=2)
  assert "".join(ran) == "bbaa" + "aabb" + "bbaa"
  assert set(found) == {"a", "b"}


def test_ratios_are_averaged_so_that_twice_and_half_cancel_out():
  assert geometric_mean([2.0, 0.5, 8.0, 0.125]) == pytest.approx(1.0)


def test_the_collector_rests_and_wakes_up_again():
  import gc

  during = []
  without_collection(lambda: during.append(gc.isenabled()))()
  assert during == [False] and gc.isenabled()


@pytest.mark.parametrize("case", [cases.TRACED[3]], ids=lambda case: case.name)
def test_what_is_timed_is_the_same_work_on_both(case):
  theirs, ours = (cases.tracing(model, case.inputs) for model in (case.flax(), case.ours()))
  assert list(theirs) == list(ours) == ["eval_shape(init)", "make_jaxpr(apply)"]
  made, expected = ours["eval_shape(init)"](), theirs["eval_shape(init)"]()
  assert jax.tree.leaves(made) == jax.tree.leaves(expected) and len(jax.tree.leaves(made)) > 1
  assert equations(ours["make_jaxpr(apply)"]()) == equations(theirs["make_jaxpr(apply)"]())


def test_what_is_timed_as_recorded_is_recorded():
  during = []
  cases.recorded(lambda: during.append(current() is not None))()
  assert during == [True] and current() is None
