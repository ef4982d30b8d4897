"""A decoder-only transformer language model, its layers unrolled or scanned.

`scanned=True` keeps the parameters of all layers in one stack and compiles one layer instead of twelve; the demo
shows both, and the benchmarks time both.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

import minilinen as nn


class Block(nn.Module):
  """Attention and a two-layer network, each normalized before and added to what came in.

  Attributes:
    heads: how many attention heads.
    dropout: the rate of dropout.
  """

  heads: int
  dropout: float

  @nn.compact
  def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> tuple[jax.Array, None]:
    """Maps `[batch, time, features]` to the same shape; the `None` is what a scan collects, nothing."""
    features = x.shape[-1]
    y = nn.LayerNorm()(x)
    y = nn.MultiHeadDotProductAttention(self.heads, dropout_rate=self.dropout, deterministic=not train)(
      y, mask=mask
    )
    x = x + nn.Dropout(self.dropout, deterministic=not train)(y)
    y = nn.LayerNorm()(x)
    y = nn.gelu(nn.Dense(4 * features)(y))
    y = nn.Dense(features)(y)
    return x + nn.Dropout(self.dropout, deterministic=not train)(y), None


class Transformer(nn.Module):
  """A language model with learned positions, whose embedding is also its output layer.

  The defaults are the size of GPT-2 small: 124 million parameters.

  Attributes:
    layers: how many blocks.
    features: width of the residual stream.
    heads: attention heads of each block.
    vocabulary: how many tokens there are.
    length: the longest text, in tokens.
    dropout: the rate of dropout.
    scanned: whether the blocks are one scanned block with stacked parameters.
  """

  layers: int = 12
  features: int = 768
  heads: int = 12
  vocabulary: int = 50257
  length: int = 1024
  dropout: float = 0.1
  scanned: bool = False

  @nn.compact
  def __call__(self, tokens: jax.Array, train: bool = False) -> jax.Array:
    """Maps tokens `[batch, time]` to logits `[batch, time, vocabulary]`."""
    embed = nn.Embed(self.vocabulary, self.features, name="tokens")
    positions = nn.Embed(self.length, self.features, name="positions")
    x = embed(tokens) + positions(jnp.arange(tokens.shape[1]))
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    mask = nn.make_causal_mask(tokens)
    if self.scanned:
      blocks = nn.scan(
        Block,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(nn.broadcast, nn.broadcast),
        length=self.layers,
      )
      x, _ = blocks(self.heads, self.dropout, name="blocks")(x, mask, train)
    else:
      for _ in range(self.layers):
        x, _ = Block(self.heads, self.dropout)(x, mask, train)
    return embed.attend(nn.LayerNorm(name="norm")(x))
