"""ResNet-50 as it is written in Linen: a network for 224 by 224 images that is mostly equal blocks.

The demo tabulates it and the benchmarks trace it: with its 124 modules it is what a model of ordinary size looks like.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import minilinen as nn

Layer = Callable[..., Any]


class Bottleneck(nn.Module):
  """A residual block: a narrow 3 by 3 convolution between two of 1 by 1 (He et al. 2015, figure 5, right).

  The stride sits on the 3 by 3 convolution, which is the variant known as v1.5.
  """

  width: int
  stride: int
  conv: Layer
  norm: Layer

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps `[batch, height, width, channels]` to `[batch, height / stride, width / stride, 4 * self.width]`."""
    y = nn.relu(self.norm()(self.conv(self.width, (1, 1))(x)))
    y = nn.relu(self.norm()(self.conv(self.width, (3, 3), self.stride)(y)))
    y = self.norm(scale_init=nn.initializers.zeros)(self.conv(4 * self.width, (1, 1))(y))
    if x.shape != y.shape:
      x = self.conv(4 * self.width, (1, 1), self.stride, name="shortcut")(x)
      x = self.norm(name="shortcut_norm")(x)
    return nn.relu(x + y)


class ResNet(nn.Module):
  """A residual network: a stem, four stages of blocks, and a classifier.

  Attributes:
    blocks: how many blocks each stage has; `(3, 4, 6, 3)` is ResNet-50.
    classes: how many numbers come out for an image.
    width: channels after the stem.
    dtype: what it is computed in.
  """

  blocks: tuple[int, ...] = (3, 4, 6, 3)
  classes: int = 1000
  width: int = 64
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
    """Maps images `[batch, height, width, 3]` to logits `[batch, classes]`."""
    conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype)
    norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
    x = conv(self.width, (7, 7), 2, name="stem")(x)
    x = nn.relu(norm(name="stem_norm")(x))
    x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
    for stage, count in enumerate(self.blocks):
      for block in range(count):
        stride = 2 if stage > 0 and block == 0 else 1
        x = Bottleneck(self.width * 2**stage, stride, conv, norm)(x)
    x = jnp.mean(x, axis=(1, 2))
    return nn.Dense(self.classes, dtype=self.dtype, name="head")(x)
