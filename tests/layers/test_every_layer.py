"""Every layer, with all of its arguments, against Flax: tree, values, outputs, gradients, mutations, jaxpr."""

import dataclasses
import functools

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import BF16, IMAGE, LAYERS, X, arr
from oracle import equal, flax_settings, run_both, same, same_error, same_model

import minilinen

pytestmark = pytest.mark.grid


REFUSED = [
  (
    "DenseGeneral",
    dict(features=5, axis=-1, batch_dims=(1,)),
    (arr(2, 3, 4),),
    "batch_dims (1,) must be consecutive leading dimensions",
  ),
  ("Einsum", dict(shape=(4, 5), einsum_str="bi,ij"), (X,), "`einsum_str` equation must be explicit"),
  ("Einsum", dict(shape=(4, 5)), (X,), 'Parameter "einsum_str" must be passed'),
  ("Embed", dict(num_embeddings=5, features=3), (X,), "Input type must be an integer"),
  (
    "Conv",
    dict(features=4, kernel_size=(3, 3), padding="CAUSAL"),
    (IMAGE,),
    "Causal padding is only implemented for 1D",
  ),
  (
    "Conv",
    dict(features=4, kernel_size=(3, 3), padding=(1, 2, 3)),
    (IMAGE,),
    "Invalid padding format: (1, 2, 3)",
  ),
  (
    "Conv",
    dict(features=4, kernel_size=(3, 3), mask=jnp.ones((3, 3, 4, 5))),
    (IMAGE,),
    "Mask needs to have the same shape as weights",
  ),
  ("BatchNorm", dict(), (X,), 'Parameter "use_running_average" must be passed'),
  ("GroupNorm", dict(num_groups=3), (IMAGE,), "Number of groups (3) does not divide"),
  (
    "GroupNorm",
    dict(num_groups=2, group_size=2),
    (IMAGE,),
    "Either `num_groups` or `group_size` should be specified",
  ),
  ("InstanceNorm", dict(feature_axes=0), (IMAGE,), "The channel axes cannot include the leading dimension"),
  ("Dropout", dict(rate=0.5), (X,), 'Parameter "deterministic" must be passed'),
  (
    "MultiHeadDotProductAttention",
    dict(num_heads=3),
    (arr(2, 3, 4),),
    "Memory dimension (4) must be divisible by number of heads (3)",
  ),
]


@pytest.mark.filterwarnings("ignore::minilinen.errors.IdsOutsideWarning")
@pytest.mark.parametrize("name,kwargs,args", LAYERS, ids=[f"{i}-{n}" for i, (n, _, _) in enumerate(LAYERS)])
def test_layer(name, kwargs, args):
  grad = (
    not any(jnp.issubdtype(getattr(a, "dtype", jnp.float32), jnp.integer) for a in args) or name == "Embed"
  )
  same_model(
    lambda nn: getattr(nn, name)(**kwargs),
    *args,
    streams=("params", "dropout", "noise"),
    mutable=["batch_stats"],
    grad=grad and not isinstance(args[-1], str),
  ) if not isinstance(args[-1], str) else same(
    lambda nn: getattr(nn, name)(**kwargs).init_with_output(jax.random.PRNGKey(0), *args)
  )


@pytest.mark.parametrize(
  "name,kwargs,args,words", REFUSED, ids=[f"{i}-{r[0]}" for i, r in enumerate(REFUSED)]
)
def test_refused(name, kwargs, args, words):
  theirs, ours = run_both(lambda nn: getattr(nn, name)(**kwargs).init(jax.random.PRNGKey(0), *args))
  assert isinstance(ours, ValueError) and isinstance(theirs, (ValueError, AssertionError))
  assert str(ours).startswith(words) and str(theirs).startswith(words)


@pytest.mark.parametrize("name", sorted({name for name, _, _ in LAYERS} | {"Sequential"}))
def test_fields_are_flaxs(name):
  theirs, ours = ([f.name for f in dataclasses.fields(getattr(nn, name))] for nn in (flax.linen, minilinen))
  assert ours == theirs
  defaults = {f.name: f.default for f in dataclasses.fields(getattr(minilinen, name))}
  for f in dataclasses.fields(getattr(flax.linen, name)):
    if isinstance(f.default, (int, float, str, bool, tuple)):
      assert f.default == defaults[f.name], f.name


def test_masks():
  def program(nn):
    tokens = jnp.array([[1, 1, 0], [1, 1, 1]])
    padding = nn.make_attention_mask(tokens > 0, tokens > 0)
    causal = nn.make_causal_mask(tokens, extra_batch_dims=1, dtype=bool)
    return {
      "padding": padding,
      "causal": causal,
      "both": nn.combine_masks(padding, None, nn.make_causal_mask(tokens)),
      "none": nn.combine_masks(None, None) is None,
    }

  ours = same(program)
  assert ours["both"].shape == (2, 1, 3, 3)
  same_error(lambda nn: nn.combine_masks(jnp.ones((2, 2)), jnp.ones(2)), "AssertionError", "ValueError")


def test_attention_with_mask_and_sown_weights():
  mask = jnp.tril(jnp.ones((3, 3), bool))[None, None]
  same_model(
    lambda nn: nn.MultiHeadDotProductAttention(2),
    arr(2, 3, 4),
    mask=mask,
    sow_weights=True,
    mutable=["intermediates"],
  )


def test_attention_refuses_values_without_keys_and_both_beside_their_source():
  model = lambda nn: nn.MultiHeadDotProductAttention(2)  # noqa: E731
  same_error(lambda nn: model(nn).init(jax.random.PRNGKey(0), X, inputs_v=X), "ValueError")
  same_error(lambda nn: model(nn).init(jax.random.PRNGKey(0), X, X, inputs_kv=X), "ValueError")


def test_decode_cache_step_by_step():
  x = arr(2, 5, 4)

  def program(nn):
    model = nn.MultiHeadDotProductAttention(2, decode=True)
    variables = model.init(jax.random.PRNGKey(0), x)
    params, cache, steps = variables["params"], variables["cache"], []
    for i in range(3):
      y, updates = model.apply({"params": params, "cache": cache}, x[:, i : i + 1], mutable=["cache"])
      cache = updates["cache"]
      steps.append(y)
    return variables, steps, cache

  ours = same(program)
  assert ours[2]["cache_index"] == 3

  def wrong(nn):
    model = nn.MultiHeadDotProductAttention(2, decode=True)
    variables = model.init(jax.random.PRNGKey(0), x)
    return model.apply(variables, x, mutable=["cache"])

  assert "expected query shape (2, 1, 2, 2)" in str(same_error(wrong, "ValueError"))


def test_embed_attend():
  same(lambda nn: nn.Embed(5, 3).init_with_output(jax.random.PRNGKey(0), arr(2, 3), method="attend"))


@pytest.mark.parametrize("op", ["avg_pool", "max_pool"])
@pytest.mark.parametrize(
  "kwargs",
  [
    dict(window_shape=(2, 2)),
    dict(window_shape=(3, 3), strides=(2, 2), padding="SAME"),
    dict(window_shape=(3, 2), padding=((1, 1), (0, 1))),
  ],
)
def test_pooling(op, kwargs):
  same(lambda nn: getattr(nn, op)(IMAGE, **kwargs))
  same(lambda nn: getattr(nn, op)(IMAGE[0], **kwargs))


@pytest.mark.parametrize("op", ["avg_pool", "max_pool"])
@pytest.mark.parametrize("image", [IMAGE, IMAGE[0]], ids=["batch", "single"])
def test_pooling_needs_a_stride_for_each_axis(op, image):
  same_error(lambda nn: getattr(nn, op)(image, (2, 2), strides=(1,)), "AssertionError", "ValueError")


@pytest.mark.parametrize("dtype", [jnp.float32, BF16])
@pytest.mark.parametrize("image", [IMAGE, IMAGE[0], IMAGE[None]], ids=["batch", "single", "batches"])
def test_avg_pool_without_padding_in_the_mean(image, dtype):
  same(lambda nn: nn.avg_pool(image.astype(dtype), (3, 3), padding="SAME", count_include_pad=False))


def test_attention_fn_gets_the_arguments_that_it_names():
  told = {}

  def program(nn):
    def few(query, key, value, mask=None, dtype=None):
      return nn.dot_product_attention(query, key, value, mask=mask, dtype=dtype)

    def any_name(query, key, value, **options):
      told[nn.__name__] = sorted(options)
      return nn.dot_product_attention(query, key, value)

    x, key = arr(2, 3, 4), jax.random.PRNGKey(0)
    return [
      nn.MultiHeadDotProductAttention(2, attention_fn=few).init_with_output(key, x),
      nn.MultiHeadDotProductAttention(2, attention_fn=any_name).init_with_output(key, x, sow_weights=True),
    ]

  same(program)
  assert told["minilinen"] == told["flax.linen"] == ["module"]


@pytest.mark.parametrize(
  "options",
  [
    dict(qk_attn_weights_einsum=jnp.einsum),
    dict(qk_attn_weights_einsum=jnp.einsum, attn_weights_value_einsum=jnp.einsum, precision="highest"),
  ],
  ids=["one of two", "both and precision"],
)
def test_attention_refuses_einsums_of_ones_own(options):
  q = arr(2, 3, 4, 2)
  same_error(lambda nn: nn.dot_product_attention(q, q, q, **options), "ValueError")


def test_attention_with_einsums_of_ones_own():
  q, own = arr(2, 3, 4, 2), dict(qk_attn_weights_einsum=jnp.einsum, attn_weights_value_einsum=jnp.einsum)
  same(lambda nn: nn.dot_product_attention(q, q, q, **own))


ACTIVATIONS = [
  "celu",
  "elu",
  "gelu",
  "glu",
  "hard_sigmoid",
  "hard_silu",
  "hard_swish",
  "hard_tanh",
  "leaky_relu",
  "log_sigmoid",
  "log_softmax",
  "logsumexp",
  "relu",
  "relu6",
  "selu",
  "sigmoid",
  "silu",
  "soft_sign",
  "softmax",
  "softplus",
  "standardize",
  "swish",
  "tanh",
  "normalize",
]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name):
  same(lambda nn: getattr(nn, name)(X))


def test_initializers_are_all_there():
  theirs = {
    n for n in dir(flax.linen.initializers) if n[0] != "_" and callable(getattr(flax.linen.initializers, n))
  }
  assert theirs - {"Array", "Any"} <= set(dir(minilinen.initializers))
  key = jax.random.PRNGKey(1)
  same(lambda nn: [nn.initializers.zeros_init()(key, (2,), BF16), nn.initializers.ones_init()(key, (2,))])


def test_sequential_passes_tuples_and_dicts_on():
  def program(nn):
    split = nn.Sequential(
      [nn.Dense(4), lambda x: (x, x), lambda a, b: {"x": a + b}, lambda x: x, nn.Dense(2)]
    )
    return split.init_with_output(jax.random.PRNGKey(0), X)

  ours = same(program)
  assert jax.tree.map(jnp.shape, ours[1]["params"]) == {
    "layers_0": {"kernel": (4, 4), "bias": (4,)},
    "layers_4": {"kernel": (4, 2), "bias": (2,)},
  }
  same_error(lambda nn: nn.Sequential([]).init(jax.random.PRNGKey(0), X), "ValueError")


def test_lstm_carry_in_both_forms():
  key = jax.random.PRNGKey(0)
  theirs = flax.linen.LSTMCell(3).initialize_carry(key, (2, 5))
  equal(theirs, minilinen.LSTMCell(3).initialize_carry(key, (2, 5)))
  equal(theirs, minilinen.LSTMCell.initialize_carry(key, (2,), 3))


def test_lstm_reads_features_off_the_carry():
  with flax_settings():
    carry, x = (arr(2, 3), arr(2, 3)), arr(2, 4)
    theirs = flax.linen.LSTMCell(3).init_with_output(jax.random.PRNGKey(0), carry, x)
    equal(theirs, minilinen.LSTMCell().init_with_output(jax.random.PRNGKey(0), carry, x))


def test_batch_norm_averages_over_devices():
  x = arr(4, 3, 2)

  def program(nn):
    model = nn.BatchNorm(use_running_average=False, axis_name="devices")
    variables = model.init(jax.random.PRNGKey(0), x[0])
    run = functools.partial(model.apply, variables, mutable=["batch_stats"])
    return jax.vmap(run, axis_name="devices")(x)

  same(program)


def test_norm_with_a_mask():
  mask = jnp.asarray(np.arange(4) < 3)
  for name in ("LayerNorm", "RMSNorm"):
    same(lambda nn, name=name: getattr(nn, name)().init_with_output(jax.random.PRNGKey(0), X, mask=mask))
  same(lambda nn: nn.BatchNorm(False).init_with_output(jax.random.PRNGKey(0), X, mask=mask))


def test_promote_dtype():
  def program(nn):
    dtypes = nn.dtypes
    return [
      dtypes.promote_dtype(jnp.ones(2, BF16), None, jnp.ones(2)),
      dtypes.promote_dtype(jnp.ones(2, jnp.int32)),
      dtypes.promote_dtype(jnp.ones(2, jnp.int32), inexact=False),
      str(dtypes.canonicalize_dtype(jnp.ones(2), dtype=BF16)),
    ]

  same(program)
  same_error(lambda nn: nn.dtypes.canonicalize_dtype(dtype=jnp.int32), "ValueError")
