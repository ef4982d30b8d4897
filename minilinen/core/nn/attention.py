"""May be skipped: attention as functions of a scope, over any axes (Vaswani et al. 2017, arXiv:1706.03762).

`dot_product_attention` is the computation, `multi_head_dot_product_attention` puts projections, masks and a cache for
decoding around it. The cache is the variable "entry" of the collection "cache". What `init` puts there is a function
from the shape of the decoded sequence, [batch, *attention axes], to an empty `CacheEntry`:

    cache = jax.tree.map(lambda entry: entry((batch, length)), variables["cache"])
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from minilinen import errors
from minilinen.core.nn.linear import dense_general
from minilinen.core.scope import Scope
from minilinen.functions import initializers
from minilinen.functions.initializers import Initializer, default_kernel_init
from minilinen.functions.known import warn_if_full

Axes = int | Sequence[int]


def dot_product_attention(
  scope: Scope,
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  dtype: Any = jnp.float32,
  bias: jax.Array | None = None,
  axis: Axes | None = None,
  broadcast_dropout: bool = True,
  dropout_rng: Any = None,
  dropout_rate: float = 0.0,
  deterministic: bool = False,
  precision: Any = None,
) -> jax.Array:
  """Answers each query with a mixture of values, weighted by softmax(q k / sqrt(d)).

  Args:
    scope: gives the key for dropout, from the stream "dropout".
    query: [batch, attended..., heads, d].
    key: [batch, attended..., heads, d].
    value: [batch, attended..., heads, v].
    dtype: dtype of the weights.
    bias: added to the scores; broadcasts to [batch..., heads, query axes..., key axes...].
    axis: the axes that are attended to; by default all between the batch and the heads.
    broadcast_dropout: whether all batch entries and heads drop the same.
    dropout_rng, dropout_rate, deterministic: dropout of the weights.
    precision: of the products.

  Returns:
    [batch, attended..., heads, v].

  Raises:
    ValueError: if the shapes don't fit each other, or `axis` is among the batch, the heads or the features.
  """
  _check_shapes(query, key, value)
  n = key.ndim
  axis = _attention_axes(axis, n)
  batch = tuple(i for i in range(n - 1) if i not in axis)
  to_front = (*batch, *axis, n - 1)
  key = key.transpose(to_front)
  query = query.transpose(to_front)
  value = value.transpose((*batch, n - 1, *axis))
  in_front = tuple(range(len(batch)))
  query = query / jnp.sqrt(query.shape[-1]).astype(dtype)
  scores = lax.dot_general(query, key, (((n - 1,), (n - 1,)), (in_front, in_front)), precision=precision)
  if bias is not None:
    scores = scores + bias
  attended = tuple(range(scores.ndim - len(axis), scores.ndim))
  weights = jnp.exp(scores - jax.nn.logsumexp(scores, axis=attended, keepdims=True)).astype(dtype)
  if not deterministic and dropout_rate > 0.0:
    if dropout_rng is None:
      dropout_rng = scope.make_rng("dropout")
    weights = _dropped(weights, dropout_rng, dropout_rate, 2 * len(axis) if broadcast_dropout else None)
  of_value = tuple(range(n - len(axis), n))
  y = lax.dot_general(weights, value, ((attended, of_value), (in_front, in_front)), precision=precision)
  return y.transpose(tuple(to_front.index(i) for i in range(n)))


def _check_shapes(query: jax.Array, key: jax.Array, value: jax.Array) -> None:
  shapes = f"query {query.shape}, key {key.shape}, value {value.shape}"
  if key.shape[:-1] != value.shape[:-1]:
    raise ValueError(f"key and value must have the same shape but for their last axis: {shapes}.")
  if query.ndim != key.ndim or query.shape[0] != key.shape[0] or query.shape[-1] != key.shape[-1]:
    raise ValueError(f"query and key must have the same number of axes, batch and last axis: {shapes}.")


def _attention_axes(axis: Axes | None, ndim: int) -> tuple[int, ...]:
  """The axes attended to, checked; `ndim` counts the heads."""
  if axis is None:
    return tuple(range(1, ndim - 2))
  axes = tuple(axis) if isinstance(axis, Iterable) else (axis,)
  if not all(1 <= ax < ndim - 2 for ax in axes):
    raise ValueError(
      f"Attention axis must be between the batch axis and the last-two axes: got {axes} for {ndim} axes, heads"
      " included."
    )
  return axes


def _dropped(weights: jax.Array, rng: Any, rate: float, own_axes: int | None) -> jax.Array:
  """Weights with dropout; the axes before the last `own_axes` all drop the same, by default none."""
  shape = weights.shape
  if own_axes is not None:
    shape = (1,) * (weights.ndim - own_axes) + shape[weights.ndim - own_axes :]
  keep = jax.random.bernoulli(rng, 1.0 - rate, shape)
  return weights * (keep.astype(weights.dtype) / jnp.asarray(1.0 - rate, dtype=weights.dtype))


@functools.partial(jax.tree_util.register_dataclass, data_fields=["key", "value", "i"], meta_fields=[])
@dataclass(frozen=True)
class CacheEntry:
  """The keys and values of the positions decoded so far; a pytree.

  Attributes:
    key, value: [batch, attended..., heads, d].
    i: how many positions there are.
  """

  key: Any
  value: Any
  i: Any

  def replace(self, **changes: Any) -> CacheEntry:
    """The same with some fields changed."""
    return replace(self, **changes)


def multi_head_dot_product_attention(
  scope: Scope,
  inputs_q: jax.Array,
  inputs_kv: jax.Array,
  num_heads: int,
  dtype: Any = jnp.float32,
  qkv_features: int | None = None,
  out_features: int | None = None,
  attention_axis: Axes | None = None,
  causal_mask: bool = False,
  padding_mask: jax.Array | None = None,
  key_padding_mask: jax.Array | None = None,
  segmentation: jax.Array | None = None,
  key_segmentation: jax.Array | None = None,
  cache: bool = False,
  broadcast_dropout: bool = True,
  dropout_rng: Any = None,
  dropout_rate: float = 0.0,
  deterministic: bool = False,
  precision: Any = None,
  kernel_init: Initializer = default_kernel_init,
  bias_init: Initializer = initializers.zeros,
  bias: bool = True,
  attention_fn: Callable[..., jax.Array] = dot_product_attention,
) -> jax.Array:
  """Attention with several heads, each with its own projections.

  Args:
    scope: where `query`, `key`, `value` and `out` live, each with a `kernel` and a `bias`, and the cache.
    inputs_q: [batch, attended..., features].
    inputs_kv: [batch, attended..., features].
    num_heads: number of heads.
    dtype: dtype of the computation.
    qkv_features: features of all heads together; by default those of `inputs_q`.
    out_features: features of the result; by default those of `inputs_q`.
    attention_axis: the axes attended to; by default all but the first and the last.
    causal_mask: whether a position may look at those before it only.
    padding_mask: [batch, attended..., 1], 0 where a query is padding.
    key_padding_mask: the same for the keys; by default `padding_mask`.
    segmentation: [batch, attended..., 1], numbers: a query only looks at keys of its own segment.
    key_segmentation: the same for the keys; by default `segmentation`.
    cache: whether to decode, a position a call, with what came before in the collection "cache".
    broadcast_dropout, dropout_rng, dropout_rate, deterministic: dropout of the weights.
    precision: of the products.
    kernel_init, bias_init, bias: of the projections.
    attention_fn: takes the place of `dot_product_attention`.

  Returns:
    [batch, attended..., out_features].

  Raises:
    ValueError: if the heads don't divide the features, the cache is not made yet or is for another shape, or is asked
      for without `causal_mask`.
  """
  if cache and not causal_mask:
    raise ValueError("Caching is only supported for causal attention: pass causal_mask=True.")
  features = out_features or inputs_q.shape[-1]
  qkv_features = qkv_features or inputs_q.shape[-1]
  if qkv_features % num_heads != 0:
    raise ValueError(
      f"Memory dimension must be divisible by number of heads: {qkv_features} features, {num_heads} heads."
    )
  axis = _attention_axes(
    range(1, inputs_q.ndim - 1) if attention_axis is None else attention_axis, inputs_q.ndim + 1
  )
  dense = functools.partial(
    dense_general, kernel_init=kernel_init, bias_init=bias_init, bias=bias, dtype=dtype, precision=precision
  )
  heads = (num_heads, qkv_features // num_heads)
  query = scope.child(dense, "query", features=heads)(inputs_q)
  key = scope.child(dense, "key", features=heads)(inputs_kv)
  value = scope.child(dense, "value", features=heads)(inputs_kv)

  entry = _cache_entry(scope, key.shape) if cache else None
  if entry is not None:
    entry = _with_position(entry, query, key, value, axis)
    key, value = entry.key, entry.value
    scope.put_variable("cache", "entry", entry)
    key_padding_mask = _positions_so_far(entry)
  masks = []
  if causal_mask:
    masks.append(_make_causal_mask(key, axis) if entry is None else _mask_so_far(entry, axis))
  if padding_mask is not None:
    keys = padding_mask if key_padding_mask is None else key_padding_mask
    masks.append(make_padding_mask(padding_mask, keys, query.shape, key.shape, axis))
  if segmentation is not None:
    keys = segmentation if key_segmentation is None else key_segmentation
    masks.append(make_padding_mask(segmentation, keys, query.shape, key.shape, axis, segmentation_mask=True))

  y = scope.child(attention_fn)(
    query,
    key,
    value,
    dtype=dtype,
    axis=axis,
    bias=_as_bias(masks, dtype),
    precision=precision,
    dropout_rng=dropout_rng,
    dropout_rate=dropout_rate,
    broadcast_dropout=broadcast_dropout,
    deterministic=deterministic,
  )
  return scope.child(dense, "out", features=features, axis=(-2, -1))(y)


def _as_bias(masks: Sequence[jax.Array], dtype: Any) -> jax.Array | None:
  """What to add to the scores: nothing where all masks allow it, else very little."""
  if not masks:
    return None
  allowed = functools.reduce(jnp.logical_and, masks) > 0
  nothing, very_little = (jnp.full(allowed.shape, x).astype(dtype) for x in (0.0, -1e10))
  return lax.select(allowed, nothing, very_little)


def _cache_entry(scope: Scope, shape: tuple[int, ...]) -> CacheEntry | None:
  """The cache so far; None where it is only being declared.

  Args:
    scope: of the attention.
    shape: of the keys [batch, attended..., heads, d], of which the last two are the cache's too.
  """
  if not scope.has_variable("cache", "entry"):

    def empty(of: tuple[int, ...], dtype: Any = jnp.float32) -> CacheEntry:
      if len(of) != len(shape) - 2:
        raise ValueError(f"Shape should be a tuple with the shape of the batch and attention dims, got {of}.")
      full = (*of, *shape[-2:])
      return CacheEntry(jnp.zeros(full, dtype), jnp.zeros(full, dtype), jnp.zeros((), jnp.uint32))

    scope.variable("cache", "entry", lambda: empty)
    return None
  entry = scope.get_variable("cache", "entry")
  if not isinstance(entry, CacheEntry):
    raise ValueError(
      "Cache is not initialized. Call what init put there: jax.tree.map(lambda f: f((batch, length)),"
      ' variables["cache"]).'
    )
  length = math.prod(entry.key.shape[1:-2])
  warn_if_full(entry.i, length, scope, "attention", right="", mend=_LONGER)
  return entry


_LONGER = errors.FullCacheWarning.entries


def _with_position(
  entry: CacheEntry, query: jax.Array, key: jax.Array, value: jax.Array, axis: tuple[int, ...]
) -> CacheEntry:
  """The cache with the keys and values of one more position."""
  cached = entry.key.shape
  expected = tuple(1 if i in axis else size for i, size in enumerate(cached))
  if query.shape != expected:
    raise ValueError(
      f"Invalid shape provided, expected shape {expected} instead got {query.shape}: one position a call."
    )
  place: list[Any] = [0] * len(cached)
  rest = entry.i
  sizes = [cached[ax] for ax in axis]
  for number, ax in enumerate(axis):
    step = jnp.int32(math.prod(sizes[number + 1 :]))
    place[ax], rest = rest // step, rest % step
  key = lax.dynamic_update_slice(entry.key, key, place)
  value = lax.dynamic_update_slice(entry.value, value, place)
  return CacheEntry(key, value, entry.i + 1)


def _positions_so_far(entry: CacheEntry) -> jax.Array:
  """[batch, length, 1], 1 for the positions that are in the cache."""
  so_far = jnp.arange(entry.key.shape[1]) < entry.i
  return jnp.broadcast_to(so_far, entry.key.shape[:2]).astype(jnp.float32)[..., None]


def _mask_so_far(entry: CacheEntry, axis: tuple[int, ...]) -> jax.Array:
  """[1..., attended...], True for the positions that are in the cache."""
  sizes = tuple(entry.key.shape[ax] for ax in axis)
  so_far = jnp.arange(math.prod(sizes), dtype=jnp.uint32) < entry.i
  return so_far.reshape((1,) * (entry.key.ndim - 1) + sizes)


def make_padding_mask(
  padding_mask_query: jax.Array,
  padding_mask_key: jax.Array,
  query_shape: Sequence[int],
  key_shape: Sequence[int],
  attention_axis: Axes | None = None,
  segmentation_mask: bool = False,
) -> jax.Array:
  """A mask from what is padding, or from the segments.

  Args:
    padding_mask_query: [batch, attended..., 1], 0 for padding, or the number of the segment.
    padding_mask_key: [batch, attended..., 1], the same for the keys.
    query_shape: [batch, attended..., heads, d].
    key_shape: [batch, attended..., heads, d].
    attention_axis: the axes attended to; by default all between the batch and the heads.
    segmentation_mask: whether the numbers are of segments.

  Returns:
    [batch, 1, query axes..., key axes...], 1 where a query may look at a key.
  """
  axis = _attention_axes(attention_axis, len(query_shape))
  sizes = [tuple(shape[ax] for ax in axis) for shape in (query_shape, key_shape)]
  query, key = padding_mask_query[..., None], padding_mask_key[..., None]
  # Several key axes come out in reverse here, as they do in Flax.
  key = key.transpose((0, *reversed(range(1, key.ndim))))
  mask = query == key if segmentation_mask else jnp.multiply(query, key)
  return mask.reshape((mask.shape[0], 1, *sizes[0], *sizes[1])).astype(jnp.float32)


def _make_causal_mask(
  key: jax.Array, attention_axis: Axes | None = None, self_mask: bool = False
) -> jax.Array:
  """[1..., query axes..., key axes...], True where a key is not after the query.

  Args:
    key: [batch, attended..., heads, d], of which only the shape is used.
    attention_axis: the axes attended to.
    self_mask: whether a position may not even look at itself.
  """
  sizes = tuple(key.shape[ax] for ax in _attention_axes(attention_axis, key.ndim))
  n = math.prod(sizes)
  queries, keys = lax.iota(jnp.int32, n), lax.iota(jnp.int32, n)
  last_seen = lax.broadcast_in_dim(queries, (n, n), (0,)) + (-1 if self_mask else 0)
  mask = last_seen >= lax.broadcast_in_dim(keys, (n, n), (1,))
  return mask.reshape((1,) * (key.ndim - 1 - len(sizes)) + sizes + sizes)
