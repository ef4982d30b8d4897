"""What JAX traced once and runs in several places: each place is told of with its own model, or as not known.

A JAX whose caches we stand in traces a user's function anew for each call; `closure_convert` gives one that is never
traced again, and a JAX that lacks the places takes all it knows from its caches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import minilinen as nn
import viz
from minilinen.tracing import Path, Trace, Work
from minilinen.tracing.events import Lift

X = jnp.ones((2, 3))


class Net(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return nn.Dense(3)(nn.relu(nn.Dense(4)(x)))


net = Net()
LIFTED = nn.jit(Net)()
ONE, TWO = (net.init(jax.random.key(n), X) for n in range(2))
FORWARD = {"": 118, "Dense_0": 54, "Dense_1": 56}


def through_jit(teacher: Any, student: Any, x: Any) -> Any:
  run = jax.jit(net.apply)
  return run(teacher, x).sum() + run(student, x).sum()


def through_a_closed_function(teacher: Any, student: Any, x: Any) -> Any:
  run, constants = jax.closure_convert(lambda params: net.apply(params, x), teacher)
  return run(teacher, *constants).sum() + run(student, *constants).sum()


def in_a_loop(teacher: Any, student: Any, x: Any) -> Any:
  run = jax.jit(net.apply)
  return jax.lax.fori_loop(0, 5, lambda _, y: run(student, run(teacher, y)), x)


def lifted(teacher: Any, student: Any, x: Any) -> Any:
  return LIFTED.apply(teacher, x).sum() + LIFTED.apply(student, x).sum()


@pytest.fixture
def _cached(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setattr("minilinen.tracing.caches._PLACES", None)


@pytest.mark.usefixtures("_cached")
@pytest.mark.parametrize("fn", [through_jit, through_a_closed_function, in_a_loop])
def test_each_of_two_models_has_its_own(fn: Callable[..., Any]) -> None:
  found, times = nn.trace(fn)(ONE, TWO, X), 5 if fn is in_a_loop else 1
  for trace in (found, Trace.from_json(found.to_json())):
    assert len(trace.runs) == 1
    assert [(tree.argument, tree.runs, tree.known) for tree in trace.trees] == [
      ("teacher", (0,), True),
      ("student", (0,), True),
    ]
    for tree in (0, 1):
      for path, flops in FORWARD.items():
        cost = trace.cost().of(tree, Path.of(path))
        assert (cost.flops, cost.total.notes.get("either model")) == (times * flops, None)
        assert trace.models[tree][path].cost.flops == times * flops
      assert [e.owner.tree for e in trace.models[tree]["Dense_0"].equations] == [tree] * 3
    assert sum((cost.own.work for _, cost in trace.cost().walk()), Work()) == trace.cost().total.work
    assert len(trace.find("params/**")) == 8 and {f.tree for f in trace.find()} == {0, 1}
    assert viz.tree(trace).to_dict()["total"]["count"] == 62
    rows = viz.tabulate(trace, compute_flops=True).to_rows()
    assert [(row["tree"], row["path"], row["flops"]) for row in rows] == [
      (tree, path, times * FORWARD[path]) for tree in (0, 1) for path in ("", "Dense_1", "Dense_0")
    ]
    boxes = [box for box in viz.graph(trace).network.boxes if box.data]
    assert [box.data["tree"] for box in boxes] == [0, 0, 0, 1, 1, 1]
    assert all(box.kind != "idle" for box in boxes)
    assert not trace.check() and not trace.unused().modules


@pytest.mark.usefixtures("_cached")
def test_a_backward_pass_whose_model_is_not_known_is_said_to_be_of_either() -> None:
  def step(teacher: Any, student: Any, x: Any) -> Any:
    run = jax.jit(net.apply)
    return jax.grad(lambda params: ((run(params, x) - run(teacher, x)) ** 2).sum())(student)

  trace = nn.trace(step)(ONE, TWO, X)
  whole, student, teacher = trace.cost(), trace.cost().of(0, Path()), trace.cost().of(1, Path())
  assert teacher.total.forward.flops == FORWARD[""]
  # What is computed beside the forward pass for the backward one is known to be hers.
  assert not student.total.backward.matmul and whole.own.backward.matmul
  for cost in (whole, student, teacher):
    assert cost.total.notes["either model"] > 0
  assert sum((cost.own.work for _, cost in whole.walk()), Work()) == whole.total.work
  told = " ".join(viz.tabulate(trace, compute_flops=True).text(width=100).split())
  assert (
    "equations are no model's, as JAX traced them once for several: it is not known of which they are" in told
  )


@pytest.mark.usefixtures("_cached")
def test_a_lift_without_a_body_says_which_has_it() -> None:
  found = nn.trace(lifted)(ONE, TWO, X)
  for trace in (found, Trace.from_json(found.to_json())):
    first, second = trace.events(Lift)
    assert (first.body_of, second.body_of, second.items) == (None, first.order, ())
    assert [trace.cost().of(tree, Path()).flops for tree in (0, 1)] == [118, 118]
    assert sum((cost.own.work for _, cost in trace.cost().walk()), Work()) == trace.cost().total.work
    assert "body as traced before" in viz.timeline(trace).text(width=120)
    assert viz.tree(trace).to_dict()["total"]["count"] == 62
    assert [box.data["tree"] for box in viz.graph(trace).network.boxes if box.data.get("path") == ""] == [
      0,
      1,
    ]


def test_where_all_is_traced_anew_every_lift_has_its_body() -> None:
  for fn in (lifted, through_jit, in_a_loop):
    trace = nn.trace(fn)(ONE, TWO, X)
    assert len(trace.runs) == 2 and all(lift.body_of is None and lift.items for lift in trace.events(Lift))
    flops = 5 * 118 if fn is in_a_loop else 118
    assert [trace.cost().of(tree, Path()).flops for tree in (0, 1)] == [flops, flops]
