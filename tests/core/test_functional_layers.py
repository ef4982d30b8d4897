"""The functional layers against Flax's, bit for bit: trees, values, outputs, gradients and equations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import flax.core.nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import KEY, equal, equations, flax_settings

import minilinen.core
from minilinen.core import nn

pytestmark = pytest.mark.grid

STREAMS = {"params": KEY, "dropout": jax.random.fold_in(KEY, 1)}


def normal(*shape: int, dtype: Any = jnp.float32) -> jax.Array:
  return jax.random.normal(jax.random.fold_in(KEY, 7), shape, dtype)


def gaussian(key: Any, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
  """An initializer that shows which key it was given."""
  return jax.random.normal(key, shape, dtype)


def same_layer(layer: str, *args: Any, mutable: Any = False, grad: bool = True, **kwargs: Any) -> None:
  """Asserts that a functional layer is the same in both, from its variables to its jaxpr."""
  same_program(lambda core: getattr(core.nn, layer), *args, mutable=mutable, grad=grad, **kwargs)


def same_program(
  build: Callable[[Any], Any], *args: Any, mutable: Any = False, grad: bool = True, **kwargs: Any
) -> None:
  """Asserts that a function of a scope does the same in both.

  It is compiled as a whole, which is many times as fast as running it step by step.

  Args:
    build: from the namespace `core` to the function.
  """

  def program(core: Any) -> Any:
    fn = build(core)
    y, variables = jax.jit(lambda: core.init(fn)(STREAMS, *args, **kwargs))()

    def apply(variables: Any, *args: Any) -> Any:
      return core.apply(fn, mutable=mutable)(variables, *args, rngs=STREAMS, **kwargs)

    def loss(params: Any) -> Any:
      out = apply({**variables, "params": params}, *args)
      leaves = [leaf.astype(jnp.float32) for leaf in jax.tree.leaves(out)]
      return sum(jnp.sum(leaf**2) for leaf in leaves), out

    params = core.unfreeze(variables).get("params", {})
    return {
      "variables": core.unfreeze(variables),
      "init": y,
      "jaxpr": equations(jax.make_jaxpr(apply)(variables, *args)),
      "apply": jax.jit(jax.grad(loss, has_aux=True))(params) if grad else apply(variables, *args),
    }

  with flax_settings():
    ours = program(minilinen.core)
  equal(program(flax.core), ours)


def raises_alike(layer: str, message: str, *args: Any, **kwargs: Any) -> None:
  """Asserts that both refuse, ours with a ValueError whose message matches."""
  with pytest.raises(Exception):  # noqa: B017, PT011
    flax.core.init(getattr(flax.core.nn, layer))(STREAMS, *args, **kwargs)
  with pytest.raises(ValueError, match=message):
    minilinen.core.init(getattr(nn, layer))(STREAMS, *args, **kwargs)


def test_names_and_signatures_are_flaxs():
  theirs = {n: f for n, f in vars(flax.core.nn).items() if not n.startswith("_")}
  assert set(theirs) <= set(dir(nn))
  for name, fn in theirs.items():
    if inspect.isfunction(fn) and fn.__module__.startswith("flax.core"):
      ours = inspect.signature(getattr(nn, name)).parameters.values()
      flaxs = inspect.signature(fn).parameters.values()
      assert [(p.name, p.kind, callable(p.default) or p.default) for p in ours] == [
        (p.name, p.kind, callable(p.default) or p.default) for p in flaxs
      ], name


DENSE = [
  ((2, 3), dict(features=4)),
  ((3,), dict(features=4)),
  ((2, 5, 3), dict(features=4, bias=False)),
  ((2, 5, 3), dict(features=4, dtype=jnp.bfloat16, kernel_init=gaussian, bias_init=gaussian)),
  ((2, 3), dict(features=4, precision="highest")),
]


@pytest.mark.parametrize("shape, kwargs", DENSE)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dense(shape, kwargs, dtype):
  same_layer("dense", normal(*shape, dtype=dtype), **kwargs)


STEP_BY_STEP = {
  "dense": dict(features=4),
  "dense_general": dict(features=(4, 2)),
  "conv": dict(features=4, kernel_size=(3,)),
  "batch_norm": {},
  "dropout": dict(rate=0.5),
}


@pytest.mark.parametrize("layer", STEP_BY_STEP)
def test_layers_step_by_step(layer):
  def program(core):
    fn, x = getattr(core.nn, layer), normal(2, 8, 3)
    y, variables = core.init(fn)(STREAMS, x, **STEP_BY_STEP[layer])
    return (
      y,
      variables,
      core.apply(fn, mutable=["batch_stats"])(variables, x, rngs=STREAMS, **STEP_BY_STEP[layer]),
    )

  with flax_settings():
    ours = program(minilinen.core)
  equal(program(flax.core), ours)


def test_dense_takes_integers_and_numpy():
  same_layer("dense", jnp.arange(6).reshape(2, 3), features=4)
  same_layer("dense", np.ones((2, 3)), features=4)


DENSE_GENERAL = [
  ((2, 3, 5), dict(features=4)),
  ((2, 3, 5), dict(features=(4, 6), axis=(-2, -1))),
  ((2, 3, 5), dict(features=(4, 6), axis=(-1, -2), bias=False)),
  ((2, 3, 5), dict(features=(4, 6), batch_dims=(0,), kernel_init=gaussian, bias_init=gaussian)),
  ((2, 3, 5), dict(features=(4,), batch_dims=(0, 1))),
  ((2, 3, 5), dict(features=4, batch_dims=0)),
  ((2, 3, 4, 5), dict(features=(2, 2), batch_dims=(0, 1), axis=(-1,), dtype=jnp.bfloat16)),
  ((5, 2), dict(features=4, axis=(0, 1), precision="highest")),
  ((2, 3, 5), dict(features=4, axis=1, bias=False)),
]


@pytest.mark.parametrize("shape, kwargs", DENSE_GENERAL)
def test_dense_general(shape, kwargs):
  same_layer("dense_general", normal(*shape), **kwargs)


def test_dense_general_puts_the_bias_on_the_features_wherever_the_summed_axes_are():
  x = normal(2, 3, 5)
  y, variables = minilinen.core.init(nn.dense_general)(KEY, x, features=4, axis=1, bias_init=gaussian)
  params = variables["params"]
  np.testing.assert_allclose(y, jnp.einsum("bsd,sf->bdf", x, params["kernel"]) + params["bias"], rtol=1e-5)


def test_dense_general_refuses_batch_axes_in_the_middle():
  raises_alike("dense_general", "leading", normal(2, 3, 5), features=4, batch_dims=(1,))


CONV = [
  ((2, 8, 8, 3), dict(features=4, kernel_size=(3, 3))),
  ((2, 8, 3), dict(features=4, kernel_size=(3,), strides=(2,), padding="VALID")),
  ((2, 8, 3), dict(features=4, kernel_size=(3,), padding=[(1, 2)], bias=False)),
  ((2, 8, 4), dict(features=4, kernel_size=(3,), kernel_dilation=(2,), feature_group_count=2)),
  ((2, 8, 4), dict(features=4, kernel_size=(3,), input_dilation=(2,), padding=[(1, 1)])),
  (
    (2, 8, 3),
    dict(features=4, kernel_size=(3,), dtype=jnp.bfloat16, kernel_init=gaussian, bias_init=gaussian),
  ),
  ((2, 4, 4, 4, 2), dict(features=2, kernel_size=(2, 2, 2))),
]


@pytest.mark.parametrize("shape, kwargs", CONV)
def test_conv(shape, kwargs):
  same_layer("conv", normal(*shape), **kwargs)


CONV_TRANSPOSE = [
  ((2, 8, 8, 3), dict(features=4, kernel_size=(3, 3))),
  ((2, 8, 3), dict(features=4, kernel_size=(3,), strides=(2,), padding="VALID")),
  ((2, 8, 3), dict(features=4, kernel_size=(3,), strides=(2,), padding=[(1, 2)], kernel_dilation=(2,))),
  ((2, 8, 3), dict(features=4, kernel_size=(3,), bias=False, dtype=jnp.bfloat16)),
]


@pytest.mark.parametrize("shape, kwargs", CONV_TRANSPOSE)
def test_conv_transpose(shape, kwargs):
  same_layer("conv_transpose", normal(*shape), **kwargs)


@pytest.mark.parametrize("layer", ["conv", "conv_transpose"])
@pytest.mark.parametrize("shape", [(8, 3), (2, 2, 8, 3)])
def test_convolutions_say_which_shape_they_need(layer, shape):
  raises_alike(layer, r"\[batch, 1 spatial axes, features\]", normal(*shape), features=4, kernel_size=(3,))


def test_conv_refuses_groups_that_do_not_divide():
  raises_alike(
    "conv", "does not divide", normal(2, 8, 3), features=4, kernel_size=(3,), feature_group_count=2
  )


def test_convolutions_take_one_number_for_one_axis():
  y, _ = minilinen.core.init(nn.conv)(KEY, normal(2, 8, 3), features=4, kernel_size=3, strides=2)
  assert y.shape == (2, 4, 4)


def embed(core: Any) -> Any:
  def fn(scope, ids, query):
    table = core.nn.embedding(scope, 5, 3)
    return table.lookup(ids), table.attend(query), table.replace(table=table.table * 2).table

  return fn


@pytest.mark.filterwarnings("ignore::minilinen.errors.IdsOutsideWarning")
@pytest.mark.parametrize("ids", [jnp.array([[0, 4], [2, 1]]), np.array([3]), jnp.array(-1), jnp.uint32([7])])
def test_embedding(ids):
  same_program(embed, ids, normal(2, 3))


def test_embedding_is_a_pytree_that_refuses_numbers_with_a_point():
  table, _ = minilinen.core.init(nn.embedding)(KEY, 5, 3)
  theirs, _ = flax.core.init(flax.core.nn.embedding)(KEY, 5, 3)
  assert paths(table) == paths(theirs)
  with pytest.raises(ValueError, match=r"integer.*float32.*astype"):
    table.lookup(jnp.ones(2))


def paths(tree: Any) -> list[str]:
  return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


BATCH_NORM = [
  ((2, 8, 3), {}),
  ((2, 8, 3), dict(use_running_average=True)),
  ((2, 8, 3), dict(use_running_average=True, dtype=jnp.bfloat16)),
  ((2, 8, 3), dict(axis=(1,), bias=False)),
  ((2, 8, 3), dict(axis=(1, 2), scale=False)),
  ((2, 8, 3), dict(axis=(2, -2), kind="stats")),
  ((2, 8, 1), {}),
  ((2, 8, 3), dict(bias=False, scale=False, momentum=0.5, epsilon=1e-3)),
  ((2, 8, 3), dict(bias_init=gaussian, scale_init=gaussian)),
]


@pytest.mark.parametrize("shape, kwargs", BATCH_NORM)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_batch_norm(shape, kwargs, dtype):
  same_layer("batch_norm", normal(*shape, dtype=dtype), mutable=[kwargs.get("kind", "batch_stats")], **kwargs)


@pytest.mark.parametrize("given", [["params"], ["params", "batch_stats"], ["batch_stats"], []])
def test_batch_norm_moves_its_statistics_only_if_they_were_there(given):
  x = normal(2, 8, 3)

  def program(core):
    _, variables = core.init(core.nn.batch_norm)(KEY, x)
    some = {k: v for k, v in variables.items() if k in given}
    return core.apply(core.nn.batch_norm, mutable=True)(some, x, rngs=KEY)

  with flax_settings():
    ours = program(minilinen.core)
  equal(program(flax.core), ours)


@pytest.mark.parametrize("groups", [None, [[0, 1], [2, 3]]])
@pytest.mark.parametrize("running", [False, True])
def test_batch_norm_averages_over_a_mapped_axis(groups, running):
  x = normal(4, 2, 3)

  def program(core):
    def fn(scope, x):
      return core.nn.batch_norm(scope, x, running, axis_name="devices", axis_index_groups=groups)

    _, variables = core.init(core.nn.batch_norm)(KEY, x[0])

    def run(x):
      return core.apply(fn, mutable=["batch_stats"])(variables, x)

    jaxpr = equations(jax.make_jaxpr(run, axis_env=[("devices", 4)])(x[0]))
    return jaxpr, jax.vmap(run, axis_name="devices")(x) if groups is None else None

  with flax_settings():
    ours = program(minilinen.core)
  equal(program(flax.core), ours)


def test_batch_norm_of_fixed_statistics_says_how_to_let_them_move():
  _, variables = minilinen.core.init(nn.batch_norm)(KEY, normal(2, 3))
  with pytest.raises(minilinen.errors.ModifyScopeVariableError, match=r"mutable=\['batch_stats'\]"):
    minilinen.core.apply(nn.batch_norm)(variables, normal(2, 3))


LAYER_NORM = [
  {},
  dict(bias=False),
  dict(scale=False),
  dict(bias=False, scale=False),
  dict(dtype=jnp.bfloat16, epsilon=1e-3),
  dict(bias_init=gaussian, scale_init=gaussian),
]


@pytest.mark.parametrize("kwargs", LAYER_NORM)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_layer_norm(kwargs, dtype):
  same_layer("layer_norm", normal(2, 8, 3, dtype=dtype), **kwargs)


GROUP_NORM = [
  ((2, 8, 8, 32), {}),
  ((2, 8, 32), dict(num_groups=None, group_size=8, bias=False)),
  ((2, 6), dict(num_groups=3, scale=False)),
  ((6,), dict(num_groups=3)),
  ((2, 4, 6), dict(num_groups=2, dtype=jnp.bfloat16, bias_init=gaussian, scale_init=gaussian)),
]


@pytest.mark.parametrize("shape, kwargs", GROUP_NORM)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_group_norm(shape, kwargs, dtype):
  same_layer("group_norm", normal(*shape, dtype=dtype), **kwargs)


@pytest.mark.parametrize(
  "kwargs, message",
  [
    (dict(num_groups=3), "does not divide"),
    (dict(num_groups=4, group_size=2), "not both"),
    (dict(num_groups=None), "group_size=16"),
    (dict(num_groups=None, group_size=3), "not multiple"),
  ],
)
def test_group_norm_refuses(kwargs, message):
  raises_alike("group_norm", message, normal(2, 8), **kwargs)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kwargs", [{}, dict(deterministic=True), dict(rng=KEY)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dropout(rate, kwargs, dtype):
  same_layer("dropout", normal(2, 8, dtype=dtype), rate=rate, **kwargs)


POOLED = [(2, 4, 4, 3), (4, 4, 3), (1, 2, 4, 4, 3)]


NUMBERS = [(1, 0), (0, 1)]
# Flax takes a padding in numbers for one batch axis only.
PADDED = [(shape, padding) for shape in POOLED for padding in ("SAME", "VALID", NUMBERS)][:-1]


@pytest.mark.parametrize("layer", ["avg_pool", "max_pool"])
@pytest.mark.parametrize("shape, padding", PADDED)
def test_pooling(layer, shape, padding):
  x = normal(*shape)
  equal(
    getattr(flax.core.nn, layer)(x, (2, 2), strides=(2, 1), padding=padding),
    getattr(nn, layer)(x, (2, 2), strides=(2, 1), padding=padding),
  )


def test_activations_are_jaxs():
  for name in ("relu", "gelu", "softmax", "swish", "tanh", "log_softmax", "soft_sign"):
    assert getattr(nn, name) is getattr(flax.core.nn, name)


MHA = "multi_head_dot_product_attention"
X = (2, 5, 8)
ATTENTION = [
  (X, X, {}),
  (X, (2, 4, 6), dict(out_features=6, qkv_features=4, kernel_init=gaussian, bias_init=gaussian)),
  (X, X, dict(bias=False, dtype=jnp.bfloat16, precision="highest")),
  ((2, 3, 4, 8), (2, 3, 4, 8), dict(causal_mask=True)),
  ((2, 3, 4, 8), (2, 3, 4, 8), dict(attention_axis=(1,), causal_mask=True)),
  ((2, 3, 4, 8), (2, 3, 4, 8), dict(attention_axis=(2, 1), causal_mask=True)),
  ((2, 3, 4, 8), (2, 3, 4, 8), dict(attention_axis=2, dropout_rate=0.5)),
  ((5, 8), (5, 8), dict(causal_mask=True)),
  ((8,), (8,), {}),
  (X, X, dict(dropout_rate=0.1, broadcast_dropout=False, dtype=jnp.bfloat16)),
  (X, X, dict(dropout_rate=0.1, deterministic=True)),
  (X, X, dict(dropout_rate=0.1, dropout_rng=KEY)),
]


@pytest.mark.parametrize("q, kv, kwargs", ATTENTION)
def test_attention(q, kv, kwargs):
  same_layer(MHA, normal(*q), normal(*kv) * 0.5, num_heads=2, **kwargs)


def zeros_and_ones(*shape: int, dtype: Any = jnp.float32) -> jax.Array:
  return (jnp.arange(np.prod(shape)) % 3 > 0).reshape(shape).astype(dtype)


MASKS = [
  (X, X, dict(padding_mask=zeros_and_ones(2, 5, 1))),
  (X, X, dict(padding_mask=zeros_and_ones(2, 5), causal_mask=True)),
  (X, (2, 4, 8), dict(padding_mask=zeros_and_ones(2, 5, 1), key_padding_mask=zeros_and_ones(2, 4, 1))),
  (X, X, dict(padding_mask=zeros_and_ones(2, 5, 1, dtype=bool))),
  (
    X,
    X,
    dict(padding_mask=zeros_and_ones(2, 5, 1, dtype=int), segmentation=zeros_and_ones(2, 5, 1, dtype=int)),
  ),
  (X, (2, 4, 8), dict(segmentation=zeros_and_ones(2, 5), key_segmentation=zeros_and_ones(2, 4))),
  (X, X, dict(segmentation=zeros_and_ones(2, 5, 1), padding_mask=zeros_and_ones(2, 5, 1), causal_mask=True)),
  (X, (2, 4, 8), dict(key_padding_mask=zeros_and_ones(2, 4, 1))),
  ((2, 2, 3, 8), (2, 2, 3, 8), dict(padding_mask=zeros_and_ones(2, 2, 3, 1))),
]


@pytest.mark.parametrize("q, kv, kwargs", MASKS)
def test_attention_masks(q, kv, kwargs):
  same_layer(MHA, normal(*q), normal(*kv) * 0.5, num_heads=2, grad=False, **kwargs)


@pytest.mark.parametrize(
  "q, kv, kwargs, message",
  [
    (X, (3, 5, 8), {}, "same number of axes, batch"),
    (X, (2, 3, 5, 8), {}, "same number of axes"),
    (X, X, dict(qkv_features=7), "divisible by number of heads: 7 features, 2 heads"),
    (X, X, dict(cache=True), "causal_mask=True"),
    ((2, 3, 5, 8), (2, 3, 5, 8), dict(attention_axis=(3,)), "between the batch axis"),
    ((2, 3, 5, 8), (2, 3, 5, 8), dict(attention_axis=(-2,)), "between the batch axis"),
  ],
)
def test_attention_refuses(q, kv, kwargs, message):
  raises_alike(MHA, message, normal(*q), normal(*kv), **{"num_heads": 2, **kwargs})


@pytest.mark.parametrize("self_mask", [False, True])
@pytest.mark.parametrize("axis", [None, (1,), (2, 1)])
def test_mask_functions(axis, self_mask):
  key = normal(2, 3, 4, 5, 6)
  theirs, ours = flax.core.nn.attention, nn.attention
  equal(theirs._make_causal_mask(key, axis, self_mask), ours._make_causal_mask(key, axis, self_mask))
  mask = zeros_and_ones(2, 3, 4)
  q, k = normal(2, 3, 1, 5), normal(2, 4, 1, 5)
  queries, keys = zeros_and_ones(2, 3), zeros_and_ones(2, 4)
  for segments in (False, True):
    equal(
      theirs.make_padding_mask(queries[..., None], keys[..., None], q.shape, k.shape, None, segments),
      ours.make_padding_mask(queries[..., None], keys[..., None], q.shape, k.shape, None, segments),
    )
  assert mask.shape == (2, 3, 4)


DECODED = [
  ((2, 4, 8), (2, 1, 8), {}),
  ((2, 4, 8), (2, 1, 8), dict(padding_mask=jnp.ones((2, 1, 1)))),
  ((2, 4, 8), (2, 1, 8), dict(segmentation=jnp.ones((2, 1, 1)), key_segmentation=zeros_and_ones(2, 4, 1))),
  ((2, 2, 3, 8), (2, 1, 1, 8), {}),
  ((2, 2, 3, 8), (2, 1, 3, 8), dict(attention_axis=(1,))),
  ((2, 2, 3, 8), (2, 2, 1, 8), dict(attention_axis=(2,))),
]


@pytest.mark.parametrize("full, step, kwargs", DECODED)
def test_decoding_a_position_a_call(full, step, kwargs):
  kwargs = dict(num_heads=2, causal_mask=True, cache=True, **kwargs)
  free = {k: v for k, v in kwargs.items() if "segmentation" not in k and "padding" not in k}

  def program(core):
    fn = getattr(core.nn, MHA)
    _, variables = core.init(fn)(KEY, normal(*full), normal(*full), **free)
    cache = jax.tree.map(lambda entry: entry(full[:-1]), core.unfreeze(variables["cache"]))

    def run(cache, x):
      variables_now = {"params": variables["params"], "cache": cache}
      y, updates = core.apply(fn, mutable=["cache"])(variables_now, x, x, **kwargs)
      return y, updates["cache"]

    x = normal(*step)
    seen = [equations(jax.make_jaxpr(run)(cache, x)), paths(cache)]
    for number in range(3):
      y, cache = run(cache, x + number)
      seen.append((y, jax.tree.leaves(cache)))
    return seen

  with flax_settings():
    ours = program(minilinen.core)
  equal(program(flax.core), ours)


def decode(cache: Any, x: jax.Array) -> Any:
  fn = getattr(nn, MHA)
  kwargs = dict(num_heads=2, causal_mask=True, cache=True)
  _, variables = minilinen.core.init(fn)(KEY, normal(*X), normal(*X), **kwargs)
  made = cache(variables["cache"]["entry"])
  given = {"params": variables["params"], "cache": {"entry": made}}
  return minilinen.core.apply(fn, mutable=["cache"])(given, x, x, **kwargs)


def test_decoding_one_by_one_is_attention_of_the_whole():
  fn = getattr(nn, MHA)
  x = normal(*X)
  whole, variables = minilinen.core.init(fn)(KEY, x, x, num_heads=2, causal_mask=True)
  kwargs = dict(num_heads=2, causal_mask=True, cache=True)
  cache = minilinen.core.init(fn)(KEY, x, x, **kwargs)[1]["cache"]["entry"]((2, 5))
  steps = []
  for i in range(5):
    given = {"params": variables["params"], "cache": {"entry": cache}}
    one = x[:, i : i + 1]
    y, updates = minilinen.core.apply(fn, mutable=["cache"])(given, one, one, **kwargs)
    cache = updates["cache"]["entry"]
    steps.append(y)
  np.testing.assert_allclose(jnp.concatenate(steps, axis=1), whole, atol=1e-5)


def test_a_cache_that_is_not_made_yet_says_how_to_make_it():
  with pytest.raises(ValueError, match=r"Cache is not initialized.*batch, length"):
    decode(lambda entry: entry, normal(2, 1, 8))


def test_a_cache_of_another_shape_says_which_it_needs():
  with pytest.raises(ValueError, match=r"expected shape \(2, 1, 2, 4\) instead got \(2, 5, 2, 4\)"):
    decode(lambda entry: entry((2, 5)), normal(2, 5, 8))
  with pytest.raises(ValueError, match="batch and attention dims"):
    decode(lambda entry: entry((2, 5, 8)), normal(2, 1, 8))
