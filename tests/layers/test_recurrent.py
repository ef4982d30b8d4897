"""Recurrent cells and the layers that take them through a sequence, against Flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import same, same_model

import minilinen
import minilinen.errors

pytestmark = pytest.mark.grid

BF16 = jnp.bfloat16
NORMAL = jax.nn.initializers.normal()
KEY = jax.random.PRNGKey(3)


def arr(*shape, dtype=jnp.float32, seed=0):
  return (jax.random.normal(jax.random.PRNGKey(seed), shape) * 2).astype(dtype)


H, X = arr(2, 3), arr(2, 4, seed=1)
MEM, IMAGE = arr(2, 5, 5, 3), arr(2, 5, 5, 4, seed=1)

CELLS = [
  ("SimpleCell", {}, H, X),
  ("SimpleCell", dict(residual=True, activation_fn=jax.nn.relu), H, X),
  ("SimpleCell", dict(dtype=BF16, bias_init=NORMAL), H, X),
  ("GRUCell", {}, H, X),
  ("GRUCell", dict(gate_fn=jax.nn.hard_sigmoid, activation_fn=jax.nn.soft_sign, bias_init=NORMAL), H, X),
  ("GRUCell", dict(param_dtype=BF16, recurrent_kernel_init=NORMAL), H, X),
  ("GRUCell", dict(dtype=BF16), H, X),
  ("GRUCell", dict(recurrent_kernel_init=NORMAL, kernel_init=NORMAL), arr(2, 2, 3), arr(2, 2, 4)),
  ("MGUCell", {}, H, X),
  ("MGUCell", dict(reset_gate=False, activation_bias_init=NORMAL), H, X),
  ("MGUCell", dict(forget_bias_init=NORMAL, activation_bias_init=NORMAL, dtype=BF16), H, X),
  ("LSTMCell", {}, (H, H), X),
  ("LSTMCell", dict(bias_init=NORMAL, gate_fn=jax.nn.hard_sigmoid), (H, H), X),
  ("OptimizedLSTMCell", {}, (H, H), X),
  ("OptimizedLSTMCell", dict(bias_init=NORMAL, dtype=BF16), (H, H), X),
  ("ConvLSTMCell", dict(kernel_size=(2, 2)), (MEM, MEM), IMAGE),
  ("ConvLSTMCell", dict(kernel_size=(3,), use_bias=False, dtype=BF16), (arr(2, 5, 3),) * 2, arr(2, 5, 4)),
  (
    "ConvLSTMCell",
    dict(kernel_size=(3,), padding=((2, 0),), strides=(1,)),
    (arr(2, 5, 3),) * 2,
    arr(2, 5, 4),
  ),
]
IDS = [f"{i}-{c[0]}" for i, c in enumerate(CELLS)]


@pytest.mark.parametrize("name,kwargs,carry,x", CELLS, ids=IDS)
def test_cell(name, kwargs, carry, x):
  same_model(lambda nn: getattr(nn, name)(features=3, **kwargs), carry, x)


@pytest.mark.parametrize("name,kwargs,carry,x", CELLS, ids=IDS)
def test_first_carry(name, kwargs, carry, x):
  def program(nn):
    cell = getattr(nn, name)(features=3, carry_init=NORMAL, **kwargs)
    return cell.initialize_carry(KEY, x.shape), cell.num_feature_axes

  same(program)


@pytest.mark.parametrize("name", ["SimpleCell", "GRUCell", "MGUCell", "LSTMCell", "OptimizedLSTMCell"])
def test_a_carry_of_another_width_than_the_cells(name):
  carry = (H, H) if "LSTM" in name else H
  same_model(lambda nn: getattr(nn, name)(features=5), carry, X)


SEQ = arr(2, 5, 4)
LENGTHS = jnp.array([2, 4])

RNNS = [
  (dict(), dict()),
  (dict(time_major=True), dict()),
  (dict(return_carry=True, unroll=2), dict()),
  (dict(reverse=True), dict()),
  (dict(reverse=True, keep_order=True, return_carry=True), dict()),
  (dict(keep_order=True), dict(reverse=True, time_major=True)),
  (dict(), dict(seq_lengths=LENGTHS)),
  (dict(return_carry=True), dict(seq_lengths=LENGTHS)),
  (dict(return_carry=True, reverse=True, keep_order=True), dict(seq_lengths=LENGTHS)),
  (dict(return_carry=True), dict(return_carry=False, reverse=True, seq_lengths=LENGTHS)),
  (dict(), dict(init_key=KEY)),
  (dict(), dict(init_key=KEY, return_carry=True, seq_lengths=jnp.array([1]))),
]


@pytest.mark.parametrize("settings,options", RNNS, ids=range(len(RNNS)))
def test_rnn(settings, options):
  same_model(lambda nn: nn.RNN(nn.OptimizedLSTMCell(3, carry_init=NORMAL), **settings), SEQ, **options)


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_rnn_with_lengths_and_time_first(time_major, reverse):
  x = jnp.swapaxes(SEQ, 0, 1) if time_major else SEQ
  same_model(
    lambda nn: nn.RNN(
      nn.GRUCell(3), time_major=time_major, return_carry=True, reverse=reverse, keep_order=True
    ),
    x,
    seq_lengths=LENGTHS,
  )


def test_rnn_of_other_shapes():
  same_model(lambda nn: nn.RNN(nn.GRUCell(3), return_carry=True), arr(5, 4))
  same_model(
    lambda nn: nn.RNN(nn.GRUCell(3), reverse=True),
    arr(2, 3, 5, 4),
    seq_lengths=jnp.array([[1, 2, 3], [5, 4, 3]]),
  )
  same_model(lambda nn: nn.RNN(nn.ConvLSTMCell(3, (2, 2)), return_carry=True), arr(2, 3, 4, 4, 2))
  same_model(
    lambda nn: nn.RNN(nn.ConvLSTMCell(3, (2,)), return_carry=True, time_major=True),
    arr(5, 2, 4, 2),
    seq_lengths=LENGTHS,
  )
  same_model(lambda nn: nn.RNN(nn.GRUCell(3), return_carry=True), arr(5, 4), seq_lengths=jnp.array(3))


def test_rnn_with_a_carry_given():
  same_model(lambda nn: nn.RNN(nn.GRUCell(3)), SEQ, initial_carry=H)


def test_rnn_of_a_cell_with_state_and_dropout():
  def build(nn):
    class Cell(nn.RNNCellBase):
      @nn.compact
      def __call__(self, h, x):
        self.variable("seen", "x", jnp.zeros_like, x).value = x
        h = nn.Dropout(0.5, deterministic=False)(nn.Dense(3)(x) + h)
        return h, h

      @nn.nowrap
      def initialize_carry(self, rng, input_shape):
        return jnp.zeros((*input_shape[:-1], 3))

      num_feature_axes = 1

    return nn.RNN(
      Cell(),
      variable_axes={"seen": 0},
      split_rngs={"params": False, "dropout": True},
    )

  same_model(build, SEQ, streams=("params", "dropout"), mutable=["seen"])


def test_rnn_in_setup_and_stacked():
  def build(nn):
    class Net(nn.Module):
      def setup(self):
        self.layers = [nn.RNN(nn.GRUCell(3)), nn.RNN(nn.LSTMCell(2), reverse=True, keep_order=True)]

      def __call__(self, x):
        for layer in self.layers:
          x = layer(x)
        return x

    return Net()

  same_model(build, SEQ)


BIDIRECTIONAL = [
  (dict(), dict()),
  (dict(return_carry=True, time_major=True), dict()),
  (dict(merge_fn=jnp.add), dict(seq_lengths=LENGTHS)),
  (dict(), dict(seq_lengths=LENGTHS, return_carry=True)),
  (dict(), dict(init_key=KEY)),
  (dict(), dict(initial_carry=(H, H + 1))),
  (dict(), dict(reverse=True, keep_order=True)),
]


@pytest.mark.parametrize("settings,options", BIDIRECTIONAL, ids=range(len(BIDIRECTIONAL)))
def test_bidirectional(settings, options):
  def build(nn):
    forward, backward = (nn.RNN(cell(3, carry_init=NORMAL)) for cell in (nn.MGUCell, nn.SimpleCell))
    return nn.Bidirectional(forward, backward, **settings)

  same_model(build, SEQ, **options)


def test_bidirectional_of_one_cell():
  def build(nn):
    cell = nn.GRUCell(3)
    return nn.Bidirectional(nn.RNN(cell), nn.RNN(cell))

  same_model(build, SEQ)


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("batch", [(2,), (2, 3)])
@pytest.mark.parametrize("lengths", [None, 2, 0, 5, 9])
def test_flip_sequences(time_major, batch, lengths):
  x = arr(5, *batch, 4) if time_major else arr(*batch, 5, 4)
  lengths = None if lengths is None else jnp.arange(np.prod(batch)).reshape(batch) + lengths - 1
  same(lambda nn: nn.recurrent.flip_sequences(x, lengths, num_batch_dims=len(batch), time_major=time_major))
  same(lambda nn: nn.recurrent.flip_sequences(x[..., 0], lengths, len(batch), time_major))


def test_names_of_the_module():
  import flax.linen

  names = [
    "RNN",
    "RNNBase",
    "RNNCellBase",
    "Bidirectional",
    "flip_sequences",
    "DenseParams",
    "GRUCell",
    "Carry",
  ]
  assert all(hasattr(minilinen.recurrent, n) and hasattr(flax.linen.recurrent, n) for n in names)


def test_features_are_kept_with_the_stacked_lengths_of_several_batch_axes():
  """Linen raises here: it knows lengths of one batch axis only."""
  x, lengths = arr(2, 3, 5, 4), jnp.array([[1, 2, 3], [5, 4, 3]])
  model = minilinen.RNN(minilinen.GRUCell(3), return_carry=True)
  variables = model.init(KEY, x)
  carry, y = model.apply(variables, x, seq_lengths=lengths)
  for i, j in np.ndindex(2, 3):
    assert jnp.array_equal(carry[i, j], y[i, j, lengths[i, j] - 1])


IN_WORDS = [
  (lambda nn: nn.LSTMCell(3).init(KEY, H, X), "carry of LSTMCell is a pair (c, h) of arrays, but got (2, 3)"),
  (lambda nn: nn.GRUCell(3).init(KEY, (H, H), X), "carry of GRUCell is an array, but got ((2, 3), (2, 3))"),
  (
    lambda nn: nn.MGUCell(3).init(KEY, arr(4, 3), X),
    "shape (4, 3) where the inputs have (2, 4): their batch axes",
  ),
  (
    lambda nn: nn.RNN(nn.SimpleCell(3)).init(KEY, SEQ, initial_carry=arr(3, 3)),
    "initialize_carry(key, inputs.shape)",
  ),
  (
    lambda nn: nn.RNN(nn.SimpleCell(3)).init(KEY, SEQ, seq_lengths=[1, 2], return_carry=True),
    "array of whole numbers",
  ),
  (lambda nn: nn.RNN(nn.SimpleCell(3)).init(KEY, SEQ[0, 0]), "inputs [batch..., time, 1 axes of features]"),
  (lambda nn: nn.RNN(nn.Dense(3)).init(KEY, SEQ), "nn.RNN(nn.GRUCell(features))"),
  (lambda nn: nn.RNN(nn.GRUCell).init(KEY, SEQ), "nn.RNN(nn.GRUCell(features))"),
  (lambda nn: nn.RNN(nn.LSTMCell()).init(KEY, SEQ), "LSTMCell.initialize_carry(key, batch_dims, size)"),
  (
    lambda nn: nn.RNN(nn.RNNCellBase()).init(KEY, SEQ),
    "RNNCellBase is a cell without the property num_feature_axes",
  ),
  (
    lambda nn: nn.RNN(nn.ConvLSTMCell(3, (2,), strides=(2,))).init(KEY, arr(2, 5, 6, 4)),
    "give shape (2, 3) where the carry has (2, 6): strides and padding must keep",
  ),
]


@pytest.mark.parametrize("mistake,words", IN_WORDS, ids=range(len(IN_WORDS)))
def test_mistakes_in_words(mistake, words):
  with pytest.raises((TypeError, ValueError, NotImplementedError)) as raised:
    mistake(minilinen)
  assert words in str(raised.value)


@pytest.mark.parametrize("lengths", [jnp.array([1, 2, 3]), jnp.ones((2, 5), int)], ids=["too many", "a mask"])
def test_lengths_that_do_not_fit(lengths):
  with pytest.raises(ValueError, match="the batch of the inputs has"):
    minilinen.RNN(minilinen.GRUCell(3)).init(KEY, SEQ, seq_lengths=lengths)


def test_a_cell_that_drops_without_a_stream_of_its_own():
  class Cell(minilinen.GRUCell):
    @minilinen.compact
    def __call__(self, carry, inputs):
      return super().__call__(carry, minilinen.Dropout(0.5, deterministic=False)(inputs))

  with pytest.warns(minilinen.errors.ServedByParamsWarning, match='split_rngs={..., "dropout": True}'):
    minilinen.RNN(Cell(3)).init({"params": KEY, "dropout": KEY}, SEQ)
