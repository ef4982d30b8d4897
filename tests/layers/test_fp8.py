"""Products in float8 against Flax: variable trees, values, gradients (the next scales and histories), equations."""

from __future__ import annotations

import functools
import warnings

import flax.linen
import jax
import jax.numpy as jnp
import optax
import pytest
from oracle import KEY, KEY2, as_flax, core, equations, same, same_error, shown

import minilinen
from minilinen.layers import fp8_ops

pytestmark = pytest.mark.grid

BF16, E4M3, E5M2 = jnp.bfloat16, jnp.float8_e4m3fn, jnp.float8_e5m2
X, W = jax.random.normal(KEY, (4, 8)), jax.random.normal(KEY2, (8, 5))
DIMS = (((1,), (0,)), ((), ()))
OPS = ["Fp8DotGeneralOp", "Fp8DirectDotGeneralOp", "Fp8DotGeneral", "NANOOFp8DotGeneralOp"]


@pytest.fixture(autouse=True)
def flax_warns_less():
  """Flax calls one operator deprecated, and both say when a precision is ignored."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    yield


def all_of(fn, *args):
  """A scalar function of arrays: value, gradients, and the equations of both."""
  grad = jax.grad(fn, tuple(i for i, a in enumerate(args) if is_float(a)))
  return [
    fn(*args),
    grad(*args),
    equations(jax.make_jaxpr(fn)(*args)),
    equations(jax.make_jaxpr(grad)(*args)),
  ]


def is_float(tree):
  return all(jnp.issubdtype(x.dtype, jnp.floating) for x in jax.tree.leaves(tree))


def squares(y):
  return sum(jnp.sum(x.astype(jnp.float32) ** 2) for x in jax.tree.leaves(y))


DTYPES = [(a, b) for a in (jnp.float32, BF16) for b in (jnp.float32, BF16)] + [(jnp.float16, jnp.float32)]


@pytest.mark.parametrize("op", OPS + ["Fp8Einsum"])
@pytest.mark.parametrize("dtypes", DTYPES, ids=str)
def test_operator(op, dtypes):
  x, w = X.astype(dtypes[0]), W.astype(dtypes[1])

  def program(nn):
    first, last = (("ij,jk->ik",), ()) if op == "Fp8Einsum" else ((), (DIMS,))
    model = getattr(nn, op)(amax_history_length=4)
    y, variables = model.init_with_output(KEY, *first, x, w, *last)
    later = jax.tree.map(lambda v: v * 1.5 + 0.2, variables)
    fn = all_of(lambda v, x, w: squares(model.apply(v, *first, x, w, *last)), later, x, w)
    return [y, variables, list(variables["_overwrite_with_gradient"]), fn]

  same(program)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(
  "fields,x,options",
  [
    (dict(e4m3_dtype=E5M2, e5m2_dtype=E4M3), X, {}),
    (dict(), X.at[0, 0].set(jnp.inf), {}),
    (dict(), jnp.zeros_like(X), {}),
    (dict(), (X * 3).astype(int), {}),
    (dict(), X, dict(precision="highest", preferred_element_type=BF16)),
  ],
  ids=["dtypes", "infinite", "zero", "whole numbers", "options"],
)
def test_operator_in_odd_cases(op, fields, x, options):
  def program(nn):
    model = getattr(nn, op)(amax_history_length=1, **fields)
    variables = model.init(KEY, x, W, DIMS, **options)
    return all_of(lambda v, x, w: squares(model.apply(v, x, w, DIMS, **options)), variables, x, W)

  same(program)


def test_operators_take_three_arguments_by_position():
  by_name = lambda nn: nn.Fp8DotGeneralOp().init(KEY, X, W, dimension_numbers=DIMS)  # noqa: E731
  same_error(by_name, "AssertionError", "ValueError")
  assert minilinen.Fp8DotGeneral is minilinen.Fp8DirectDotGeneralOp
  assert issubclass(minilinen.NANOOFp8DotGeneralOp, minilinen.Fp8DotGeneralOp)


@pytest.mark.parametrize("eqn", ["ij,jk->ik", "ij,jk->ki", "aij,jk->aik", "aij,ajk->ka", "...j,jk->...k"])
@pytest.mark.parametrize(
  "options", [{}, dict(precision="highest"), dict(preferred_element_type=BF16)], ids=str
)
def test_einsum(eqn, options):
  x = jax.random.normal(KEY, (2, 3, 4) if eqn[0] in "a." else (3, 4))
  w = jax.random.normal(KEY2, (2, 4, 5) if ",ajk" in eqn else (4, 5))

  def program(nn):
    model = nn.Fp8Einsum(amax_history_length=3)
    variables = model.init(KEY, eqn, x, w, **options)
    return all_of(lambda v, x, w: squares(model.apply(v, eqn, x, w, **options)), variables, x, w)

  same(program)


SCALE, HISTORY = jnp.array([1.5]), jnp.array([0.0, 3.0, 2.0])
Q, QW = X.astype(E4M3), W.astype(E4M3)


@pytest.mark.parametrize("dtype", [jnp.float32, BF16], ids=str)
@pytest.mark.parametrize("q_dtype", [E4M3, E5M2], ids=str)
def test_functions(dtype, q_dtype):
  x = X.astype(dtype)

  def program(nn):
    f = nn.fp8_ops
    quantized = f.quantize(x, q_dtype, SCALE, dtype)
    return [
      float(f.get_fp8_max(q_dtype, dtype)),
      f.compute_scale(jnp.array([0.0, 2.0, jnp.inf, jnp.nan]), jnp.float32(0.5), 448.0, margin=2),
      f.compute_amax_history(x, HISTORY),
      f.update_fp8_meta(x, q_dtype, SCALE, HISTORY),
      quantized.astype(jnp.float32),
      f.dequantize(quantized, dtype, SCALE),
      f.qdq(x, q_dtype, SCALE, dtype),
      f.quantize_dequantize_update(x, q_dtype, SCALE, HISTORY, dtype),
      [all_of(lambda *a, g=g: squares(g(dtype, q_dtype, *a)), x, SCALE, HISTORY) for g in (f.in_qdq, f.out_qdq)],
      equations(jax.make_jaxpr(lambda *a: f.in_q(dtype, q_dtype, *a))(x, SCALE, HISTORY)),
      all_of(lambda *a: squares(f.out_dq(dtype, *a)), SCALE, SCALE * 2, X),
    ]  # fmt: skip

  same(program)


@pytest.mark.parametrize("preferred", [None, jnp.float32, BF16], ids=str)
@pytest.mark.parametrize(
  "dtypes", [(jnp.float32, jnp.float32), (BF16, jnp.float32), (jnp.float32, BF16)], ids=str
)
def test_scaled_dot_general(preferred, dtypes):
  x, w = X.astype(dtypes[0]), W.astype(dtypes[1])

  def program(nn):
    def loss(x, w, s, h):
      y = nn.fp8_ops.fp8_scaled_dot_general(
        x, w, DIMS, "highest", preferred, lhs_scale=s, rhs_scale=s * 2, grad_scale=s * 3,
        lhs_amax_history=h, rhs_amax_history=h * 2, grad_amax_history=h * 3, quantize_compute_type=dtypes[1],
      )  # fmt: skip
      return squares(y)

    args = (x, w, SCALE, HISTORY)
    out = [loss(*args), equations(jax.make_jaxpr(loss)(*args))]
    if preferred is not None:  # a float8 gradient has no update of its history
      out.append(all_of(loss, *args))
    return out

  same(program)


@pytest.mark.parametrize("shapes", [
  ((2, 3, 4, 8), (2, 8, 3, 5), (((3,), (1,)), ((0, 1), (0, 2)))),
  ((3, 4, 5), (5, 4, 2), (((1, 2), (1, 0)), ((), ()))),
  ((3, 4, 5), (2, 3, 5, 4), (((2, 1), (2, 3)), ((0,), (1,)))),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("preferred", [None, BF16], ids=str)
def test_transposed_products(shapes, preferred):
  x, y, dims = jax.random.normal(KEY, shapes[0]), jax.random.normal(KEY2, shapes[1]), shapes[2]
  g = jnp.ones(jax.eval_shape(lambda: jax.lax.dot_general(x, y, dims)).shape)

  def program(nn):
    f = nn.fp8_ops
    options = dict(dimension_numbers=dims, precision=None, preferred_element_type=preferred)
    both = [f.dot_general_transpose_lhs, f.dot_general_transpose_rhs]

    def exact(x, y):
      return squares(f.dot_general_with_precision(x, y, dims))

    return [
      [h(g, x, y, **options) for h in both],
      [equations(jax.make_jaxpr(lambda *a, h=h: h(*a, **options))(g, x, y)) for h in both],
      all_of(exact, x, y),
      equations(jax.make_jaxpr(lambda x, y: jax.jvp(exact, (x, y), (y.sum() * x, y)))(x, y)),
    ]

  same(program)
  ours = fp8_ops.dot_general_transpose_lhs(
    g, x, y, dimension_numbers=dims, precision=None, preferred_element_type=None
  )
  assert jnp.allclose(ours, jax.grad(lambda x: jax.lax.dot_general(x, y, dims).sum())(x), atol=1e-4)


@as_flax({"highest": 1, "bfloat16": 1, "none": 0})
def test_ignored_precision_is_told(nn):
  told = {}
  for name, options in {"highest": ("highest",), "bfloat16": (None, BF16), "none": ()}.items():
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter("always")
      nn.fp8_ops.dot_general_with_precision(X, W, DIMS, *options)
    told[name] = len(caught)
  return told


LAYERS = [
  (lambda nn, op: nn.Dense(3, dot_general_cls=op), (X,)),
  (lambda nn, op: nn.Dense(3, dot_general_cls=op, dtype=BF16), (X,)),
  (lambda nn, op: nn.Dense(3, dot_general_cls=op, precision="highest", name="out"), (X,)),
  (lambda nn, op: nn.DenseGeneral((2, 3), axis=(0, -1), dot_general_cls=op), (X[None],)),
  (lambda nn, op: nn.DenseGeneral(3, batch_dims=(0,), dot_general_cls=op), (X[None],)),
  (lambda nn, op: nn.Sequential([nn.Dense(4, dot_general_cls=op), nn.relu, nn.Dense(2, dot_general_cls=op)]), (X,)),
  (lambda nn, op: nn.MultiHeadDotProductAttention(2, qkv_dot_general_cls=op, out_dot_general_cls=op), (X[None],)),
  (lambda nn, op: nn.SelfAttention(2, qkv_dot_general_cls=op), (X[None],)),
]  # fmt: skip


@pytest.mark.parametrize("op", ["Fp8DotGeneralOp", "Fp8DirectDotGeneralOp"])
@pytest.mark.parametrize("layer", range(len(LAYERS)))
def test_in_a_layer(layer, op):
  build, args = LAYERS[layer]

  def program(nn):
    model = build(nn, functools.partial(getattr(nn, op), amax_history_length=4))
    y, variables = model.init_with_output(KEY, *args)
    return [y, variables, all_of(lambda v, *a: squares(model.apply(v, *a)), variables, *args)]

  same(program)


def test_one_operator_of_ones_own_in_setup():
  def program(nn):
    class Net(nn.Module):
      def setup(self):
        self.product = nn.Fp8DirectDotGeneralOp(amax_history_length=2)
        self.kernel = self.param("kernel", nn.initializers.normal(), (8, 5))

      def __call__(self, x):
        return self.product(x, self.kernel, DIMS)

    variables = Net().init(KEY, X)
    return [variables, all_of(lambda v: squares(Net().apply(v, X)), variables)]

  variables, (_, gradients, *_) = shown(same(program))
  product = {f"{name}_amax_history": (2,) for name in ("input", "kernel", "output_grad")}
  product |= {f"{name}_scale": (1,) for name in ("input", "kernel", "output_grad")}
  assert variables == {"params": {"kernel": (8, 5)}, "_overwrite_with_gradient": {"product": product}}
  assert gradients == (variables,)


class Block:
  """A layer with the signature of a scan body, in either library."""

  def __new__(cls, nn, op):
    class Layer(nn.Module):
      @nn.compact
      def __call__(self, x):
        y = nn.Dense(8, dot_general_cls=functools.partial(getattr(nn, op), amax_history_length=3))(x)
        return nn.relu(y), None

    return Layer


@pytest.mark.parametrize("op", ["Fp8DotGeneralOp", "Fp8DirectDotGeneralOp"])
@pytest.mark.parametrize("lift", ["scan", "vmap", "remat", "jit"])
def test_under_a_lift(op, lift):
  axes = {"params": 0, "_overwrite_with_gradient": 0}

  def program(nn):
    layer = Block(nn, op)
    if lift == "scan":
      layer = nn.scan(layer, variable_axes=axes, split_rngs={"params": True}, length=3)
    elif lift == "vmap":
      layer = nn.vmap(layer, variable_axes=axes, split_rngs={"params": True}, in_axes=None, axis_size=2)
    else:
      layer = getattr(nn, lift)(layer)
    variables = layer().init(KEY, X)
    return [variables, all_of(lambda v: squares(layer().apply(v, X)), variables)]

  same(program)


@pytest.mark.parametrize("op", ["Fp8DotGeneralOp", "Fp8DirectDotGeneralOp"])
def test_training(op):
  """Parameters go through the optimizer; scales and histories are overwritten with their gradients."""

  def program(nn):
    layer = functools.partial(
      nn.Dense, dot_general_cls=functools.partial(getattr(nn, op), amax_history_length=4)
    )
    model = nn.Sequential([layer(16), nn.relu, layer(1)])
    variables = core(nn).unfreeze(model.init(KEY, X))
    params, meta = variables["params"], variables["_overwrite_with_gradient"]
    optimizer = optax.adam(0.1)
    state = optimizer.init(params)

    @jax.jit
    def step(params, meta, state):
      def loss(params, meta):
        return squares(model.apply({"params": params, "_overwrite_with_gradient": meta}, X) - X[:, :1])

      value, (grads, meta) = jax.value_and_grad(loss, (0, 1))(params, meta)
      updates, state = optimizer.update(grads, state)
      return optax.apply_updates(params, updates), meta, state, value

    losses = []
    for _ in range(5):
      params, meta, state, value = step(params, meta, state)
      losses.append(value)
    return [params, meta, losses]

  losses = same(program)[2]
  assert losses[-1] < losses[0]


def shared(nn, dtype):
  """The gradients of scales and histories that several steps share, as values of a dtype."""
  f = nn.fp8_ops

  def loss(x, scale, history):
    scale, history = (jax.lax.convert_element_type(v, getattr(f, dtype)) for v in (scale, history))

    def q(x):
      return f.in_qdq(jnp.float32, E4M3, x, scale, history)

    y, _ = jax.lax.scan(lambda x, _: (q(x * 1.5), None), x, length=3)
    return squares(f.out_qdq(jnp.float32, E5M2, y + q(x * 5), scale, history))

  return jax.jit(jax.grad(loss, (0, 1, 2))), (X, SCALE, HISTORY)


@as_flax([((4, 8), (1,), (3,)), {"jit": 1}])
def test_shared_values_take_the_maximum(nn):
  fn, args = shared(nn, "fm32")
  return [fn(*args), equations(jax.make_jaxpr(fn)(*args))]


@as_flax([((4, 8), (8, 5), (1,), (3,)), {"jit": 1}])
def test_product_with_shared_values(nn):
  def loss(x, w, s, h):
    s, h = (jax.lax.convert_element_type(v, nn.fp8_ops.fm32) for v in (s, h))
    dot = functools.partial(
      nn.fp8_ops.fp8_scaled_dot_general, dimension_numbers=DIMS, preferred_element_type=jnp.float32,
      lhs_scale=s, rhs_scale=s, grad_scale=s, lhs_amax_history=h, rhs_amax_history=h, grad_amax_history=h,
    )  # fmt: skip
    return squares(dot(x, w)) + squares(dot(2 * x, w))

  fn, args = jax.jit(jax.grad(loss, (0, 1, 2, 3))), (X, W, SCALE, HISTORY)
  return [fn(*args), equations(jax.make_jaxpr(fn)(*args))]


@as_flax(
  {
    "names": ("fp8_meta32", "fp8_meta32", "fp8_meta32", "fp8_meta16"),
    "is itself": (True, True),
    "is a kind of": (True, True),
    "tangents are too": True,
    "lies in memory as": "float32[]",
    "from float32 and bfloat16": [True, False],
    "to float32 and bfloat16": [True, False],
    "zero": {"to_edtype": 1},
    "full": {"broadcast_in_dim": 1, "to_edtype": 1},
  }
)
def test_meta_dtype(nn):
  f = nn.fp8_ops
  fm32 = f.fm32
  rules = f.Fp8MetaTyRules
  f32, bf16 = jnp.dtype("float32"), jnp.dtype("bfloat16")
  return {
    "names": (str(fm32), repr(fm32), fm32.name, f.fp8_meta_dtype_wrapper(bf16).name),
    "is itself": (fm32 == f.fp8_meta_dtype_wrapper(f32), f.fp32_max_grad == fm32),
    "is a kind of": (jnp.issubdtype(fm32, f.fp8_meta_dtype), jnp.issubdtype(fm32, jax.dtypes.extended)),
    "tangents are too": rules.tangent_dtype(fm32) == fm32,
    "lies in memory as": str(rules.physical_element_aval(fm32)),
    "from float32 and bfloat16": [rules.convert_from(fm32, d) for d in (f32, bf16)],
    "to float32 and bfloat16": [rules.convert_to(d, fm32) for d in (f32, bf16)],
    "zero": equations(jax.make_jaxpr(lambda: rules.zero(fm32))()),
    "full": equations(jax.make_jaxpr(lambda: rules.full((2,), 3.0, fm32))()),
  }


def test_meta_values_stay_under_jit():
  with pytest.raises(TypeError, match=r"under jax\.jit"):
    jax.lax.convert_element_type(SCALE, fp8_ops.fm32)


def test_names_are_flaxs():
  theirs = flax.linen.fp8_ops
  names = [n for n in dir(theirs) if n[0] != "_"]
  defined = {n for n in names if getattr(getattr(theirs, n), "__module__", "") == theirs.__name__}
  assert defined | {"OVERWRITE_WITH_GRADIENT"} <= set(dir(fp8_ops))


@pytest.mark.parametrize("op", OPS)
def test_trace_and_check(op):
  """The tree rebuilt from the trace is the one that init returns, and nothing is wrong with it."""
  layer = functools.partial(
    minilinen.Dense, dot_general_cls=functools.partial(getattr(minilinen, op), amax_history_length=2)
  )
  model = minilinen.Sequential([layer(3), layer(2)])
  variables = model.init(KEY, X)
  traced = minilinen.trace(model.init)(KEY, X).variables()
  assert jax.tree.map(lambda s: s.shape, traced) == jax.tree.map(
    jnp.shape, minilinen.core.unfreeze(variables)
  )
  assert str(minilinen.check(model, variables, X)) == "Nothing found."
