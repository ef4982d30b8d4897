"""Models for the tests of the trace: every way in which a variable or a key can come to be.

Each entry of `MODELS` is a function without arguments that gives (module, keys for init, inputs). The leaves of
`Probe` keep the bits of the keys they drew, so that replayed keys can be compared with what really was drawn.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import minilinen as nn

X = jnp.linspace(-1, 1, 8).reshape(2, 4)
RNGS = {"params": jax.random.key(1), "dropout": jax.random.key(2), "noise": jax.random.PRNGKey(3)}
ALL = {"params": 0, "keys": 0, "batch_stats": 0, "intermediates": 0, "state": 0}
SPLIT = {"params": True, "dropout": True, "noise": False}

Case = tuple[nn.Module, dict[str, Any], tuple[Any, ...]]


def bits(key: Any) -> Any:
  """A key's raw words."""
  return jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key


class Probe(nn.Module):
  """Keeps the keys it draws, as variables named by their stream."""

  @nn.compact
  def __call__(self, x: Any) -> Any:
    self.param("params", bits)
    for stream in ("dropout", "noise", "unheard"):
      self.variable("keys", stream, lambda stream=stream: bits(self.make_rng(stream)))
    return x + 1


class Step(Probe):
  """The same as the body of a scan."""

  @nn.compact
  def __call__(self, x: Any, _: Any = None) -> Any:
    return super().__call__(x), None


class Mlp(nn.Module):
  sizes: tuple[int, ...] = (3, 2)

  @nn.compact
  def __call__(self, x: Any) -> Any:
    for size in self.sizes:
      x = nn.relu(nn.Dense(size)(x))
    return x


class SetUp(nn.Module):
  def setup(self) -> None:
    self.layers = [nn.Dense(3), nn.Dense(2)]
    self.named = {"a": nn.Dense(2, use_bias=False)}
    self.scale = self.param("scale", nn.initializers.ones, (2,))
    self.unused = nn.Dense(7)

  def __call__(self, x: Any) -> Any:
    for layer in self.layers:
      x = layer(x)
    return self.named["a"](x) * self.scale


class Shared(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    dense, probe = nn.Dense(4, name="twice"), Probe()
    return probe(dense(dense(probe(x))))


class Adopts(nn.Module):
  inner: nn.Module
  others: Any = ()

  @nn.compact
  def __call__(self, x: Any) -> Any:
    for module in (self.inner, *self.others):
      x = module(x)
    return x


class Busy(nn.Module):
  """Normalises, drops, sows, perturbs and keeps state."""

  @nn.compact
  def __call__(self, x: Any) -> Any:
    x = nn.BatchNorm(use_running_average=False)(nn.Dense(4)(x))
    self.sow("intermediates", "twice", x)
    self.sow("intermediates", "twice", x * 2)
    self.sow("state", "sum", x.sum(), init_fn=lambda: 0.0, reduce_fn=lambda a, b: a + b)
    x = self.perturb("bump", nn.Dropout(0.5, deterministic=False)(x))
    count = self.variable("state", "count", jnp.zeros, ())
    if not self.is_initializing():
      count.value += 1
    pair = self.variable("state", "pair", lambda: {"a": jnp.ones(2), "b": (jnp.zeros(1), jnp.int32(3))})
    return x + pair.value["a"].sum() + Probe()(x)


class BusyStep(nn.Module):
  @nn.compact
  def __call__(self, x: Any, _: Any = None) -> Any:
    return Busy()(x), x.sum()


class Vmapped(nn.Module):
  module: Any
  n: int = 5
  split: Any = None

  @nn.compact
  def __call__(self, x: Any) -> Any:
    mapped = nn.vmap(self.module, variable_axes=ALL, split_rngs=self.split or SPLIT, axis_size=self.n)
    return jax.tree.leaves(mapped(name="v")(jnp.broadcast_to(x, (self.n, *x.shape))))[0].sum(0)


class Scanned(nn.Module):
  module: Any
  n: int = 3
  wrap: Any = staticmethod(lambda module: module)

  @nn.compact
  def __call__(self, x: Any) -> Any:
    body = self.wrap(nn.scan(self.module, variable_axes=ALL, split_rngs=SPLIT, length=self.n))
    return body(name="s")(x, None)[0]


class Broadcast(nn.Module):
  """A scan that shares its parameters and carries a counter."""

  @nn.compact
  def __call__(self, x: Any) -> Any:
    count = self.variable("count", "n", jnp.zeros, (), jnp.int32)

    def body(module: nn.Module, x: Any, y: Any) -> Any:
      seen = module.variable("count", "n", jnp.zeros, (), jnp.int32)
      seen.value += 1
      module.variable("state", "s", jnp.zeros, (2,))
      return nn.Dense(4, name="dense")(x) + y, Probe(name="probe")(x)

    scanned = nn.scan(
      body, variable_broadcast="params", variable_carry="count", variable_axes={"keys": 0, "state": 1},
      split_rngs={"params": False, "dropout": True}, out_axes=1,
    )  # fmt: skip
    return scanned(self, x, jnp.ones((3, 4)))[0] + count.value


class InnerVmap(nn.Module):
  """A vmap in the body of a scan."""

  @nn.compact
  def __call__(self, x: Any, _: Any = None) -> Any:
    return Vmapped(Probe, split={"params": False, "dropout": True})(x), None


class Methods(nn.Module):
  """Lifted methods and functions."""

  @nn.jit
  @nn.compact
  def __call__(self, x: Any) -> Any:
    x = nn.remat(lambda module, x: Probe(name="in_remat")(module.dense(x)))(self, x)
    return self.again(x)

  def setup(self) -> None:
    self.dense = nn.Dense(4)

  @nn.remat
  def again(self, x: Any) -> Any:
    return self.dense(x)


class Mapped(nn.Module):
  """Transposed parameters."""

  @nn.compact
  def __call__(self, x: Any) -> Any:
    flip = lambda tree: jax.tree.map(lambda a: a.T, tree)  # noqa: E731
    return nn.map_variables(nn.Dense, "params", flip, flip, init=True)(4)(x)


class Boxed(nn.Module):
  """Partitioned parameters under a vmap that names its axis."""

  @nn.compact
  def __call__(self, x: Any) -> Any:
    init = nn.with_partitioning(nn.initializers.ones, ("in", None))
    mapped = nn.vmap(
      nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, axis_size=5,
      metadata_params={nn.PARTITION_NAME: "layer"},
    )  # fmt: skip
    return nn.Dense(4, kernel_init=init)(x) + mapped(4, kernel_init=init)(x).sum(0)


class SharesScope(nn.Module):
  def setup(self) -> None:
    self.inner = nn.Dense(4)
    nn.share_scope(self, self.inner)

    self.extra = self.param("extra", nn.initializers.ones, (4,))

  def __call__(self, x: Any) -> Any:
    return self.inner(x) + self.extra


class Attends(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    x = nn.MultiHeadDotProductAttention(num_heads=2, decode=True)(x[None, :1])
    return nn.LayerNorm()(x)


class Recurs(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    scanned = nn.scan(nn.LSTMCell, variable_broadcast="params", split_rngs={"params": False})
    cell = scanned(4)
    carry = cell.initialize_carry(jax.random.key(0), x.shape[1:])
    return cell(carry, x)[1]


class Chooses(nn.Module):
  """Branches that use what is there already, and branches that make it."""

  def setup(self) -> None:
    self.inner = nn.Dense(4)
    self.probe = Probe()

  @nn.compact
  def __call__(self, x: Any) -> Any:
    x = self.probe(self.inner(x))
    x = nn.cond(x.sum() > 0, lambda net, x: net.inner(x), lambda net, x: 2 * net.inner(x), self, x)
    make = lambda net, x: x + net.param("late", nn.initializers.ones, (4,))  # noqa: E731
    return nn.switch(1, [make, make, lambda net, x: 2 * make(net, x)], self, x)


class Loops(nn.Module):
  """A while loop that carries a counter and draws keys."""

  @nn.compact
  def __call__(self, x: Any) -> Any:
    x = Probe()(nn.Dense(4, name="dense")(x))
    self.variable("state", "count", lambda: 0)

    def body(net: nn.Module, carry: Any) -> Any:
      net.put_variable("state", "count", net.get_variable("state", "count") + 1)
      drawn = bits(net.make_rng("noise")).sum().astype(float) + bits(net.make_rng("dropout")).sum()
      return carry[0] + 1, nn.Dense(4, name="dense")(carry[1]) + 0 * drawn

    more = lambda net, carry: carry[0] < 3  # noqa: E731
    split = {"noise": True, "dropout": False}
    return nn.while_loop(more, body, self, (0, x), carry_variables="state", split_rngs=split)[1]


class Derives(nn.Module):
  """Derivatives of every kind."""

  @nn.compact
  def __call__(self, x: Any) -> Any:
    call = lambda net, x: net(x)  # noqa: E731
    y, pull = nn.vjp(call, Busy(), x)
    x = pull(y)[1] + nn.grad(lambda net, x: net(x).sum(), Probe(), x)[0]
    x = sum(nn.jvp(call, nn.Dense(4), (x,), (x,), {}))
    own = nn.custom_vjp(call, lambda net, x: nn.vjp(call, net, x), lambda pull, y_t: pull(y_t))
    return own(nn.Dense(4), x)


def case(module: nn.Module, **rngs: Any) -> Callable[[], Case]:
  return lambda: (module, rngs or RNGS, (X,))


MODELS: dict[str, Callable[[], Case]] = {
  "dense": case(nn.Dense(3), params=jax.random.PRNGKey(0)),
  "mlp": case(Mlp()),
  "setup": case(SetUp()),
  "shared": case(Shared()),
  "adopts": case(Adopts(Mlp(), (Probe(), nn.Sequential([nn.Dense(4), nn.tanh, Probe()])))),
  "busy": case(Busy()),
  "vmap": case(Vmapped(Busy)),
  "scan": case(Scanned(BusyStep)),
  "broadcast": case(Broadcast()),
  "jit": case(Adopts(nn.jit(Busy)())),
  "remat": case(Adopts(nn.remat(Busy)(name="r"))),
  "vmap of vmap": case(Vmapped(InnerVmap, 3)),
  "scan of vmap": case(Scanned(InnerVmap)),
  "vmap of scan": case(Vmapped(nn.scan(Step, variable_axes=ALL, split_rngs=SPLIT, length=7))),
  "scan of remat": case(Scanned(nn.remat(BusyStep))),
  "jit of scan": case(Scanned(BusyStep, wrap=nn.jit)),
  "remat of scan": case(Scanned(Step, wrap=nn.remat)),
  "methods": case(Methods()),
  "map_variables": case(Mapped()),
  "boxed": case(Boxed()),
  "share_scope": case(SharesScope()),
  "attention": case(Attends()),
  "lstm": case(Recurs()),
  "branches": case(Chooses()),
  "while_loop": case(Loops()),
  "derivatives": case(Derives()),
  "remat_scan": case(Adopts(nn.remat_scan(Busy, lengths=(2, 3), variable_axes=ALL, split_rngs=SPLIT)())),
  "fold_rngs": case(Adopts(nn.fold_rngs(Busy)())),
  "add_metadata_axis": case(Adopts(nn.add_metadata_axis(Busy, variable_axes={"params": 0})())),
}


class Chain(nn.Module):
  """A random program: each part is a layer, or a lift with a length and a program of its own."""

  parts: tuple[Any, ...]

  @nn.compact
  def __call__(self, x: Any) -> Any:
    for part in self.parts:
      x = self.run(part, x)
    return x

  @nn.nowrap
  def run(self, part: Any, x: Any) -> Any:
    match part:
      case "probe" | "dense" | "busy":
        return {"probe": Probe, "dense": functools.partial(nn.Dense, 4), "busy": Busy}[part]()(x)
      case "jit" | "remat", inner:
        return getattr(nn, part[0])(Chain)(inner)(x)
      case "vmap", n, split, inner:
        mapped = nn.vmap(Chain, variable_axes=ALL, split_rngs={**SPLIT, "noise": split}, axis_size=n)
        return mapped(inner)(jnp.broadcast_to(x, (n, *x.shape))).mean(0)
      case "scan", n, shared, inner:
        axes = {col: 0 for col in ALL if not (shared and col == "params")}
        splits = {**SPLIT, "params": not shared}
        scanned = nn.scan(
          ChainStep,
          variable_axes=axes,
          variable_broadcast="params" if shared else False,
          split_rngs=splits,
          length=n,
        )
        return scanned(inner)(x, None)[0]
    raise AssertionError(part)


class ChainStep(Chain):
  @nn.compact
  def __call__(self, x: Any, _: Any = None) -> Any:
    return super().__call__(x), None
