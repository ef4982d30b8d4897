"""Random module programs, as data: what the fuzzer runs with Flax and with minilinen.

A program is a tree of tuples (kind, rest). `build` turns it into a module of the namespace it is given, so that both
libraries run the same one; every module maps the last axis of its input, of size WIDTH, to the same shape.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from hypothesis import strategies as st
from oracle import KEY, KEY2

WIDTH = 2
KEYS = {"params": KEY, "dropout": KEY2, "noise": jax.random.PRNGKey(3)}
INPUT = jnp.arange(12.0).reshape(2, 3, WIDTH) / 8 - 0.5
MUTABLE = ["state", "batch_stats", "intermediates"]
AXES = {"params": 0, "batch_stats": 0, "state": 0, "intermediates": 0}

OWN = ["dropout", "norm", "counter", "sow", "perturb", "noise", "parameter", "wrong"]
DENSE = ["dense", "boxed", "logical"]
LAYERS = ["conv", "layer_norm", "group_norm", "rms_norm", "attention", "gru", "lstm", "bidirectional", "prelu",
          "weight_norm", "spectral_norm", "einsum", "dense_general", "conv_local"]  # fmt: skip
LEAVES = [*OWN, *DENSE, *LAYERS]
LIFTS = ["vmap", "vmap_shared", "scan", "scan_shared", "scan_carried", "remat", "jit", "map_variables", "fold_rngs",
         "remat_scan", "add_metadata_axis"]  # fmt: skip
DIRECT = ["cond", "switch", "while_loop", "vjp", "grad", "jvp", "custom_vjp"]
FUNCTIONS = ["jit_function", "remat_function", "vmap_function"]
LIFTED_METHODS = ["jit_methods", "remat_methods", "vmap_methods"]

leaves = st.tuples(
  st.sampled_from([*OWN[:-1] * 4, *DENSE * 4, *LAYERS, "wrong"]),
  st.sampled_from([None, None, None, "a", "b"]),
)


def _grow(inner: st.SearchStrategy) -> st.SearchStrategy:
  some = st.lists(inner, min_size=1, max_size=3).map(tuple)
  return st.one_of(
    st.tuples(st.sampled_from(["compact", "setup", "adopted", "methods"]), some),
    st.tuples(st.sampled_from(["twice", "adopted_twice"]), inner),
    # Flax cannot share a scope that was shared before: "Duplicate use of scope name".
    st.tuples(st.just("share_scope"), inner.filter(lambda node: node[0] != "share_scope")),
    st.tuples(st.sampled_from(LIFTS), inner),
    st.tuples(st.sampled_from([*LIFTS, *DIRECT]), inner),
    st.tuples(st.sampled_from([*DIRECT, *FUNCTIONS, *LIFTED_METHODS]), inner),
  )


programs = st.recursive(leaves, _grow, max_leaves=5)


def step_of(nn: Any, node: tuple) -> Any:
  """The class of a module with a field fewer: what is lifted makes its submodule itself, in its body."""

  class Step(nn.Module):
    @nn.compact
    def __call__(self, carry, _):
      return build(nn, node)(carry), None

  return Step


def plain_of(nn: Any, node: tuple) -> Any:
  class Plain(nn.Module):
    @nn.compact
    def __call__(self, x):
      return build(nn, node)(x)

  return Plain


def build(nn: Any, node: tuple) -> Any:
  """The module of a node, made where it is called: unbound outside of modules, a submodule within."""
  kind, rest = node
  if kind in LEAVES:
    return _leaf(nn, kind, rest)
  if kind in LIFTS:
    return _lift(nn, kind, rest)
  if kind in DIRECT:
    return _direct(nn, kind, rest)
  if kind in (*FUNCTIONS, *LIFTED_METHODS):
    return _function(nn, *kind.split("_"), rest)
  return _branch(nn, kind, rest)


def _leaf(nn: Any, kind: str, name: str | None) -> Any:
  class Leaf(nn.Module):
    @nn.compact
    def __call__(self, x):
      if kind == "counter":
        n = self.variable("state", "n", lambda: jnp.zeros(()))
        if self.is_mutable_collection("state"):
          n.value += 1.0
        return x + n.value
      if kind == "sow":
        self.sow("intermediates", "x", x)
        return x * 2
      if kind == "perturb":
        return self.perturb("x", x)
      if kind == "noise":
        return x + jax.random.normal(self.make_rng("noise"), x.shape)
      if kind == "parameter":
        return x * self.param("scale", nn.initializers.normal(), x.shape[-1:])
      return self.param("scale", nn.initializers.ones, (1,)) + self.param("scale", nn.initializers.ones, (1,))

  if kind in LAYERS:
    return _layer(nn, kind, name)
  if kind == "dense":
    return nn.Dense(WIDTH, name=name)
  if kind == "logical":
    kernel_init = nn.with_logical_partitioning(nn.initializers.lecun_normal(), ("in", "out"))
    return nn.Dense(WIDTH, kernel_init=kernel_init, name=name)
  if kind == "boxed":
    kernel_init = nn.with_partitioning(nn.initializers.lecun_normal(), ("in", "out"))
    return nn.Dense(WIDTH, kernel_init=kernel_init, name=name)
  if kind == "dropout":
    return nn.Dropout(0.5, deterministic=False, name=name)
  if kind == "norm":
    return nn.BatchNorm(use_running_average=False, name=name)
  return Leaf(name=name)


def _layer(nn: Any, kind: str, name: str | None) -> Any:
  class Normed(nn.Module):
    @nn.compact
    def __call__(self, x):
      if kind == "weight_norm":
        return nn.WeightNorm(nn.Dense(WIDTH))(x)
      return nn.SpectralNorm(nn.Dense(WIDTH))(x, update_stats=self.is_mutable_collection("batch_stats"))

  class Both(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.Bidirectional(nn.RNN(nn.SimpleCell(1)), nn.RNN(nn.MGUCell(1)))(x)

  if kind in ("weight_norm", "spectral_norm"):
    return Normed(name=name)
  make = {
    "conv": lambda: nn.Conv(WIDTH, (2,), name=name),
    "conv_local": lambda: nn.ConvLocal(WIDTH, (2,), padding="SAME", name=name),
    "layer_norm": lambda: nn.LayerNorm(name=name),
    "group_norm": lambda: nn.GroupNorm(num_groups=1, name=name),
    "rms_norm": lambda: nn.RMSNorm(name=name),
    "attention": lambda: nn.MultiHeadDotProductAttention(num_heads=2, qkv_features=WIDTH, name=name),
    "gru": lambda: nn.RNN(nn.GRUCell(WIDTH), name=name),
    "lstm": lambda: nn.RNN(nn.OptimizedLSTMCell(WIDTH), reverse=True, keep_order=True, name=name),
    "bidirectional": lambda: Both(name=name),
    "prelu": lambda: nn.PReLU(name=name),
    "einsum": lambda: nn.Einsum((WIDTH, WIDTH), "...a,ab->...b", name=name),
    "dense_general": lambda: nn.DenseGeneral((WIDTH,), axis=(-1,), name=name),
  }
  return make[kind]()


def _direct(nn: Any, kind: str, inner: tuple) -> Any:
  """A module that runs its submodule by a transform of a function of itself."""

  def call(net, x):
    return net.inner(x)

  def double(net, x):
    return 2 * net.inner(x)

  def run(net, x):
    if kind == "cond":
      return nn.cond(x.sum() > 0, call, double, net, x)
    if kind == "switch":
      return nn.switch(1, [double, call, double], net, x)
    if kind == "while_loop":
      step = lambda net, carry: (carry[0] + 1, net.inner(carry[1]))  # noqa: E731
      split = {"noise": True, "dropout": False}
      carried = ["state", "batch_stats"]
      return nn.while_loop(
        lambda net, carry: carry[0] < 2, step, net, (0, x), carry_variables=carried, split_rngs=split
      )[1]
    if kind == "vjp":
      y, pull = nn.vjp(call, net, x, vjp_variables=["params", "state"])
      variables_t, x_t = pull(y)
      return x_t + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(variables_t))
    if kind == "grad":
      (value, y), (x_t,) = nn.value_and_grad(
        lambda net, x: (jnp.sum(jnp.sin(call(net, x))), x), net, x, has_aux=True
      )
      return x_t + value + y
    if kind == "jvp":
      return sum(nn.jvp(call, net, (x,), (jnp.ones_like(x),), {}))
    own = nn.custom_vjp(
      call, lambda net, x: nn.vjp(call, net, x), lambda pull, y_t: jax.tree.map(jnp.sign, pull(y_t))
    )
    return own(net, x)

  class Direct(nn.Module):
    def setup(self):
      self.inner = build(nn, inner)

    def __call__(self, x):
      needs_variables = kind in ("cond", "switch", "while_loop")
      return self.inner(x) if self.is_initializing() and needs_variables else run(self, x)

  return Direct()


def _function(nn: Any, kind: str, what: str, inner: tuple) -> Any:
  """A module that lifts a function of itself and a submodule, or two methods of a submodule."""
  split = dict.fromkeys(KEYS, True)
  options = {"vmap": {"variable_axes": AXES, "split_rngs": split}}.get(kind, {})
  lift = getattr(nn, kind)

  class Function(nn.Module):
    @nn.compact
    def __call__(self, x):
      layer = build(nn, inner)
      if kind == "vmap":
        scaled = nn.vmap(lambda net, x: x * net.param("scale", nn.initializers.normal(), ()), **options)
        return layer(scaled(self, x))
      return lift(lambda net, layer, x: layer(x) + net.param("shift", nn.initializers.ones, ()))(
        self, layer, x
      )

  class TwoMethods(nn.Module):
    def setup(self):
      self.inner = build(nn, inner)

    def __call__(self, x):
      return self.inner(x)

    def twice(self, x):
      return 2 * self.inner(x)

  class Methods(nn.Module):
    @nn.compact
    def __call__(self, x):
      layer = lift(TwoMethods, methods=["__call__", "twice"], **options)()
      return layer.twice(layer(x))

  return Function() if what == "function" else Methods()


def _lift(nn: Any, kind: str, inner: tuple) -> Any:
  split = dict.fromkeys(KEYS, True)
  boxes = {nn.PARTITION_NAME: "layer"}
  if kind == "vmap":
    cls = nn.vmap(plain_of(nn, inner), variable_axes=AXES, split_rngs=split, metadata_params=boxes)
    return cls()
  if kind == "vmap_shared":
    axes = {**AXES, "params": None}
    return nn.vmap(plain_of(nn, inner), variable_axes=axes, split_rngs={**split, "params": False})()
  if kind == "remat":
    return nn.remat(plain_of(nn, inner))()
  if kind == "fold_rngs":
    return nn.fold_rngs(plain_of(nn, inner))()
  if kind == "remat_scan":
    return nn.remat_scan(plain_of(nn, inner), lengths=(2, 1), variable_axes=AXES, split_rngs=split)()
  if kind == "add_metadata_axis":
    return nn.add_metadata_axis(plain_of(nn, inner), variable_axes={"params": 0}, metadata_params=boxes)()
  if kind == "jit":
    return nn.jit(plain_of(nn, inner))()
  if kind == "map_variables":
    halve = lambda v: jax.tree.map(lambda a: a / 2, v)  # noqa: E731
    double = lambda v: jax.tree.map(lambda a: a * 2, v)  # noqa: E731

    class Mapped(nn.Module):
      @nn.compact
      def __call__(self, x):
        first = self.is_initializing()
        return nn.map_variables(plain_of(nn, inner), "params", double, halve, init=first)()(x)

    return Mapped()
  return _scan(nn, kind, inner, split, boxes)


def _scan(nn: Any, kind: str, inner: tuple, split: dict, boxes: dict) -> Any:
  options: dict[str, Any] = {"variable_axes": AXES, "split_rngs": split, "metadata_params": boxes}
  if kind == "scan_shared":
    axes = {k: 0 for k in AXES if k != "params"}
    options = {
      "variable_axes": axes,
      "variable_broadcast": "params",
      "split_rngs": {**split, "params": False},
    }
  if kind == "scan_carried":
    axes = {k: 0 for k in AXES if k != "state"}
    options = {**options, "variable_axes": axes, "variable_carry": "state"}
  cls = nn.scan(step_of(nn, inner), length=2, **options)

  class Loop(nn.Module):
    @nn.compact
    def __call__(self, x):
      return cls()(x, None)[0]

  return Loop()


def _branch(nn: Any, kind: str, rest: Any) -> Any:
  class Compact(nn.Module):
    @nn.compact
    def __call__(self, x):
      for node in rest:
        x = build(nn, node)(x)
      return x

  class Setup(nn.Module):
    def setup(self):
      self.first = build(nn, rest[0])
      self.others = [build(nn, node) for node in rest[1:]]

    def __call__(self, x):
      for layer in [*self.others, self.first]:
        x = layer(x)
      return x

  class Methods(Setup):
    def __call__(self, x):
      return self.tail(self.head(x))

    def head(self, x):
      return self.first(x)

    def tail(self, x):
      for layer in self.others:
        x = layer(x)
      return self.head(x)

  class Adopted(nn.Module):
    layers: Any

    @nn.compact
    def __call__(self, x):
      for layer in self.layers:
        x = layer(x)
      return x

  class Scoped(nn.Module):
    @nn.compact_name_scope
    def part(self, x):
      for node in rest:
        x = build(nn, node)(x)
      return x

    def __call__(self, x):
      return self.part(x)

  class Twice(nn.Module):
    @nn.compact
    def __call__(self, x):
      layer = build(nn, rest)
      return layer(layer(x))

  class Shared(nn.Module):
    inner: Any

    def setup(self):
      nn.share_scope(self, self.inner)

    def __call__(self, x):
      return self.inner(x)

  class AdoptedTwice(nn.Module):
    @nn.compact
    def __call__(self, x):
      layer = build(nn, rest)
      return Adopted((layer,))(Adopted([layer, layer])(x))

  if kind == "adopted":
    return Adopted(tuple(build(nn, node) for node in rest))
  if kind == "share_scope":
    return Shared(build(nn, rest))
  classes = {"compact": Compact, "setup": Setup, "methods": Methods, "name_scope": Scoped, "twice": Twice}
  return {**classes, "adopted_twice": AdoptedTwice}[kind]()
