"""Whose line it was: the innermost frame that a person wrote."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sysconfig
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import minilinen
from minilinen.tracing.source import Source, user_source

HERE = os.path.dirname(minilinen.__file__)
STDLIB = os.path.dirname(os.__file__)


def calls_from(file: str) -> Callable[[Callable[[], Any]], Any]:
  """A function that calls its argument, as if it stood in a file of this name."""
  space: dict[str, Any] = {}
  exec(compile("def call(fn):\n  return fn()\n", file, "exec"), space)
  return space["call"]


def look() -> Source | None:
  return user_source(2)


@pytest.mark.parametrize(
  "file",
  [
    os.path.join(HERE, "layers", "linear.py"),
    os.path.join(HERE, "cli.py"),
    os.path.join(os.path.dirname(HERE), "viz", "table.py"),
    os.path.join(os.path.dirname(jax.__file__), "_src", "api.py"),
    np.__file__,
    json.__file__,
    contextlib.__file__,
    os.path.join(STDLIB, "site-packages", "_pytest", "python.py"),
    os.path.join("/somewhere", "site-packages", "IPython", "core.py"),
    os.path.join(sysconfig.get_path("scripts"), "minilinen"),
    "<frozen runpy>",
  ],
)
def test_frames_that_nobody_wrote_for_this_model_are_passed_over(file: str):
  found = calls_from(file)(look)
  assert found is not None
  assert found.file == __file__


@pytest.mark.parametrize(
  "file",
  [
    os.path.join(HERE, "examples", "resnet.py"),
    os.path.join(os.path.dirname(HERE), "model.py"),
    os.path.join(STDLIB, "site-packages", "somebodys_models", "vit.py"),
    os.path.join(STDLIB, "dist-packages", "somebodys_models", "vit.py"),
    "<ipython-input-3-a1b2>",
    "<stdin>",
    "<string>",
    "<doctest guide.md[3]>",
    "model.py",
  ],
)
def test_frames_of_the_users_are_found(file: str):
  assert calls_from(file)(look) == Source(file, 2, "call")


def test_a_source_says_file_line_and_function():
  found = calls_from("model.py")(look)
  assert str(found) == "model.py:2 in call"


def test_the_constructor_of_a_dataclass_is_nobodys_line():
  @dataclasses.dataclass
  class Thing:
    x: int
    made: Source | None = None

    def __post_init__(self) -> None:
      self.made = user_source(2)

  made = Thing(3).made
  assert made is not None
  assert made.function == "test_the_constructor_of_a_dataclass_is_nobodys_line"


def test_lines_are_found_through_jax():
  seen: list[Source | None] = []

  def fn(x: Any) -> Any:
    seen.append(user_source())
    return x

  jax.make_jaxpr(jax.vmap(jax.jit(fn)))(np.ones(2))
  assert seen[0] is not None
  assert seen[0].function.endswith("fn")


def test_without_a_frame_of_the_users_there_is_none():
  found: list[Any] = [0]

  pool = threading.Thread(target=found.extend, args=(map(user_source, [1]),))
  pool.start()
  pool.join()
  assert found == [0, None]
