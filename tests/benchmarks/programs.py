"""The compiled programs of both libraries, as text to compare: optimised HLO without what names the source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from tests.benchmarks.cases import KEY, TRAINED, Case

_METADATA = re.compile(r",? *metadata=\{[^{}]*\}")
# Where an instruction came from, in tables of files, functions and frames before the program.
_TABLES = re.compile(r"^(FileNames|FunctionNames|FileLocations|StackFrames)\n(.+\n)*", re.MULTILINE)


def same_programs(case: Case) -> Iterator[tuple[str, str]]:
  """The forward program of a case on Flax and on minilinen, and then the gradient's; they should be the same."""
  kwargs = {"train": True} if case.name in TRAINED else {}
  made = []
  for model in (case.flax(), case.ours()):
    variables = jax.eval_shape(lambda *args, model=model: model.init(KEY, *args), *case.inputs)
    made.append((model, variables))
  for program in (forward, gradient):
    theirs, ours = (program(model, variables, *case.inputs, **kwargs) for model, variables in made)
    yield theirs, ours


def forward(model: Any, variables: Any, *args: Any, **kwargs: Any) -> str:
  """The optimised program of `model.apply`, for arguments that may be abstract."""

  def run(variables: Any, rngs: Any, *args: Any) -> Any:
    return model.apply(variables, *args, rngs=rngs, mutable=["batch_stats"], **kwargs)

  return _optimised(run, variables, _rngs(), *args)


def gradient(model: Any, variables: Any, *args: Any, **kwargs: Any) -> str:
  """The optimised program of the gradient of the sum of its results in its parameters."""

  def loss(params: Any, others: Any, rngs: Any, *args: Any) -> Any:
    y, _ = model.apply({"params": params, **others}, *args, rngs=rngs, mutable=["batch_stats"], **kwargs)
    return jnp.sum(y)

  others = {name: tree for name, tree in variables.items() if name != "params"}
  return _optimised(jax.grad(loss), variables["params"], others, _rngs(), *args)


def _rngs() -> dict[str, jax.ShapeDtypeStruct]:
  return {"dropout": jax.eval_shape(lambda: jax.random.key(0))}


def _optimised(run: Any, *args: Any) -> str:
  text = jax.jit(run).lower(*args).compile().as_text()
  assert text is not None
  return _TABLES.sub("", _METADATA.sub("", text))
