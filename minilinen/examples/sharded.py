"""A transformer over a mesh of devices: batches split over "data", wide axes over "model", by names alone.

The model names its axes; `RULES` say on which axis of the mesh each lies; `nn.logical_to_mesh_sharding` makes of both
where every parameter goes, before there is any. `jax.jit` then makes each parameter on the devices that hold it, so
that no device ever holds the whole model, and XLA's partitioner adds what the devices must tell each other.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m minilinen.examples.sharded
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import minilinen as nn

RULES = (
  ("batch", "data"),
  ("vocab", "model"),
  ("mlp", "model"),
  ("heads", "model"),
  ("embed", None),
  ("kv", None),
  ("length", None),
)
LOGICAL = nn.with_logical_partitioning


class Block(nn.Module):
  """Attention and a two-layer network, as the body of a scan: activations [batch, length, width]."""

  heads: int
  hidden: int

  @nn.compact
  def __call__(self, x: Any, _: Any = None) -> Any:
    width = x.shape[-1]
    init = nn.initializers.lecun_normal()
    names = ("batch", "length", "embed")
    y = nn.LayerNorm(scale_init=LOGICAL(nn.initializers.ones, ("embed",)), use_bias=False)(x)
    attend = nn.MultiHeadDotProductAttention(
      self.heads,
      kernel_init=LOGICAL(init, ("embed", "heads", "kv")),
      out_kernel_init=LOGICAL(init, ("heads", "kv", "embed")),
      use_bias=False,
    )
    x = nn.with_logical_constraint(x + attend(y, mask=nn.make_causal_mask(jnp.ones(x.shape[:2]))), names)
    y = nn.LayerNorm(scale_init=LOGICAL(nn.initializers.ones, ("embed",)), use_bias=False)(x)
    y = nn.relu(nn.Dense(self.hidden, use_bias=False, kernel_init=LOGICAL(init, ("embed", "mlp")))(y))
    y = nn.with_logical_constraint(y, ("batch", "length", "mlp"))
    y = nn.Dense(width, use_bias=False, kernel_init=LOGICAL(init, ("mlp", "embed")))(y)
    return nn.with_logical_constraint(x + y, names), None


class Transformer(nn.Module):
  """A decoder-only language model: tokens [batch, length] to logits [batch, length, vocab]."""

  vocab: int = 256
  width: int = 64
  heads: int = 4
  hidden: int = 256
  layers: int = 4

  @nn.compact
  def __call__(self, tokens: Any) -> Any:
    table = LOGICAL(nn.initializers.normal(0.02), ("vocab", "embed"))
    x = nn.Embed(self.vocab, self.width, embedding_init=table, name="embed")(tokens)
    stack = nn.scan(
      Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.layers,
      metadata_params={nn.PARTITION_NAME: None},
    )  # fmt: skip
    x, _ = stack(self.heads, self.hidden, name="blocks")(x, None)
    head = LOGICAL(nn.initializers.lecun_normal(), ("embed", "vocab"))
    return nn.Dense(self.vocab, use_bias=False, kernel_init=head, name="head")(x)


def shardings(model: nn.Module, tokens: Any, mesh: jax.sharding.Mesh) -> Any:
  """Where every variable of a model lies on a mesh, found on shapes alone."""
  shapes = jax.eval_shape(model.init, jax.random.key(0), tokens)
  return nn.logical_to_mesh_sharding(nn.get_partition_spec(shapes), mesh, RULES)


def loss(model: nn.Module, variables: Any, tokens: Any) -> Any:
  """Mean cross-entropy of each next token, in nats."""
  logits = nn.log_softmax(model.apply(variables, tokens[:, :-1]))
  return -jnp.take_along_axis(logits, tokens[:, 1:, None], axis=-1).mean()


def train(
  model: nn.Module, mesh: jax.sharding.Mesh, tokens: Any, steps: int, rate: float = 0.1
) -> tuple[Any, list[float]]:
  """Gradient descent on one batch.

  Args:
    model: the model.
    mesh: a mesh with the axes "data" and "model".
    tokens: [batch, length], whole on one device.
    steps: number of steps.
    rate: step size.

  Returns:
    The first variables, and the loss before each step.
  """
  places = shardings(model, tokens, mesh)
  batch = jax.device_put(tokens, nn.logical_to_mesh_sharding(jax.P("batch", "length"), mesh, RULES))
  with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
    first = variables = jax.jit(model.init, out_shardings=places)(jax.random.key(0), batch)

    @jax.jit
    def step(variables: Any, batch: Any) -> Any:
      value, grads = jax.value_and_grad(lambda v: loss(model, v, batch))(variables)
      return value, jax.tree.map(lambda p, g: p - rate * g, variables, grads)

    losses = []
    for _ in range(steps):
      value, variables = step(variables, batch)
      losses.append(float(value))
  return first, losses


def mesh_of(data: int, model: int) -> jax.sharding.Mesh:
  """A mesh whose sharding XLA works out by itself.

  Raises:
    ValueError: if there are too few devices.
  """
  if jax.device_count() < data * model:
    raise ValueError(
      f"a mesh of {data} by {model} needs {data * model} devices, and there are {jax.device_count()}: simulate them"
      f" with XLA_FLAGS=--xla_force_host_platform_device_count={data * model}"
    )
  kinds = (jax.sharding.AxisType.Auto, jax.sharding.AxisType.Auto)
  return jax.make_mesh(
    (data, model), ("data", "model"), axis_types=kinds, devices=jax.devices()[: data * model]
  )


def main() -> None:
  """Trains on 8 devices and on one, and shows where the parameters lie."""
  import viz

  model = Transformer()
  tokens = jax.random.randint(jax.random.key(1), (8, 17), 0, model.vocab)
  variables, losses = train(model, mesh_of(2, 4), tokens, steps=3)
  print(viz.tree(variables))
  print("loss on 8 devices:", *(f"{value:.6f}" for value in losses))
  print("loss on 1 device: ", *(f"{value:.6f}" for value in train(model, mesh_of(1, 1), tokens, steps=3)[1]))


if __name__ == "__main__":
  main()
