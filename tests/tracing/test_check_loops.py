"""`Trace.check` on one key for all steps of a loop, or for all elements of `jax.vmap`: a hint, for it may be meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from mistakes import findings_text

import minilinen as nn
from minilinen.tracing import Run, Trace

KEY = jax.random.key(0)
X = jnp.ones((3, 2, 4))


class Net(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return nn.Dropout(0.5, deterministic=False)(nn.Dense(4)(x))


MODEL = Net()
VARIABLES = MODEL.init({"params": KEY, "dropout": KEY}, X[0])


def run(variables: Any, key: Any, x: Any) -> Any:
  return MODEL.apply(variables, x, rngs={"dropout": key})


def loss(variables: Any, key: Any, x: Any) -> Any:
  return run(variables, key, x).sum()


def traced(fn: Callable[..., Any]) -> Trace:
  return nn.trace(fn)(VARIABLES, KEY, X)


def recorded(fn: Callable[..., Any]) -> Trace:
  with nn.record() as trace:
    fn(VARIABLES, KEY, X)
  return trace


def jitted(fn: Callable[..., Any]) -> Trace:
  """The trace of a compiled function, which JAX has traced before."""
  compiled = jax.jit(fn)
  compiled(VARIABLES, KEY, X)
  return recorded(compiled)


SEE = pytest.mark.parametrize("see", [traced, recorded, jitted])


# One key for all, and the program as the hint mends it.


def scan(variables: Any, key: Any, xs: Any) -> Any:
  return lax.scan(lambda c, x: (c, run(variables, key, x)), 0, xs)


def scan_mended(variables: Any, key: Any, xs: Any) -> Any:
  keys = jax.random.split(key, len(xs))
  return lax.scan(lambda c, x_key: (c, run(variables, x_key[1], x_key[0])), 0, (xs, keys))


def mapped(variables: Any, key: Any, xs: Any) -> Any:
  return lax.map(lambda x: run(variables, key, x), xs)


def mapped_mended(variables: Any, key: Any, xs: Any) -> Any:
  return lax.map(lambda x_key: run(variables, x_key[1], x_key[0]), (xs, jax.random.split(key, len(xs))))


def fori(variables: Any, key: Any, xs: Any) -> Any:
  return lax.fori_loop(0, 3, lambda i, x: run(variables, key, x), xs[0])


def fori_mended(variables: Any, key: Any, xs: Any) -> Any:
  return lax.fori_loop(0, 3, lambda i, x: run(variables, jax.random.fold_in(key, i), x), xs[0])


def whiled(variables: Any, key: Any, xs: Any) -> Any:
  return lax.while_loop(lambda x: x.sum() < 9, lambda x: run(variables, key, x) + 1, xs[0])


def whiled_mended(variables: Any, key: Any, xs: Any) -> Any:
  def step(i_x: Any) -> Any:
    i, x = i_x
    return i + 1, run(variables, jax.random.fold_in(key, i), x) + 1

  return lax.while_loop(lambda i_x: i_x[1].sum() < 9, step, (0, xs[0]))


def vmapped(variables: Any, key: Any, xs: Any) -> Any:
  return jax.vmap(run, in_axes=(None, None, 0))(variables, key, xs)


def vmapped_mended(variables: Any, key: Any, xs: Any) -> Any:
  return jax.vmap(run, in_axes=(None, 0, 0))(variables, jax.random.split(key, len(xs)), xs)


def trained(variables: Any, key: Any, xs: Any) -> Any:
  def step(variables: Any, x: Any) -> Any:
    value, gradient = jax.value_and_grad(loss)(variables, key, x)
    return jax.tree.map(jnp.subtract, variables, gradient), value

  return lax.scan(step, variables, xs)


def trained_mended(variables: Any, key: Any, xs: Any) -> Any:
  def step(variables: Any, i_x: Any) -> Any:
    value, gradient = jax.value_and_grad(loss)(variables, jax.random.fold_in(key, i_x[0]), i_x[1])
    return jax.tree.map(jnp.subtract, variables, gradient), value

  return lax.scan(step, variables, (jnp.arange(len(xs)), xs))


def of_a_jitted_function(variables: Any, key: Any, xs: Any) -> Any:
  return lax.scan(lambda c, x: (c, jax.jit(run)(variables, key, x)), 0, xs)


def of_a_jitted_function_mended(variables: Any, key: Any, xs: Any) -> Any:
  keys = jax.random.split(key, len(xs))
  return lax.scan(lambda c, x_key: (c, jax.jit(run)(variables, x_key[1], x_key[0])), 0, (xs, keys))


def inner_loop(variables: Any, key: Any, xs: Any) -> Any:
  return lax.scan(lambda c, key: (c, mapped(variables, key, xs)), 0, jax.random.split(key))


def inner_loop_mended(variables: Any, key: Any, xs: Any) -> Any:
  return lax.scan(lambda c, key: (c, mapped_mended(variables, key, xs)), 0, jax.random.split(key))


PAIRS = [
  (scan, scan_mended), (mapped, mapped_mended), (fori, fori_mended), (whiled, whiled_mended),
  (vmapped, vmapped_mended), (trained, trained_mended), (of_a_jitted_function, of_a_jitted_function_mended),
  (inner_loop, inner_loop_mended),
]  # fmt: skip


@SEE
@pytest.mark.parametrize("wrong, right", PAIRS, ids=[wrong.__name__ for wrong, _ in PAIRS])
def test_one_key_for_all_is_a_hint(see: Any, wrong: Any, right: Any) -> None:
  (found,) = see(wrong).check()
  assert (found.kind, str(found.path), found.severity) == ("SameKeyHint", "/Dropout_0", "hint")
  assert not see(right).check()


def test_the_masks_are_the_same_indeed() -> None:
  for wrong, right in PAIRS[:2]:
    same, others = (jax.tree.leaves(fn(VARIABLES, KEY, X))[-1] != 0 for fn in (wrong, right))
    assert (same[0] == same[1]).all() and not (others[0] == others[1]).all()


def test_what_is_said_of_a_scan() -> None:
  assert (
    findings_text(traced(scan).check())
    == """\
Hints, of what may be meant:

SameKeyHint: Net runs in a jax.lax.scan or map and draws the same keys of the
  stream 'dropout' for every step: the random numbers are the same in each, the
  masks of a dropout for one.
  module  /Dropout_0
  line    `return MODEL.apply(variables, x, rngs={"dropout": key})`
  expects a key of its own for each step, if they shall differ
  found   one key for all of them, from outside of it
  mend    loop over the keys too: (xs, jax.random.split(key, len(xs)))"""
  )


def test_what_is_said_of_a_vmap() -> None:
  (found,) = traced(vmapped).check()
  assert "Net runs in jax.vmap and draws" in found.message and "for every element" in found.message
  assert found.mend == "map over the keys jax.random.split(key, len(xs)) too"


def test_a_run_says_in_what_its_keys_repeat() -> None:
  trace = traced(inner_loop)
  assert [run.repeats for run in trace.runs] == [{"dropout": "jax.lax.scan"}]
  assert Trace.from_json(trace.to_json()).check() == trace.check()
  (mended,) = traced(inner_loop_mended).events(Run)
  assert mended.repeats == {}


# What is no such thing, or cannot be known.


def key_that_is_carried(variables: Any, key: Any, xs: Any) -> Any:
  def step(key: Any, x: Any) -> Any:
    key, own = jax.random.split(key)
    return key, run(variables, own, x)

  return lax.scan(step, key, xs)


def number_of_the_element(variables: Any, key: Any, xs: Any) -> Any:
  def each(x: Any) -> Any:
    return run(variables, jax.random.fold_in(key, lax.axis_index("i")), x)

  return jax.vmap(each, axis_name="i")(xs)


def jacobian_forward(variables: Any, key: Any, xs: Any) -> Any:
  return jax.jacfwd(run)(variables, key, xs[0])


def jacobian_backward(variables: Any, key: Any, xs: Any) -> Any:
  return jax.jacrev(run)(variables, key, xs[0])


def hessian(variables: Any, key: Any, xs: Any) -> Any:
  return jax.hessian(loss)(variables, key, xs[0])


def in_one_step_only(variables: Any, key: Any, xs: Any) -> Any:
  def step(i: Any, x: Any) -> Any:
    return i + 1, lax.cond(i == 0, lambda x: run(variables, key, x), lambda x: x, x)

  return lax.scan(step, 0, xs)


def made_in_every_step(variables: Any, key: Any, xs: Any) -> Any:
  return lax.scan(lambda c, x: (c, MODEL.init({"params": key, "dropout": key}, x)), 0, xs)


def given_and_not_drawn(variables: Any, key: Any, xs: Any) -> Any:
  layer = nn.Dropout(0.5, deterministic=True)
  return lax.map(lambda x: layer.apply({}, x, rngs={"dropout": key}), xs)


def loop_around_what_ran_once(variables: Any, key: Any, xs: Any) -> Any:
  y = run(variables, key, xs[0])
  return lax.scan(lambda c, x: (c + (x * y).sum(), None), 0.0, xs)


def checkpointed(variables: Any, key: Any, xs: Any) -> Any:
  keys = jax.random.split(key, len(xs))
  return lax.scan(lambda c, x_key: (c, jax.checkpoint(run)(variables, x_key[1], x_key[0])), 0, (xs, keys))


RIGHT = [
  key_that_is_carried, number_of_the_element, jacobian_forward, jacobian_backward, hessian, in_one_step_only,
  made_in_every_step, given_and_not_drawn, loop_around_what_ran_once, checkpointed,
]  # fmt: skip


@SEE
@pytest.mark.parametrize("program", RIGHT, ids=lambda program: program.__name__)
def test_nothing_is_found(see: Any, program: Any) -> None:
  assert not see(program).check().of_kind("SameKeyHint")
