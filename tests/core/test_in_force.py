"""What holds in a `with` block belongs to its task: blocks of asyncio's tasks and of generators may overlap."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import minilinen as nn
from minilinen.configurations import config
from minilinen.in_force import InForce
from minilinen.module.context import captures, interceptors, running
from minilinen.tracing.recorder import Recorder, current, recording

X = jnp.ones((2, 5))
KEY = jax.random.key(0)


def features(trace: nn.Trace) -> list[Any]:
  return [call.fields["features"] for call in trace.calls()]


async def pause(turns: int = 1) -> None:
  """Gives the other tasks their turns."""
  for _ in range(turns):
    await asyncio.sleep(0)


def test_tasks_of_asyncio_have_traces_of_their_own() -> None:
  async def task(number: int, turns: int) -> nn.Trace:
    with nn.record() as trace:
      await pause()
      nn.Dense(number).init(KEY, X)
      await pause(turns)
    return trace

  async def both() -> list[nn.Trace]:
    return list(await asyncio.gather(task(3, 1), task(4, 5)))

  traces = asyncio.run(both())
  nn.Dense(5).init(KEY, X)  # Nobody records any more.
  assert [features(trace) for trace in traces] == [[3], [4]]


def test_a_task_started_in_the_block_records_until_the_block_is_left() -> None:
  async def main() -> nn.Trace:
    is_over = asyncio.Event()

    async def started() -> None:
      nn.Dense(3).init(KEY, X)
      await is_over.wait()
      nn.Dense(4).init(KEY, X)

    with nn.record() as trace:
      task = asyncio.create_task(started())
      await pause()
      await asyncio.to_thread(nn.Dense(6).init, KEY, X)  # another thread, which does not record
    is_over.set()
    await task
    return trace

  assert features(asyncio.run(main())) == [3]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_generators_may_be_closed_in_any_order(order: tuple[int, ...]) -> None:
  traces: list[nn.Trace] = []

  def recording_one() -> Iterator[None]:
    with nn.record() as trace:
      traces.append(trace)
      yield

  generators = [recording_one() for _ in range(3)]
  expected: list[list[int]] = [[], [], []]
  for number, generator in enumerate(generators):
    next(generator)
    nn.Dense(number + 1).init(KEY, X)
    expected[number].append(number + 1)
  is_open = {0, 1, 2}
  for number in order:
    generators[number].close()  # type: ignore[attr-defined]
    is_open.remove(number)
    nn.Dense(number + 7).init(KEY, X)
    if is_open:
      expected[max(is_open)].append(number + 7)
  assert current() is None
  assert [features(trace) for trace in traces] == expected


def test_a_block_left_in_another_context_is_over_where_it_was_entered() -> None:
  def block() -> Iterator[nn.Trace]:
    with nn.record() as trace:
      yield trace

  generator = block()
  trace = next(generator)
  contextvars.copy_context().run(generator.close)  # type: ignore[attr-defined]
  assert current() is None
  nn.Dense(3).init(KEY, X)
  assert features(trace) == []

  generator = block()
  trace = contextvars.copy_context().run(next, generator)
  assert current() is None
  del generator
  nn.Dense(3).init(KEY, X)
  assert features(trace) == []


def test_a_recorder_that_is_over_is_not_held_by_the_context_of_a_task() -> None:
  recorder = Recorder()
  with recording(recorder):
    held = contextvars.copy_context()
  gone = weakref.ref(recorder)
  del recorder
  assert gone() is None and held.run(current) is None


BLOCKS: dict[str, tuple[Callable[[Any], AbstractContextManager[Any]], Callable[[], Any], list[Any]]] = {
  "axis rules": (nn.logical_axis_rules, nn.get_logical_axis_rules, [(("a", "x"),), (("a", "y"),), ()]),
  "settings": (lambda v: config.temp_flip_flag("profile", v), lambda: config.profile, [False, False, True]),
  "interceptors": (nn.intercept_methods, interceptors.innermost, [max, min, None]),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_generators_left_in_order_of_opening(name: str) -> None:
  block, read, (first, second, default) = BLOCKS[name]

  def hold(value: Any) -> Iterator[None]:
    with block(value):
      yield

  one, two = hold(first), hold(second)
  next(one)
  assert read() == first
  next(two)
  assert read() == second
  one.close()  # type: ignore[attr-defined]
  assert read() == second
  two.close()  # type: ignore[attr-defined]
  assert read() == default


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_tasks_keep_apart(name: str) -> None:
  block, read, (first, second, default) = BLOCKS[name]

  async def task(value: Any, turns: int) -> list[Any]:
    with block(value):
      await pause()
      inside = read()
      await pause(turns)
    return [inside, read()]

  async def both() -> Any:
    return await asyncio.gather(task(first, 1), task(second, 3))

  assert asyncio.run(both()) == [[first, default], [second, default]]
  assert read() == default


def test_rules_that_are_set_last_until_the_block_is_left() -> None:
  try:
    nn.set_logical_axis_rules((("a", "x"),))
    with nn.logical_axis_rules((("a", "y"),)):
      nn.set_logical_axis_rules((("a", "z"),))
      assert nn.get_logical_axis_rules() == (("a", "z"),)
    assert nn.get_logical_axis_rules() == (("a", "x"),)
  finally:
    nn.set_logical_axis_rules(())


def test_a_setting_updated_in_a_block_that_flips_it() -> None:
  with config.temp_flip_flag("profile", False), config.temp_flip_flag("jit_folds_rngs", True):
    config.update("profile", True)
    config.update("fix_rng_separator", True)
    assert config.profile and config.jit_folds_rngs
  assert config.profile and not config.jit_folds_rngs and config.fix_rng_separator
  config.update("fix_rng_separator", False)


def test_interceptors_of_a_task_see_its_calls_only() -> None:
  async def task(number: int) -> list[Any]:
    seen: list[Any] = []

    def see(run: Any, args: Any, kwargs: Any, told: Any) -> Any:
      seen.append(told.module.features)
      return run(*args, **kwargs)

    with nn.intercept_methods(see):
      await pause()
      nn.Dense(number).init(KEY, X)
      await pause(number)
    return seen

  async def both() -> Any:
    return await asyncio.gather(task(2), task(1))

  assert asyncio.run(both()) == [[2], [1]]


def test_the_module_that_is_called_is_the_parent_in_its_own_context_only() -> None:
  class Root(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return running.get() is self, contextvars.Context().run(running.get)

  assert Root().apply({}, X) == (True, None)
  assert running.get() is None and not [*captures] and not [*interceptors]


def test_threads_tasks_and_generators_at_once() -> None:
  async def task(number: int) -> None:
    with nn.record() as trace:
      for _ in range(5):
        await pause(number % 3)
        inner = nn.trace(nn.Dense(100 + number).init)(KEY, X)
        nn.Dense(number).init(KEY, X)
        assert features(inner) == [100 + number]
    assert features(trace) == [number] * 5
    assert current() is None

  async def several(first: int) -> None:
    await asyncio.gather(*(task(first + i) for i in range(4)))

  failed: list[BaseException] = []

  def work(first: int) -> None:
    try:
      asyncio.run(several(first))
    except BaseException as error:
      failed.append(error)

  threads = [threading.Thread(target=work, args=(10 * i + 1,)) for i in range(3)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not failed and current() is None


def test_in_force_is_a_stack_where_blocks_are_nested() -> None:
  mood = InForce[str]("mood")
  with mood.within("calm"):
    with mood.within("glad"):
      assert [*mood] == ["glad", "calm"]
    with pytest.raises(ZeroDivisionError), mood.within("sad"):
      raise ZeroDivisionError
    assert [*mood] == ["calm"]
  assert mood.innermost() is None and mood.frame() is None
