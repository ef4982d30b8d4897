"""A small convolutional network that learns real handwritten digits, trained by a jitted step.

The whole of a training program in one file: data, model, loss, optimizer, loop. It is what the demo trains and what
`nn.trace(train_step)(state, images, labels)` is shown on.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import minilinen as nn

Tree = Any


class CNN(nn.Module):
  """Two convolutions, a hidden layer and a classifier.

  Attributes:
    features: channels of the first convolution.
    classes: how many digits there are.
  """

  features: int = 32
  classes: int = 10

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Maps images `[batch, 8, 8, 1]` to logits `[batch, classes]`."""
    for scale in (1, 2):
      x = nn.Conv(self.features * scale, (3, 3), use_bias=False)(x)
      x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
      x = nn.max_pool(x, (2, 2), strides=(2, 2))
    x = x.reshape(x.shape[0], -1)
    x = nn.relu(nn.Dense(128)(x))
    x = nn.Dropout(0.3, deterministic=not train)(x)
    return nn.Dense(self.classes)(x)


class Digits(NamedTuple):
  """Images `float32[n, 8, 8, 1]` from 0 to 1 and their labels `int32[n]`, for training and for testing."""

  train_images: np.ndarray
  train_labels: np.ndarray
  test_images: np.ndarray
  test_labels: np.ndarray


def load_digits(test: int = 360, seed: int = 0) -> Digits:
  """The 1,797 digits of `digits.npz`, shuffled; `digits.md` says where they come from.

  Args:
    test: how many of them are kept for testing.
    seed: of the shuffle.
  """
  with (
    importlib.resources.files("minilinen.examples").joinpath("digits.npz").open("rb") as file,
    np.load(file) as data,
  ):
    images, labels = data["images"], data["labels"]
  order = np.random.default_rng(seed).permutation(len(labels))
  images = images[order, :, :, None].astype(np.float32) / 16
  labels = labels[order].astype(np.int32)
  return Digits(images[test:], labels[test:], images[:test], labels[:test])


class State(NamedTuple):
  """What a step of training changes.

  Attributes:
    params, batch_stats: the model's variables.
    first, second: Adam's means of the gradient and of its square.
    step: how many steps were made.
    key: the random key that every step's dropout is derived from.
  """

  params: Tree
  batch_stats: Tree
  first: Tree
  second: Tree
  step: jax.Array
  key: jax.Array


def new_state(model: CNN, key: jax.Array) -> State:
  """The state before the first step."""
  params_key, dropout_key = jax.random.split(key)
  variables = model.init(params_key, jnp.zeros((1, 8, 8, 1)))
  zeros = jax.tree.map(jnp.zeros_like, variables["params"])
  return State(
    variables["params"], variables["batch_stats"], zeros, zeros, jnp.zeros((), jnp.int32), dropout_key
  )


def adam(state: State, gradients: Tree, rate: float) -> State:
  """The state with its parameters moved against the gradients (Kingma and Ba 2015, algorithm 1)."""
  step = state.step + 1
  first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.first, gradients)
  second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, state.second, gradients)

  def moved(param: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
    return param - rate * (m / (1 - 0.9**step)) / (jnp.sqrt(v / (1 - 0.999**step)) + 1e-8)

  params = jax.tree.map(moved, state.params, first, second)
  return state._replace(params=params, first=first, second=second, step=step)


@functools.partial(jax.jit, static_argnums=0)
def train_step(model: CNN, state: State, images: jax.Array, labels: jax.Array) -> tuple[State, jax.Array]:
  """One step on a batch.

  Args:
    model: the network.
    state: what it changes.
    images: `[batch, 8, 8, 1]`.
    labels: `[batch]`.

  Returns:
    The new state and the loss before the step.
  """

  def loss_of(params: Tree) -> tuple[jax.Array, Tree]:
    logits, changed = model.apply(
      {"params": params, "batch_stats": state.batch_stats},
      images,
      train=True,
      mutable=["batch_stats"],
      rngs={"dropout": jax.random.fold_in(state.key, state.step)},
    )
    likelihoods = jnp.take_along_axis(nn.log_softmax(logits), labels[:, None], axis=1)
    return -likelihoods.mean(), changed["batch_stats"]

  (loss, batch_stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
  return adam(state, gradients, rate=2e-3)._replace(batch_stats=batch_stats), loss


@functools.partial(jax.jit, static_argnums=0)
def accuracy(model: CNN, state: State, images: jax.Array, labels: jax.Array) -> jax.Array:
  """The share of the images `[n, 8, 8, 1]` that the model reads as their labels `[n]` say."""
  logits = model.apply({"params": state.params, "batch_stats": state.batch_stats}, images)
  return (logits.argmax(axis=-1) == labels).mean()


class Epoch(NamedTuple):
  """How far training is: the epoch's number from 1, its mean loss, the accuracy on the test digits, the state."""

  number: int
  loss: float
  accuracy: float
  state: State


def train(model: CNN, digits: Digits, epochs: int = 8, batch: int = 64, seed: int = 0) -> Iterator[Epoch]:
  """Trains the model, and yields after every epoch.

  Args:
    model: the network.
    digits: what it learns and is tested on.
    epochs: how often every digit is seen.
    batch: how many are seen at a step.
    seed: of the parameters, of dropout and of the order of the digits.
  """
  state = new_state(model, jax.random.key(seed))
  order = np.random.default_rng(seed)
  for number in range(1, epochs + 1):
    losses = []
    shuffled = order.permutation(len(digits.train_labels))
    for start in range(0, len(shuffled) - batch + 1, batch):
      chosen = shuffled[start : start + batch]
      state, loss = train_step(model, state, digits.train_images[chosen], digits.train_labels[chosen])
      losses.append(loss)
    correct = accuracy(model, state, digits.test_images, digits.test_labels)
    yield Epoch(number, float(np.mean(losses)), float(correct), state)
