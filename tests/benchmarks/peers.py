"""What a user may pick instead: the same models in Haiku, NNX, Equinox and none, to trace `apply` beside minilinen.

A multilayer perceptron of 64 layers, a transformer of 12 blocks, and a tree of 1,110 modules, each written as that
library's own documents write models. What a library does once ahead (variables, a model split in two) is done before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
from flax import nnx

import minilinen as nn
from tests.benchmarks.cases import KEY, f32
from tests.benchmarks.models import MLP

INPUTS = {
  "MLP, 64 layers": f32(2, 4),
  "transformer, 12 layers": f32(2, 16, 64),
  "tree of 1,110 modules": f32(1, 2),
}
Run = Callable[[], object]


class Block(nn.Module):
  """A block of a transformer, on minilinen."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps `[batch, time, 64]` to the same shape."""
    x = x + nn.MultiHeadDotProductAttention(num_heads=4)(nn.LayerNorm()(x))
    return x + nn.Dense(64)(nn.gelu(nn.Dense(256)(nn.LayerNorm()(x))))


class Transformer(nn.Module):
  """Twelve blocks and a norm."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps `[batch, time, 64]` to the same shape."""
    for _ in range(12):
      x = Block()(x)
    return nn.LayerNorm()(x)


class Tree(nn.Module):
  """Ten children each, down to a Dense."""

  depth: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps `[batch, 2]` to the same shape."""
    if not self.depth:
      return nn.Dense(2)(x)
    for _ in range(10):
      x = Tree(self.depth - 1)(x)
    return x


def minilinen_runs() -> dict[str, Run]:
  """One trace of `apply` for each model."""
  return dict(zip(INPUTS, map(_of_module, (MLP(64, 4), Transformer(), Tree(3)), INPUTS.values())))


def _of_module(model: nn.Module, x: Any) -> Run:
  variables = jax.eval_shape(model.init, KEY, x)
  return lambda: jax.make_jaxpr(lambda v, x: model.apply(v, x))(variables, x)


def plain_transformer(blocks: Any, x: jax.Array) -> jax.Array:
  """What `Transformer` computes, as a function of a list of dicts."""

  def dense(p: Any, x: Any) -> Any:
    return x @ p[0] + p[1]

  def norm(p: Any, x: Any) -> Any:
    mean = x.mean(-1, keepdims=True)
    variance = jnp.maximum(0.0, (x * x).mean(-1, keepdims=True) - mean * mean)
    return (x - mean) * (jax.lax.rsqrt(variance + 1e-6) * p[0]) + p[1]

  for p in blocks[:-1]:
    h = norm(p["norm1"], x)
    query, key, value = (jnp.einsum("btd,dhe->bthe", h, p[n][0]) + p[n][1] for n in ("q", "k", "v"))
    weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", query / 4.0, key))
    mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
    x = x + jnp.einsum("bqhe,hed->bqd", mixed, p["out"][0]) + p["out"][1]
    x = x + dense(p["down"], jax.nn.gelu(dense(p["up"], norm(p["norm2"], x))))
  return norm(blocks[-1]["norm1"], x)


def plain_tree(layers: Any, x: jax.Array) -> jax.Array:
  for kernel, bias in layers:
    x = x @ kernel + bias
  return x


def plain_mlp(layers: Any, x: jax.Array) -> jax.Array:
  for kernel, bias in layers:
    x = jax.nn.relu(x @ kernel + bias)
  return x


def plain_runs() -> dict[str, Run]:
  """The same as plain functions: the floor."""
  norm, block = (f32(64), f32(64)), {n: (f32(64, 4, 16), f32(4, 16)) for n in ("q", "k", "v")}
  block |= {"norm1": norm, "norm2": norm, "out": (f32(4, 16, 64), f32(64))}
  block |= {"up": (f32(64, 256), f32(256)), "down": (f32(256, 64), f32(64))}
  params = [(f32(4, 4), f32(4))] * 64, [block] * 13, [(f32(2, 2), f32(2))] * 1000
  functions = plain_mlp, plain_transformer, plain_tree
  return dict(zip(INPUTS, map(_of_function, functions, params, INPUTS.values())))


def _of_function(function: Callable[..., Any], params: Any, x: Any) -> Run:
  return lambda: jax.make_jaxpr(lambda p, x: function(p, x))(params, x)


def haiku_mlp(x: jax.Array) -> jax.Array:
  for _ in range(64):
    x = jax.nn.relu(hk.Linear(4)(x))
  return x


def haiku_transformer(x: jax.Array) -> jax.Array:
  def norm(x: Any) -> Any:
    return hk.LayerNorm(-1, True, True)(x)

  for _ in range(12):
    h = norm(x)
    x = x + hk.MultiHeadAttention(4, 16, w_init=hk.initializers.VarianceScaling())(h, h, h)
    x = x + hk.Linear(64)(jax.nn.gelu(hk.Linear(256)(norm(x))))
  return norm(x)


class HaikuTree(hk.Module):
  def __init__(self, depth: int, name: str | None = None):
    super().__init__(name=name)
    self.depth = depth

  def __call__(self, x: jax.Array) -> jax.Array:
    if not self.depth:
      return hk.Linear(2)(x)
    for _ in range(10):
      x = HaikuTree(self.depth - 1)(x)
    return x


def haiku_runs() -> dict[str, Run]:
  """The same on Haiku."""
  functions = (haiku_mlp, haiku_transformer, lambda x: HaikuTree(3)(x))
  return dict(zip(INPUTS, map(_of_haiku, functions, INPUTS.values())))


def _of_haiku(function: Callable[[Any], Any], x: Any) -> Run:
  model = hk.without_apply_rng(hk.transform(function))
  params = jax.eval_shape(model.init, KEY, x)
  return lambda: jax.make_jaxpr(lambda p, x: model.apply(p, x))(params, x)


class NnxMLP(nnx.Module):
  def __init__(self, rngs: nnx.Rngs):
    self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(64)])

  def __call__(self, x: jax.Array) -> jax.Array:
    for layer in self.layers:
      x = jax.nn.relu(layer(x))
    return x


class NnxBlock(nnx.Module):
  def __init__(self, rngs: nnx.Rngs):
    self.norms = nnx.List([nnx.LayerNorm(64, rngs=rngs) for _ in range(2)])
    self.attention = nnx.MultiHeadAttention(4, 64, decode=False, rngs=rngs)
    self.up, self.down = nnx.Linear(64, 256, rngs=rngs), nnx.Linear(256, 64, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    x = x + self.attention(self.norms[0](x))
    return x + self.down(jax.nn.gelu(self.up(self.norms[1](x))))


class NnxTransformer(nnx.Module):
  def __init__(self, rngs: nnx.Rngs):
    self.blocks = nnx.List([NnxBlock(rngs) for _ in range(12)])
    self.norm = nnx.LayerNorm(64, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    for block in self.blocks:
      x = block(x)
    return self.norm(x)


class NnxTree(nnx.Module):
  def __init__(self, rngs: nnx.Rngs, depth: int = 3):
    self.children = nnx.List([NnxTree(rngs, depth - 1) for _ in range(10)] if depth else [])
    self.leaf = None if depth else nnx.Linear(2, 2, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    if self.leaf is not None:
      return self.leaf(x)
    for child in self.children:
      x = child(x)
    return x


def nnx_runs() -> dict[str, Run]:
  """The same on NNX."""
  return dict(zip(INPUTS, map(_of_nnx, (NnxMLP, NnxTransformer, NnxTree), INPUTS.values())))


def _of_nnx(cls: Any, x: Any) -> Run:
  graph, state = nnx.split(cls(nnx.Rngs(0)))
  return lambda: jax.make_jaxpr(lambda s, x: nnx.merge(graph, s)(x))(state, x)


class EquinoxMLP(eqx.Module):
  layers: list[eqx.nn.Linear]

  def __init__(self, key: jax.Array):
    self.layers = [eqx.nn.Linear(4, 4, key=k) for k in jax.random.split(key, 64)]

  def __call__(self, x: jax.Array) -> jax.Array:
    for layer in self.layers:
      x = jax.nn.relu(layer(x))
    return x


class EquinoxBlock(eqx.Module):
  norms: list[eqx.nn.LayerNorm]
  attention: eqx.nn.MultiheadAttention
  up: eqx.nn.Linear
  down: eqx.nn.Linear

  def __init__(self, key: jax.Array):
    keys = jax.random.split(key, 3)
    biases = {f"use_{what}_bias": True for what in ("query", "key", "value", "output")}
    self.norms = [eqx.nn.LayerNorm(64), eqx.nn.LayerNorm(64)]
    self.attention = eqx.nn.MultiheadAttention(4, 64, key=keys[0], **biases)
    self.up, self.down = eqx.nn.Linear(64, 256, key=keys[1]), eqx.nn.Linear(256, 64, key=keys[2])

  def __call__(self, x: jax.Array) -> jax.Array:
    h = jax.vmap(self.norms[0])(x)
    x = x + self.attention(h, h, h)
    return x + jax.vmap(lambda r: self.down(jax.nn.gelu(self.up(self.norms[1](r)))))(x)


class EquinoxTransformer(eqx.Module):
  blocks: list[EquinoxBlock]
  norm: eqx.nn.LayerNorm

  def __init__(self, key: jax.Array):
    self.blocks = [EquinoxBlock(k) for k in jax.random.split(key, 12)]
    self.norm = eqx.nn.LayerNorm(64)

  def __call__(self, x: jax.Array) -> jax.Array:
    for block in self.blocks:
      x = block(x)
    return jax.vmap(self.norm)(x)


class EquinoxTree(eqx.Module):
  children: list[EquinoxTree]
  leaf: eqx.nn.Linear | None

  def __init__(self, key: jax.Array, depth: int = 3):
    self.children = [EquinoxTree(k, depth - 1) for k in jax.random.split(key, 10)] if depth else []
    self.leaf = None if depth else eqx.nn.Linear(2, 2, key=key)

  def __call__(self, x: jax.Array) -> jax.Array:
    if self.leaf is not None:
      return self.leaf(x)
    for child in self.children:
      x = child(x)
    return x


def equinox_runs() -> dict[str, Run]:
  """The same on Equinox, whose models are for one example."""
  models = (EquinoxMLP, EquinoxTransformer, EquinoxTree)
  return dict(zip(INPUTS, map(_of_equinox, models, INPUTS.values())))


def _of_equinox(cls: Any, x: Any) -> Run:
  model = eqx.filter_eval_shape(cls, KEY)
  arrays, rest = eqx.partition(model, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
  return lambda: jax.make_jaxpr(lambda a, x: jax.vmap(eqx.combine(a, rest))(x))(arrays, x)


LIBRARIES: dict[str, Callable[[], dict[str, Run]]] = {
  "minilinen": minilinen_runs,
  "plain": plain_runs,
  "Haiku": haiku_runs,
  "NNX": nnx_runs,
  "Equinox": equinox_runs,
}
