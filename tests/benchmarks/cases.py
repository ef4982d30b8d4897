"""What is timed: models with their inputs, made twice from one source, once for each library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import minilinen as nn
from minilinen.examples import resnet, transformer
from tests.benchmarks import models
from tests.twins import flax_twin

KEY = jax.random.key(0)


@dataclass(frozen=True)
class Case:
  """A model on both libraries.

  Attributes:
    name: what it is called in the table.
    ours, flax: makes the model.
    inputs: what it is called with, abstract.
  """

  name: str
  ours: Callable[[], Any]
  flax: Callable[[], Any]
  inputs: Sequence[jax.ShapeDtypeStruct]


def case(name: str, module: Any, make: Callable[[Any], Any], *inputs: jax.ShapeDtypeStruct) -> Case:
  """A case from `make`, which makes the model with the classes of a module or of its twin on Flax."""
  return Case(name, lambda: make(module), lambda: make(flax_twin(module.__name__)), inputs)


def f32(*shape: int) -> jax.ShapeDtypeStruct:
  """An abstract float32 array."""
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def i32(*shape: int) -> jax.ShapeDtypeStruct:
  """An abstract int32 array."""
  return jax.ShapeDtypeStruct(shape, jnp.int32)


TRACED = [
  case("MLP, 64 layers", models, lambda m: m.MLP(64, 128), f32(8, 128)),
  case("transformer, 12 layers", transformer, lambda m: m.Transformer(), i32(8, 512)),
  case("ResNet-50", resnet, lambda m: m.ResNet(), f32(8, 224, 224, 3)),
  case("transformer, scanned", transformer, lambda m: m.Transformer(scanned=True), i32(8, 512)),
  case("tree of 1,000 modules", models, lambda m: m.Tree(1000), f32(4)),
]

TABULATED = [TRACED[1], TRACED[2]]

GROWING = [
  case(f"tree of {n:,} modules", models, lambda m, n=n: m.Tree(n), f32(4)) for n in (100, 1_000, 10_000)
]

COMPILED = [
  case("MLP, 64 layers", models, lambda m: m.MLP(64, 16), f32(8, 16)),
  case("transformer", transformer, lambda m: small(m, False), i32(2, 8)),
  case("ResNet", resnet, lambda m: m.ResNet(blocks=(1, 2), classes=10, width=8), f32(2, 32, 32, 3)),
  case("transformer, scanned", transformer, lambda m: small(m, True), i32(2, 8)),
  case("tree of 30 modules", models, lambda m: m.Tree(30), f32(4)),
]
# Both are asked for what training computes, with dropout and changing statistics.
TRAINED = {"transformer", "ResNet", "transformer, scanned"}


def small(module: Any, scanned: bool) -> Any:
  """A transformer that compiles in a second."""
  return module.Transformer(layers=3, features=32, heads=4, vocabulary=64, length=16, scanned=scanned)


def tracing(model: Any, inputs: Sequence[Any]) -> dict[str, Callable[[], object]]:
  """The two ways to trace a model. A fresh function each time, or JAX would find its trace in a cache."""
  variables = jax.eval_shape(lambda *args: model.init(KEY, *args), *inputs)
  return {
    "eval_shape(init)": lambda: jax.eval_shape(lambda key, *args: model.init(key, *args), KEY, *inputs),
    "make_jaxpr(apply)": lambda: jax.make_jaxpr(lambda v, *args: model.apply(v, *args, **extra(v)))(
      variables, *inputs
    ),
  }


def extra(variables: Any) -> dict[str, Any]:
  """What `apply` is passed besides: the collections that change in a call."""
  return {"mutable": ["batch_stats"]} if "batch_stats" in variables else {}


def recorded(run: Callable[[], object]) -> Callable[[], object]:
  """The same, while minilinen records."""

  def under() -> None:
    with nn.record():
      run()

  return under
