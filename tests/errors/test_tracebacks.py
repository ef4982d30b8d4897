"""Tracebacks show the user's lines: from where an exception was raised up to where the user called minilinen."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import minilinen as nn
from minilinen import core
from minilinen.module.context import running

X = jnp.ones((2, 5))
KEY = jax.random.key(0)


class Net(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return nn.Dense(3)(x)


class Outer(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return Net()(x, 3)  # An argument too many.


class Block(nn.Module):
  @nn.compact
  def __call__(self, c: Any, _: Any) -> Any:
    return nn.Dense(5)(c) @ jnp.ones((7, 7)), None  # Shapes that don't fit.


class Scanned(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    block = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
    return block()(x, None)[0]


class Lifted(nn.Module):
  """A mistake of the user's own behind boundaries."""

  @nn.remat
  @nn.jit
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return mistaken(nn.Dense(2)(x))


class Own(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return mistaken(x)


class Branches(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return x if x.sum() > 0 else -x


class NoName(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return nn.Dense(3, name=3)(x)  # type: ignore[arg-type]


@dataclasses.dataclass
class Unreadable(Exception):
  """An exception that can't be printed."""

  def __str__(self) -> str:
    raise ZeroDivisionError


class Raises(nn.Module):
  def __call__(self, x: Any) -> Any:
    raise Unreadable


def mistaken(x: Any) -> Any:
  raise ValueError("the user's own")


VARIABLES = Net().init(KEY, X)
# What fails, and the functions that a traceback shows behind the one that called minilinen.
FAILING: dict[str, tuple[Callable[[], Any], list[str]]] = {
  "init": (lambda: Net().init(KEY, X, 3), []),
  "no key": (lambda: Net().init(3, X), []),
  "in a module": (lambda: Outer().init(KEY, X), ["__call__"]),
  "apply": (lambda: Net().apply(VARIABLES, jnp.ones((2, 9))), ["__call__"]),
  "own": (lambda: Own().apply({}, X), ["__call__", "mistaken"]),
  "own, init_with_output": (lambda: Own().init_with_output(KEY, X), ["__call__", "mistaken"]),
  "own, lazy_init": (lambda: Own().lazy_init(KEY, X), ["__call__", "mistaken"]),
  "own, trace": (lambda: nn.trace(Own().init)(KEY, X), ["__call__", "mistaken"]),
  "own, Module.trace": (lambda: Own().trace(KEY, X), ["__call__", "mistaken"]),
  "own, tabulate": (lambda: Own().tabulate(KEY, X), ["__call__", "mistaken"]),
  "own, jax.jit": (lambda: jax.jit(Own().apply)({}, X), ["__call__", "mistaken"]),
  "own, jax.grad": (lambda: jax.grad(lambda x: Own().apply({}, x))(X), ["<lambda>", "__call__", "mistaken"]),
  "own, core": (lambda: core.apply(lambda scope, x: mistaken(x))({}, X), ["<lambda>", "mistaken"]),
  "own, behind boundaries": (lambda: Lifted().init(KEY, X), ["__call__", "mistaken"]),
  "scan": (lambda: Scanned().init(KEY, X), ["__call__", "__call__"]),
  "bound": (lambda: Net().bind(VARIABLES)(X, 3), []),
  "bound, own": (lambda: Own().bind({})(X), ["__call__", "mistaken"]),
  "unbound": (lambda: Net()(X), []),
  "a tracer": (lambda: jax.jit(Branches().apply)({}, X), ["__call__"]),
  "a constructor": (lambda: NoName().init(KEY, X), ["__call__"]),
}


def failure(run: Callable[[], Any]) -> BaseException:
  try:
    run()
  except Exception as error:
    return error
  raise AssertionError("nothing was raised")


def shown(error: BaseException) -> list[str]:
  """The functions in a traceback behind the line of this file that called minilinen."""
  frames = traceback.extract_tb(error.__traceback__)
  assert {frame.filename for frame in frames} == {__file__}
  return [frame.name for frame in frames][2:]


@pytest.mark.parametrize("name", FAILING)
def test_a_traceback_shows_the_users_frames(name: str) -> None:
  run, functions = FAILING[name]
  assert shown(failure(run)) == functions


def chain(error: BaseException | None) -> Iterator[BaseException]:
  while error is not None:
    yield error
    error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_so_do_the_exceptions_that_led_to_it() -> None:
  class Caught(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      try:
        return Own()(x)
      except ValueError as error:
        raise KeyError("another") from error

  errors = list(chain(failure(lambda: Caught().init(KEY, X))))
  assert [type(error) for error in errors] == [KeyError, ValueError]
  assert [frame.name for frame in traceback.extract_tb(errors[1].__traceback__)] == [
    "__call__", "__call__", "mistaken",
  ]  # fmt: skip


def own(module: Any, *args: Any) -> Any:
  raise ValueError("the user's own")


class Own1(nn.Module):
  @nn.compact
  def __call__(self, x: Any, *args: Any) -> Any:
    raise ValueError("the user's own")


SPLIT: Any = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
# How a module `m` leads to the function of the user's that fails, and how many frames of ours are between.
FRAMES: dict[str, tuple[Callable[[Any, Any], Any], int]] = {
  "a call": (lambda m, x: Own1()(x), 1),
  "scan": (lambda m, x: nn.scan(Own1, **SPLIT, length=2)()(x, None), 4),
  "scan of a function": (lambda m, x: nn.scan(own, **SPLIT, length=2)(m, x, None), 3),
  "vmap": (lambda m, x: nn.vmap(Own1, **SPLIT)()(x), 3),
  "jit": (lambda m, x: nn.jit(Own1)()(x), 3),
  "remat": (lambda m, x: nn.remat(Own1)()(x), 3),
  "map_variables": (lambda m, x: nn.map_variables(Own1)()(x), 3),
  "fold_rngs": (lambda m, x: nn.fold_rngs(Own1)()(x), 2),
  "cond": (lambda m, x: nn.cond(True, own, own, m, x), 4),
  "switch": (lambda m, x: nn.switch(0, [own, own], m, x), 4),
  "while_loop": (lambda m, x: nn.while_loop(lambda m, c: True, own, m, x), 3),
  "vjp": (lambda m, x: nn.vjp(own, m, x), 4),
  "jvp": (lambda m, x: nn.jvp(own, m, (x,), (x,), {}), 3),
  "grad": (lambda m, x: nn.grad(own, m, x), 4),
  "custom_vjp": (lambda m, x: nn.custom_vjp(own, own, own)(m, x), 2),
}


@pytest.mark.parametrize("name", FRAMES)
def test_few_frames_of_ours_lie_between_the_users(name: str) -> None:
  """Also when all are shown."""
  leads, number = FRAMES[name]

  class Leads(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return leads(self, x)

  before = jax.config.jax_traceback_filtering
  jax.config.update("jax_traceback_filtering", "off")
  try:
    frames = traceback.extract_tb(failure(lambda: Leads().init(KEY, X)).__traceback__)
  finally:
    jax.config.update("jax_traceback_filtering", before)
  *_, calls, fails = (i for i, frame in enumerate(frames) if frame.filename == __file__)
  home = str(Path(nn.__file__).parent)
  ours = [frame for frame in frames[calls:fails] if frame.filename.startswith(home)]
  assert len(ours) == number <= 4, [(frame.filename, frame.name) for frame in ours]


def test_jaxs_setting_shows_all_frames() -> None:
  before = jax.config.jax_traceback_filtering
  jax.config.update("jax_traceback_filtering", "off")
  try:
    frames = traceback.extract_tb(failure(FAILING["own"][0]).__traceback__)
  finally:
    jax.config.update("jax_traceback_filtering", before)
  assert any(frame.filename.endswith("minilinen/core/run.py") for frame in frames)


def test_a_notebooks_traceback_keeps_the_frames_and_says_which_are_hidden() -> None:
  before = jax.config.jax_traceback_filtering
  jax.config.update("jax_traceback_filtering", "tracebackhide")
  try:
    error = failure(FAILING["own"][0])
  finally:
    jax.config.update("jax_traceback_filtering", before)
  frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
  hidden = [frame for frame in frames if frame.f_locals.get("__tracebackhide__")]
  assert any(frame.f_code.co_filename.endswith("minilinen/core/run.py") for frame in hidden)
  assert not any(frame.f_code.co_filename == __file__ for frame in hidden)


@pytest.mark.parametrize("runs", [True, False])
def test_only_where_ipython_runs_it_is_left_to_hide_frames(runs: bool, monkeypatch: Any) -> None:
  shell = types.SimpleNamespace(get_ipython=lambda: object() if runs else None)
  monkeypatch.setitem(sys.modules, "IPython", shell)
  frames = [frame for frame, _ in traceback.walk_tb(failure(FAILING["own"][0]).__traceback__)]
  ours = [frame for frame in frames if frame.f_code.co_filename.endswith("minilinen/core/run.py")]
  assert bool(ours) == runs and all(frame.f_locals.get("__tracebackhide__") for frame in ours)


def test_the_text_of_an_exception_is_the_users_affair() -> None:
  assert type(failure(lambda: Raises().apply({}, X))) is Unreadable
  assert running.get() is None


def test_entries_look_as_they_are() -> None:
  assert list(inspect.signature(nn.Module.apply).parameters)[:2] == ["self", "variables"]
  assert nn.Module.init.__name__ == "init" and nn.Module.init.__doc__
