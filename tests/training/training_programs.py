"""Training as people do it, one program for each way, on the handwritten digits: what its loss does, and what is left.

`test_curves` runs each on minilinen and, with `nn` exchanged, on Flax.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
from flax.training.train_state import TrainState

import minilinen as nn
from minilinen.examples.digits import load_digits

DIGITS = load_digits()
SIZE, STEPS = 32, 6


def batches(steps: int = STEPS, start: int = 0) -> Iterator[tuple[Any, Any]]:
  """So many batches, from the `start`-th on."""
  for n in range(start, start + steps):
    at = slice(n * SIZE, (n + 1) * SIZE)
    yield DIGITS.train_images[at], DIGITS.train_labels[at]


class MLP(nn.Module):
  """Images to logits, with dropout and batch statistics if they are wanted."""

  dropout: float = 0.0
  norm: bool = False
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Any, train: bool = True) -> Any:
    x = x.reshape(x.shape[0], -1)
    x = nn.Dense(32, dtype=self.dtype)(x)
    if self.norm:
      x = nn.BatchNorm(use_running_average=not train, momentum=0.9, dtype=self.dtype)(x)
    x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
    return nn.Dense(10, dtype=self.dtype)(x)


def cross_entropy(logits: Any, labels: Any) -> Any:
  """The mean over a batch."""
  return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels).mean()


def created(model: Any, tx: Any) -> tuple[TrainState, Any]:
  """A state of training, and the variables that are no parameters."""
  variables = model.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, DIGITS.train_images[:1])
  rest = {name: tree for name, tree in variables.items() if name != "params"}
  return TrainState.create(apply_fn=model.apply, params=variables["params"], tx=tx), rest


def trained(step: Callable[..., Any], state: Any, *more: Any) -> Any:
  """What the losses are, and what is left after all batches."""
  losses = []
  for n, (x, y) in enumerate(batches()):
    state, loss = step(state, x, y, *(make(n) for make in more))
    losses.append(loss)
  return losses, state


def train_state() -> Any:
  """optax and `TrainState`."""
  state, _ = created(MLP(), optax.adamw(1e-2, weight_decay=1e-3))

  @jax.jit
  def step(state: TrainState, x: Any, y: Any) -> Any:
    loss, grads = jax.value_and_grad(lambda p: cross_entropy(state.apply_fn({"params": p}, x), y))(
      state.params
    )
    return state.apply_gradients(grads=grads), loss

  losses, state = trained(step, state)
  return losses, state.params, state.opt_state


def batch_statistics() -> Any:
  """Statistics of batches come back through `has_aux`, and are used at the end."""
  model = MLP(norm=True)
  state, rest = created(model, optax.sgd(0.1, momentum=0.9))

  @jax.jit
  def step(both: Any, x: Any, y: Any) -> Any:
    state, stats = both

    def loss_of(params: Any) -> Any:
      logits, changed = state.apply_fn({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])
      return cross_entropy(logits, y), changed["batch_stats"]

    (loss, stats), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    return (state.apply_gradients(grads=grads), stats), loss

  losses, (state, stats) = trained(step, (state, rest["batch_stats"]))
  logits = model.apply({"params": state.params, "batch_stats": stats}, DIGITS.test_images[:50], train=False)
  return losses, state.params, stats, logits


def dropout_by_step() -> Any:
  """Each step has a dropout key of its own."""
  state, _ = created(MLP(dropout=0.2), optax.adam(1e-2))

  @jax.jit
  def step(state: TrainState, x: Any, y: Any) -> Any:
    rngs = {"dropout": jax.random.fold_in(jax.random.key(7), state.step)}
    loss, grads = jax.value_and_grad(lambda p: cross_entropy(state.apply_fn({"params": p}, x, rngs=rngs), y))(
      state.params
    )
    return state.apply_gradients(grads=grads), loss

  losses, state = trained(step, state)
  return losses, state.params


def accumulated_gradients() -> Any:
  """Gradients of four parts of a batch are added up in a scan; the other way, optax waits for two batches."""
  state, _ = created(MLP(), optax.MultiSteps(optax.adam(1e-2), 2))

  @jax.jit
  def step(state: TrainState, x: Any, y: Any) -> Any:
    parts = jax.tree.map(lambda a: a.reshape(4, -1, *a.shape[1:]), (x, y))

    def add(total: Any, part: Any) -> Any:
      found = jax.value_and_grad(lambda p: cross_entropy(state.apply_fn({"params": p}, part[0]), part[1]))(
        state.params
      )
      return jax.tree.map(jnp.add, total, found), None

    zero = jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.params)
    (loss, grads), _ = jax.lax.scan(add, zero, parts)
    return state.apply_gradients(grads=jax.tree.map(lambda g: g / 4, grads)), loss / 4

  losses, state = trained(step, state)
  return losses, state.params, state.opt_state


def mixed_precision() -> Any:
  """Half precision with a scale of the loss that halves where gradients overflow, and then the step is left out."""
  state, _ = created(MLP(dtype=jnp.float16), optax.sgd(0.1))

  @jax.jit
  def step(both: Any, x: Any, y: Any) -> Any:
    state, scale = both

    def loss_of(params: Any) -> Any:
      return cross_entropy(state.apply_fn({"params": params}, x), y) * scale

    loss, grads = jax.value_and_grad(loss_of)(state.params)
    grads = jax.tree.map(lambda g: g / scale, grads)
    fine = jnp.all(jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]))
    new = state.apply_gradients(grads=grads)
    state = jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, state)
    return (state, jnp.where(fine, scale * 2, scale / 2)), loss / scale

  losses, (state, scale) = trained(step, (state, jnp.float32(2.0**20)))
  return losses, state.params, scale


class Block(nn.Module):
  """A layer that is added to its input, as the body of a scan."""

  @nn.compact
  def __call__(self, x: Any, _: Any) -> Any:
    y = nn.Dropout(0.1, deterministic=False)(nn.relu(nn.Dense(32)(nn.LayerNorm()(x))))
    return x + nn.Dense(x.shape[-1])(y), None


class Deep(nn.Module):
  """Many blocks in one scan, each computed again in the backward pass."""

  @nn.compact
  def __call__(self, x: Any) -> Any:
    x = nn.Dense(16)(x.reshape(x.shape[0], -1))
    blocks = nn.scan(
      nn.remat(Block, prevent_cse=False),
      variable_axes={"params": 0},
      split_rngs={"params": True, "dropout": True},
      length=4,
    )
    return nn.Dense(10)(blocks(name="blocks")(x, None)[0])


def scanned_and_rematerialised() -> Any:
  """`nn.scan` over layers with `nn.remat`."""
  state, _ = created(Deep(), optax.adam(1e-2))

  @jax.jit
  def step(state: TrainState, x: Any, y: Any) -> Any:
    rngs = {"dropout": jax.random.fold_in(jax.random.key(7), state.step)}
    loss, grads = jax.value_and_grad(lambda p: cross_entropy(state.apply_fn({"params": p}, x, rngs=rngs), y))(
      state.params
    )
    return state.apply_gradients(grads=grads), loss

  losses, state = trained(step, state)
  return losses, state.params


def exponential_average() -> Any:
  """A moving average of the parameters goes along, and is what answers in the end."""
  model = MLP()
  state, _ = created(model, optax.adam(1e-2))

  @jax.jit
  def step(both: Any, x: Any, y: Any) -> Any:
    state, average = both
    loss, grads = jax.value_and_grad(lambda p: cross_entropy(state.apply_fn({"params": p}, x), y))(
      state.params
    )
    state = state.apply_gradients(grads=grads)
    return (state, optax.incremental_update(state.params, average, 0.1)), loss

  losses, (state, average) = trained(step, (state, state.params))
  return losses, state.params, average, model.apply({"params": average}, DIGITS.test_images[:50])


class Generator(nn.Module):
  """Noise to images."""

  @nn.compact
  def __call__(self, z: Any) -> Any:
    x = nn.relu(nn.BatchNorm(use_running_average=False)(nn.Dense(64)(z)))
    x = nn.ConvTranspose(8, (3, 3), strides=(2, 2))(x.reshape(-1, 4, 4, 4))
    return nn.sigmoid(nn.Conv(1, (3, 3))(nn.relu(x)))


class Discriminator(nn.Module):
  """Images to how real they are."""

  @nn.compact
  def __call__(self, x: Any) -> Any:
    x = nn.leaky_relu(nn.SpectralNorm(nn.Conv(8, (3, 3), strides=2))(x, update_stats=True))
    return nn.Dense(1)(x.reshape(x.shape[0], -1))[:, 0]


def gan() -> Any:
  """A generator and a discriminator, each with an optimizer of its own."""
  z = jax.random.normal(jax.random.key(3), (SIZE, 16))
  made, judged = Generator(), Discriminator()
  ours = made.init(jax.random.key(0), z)
  theirs = judged.init(jax.random.key(1), DIGITS.train_images[:1])
  tx = optax.adam(1e-3), optax.sgd(1e-2)
  states = (ours, tx[0].init(ours["params"])), (theirs, tx[1].init(theirs["params"]))

  def generated(params: Any, ours: Any) -> Any:
    return made.apply({**ours, "params": params}, z, mutable=["batch_stats"])

  def judge(params: Any, theirs: Any, images: Any) -> Any:
    return judged.apply({**theirs, "params": params}, images, mutable=["batch_stats"])

  def updated(which: int, grads: Any, variables: Any, memory: Any, changed: Any) -> Any:
    moves, memory = tx[which].update(grads, memory, variables["params"])
    return {**variables, **changed, "params": optax.apply_updates(variables["params"], moves)}, memory

  @jax.jit
  def step(states: Any, x: Any, y: Any) -> Any:
    (ours, our_memory), (theirs, their_memory) = states

    def our_loss(params: Any) -> Any:
      images, changed = generated(params, ours)
      return -nn.log_sigmoid(judge(theirs["params"], theirs, images)[0]).mean(), (images, changed)

    def their_loss(params: Any, images: Any) -> Any:
      real, changed = judge(params, theirs, x)
      fake, _ = judge(params, theirs, images)
      return -(nn.log_sigmoid(real) + nn.log_sigmoid(-fake)).mean(), changed

    (loss, (images, changed)), grads = jax.value_and_grad(our_loss, has_aux=True)(ours["params"])
    new = updated(0, grads, ours, our_memory, changed)
    (other, changed), grads = jax.value_and_grad(their_loss, has_aux=True)(theirs["params"], images)
    return (new, updated(1, grads, theirs, their_memory, changed)), jnp.stack([loss, other])

  losses, states = trained(step, states)
  return losses, states


def restored() -> Any:
  """Saved with orbax in the middle and gone on with in a new state: the curve is the same as without."""
  state, _ = created(MLP(dropout=0.2), optax.adam(1e-2))

  @jax.jit
  def step(state: TrainState, x: Any, y: Any) -> Any:
    rngs = {"dropout": jax.random.fold_in(jax.random.key(7), state.step)}
    loss, grads = jax.value_and_grad(lambda p: cross_entropy(state.apply_fn({"params": p}, x, rngs=rngs), y))(
      state.params
    )
    return state.apply_gradients(grads=grads), loss

  through, _ = trained(step, state)
  losses = []
  for x, y in batches(3):
    state, loss = step(state, x, y)
    losses.append(loss)
  with tempfile.TemporaryDirectory() as folder, orbax.checkpoint.StandardCheckpointer() as checkpointer:
    checkpointer.save(f"{folder}/state", state)
    checkpointer.wait_until_finished()
    fresh = created(MLP(dropout=0.2), optax.adam(1e-2))[0]
    state = checkpointer.restore(f"{folder}/state", fresh)
  for x, y in batches(3, start=3):
    state, loss = step(state, x, y)
    losses.append(loss)
  assert np.array_equal(losses, through)
  return losses, state.params, state.opt_state


def donated_buffers() -> Any:
  """The old state's memory is given to the new one."""
  state, _ = created(MLP(), optax.adam(1e-2))
  state = jax.tree.map(jnp.array, state)

  @functools.partial(jax.jit, donate_argnums=0)
  def step(state: TrainState, x: Any, y: Any) -> Any:
    loss, grads = jax.value_and_grad(lambda p: cross_entropy(state.apply_fn({"params": p}, x), y))(
      state.params
    )
    return state.apply_gradients(grads=grads), loss

  first = state.params["Dense_0"]["kernel"]
  losses, state = trained(step, state)
  return losses, state.params, first.is_deleted()


PROGRAMS = [
  train_state, batch_statistics, dropout_by_step, accumulated_gradients, mixed_precision, scanned_and_rematerialised,
  exponential_average, gan, restored, donated_buffers,
]  # fmt: skip
