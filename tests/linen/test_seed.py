"""Linen's first document, cell by cell, with only its imports changed, under minilinen's default settings.

The numbers are those it prints, made with the random numbers of its day (`jax_threefry_partitionable=False`). Digits
beyond 1e-5 are XLA's rounding, which has changed since.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import pytest
from jax import lax, random
from jax import numpy as jnp

import minilinen as nn
from minilinen.core import freeze, unfreeze


@pytest.fixture(autouse=True)
def random_numbers_of_its_day():
  before = jax.config.jax_threefry_partitionable
  jax.config.update("jax_threefry_partitionable", False)
  yield
  jax.config.update("jax_threefry_partitionable", before)


_NUMBER = re.compile(r"-?\d+\.\d*(?:e[-+]?\d+)?")


def prints(value: Any, expected: str) -> None:
  """Asserts that a value prints as the document shows: every number, and the text around them."""
  ours, theirs = str(value), expected
  numbers = [np.array([float(n) for n in _NUMBER.findall(s)]) for s in (ours, theirs)]
  assert numbers[0].shape == numbers[1].shape, ours
  np.testing.assert_allclose(numbers[0], numbers[1], rtol=0, atol=1e-5)
  words = ["".join(_NUMBER.sub("#", s).split()) for s in (ours, theirs)]
  assert words[0] == words[1]


def shapes(variables: Any) -> Any:
  return jax.tree_util.tree_map(jnp.shape, unfreeze(variables))


DENSE = """FrozenDict({
    params: {
        kernel: Array([[ 0.61506   , -0.22728713,  0.6054702 ],
               [-0.29617992,  1.1232013 , -0.879759  ],
               [-0.35162622,  0.3806491 ,  0.6893246 ],
               [-0.1151355 ,  0.04567898, -1.091212  ]], dtype=float32),
        bias: Array([0., 0., 0.], dtype=float32),
    },
})"""
DENSE_OUTPUT = """[[-0.02996204  1.102088   -0.6660265 ]
 [-0.31092793  0.6323942  -0.53678817]
 [ 0.01424007  0.9424717  -0.6356147 ]
 [ 0.36818963  0.3586519  -0.00459214]]"""
MLP_SHAPES = {
  "params": {
    "layers_0": {"bias": (3,), "kernel": (4, 3)},
    "layers_1": {"bias": (4,), "kernel": (3, 4)},
    "layers_2": {"bias": (5,), "kernel": (4, 5)},
  }
}
MLP_OUTPUT = """[[ 0.          0.          0.          0.          0.        ]
 [ 0.0072379  -0.00810347 -0.02550939  0.02151716 -0.01261241]
 [ 0.          0.          0.          0.          0.        ]
 [ 0.          0.          0.          0.          0.        ]]"""


def same_dense(model: Any) -> None:
  key1, key2 = random.split(random.PRNGKey(0), 2)
  x = random.uniform(key1, (4, 4))
  init_variables = model.init(key2, x)
  prints(init_variables, DENSE)
  prints(model.apply(init_variables, x), DENSE_OUTPUT)


def same_mlp(model: Any, seed: int, output: str) -> None:
  key1, key2 = random.split(random.PRNGKey(seed), 2)
  x = random.uniform(key1, (4, 4))
  init_variables = model.init(key2, x)
  assert shapes(init_variables) == MLP_SHAPES
  y = np.asarray(model.apply(init_variables, x))
  rows = [[float(n) for n in _NUMBER.findall(line)] for line in output.splitlines()]
  np.testing.assert_allclose(y, np.array(rows), rtol=0, atol=1e-5)


def test_invoking_modules():
  same_dense(nn.Dense(features=3))


def test_explicit_mlp():
  class ExplicitMLP(nn.Module):
    features: Sequence[int]

    def setup(self):
      self.layers = [nn.Dense(feat) for feat in self.features]

    def __call__(self, inputs):
      x = inputs
      for i, lyr in enumerate(self.layers):
        x = lyr(x)
        if i != len(self.layers) - 1:
          x = nn.relu(x)
      return x

  same_mlp(ExplicitMLP(features=[3, 4, 5]), 0, MLP_OUTPUT)


def test_simple_mlp():
  class SimpleMLP(nn.Module):
    features: Sequence[int]

    @nn.compact
    def __call__(self, inputs):
      x = inputs
      for i, feat in enumerate(self.features):
        x = nn.Dense(feat, name=f"layers_{i}")(x)
        if i != len(self.features) - 1:
          x = nn.relu(x)
      return x

  same_mlp(SimpleMLP(features=[3, 4, 5]), 0, MLP_OUTPUT)


def test_simple_dense():
  class SimpleDense(nn.Module):
    features: int
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, inputs):
      kernel = self.param("kernel", self.kernel_init, (inputs.shape[-1], self.features))
      y = lax.dot_general(inputs, kernel, (((inputs.ndim - 1,), (0,)), ((), ())))
      bias = self.param("bias", self.bias_init, (self.features,))
      y = y + bias
      return y

  same_dense(SimpleDense(features=3))


def test_explicit_dense():
  class ExplicitDense(nn.Module):
    features_in: int
    features: int
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_init: Callable = nn.initializers.zeros_init()

    def setup(self):
      self.kernel = self.param("kernel", self.kernel_init, (self.features_in, self.features))
      self.bias = self.param("bias", self.bias_init, (self.features,))

    def __call__(self, inputs):
      y = lax.dot_general(inputs, self.kernel, (((inputs.ndim - 1,), (0,)), ((), ())))
      y = y + self.bias
      return y

  same_dense(ExplicitDense(features_in=4, features=3))


def test_counter():
  class Counter(nn.Module):
    @nn.compact
    def __call__(self):
      is_initialized = self.has_variable("counter", "count")
      counter = self.variable("counter", "count", lambda: jnp.zeros((), jnp.int32))
      if is_initialized:
        counter.value += 1
      return counter.value

  model = Counter()
  init_variables = model.init(random.PRNGKey(0))
  text = "FrozenDict({\n    counter: {\n        count: Array(%d, dtype=int32),\n    },\n})"
  assert str(init_variables) == text % 0
  y, mutated_variables = model.apply(init_variables, mutable=["counter"])
  assert str(mutated_variables) == text % 1
  assert str(y) == "1"


BLOCK_VARIABLES = """FrozenDict({
    params: {
        Dense_0: {
            kernel: Array([[-0.28613907, -0.70721805, -0.6914534 ],
                   [-0.6641256 ,  0.68615615,  0.44648856],
                   [ 0.49008575,  0.35440823, -0.21784972],
                   [-0.20484754, -0.09779654,  0.5040372 ]], dtype=float32),
            bias: Array([0., 0., 0.], dtype=float32),
        },
        BatchNorm_0: {
            scale: Array([1., 1., 1.], dtype=float32),
            bias: Array([0., 0., 0.], dtype=float32),
        },
    },
    batch_stats: {
        BatchNorm_0: {
            mean: Array([-0.00313114,  0.00078917, -0.00079298], dtype=float32),
            var: Array([0.992465  , 0.99116045, 0.9916556 ], dtype=float32),
        },
    },
})"""
BLOCK_SHAPES = """FrozenDict({
    batch_stats: {
        BatchNorm_0: {
            mean: (3,),
            var: (3,),
        },
    },
    params: {
        BatchNorm_0: {
            bias: (3,),
            scale: (3,),
        },
        Dense_0: {
            bias: (3,),
            kernel: (4, 3),
        },
    },
})"""
BLOCK_OUTPUT = """[[[ 0.6306426  -0.23165356  0.19488382]
  [ 0.6306426   0.79969025  0.10451133]
  [-0.35419682 -0.23165356  0.19488382]
  [-1.6535418  -0.23165356 -0.45335415]]

 [[ 0.7730165  -1.5991257  -1.4089029 ]
  [ 0.6306426  -0.23165356  0.19488382]
  [ 0.6306426  -0.23165356 -1.390066  ]
  [-2.1826966  -0.23165356  0.19488382]]

 [[ 0.6306426  -0.23165356  0.19488382]
  [-0.9970797  -0.23165356 -1.2379806 ]
  [ 0.6306426   2.8843176   2.1083667 ]
  [ 0.6306426  -0.23165356  1.3030066 ]]]"""
BLOCK_EVAL = """[[[-0.69251037  0.1369832   0.3395594 ]
  [-0.55603373  0.17566003 -0.01766703]
  [-0.24226873  0.3135934  -0.1597346 ]
  [-0.56605196  0.3020906  -0.13164042]]

 [[ 0.03862109 -0.23475364 -0.32686153]
  [-0.12492569  0.10663299  0.08993971]
  [-0.12356766 -0.38863623 -0.32301313]
  [-0.6979118  -0.00074816  0.1433272 ]]

 [[-0.21574032  0.4600567   0.45498124]
  [-0.4024684  -0.11036564 -0.29194167]
  [-0.3182572   0.5323191   0.39172593]
  [-0.5571195   0.43794093  0.22718874]]]"""


def test_block_with_dropout_and_batch_norm():
  class Block(nn.Module):
    features: int
    training: bool

    @nn.compact
    def __call__(self, inputs):
      x = nn.Dense(self.features)(inputs)
      x = nn.Dropout(rate=0.5)(x, deterministic=not self.training)
      x = nn.BatchNorm(use_running_average=not self.training)(x)
      return x

  key1, key2, key3, key4 = random.split(random.PRNGKey(0), 4)
  x = random.uniform(key1, (3, 4, 4))
  model = Block(features=3, training=True)
  init_variables = model.init({"params": key2, "dropout": key3}, x)
  _, init_params = init_variables.pop("params")
  y, mutated_variables = model.apply(init_variables, x, rngs={"dropout": key4}, mutable=["batch_stats"])
  updated_variables = freeze(dict(params=init_params, **mutated_variables))
  prints(updated_variables, BLOCK_VARIABLES)
  assert str(jax.tree_util.tree_map(jnp.shape, init_variables)) == BLOCK_SHAPES
  prints(y, BLOCK_OUTPUT)
  eval_model = Block(features=3, training=False)
  prints(eval_model.apply(updated_variables, x), BLOCK_EVAL)


TRANSFORMED_OUTPUT = """[[-0.7031405   0.23289034 -0.23026259 -0.5699682  -0.52668184]
 [-0.05363148  0.01776353 -0.0175631  -0.04347387 -0.04017224]
 [-1.3031061   0.43160754 -0.42673773 -1.0563024  -0.97608125]
 [-0.8637256   0.28607848 -0.28285062 -0.70013916 -0.64696693]]"""


def test_jit():
  class MLP(nn.Module):
    features: Sequence[int]

    @nn.compact
    def __call__(self, inputs):
      x = inputs
      for i, feat in enumerate(self.features):
        x = nn.jit(nn.Dense)(feat, name=f"layers_{i}")(x)
        if i != len(self.features) - 1:
          x = nn.relu(x)
      return x

  same_mlp(MLP(features=[3, 4, 5]), 3, TRANSFORMED_OUTPUT)


def test_remat():
  class RematMLP(nn.Module):
    features: Sequence[int]

    @nn.remat
    @nn.compact
    def __call__(self, inputs):
      x = inputs
      for i, feat in enumerate(self.features):
        x = nn.Dense(feat, name=f"layers_{i}")(x)
        if i != len(self.features) - 1:
          x = nn.relu(x)
      return x

  same_mlp(RematMLP(features=[3, 4, 5]), 3, TRANSFORMED_OUTPUT)


class RawDotProductAttention(nn.Module):
  attn_dropout_rate: float = 0.1
  train: bool = False

  @nn.compact
  def __call__(self, query, key, value, bias=None, dtype=jnp.float32):
    assert key.ndim == query.ndim
    assert key.ndim == value.ndim

    n = query.ndim
    attn_weights = lax.dot_general(query, key, (((n - 1,), (n - 1,)), ((), ())))
    if bias is not None:
      attn_weights += bias
    norm_dims = tuple(range(attn_weights.ndim // 2, attn_weights.ndim))
    attn_weights = jax.nn.softmax(attn_weights, axis=norm_dims)
    attn_weights = nn.Dropout(self.attn_dropout_rate)(attn_weights, deterministic=not self.train)
    attn_weights = attn_weights.astype(dtype)

    contract_dims = (tuple(range(n - 1, attn_weights.ndim)), tuple(range(n - 1)))
    y = lax.dot_general(attn_weights, value, (contract_dims, ((), ())))
    return y


class DotProductAttention(nn.Module):
  qkv_features: int | None = None
  out_features: int | None = None
  train: bool = False

  @nn.compact
  def __call__(self, inputs_q, inputs_kv, bias=None, dtype=jnp.float32):
    qkv_features = self.qkv_features or inputs_q.shape[-1]
    out_features = self.out_features or inputs_q.shape[-1]

    QKVDense = functools.partial(nn.Dense, features=qkv_features, use_bias=False, dtype=dtype)
    query = QKVDense(name="query")(inputs_q)
    key = QKVDense(name="key")(inputs_kv)
    value = QKVDense(name="value")(inputs_kv)

    y = RawDotProductAttention(train=self.train)(query, key, value, bias=bias, dtype=dtype)

    y = nn.Dense(features=out_features, dtype=dtype, name="out")(y)
    return y


class MultiHeadDotProductAttention(nn.Module):
  qkv_features: int | None = None
  out_features: int | None = None
  batch_axes: Sequence[int] = (0,)
  num_heads: int = 1
  broadcast_dropout: bool = False
  train: bool = False

  @nn.compact
  def __call__(self, inputs_q, inputs_kv, bias=None, dtype=jnp.float32):
    qkv_features = self.qkv_features or inputs_q.shape[-1]
    out_features = self.out_features or inputs_q.shape[-1]

    Attn = nn.vmap(
      DotProductAttention,
      in_axes=(None, None, None),
      out_axes=2,
      axis_size=self.num_heads,
      variable_axes={"params": 0},
      split_rngs={"params": True, "dropout": not self.broadcast_dropout},
    )

    for axis in reversed(sorted(self.batch_axes)):  # noqa: C413
      Attn = nn.vmap(
        Attn,
        in_axes=(axis, axis, axis),
        out_axes=axis,
        variable_axes={"params": None},
        split_rngs={"params": False, "dropout": False},
      )

    y = Attn(
      qkv_features=qkv_features // self.num_heads,
      out_features=out_features,
      train=self.train,
      name="attention",
    )(inputs_q, inputs_kv, bias)

    return y.mean(axis=-2)


def test_vmap():
  key1, key2, _, key4 = random.split(random.PRNGKey(0), 4)
  x = random.uniform(key1, (3, 13, 64))
  model = functools.partial(
    MultiHeadDotProductAttention, broadcast_dropout=False, num_heads=2, batch_axes=(0,)
  )
  init_variables = model(train=False).init({"params": key2}, x, x)
  assert shapes(init_variables) == {
    "params": {
      "attention": {
        "key": {"kernel": (2, 64, 32)},
        "out": {"bias": (2, 64), "kernel": (2, 32, 64)},
        "query": {"kernel": (2, 64, 32)},
        "value": {"kernel": (2, 64, 32)},
      }
    }
  }
  y = model(train=True).apply(init_variables, x, x, rngs={"dropout": key4})
  assert y.shape == (3, 13, 2)


SCAN_OUTPUT = """((Array([[-0.21091282,  0.16342616]], dtype=float32), Array([[-0.16439663,  0.08159931]],
 dtype=float32)), Array([[[ 0.01701735,  0.04418677],
        [-0.11112795,  0.04402397],
        [-0.13384211,  0.10686103],
        [-0.16457099,  0.0799703 ],
        [-0.16439663,  0.08159931]]], dtype=float32))"""


def test_scan():
  class SimpleScan(nn.Module):
    @nn.compact
    def __call__(self, xs):
      dummy_rng = random.PRNGKey(0)
      init_carry = nn.LSTMCell.initialize_carry(dummy_rng, xs.shape[:1], xs.shape[-1])
      LSTM = nn.scan(
        nn.LSTMCell, in_axes=1, out_axes=1, variable_broadcast="params", split_rngs={"params": False}
      )
      return LSTM(name="lstm_cell")(init_carry, xs)

  key1, key2 = random.split(random.PRNGKey(0), 2)
  xs = random.uniform(key1, (1, 5, 2))
  model = SimpleScan()
  init_variables = model.init(key2, xs)
  inner = {name: {"kernel": (2, 2)} for name in ("if", "ig", "ii", "io")}
  outer = {name: {"bias": (2,), "kernel": (2, 2)} for name in ("hf", "hg", "hi", "ho")}
  assert shapes(init_variables) == {"params": {"lstm_cell": inner | outer}}
  prints(model.apply(init_variables, xs), SCAN_OUTPUT)


CELLS = [name for name in list(globals()) if name.startswith("test_")]


@pytest.mark.parametrize("cell", CELLS)
def test_check_finds_nothing_wrong_with_it(cell: str) -> None:
  with nn.record() as trace:
    globals()[cell]()
  assert not trace.check()
