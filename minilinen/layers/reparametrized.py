"""`SpectralNorm` and `WeightNorm`: a layer that sees its parameters through a function.

Both stand on `transforms.map_variables`, and keep what they need themselves beside the layer, in variables that are
named by the path of the parameter they belong to: "Dense_0/kernel/scale".
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from minilinen.functions.axes import ascending_axes
from minilinen.functions.initializers import ones
from minilinen.layers.dtypes import Array, Dtype, Initializer
from minilinen.module import Module, compact, nowrap
from minilinen.transforms import map_variables


class _Reparametrized(Module):
  """A layer whose variables are changed one by one on their way in; see the subclasses."""

  @nowrap
  def _lifted(self, change: Callable[[str, Array], Array], mutable: bool) -> Callable[..., Any]:
    """The layer, with its variables changed.

    Args:
      change: from the path of a variable, which begins with the layer's name, and its value, to what the layer sees.
      mutable: whether the layer may change its variables.
    """
    layer = self.layer_instance  # type: ignore[attr-defined]

    def change_all(variables: Any) -> Any:
      def one(path: tuple[Any, ...], value: Array) -> Array:
        names = [str(getattr(key, "key", getattr(key, "name", key))) for key in path[1:]]
        return change("/".join([layer.name, *names]), value)

      return jax.tree_util.tree_map_with_path(one, variables)

    def call(layer: Module, *args: Any, **kwargs: Any) -> Any:
      return layer(*args, **kwargs)  # type: ignore[operator]

    mapped = map_variables(call, trans_in_fn=change_all, init=self.is_initializing(), mutable=mutable)
    return functools.partial(mapped, layer)


def _unit(x: Array, axes: Any, epsilon: float) -> Array:
  """`x` of length 1 along axes."""
  return x * lax.rsqrt((x * x).sum(axes, keepdims=True) + epsilon)


class SpectralNorm(_Reparametrized):
  """Divides every matrix of a layer by its largest singular value (Miyato et al. 2018, arXiv:1802.05957).

  The singular value is followed by power iteration: with the vector u of the last call,

      v = W u / |W u|,  u = W^T v / |W^T v|,  sigma = v^T W u

  Both are kept beside the layer: u as "<path>/u" [1, out] and sigma as "<path>/sigma" [].

  Attributes:
    layer_instance: the layer.
    n_steps: rounds of power iteration in a call.
    epsilon: added to the squared lengths.
    dtype: dtype of what the layer sees; by default the parameter's.
    param_dtype: dtype of u and sigma.
    error_on_non_matrix: whether a parameter with more than two axes is an error; otherwise it is taken for a
      matrix [rest, out]. Vectors are left alone.
    collection_name: where u and sigma are kept.

  >>> import jax, jax.numpy as jnp, minilinen as nn
  >>> layer = nn.SpectralNorm(nn.Dense(3))
  >>> variables = layer.init(jax.random.key(0), jnp.ones((2, 4)), update_stats=False)
  >>> y, updates = layer.apply(variables, jnp.ones((2, 4)), update_stats=True, mutable=["batch_stats"])
  >>> list(updates["batch_stats"])
  ['layer_instance/kernel/u', 'layer_instance/kernel/sigma']
  """

  layer_instance: Module
  n_steps: int = 1
  epsilon: float = 1e-12
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  error_on_non_matrix: bool = False
  collection_name: str = "batch_stats"

  @compact
  def __call__(self, *args: Any, update_stats: bool, **kwargs: Any) -> Any:
    """Calls the layer.

    Args:
      *args, **kwargs: of the layer.
      update_stats: whether u and sigma are kept for the next call; True while training.

    Raises:
      ValueError: if a parameter is no matrix and `error_on_non_matrix`.
    """

    def change(path: str, value: Array) -> Array:
      return self._divided_by_sigma(path, value, update_stats)

    return self._lifted(change, mutable=True)(*args, **kwargs)

  @nowrap
  def _divided_by_sigma(self, path: str, value: Array, update_stats: bool) -> Array:
    if value.ndim <= 1 or self.n_steps < 1:
      return value
    if value.ndim > 2 and self.error_on_non_matrix:
      raise ValueError(
        f"Input is {value.ndim}D but error_on_non_matrix is True: {path} has shape {value.shape}, and the spectral norm"
        " is one of matrices. With error_on_non_matrix=False all axes but the last are taken for one."
      )
    matrix = jnp.reshape(value, (-1, value.shape[-1])) if value.ndim > 2 else value

    def first_u() -> Array:
      return jax.random.normal(self.make_rng("params"), (1, matrix.shape[-1]), self.param_dtype)

    kept_u = self.variable(self.collection_name, f"{path}/u", first_u)
    kept_sigma = self.variable(self.collection_name, f"{path}/sigma", jnp.ones, (), self.param_dtype)
    v = u = kept_u.value
    for _ in range(self.n_steps):
      v = _unit(jnp.matmul(u, matrix.T), None, self.epsilon)
      u = _unit(jnp.matmul(v, matrix), None, self.epsilon)
    u, v = lax.stop_gradient(u), lax.stop_gradient(v)
    sigma = jnp.matmul(jnp.matmul(v, matrix), u.T)[0, 0]
    matrix = matrix / jnp.where(sigma != 0, sigma, 1)
    if update_stats:
      kept_u.value, kept_sigma.value = u, sigma
    return jnp.asarray(jnp.reshape(matrix, value.shape), self.dtype or value.dtype)


class WeightNorm(_Reparametrized):
  """Learns the length of each column of a layer's kernel apart (Salimans & Kingma 2016, arXiv:1602.07868).

      W = g V / |V|

  V takes the place of the layer's parameter, g is a parameter beside the layer: "<path>/scale".

  Attributes:
    layer_instance: the layer.
    epsilon: added to the squared length.
    dtype: dtype of what the layer sees; by default the parameter's.
    param_dtype: dtype of g.
    use_scale: whether there is a g; otherwise the length is 1.
    scale_init: initializer of g.
    feature_axes: the axes that g has; the length is taken over the others. None for one length for all.
    variable_filter: pieces of paths; a variable is normalized if its path has one of them in it, and all are if it
      is None or empty.

  >>> import jax, jax.numpy as jnp, minilinen as nn
  >>> params = nn.WeightNorm(nn.Dense(3)).init(jax.random.key(0), jnp.ones((2, 4)))["params"]
  >>> params["layer_instance/kernel/scale"].shape
  (3,)
  """

  layer_instance: Module
  epsilon: float = 1e-12
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  use_scale: bool = True
  scale_init: Initializer = ones
  feature_axes: int | Sequence[int] | None = -1
  variable_filter: Iterable[str] | None = field(default_factory=lambda: {"kernel"})

  @compact
  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    """Calls the layer with these arguments."""
    return self._lifted(self._normalized, mutable=False)(*args, **kwargs)

  @nowrap
  def _normalized(self, path: str, value: Array) -> Array:
    if self.variable_filter and not any(piece in path for piece in self.variable_filter):
      return value
    axes = () if self.feature_axes is None else ascending_axes(self.feature_axes, value.ndim)
    summed = tuple(axis for axis in range(value.ndim) if axis not in axes)
    unit = _unit(value, summed, self.epsilon)
    if self.use_scale:
      shape = tuple(value.shape[axis] for axis in axes)
      scale = self.param(f"{path}/scale", self.scale_init, shape, self.param_dtype)
      unit *= scale.reshape([n if axis in axes else 1 for axis, n in enumerate(value.shape)])
    return jnp.asarray(unit, self.dtype or value.dtype)
