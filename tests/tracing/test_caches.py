"""What JAX traced before is seen by a recording all the same, and a recording leaves nothing in JAX's caches."""

from __future__ import annotations

import functools
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import minilinen as nn
from minilinen import jax_internals

X = jnp.ones((2, 5))
KEY = jax.random.key(0)
LAYER = nn.Dense(5)
VARIABLES = LAYER.init(KEY, X)
MODEL = nn.Sequential([nn.Dense(7), nn.relu, nn.Dense(3)])


def applied(x: Any) -> Any:
  return LAYER.apply(VARIABLES, x)


def step(c: Any, _: Any) -> Any:
  return applied(c), None


def further(i: Any, c: Any) -> Any:
  return applied(c)


def more(state: Any) -> Any:
  return state[0] < 3


def again(state: Any) -> Any:
  return state[0] + 1, applied(state[1])


class Callable_:
  def __call__(self, x: Any) -> Any:
    return applied(x)


@jax.custom_vjp
def with_vjp(x: Any) -> Any:
  return applied(x)


with_vjp.defvjp(lambda x: (applied(x), x), lambda _, g: (g,))

jitted = jax.jit(applied)
jitted_twice = jax.jit(lambda x: jitted(x) + jitted(x))
jitted_gradient = jax.jit(jax.grad(lambda x: applied(x).sum()))
jitted_partial = jax.jit(functools.partial(lambda n, x: applied(x) * n, 2.0))
jitted_object = jax.jit(Callable_())
checkpointed = jax.checkpoint(applied)
checkpointed_static = jax.checkpoint(lambda n, x: applied(x) * n, static_argnums=(0,))

# Programs of functions that JAX has traced, and how often each runs the layer.
PROGRAMS: dict[str, tuple[Callable[[], Any], int]] = {
  "jit": (lambda: jitted(X), 1),
  "jit, called twice": (lambda: (jitted(X), jitted(X)), 2),
  "jit in jit": (lambda: jitted_twice(X), 2),
  "jit of grad": (lambda: jitted_gradient(X), 1),
  "jit of a partial": (lambda: jitted_partial(X), 1),
  "jit of an object": (lambda: jitted_object(X), 1),
  "scan": (lambda: lax.scan(step, X, None, length=3), 1),
  "fori_loop": (lambda: lax.fori_loop(0, 3, further, X), 1),
  "fori_loop, unknown length": (lambda: lax.fori_loop(0, jnp.array(3), further, X), 1),
  "while_loop": (lambda: lax.while_loop(more, again, (0, X)), 1),
  "cond": (lambda: lax.cond(X.sum() > 0, applied, lambda x: x, X), 1),
  "switch": (lambda: lax.switch(0, [applied, applied], X), 2),
  "map": (lambda: lax.map(applied, X[None]), 1),
  "vmap": (lambda: jax.vmap(applied)(X[None]), 1),
  "checkpoint": (lambda: checkpointed(X), 1),
  "checkpoint, static": (lambda: checkpointed_static(2, X), 1),
  "checkpoint of grad": (lambda: jax.grad(lambda x: checkpointed(x).sum())(X), 1),
  "custom_vjp": (lambda: jax.grad(lambda x: with_vjp(x).sum())(X), 1),
  "lower": (lambda: jitted.lower(X) and None, 1),
  "eval_shape": (lambda: jax.eval_shape(jitted, X) and None, 1),
  "vjp": (lambda: jax.vjp(jitted, X)[1](X), 1),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_function_that_jax_knows_is_in_every_recording(name: str) -> None:
  run, calls = PROGRAMS[name]
  expected = run()
  for _ in range(2):
    with nn.record() as trace:
      found = run()
    assert len(trace.calls()) == calls
    assert all(map(jnp.array_equal, jax.tree.leaves(found), jax.tree.leaves(expected)))
    assert len(nn.trace(run)().calls()) == calls
  assert all(map(jnp.array_equal, jax.tree.leaves(run()), jax.tree.leaves(expected)))


def test_a_function_that_jax_does_not_know_is_traced_once() -> None:
  passes = []

  def counted(x: Any) -> Any:
    passes.append(1)
    return applied(x)

  fn = jax.jit(counted)
  with nn.record() as trace:
    fn(X)
  assert len(passes) == len(trace.calls()) == 1
  fn(X)
  assert len(passes) == 1


def test_a_function_without_modules_is_traced_once_in_a_recording() -> None:
  passes = []

  @jax.jit
  def plain(x: Any) -> Any:
    passes.append(1)
    return jnp.tanh(x)

  plain(X)
  with nn.record():
    for _ in range(3):
      plain(X)
  assert len(passes) == 2
  nn.trace(lambda x: plain(plain(x)))(X)
  assert len(passes) == 3


compiled: list[str] = []
"""What XLA was asked to compile."""


@jax.monitoring.register_event_duration_secs_listener
def listen(name: str, *_: Any, **__: Any) -> None:
  if "backend_compile" in name:
    compiled.append(name)


def test_to_record_a_compiled_function_compiles_nothing() -> None:
  fn = jax.jit(lambda x: jnp.tanh(MODEL.apply(variables, x)))
  variables = MODEL.init(KEY, X)
  with nn.record():
    fn(X)
    MODEL.apply(variables, X)
  compiled.clear()
  for _ in range(3):
    with nn.record() as trace:
      fn(X)
      MODEL.apply(variables, X)
    assert len(trace.calls()) == 6
  fn(X)
  assert not compiled
  jax.jit(lambda x: x * 3 + 1)(X)
  assert compiled  # The listener hears what is compiled.


class Jitted(nn.Module):
  @nn.jit
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return nn.Dense(5)(x)


def recorded(run: Callable[[], Any]) -> Callable[[], Any]:
  def under() -> None:
    with nn.record():
      run()

  return under


KNOWN = jax.jit(lambda x: jnp.tanh(applied(x)))
JITTED = Jitted().init(KEY, X)
REPEATED: dict[str, Callable[[], Any]] = {
  "trace": lambda: nn.trace(MODEL.init)(KEY, "f32[b,5]"),
  "trace of jit": lambda: nn.trace(KNOWN)(X),
  "trace of nn.jit": lambda: nn.trace(Jitted().apply)(JITTED, X),
  "tabulate": lambda: MODEL.tabulate(KEY, X),
  "check": lambda: nn.check(LAYER, VARIABLES, X),
  "record": recorded(lambda: applied(X)),
  "record of jit": recorded(lambda: KNOWN(X)),
  "record of nn.jit": recorded(lambda: Jitted().apply(JITTED, X)),
  "record of eval_shape": recorded(lambda: jax.eval_shape(lambda x: applied(x), X)),
}


@pytest.mark.parametrize("name", REPEATED)
def test_nothing_grows(name: str) -> None:
  def repeat(times: int) -> int:
    for _ in range(times):
      REPEATED[name]()
    gc.collect()
    return len(gc.get_objects())

  before = repeat(4)
  assert repeat(20) - before < 20  # A single thing kept by each is seen.


def places() -> list[Any]:
  return [getattr(*place) for place in (jax_internals.tracing_functions() or {}).values()]


def test_jax_is_as_it_was() -> None:
  before = places()
  with nn.record():
    assert places() != before
    with nn.record():
      nn.trace(applied)(X)
    assert places() != before
  assert places() == before
  with pytest.raises(ZeroDivisionError), nn.record():
    raise ZeroDivisionError
  assert places() == before


def test_a_thread_that_does_not_record_asks_python_nothing() -> None:
  """Its calls of compiled functions go the fast way while another thread records."""
  fn = jax.jit(lambda x: applied(x))
  asked: list[str] = []

  def profile(frame: Any, event: str, _: Any) -> None:
    if event == "call" and "pjit" in frame.f_code.co_filename:
      asked.append(frame.f_code.co_name)

  def work() -> None:
    sys.setprofile(profile)
    fn(X)
    sys.setprofile(None)

  def run() -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

  run()
  assert asked
  asked.clear()
  with nn.record():
    fn(X)
    run()
  assert not asked


def test_a_recording_left_in_another_thread_is_over_in_its_own() -> None:
  def hold() -> Iterator[nn.Trace]:
    with nn.record() as trace:
      yield trace

  generator = hold()
  trace = next(generator)
  thread = threading.Thread(target=generator.close)  # type: ignore[attr-defined]
  thread.start()
  thread.join()
  jitted(X)
  assert not trace.calls()
  with nn.record() as trace:
    jitted(X)
  assert len(trace.calls()) == 1


def test_without_these_places_each_recording_has_caches_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setattr("minilinen.tracing.caches._PLACES", None)
  before = places()
  jitted(X)
  for _ in range(2):
    with nn.record() as trace:
      jitted(X)
    assert len(trace.calls()) == len(nn.trace(jitted)(X).calls()) == 1
    assert places() == before


def test_what_is_traced_while_somebody_records_tells_no_line_of_ours() -> None:
  """JAX keeps the bodies of its own functions: what is compiled later shows the user's lines in a profile."""

  @jax.jit
  def own(x: Any) -> Any:
    return jax.nn.hard_swish(x) + jnp.nanmedian(x)

  # A program from JAX's cache on disk would tell the lines of another run.
  never_compiled = float(time.time_ns() % 1_000_003)
  with nn.record():
    own(X)
  text = jax.jit(lambda x: own(x) * never_compiled).lower(X).compile().as_text()
  assert __file__ in text and "minilinen/tracing/caches.py" not in text
