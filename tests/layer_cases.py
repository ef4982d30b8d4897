"""Every layer with all of its arguments: what is compared with Flax, counted, and read by type checkers."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def arr(*shape, dtype=jnp.float32, seed=0):
  x = jax.random.normal(jax.random.PRNGKey(seed), shape)
  return (x * 3).astype(dtype)


BF16 = jnp.bfloat16
X = arr(3, 4)
IMAGE = arr(2, 6, 6, 4)

LAYERS = [
  ("Dense", dict(features=3), (X,)),
  ("Dense", dict(features=3, use_bias=False), (arr(2, 3, 4),)),
  ("Dense", dict(features=3, dtype=BF16), (X,)),
  ("Dense", dict(features=3, param_dtype=BF16), (X,)),
  ("Dense", dict(features=2, precision="highest", bias_init=jax.nn.initializers.ones), (arr(4),)),
  ("Dense", dict(features=2, dot_general=jax.lax.dot_general), (X,)),
  ("Dense", dict(features=2, dot_general_cls=lambda: jax.lax.dot_general), (X,)),
  ("Dense", dict(features=2, kernel_init=jax.nn.initializers.normal()), (jnp.arange(8).reshape(2, 4),)),
  ("DenseGeneral", dict(features=3), (X,)),
  ("DenseGeneral", dict(features=(2, 3), axis=(0, -1)), (arr(2, 3, 4),)),
  ("DenseGeneral", dict(features=(2, 3), axis=-1, batch_dims=0), (arr(2, 3, 4),)),
  ("DenseGeneral", dict(features=5, axis=(1, 2), batch_dims=(0,), use_bias=False), (arr(2, 3, 4),)),
  ("DenseGeneral", dict(features=5, axis=-1, batch_dims=(0, 1)), (arr(2, 3, 4),)),
  ("DenseGeneral", dict(features=(2, 2), dtype=BF16), (X,)),
  ("Einsum", dict(shape=(4, 5), einsum_str="bi,ij->bj"), (X,)),
  ("Einsum", dict(shape=(4, 5, 2), einsum_str="...i,ijk->...jk"), (arr(2, 3, 4),)),
  ("Einsum", dict(shape=(3, 4, 5), einsum_str="abi,bij->abj", use_bias=False), (arr(2, 3, 4),)),
  ("Einsum", dict(shape=(4, 5)), (X, "bi,ij->jb")),
  ("Embed", dict(num_embeddings=5, features=3), (jnp.array([[0, 1, 4], [2, 2, 3]]),)),
  ("Embed", dict(num_embeddings=5, features=3, dtype=BF16), (jnp.array([0, 1, 9]),)),
  ("Embed", dict(num_embeddings=1, features=3), (jnp.array([0, 1]),)),
  ("Conv", dict(features=3, kernel_size=(3, 3)), (IMAGE,)),
  ("Conv", dict(features=3, kernel_size=3), (arr(2, 6, 4),)),
  ("Conv", dict(features=3, kernel_size=(3,)), (arr(6, 4),)),
  ("Conv", dict(features=3, kernel_size=(3, 2), strides=2, padding="VALID"), (arr(2, 2, 6, 6, 4),)),
  ("Conv", dict(features=4, kernel_size=(3, 3), feature_group_count=2, use_bias=False), (IMAGE,)),
  ("Conv", dict(features=4, kernel_size=(3, 3), padding="CIRCULAR", kernel_dilation=2), (IMAGE,)),
  ("Conv", dict(features=4, kernel_size=(3, 3), padding="REFLECT"), (IMAGE,)),
  ("Conv", dict(features=4, kernel_size=(3,), padding="CAUSAL", kernel_dilation=(2,)), (arr(2, 6, 4),)),
  ("Conv", dict(features=4, kernel_size=(3, 3), padding=1, input_dilation=2), (IMAGE,)),
  ("Conv", dict(features=4, kernel_size=(3, 3), padding=[(0, 1), (2, 0)]), (IMAGE,)),
  ("Conv", dict(features=4, kernel_size=(3, 3), padding=(1, 2), strides=None), (IMAGE,)),
  ("Conv", dict(features=4, kernel_size=(3, 3), mask=jnp.ones((3, 3, 4, 4))), (IMAGE,)),
  ("Conv", dict(features=4, kernel_size=(2, 2), dtype=BF16), (IMAGE,)),
  ("ConvLocal", dict(features=3, kernel_size=(3, 3)), (arr(1, 4, 4, 2),)),
  (
    "ConvLocal",
    dict(features=3, kernel_size=(3,), padding="VALID", strides=2, use_bias=False),
    (arr(2, 6, 4),),
  ),
  ("ConvTranspose", dict(features=3, kernel_size=(3, 3)), (IMAGE,)),
  ("ConvTranspose", dict(features=3, kernel_size=(3, 3), strides=(2, 2)), (IMAGE,)),
  ("ConvTranspose", dict(features=3, kernel_size=4, strides=(2,), padding="VALID"), (arr(2, 6, 4),)),
  ("ConvTranspose", dict(features=3, kernel_size=(3, 3), strides=(2, 2), padding="CIRCULAR"), (IMAGE,)),
  (
    "ConvTranspose",
    dict(features=3, kernel_size=(4, 3), padding="CIRCULAR", transpose_kernel=True),
    (IMAGE,),
  ),
  ("ConvTranspose", dict(features=3, kernel_size=(4, 4), strides=(2, 2), transpose_kernel=True), (IMAGE,)),
  ("ConvTranspose", dict(features=3, kernel_size=(3,), kernel_dilation=(2,), padding=1), (arr(6, 4),)),
  ("BatchNorm", dict(use_running_average=True), (X,)),
  ("BatchNorm", dict(use_running_average=False), (IMAGE,)),
  ("BatchNorm", dict(use_running_average=False, use_fast_variance=False, momentum=0.9), (IMAGE,)),
  ("BatchNorm", dict(use_running_average=False, axis=1, use_bias=False), (IMAGE,)),
  ("BatchNorm", dict(use_running_average=False, axis=(1, -1), use_scale=False), (IMAGE,)),
  ("BatchNorm", dict(use_running_average=False, dtype=BF16), (IMAGE,)),
  ("BatchNorm", dict(use_running_average=False, force_float32_reductions=False), (arr(3, 4, dtype=BF16),)),
  ("LayerNorm", dict(), (arr(2, 3, 4),)),
  ("LayerNorm", dict(use_fast_variance=False, epsilon=1e-3), (arr(2, 3, 4),)),
  ("LayerNorm", dict(reduction_axes=(1, 2), feature_axes=(1, 2)), (arr(2, 3, 4),)),
  ("LayerNorm", dict(use_bias=False, use_scale=False), (arr(2, 3, 4, dtype=BF16),)),
  ("LayerNorm", dict(dtype=BF16), (arr(2, 3, 4),)),
  ("RMSNorm", dict(), (arr(2, 3, 4),)),
  ("RMSNorm", dict(use_scale=False, dtype=BF16), (arr(2, 3, 4),)),
  ("GroupNorm", dict(num_groups=2), (IMAGE,)),
  ("GroupNorm", dict(num_groups=None, group_size=2, use_bias=False), (IMAGE,)),
  ("GroupNorm", dict(num_groups=2, reduction_axes=(-1,)), (IMAGE,)),
  ("InstanceNorm", dict(), (IMAGE,)),
  ("InstanceNorm", dict(feature_axes=(1, -1)), (IMAGE,)),
  ("PReLU", dict(), (X,)),
  ("PReLU", dict(param_dtype=BF16, negative_slope_init=0.2), (X,)),
  ("Dropout", dict(rate=0.5, deterministic=False), (X,)),
  ("Dropout", dict(rate=0.5, deterministic=True), (X,)),
  ("Dropout", dict(rate=0.0, deterministic=False), (X,)),
  ("Dropout", dict(rate=1.0, deterministic=False), (X,)),
  ("Dropout", dict(rate=0.5, broadcast_dims=(0,), deterministic=False, rng_collection="noise"), (X,)),
  ("MultiHeadDotProductAttention", dict(num_heads=2), (arr(2, 3, 4),)),
  ("MultiHeadDotProductAttention", dict(num_heads=2, qkv_features=6, out_features=5), (arr(3, 4), arr(5, 4))),
  ("MultiHeadDotProductAttention", dict(num_heads=2, normalize_qk=True, use_bias=False), (arr(2, 3, 4),)),
  (
    "MultiHeadDotProductAttention",
    dict(num_heads=2, dtype=BF16, force_fp32_for_softmax=True),
    (arr(2, 3, 4),),
  ),
  ("MultiHeadDotProductAttention", dict(num_heads=2, dropout_rate=0.3, deterministic=False), (arr(2, 3, 4),)),
  (
    "MultiHeadDotProductAttention",
    dict(num_heads=2, dropout_rate=0.3, deterministic=False, broadcast_dropout=False),
    (arr(2, 3, 4),),
  ),
  ("MultiHeadAttention", dict(num_heads=2, qkv_dot_general=jax.lax.dot_general), (arr(2, 3, 4),)),
  ("SelfAttention", dict(num_heads=2), (arr(2, 3, 4),)),
  ("LSTMCell", dict(features=3), ((arr(2, 3), arr(2, 3)), arr(2, 4))),
  ("LSTMCell", dict(features=3, dtype=BF16), ((arr(2, 3), arr(2, 3)), arr(2, 4))),
  ("OptimizedLSTMCell", dict(features=3), ((arr(2, 3), arr(2, 3)), arr(2, 4))),
]


# What both refuse, and how both begin to say why.
