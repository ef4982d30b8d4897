"""Translation: encoder and decoder with a shared table, packed masks, and a beam of one that writes from a cache."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

import minilinen as nn

VOCAB, DIM, LENGTH = 12, 8, 6


class Block(nn.Module):
  """A layer of either side; with `encoded` it looks at the other one."""

  deterministic: bool = False
  decode: bool = False
  dropout_rate: float = 0.1

  @nn.compact
  def __call__(self, x, mask=None, encoded=None, cross_mask=None):
    def attend(name, decode=False):
      return nn.MultiHeadDotProductAttention(
        num_heads=2, qkv_features=DIM, use_bias=False, dropout_rate=self.dropout_rate,
        deterministic=self.deterministic, decode=decode, name=name,
      )  # fmt: skip

    drop = nn.Dropout(rate=self.dropout_rate, deterministic=self.deterministic)
    y = nn.LayerNorm()(x)
    x = x + drop(attend("self", self.decode)(y, mask=mask))
    if encoded is not None:
      x = x + drop(attend("cross")(nn.LayerNorm()(x), encoded, mask=cross_mask))
    y = nn.Sequential([nn.LayerNorm(), nn.Dense(2 * DIM), nn.gelu, nn.Dense(DIM)])(x)
    return x + drop(y)


class Positions(nn.Module):
  """Learned positions."""

  decode: bool = False

  @nn.compact
  def __call__(self, x):
    table = self.param("pos_embedding", nn.initializers.normal(0.02), (1, LENGTH, DIM))
    if not self.decode:
      return x + table[:, : x.shape[1]]
    started = self.has_variable("cache", "index")
    index = self.variable("cache", "index", jnp.zeros, (), jnp.int32)
    if not started:
      return x + table[:, : x.shape[1]]
    here = jax.lax.dynamic_slice(table, (0, index.value, 0), (1, 1, DIM))
    index.value += 1
    return x + here


class Encoder(nn.Module):
  shared_embedding: nn.Module
  deterministic: bool = False

  @nn.compact
  def __call__(self, inputs, mask):
    x = Positions()(self.shared_embedding(inputs))
    for i in range(2):
      x = Block(self.deterministic, name=f"encoderblock_{i}")(x, mask)
    return nn.LayerNorm(name="encoder_norm")(x)


class Decoder(nn.Module):
  shared_embedding: nn.Module
  deterministic: bool = False
  decode: bool = False

  @nn.compact
  def __call__(self, encoded, targets, mask, cross_mask):
    x = Positions(self.decode)(self.shared_embedding(targets))
    for i in range(2):
      x = Block(self.deterministic, self.decode, name=f"decoderblock_{i}")(x, mask, encoded, cross_mask)
    x = nn.LayerNorm(name="decoder_norm")(x)
    return self.shared_embedding.attend(x) / jnp.sqrt(x.shape[-1])


class Transformer(nn.Module):
  """Both, with one table of embeddings."""

  deterministic: bool = False
  decoding: bool = False

  def setup(self):
    self.shared = nn.Embed(VOCAB, DIM, embedding_init=nn.initializers.normal(stddev=1.0))
    self.encoder = Encoder(self.shared, self.deterministic)
    self.decoder = Decoder(self.shared, self.deterministic, self.decoding)

  def encode(self, inputs):
    return self.encoder(inputs, nn.make_attention_mask(inputs > 0, inputs > 0))

  def decode(self, encoded, inputs, targets):
    cross = nn.make_attention_mask(jnp.ones_like(targets) > 0 if self.decoding else targets > 0, inputs > 0)
    mask = None
    if not self.decoding:
      shifted = jnp.pad(targets, ((0, 0), (1, 0)))[:, :-1]
      mask = nn.combine_masks(nn.make_attention_mask(targets > 0, targets > 0), nn.make_causal_mask(targets))
      targets = shifted
    return self.decoder(encoded, targets, mask, cross)

  def __call__(self, inputs, targets):
    return self.decode(self.encode(inputs), inputs, targets)


def translate(params: Any, inputs):
  model = Transformer(deterministic=True, decoding=True)
  start = jnp.ones((inputs.shape[0], LENGTH), jnp.int32)
  cache = model.init(jax.random.PRNGKey(0), inputs, start)["cache"]
  encoded = model.apply({"params": params}, inputs, method=Transformer.encode)

  def step(carry, _):
    token, cache = carry
    logits, new = model.apply(
      {"params": params, "cache": cache}, encoded, inputs, token, mutable=["cache"], method=Transformer.decode
    )
    token = jnp.argmax(logits, -1).astype(jnp.int32)
    return (token, new["cache"]), (token[:, 0], logits)

  return jax.lax.scan(step, (start[:, :1], cache), None, length=4)


def run():
  key = jax.random.PRNGKey(0)
  inputs = jax.random.randint(key, (2, 5), 0, VOCAB)
  targets = jax.random.randint(jax.random.PRNGKey(1), (2, LENGTH), 0, VOCAB)
  model = Transformer()
  variables = jax.jit(model.init)({"params": key, "dropout": key}, inputs, targets)
  params = variables["params"]
  tx = optax.adam(1e-2)
  state = tx.init(params)

  @jax.jit
  def step(params, state, rng):
    def loss_fn(params):
      logits = model.apply({"params": params}, inputs, targets, rngs={"dropout": rng})
      soft = optax.smooth_labels(nn.one_hot(targets, VOCAB), 0.1)
      return jnp.sum(optax.softmax_cross_entropy(logits, soft) * (targets > 0))

    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, state = tx.update(grads, state)
    return optax.apply_updates(params, updates), state, loss

  losses = []
  for i in range(2):
    params, state, loss = step(params, state, jax.random.fold_in(key, i))
    losses.append(loss)
  return {"variables": variables, "params": params, "losses": losses, "translated": translate(params, inputs)}
