"""The models of a trace: what a module of one is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

import minilinen as nn
from minilinen.tracing import Spec

F32 = Spec((), "float32")


class Inner(nn.Module):
  """Keeps a whole dict in one variable."""

  @nn.compact
  def __call__(self, x: Any) -> Any:
    self.variable("state", "seen", lambda: {"sums": {"first": x.sum(), "last": x.sum()}})
    return nn.Dense(3, use_bias=False)(x)


class Outer(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return Inner(name="inner")(x)  # here


(MODEL,) = nn.trace(Outer().init)(jax.random.key(0), "f32[2,5]").models


def test_a_module_says_of_what_class_it_is():
  assert [(node.path.bare, node.module) for node in MODEL] == [
    ("", "Outer"), ("inner", "Inner"), ("inner/Dense_0", "Dense"),
  ]  # fmt: skip
  assert repr(MODEL["inner"]) == "<Inner at '/inner': 1 call>"


def test_a_module_says_which_line_called_it():
  source, text = MODEL["inner"].source, Path(__file__).read_text()
  assert source is not None and source.file == __file__
  assert text.splitlines()[source.line - 1].endswith("# here")


def test_a_variable_that_is_a_dict_is_one_of_the_module_that_made_it():
  assert MODEL["inner"].variables == {"state": {"seen/sums/first": F32, "seen/sums/last": F32}}
  assert MODEL["inner/Dense_0"].variables == {"params": {"kernel": Spec((5, 3), "float32")}}
  assert MODEL.paths == ("", "inner", "inner/Dense_0")
