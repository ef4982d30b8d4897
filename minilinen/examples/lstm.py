"""A text model of stacked LSTMs, each scanned over time.

The small model whose loop is over the data: the same weights serve every step, so that the scan broadcasts what the
transformer's stacks.
"""

from __future__ import annotations

import jax

import minilinen as nn


class LSTM(nn.Module):
  """One LSTM layer over a sequence.

  Attributes:
    features: size of its state.
  """

  features: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps `[batch, time, channels]` to `[batch, time, features]`."""
    cell = nn.scan(
      nn.LSTMCell, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1
    )(self.features, name="cell")
    carry = cell.initialize_carry(jax.random.PRNGKey(0), x[:, 0].shape)
    return cell(carry, x)[1]


class TextModel(nn.Module):
  """Predicts the next character.

  Attributes:
    characters: how many characters there are.
    features: size of the embedding and of each LSTM's state.
    layers: how many LSTMs stand on each other.
  """

  characters: int = 128
  features: int = 512
  layers: int = 2

  @nn.compact
  def __call__(self, text: jax.Array) -> jax.Array:
    """Maps characters `[batch, time]` to logits `[batch, time, characters]`."""
    x = nn.Embed(self.characters, self.features)(text)
    for _ in range(self.layers):
      x = LSTM(self.features)(x)
    return nn.Dense(self.characters)(x)
