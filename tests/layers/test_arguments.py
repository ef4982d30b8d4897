"""Random arguments of the layers: whatever combination is chosen, the layer does what Flax's does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import KEY, equations, same, same_or_error

# Random arguments are now and then such as a user is warned of.
pytestmark = [
  pytest.mark.grid,
  pytest.mark.filterwarnings("ignore::minilinen.errors.IdsOutsideWarning"),
  pytest.mark.filterwarnings("ignore::minilinen.errors.KernelSizeWarning"),
]

BF16 = jnp.bfloat16
NORMAL = jax.nn.initializers.normal()
KERNELS = st.sampled_from([3, (2,), (3, 2), (1, 1), (3, 3)])
DTYPES = st.sampled_from([None, None, jnp.float32, BF16, jnp.float16])
PARAM_DTYPES = st.sampled_from([jnp.float32, jnp.float32, BF16])
PRECISIONS = st.sampled_from([None, "highest", jax.lax.Precision.HIGH])
BOOL = st.booleans()
few = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def arr(*shape, dtype=jnp.float32):
  return (jax.random.normal(KEY, shape) * 2).astype(dtype)


def doubled_dot(*args, **kwargs):
  return 2 * jax.lax.dot_general(*args, **kwargs)


def doubled_conv(*args, **kwargs):
  return 2 * jax.lax.conv_general_dilated(*args, **kwargs)


def doubled_einsum(*args, **kwargs):
  return 2 * jnp.einsum(*args, **kwargs)


def to_float32(*args, dtype=None, inexact=True):
  return [None if x is None else jnp.asarray(x, jnp.float32) for x in args]


def alike(name, *args, streams=("params", "dropout"), mutable=False, call=None, **options):
  """Tree, values, outputs and equations of a layer; cheaper than `same_model`, since nothing is compiled for long."""
  call = call or {}
  keys = {s: jax.random.fold_in(KEY, i) for i, s in enumerate(streams)}

  def program(nn):
    model = getattr(nn, name)(**options)
    variables = jax.jit(lambda: model.init(keys, *args, **call))()

    def apply(variables, *args):
      return model.apply(variables, *args, rngs=keys, mutable=mutable, **call)

    jaxpr, shapes = jax.make_jaxpr(apply, return_shape=True)(variables, *args)
    return variables, equations(jaxpr), jax.tree.map(lambda s: (s.shape, str(s.dtype)), shapes)

  same_or_error(program, ours="ValueError")  # where Flax asserts


DENSE = dict(
  dtype=DTYPES,
  param_dtype=PARAM_DTYPES,
  precision=PRECISIONS,
  use_bias=BOOL,
  bias_init=st.just(NORMAL),
  promote_dtype=st.sampled_from([to_float32]),
  dot_general=st.sampled_from([None, doubled_dot]),
  dot_general_cls=st.sampled_from([None, lambda: doubled_dot]),
)


def some_of(required, optional):
  """Settings with all of some and any of the others."""
  return st.fixed_dictionaries(required, optional=optional)


X_DTYPES = st.sampled_from([jnp.float32, BF16, jnp.int32])


@few
@given(some_of({"features": st.integers(1, 3)}, DENSE), X_DTYPES)
def test_dense(options, dtype):
  alike("Dense", arr(2, 3, 4, dtype=dtype), **options)


GENERAL_AXES = st.sampled_from(
  [(-1, ()), ((1, 2), ()), ((0, 2), ()), (2, (0,)), ((2, 3), (0, 1)), ((-1, 1), (0,)), (1, (0,))]
)


@few
@given(some_of({"features": st.sampled_from([2, (2, 3), (1,)])}, DENSE), GENERAL_AXES)
def test_dense_general(options, axes):
  alike("DenseGeneral", arr(2, 3, 4, 2), axis=axes[0], batch_dims=axes[1], **options)


@few
@given(
  some_of(
    {"shape": st.just((4, 5, 2))},
    {k: v for k, v in DENSE.items() if "dot" not in k}
    | {"preferred_element_type": st.sampled_from([jnp.float32, BF16])},
  ),
  st.sampled_from(
    ["abi,ijk->abjk", "...i,ijk->...jk", "abi,ijk->ak", "abi, ijk -> kjab", "abi,ijk->", "ab...,...jk->abjk"]
  ),
  BOOL,
)
def test_einsum(options, equation, in_call):
  given = dict(call=dict(einsum_str=equation)) if in_call else dict(einsum_str=equation)
  alike("Einsum", arr(2, 3, 4), **given, **options)


@pytest.mark.parametrize(
  "equation,shape",
  [
    ("...i,...ij->...j", (3, 4, 5)),
    ("...i,...ij->...j", (2, 3, 4, 5)),
    ("...i,j...i->...j", (5, 3, 4)),
    ("abi,...ij->ab...j", (6, 4, 5)),
  ],
)
def test_einsum_with_axes_of_the_kernel_left_open(equation, shape):
  alike("Einsum", arr(2, 3, 4), shape=shape, einsum_str=equation, bias_init=NORMAL)


@few
@given(
  some_of(
    {"num_embeddings": st.integers(1, 5), "features": st.integers(1, 3)},
    dict(
      dtype=DTYPES,
      param_dtype=PARAM_DTYPES,
      embedding_init=st.just(NORMAL),
      promote_dtype=st.just(to_float32),
    ),
  ),
  BOOL,
)
def test_embed(options, attend):
  x = arr(2, options["features"]) if attend else jnp.array([[0, 4, 1], [-1, 2, 9]])
  alike("Embed", x, call=dict(method="attend") if attend else {}, **options)


CONV = {k: v for k, v in DENSE.items() if "dot" not in k} | dict(
  padding=st.sampled_from(
    ["SAME", "VALID", "CIRCULAR", "REFLECT", "CAUSAL", 1, (1, 0), [(0, 1), (2, 0)], ((1, 2),)]
  ),
  strides=st.sampled_from([None, 1, 2, (2,), (1, 2)]),
  kernel_dilation=st.sampled_from([None, 1, 2, (2,), (1, 2)]),
)


@few
@given(
  st.sampled_from(["Conv", "ConvLocal"]),
  some_of(
    {"features": st.sampled_from([2, 4]), "kernel_size": KERNELS},
    CONV
    | dict(
      input_dilation=st.sampled_from([None, 1, 2]),
      feature_group_count=st.sampled_from([1, 2]),
      conv_general_dilated=st.just(doubled_conv),
      conv_general_dilated_cls=st.just(lambda: doubled_conv),
    ),
  ),
  st.sampled_from([(2, 5, 6, 4), (5, 4), (2, 5, 4), (1, 2, 5, 6, 4)]),
  BOOL,
)
def test_convolutions(name, options, shape, masked):
  if np.size(options["kernel_size"]) + 1 > len(shape):
    return  # a mistake of its own, which would hide others
  if masked and not isinstance(options["kernel_size"], int):
    groups = options.get("feature_group_count", 1)
    kernel = (*options["kernel_size"], shape[-1] // groups, options["features"])
    options = options | {"mask": jnp.asarray(np.arange(np.prod(kernel)).reshape(kernel) % 3 > 0)}
  alike(name, arr(*shape), **options)


@few
@given(
  some_of(
    {"features": st.sampled_from([2, 3]), "kernel_size": KERNELS},
    CONV | dict(transpose_kernel=BOOL, preferred_element_type=st.sampled_from([jnp.float32, BF16])),
  ),
  st.sampled_from([(2, 5, 6, 4), (5, 4), (2, 5, 4)]),
)
def test_transposed_convolutions(options, shape):
  alike("ConvTranspose", arr(*shape), **options)


NORM = dict(
  epsilon=st.sampled_from([1e-3, 0.0]),
  dtype=DTYPES,
  param_dtype=PARAM_DTYPES,
  use_scale=BOOL,
  scale_init=st.just(NORMAL),
  use_fast_variance=BOOL,
  force_float32_reductions=BOOL,
)
BIAS = dict(use_bias=BOOL, bias_init=st.just(NORMAL))
AXES = st.sampled_from([-1, 0, (1, 2), (0, -1), (2, 1), [1]])
NORMS = st.one_of(
  st.tuples(
    st.just("BatchNorm"),
    some_of({"use_running_average": BOOL}, NORM | BIAS | dict(axis=AXES, momentum=st.just(0.5))),
  ),
  st.tuples(st.just("LayerNorm"), some_of({}, NORM | BIAS | dict(reduction_axes=AXES, feature_axes=AXES))),
  st.tuples(st.just("RMSNorm"), some_of({}, NORM | dict(reduction_axes=AXES, feature_axes=AXES))),
  st.tuples(st.just("InstanceNorm"), some_of({}, NORM | BIAS | dict(feature_axes=AXES))),
  st.tuples(
    st.just("GroupNorm"),
    some_of(
      {"num_groups": st.sampled_from([1, 2, 4, 3, None])},
      NORM
      | BIAS
      | dict(
        group_size=st.sampled_from([None, 2, 3]),
        reduction_axes=st.sampled_from([-1, (1, -1), (1, 2, 3), [3], (1,)]),
      ),
    ),
  ),
)
MASKS = st.sampled_from(
  [None, np.arange(4) < 3, (np.arange(3) < 2)[None, :, None, None], np.arange(48).reshape(2, 3, 2, 4) % 3 > 0]
)


@settings(few, max_examples=25)
@given(NORMS, MASKS, st.sampled_from([jnp.float32, BF16, jnp.complex64]))
def test_norms(chosen, mask, dtype):
  name, options = chosen
  call = {} if mask is None else dict(mask=jnp.asarray(mask))
  alike(name, arr(2, 3, 2, 4).astype(dtype), mutable=["batch_stats"], call=call, **options)


@pytest.mark.parametrize("name", ["BatchNorm", "LayerNorm", "RMSNorm", "InstanceNorm", "GroupNorm"])
@pytest.mark.parametrize("groups", [None, [[0, 1], [2, 3]]], ids=["all", "groups"])
@pytest.mark.parametrize("fast", [True, False])
def test_norms_over_a_mapped_axis(name, groups, fast):
  x = arr(4, 2, 3, 4)
  options = {"BatchNorm": dict(use_running_average=False), "GroupNorm": dict(num_groups=2)}.get(name, {})

  def program(nn):
    layer = getattr(nn, name)
    variables = layer(**options).init(KEY, x[0])
    model = layer(**options, axis_name="devices", axis_index_groups=groups, use_fast_variance=fast)

    def run(x):
      return model.apply(variables, x, mutable=["batch_stats"])

    return (
      equations(jax.make_jaxpr(jax.vmap(run, axis_name="devices"))(x))
      if groups is None
      else equations(jax.make_jaxpr(run, axis_env=[("devices", 4)])(x))
    )

  same(program)


ATTENTION = dict(
  dtype=DTYPES,
  param_dtype=PARAM_DTYPES,
  qkv_features=st.sampled_from([4, 6, 5]),
  out_features=st.sampled_from([2, 3]),
  broadcast_dropout=BOOL,
  dropout_rate=st.sampled_from([0.0, 0.5]),
  deterministic=BOOL,
  precision=PRECISIONS,
  kernel_init=st.just(NORMAL),
  out_kernel_init=st.just(jax.nn.initializers.zeros),
  bias_init=st.just(NORMAL),
  out_bias_init=st.just(jax.nn.initializers.ones),
  use_bias=BOOL,
  decode=BOOL,
  normalize_qk=BOOL,
  force_fp32_for_softmax=BOOL,
  qkv_dot_general=st.just(doubled_dot),
  out_dot_general=st.just(doubled_dot),
  qkv_dot_general_cls=st.just(lambda: doubled_dot),
  out_dot_general_cls=st.just(lambda: doubled_dot),
  qk_attn_weights_einsum_cls=st.just(lambda: doubled_einsum),
  attn_weights_value_einsum_cls=st.just(lambda: doubled_einsum),
)


@settings(few, max_examples=20)
@given(
  some_of({"num_heads": st.sampled_from([1, 2])}, ATTENTION),
  st.sampled_from([(), ("k",), ("k", "v"), ("v",), ("kv",), ("k", "kv")]),
  some_of({}, dict(sow_weights=BOOL, deterministic=BOOL, mask=st.just(jnp.tril(jnp.ones((3, 3), bool))))),
)
def test_attention(options, inputs, call):
  given = {f"inputs_{name}": arr(2, 3, 4) + i for i, name in enumerate(inputs)}
  alike(
    "MultiHeadDotProductAttention",
    arr(2, 3, 4),
    mutable=["intermediates", "cache"],
    call=call | given,
    **options,
  )


@few
@given(
  some_of(
    {},
    dict(
      broadcast_dropout=BOOL,
      dropout_rate=st.sampled_from([0.0, 0.5]),
      deterministic=BOOL,
      dtype=DTYPES,
      precision=PRECISIONS,
      force_fp32_for_softmax=BOOL,
      einsum_dot_general=st.just(doubled_dot),
      qk_attn_weights_einsum=st.just(doubled_einsum),
      attn_weights_value_einsum=st.just(doubled_einsum),
      bias=st.just(arr(2, 2, 3, 5)),
      mask=st.just(jnp.arange(5) < 3),
    ),
  ),
  BOOL,
)
def test_attention_on_arrays(options, sown):
  q, k, v = arr(2, 3, 2, 4), arr(2, 5, 2, 4), arr(2, 5, 2, 6)

  def program(nn):
    class Net(nn.Module):
      def __call__(self):
        module = {"module": self} if sown else {}
        return nn.dot_product_attention(q, k, v, dropout_rng=KEY, **module, **options)

    return Net().apply({}, mutable=True)

  same_or_error(program)


@few
@given(
  some_of(
    {"rate": st.sampled_from([0.0, 0.3, 1.0])},
    dict(
      broadcast_dims=st.sampled_from([(), (0,), (-1,), (0, 2)]),
      deterministic=BOOL,
      rng_collection=st.just("noise"),
    ),
  ),
  some_of({}, dict(deterministic=BOOL, rng=st.just(KEY))),
)
def test_dropout(options, call):
  x = arr(2, 3, 4)
  same_or_error(
    lambda nn: nn.Dropout(**options).apply({}, x, rngs={"dropout": KEY, "noise": jax.random.key(1)}, **call)
  )


@few
@given(
  st.sampled_from(["avg_pool", "max_pool", "min_pool"]),
  st.sampled_from([(2,), (2, 2), (3, 1), (1, 2)]),
  some_of(
    {},
    dict(
      strides=st.sampled_from([None, (1,), (2, 2), (2,)]),
      padding=st.sampled_from(["SAME", "VALID", ((1, 0), (0, 2)), ((1, 1),)]),
    ),
  ),
  st.sampled_from([(2, 5, 6, 4), (5, 6, 4), (2, 5, 4), (2, 1, 5, 6, 4)]),
  BOOL,
)
def test_pooling(name, window, options, shape, counted):
  if len(shape) > len(window) + 2 and not isinstance(options.get("padding", "SAME"), str):
    return  # Linen's padding by numbers knows one batch axis only
  extra = {"count_include_pad": counted} if name == "avg_pool" else {}
  pooled = lambda nn: getattr(nn.pooling, name)(arr(*shape), window, **options, **extra)  # noqa: E731
  same_or_error(pooled, ours="ValueError")  # Flax asserts that there is a stride for each axis
