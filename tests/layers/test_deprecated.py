"""What Flax calls deprecated is called so here: where Flax shows a DeprecationWarning, and nowhere else."""

from __future__ import annotations

import warnings

import jax.numpy as jnp
import pytest
from oracle import KEY, KEY2, same

import minilinen
from minilinen import errors

X = jnp.ones((2, 3, 4))
MASK = jnp.ones((2, 1, 3, 3))
CALLS = {
  "keys and values at once": lambda nn: nn.MultiHeadDotProductAttention(2).init(KEY, X, inputs_kv=X),
  "at once, all by name": lambda nn: nn.MultiHeadAttention(2).init(KEY, inputs_q=X, inputs_kv=X, mask=MASK),
  "at once and apart": lambda nn: nn.MultiHeadAttention(2).init(KEY, X, X, inputs_kv=X),
  "keys": lambda nn: nn.MultiHeadDotProductAttention(2).init(KEY, X, X),
  "keys and values": lambda nn: nn.MultiHeadDotProductAttention(2).init(KEY, X, X, X, mask=MASK),
  "values alone": lambda nn: nn.MultiHeadDotProductAttention(2).init(KEY, X, inputs_v=X),
  "queries": lambda nn: nn.MultiHeadDotProductAttention(2).init(KEY, X, mask=MASK),
  "self": lambda nn: nn.SelfAttention(2).init(KEY, X),
  "self with a mask": lambda nn: nn.SelfAttention(2).init(KEY, X, MASK, True),
  "a dropout key": lambda nn: nn.Dropout(0.5).init({"params": KEY}, X, deterministic=False, rng=KEY2),
  "a mask of a norm": lambda nn: nn.GroupNorm(2).init(KEY, X, mask=X > 0),
  "lengths": lambda nn: nn.RNN(nn.LSTMCell(4)).init(KEY, X, seq_lengths=jnp.array([2, 3])),
  "float8": lambda nn: nn.Dense(3, dot_general_cls=nn.Fp8DotGeneralOp).init(KEY, X),
  "float8 at once": lambda nn: nn.Dense(3, dot_general_cls=nn.Fp8DirectDotGeneralOp).init(KEY, X),
  "float8 of AMD": lambda nn: nn.Dense(3, dot_general_cls=nn.NANOOFp8DotGeneralOp).init(KEY, X),
  "a backend": lambda nn: nn.jit(nn.Dense, backend="cpu")(3).init(KEY, X),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_warns_where_flax_does(call):
  def program(nn):
    with warnings.catch_warnings(record=True) as shown:
      warnings.simplefilter("always")
      try:
        given = call(nn)
      except ValueError:
        given = "a ValueError"
    about = [w for w in shown if issubclass(w.category, DeprecationWarning) and "jax" not in w.filename]
    return given, len(about)

  same(program)


def test_it_says_what_to_write_and_stands_in_no_trace():
  with pytest.warns(errors.DeprecatedWarning) as shown:
    trace = minilinen.SelfAttention(2).trace(KEY, X)
  text = " ".join(str(shown[0].message).split())
  assert "SelfAttention will be deprecated soon in Flax" in text
  assert "nn.MultiHeadDotProductAttention(...)(x)" in text
  assert shown[0].filename == __file__
  assert not trace.check()
