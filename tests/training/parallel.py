"""Training over eight devices, data and model split, in one process or in several: a program of its own.

    python parallel.py OUT [PROCESS OF COORDINATOR]

XLA_FLAGS says how many of the eight devices each process has. What comes out: of each process the losses, the tree and
the trace as text, and from the first the parameters, put together.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import jax
import numpy as np
import optax
import orbax.checkpoint
from flax.training.train_state import TrainState
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import minilinen as nn
import viz
from minilinen.examples.digits import load_digits

NAMED = nn.with_logical_partitioning
RULES = (("batch", "data"), ("hidden", "model"), ("in", None), ("out", None))


class MLP(nn.Module):
  """Images to logits, the hidden axis split over the axis "model"."""

  @nn.compact
  def __call__(self, x: Any) -> Any:
    x = x.reshape(x.shape[0], -1)
    init = nn.initializers.lecun_normal()
    x = nn.Dense(
      64, kernel_init=NAMED(init, ("in", "hidden")), bias_init=NAMED(nn.initializers.zeros, ("hidden",))
    )(x)
    x = nn.with_logical_constraint(nn.relu(x), ("batch", "hidden"))
    x = nn.Dropout(0.1, deterministic=False)(x)
    return nn.Dense(10, kernel_init=NAMED(init, ("hidden", "out")))(x)


def main(out: str, process: str = "0", count: str = "1", coordinator: str = "") -> None:
  """Trains, and writes what came out."""
  if coordinator:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(coordinator, int(count), int(process))
  assert jax.device_count() == 8 and jax.process_count() == int(count)
  mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))
  digits = load_digits()
  tx, rngs = optax.adam(1e-2), {"params": jax.random.key(0), "dropout": jax.random.key(1)}

  def created(images: Any) -> TrainState:
    model = MLP()
    return TrainState.create(apply_fn=model.apply, params=model.init(rngs, images)["params"], tx=tx)

  def step(state: TrainState, x: Any, y: Any) -> Any:
    def loss_of(params: Any) -> Any:
      logits = state.apply_fn(
        {"params": params}, x, rngs={"dropout": jax.random.fold_in(jax.random.key(7), state.step)}
      )
      return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    loss, grads = jax.value_and_grad(loss_of)(state.params)
    return state.apply_gradients(grads=grads), loss

  split = NamedSharding(mesh, PartitionSpec("data"))
  with mesh, nn.logical_axis_rules(RULES), nn.record() as trace:
    shapes = jax.eval_shape(created, digits.train_images[:1])
    places = nn.logical_to_mesh_sharding(nn.get_partition_spec(shapes), mesh, RULES)
    state = jax.jit(created, out_shardings=places)(digits.train_images[:1])
    step = jax.jit(step, in_shardings=(places, split, split), out_shardings=(places, None))
    losses = []
    for n in range(6):
      batch = (a[n * 32 : (n + 1) * 32] for a in (digits.train_images, digits.train_labels))
      state, loss = step(state, *(jax.make_array_from_callback(a.shape, split, a.__getitem__) for a in batch))
      losses.append(float(loss))
      if n == 2:
        state = again(state, f"{out}.checkpoint")
  params = multihost_utils.process_allgather(nn.unbox(state.params), tiled=True)
  seen = {
    "tree": str(viz.tree(state.params)),
    "trace": str(viz.tree(trace)),
    "table": str(viz.tabulate(trace)),
    "losses": losses,
  }
  with open(f"{out}.{jax.process_index()}.json", "w") as file:
    json.dump(seen, file)
  if jax.process_index() == 0:
    np.savez(f"{out}.npz", *jax.tree.leaves(params))


def again(state: Any, folder: str) -> Any:
  """The state from a checkpoint that all processes wrote together."""
  arrays = jax.tree.leaves(nn.unbox(state))
  with orbax.checkpoint.StandardCheckpointer() as checkpointer:
    checkpointer.save(folder, dict(enumerate(arrays)))
    checkpointer.wait_until_finished()
    wanted = {n: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding) for n, a in enumerate(arrays)}
    back = checkpointer.restore(folder, wanted)
  assert all(a.sharding == b.sharding for a, b in zip(arrays, back.values()))
  return jax.tree.unflatten(jax.tree.structure(state), [back[n] for n in range(len(arrays))])


if __name__ == "__main__":
  main(*sys.argv[1:])
