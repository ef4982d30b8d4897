"""`Sequential`: layers one after another."""

from collections.abc import Callable, Sequence
from typing import Any

from minilinen.module import Module


class Sequential(Module):
  """Calls layers one after another; a tuple is passed on as arguments, a dict as keyword arguments.

  Attributes:
    layers: modules and functions.

  >>> import jax, minilinen as nn
  >>> net = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(2)])
  >>> list(net.init(jax.random.key(0), jax.numpy.ones((1, 3)))["params"])
  ['layers_0', 'layers_2']
  """

  layers: Sequence[Callable[..., Any]]

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    """What the first layer takes to what the last gives.

    Raises:
      ValueError: if there is no layer.
    """
    if not self.layers:
      raise ValueError(f"Empty Sequential module {self.name}: pass at least one layer.")
    if not isinstance(self.layers, Sequence):
      raise ValueError(
        f"'layers' must be a sequence, got '{type(self.layers).__name__}': Sequential([nn.Dense(3)])."
      )
    outputs = self.layers[0](*args, **kwargs)
    for layer in self.layers[1:]:
      if isinstance(outputs, tuple):
        outputs = layer(*outputs)
      elif isinstance(outputs, dict):
        outputs = layer(**outputs)
      else:
        outputs = layer(outputs)
    return outputs
