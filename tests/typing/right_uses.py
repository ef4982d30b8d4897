"""Right uses: a type checker must be content with all of them, and know what they give. See `test_typing.py`."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, assert_type

import jax
import jax.numpy as jnp

import minilinen as nn

T = TypeVar("T")
KEY = jax.random.key(0)
X = jnp.ones((2, 3))


class MLP(nn.Module):
  widths: Sequence[int] = (3, 4)
  act: Callable[[jax.Array], jax.Array] = nn.relu
  dtype: Any = jnp.float32
  settings: dict[str, int] = dataclasses.field(default_factory=dict)

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    for i, width in enumerate(self.widths):
      x = self.act(nn.Dense(width, dtype=self.dtype, name=f"dense{i}")(x))
    x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
    scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
    count = self.variable("state", "count", lambda: jnp.zeros((), jnp.int32))
    count.value = count.value + 1
    self.sow("intermediates", "x", x)
    return nn.Dropout(0.5, deterministic=not train)(self.perturb("p", x * scale))


class Setup(nn.Module):
  size: int = 3

  def setup(self) -> None:
    self.encoder = MLP((self.size,))
    self.blocks = [nn.Dense(3) for _ in range(2)]
    self.norm = nn.LayerNorm(epsilon=1e-5)

  def __call__(self, x: jax.Array) -> jax.Array:
    y = self.encoder(x, train=True)
    for block in self.blocks:
      y = block(y)
    return self.norm(y)

  def encode(self, x: jax.Array) -> jax.Array:
    return self.encoder(x)

  @nn.nowrap
  def sizes(self, n: int) -> list[int]:
    return [self.size] * n

  @nn.jit
  def jitted(self, x: jax.Array, n: float) -> jax.Array:
    return x * n

  @functools.partial(nn.remat, static_argnums=(2,))
  def again(self, x: jax.Array, n: int) -> jax.Array:
    return x * n

  @functools.partial(nn.jit, static_argnums=(2,))
  def jitted_for(self, x: jax.Array, n: int) -> jax.Array:
    return x * n

  @nn.compact_name_scope
  def up(self, x: jax.Array, times: int = 2) -> jax.Array:
    return nn.Dense(times)(x)

  @nn.named_call
  def named(self, x: jax.Array) -> jax.Array:
    return x


class Typed(nn.Module, Generic[T]):
  value: T

  def get(self) -> T:
    return self.value


class Named(nn.Module, kw_only=True):
  first: int = 1
  second: str

  def __call__(self, x: jax.Array) -> jax.Array:
    return x


class Post(nn.Module):
  n: int = 1

  def __post_init__(self) -> None:
    super().__post_init__()


class Block(nn.Module):
  size: int

  @nn.compact
  def __call__(self, carry: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return carry, nn.Dense(self.size)(x)


class Holder(nn.Module):
  inner: nn.Module
  cell: type[nn.Module] = MLP

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    return self.inner(x) + self.cell()(x)


ScanBlock = nn.scan(
  Block,
  variable_axes={"params": 0},
  variable_broadcast=False,
  split_rngs={"params": True},
  in_axes=0,
  length=3,
)
VmapMLP = nn.vmap(MLP, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=0, axis_size=2)
RematMLP = nn.remat(MLP, static_argnums=(1,), policy=jax.checkpoint_policies.everything_saveable)


def constructors() -> None:
  """Modules may be made in these ways."""
  MLP()
  MLP([1, 2])
  MLP((1, 2), act=nn.gelu, name="mlp")
  MLP(parent=None)
  MLP(act=jnp.tanh)
  Named(second="a")
  Named(second="a", first=2, name="n")
  Post(3)
  Holder(MLP(), cell=Setup)
  Holder(nn.Dense(3))
  assert_type(Typed(3).get(), int)
  nn.Dense(3, dtype=jnp.bfloat16, kernel_init=nn.initializers.lecun_normal(), bias_init=nn.initializers.zeros)
  nn.Dense(features=3, precision="highest", param_dtype="float32")
  nn.Dense(3, kernel_init=lambda key, shape, dtype: jnp.zeros(shape, dtype))
  nn.DenseGeneral((2, 3), axis=(-2, -1))
  nn.DenseGeneral(2, axis=-1)
  nn.Conv(8, (3, 3), strides=2, padding="SAME")
  nn.Conv(8, kernel_size=(3,), padding=[(1, 1)], kernel_dilation=(2,))
  nn.Conv(8, [3, 3], strides=(1, 2), padding=1, use_bias=False)
  nn.ConvTranspose(8, (3, 3), (2, 2))
  nn.Embed(10, 4)(jnp.zeros((3,), jnp.int32))
  nn.Embed(num_embeddings=10, features=4).attend(X)
  nn.Sequential([nn.Dense(3), nn.relu, lambda x: x * 2])
  nn.LayerNorm(use_scale=False, reduction_axes=(-2, -1))
  nn.GroupNorm(num_groups=None, group_size=2)
  nn.RMSNorm()(X)
  nn.MultiHeadDotProductAttention(num_heads=2, qkv_features=4)(X, X, mask=None)
  nn.MultiHeadDotProductAttention(2, dropout_rate=0.1)(X, deterministic=True)
  nn.RNN(nn.LSTMCell(3), time_major=True)(X)
  nn.RNN(nn.GRUCell(features=3), return_carry=True)
  nn.Bidirectional(nn.RNN(nn.GRUCell(3)), nn.RNN(nn.GRUCell(3)))(X)
  nn.WeightNorm(nn.Dense(3))(X)


def calls() -> None:
  """Every decorator and transform leaves the signature as it was."""
  net = Setup(3)
  assert_type(net(X), jax.Array)
  assert_type(net.encode(X), jax.Array)
  assert_type(net.sizes(2), list[int])
  assert_type(net.jitted(X, 2.0), jax.Array)
  assert_type(net.again(X, 2), jax.Array)
  assert_type(net.jitted_for(X, 2), jax.Array)
  assert_type(net.up(X), jax.Array)
  assert_type(net.up(X, times=3), jax.Array)
  assert_type(net.named(X), jax.Array)
  assert_type(MLP()(X, train=True), jax.Array)
  assert_type(net.blocks[0], nn.Dense)
  assert_type(net.encoder, MLP)
  nn.Dense(3)(X).mean().item()
  carry, ys = ScanBlock(3)(X, X)
  assert_type(carry, jax.Array)
  assert_type(ys, jax.Array)
  assert_type(VmapMLP(act=nn.relu)(X, train=False), jax.Array)
  assert_type(RematMLP()(X), jax.Array)
  c, y = nn.LSTMCell(3)((X, X), X)
  c, y = nn.GRUCell(3)(X, X)
  nn.relu(X).reshape(2, -1)
  nn.max_pool(X, window_shape=(2, 2), strides=(2, 2)).shape
  nn.softmax(X, axis=-1).sum()
  nn.cond(True, lambda m, x: x, lambda m, x: x, net, X)
  nn.remat(lambda m, x: m(x))(net, X)


def running() -> None:
  """`init`, `apply`, `bind` and their relatives."""
  net = Setup(3)
  variables = net.init(KEY, X)
  net.init({"params": KEY, "dropout": KEY}, X, method="encode")
  net.init(KEY, X, mutable=["params"], method=Setup.encode)
  variables["params"]["encoder"]
  dict(variables)
  y, variables = net.init_with_output(KEY, X)
  net.apply(variables, X).sum()
  net.apply({"params": variables["params"]}, X, rngs={"dropout": KEY}).sum()
  y, updates = net.apply(variables, X, mutable=["batch_stats"])
  net.apply(variables, X, method=net.encode, capture_intermediates=True)
  net.apply(variables, X, method="encode", mutable=True)
  net.apply(variables, X, capture_intermediates=lambda m, name: name == "encode", mutable=nn.DenyList("a"))
  bound = net.bind(variables, rngs={"dropout": KEY})
  assert_type(bound, Setup)
  assert_type(bound(X), jax.Array)
  assert_type(bound.encoder(X), jax.Array)
  module, variables = bound.unbind()
  assert_type(module, Setup)
  assert_type(net.clone(size=4), Setup)
  assert_type(net.copy(name="b"), Setup)
  print(net.tabulate(KEY, X, depth=1, console_kwargs={"width": 100}))
  net.lazy_init(KEY, jax.ShapeDtypeStruct((2, 3), jnp.float32))
  jax.jit(net.apply)(variables, X)
  jax.jit(net.init)(KEY, X)
  jax.eval_shape(net.init, KEY, X)
  jax.vmap(net.apply, in_axes=(None, 0))(variables, X)
  jax.grad(lambda p: net.apply({"params": p}, X).sum())(variables["params"])
  nn.apply(Setup.encode, net)(variables, X)
  nn.init(Setup.__call__, net)(KEY, X)
  nn.share_scope(net, MLP())
  nn.merge_param("train", None, True)
  run: Callable[..., Any] = net
  run(X)
  modules: list[nn.Module] = [net, MLP(), nn.Dense(3)]
  modules[0](X)
  nn.BatchNorm(use_running_average=False, axis_name="batch")(X, use_running_average=True)
  with nn.intercept_methods(lambda f, args, kwargs, context: f(*args, **kwargs)):
    net(X)
