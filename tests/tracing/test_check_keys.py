"""`Trace.check` on keys that several runs share: a hint, for it may be meant; and none where nothing is shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from mistakes import findings_text

import minilinen as nn
from minilinen.tracing import Run, Trace

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


class Net(nn.Module):
  """Two layers that drop, if they are told to."""

  @nn.compact
  def __call__(self, x: Any, deterministic: bool = False) -> Any:
    x = nn.Dropout(0.5, deterministic=deterministic)(nn.Dense(3)(x))
    return nn.Dropout(0.5, deterministic=deterministic)(x)


MODEL = Net()
VARIABLES = MODEL.init({"params": KEY, "dropout": KEY}, X)


def train(variables: Any, key: Any, x: Any, each: Callable[[Any, int], Any] = lambda key, _: key) -> Any:
  """Some steps, with the key of each step made by `each`."""
  for number in range(3):
    rngs = {"dropout": each(key, number)}
    gradient = jax.grad(lambda v, rngs=rngs: MODEL.apply(v, x, rngs=rngs).sum())(variables)
    variables = jax.tree.map(jnp.subtract, variables, gradient)
  return variables


def recorded(fn: Callable[..., Any], *args: Any) -> Trace:
  """The trace of code that really runs."""
  with nn.record() as trace:
    fn(*args)
  return trace


def traced(fn: Callable[..., Any], *args: Any) -> Trace:
  return nn.trace(fn)(*args)


BOTH = pytest.mark.parametrize("see", [traced, recorded])
HINT = """\
Hints, of what may be meant:

SameKeyHint: 3 runs of Net draw the same keys of the stream 'dropout': the
  random numbers are the same in each, the masks of a dropout for one.
  module  /Dropout_0
  line    `gradient = jax.grad(lambda v, rngs=rngs: MODEL.apply(v, x, rngs=rngs).sum())(variables)`
  expects a key of its own for each run, if they shall differ
"""


@BOTH
@pytest.mark.parametrize("how", [lambda fn: fn, jax.jit], ids=["plain", "jit"])
def test_one_key_for_every_step(see: Any, how: Any) -> None:
  found = see(how(train), VARIABLES, KEY, X).check()
  assert len(found) == 1 and not found.warnings
  text = findings_text(found)
  assert text.startswith(HINT)
  assert text.endswith('mend    rngs={"dropout": jax.random.fold_in(key, step)}')


@BOTH
@pytest.mark.parametrize("how", [lambda fn: fn, jax.jit], ids=["plain", "jit"])
def test_the_mend_ends_it(see: Any, how: Any) -> None:
  assert not see(how(lambda *args: train(*args, each=jax.random.fold_in)), VARIABLES, KEY, X).check()


@BOTH
def test_a_key_that_is_made_again_is_the_same(see: Any) -> None:
  def steps(variables: Any, x: Any) -> Any:
    return train(variables, None, x, each=lambda *_: jax.random.PRNGKey(0))

  (found,) = see(steps, VARIABLES, X).check()
  assert found.kind == "SameKeyHint"


def test_a_key_for_every_call_of_a_jitted_step() -> None:
  step = jax.jit(lambda variables, key, x: MODEL.apply(variables, x, rngs={"dropout": key}))
  again = recorded(lambda: [step(VARIABLES, KEY, X) for _ in range(2)])
  (found,) = again.check()
  assert found.kind == "SameKeyHint"
  assert not recorded(lambda: [step(VARIABLES, key, X) for key in jax.random.split(KEY)]).check()


def test_keys_of_a_trace_that_is_read_back() -> None:
  trace = nn.trace(train)(VARIABLES, KEY, X)
  read = Trace.from_json(trace.to_json())
  assert [run.roots for run in read.events(Run)] == [{"dropout": 0}] * 3
  assert read == trace and read.check() == trace.check()


def run(variables: Any, key: Any, x: Any, **kwargs: Any) -> Any:
  return MODEL.apply(variables, x, rngs={"dropout": key}, **kwargs)


def init_and_apply(variables: Any, key: Any, x: Any) -> Any:
  return run(MODEL.init({"params": key, "dropout": key}, x), key, x)


def once_with_and_once_without_dropout(variables: Any, key: Any, x: Any) -> Any:
  return run(variables, key, x) + run(variables, key, x, deterministic=True)


def teacher_and_student(variables: Any, key: Any, x: Any) -> Any:
  teacher, student = variables
  return run(teacher, key, x) + run(student, key, x)


def two_models_without_variables(variables: Any, key: Any, x: Any) -> Any:
  layers = [nn.Dropout(rate, deterministic=False) for rate in (0.1, 0.5)]
  return sum(layer.apply({}, x, rngs={"dropout": key}) for layer in layers)


def two_branches(variables: Any, key: Any, x: Any) -> Any:
  return jax.lax.cond(x.sum() > 0, lambda: run(variables, key, x), lambda: run(variables, key, -x))


def three_branches(variables: Any, key: Any, x: Any) -> Any:
  branches = [lambda n=n: run(variables, key, x * n) for n in range(3)]
  return jax.lax.switch(x.sum().astype(int), branches)


def a_key_for_each_element(variables: Any, key: Any, x: Any) -> Any:
  return jax.vmap(lambda key: run(variables, key, x))(jax.random.split(key, 3))


def a_key_for_each_step_of_a_scan(variables: Any, key: Any, x: Any) -> Any:
  return jax.lax.scan(lambda x, key: (run(variables, key, x), None), x, jax.random.split(key, 3))


def value_and_gradient_of_what_is_computed_again(variables: Any, key: Any, x: Any) -> Any:
  return jax.jit(jax.value_and_grad(lambda v: jax.checkpoint(run)(v, key, x).sum()))(variables)


def a_derivative_of_its_own(variables: Any, key: Any, x: Any) -> Any:
  @jax.custom_vjp
  def loss(variables: Any) -> Any:
    return run(variables, key, x).sum()

  loss.defvjp(lambda v: (run(v, key, x).sum(), v), lambda v, g: (v,))
  return jax.jit(jax.grad(loss))(variables)


def streams_of_their_own(variables: Any, key: Any, x: Any) -> Any:
  return sum(run(variables, one, x) for one in jax.random.split(key))


RIGHT = [
  init_and_apply, once_with_and_once_without_dropout, teacher_and_student, two_branches, three_branches,
  two_models_without_variables,
  a_key_for_each_element, a_key_for_each_step_of_a_scan, value_and_gradient_of_what_is_computed_again,
  a_derivative_of_its_own, streams_of_their_own,
]  # fmt: skip


@BOTH
@pytest.mark.parametrize("program", RIGHT, ids=lambda program: program.__name__)
def test_nothing_is_found(see: Any, program: Callable[..., Any]) -> None:
  variables: Any = VARIABLES
  if program is teacher_and_student:
    variables = (VARIABLES, jax.tree.map(jnp.copy, VARIABLES))
  found = see(program, variables, KEY, X).check()
  assert not found.of_kind("SameKeyHint"), found


@BOTH
def test_models_without_variables_are_one_if_their_fields_are_equal(see: Any) -> None:
  def twice(key: Any, x: Any) -> Any:
    layers = [nn.Dropout(0.5, deterministic=False) for _ in range(2)]
    return sum(layer.apply({}, x, rngs={"dropout": key}) for layer in layers)

  (found,) = see(twice, KEY, X).check()
  assert found.message.startswith("2 runs of Dropout draw the same keys")


@BOTH
def test_parameters_may_be_made_with_one_key(see: Any) -> None:
  def make(key: Any, x: Any) -> Any:
    one = nn.Dense(2).apply({}, x, rngs={"params": key}, mutable=["params"])
    return one, nn.Dense(2).apply({}, x, rngs={"params": key}, mutable=["params"])

  assert not see(make, KEY, X).check().of_kind("SameKeyHint")
