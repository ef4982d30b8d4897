"""Molecules: messages along edges, gathered at nodes and over graphs, with dropout and skip connections."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

import minilinen as nn


class Graphs(NamedTuple):
  """A batch of graphs: features, and who is where."""

  nodes: jax.Array
  edges: jax.Array
  globals: jax.Array
  senders: jax.Array
  receivers: jax.Array
  node_graph: jax.Array
  edge_graph: jax.Array


class MLP(nn.Module):
  """Dense layers with dropout."""

  feature_sizes: Sequence[int]
  dropout_rate: float = 0.0
  deterministic: bool = True
  activation: Callable[[jax.Array], jax.Array] = nn.relu

  @nn.compact
  def __call__(self, inputs):
    x = inputs
    for size in self.feature_sizes:
      x = nn.Dense(features=size)(x)
      x = self.activation(x)
      x = nn.Dropout(rate=self.dropout_rate, deterministic=self.deterministic)(x)
    return x


class GraphNet(nn.Module):
  """Some steps of message passing."""

  latent_size: int
  steps: int
  dropout_rate: float = 0.1
  skip_connections: bool = True
  layer_norm: bool = True
  deterministic: bool = True

  def setup(self):
    def mlps():
      return [
        MLP([self.latent_size, self.latent_size], self.dropout_rate, self.deterministic)
        for _ in range(self.steps)
      ]

    self.embedders = {k: nn.Dense(self.latent_size) for k in ("nodes", "edges", "globals")}
    self.edge_fns, self.node_fns, self.global_fns = mlps(), mlps(), mlps()
    self.norms = [nn.LayerNorm() for _ in range(self.steps)] if self.layer_norm else None
    self.decoder = nn.Dense(2)

  def __call__(self, graphs):
    embed = self.embedders
    nodes, edges = embed["nodes"](graphs.nodes), embed["edges"](graphs.edges)
    glob, n_graphs = embed["globals"](graphs.globals), graphs.globals.shape[0]
    for i in range(self.steps):
      sent, received = nodes[graphs.senders], nodes[graphs.receivers]
      new_edges = self.edge_fns[i](jnp.concatenate([edges, sent, received, glob[graphs.edge_graph]], -1))
      messages = jax.ops.segment_sum(new_edges, graphs.receivers, nodes.shape[0])
      new_nodes = self.node_fns[i](jnp.concatenate([nodes, messages, glob[graphs.node_graph]], -1))
      pooled = [
        jax.ops.segment_sum(new_nodes, graphs.node_graph, n_graphs),
        jax.ops.segment_sum(new_edges, graphs.edge_graph, n_graphs),
      ]
      new_glob = self.global_fns[i](jnp.concatenate([glob, *pooled], -1))
      if self.skip_connections:
        new_nodes, new_edges, new_glob = new_nodes + nodes, new_edges + edges, new_glob + glob
      if self.norms is not None:
        new_nodes = self.norms[i](new_nodes)
      nodes, edges, glob = new_nodes, new_edges, new_glob
    return self.decoder(glob)


def graphs():
  keys = jax.random.split(jax.random.key(5), 5)
  return Graphs(
    nodes=jax.random.normal(keys[0], (6, 3)),
    edges=jax.random.normal(keys[1], (9, 2)),
    globals=jnp.ones((2, 1)),
    senders=jax.random.randint(keys[2], (9,), 0, 6),
    receivers=jax.random.randint(keys[3], (9,), 0, 6),
    node_graph=jnp.array([0, 0, 0, 1, 1, 1]),
    edge_graph=jnp.array([0, 0, 0, 0, 1, 1, 1, 1, 1]),
  )


def run():
  batch, labels = graphs(), jnp.array([[1.0, 0.0], [0.0, 1.0]])
  net = GraphNet(latent_size=4, steps=2)
  params = net.init(jax.random.key(0), batch)
  start = params
  train_net = net.clone(deterministic=False)
  tx = optax.adamw(1e-2)
  state = tx.init(params)

  @jax.jit
  def step(params, state, rng):
    def loss_fn(params):
      logits = train_net.apply(params, batch, rngs={"dropout": rng})
      return optax.sigmoid_binary_cross_entropy(logits, labels).mean()

    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss, grads

  losses = []
  for i in range(3):
    params, state, loss, grads = step(params, state, jax.random.fold_in(jax.random.key(1), i))
    losses.append(loss)
  return {"start": start, "params": params, "losses": losses, "grads": grads, "out": net.apply(params, batch)}
