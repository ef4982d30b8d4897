"""What the benchmarks rest on: both libraries compile to the same program, and times are taken fairly."""

import pytest

from tests.benchmarks import cases
from tests.benchmarks.programs import same_programs
from tests.benchmarks.timing import geometric_mean, medians, without_collection


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
def test_what_is_timed_runs_on_both(case):
  for model in (case.ours(), case.flax()):
    for run in cases.tracing(model, case.inputs).values():
      run()
  cases.recorded(cases.tracing(case.ours(), case.inputs)["eval_shape(init)"])()
