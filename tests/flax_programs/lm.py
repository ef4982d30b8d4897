"""A language model as one trains it on many chips: logical axes, scanned and rematted layers, a cache to write with."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import minilinen as nn

RULES = (("batch", "data"), ("vocab", None), ("embed", None), ("mlp", None), ("heads", None), ("kv", None))


KERNEL_INIT, BIAS_INIT = nn.initializers.xavier_uniform(), nn.initializers.normal(stddev=1e-6)


@dataclass(frozen=True)
class TransformerConfig:
  """The settings, one object for all modules."""

  vocab_size: int = 16
  emb_dim: int = 8
  num_heads: int = 2
  num_layers: int = 2
  mlp_dim: int = 12
  max_len: int = 8
  dropout_rate: float = 0.1
  deterministic: bool = False
  decode: bool = False
  logits_via_embedding: bool = False
  dtype: Any = jnp.float32
  kernel_init: Callable[..., Any] = KERNEL_INIT
  bias_init: Callable[..., Any] = BIAS_INIT


def sinusoidal_init(max_len):
  def init(key, shape, dtype=np.float32):
    position = np.arange(max_len)[:, np.newaxis]
    div_term = np.exp(np.arange(0, shape[-1], 2) * -(np.log(10000.0) / shape[-1]))
    pe = np.zeros((max_len, shape[-1]), dtype=np.float32)
    pe[:, 0::2], pe[:, 1::2] = np.sin(position * div_term), np.cos(position * div_term)
    return jnp.array(pe[None])

  return init


class AddPositionEmbs(nn.Module):
  """Positions, counted in a cache when one token comes at a time."""

  config: TransformerConfig

  @nn.compact
  def __call__(self, inputs):
    cfg = self.config
    pos_embedding = sinusoidal_init(cfg.max_len)(None, (1, cfg.max_len, inputs.shape[-1]))
    pe = pos_embedding[:, : inputs.shape[1], :]
    if cfg.decode:
      is_initialized = self.has_variable("cache", "cache_index")
      cache_index = self.variable("cache", "cache_index", lambda: jnp.array(0, dtype=jnp.uint32))
      if is_initialized:
        i = cache_index.value
        cache_index.value = i + 1
        pe = jax.lax.dynamic_slice(pos_embedding, jnp.array((0, i, 0)), (1, 1, pos_embedding.shape[-1]))
    return inputs + pe


class MlpBlock(nn.Module):
  """Two dense layers, with the names of their axes."""

  config: TransformerConfig

  @nn.compact
  def __call__(self, inputs):
    cfg = self.config

    def dense(features, names):
      return nn.Dense(
        features,
        dtype=cfg.dtype,
        kernel_init=nn.with_logical_partitioning(cfg.kernel_init, names),
        bias_init=nn.with_logical_partitioning(cfg.bias_init, names[1:]),
      )

    x = dense(cfg.mlp_dim, ("embed", "mlp"))(inputs)
    x = nn.relu(x)
    x = nn.with_logical_constraint(x, ("batch", None, "mlp"))
    x = nn.Dropout(rate=cfg.dropout_rate)(x, deterministic=cfg.deterministic)
    return dense(inputs.shape[-1], ("mlp", "embed"))(x)


class DecoderBlock(nn.Module):
  """Attention and MLP, each around a skip."""

  config: TransformerConfig

  @nn.compact
  def __call__(self, inputs, mask):
    cfg = self.config
    x = nn.LayerNorm(
      dtype=cfg.dtype, scale_init=nn.with_logical_partitioning(nn.initializers.ones, ("embed",))
    )(inputs)
    x = nn.MultiHeadDotProductAttention(
      num_heads=cfg.num_heads,
      dtype=cfg.dtype,
      qkv_features=cfg.emb_dim,
      kernel_init=nn.with_logical_partitioning(cfg.kernel_init, ("embed", "heads", "kv")),
      out_kernel_init=nn.with_logical_partitioning(cfg.kernel_init, ("heads", "kv", "embed")),
      bias_init=cfg.bias_init,
      use_bias=False,
      broadcast_dropout=False,
      dropout_rate=cfg.dropout_rate,
      deterministic=cfg.deterministic,
      decode=cfg.decode,
    )(x, mask=mask)
    x = nn.Dropout(rate=cfg.dropout_rate)(x, deterministic=cfg.deterministic)
    x = x + inputs
    z = nn.LayerNorm(dtype=cfg.dtype)(x)
    return x + MlpBlock(config=cfg)(z), None


class TransformerLM(nn.Module):
  """Tokens to logits."""

  config: TransformerConfig

  @nn.compact
  def __call__(self, inputs):
    cfg = self.config
    y = inputs.astype("int32")
    if not cfg.decode:
      y = jnp.pad(y, ((0, 0), (1, 0)))[:, :-1]
    embed = nn.Embed(
      num_embeddings=cfg.vocab_size,
      features=cfg.emb_dim,
      embedding_init=nn.with_logical_partitioning(nn.initializers.normal(stddev=1.0), ("vocab", "embed")),
    )
    y = AddPositionEmbs(config=cfg, name="posembed_output")(embed(y))
    y = nn.Dropout(rate=cfg.dropout_rate)(y, deterministic=cfg.deterministic)
    mask = None if cfg.decode else nn.make_causal_mask(inputs)
    block = nn.remat(DecoderBlock, prevent_cse=False, policy=jax.checkpoint_policies.checkpoint_dots)
    layers = nn.scan(
      block,
      variable_axes={"params": 0, "cache": 0},
      split_rngs={"params": True, "dropout": True},
      in_axes=nn.broadcast,
      length=cfg.num_layers,
      metadata_params={nn.PARTITION_NAME: "layers"},
    )
    y, _ = layers(cfg, name="layers")(y, mask)
    y = nn.LayerNorm(dtype=cfg.dtype, name="encoderdecoder_norm")(y)
    if cfg.logits_via_embedding:
      return embed.attend(y) / jnp.sqrt(y.shape[-1])
    return nn.Dense(
      cfg.vocab_size, kernel_init=nn.with_logical_partitioning(cfg.kernel_init, ("embed", "vocab"))
    )(y)


def train(cfg, tokens):
  model = TransformerLM(cfg)
  key = jax.random.key(0)
  variables = model.init({"params": key, "dropout": key}, tokens)
  specs = nn.get_partition_spec(variables)
  params = nn.unbox(variables)["params"]
  tx = optax.adamw(1e-2, b2=0.98, weight_decay=0.1)
  state = tx.init(params)

  @jax.jit
  def step(params, state, rng):
    def loss_fn(params):
      logits = model.apply({"params": params}, tokens, rngs={"dropout": rng})
      weights = jnp.where(tokens > 0, 1, 0).astype(jnp.float32)
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens)
      return (losses * weights).sum() / weights.sum()

    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss

  losses = []
  for i in range(2):
    params, state, loss = step(params, state, jax.random.fold_in(key, i))
    losses.append(loss)
  return variables, jax.tree.map(str, specs), params, losses


def write(cfg, params, prompt):
  """Some tokens, one at a time, the most likely ones."""
  model = TransformerLM(replace(cfg, deterministic=True, decode=True))
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((prompt.shape[0], cfg.max_len), jnp.int32))
  cache = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), nn.unbox(shapes)["cache"])

  def step(carry, _):
    token, cache = carry
    logits, new = model.apply({"params": params, "cache": cache}, token, mutable=["cache"])
    token = jnp.argmax(logits, -1).astype(jnp.int32)
    return (token, new["cache"]), token[:, 0]

  (_, cache), tokens = jax.lax.scan(step, (prompt, cache), None, length=4)
  return tokens.T, cache


def run():
  tokens = jax.random.randint(jax.random.key(2), (2, 8), 0, 16)
  results = {}
  for name, cfg in {
    "plain": TransformerConfig(),
    "tied": TransformerConfig(logits_via_embedding=True, dtype=jnp.bfloat16, num_layers=1),
  }.items():
    with nn.logical_axis_rules(RULES):
      variables, specs, params, losses = train(cfg, tokens)
      mesh_axes = jax.tree.map(str, nn.logical_to_mesh(nn.get_partition_spec(variables)))
    results[name] = [variables, specs, mesh_axes, params, losses, write(cfg, params, tokens[:, :1])]
  return results
