"""What a trace tells of the recurrent and the reparametrized layers: the tree, the boundary, the cost; and no alarm."""

import jax
import jax.numpy as jnp
import pytest
from oracle import KEY

import minilinen as nn
from minilinen.core import meta
from minilinen.tracing import describe

pytestmark = pytest.mark.grid

SEQ = jnp.ones((2, 5, 4))
LENGTHS = jnp.array([2, 4])
NORMAL = jax.nn.initializers.normal()


class Stateful(nn.RNNCellBase):
  """A cell with dropout that keeps what it last saw."""

  @nn.compact
  def __call__(self, h, x):
    self.variable("seen", "x", jnp.zeros_like, x).value = x
    h = nn.Dropout(0.5, deterministic=False)(nn.Dense(3)(x) + h)
    return h, h

  @nn.nowrap
  def initialize_carry(self, rng, input_shape):
    return jnp.zeros((*input_shape[:-1], 3))

  num_feature_axes = 1


class Deep(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.Bidirectional(nn.RNN(nn.GRUCell(3)), nn.RNN(nn.LSTMCell(3)))(x, seq_lengths=LENGTHS)
    x = nn.WeightNorm(nn.Dense(3))(nn.BatchApply(nn.Dense(4))(x))
    return nn.SpectralNorm(nn.Conv(2, (3,)))(x, update_stats=True)


MODELS = {
  "simple": (lambda: nn.RNN(nn.SimpleCell(3)), SEQ, {}),
  "gru": (lambda: nn.RNN(nn.GRUCell(3), reverse=True, keep_order=True), SEQ, dict(seq_lengths=LENGTHS)),
  "mgu": (lambda: nn.RNN(nn.MGUCell(3), return_carry=True), SEQ, dict(seq_lengths=LENGTHS)),
  "lstm": (lambda: nn.RNN(nn.OptimizedLSTMCell(3), time_major=True), SEQ, {}),
  "conv lstm": (lambda: nn.RNN(nn.ConvLSTMCell(3, (2, 2))), jnp.ones((2, 3, 4, 4, 2)), {}),
  "stateful": (
    lambda: nn.RNN(Stateful(), variable_axes={"seen": 0}, split_rngs={"params": False, "dropout": True}),
    SEQ,
    {},
  ),
  "both ways": (lambda: nn.Bidirectional(nn.RNN(nn.GRUCell(3)), nn.RNN(nn.GRUCell(2))), SEQ, {}),
  "weight norm": (lambda: nn.WeightNorm(nn.Dense(3)), SEQ, {}),
  "weight norm of all": (lambda: nn.WeightNorm(nn.Conv(3, (2,)), variable_filter=None), SEQ, {}),
  "spectral norm": (lambda: nn.SpectralNorm(nn.Dense(3)), SEQ, dict(update_stats=True)),
  "spectral norm at rest": (lambda: nn.SpectralNorm(nn.Dense(3)), SEQ, dict(update_stats=False)),
  "deep": (Deep, SEQ, {}),
}
every_model = pytest.mark.parametrize("name", MODELS)
STREAMS = {"params": KEY, "dropout": jax.random.fold_in(KEY, 1)}


@every_model
def test_the_tree_of_a_trace_is_that_of_init(name):
  build, x, options = MODELS[name]
  trace = nn.trace(build().init)(STREAMS, x, **options)
  made = jax.eval_shape(lambda: build().init(STREAMS, x, **options))
  assert trace.variables() == describe(meta.unbox(made))
  applied = nn.trace(build().apply)(made, x, rngs=STREAMS, mutable=True, **options)
  assert applied.variables() == describe(meta.unbox(made))


@every_model
def test_recording_changes_no_equation(name):
  build, x, options = MODELS[name]

  def text():
    return str(jax.make_jaxpr(lambda: build().init_with_output(STREAMS, x, **options))())

  plain = text()
  with nn.record():
    assert text() == plain


@every_model
def test_no_alarm(name):
  build, x, options = MODELS[name]
  variables = build().init(STREAMS, x, **options)
  assert not nn.check(build(), variables, x, rngs=STREAMS, mutable=["batch_stats", "seen"], **options)
  assert not nn.trace(build().init)(STREAMS, x, **options).check()


@every_model
def test_every_equation_has_an_owner_and_a_cost(name):
  build, x, options = MODELS[name]
  variables = jax.eval_shape(lambda: build().init(STREAMS, x, **options))
  trace = nn.trace(build().apply)(variables, x, rngs=STREAMS, mutable=True, **options)
  assert trace.cost().flops > 0
  assert not trace.check()


def test_an_rnn_costs_as_much_as_its_steps():
  def flops(length):
    x = jnp.ones((2, length, 4))
    model = nn.RNN(nn.GRUCell(3))
    variables = jax.eval_shape(lambda: model.init(KEY, x))
    return nn.trace(model.apply)(variables, x).cost().flops

  assert flops(6) - flops(4) == 2 * (flops(5) - flops(4)) > 0


def test_an_rnn_is_a_scan_in_the_trace():
  (lift,) = nn.trace(nn.RNN(nn.GRUCell(3)).init)(KEY, SEQ).lifts
  assert (lift.kind, lift.length, lift.path) == ("scan", 5, ("cell",))


def test_tabulate():
  text = str(Deep().tabulate(STREAMS, SEQ))
  assert "GRUCell" in text and "scan" in text and "SpectralNorm" in text
