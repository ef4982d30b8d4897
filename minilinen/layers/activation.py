"""Activation functions, those of the functional core and `PReLU`, which has a parameter."""

from typing import Any

import jax
import jax.numpy as jnp

from minilinen.functions.activation import celu as celu
from minilinen.functions.activation import elu as elu
from minilinen.functions.activation import gelu as gelu
from minilinen.functions.activation import glu as glu
from minilinen.functions.activation import hard_sigmoid as hard_sigmoid
from minilinen.functions.activation import hard_silu as hard_silu
from minilinen.functions.activation import hard_swish as hard_swish
from minilinen.functions.activation import hard_tanh as hard_tanh
from minilinen.functions.activation import leaky_relu as leaky_relu
from minilinen.functions.activation import log_sigmoid as log_sigmoid
from minilinen.functions.activation import log_softmax as log_softmax
from minilinen.functions.activation import logsumexp as logsumexp
from minilinen.functions.activation import normalize as normalize
from minilinen.functions.activation import one_hot as one_hot
from minilinen.functions.activation import relu as relu
from minilinen.functions.activation import relu6 as relu6
from minilinen.functions.activation import selu as selu
from minilinen.functions.activation import sigmoid as sigmoid
from minilinen.functions.activation import silu as silu
from minilinen.functions.activation import soft_sign as soft_sign
from minilinen.functions.activation import softmax as softmax
from minilinen.functions.activation import softplus as softplus
from minilinen.functions.activation import standardize as standardize
from minilinen.functions.activation import swish as swish
from minilinen.functions.activation import tanh as tanh
from minilinen.module import Module, compact


class PReLU(Module):
  """Leaky ReLU whose slope for negative inputs is learned (He et al. 2015, arXiv:1502.01852).

  Attributes:
    param_dtype: dtype of the slope.
    negative_slope_init: its first value.
  """

  param_dtype: Any = jnp.float32
  negative_slope_init: float = 0.01

  @compact
  def __call__(self, inputs: jax.Array) -> jax.Array:
    """Shape [...] to the same shape."""
    slope = self.param("negative_slope", lambda k: jnp.asarray(self.negative_slope_init, self.param_dtype))
    return jnp.where(inputs >= 0, inputs, jnp.asarray(slope, inputs.dtype) * inputs)
