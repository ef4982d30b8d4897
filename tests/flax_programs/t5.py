"""Layers in T5's manner: axis names beside the parameters, gated MLPs and RMS norms, layers in a scan with axes."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

import minilinen as nn
from minilinen import partitioning as nn_partitioning
from minilinen.linear import default_kernel_init
from minilinen.partitioning import param_with_axes, with_sharding_constraint

RULES = (("batch", "data"), ("embed", None), ("mlp", "model"), ("vocab", "model"), ("layers", None))


class T5Norm(nn.Module):
  """Scale only."""

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x):
    x = jnp.asarray(x, jnp.float32)
    y = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)
    scale = param_with_axes("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32, axes=("embed",))
    return jnp.asarray(y * scale, self.dtype)


class DenseWithAxes(nn.Module):
  """A dense layer whose kernel knows what its axes are."""

  features: int
  kernel_axes: tuple[str, ...] = ()

  @nn.compact
  def __call__(self, x):
    shape = (x.shape[-1], self.features)
    kernel = param_with_axes("kernel", default_kernel_init, shape, jnp.float32, axes=self.kernel_axes)
    return x @ kernel


class Layer(nn.Module):
  """A gated MLP around a skip, and a running mean of its output."""

  mlp_dim: int

  @nn.compact
  def __call__(self, x):
    y = T5Norm(name="pre_norm")(x)
    gate = nn.gelu(DenseWithAxes(self.mlp_dim, ("embed", "mlp"), name="wi_0")(y))
    y = gate * DenseWithAxes(self.mlp_dim, ("embed", "mlp"), name="wi_1")(y)
    y = with_sharding_constraint(y, ("batch", "mlp"))
    y = nn.Dropout(0.1)(y, deterministic=not self.has_rng("dropout"))
    x = x + DenseWithAxes(x.shape[-1], ("mlp", "embed"), name="wo")(y)
    mean = nn_partitioning.variable_with_axes("stats", "mean", jnp.zeros, (x.shape[-1],), axes=("embed",))
    if self.is_mutable_collection("stats"):
      mean.value = 0.9 * mean.value + 0.1 * x.mean(0)
    return x, None


class Model(nn.Module):
  """Tokens to logits, through scanned layers."""

  layers: int = 2

  @nn.compact
  def __call__(self, tokens):
    table = param_with_axes(
      "table", nn.initializers.normal(1.0), (10, 4), jnp.float32, axes=("vocab", "embed")
    )
    layer = nn_partitioning.remat(Layer, prevent_cse=False)
    scanned = nn_partitioning.scan_with_axes(
      layer,
      variable_axes={"params": 0, "stats": 0},
      split_rngs={"params": True, "dropout": True},
      axis_name="layers",
      axes_collections=("params", "stats"),
      length=self.layers,
    )
    x, _ = scanned(mlp_dim=6, name="layers")(table[tokens])
    return T5Norm(name="norm")(x) @ table.T


def run():
  key = jax.random.key(0)
  tokens = jnp.array([1, 4, 2, 9])
  model = Model()
  with nn_partitioning.axis_rules(RULES):
    variables = model.init(key, tokens)
    params, stats = variables["params"], variables["stats"]
    names = nn_partitioning.get_axis_names(variables["params_axes"])
    mesh_axes = jax.tree.map(str, nn_partitioning.logical_to_mesh(names))
    tx = optax.adafactor(1e-2)
    state = tx.init(params)

    @jax.jit
    def step(params, stats, state, rng):
      def loss_fn(params):
        logits, new = model.apply(
          {"params": params, "stats": stats}, tokens, rngs={"dropout": rng}, mutable=["stats"]
        )
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens).mean(), new["stats"]

      (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
      updates, state = tx.update(grads, state, params)
      return optax.apply_updates(params, updates), stats, state, loss

    losses = []
    for i in range(2):
      params, stats, state, loss = step(params, stats, state, jax.random.fold_in(key, i))
      losses.append(loss)
  return {
    "params": params,
    "stats": stats,
    "losses": losses,
    "names": jax.tree.map(str, names),
    "mesh": mesh_axes,
    "out": model.apply({"params": params, "stats": stats}, tokens),
  }
