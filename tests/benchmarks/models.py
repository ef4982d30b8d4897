"""The benchmarks' own models, as user code: only the line that imports `nn` differs between the two libraries."""

from __future__ import annotations

import jax
import jax.numpy as jnp

import minilinen as nn


class MLP(nn.Module):
  """Dense layers with an activation after each.

  Attributes:
    layers: how many.
    features: their width.
  """

  layers: int
  features: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps `[batch, channels]` to `[batch, features]`."""
    for _ in range(self.layers):
      x = nn.relu(nn.Dense(self.features)(x))
    return x


class Tree(nn.Module):
  """A tree of exactly `size` modules, each with one parameter and at most ten children.

  Attributes:
    size: how many modules there are, with this one.
  """

  size: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps an array of any shape to the same shape."""
    x = x * self.param("scale", nn.initializers.ones, (x.shape[-1],))
    share, more = divmod(self.size - 1, 10)
    for child in range(10):
      size = share + (child < more)
      if size:
        x = Tree(size)(x)
    return x


def plain_tree(size: int, x: jax.Array) -> tuple[jax.Array, dict[str, object]]:
  """What `Tree(size)` computes, as a function without modules: the result and the parameters."""
  params: dict[str, object] = {"scale": jnp.ones((x.shape[-1],))}
  x = x * params["scale"]  # type: ignore[operator]
  share, more = divmod(size - 1, 10)
  for child in range(10):
    below = share + (child < more)
    if below:
      x, params[f"Tree_{child}"] = plain_tree(below, x)
  return x, params
