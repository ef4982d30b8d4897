"""Addition as text: an LSTM reads a question, another one writes the answer, taught or from its own output."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

import minilinen as nn

VOCAB, HIDDEN = 7, 8


class EncoderLSTM(nn.Module):
  """A step of the encoder, which stops at the end of the question."""

  eos_id: int
  hidden_size: int

  @nn.nowrap
  def initial_state(self, batch_size):
    cell = nn.LSTMCell(self.hidden_size, parent=None)
    return cell.initialize_carry(jax.random.PRNGKey(0), (batch_size, self.hidden_size))

  @nn.compact
  def __call__(self, carry, x):
    lstm_state, is_eos = carry
    new_lstm_state, y = nn.LSTMCell(self.hidden_size)(lstm_state, x)

    def select_carried_state(new_state, old_state):
      return jnp.where(is_eos[:, None], old_state, new_state)

    carried = tuple(select_carried_state(*s) for s in zip(new_lstm_state, lstm_state))
    is_eos = jnp.logical_or(is_eos, x[:, self.eos_id].astype(bool))
    return (carried, is_eos), y


class Encoder(nn.Module):
  """All steps of the encoder."""

  eos_id: int
  hidden_size: int

  @nn.compact
  def __call__(self, inputs):
    scan = nn.scan(
      EncoderLSTM, variable_broadcast="params", in_axes=1, out_axes=1, split_rngs={"params": False}
    )
    lstm = scan(self.eos_id, self.hidden_size, name="lstm")
    init_lstm_state = lstm.initial_state(inputs.shape[0])
    init_is_eos = jnp.zeros(inputs.shape[0], dtype=bool)
    (final_state, _), _ = lstm((init_lstm_state, init_is_eos), inputs)
    return final_state


class DecoderLSTM(nn.Module):
  """A step of the decoder."""

  teacher_force: bool
  vocab_size: int

  @nn.compact
  def __call__(self, carry, x):
    lstm_state, last_prediction = carry
    if not self.teacher_force:
      x = last_prediction
    lstm_state, y = nn.LSTMCell(features=lstm_state[0].shape[-1])(lstm_state, x)
    logits = nn.Dense(features=self.vocab_size)(y)
    categorical_rng = self.make_rng("lstm")
    predicted_token = jax.random.categorical(categorical_rng, logits)
    prediction = jax.nn.one_hot(predicted_token, self.vocab_size, dtype=jnp.float32)
    return (lstm_state, prediction), (logits, prediction)


class Seq2seq(nn.Module):
  """Encoder and decoder."""

  teacher_force: bool
  hidden_size: int
  vocab_size: int
  eos_id: int = 1

  @nn.compact
  def __call__(self, encoder_inputs: Any, decoder_inputs: Any):
    encoder = Encoder(hidden_size=self.hidden_size, eos_id=self.eos_id)
    init_state = encoder(encoder_inputs)
    scan = nn.scan(
      DecoderLSTM,
      variable_broadcast="params",
      split_rngs={"params": False, "lstm": True},
      in_axes=1,
      out_axes=1,
    )
    decoder = scan(self.teacher_force, self.vocab_size, name="decoder")
    carry = (init_state, decoder_inputs[:, 0])
    _, (logits, predictions) = decoder(carry, decoder_inputs[:, :-1])
    return logits, predictions


def run():
  key = jax.random.PRNGKey(3)
  question = nn.one_hot(jax.random.randint(key, (4, 5), 0, VOCAB), VOCAB)
  answer = nn.one_hot(jax.random.randint(jax.random.PRNGKey(4), (4, 4), 0, VOCAB), VOCAB)
  taught = Seq2seq(teacher_force=True, hidden_size=HIDDEN, vocab_size=VOCAB)
  free = Seq2seq(teacher_force=False, hidden_size=HIDDEN, vocab_size=VOCAB)
  params = taught.init({"params": key, "lstm": key}, question, answer)["params"]
  start = params
  tx = optax.adam(0.01)
  state = tx.init(params)

  @jax.jit
  def step(params, state, rng):
    def loss_fn(params):
      logits, _ = taught.apply({"params": params}, question, answer, rngs={"lstm": rng})
      return -jnp.mean(jnp.sum(nn.log_softmax(logits) * answer[:, 1:], -1))

    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, state = tx.update(grads, state)
    return optax.apply_updates(params, updates), state, loss, grads

  losses = []
  for i in range(3):
    params, state, loss, grads = step(params, state, jax.random.fold_in(key, i))
    losses.append(loss)
  said = free.apply({"params": params}, question, answer, rngs={"lstm": key})
  return {"start": start, "params": params, "losses": losses, "grads": grads, "said": said}
