"""May be skipped: layers as functions of a scope, for models without modules. `minilinen.layers` has the same.

>>> import jax, jax.numpy as jnp
>>> from minilinen.core import init, nn
>>> def mlp(scope, x):
...   x = scope.child(nn.dense, "hidden")(x, features=8)
...   return scope.child(nn.dense, "out")(nn.relu(x), features=2)
>>> y, variables = init(mlp)(jax.random.key(0), jnp.ones((1, 4)))
>>> jax.tree.map(jnp.shape, variables["params"]["hidden"])
FrozenDict({
    bias: (8,),
    kernel: (4, 8),
})
"""

from minilinen.core.nn import attention, linear, normalization, stochastic
from minilinen.core.nn.attention import dot_product_attention, multi_head_dot_product_attention
from minilinen.core.nn.linear import Embedding, conv, conv_transpose, dense, dense_general, embedding
from minilinen.core.nn.normalization import batch_norm, group_norm, layer_norm
from minilinen.core.nn.stochastic import dropout
from minilinen.functions import activation, initializers, pooling
from minilinen.functions.activation import (
  celu,
  elu,
  gelu,
  glu,
  leaky_relu,
  log_sigmoid,
  log_softmax,
  relu,
  sigmoid,
  silu,
  soft_sign,
  softmax,
  softplus,
  swish,
  tanh,
)
from minilinen.functions.pooling import avg_pool, max_pool

__all__ = [
  "Embedding", "activation", "attention", "avg_pool", "batch_norm", "celu", "conv", "conv_transpose", "dense",
  "dense_general", "dot_product_attention", "dropout", "elu", "embedding", "gelu", "glu", "group_norm", "initializers",
  "layer_norm", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "max_pool",
  "multi_head_dot_product_attention", "normalization", "pooling", "relu", "sigmoid", "silu", "soft_sign", "softmax",
  "softplus", "stochastic", "swish", "tanh",
]  # fmt: skip
