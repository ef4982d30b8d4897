"""Typical mistakes, one a line, each marked: a type checker must see it. `test_typing.py` runs pyright on this file.

Once more with Flax's imports: what is seen there must be seen here. Nothing of this is ever run but the classes.
"""

import dataclasses
import functools
from typing import assert_type

import jax
import jax.numpy as jnp

import minilinen as nn


class Net(nn.Module):
  features: int
  rate: float = 0.1
  act: str = "relu"

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    return nn.Dropout(self.rate)(nn.Dense(self.features)(x), deterministic=not train)

  @nn.nowrap
  def head(self, x: jax.Array, *, scale: float) -> jax.Array:
    return x * scale

  @nn.compact_name_scope
  def up(self, x: jax.Array, times: int) -> jax.Array:
    return nn.Dense(times)(x)

  @nn.jit
  def jitted(self, x: jax.Array, scale: float) -> jax.Array:
    return x * scale

  @nn.remat
  def again(self, x: jax.Array, scale: float) -> jax.Array:
    return x * scale

  @functools.partial(nn.jit, static_argnums=(2,))
  def jitted_for(self, x: jax.Array, scale: float) -> jax.Array:
    return x * scale

  @nn.named_call
  def named(self, x: jax.Array, scale: float) -> jax.Array:
    return x * scale

  def plain(self, x: jax.Array, scale: float) -> tuple[jax.Array, int]:
    return x * scale, 1

  @property
  def width(self) -> int:
    return self.features


class Wide(Net):
  depth: int = 2


class Named(nn.Module, kw_only=True):
  first: int
  second: str = "b"

  def __call__(self, x: jax.Array) -> jax.Array:
    return x


class Block(nn.Module):
  size: int

  @nn.compact
  def __call__(self, carry: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return carry, nn.Dense(self.size)(x)


class Holder(nn.Module):
  inner: Net
  sizes: tuple[int, ...] = (1, 2)
  settings: dict[str, int] = dataclasses.field(default_factory=dict)

  def setup(self) -> None:
    self.dense = nn.Dense(3)
    self.first = Net(2)

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.inner(self.dense(x))


KEY = jax.random.key(0)
X = jnp.ones((2, 3))
ScanBlock = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
VmapNet = nn.vmap(Net, variable_axes={"params": 0}, split_rngs={"params": True})
RematNet = nn.remat(Net)
JitNet = nn.jit(Net)


def constructors() -> None:
  """A class of the user's: names, numbers and types of its fields."""
  Net()  # mistake: features is missing
  Net("3")  # mistake: features is an int
  Net(features=3.5)  # mistake
  Net(3, ratee=0.1)  # mistake: misspelt
  Net(3, rate="high")  # mistake
  Net(3, act=1)  # mistake
  Net(3, 0.1, "relu", 4)  # mistake: one too many
  Net(3, features=3)  # mistake: twice
  Net(3, name=4)  # mistake: a name is a str
  Net(None)  # mistake
  Wide(3, dept=4)  # mistake: misspelt
  Wide(3, depth="4")  # mistake
  Wide(depth=4)  # mistake: features is missing
  Named(1)  # mistake: by name only
  Named(first=1, third=2)  # mistake
  Named(second="c")  # mistake: first is missing
  Holder(3)  # mistake: inner is a Net
  Holder(Block(3))  # mistake: another module
  Holder(Net(3), sizes=3)  # mistake: a tuple
  Holder(Net(3), sizes=("a",))  # mistake
  Holder(Net(3), settings=[1])  # mistake


def layers() -> None:
  """Linen's own layers: their settings, and what they are called with."""
  nn.Dense()  # mistake: features is missing
  nn.Dense("8")  # mistake
  nn.Dense(8, bias=False)  # mistake: use_bias
  nn.Dense(8, use_bias="no")  # mistake
  nn.Dense(8, kernel_init=3)  # mistake: an initializer
  nn.Dense(8)()  # mistake: no input
  nn.Dense(8)(X, X)  # mistake: two inputs
  nn.Dense(8)("x")  # mistake: no array
  nn.Dense(8)(X, train=True)  # mistake
  nn.Conv(8)  # mistake: kernel_size is missing
  nn.Conv("8", (3, 3))  # mistake
  nn.Conv(8, (3, 3), stride=2)  # mistake: strides
  nn.Conv(8, ("3", "3"))  # mistake
  nn.Dropout()  # mistake: rate is missing
  nn.Dropout("0.1")  # mistake
  nn.Dropout(0.1)(X, determinstic=True)  # mistake: misspelt
  nn.BatchNorm(momentun=0.9)  # mistake: misspelt
  nn.BatchNorm(use_running_average=1.5)  # mistake
  nn.BatchNorm()(X, use_runing_average=True)  # mistake: misspelt
  nn.LayerNorm(eps=1e-6)  # mistake: epsilon
  nn.LayerNorm(epsilon="small")  # mistake
  nn.Embed(10)  # mistake: features is missing
  nn.Embed(10, 4, 3, 2, 1)  # mistake: too many
  nn.Embed(10, 4).attend()  # mistake: no query
  nn.MultiHeadDotProductAttention()  # mistake: num_heads is missing
  nn.MultiHeadDotProductAttention(num_head=4)  # mistake: num_heads
  nn.MultiHeadDotProductAttention(4)(X, X, X, X, maskk=X)  # mistake
  nn.Sequential()  # mistake: layers are missing
  nn.GroupNorm(num_groups="4")  # mistake
  nn.RNN(nn.Dense(3), time_majr=True)  # mistake: misspelt
  nn.GRUCell(size=3)  # mistake: features
  nn.max_pool(X, window=(2, 2))  # mistake: window_shape
  nn.one_hot()  # mistake


def calls() -> None:
  """Methods of the user's, under every decorator."""
  net = Net(3)
  net(X, trian=True)  # mistake: misspelt
  net()  # mistake: no input
  net(X, "yes")  # mistake: train is a bool
  net(X, True, 3)  # mistake: one too many
  net.head(X)  # mistake: scale is missing
  net.head(X, 2.0)  # mistake: scale by name only
  net.head(X, scale="a")  # mistake
  net.up(X)  # mistake: times is missing
  net.up(X, times="a")  # mistake
  net.up(X, tims=3)  # mistake: misspelt
  net.jitted(X)  # mistake: scale is missing
  net.jitted(X, scal=1.0)  # mistake: misspelt
  net.again(X)  # mistake: scale is missing
  net.again(X, "a")  # mistake
  net.jitted_for(X)  # mistake: scale is missing
  net.jitted_for(X, "a")  # mistake
  net.named(X)  # mistake: scale is missing
  net.named(X, scale="a")  # mistake
  net.plain(X)  # mistake: scale is missing
  net.width()  # mistake: an int can't be called
  net.width = "a"  # mistake: a property
  Holder(net)(X, X)  # mistake: one too many
  Holder(net).first(X, trian=1)  # mistake: a module of setup
  Holder(net).dense()  # mistake


def results() -> None:
  """What methods give."""
  net = Net(3)
  net(X).shpae  # mistake: misspelt
  net.head(X, scale=1.0).shpae  # mistake
  net.up(X, 2).dtyp  # mistake
  net.jitted(X, 1.0).shpae  # mistake
  net.again(X, 1.0).shpae  # mistake
  net.jitted_for(X, 1.0).shpae  # mistake
  net.named(X, 1.0).shpae  # mistake
  a, b, c = net.plain(X, 1.0)  # mistake: two values
  net.plain(X, 1.0)[1].shape  # mistake: an int
  net.width.shape  # mistake
  net.features.shape  # mistake
  nn.Dense(3)(X).shpae  # mistake
  nn.Dropout(0.1)(X, deterministic=True).shpae  # mistake
  nn.LayerNorm()(X).shpae  # mistake
  nn.relu(X).shpae  # mistake
  assert_type(net.clone(), Wide)  # mistake: a Net
  net.clone().head(X)  # mistake: scale is missing
  net.copy().width()  # mistake


def running() -> None:
  """`init`, `apply`, `bind` and their relatives."""
  net = Net(3)
  net.init()  # mistake: no key
  net.apply()  # mistake: no variables
  net.init(KEY, X, method=3)  # mistake: a method or a name
  net.apply({}, X, method=3)  # mistake
  net.init(KEY, X, mutable=3.5)  # mistake
  net.apply({}, X, mutable=3.5)  # mistake
  net.init_with_output(KEY, X).shape  # mistake: a pair
  y, variables, rest = net.init_with_output(KEY, X)  # mistake: a pair
  net.init(KEY, X).shape  # mistake: variables
  net.bind({})(X, trian=True)  # mistake: misspelt
  net.bind({}).head(X)  # mistake: scale is missing
  net.bind()  # mistake: no variables
  net.bind({}, key=KEY)  # mistake: rngs
  net.unbind()[0].head(X)  # mistake: scale is missing
  net.unbind().variables  # mistake: a pair
  net.tabulate(KEY, X).rows  # mistake: a str
  net.tabulate()  # mistake: no key
  net.clone(3)  # mistake: settings by name
  net.is_initializing(3)  # mistake
  net.has_variable("params")  # mistake: no name
  net.make_rng(3)  # mistake: a name
  net.sow("intermediates", "a")  # mistake: no value
  net.put_variable("a", "b")  # mistake: no value
  net.variable("state")  # mistake: no name
  net.variable(3, "a", lambda: X)  # mistake: a collection is named
  net.variable("state", "n", lambda: X).valeu  # mistake: misspelt
  net.param("w")  # mistake: no initializer
  net.param(3, nn.initializers.ones, (2,))  # mistake: a name
  net.perturb("a", X).shpae  # mistake: an array
  net.path.names  # mistake: a tuple


def transforms() -> None:
  """Classes that transforms make, and the transforms' own arguments."""
  ScanBlock()  # mistake: size is missing
  ScanBlock("a")  # mistake
  ScanBlock(3, siez=4)  # mistake
  ScanBlock(3)(X)  # mistake: a carry and xs
  ScanBlock(3)(X, X)[0].shpae  # mistake
  carry, ys, rest = ScanBlock(3)(X, X)  # mistake
  VmapNet()  # mistake: features is missing
  VmapNet(3)(X, trian=True)  # mistake
  RematNet(3, ratee=1)  # mistake
  RematNet(3)(X).shpae  # mistake
  JitNet("a")  # mistake
  JitNet(3).head(X)  # mistake
  nn.scan()  # mistake: no target
  nn.scan(Block, variable_axis={"params": 0})  # mistake: variable_axes
  nn.scan(Block, length="3")  # mistake
  nn.scan(Block, reverse="yes")  # mistake
  nn.vmap(Net, axis_size="3")  # mistake
  nn.vmap(Net, in_axis=0)  # mistake: in_axes
  nn.remat(Net, policy=3)  # mistake
  nn.remat(Net, static_argnum=(1,))  # mistake: static_argnums
  nn.jit(Net, static_argnums="x")  # mistake
  nn.vmap(3)  # mistake: no module
  nn.jit("Net")  # mistake
  nn.cond(True, lambda m, x: x)  # mistake: no false_fun
  nn.while_loop(lambda m, c: True, lambda m, c: c)  # mistake: no module


def functions() -> None:
  """The rest of what Linen names."""
  nn.apply()  # mistake
  nn.init(Net.__call__)  # mistake: no module
  nn.merge_param("train", True)  # mistake: two values
  nn.share_scope(Net(3))  # mistake: two modules
  nn.share_scope(Net(3), 3)  # mistake
  nn.softmax()  # mistake
  nn.initializers.normal(std=1.0)  # mistake: stddev
  nn.avg_pool(X)  # mistake: no window
  nn.dot_product_attention(X, X)  # mistake: no value
  nn.make_causal_mask()  # mistake
  nn.nothing_of_that_name  # mistake
  nn.Dens(3)  # mistake: misspelt
