"""Wherever a run ends early, by any exception, the trace is readable up to there and the next run is right."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest
from interrupted_models import RUNS, Small, X, initialised

import minilinen as nn
import viz
from minilinen.module.call import Calling
from minilinen.module.context import running
from minilinen.module.frames import parent_now
from minilinen.tracing import Trace, recorder

pytestmark = pytest.mark.grid


class Interrupt(BaseException):
  """What nobody catches, as KeyboardInterrupt."""


def bits(value: Any) -> list[bytes]:
  """All arrays of a result."""
  return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(value)]


def nothing_is_open() -> bool:
  """Whether no recording, no run and no module is left open."""
  return recorder.current() is None and parent_now() is None


def check_partial(trace: Trace) -> None:
  """A trace that ended early can be asked everything."""
  for kind in ("table", "tree", "trace") if trace.runs and trace.calls() else ():
    assert str(viz.render(trace, kind))
  assert Trace.from_json(trace.to_json()) == trace
  str(trace.check()), trace.models, trace.variables(), [*trace.states()]


def raising_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
  """Has the recorder raise at its so-many-th event or span; says how many there were."""
  seen = 0

  def counted(original: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
      nonlocal seen
      seen += 1
      if seen == number:
        raise Interrupt()
      return original(*args, **kwargs)

    return wrapper

  for name in ("event", "span", "body"):
    monkeypatch.setattr(recorder.Recorder, name, counted(getattr(recorder.Recorder, name)))
  return lambda: seen


@pytest.mark.parametrize("name", RUNS)
def test_at_every_event(name: str, monkeypatch: pytest.MonkeyPatch):
  run = RUNS[name]()
  expected = bits(run())
  with monkeypatch.context() as patch, nn.record():
    count = raising_at(0, patch)
    run()
    events = count()
  assert events > 20
  for number in range(1, events + 1, 1 if events < 60 else 5):
    with monkeypatch.context() as patch:
      raising_at(number, patch)
      with pytest.raises(Interrupt), nn.record() as trace:
        run()
    assert nothing_is_open()
    check_partial(trace)
  assert bits(run()) == expected
  with nn.record() as trace:
    assert bits(run()) == expected


def lines_of(run: Callable[[], Any], number: int) -> int:
  """Runs, and raises at the so-many-th line of minilinen's; says how many there were."""
  seen = 0
  stopped = False

  def step(frame: Any, event: str, _: Any) -> Any:
    nonlocal seen, stopped
    if event == "line" and not stopped:
      seen += 1
      if seen == number:
        stopped = True
        raise Interrupt()
    return step

  def enter(frame: Any, event: str, _: Any) -> Any:
    return step if "/minilinen/" in frame.f_code.co_filename and not stopped else None

  before = sys.gettrace()
  sys.settrace(enter)
  try:
    run()
  finally:
    sys.settrace(before)
  return seen


@pytest.mark.parametrize("name", RUNS)
def test_at_any_line(name: str):
  """An interrupt comes wherever it likes, also between the end of a block and what ends it."""
  run = RUNS[name]()
  expected = bits(run())

  lines = lines_of(run, 0)
  draw = random.Random(name)
  for number in sorted(draw.sample(range(1, lines), 12)):
    with contextlib.suppress(Interrupt):  # Where Python finalises an object it hands on no exception.
      lines_of(run, number)
    assert nn.Dense(3).parent is None and nothing_is_open(), number
    assert bits(run()) == expected, number


def test_as_a_call_is_left(monkeypatch: pytest.MonkeyPatch):
  """An interrupt that comes before the end of a block has begun leaves the module behind; nothing is made in it."""
  run = RUNS["applied Small"]()
  expected = bits(run())
  left: list[bool] = []
  for number in range(1, 8):
    with monkeypatch.context() as patch:
      calls = iter(range(1, 100))
      leave = Calling.__exit__

      def interrupted(
        self: Any, *error: Any, number: int = number, calls: Any = calls, leave: Any = leave
      ) -> None:
        if next(calls) == number:
          raise Interrupt()
        leave(self, *error)

      patch.setattr(Calling, "__exit__", interrupted)
      with contextlib.suppress(Interrupt):
        run()
    left.append(running.get() is not None)
    assert nn.Dense(3).parent is None and running.get() is None
    assert bits(run()) == expected
  assert any(left)


def test_a_generator_that_is_closed_early():
  def steps() -> Iterator[Any]:
    with nn.record() as trace:
      yield initialised(Small())(), trace
      yield None

  generator = steps()
  variables, trace = next(generator)
  generator.close()
  assert nothing_is_open() and bits(variables) == bits(initialised(Small())())
  check_partial(trace)
  assert trace.error == "GeneratorExit"


def test_a_task_that_is_cancelled():
  found: list[Any] = []

  async def recorded() -> None:
    with nn.record() as trace:
      found.append(trace)
      initialised(Small())()
      await asyncio.sleep(60)

  async def main() -> None:
    task = asyncio.create_task(recorded())
    await asyncio.sleep(0)
    assert recorder.current() is None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
      await task

  asyncio.run(main())
  assert nothing_is_open()
  check_partial(found[0])


@pytest.mark.parametrize(
  "kind", [ValueError, KeyboardInterrupt, SystemExit, StopIteration, GeneratorExit, Interrupt]
)
def test_any_exception_of_a_user(kind: type[BaseException]):
  class Fails(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      x = nn.Dense(4)(x)
      if fails:
        raise kind("no")
      return nn.Dense(2)(x)

  fails = True
  model = Fails()
  variables = {"params": {"Dense_0": {"kernel": np.ones((3, 4)), "bias": np.ones(4)}}}
  before = bits(variables)
  for run in (lambda: model.init(jax.random.key(0), X), lambda: model.apply(variables, X)):
    with pytest.raises(kind), nn.record() as trace:
      run()
    assert nothing_is_open() and trace.error.startswith(kind.__name__)
    check_partial(trace)
  fails = False
  assert bits(variables) == before
  assert sorted(model.init(jax.random.key(0), X)["params"]) == ["Dense_0", "Dense_1"]
