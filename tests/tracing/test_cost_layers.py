"""What layers cost, forward and backward: against products that are counted one by one, formulas by hand, and XLA.

A product of arrays of ones counts itself: each element of the result is how many products were added up in it. So each
convolution and each matrix product of a jaxpr is run on ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.extend.core import jaxprs_in_params
from layer_cases import LAYERS, arr

import minilinen as nn
from minilinen.tracing.equations.windows import meetings
from minilinen.tracing.recording import trace

KEY = jax.random.key(0)
RNGS = {"params": KEY, "dropout": jax.random.key(1), "noise": jax.random.key(2)}


def counted(jaxpr: Any) -> int:
  """How many products are added up in a jaxpr."""
  total = 0
  for equation in jaxpr.eqns:
    if equation.primitive.name in ("conv_general_dilated", "dot_general"):
      ones = [np.ones(v.aval.shape, np.float32) for v in equation.invars]
      params = {**equation.params, "preferred_element_type": None}
      total += int(np.asarray(equation.primitive.bind(*ones, **params), np.float64).sum())
    inner = sum(counted(body) for body in jaxprs_in_params(equation.params))
    total += inner * equation.params.get("length", 1)
  return total


def is_inexact(value: Any) -> bool:
  return all(
    jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(value) if hasattr(leaf, "dtype")
  )


def passes(layer: Any, *args: Any) -> tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]:
  """The sum of a layer's output, its value with the gradients by parameters and inputs, and the arguments of both."""
  variables = {**layer.init(RNGS, *args)}
  params = variables.pop("params", {})

  def forward(params: Any, *args: Any) -> Any:
    y = layer.apply({**variables, "params": params}, *args, rngs=RNGS, mutable=True)[0]
    return sum(leaf.sum().astype(jnp.float32) for leaf in jax.tree.leaves(y) if is_inexact(leaf))

  given = (params, *args)
  by = tuple(i for i, value in enumerate(given) if is_inexact(value))
  return forward, jax.value_and_grad(forward, argnums=by), given


def check_products(layer: Any, *args: Any) -> None:
  forward, gradient, given = passes(layer, *args)
  there, back = (trace(fn)(*given).cost().total for fn in (forward, gradient))
  assert there.forward.matmul == back.forward.matmul == 2 * counted(jax.make_jaxpr(forward)(*given).jaxpr)
  assert back.running.matmul == 2 * counted(jax.make_jaxpr(gradient)(*given).jaxpr)


ARRAYS_ONLY = [case for case in LAYERS if all(hasattr(a, "dtype") for a in case[2])]


@pytest.mark.grid
@pytest.mark.filterwarnings("ignore::minilinen.errors.IdsOutsideWarning")
@pytest.mark.parametrize("name, kwargs, args", ARRAYS_ONLY)
def test_the_products_of_every_layer_are_counted_forward_and_backward(name, kwargs, args):
  check_products(getattr(nn, name)(**kwargs), *args)


SPATIAL = st.sampled_from([(6,), (7,), (5, 6)])
PADDING = st.sampled_from(["SAME", "VALID", "CIRCULAR", 0, 1, 2, (1, 2)])


@st.composite
def convolutions(draw: Any) -> tuple[Any, Any]:
  """A layer with convolutions and its input."""
  kind = draw(st.sampled_from(["Conv", "Conv", "ConvTranspose", "ConvLocal"]))
  spatial, groups = draw(SPATIAL), draw(st.sampled_from([1, 2]))
  axes = len(spatial)
  number = lambda *some: tuple(draw(st.sampled_from(some)) for _ in range(axes))  # noqa: E731
  padding = draw(PADDING)
  if isinstance(padding, tuple):
    padding = (padding,) * axes
  options: dict[str, Any] = dict(
    features=4, kernel_size=number(1, 2, 3), strides=number(1, 2, 3), padding=padding,
    kernel_dilation=number(1, 2), use_bias=draw(st.booleans()),
  )  # fmt: skip
  if kind != "ConvTranspose":
    if padding not in ("SAME", "CIRCULAR"):  # JAX has no such convolution
      options |= dict(input_dilation=number(1, 2))
    if kind == "Conv":
      options |= dict(feature_group_count=groups)
      if draw(st.booleans()):
        options["mask"] = jnp.ones((*options["kernel_size"], 4 // groups, 4))
  else:
    options |= dict(transpose_kernel=draw(st.booleans()))
  batch = draw(st.sampled_from([(), (2,), (2, 1)]))
  return getattr(nn, kind)(**options), arr(*batch, *spatial, 4)


@settings(max_examples=30)
@given(convolutions())
def test_the_products_of_random_convolutions(case):
  layer, x = case
  check_products(layer, x)


@settings(max_examples=200)
@given(
  *(st.integers(1, 9) for _ in range(3)), *(st.integers(1, 4) for _ in range(3)), st.integers(-3, 8)
)  # fmt: skip
def test_meetings_one_by_one(inputs, window, outputs, stride, holes, spread, low):
  """Also where sizes are symbols: the formula has the number for each size."""
  places = {i * holes for i in range(inputs)}
  met = sum(i * stride + j * spread - low in places for i in range(outputs) for j in range(window))
  assert meetings(inputs, window, outputs, stride, low, holes, spread) == met


SHAPES = {
  "Conv SAME": (nn.Conv(4, (3,)), "f32[2,t,4]"),
  "Conv of strides": (nn.Conv(4, (3,), strides=2), "f32[2,t,4]"),
  "Conv of pairs": (nn.Conv(4, (4,), strides=3, padding=((1, 2),)), "f32[2,t,4]"),
  "Conv dilated": (nn.Conv(4, (3,), kernel_dilation=2), "f32[b,t,4]"),
  "Conv of an image": (nn.Conv(4, (3, 3), strides=2), "f32[1,t,s,4]"),
  "ConvTranspose": (nn.ConvTranspose(4, (3,), strides=(2,)), "f32[2,t,4]"),
  "ConvTranspose VALID": (nn.ConvTranspose(4, (4,), strides=(3,), padding="VALID"), "f32[b,t,4]"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_formulas_have_the_numbers_of_the_sizes(name):
  layer, spec = SHAPES[name]
  numbers = {"b": 3, "t": 8, "s": 7}
  sizes = re.sub("[bts]", lambda found: str(numbers[found[0]]), spec.split("[")[1])
  shape = jax.ShapeDtypeStruct(tuple(map(int, sizes[:-1].split(","))), jnp.float32)
  variables = jax.eval_shape(layer.init, KEY, shape)

  def forward(variables: Any, x: Any) -> Any:
    return layer.apply(variables, x).sum()

  is_strided = isinstance(layer, nn.Conv) and layer.strides != 1  # JAX has no gradient of it for symbols
  for run in (forward,) if is_strided else (forward, jax.grad(forward, argnums=(0, 1))):
    formula, number = (trace(run)(variables, x).cost() for x in (spec, shape))
    assert formula.at(**numbers).flops == number.flops
    assert not formula.total.notes


# Formulas by hand: 2 sequences of 3 places, 5 features in, 8 out.

N, T, I, O = 2, 3, 5, 8
B = N * T
BATCH = arr(N, T, I)


def cell(gates: int, steps: int = 1) -> int:
  """The products of a recurrent cell: each gate of the input and of the carry."""
  return 2 * N * steps * gates * (I * O + O * O)


# Products, then everything else that is done to single elements.
BY_HAND: dict[str, tuple[Any, int, int | None]] = {
  "Dense": (nn.Dense(O), 2 * B * I * O, B * O),
  "Dense without a bias": (nn.Dense(O, use_bias=False), 2 * B * I * O, 0),
  "DenseGeneral": (nn.DenseGeneral((2, 4), axis=(-2, -1)), 2 * N * T * I * O, N * O),
  "Einsum": (nn.Einsum((T, I, O), "abi,bij->abj", use_bias=False), 2 * B * I * O, 0),
  "Conv": (nn.Conv(O, (3,), padding="VALID"), 2 * N * 1 * 3 * I * O, N * O),
  "Conv of padding": (nn.Conv(O, (3,)), 2 * N * (2 + 3 + 2) * I * O, B * O),
  "Conv of groups": (nn.Conv(10, (1,), feature_group_count=5, use_bias=False), 2 * B * 10, 0),
  "ConvTranspose": (nn.ConvTranspose(O, (4,), (2,), padding="VALID", use_bias=False), 2 * B * 4 * I * O, 0),
  # The mean and that of the squares, each n - 1 additions and a division; the variance; the rest of each element.
  "LayerNorm": (nn.LayerNorm(), 0, B * (2 * (I - 1) + 2 + I + 3 + 1) + B * (I + I + I + I)),
  "PReLU": (nn.PReLU(), 0, 3 * B * I),
  # Three projections and one back; scores and values; the query by sqrt(4), and a softmax.
  "attention": (
    nn.MultiHeadDotProductAttention(2, qkv_features=O, use_bias=False),
    2 * B * 4 * I * O + 2 * 2 * N * T * T * O,
    B * O + N * 2 * T * (2 * (T - 1) + 1 + 2 * T),
  ),
  "LSTM": (nn.RNN(nn.LSTMCell(O)), cell(4, T), None),
  "OptimizedLSTM": (nn.RNN(nn.OptimizedLSTMCell(O)), cell(4, T), None),
  "GRU": (nn.RNN(nn.GRUCell(O)), cell(3, T), None),
  "MGU": (nn.RNN(nn.MGUCell(O)), cell(2, T), None),
  "SimpleCell": (nn.RNN(nn.SimpleCell(O)), cell(1, T), None),
  "Bidirectional": (nn.Bidirectional(nn.RNN(nn.GRUCell(O)), nn.RNN(nn.GRUCell(O))), 2 * cell(3, T), None),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_formulas_by_hand(name):
  layer, products, others = BY_HAND[name]
  variables = layer.init(KEY, BATCH)
  work = trace(layer.apply)(variables, BATCH).cost().total.forward
  assert work.matmul == products
  assert others is None or work.elementwise == others


POOLED: dict[str, tuple[Callable[[Any], Any], int]] = {
  "max": (lambda x: nn.max_pool(x, (2, 2), (2, 2)), 3 * 3 * 3),
  "mean": (lambda x: nn.avg_pool(x, (2, 2), (2, 2)), 3 * 3 * 3 + 9),
  "of padding": (lambda x: nn.max_pool(x, (3, 3), (1, 1), "SAME"), (2 + 3 * 4 + 2) ** 2 - 36),
}


@pytest.mark.parametrize("name", POOLED)
def test_pooling_by_hand(name):
  pool, right = POOLED[name]
  assert trace(pool)(arr(1, 6, 6, 1)).cost().flops == right


OPERATIONS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], int]] = {
  "a sum": (lambda x: x.sum(-1), (arr(4, 8),), 4 * 7),
  "a sum of nothing": (lambda x: x.sum(0), (jnp.ones((0, 8)),), 0),
  "a running sum": (lambda x: jax.lax.cumsum(x, 1), (arr(4, 8),), 4 * 7),
  "an FFT": (jnp.fft.fft, (jnp.ones((4, 8), jnp.complex64),), 5 * 4 * 8 * 3),
  "triangular equations": (
    lambda a, b: jax.scipy.linalg.solve_triangular(a, b, lower=True), (jnp.eye(4), jnp.ones((4, 3))), 4 * 4 * 3
  ),
  "a cube": (lambda x: x**3, (arr(4),), 2 * 4),
  "keys": (lambda key: jax.random.split(jax.random.fold_in(key, 1)), (KEY,), 0),
  "sums by index": (lambda x: x.at[jnp.array([0, 2])].add(1.0, mode="drop"), (arr(4, 3),), 2 * 3),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_by_hand(name):
  run, args, right = OPERATIONS[name]
  cost = trace(run)(*args).cost()
  found = sum(e.total.flops for e in trace(run)(*args).program.equations if e.primitive in PRIMITIVES[name])
  assert found == right
  assert cost.flops >= right


PRIMITIVES = {
  "a sum": ["reduce_sum"], "a sum of nothing": ["reduce_sum"], "a running sum": ["cumsum"], "an FFT": ["fft"],
  "triangular equations": ["triangular_solve"], "a cube": ["integer_pow"],
  "keys": ["random_split", "random_fold_in"], "sums by index": ["scatter-add"],
}  # fmt: skip


# XLA counts the same, where it counts no changes of a dtype.

FLOAT32 = [
  case for case in ARRAYS_ONLY
  if "dtype" not in case[1] and "param_dtype" not in case[1] and all(a.dtype == jnp.float32 for a in case[2])
  and case[0] in ("Dense", "DenseGeneral", "Einsum", "Conv", "ConvLocal", "LayerNorm", "GroupNorm", "InstanceNorm")
  and "mask" not in case[1] and case[1].get("padding") != "CAUSAL"
]  # fmt: skip


@pytest.mark.grid
@pytest.mark.parametrize("name, kwargs, args", FLOAT32)
def test_xla_counts_the_same(name, kwargs, args):
  layer = getattr(nn, name)(**kwargs)
  variables = layer.init(RNGS, *args)
  theirs = jax.jit(layer.apply).lower(variables, *args).cost_analysis()
  assert theirs is not None
  assert trace(layer.apply)(variables, *args).cost().flops == theirs["flops"]


# The forward pass costs what it costs.


@pytest.mark.grid
@pytest.mark.filterwarnings("ignore::minilinen.errors.IdsOutsideWarning")
@pytest.mark.parametrize("name, kwargs, args", ARRAYS_ONLY)
def test_the_forward_pass_of_a_table_does_not_depend_on_the_backward_one(name, kwargs, args):
  layer = getattr(nn, name)(**kwargs)

  def forward(**options: Any) -> str:
    table = layer.tabulate(RNGS, *args, compute_flops=True, console_kwargs={"width": 200}, **options)
    found = re.search(r"^Total +([\d,]+)", table, re.M)
    return found[1] if found else ""  # of a layer without variables and FLOPs

  assert forward() == forward(compute_vjp_flops=True)


class Activations(nn.Module):
  """Slopes of these are computed beside the forward pass."""

  @nn.compact
  def __call__(self, x: Any, _: Any = None) -> Any:
    for function in (nn.silu, nn.gelu, nn.elu, nn.tanh, nn.softplus, nn.relu):
      x = function(nn.LayerNorm()(nn.Dense(8)(x)))
    return x, None


def stacked(how: str) -> Any:
  block = nn.remat(Activations) if how == "remat" else Activations
  if how == "plain":
    return Activations()
  return nn.scan(block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)()


@pytest.mark.parametrize("how", ["plain", "scan", "remat"])
@pytest.mark.parametrize("value", [True, False])
def test_what_only_the_backward_pass_uses_is_the_backward_passs(how, value):
  model, x = stacked(how), arr(4, 8)
  variables = model.init(KEY, x, None)

  def loss(variables: Any, x: Any) -> Any:
    return model.apply(variables, x, None)[0].sum()

  alone = trace(loss)(variables, x).cost().total.forward
  run = jax.value_and_grad(loss) if value else jax.grad(loss)
  beside = trace(run)(variables, x).cost().total.forward
  assert (beside.flops, beside.transcendentals) == (alone.flops, alone.transcendentals)


class Block(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return x + nn.Dense(4)(x)


class Layer(nn.Module):
  @nn.compact
  def __call__(self, x: Any, _: Any = None) -> Any:
    return x + nn.Dense(4)(x), None


LIFTED: dict[str, tuple[Any, int]] = {
  "scan": (nn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)(), 3),
  "remat_scan": (nn.remat_scan(Block, lengths=(3, 2))(), 6),
  "vmap": (nn.vmap(Block, variable_axes={"params": 0}, split_rngs={"params": True})(), 1),
  "jit": (nn.jit(Block)(), 1),
}


@pytest.mark.parametrize("name", LIFTED)
@pytest.mark.parametrize("vjp", [False, True])
def test_keys_that_are_split_for_a_lift_cost_no_flops(name, vjp):
  """A layer is a product, its bias, and the sum with the input; a `vmap` over two rows runs it on each."""
  model, layers = LIFTED[name]
  x = arr(2, 4) if name != "vmap" else arr(2, 1, 4)
  args = (None,) if name == "scan" else ()
  table = model.tabulate(
    KEY, x, *args, compute_flops=True, compute_vjp_flops=vjp, console_kwargs={"width": 200}
  )
  found = re.search(r"^Total +([\d,]+)", table, re.M)
  assert found
  assert int(found[1].replace(",", "")) == layers * (2 * 2 * 4 * 4 + 2 * 4 + 2 * 4)
