"""Attention (Vaswani et al. 2017, arXiv:1706.03762): each query is answered with a mixture of values.

`dot_product_attention` is the computation on arrays, `MultiHeadDotProductAttention` the layer with its
projections and its cache for decoding; the mask functions say who may look at whom.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from minilinen import errors
from minilinen.functions.initializers import default_kernel_init, zeros
from minilinen.functions.known import warn_if_full
from minilinen.layers.dtypes import Array, Dtype, Initializer, promote_dtype
from minilinen.layers.linear import DenseGeneral
from minilinen.layers.normalization import LayerNorm
from minilinen.module import Module, compact, merge_param, nowrap


def dot_product_attention_weights(
  query: Array,
  key: Array,
  bias: Array | None = None,
  mask: Array | None = None,
  broadcast_dropout: bool = True,
  dropout_rng: Any = None,
  dropout_rate: float = 0.0,
  deterministic: bool = False,
  dtype: Dtype | None = None,
  precision: Any = None,
  module: Module | None = None,
  force_fp32_for_softmax: bool = False,
  einsum_dot_general: Callable[..., Array] | None = None,
  einsum: Callable[..., Array] | None = None,
) -> Array:
  """How much each query looks at each key: softmax(q k / sqrt(d)).

  Args:
    query: [batch..., q_length, heads, d].
    key: [batch..., kv_length, heads, d].
    bias: added to the scores; broadcasts to [batch..., heads, q_length, kv_length].
    mask: where False, nothing is looked at; the same shape.
    broadcast_dropout: whether all batch entries and heads drop the same.
    dropout_rng, dropout_rate, deterministic: dropout of the weights.
    dtype: dtype of the computation.
    precision: of the product.
    module: a module to sow the weights into, as "attention_weights" of "intermediates".
    force_fp32_for_softmax: whether the softmax is computed in float32.
    einsum_dot_general, einsum: take the place of `lax.dot_general` and `jnp.einsum`.

  Returns:
    [batch..., heads, q_length, kv_length].
  """
  _one_way_only("einsum", einsum, einsum_dot_general, precision)
  query, key = promote_dtype(query, key, dtype=dtype)
  dtype = query.dtype
  _same(query, key, "query", "key", slice(0, -3), "batch dims")
  _same(query, key, "query", "key", slice(-2, -1), "heads")
  _same(query, key, "query", "key", slice(-1, None), "depths")
  query = query / jnp.sqrt(query.shape[-1]).astype(dtype)
  scores = _einsum(einsum, einsum_dot_general, precision)("...qhd,...khd->...hqk", query, key)
  if bias is not None:
    scores = scores + bias
  if mask is not None:
    scores = jnp.where(mask, scores, jnp.finfo(dtype).min)
  if force_fp32_for_softmax and dtype != jnp.float32:
    weights = jax.nn.softmax(scores.astype(jnp.float32))
  else:
    weights = jax.nn.softmax(scores).astype(dtype)
  if module is not None:
    module.sow("intermediates", "attention_weights", weights)
  if deterministic or dropout_rate <= 0.0:
    return weights
  keep_prob = 1.0 - dropout_rate
  shape = (1,) * (key.ndim - 2) + weights.shape[-2:] if broadcast_dropout else weights.shape
  keep = jax.random.bernoulli(dropout_rng, keep_prob, shape)
  return weights * (keep.astype(dtype) / jnp.asarray(keep_prob, dtype=dtype))


def _einsum(einsum: Any, dot_general: Any, precision: Any) -> Callable[..., Array]:
  if einsum is not None:
    return einsum
  if dot_general is None:
    return functools.partial(jnp.einsum, precision=precision)
  return functools.partial(jnp.einsum, precision=precision, _dot_general=dot_general)


def _one_way_only(name: str, einsum: Any, dot_general: Any, precision: Any) -> None:
  if einsum is not None and not (dot_general is None and precision is None):
    raise ValueError(
      f"precision/einsum_dot_general and {name} are mutually exclusive: an einsum of your own takes both itself, as"
      " functools.partial(jnp.einsum, precision=...)."
    )


def _same(a: Array, b: Array, a_name: str, b_name: str, part: slice, what: str) -> None:
  if a.ndim != b.ndim or a.shape[part] != b.shape[part]:
    raise ValueError(f"{a_name}, {b_name} {what} must match: their shapes are {a.shape} and {b.shape}.")


def dot_product_attention(
  query: Array,
  key: Array,
  value: Array,
  bias: Array | None = None,
  mask: Array | None = None,
  broadcast_dropout: bool = True,
  dropout_rng: Any = None,
  dropout_rate: float = 0.0,
  deterministic: bool = False,
  dtype: Dtype | None = None,
  precision: Any = None,
  module: Module | None = None,
  force_fp32_for_softmax: bool = False,
  einsum_dot_general: Callable[..., Array] | None = None,
  qk_attn_weights_einsum: Callable[..., Array] | None = None,
  attn_weights_value_einsum: Callable[..., Array] | None = None,
) -> Array:
  """Each query answered with a mixture of values, by `dot_product_attention_weights`.

  Args:
    query: [batch..., q_length, heads, d].
    key: [batch..., kv_length, heads, d].
    value: [batch..., kv_length, heads, v].
    others: as for `dot_product_attention_weights`.

  Returns:
    [batch..., q_length, heads, v].
  """
  if (qk_attn_weights_einsum is None) != (attn_weights_value_einsum is None):
    raise ValueError(
      "qk_attn_weights_einsum and attn_weights_value_einsum must be specified together; give jnp.einsum for the other."
    )
  _one_way_only(
    "qk_attn_weights_einsum/attn_weights_value_einsum", qk_attn_weights_einsum, einsum_dot_general, precision
  )
  query, key, value = promote_dtype(query, key, value, dtype=dtype)
  _same(key, value, "key", "value", slice(0, -1), "lengths and heads")
  weights = dot_product_attention_weights(
    query, key, bias, mask, broadcast_dropout, dropout_rng, dropout_rate, deterministic, query.dtype, precision,
    module, force_fp32_for_softmax, einsum_dot_general, qk_attn_weights_einsum,
  )  # fmt: skip
  mix = _einsum(attn_weights_value_einsum, einsum_dot_general, precision)
  return mix("...hqk,...khd->...qhd", weights, value)


class MultiHeadDotProductAttention(Module):
  """Attention with several heads, each with its own projections.

  Attributes:
    num_heads: how many heads; divides `qkv_features`.
    dtype, param_dtype, precision: as for `Dense`.
    qkv_features: size of all heads' queries together; by default that of the input.
    out_features: size of the output; by default that of the input.
    broadcast_dropout, dropout_rate, deterministic: dropout of the weights.
    kernel_init, out_kernel_init, bias_init, out_bias_init, use_bias: of the projections.
    attention_fn: the computation, as `dot_product_attention`; called as `attention_fn(query, key, value, ...)` with
      those of its keyword arguments that it names.
    decode: whether keys and values are kept in the collection "cache", one position a call.
    normalize_qk: whether queries and keys are layer-normalized.
    force_fp32_for_softmax: whether the softmax is computed in float32.
    qkv_dot_general, out_dot_general and the *_cls: take the place of `lax.dot_general` and `jnp.einsum`.
  """

  num_heads: int
  dtype: Dtype | None = None
  param_dtype: Dtype = jnp.float32
  qkv_features: int | None = None
  out_features: int | None = None
  broadcast_dropout: bool = True
  dropout_rate: float = 0.0
  deterministic: bool | None = None
  precision: Any = None
  kernel_init: Initializer = default_kernel_init
  out_kernel_init: Initializer | None = None
  bias_init: Initializer = zeros
  out_bias_init: Initializer | None = None
  use_bias: bool = True
  attention_fn: Callable[..., Array] = dot_product_attention
  decode: bool = False
  normalize_qk: bool = False
  force_fp32_for_softmax: bool = False
  qkv_dot_general: Callable[..., Array] | None = None
  out_dot_general: Callable[..., Array] | None = None
  qkv_dot_general_cls: Any = None
  out_dot_general_cls: Any = None
  qk_attn_weights_einsum_cls: Callable[..., Callable[..., Array]] | None = None
  attn_weights_value_einsum_cls: Callable[..., Callable[..., Array]] | None = None

  @compact
  def __call__(
    self,
    inputs_q: Array,
    inputs_k: Array | None = None,
    inputs_v: Array | None = None,
    *,
    inputs_kv: Array | None = None,
    mask: Array | None = None,
    deterministic: bool | None = None,
    dropout_rng: Any = None,
    sow_weights: bool = False,
  ) -> Array:
    """Answers queries from keys and values.

    Args:
      inputs_q: [batch..., q_length, features].
      inputs_k: [batch..., kv_length, features]; by default the queries.
      inputs_v: [batch..., kv_length, features]; by default the keys.
      inputs_kv: keys and values at once, the older form.
      mask: [batch..., heads, q_length, kv_length], where False nothing is looked at.
      deterministic, dropout_rng: dropout of the weights.
      sow_weights: whether the weights are sown into "intermediates".

    Returns:
      [batch..., q_length, out_features].

    Raises:
      IndexError: if the queries have no axis of length.
      ValueError: if the inputs contradict each other, or the heads don't divide the features.
    """
    if jnp.ndim(inputs_q) < 2:
      raise IndexError(
        f"attention takes [batch..., length, features], but the queries are {jnp.shape(inputs_q)}."
      )
    inputs_k, inputs_v = self._sources(inputs_q, inputs_k, inputs_v, inputs_kv)
    features = self.out_features or inputs_q.shape[-1]
    qkv_features = self.qkv_features or inputs_q.shape[-1]
    if qkv_features % self.num_heads != 0:
      raise ValueError(
        f"Memory dimension ({qkv_features}) must be divisible by number of heads ({self.num_heads}): choose"
        f" qkv_features={-(-qkv_features // self.num_heads) * self.num_heads}."
      )
    project = functools.partial(
      DenseGeneral,
      axis=-1,
      dtype=self.dtype,
      param_dtype=self.param_dtype,
      features=(self.num_heads, qkv_features // self.num_heads),
      kernel_init=self.kernel_init,
      bias_init=self.bias_init,
      use_bias=self.use_bias,
      precision=self.precision,
      dot_general=self.qkv_dot_general,
      dot_general_cls=self.qkv_dot_general_cls,
    )
    query = project(name="query")(inputs_q)
    key = project(name="key")(inputs_k)
    value = project(name="value")(inputs_v)
    if self.normalize_qk:
      norm = functools.partial(LayerNorm, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype)
      query, key = norm(name="query_ln")(query), norm(name="key_ln")(key)
    if self.decode:
      key, value, mask = self._with_cache(query, key, value, mask)
    x = self._attend(query, key, value, mask, deterministic, dropout_rng, sow_weights)
    return DenseGeneral(
      features=features,
      axis=(-2, -1),
      kernel_init=self.out_kernel_init or self.kernel_init,
      bias_init=self.out_bias_init or self.bias_init,
      use_bias=self.use_bias,
      dtype=self.dtype,
      param_dtype=self.param_dtype,
      precision=self.precision,
      dot_general=self.out_dot_general,
      dot_general_cls=self.out_dot_general_cls,
      name="out",
    )(x)

  @nowrap
  def _sources(self, q: Array, k: Array | None, v: Array | None, kv: Array | None) -> tuple[Array, Array]:
    if kv is not None:
      if k is not None or v is not None:
        raise ValueError("If either `inputs_k` or `inputs_v` is not None, `inputs_kv` must be None.")
      errors.show(errors.DeprecatedWarning("inputs_kv", "attention(x, inputs_k=...)", type(self).__name__))
      return kv, kv
    if k is None:
      if v is not None:
        raise ValueError("`inputs_k` cannot be None if `inputs_v` is not None; pass inputs_k=... too.")
      k = q
    return k, k if v is None else v

  @nowrap
  def _with_cache(
    self, query: Array, key: Array, value: Array, mask: Array | None
  ) -> tuple[Array, Array, Array | None]:
    """Keys and values of all positions so far, and who may look at them.

    The cache is made on the first call, in the shape of that call's keys; each call after it adds one position.
    """
    ready = self.has_variable("cache", "cached_key")
    cached_key = self.variable("cache", "cached_key", jnp.zeros, key.shape, key.dtype)
    cached_value = self.variable("cache", "cached_value", jnp.zeros, value.shape, value.dtype)
    cache_index = self.variable("cache", "cache_index", lambda: jnp.array(0, dtype=jnp.int32))
    if not ready:
      return key, value, mask
    *batch, length, heads, depth = cached_key.value.shape
    expected = (*batch, 1, heads, depth)
    if expected != query.shape:
      raise ValueError(
        f"Autoregressive cache shape error, expected query shape {expected} instead got {query.shape}: decoding"
        " goes one position a call."
      )
    index = cache_index.value
    warn_if_full(index, length, self)
    zero = jnp.array(0, dtype=lax.dtype(index.dtype))
    at = (zero,) * len(batch) + (index, zero, zero)
    key = lax.dynamic_update_slice(cached_key.value, key, at)
    value = lax.dynamic_update_slice(cached_value.value, value, at)
    cached_key.value, cached_value.value, cache_index.value = key, value, index + 1
    seen = jnp.broadcast_to(jnp.arange(length) <= index, (*batch, 1, 1, length))
    return key, value, combine_masks(mask, seen)

  @nowrap
  def _attend(
    self, query: Array, key: Array, value: Array, mask: Any, deterministic: Any, dropout_rng: Any, sow: bool
  ) -> Array:
    still = True
    if self.dropout_rate > 0.0:
      still = merge_param("deterministic", self.deterministic, deterministic)
      if not still and dropout_rng is None:
        dropout_rng = self.make_rng("dropout")
    options = {
      "mask": mask,
      "dropout_rng": dropout_rng,
      "dropout_rate": self.dropout_rate,
      "broadcast_dropout": self.broadcast_dropout,
      "deterministic": still,
      "dtype": self.dtype,
      "precision": self.precision,
      "force_fp32_for_softmax": self.force_fp32_for_softmax,
    }
    if self.qk_attn_weights_einsum_cls is not None:
      options["qk_attn_weights_einsum"] = self.qk_attn_weights_einsum_cls()
    if self.attn_weights_value_einsum_cls is not None:
      options["attn_weights_value_einsum"] = self.attn_weights_value_einsum_cls()
    understood = inspect.signature(self.attention_fn).parameters
    options = {name: value for name, value in options.items() if name in understood}
    return self.attention_fn(query, key, value, **options, **({"module": self} if sow else {}))


class MultiHeadAttention(MultiHeadDotProductAttention):
  """`MultiHeadDotProductAttention` under its shorter name."""


class SelfAttention(MultiHeadDotProductAttention):
  """Attention of a sequence to itself."""

  @compact
  def __call__(  # type: ignore[override]
    self,
    inputs_q: Array,
    mask: Array | None = None,
    deterministic: bool | None = None,
    dropout_rng: Any = None,
    sow_weights: bool = False,
  ) -> Array:
    """[batch..., length, features] to [batch..., length, out_features]."""
    errors.show(errors.DeprecatedWarning("SelfAttention", "nn.MultiHeadDotProductAttention(...)(x)"))
    options: Any = dict(deterministic=deterministic, dropout_rng=dropout_rng, sow_weights=sow_weights)
    return super().__call__(inputs_q, mask=mask, **options)


def make_attention_mask(
  query_input: Array,
  key_input: Array,
  pairwise_fn: Callable[..., Any] = jnp.multiply,
  extra_batch_dims: int = 0,
  dtype: Dtype = jnp.float32,
) -> Array:
  """A mask from a function of each query and key.

  Args:
    query_input: [batch..., q_length], as a rule 1 for a token and 0 for padding.
    key_input: [batch..., kv_length].
    pairwise_fn: of one of each.
    extra_batch_dims: new leading axes of size 1.
    dtype: of the mask.

  Returns:
    [batch..., 1, q_length, kv_length].
  """
  mask = pairwise_fn(jnp.expand_dims(query_input, axis=-1), jnp.expand_dims(key_input, axis=-2))
  mask = jnp.expand_dims(mask, axis=-3)
  mask = jnp.expand_dims(mask, axis=tuple(range(extra_batch_dims)))
  return mask.astype(dtype)


def make_causal_mask(x: Array, extra_batch_dims: int = 0, dtype: Dtype = jnp.float32) -> Array:
  """A mask that lets each position look at itself and what comes before.

  Args:
    x: [batch..., length], of which only the shape is used.

  Returns:
    [batch..., 1, length, length].
  """
  positions = jnp.broadcast_to(jnp.arange(x.shape[-1], dtype=jnp.int32), x.shape)
  return make_attention_mask(positions, positions, jnp.greater_equal, extra_batch_dims, dtype)


def combine_masks(*masks: Array | None, dtype: Dtype = jnp.float32) -> Array | None:
  """A mask that allows what all of them allow; None is passed over.

  Raises:
    ValueError: if the masks have different numbers of axes.
  """
  given = [m for m in masks if m is not None]
  if not given:
    return None
  if any(m.ndim != given[0].ndim for m in given):
    raise ValueError(f"masks must have same rank: {tuple(m.ndim for m in given)}")
  mask, *others = given
  for other in others:
    mask = jnp.logical_and(mask, other)
  return mask.astype(dtype)
