"""Trees of code that really runs: what a program did to its arrays, and what the trace then says of its models.

Where the arrays cannot tell, it says that it is not known; no number is claimed that may be otherwise.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import minilinen as nn
import viz
from minilinen.tracing import Trace

X = jnp.ones((2, 11))
SIZE = 264


class Q(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return nn.Dense(11)(nn.relu(nn.Dense(11)(x)))


q, tx = Q(), optax.adam(0.1)


def fresh(seed: int = 0) -> Any:
  return q.init(jax.random.key(seed), X)


def loss(params: Any) -> Any:
  return (q.apply(params, X) ** 2).sum()


def step(params: Any) -> Any:
  return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))


def filled(number: float) -> Any:
  return jax.tree.map(lambda p: jnp.full(p.shape, number), jax.eval_shape(fresh))


Program = Callable[[Any, Any], Iterator[Any]]
"""Gets two models that were there before; what it yields is held by the user, the rest is gone in the end."""
KNOWN: dict[str, tuple[Program, list[tuple[str, int, int]]]] = {}
"""With origin, states and runs of each tree."""
UNKNOWN: dict[str, Program] = {}


def known(*expected: tuple[str, int, int]) -> Callable[[Program], Program]:
  return lambda program: KNOWN.setdefault(program.__name__, (program, [*expected]))[0]


def unknown(program: Program) -> Program:
  return UNKNOWN.setdefault(program.__name__, program)


@known(("array", 10, 10))
def ten_states(one: Any, _: Any) -> Iterator[Any]:
  for _ in range(10):
    one = step(one)
  yield None


@known(("array", 10, 10))
def ten_states_that_are_kept(one: Any, _: Any) -> Iterator[Any]:
  for _ in range(10):
    yield one
    one = step(one)


@known(("array", 5, 5), ("array", 5, 5))
def two_models_alternately(one: Any, other: Any) -> Iterator[Any]:
  for _ in range(5):
    one, other = step(one), step(other)
  yield None


@known(("array", 5, 5), ("array", 5, 5))
def two_models_in_changing_order_by_one_line(one: Any, other: Any) -> Iterator[Any]:
  both = [one, other]
  for n in range(5):
    for i in (0, 1) if n % 2 else (1, 0):
      both[i] = step(both[i])
  yield None


@known(("array", 10, 10), ("array", 5, 5))
def one_of_two_models_twice_as_often(one: Any, other: Any) -> Iterator[Any]:
  both = [one, other]
  for _ in range(5):
    for i in (0, 0, 1):
      both[i] = step(both[i])
  yield None


@known(("array", 5, 5))
def donated_to_the_optimizer(one: Any, _: Any) -> Iterator[Any]:
  def update(params: Any, state: Any, grads: Any) -> Any:
    updates, state = tx.update(grads, state)
    return optax.apply_updates(params, updates), state

  jitted, state = jax.jit(update, donate_argnums=(0, 1)), tx.init(one)
  for _ in range(5):
    one, state = jitted(one, state, jax.grad(loss)(one))
  yield None


@known(("array", 3, 6), ("array", 3, 6))
def two_donated_that_run_twice_in_each_state(one: Any, other: Any) -> Iterator[Any]:
  update = jax.jit(lambda p, g: jax.tree.map(lambda p, g: p - 0.1 * g, p, g), donate_argnums=0)
  both = [one, other]
  for _ in range(3):
    for i in range(2):
      q.apply(both[i], X)
      both[i] = update(both[i], jax.grad(loss)(both[i]))
  yield None


@known(("array", 2, 2))
def deleted(one: Any, _: Any) -> Iterator[Any]:
  one = jax.tree.map(jnp.copy, one)
  q.apply(one, X)
  later = jax.tree.map(lambda p: p + 1, one)
  jax.tree.map(lambda p: p.delete(), one)
  q.apply(later, X)
  yield one


@known(("array", 2, 2))
def loaded_again(one: Any, _: Any) -> Iterator[Any]:
  saved = pickle.dumps(jax.tree.map(np.asarray, one))
  for _ in range(2):
    one = jax.tree.map(jnp.asarray, pickle.loads(saved))
    q.apply(one, X)
  yield None


@known(("array", 1, 2), ("array", 1, 1))
def both_there_before(one: Any, other: Any) -> Iterator[Any]:
  q.apply(one, X)
  q.apply(other, X)
  del other
  q.apply(one, X)
  yield None


@known(("init", 1, 2), ("init", 1, 2), ("init", 1, 2))
def twins_of_one_line(_: Any, __: Any) -> Iterator[Any]:
  for params in [fresh(seed) for seed in range(3)]:
    q.apply(params, X)
  yield None


@known(("array", 4, 4))
def only_the_head_learns(one: Any, _: Any) -> Iterator[Any]:
  for _ in range(4):
    one = {"params": {**one["params"], "Dense_1": step(one)["params"]["Dense_1"]}}
  yield None


@known(("array", 3, 3), ("computed", 3, 3))
def maml(one: Any, _: Any) -> Iterator[Any]:
  for _ in range(3):
    one = jax.tree.map(lambda p, g: p - 0.1 * g, one, jax.grad(lambda p: loss(step(p)))(one))
  yield None


@unknown
def a_moving_average_that_runs_in_the_end(one: Any, _: Any) -> Iterator[Any]:
  average = one
  for _ in range(5):
    one = step(one)
    average = jax.tree.map(lambda a, p: 0.9 * a + 0.1 * p, average, one)
  q.apply(average, X)
  yield one


@unknown
def a_moving_average(one: Any, _: Any) -> Iterator[Any]:
  average = one
  for _ in range(5):
    one = step(one)
    average = jax.tree.map(lambda a, p: 0.9 * a + 0.1 * p, average, one)
    q.apply(average, X)
  yield None


@unknown
def twins_that_were_computed(_: Any, __: Any) -> Iterator[Any]:
  for i in range(3):
    params = filled(i + 0.5)
    q.apply(params, X)
    yield params


@unknown
def a_checkpoint_loaded_twice(one: Any, _: Any) -> Iterator[Any]:
  saved = pickle.dumps(jax.tree.map(np.asarray, one))
  both = [jax.tree.map(jnp.asarray, pickle.loads(saved)) for _ in range(2)]
  for params in (*both, *both):
    q.apply(params, X)
  yield both


@unknown
def copied(one: Any, _: Any) -> Iterator[Any]:
  q.apply(one, X)
  q.apply(jax.device_put(jax.tree.map(jnp.copy, one)), X)
  q.apply(one, X)
  yield None


@unknown
def cast(one: Any, _: Any) -> Iterator[Any]:
  for _ in range(3):
    q.apply(jax.tree.map(lambda p: p.astype(jnp.bfloat16), one), X)
    q.apply(one, X)
  yield None


@unknown
def stepped_when_both_have_run(one: Any, other: Any) -> Iterator[Any]:
  for _ in range(3):
    q.apply(one, X)
    q.apply(other, X)
    one, other = (jax.tree.map(lambda p: p - 0.1, params) for params in (one, other))
  yield None


@unknown
def a_candidate_that_may_be_refused(one: Any, _: Any) -> Iterator[Any]:
  for _ in range(3):
    other = step(one)
    one = other if loss(other) < loss(one) else one
  yield None


@known(("array", 4, 4), ("array", 4, 4))
def donated_in_a_step(one: Any, other: Any) -> Iterator[Any]:
  jitted, both = jax.jit(step, donate_argnums=0), [one, other]
  for _ in range(3):
    for i in range(2):
      both[i] = jitted(both[i])
  q.apply(both[0], X)
  q.apply(both[1], X)
  yield None


@known(("array", 10, 10))
def ten_jitted_steps(one: Any, _: Any) -> Iterator[Any]:
  jitted = jax.jit(step)
  for _ in range(10):
    one = jitted(one)
  yield one


@known(("array", 3, 3))
def ten_jitted_steps_in_jit(one: Any, _: Any) -> Iterator[Any]:
  jitted = jax.jit(lambda scale, *, params: jax.jit(step)(params), static_argnums=0)
  for _ in range(3):
    one = jitted("static", params=one)
  yield one


@known(("array", 3, 6), ("array", 1, 3))
def a_jitted_step_with_a_teacher(student: Any, teacher: Any) -> Iterator[Any]:
  @jax.jit
  def jitted(student: Any, teacher: Any) -> Any:
    def distance(params: Any) -> Any:
      return ((q.apply(params, X) - q.apply(teacher, X)) ** 2).sum()

    grads = jax.grad(distance)(student)
    q.apply(student, X)
    return jax.tree.map(lambda p, g: p - 0.1 * g, student, grads)

  for _ in range(3):
    student = jitted(student, teacher)
  yield student, teacher


@known(("array", 3, 3))
def a_whole_state_in_a_jitted_step(one: Any, _: Any) -> Iterator[Any]:
  @jax.jit
  def jitted(state: Any) -> Any:
    params, inner = state
    updates, inner = tx.update(jax.grad(loss)(params), inner, params)
    return optax.apply_updates(params, updates), inner

  state = one, tx.init(one)
  for _ in range(3):
    state = jitted(state)
  yield state


@unknown
def slices_of_an_ensemble(one: Any, other: Any) -> Iterator[Any]:
  ensemble = jax.tree.map(lambda *parts: jnp.stack(parts), one, other)
  for i in range(2):
    q.apply(jax.tree.map(lambda p, i=i: p[i], ensemble), X)
  yield ensemble


@unknown
def scanned_in_a_jitted_step(one: Any, other: Any) -> Iterator[Any]:
  jitted = jax.jit(lambda params: jax.lax.scan(lambda p, _: (step(p), None), params, None, length=3)[0])
  yield jitted(one), jitted(other)


@unknown
def computed_in_a_jitted_step(one: Any, other: Any) -> Iterator[Any]:
  jitted = jax.jit(lambda params: q.apply(jax.tree.map(lambda p: 2 * p, params), X))
  yield jitted(one), jitted(other)


def run(program: Program) -> Trace:
  one, other = fresh(0), fresh(1)
  with nn.record() as trace:
    held = list(program(one, other))
  del held
  return trace


def counted(trace: Trace) -> set[int]:
  return {
    viz.tabulate(trace).to_dict()["totals"]["params"]["count"],
    viz.tree(trace).to_dict()["total"]["count"],
    sum(found.value.size for found in trace.find("params/**") if trace.trees[found.tree].counts(found.place)),
  }


@pytest.mark.parametrize("name", KNOWN)
def test_what_the_arrays_tell(name: str) -> None:
  program, expected = KNOWN[name]
  trace = run(program)
  assert [(tree.origin, tree.states, len(tree.runs)) for tree in trace.trees] == expected
  assert all(tree.known for tree in trace.trees)
  assert counted(trace) == {SIZE * sum(origin != "computed" for origin, _, _ in expected)}
  assert [tree.derived_from for tree in trace.trees if tree.origin == "computed"] == [(0,)] * (name == "maml")
  assert len(trace.models) == len(expected)
  assert Trace.from_json(trace.to_json()) == trace
  assert "not known" not in viz.tabulate(trace).text(width=100)


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_the_arrays_do_not_tell_is_said(name: str) -> None:
  trace = run(UNKNOWN[name])
  assert not all(tree.known for tree in trace.trees)
  assert len(counted(trace)) == 1
  assert {run.order for run in trace.runs} == {order for tree in trace.trees for order in tree.runs}
  for view in (viz.tabulate(trace), viz.tree(trace)):
    assert "not known" in " ".join(view.text(width=100).split())


@pytest.mark.parametrize("how", ["vmap", "jit of vmap", "vmap of jit"])
def test_an_ensemble_has_the_variables_of_all(how: str) -> None:
  """As large as the arrays are, not as a run under `jax.vmap` saw them."""
  ensemble = jax.tree.map(lambda *parts: jnp.stack(parts), fresh(0), fresh(1))
  run = jax.vmap(jax.jit(q.apply) if how == "vmap of jit" else q.apply, (0, None))
  with nn.record() as trace:
    (jax.jit(run) if how == "jit of vmap" else run)(ensemble, X)
  assert counted(trace) == {2 * SIZE}
  assert {found.value.shape for found in trace.find("params/*/kernel")} == {(2, 11, 11)}
  assert all(tree.known for tree in trace.trees)


def test_an_ensemble_that_vmap_makes_is_one_model() -> None:
  keys = jax.random.split(jax.random.key(0), 3)
  with nn.record() as trace:
    ensemble = jax.vmap(q.init, (0, None))(keys, X)
    for _ in range(2):
      jax.vmap(q.apply, (0, None))(ensemble, X)
  assert [(tree.origin, tree.states, len(tree.runs)) for tree in trace.trees] == [("init", 1, 3)]
  assert counted(trace) == {3 * SIZE}


@pytest.mark.parametrize("how", [lambda fn: fn, jax.jit], ids=["eager", "jit"])
def test_one_seed_after_the_other_is_a_model_each(how: Any) -> None:
  """What one has learned is gone before the next one learns, and so is not its later state."""
  learned = how(step)
  with nn.record() as trace:
    for seed in range(3):
      params = fresh(seed)
      for _ in range(2):
        params = learned(params)
      q.apply(params, X)
  assert [run.tree for run in trace.runs] == [0] * 4 + [1] * 4 + [2] * 4
  assert [tree.states for tree in trace.trees] == [3, 3, 3]
