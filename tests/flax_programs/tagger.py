"""Words and their tags: embeddings with dropped words, an LSTM in both directions, padded sentences."""

import functools

import jax
import jax.numpy as jnp
import optax

import minilinen as nn
from minilinen.core import FrozenDict, freeze


class WordDropout(nn.Module):
  """Words become unknown ones at random."""

  dropout_rate: float
  unk_idx: int
  deterministic: bool | None = None

  @nn.compact
  def __call__(self, inputs, deterministic: bool | None = None):
    deterministic = nn.module.merge_param("deterministic", self.deterministic, deterministic)
    if deterministic or self.dropout_rate == 0.0:
      return inputs
    rng = self.make_rng("dropout")
    mask = jax.random.bernoulli(rng, p=self.dropout_rate, shape=inputs.shape)
    return jnp.where(mask, jnp.array([self.unk_idx]), inputs)


class Embedder(nn.Module):
  """Word embeddings, frozen or not."""

  vocab_size: int
  embedding_size: int
  embedding_init: nn.initializers.Initializer = nn.initializers.normal(stddev=0.1)
  frozen: bool = False

  def setup(self):
    self.embedding = self.param("embedding", self.embedding_init, (self.vocab_size, self.embedding_size))
    self.dropout_layer = nn.Dropout(rate=0.2)
    self.word_dropout_layer = WordDropout(dropout_rate=0.2, unk_idx=1)

  def __call__(self, inputs, deterministic: bool | None = None):
    inputs = self.word_dropout_layer(inputs, deterministic=deterministic)
    embedded = self.embedding[inputs]
    if self.frozen:
      embedded = jax.lax.stop_gradient(embedded)
    return self.dropout_layer(embedded, deterministic=deterministic)


class Tagger(nn.Module):
  """Words to scores of tags."""

  vocab_size: int = 20
  hidden_size: int = 4
  output_size: int = 5

  def setup(self):
    self.embedder = Embedder(self.vocab_size, 6)
    rnn = functools.partial(nn.RNN, return_carry=True)
    self.encoder = nn.Bidirectional(
      rnn(nn.OptimizedLSTMCell(self.hidden_size)), rnn(nn.GRUCell(self.hidden_size)), return_carry=True
    )
    self.refine = nn.RNN(nn.SimpleCell(self.hidden_size), reverse=True, keep_order=True)
    self.output = nn.Sequential([nn.Dense(8), nn.tanh, nn.LayerNorm(), nn.Dense(self.output_size)])

  def __call__(self, inputs, lengths, deterministic=None):
    x = self.embedder(inputs, deterministic=deterministic)
    carries, x = self.encoder(x, seq_lengths=lengths)
    self.sow("intermediates", "carries", carries)
    x = x + jnp.tile(self.refine(x, seq_lengths=lengths), (1, 1, 2))
    return self.output(x)


def run():
  key = jax.random.key(0)
  words = jax.random.randint(key, (3, 6), 2, 20)
  tags = jax.random.randint(jax.random.key(1), (3, 6), 0, 5)
  lengths = jnp.array([6, 4, 1])
  mask = jnp.arange(6)[None] < lengths[:, None]
  model = Tagger()
  variables = model.init(key, words, lengths, deterministic=True)
  params = freeze(variables["params"])
  assert isinstance(params, FrozenDict)
  tx = optax.adam(1e-2)
  state = tx.init(params)

  @jax.jit
  def step(params, state, rng):
    def loss_fn(params):
      logits = model.apply({"params": params}, words, lengths, deterministic=False, rngs={"dropout": rng})
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, tags)
      return jnp.sum(losses * mask) / jnp.sum(mask)

    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, state = tx.update(grads, state)
    return optax.apply_updates(params, updates), state, loss

  losses = []
  for i in range(3):
    params, state, loss = step(params, state, jax.random.fold_in(key, i))
    losses.append(loss)
  out = model.apply({"params": params}, words, lengths, deterministic=True, mutable=["intermediates"])
  return {"variables": variables, "params": params, "losses": losses, "out": out}
