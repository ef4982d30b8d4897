"""Random module programs, as data, run with Flax and with minilinen.

A program is a tree of tuples that `build` turns into a module of the namespace it is given, so that both libraries run
the same one. `FUZZ_EXAMPLES=500` in the environment asks for more programs. What a run once found is a test of its own
at the end.
"""

from __future__ import annotations

import os
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import KEY, KEY2, equations, same

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "15"))
WIDTH = 2
KEYS = {"params": KEY, "dropout": KEY2, "noise": jax.random.PRNGKey(3)}
INPUT = jnp.arange(6.0).reshape(3, WIDTH) / 4 - 0.5
AXES = {"params": 0, "batch_stats": 0, "state": 0, "intermediates": 0}

LEAVES = ["dense", "boxed", "dropout", "norm", "counter", "sow", "perturb", "noise", "parameter", "wrong"]
LIFTS = ["vmap", "vmap_shared", "scan", "scan_shared", "scan_carried", "remat", "jit", "map_variables"]

leaves = st.tuples(
  st.sampled_from(LEAVES[:-1] * 3 + LEAVES[-1:]), st.sampled_from([None, None, None, "a", "b"])
)


def _grow(inner: st.SearchStrategy) -> st.SearchStrategy:
  some = st.lists(inner, min_size=1, max_size=3).map(tuple)
  return st.one_of(
    st.tuples(st.sampled_from(["compact", "setup", "adopted", "methods"]), some),
    st.tuples(st.sampled_from(["twice", "adopted_twice"]), inner),
    # Flax cannot share a scope that was shared before: "Duplicate use of scope name".
    st.tuples(st.just("share_scope"), inner.filter(lambda node: node[0] != "share_scope")),
    st.tuples(st.sampled_from(LIFTS), inner),
    st.tuples(st.sampled_from(LIFTS), inner),
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

  if kind == "dense":
    return nn.Dense(WIDTH, name=name)
  if kind == "boxed":
    kernel_init = nn.with_partitioning(nn.initializers.lecun_normal(), ("in", "out"))
    return nn.Dense(WIDTH, kernel_init=kernel_init, name=name)
  if kind == "dropout":
    return nn.Dropout(0.5, deterministic=False, name=name)
  if kind == "norm":
    return nn.BatchNorm(use_running_average=False, name=name)
  return Leaf(name=name)


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


def check(node: tuple, grad: bool = False) -> None:
  """Asserts that a program has the same variables, outputs, mutations, jaxpr and gradients with both."""

  def program(nn: Any) -> Any:
    model = build(nn, node)
    y, variables = model.init_with_output(KEYS, INPUT)

    def apply(variables: Any, x: Any) -> Any:
      return model.apply(variables, x, rngs=KEYS, mutable=["state", "batch_stats", "intermediates"])

    result = {"init": y, "variables": variables, "apply": apply(variables, INPUT)}
    result["jaxpr"] = equations(jax.make_jaxpr(apply)(variables, INPUT))
    if grad and "params" in variables:
      loss = lambda p: jnp.sum(apply({**variables, "params": p}, INPUT)[0] ** 2)  # noqa: E731
      result["grad"] = jax.grad(loss)(variables["params"])
    return result

  same(program)


@settings(
  max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 15, suppress_health_check=list(HealthCheck)
)
@given(node=programs, grad=st.sampled_from([False, False, True]))
def test_random_program(node, grad):
  check(node, grad)


@pytest.mark.parametrize(
  "node",
  [
    ("scan", ("vmap", ("compact", (("dense", None), ("dropout", None), ("sow", None))))),
    ("vmap", ("scan_shared", ("adopted_twice", ("norm", None)))),
    ("remat", ("scan", ("setup", (("boxed", None), ("counter", None))))),
    ("twice", ("jit", ("compact", (("dense", None), ("noise", None), ("dropout", None))))),
    ("map_variables", ("vmap_shared", ("share_scope", ("parameter", None)))),
    ("share_scope", ("adopted", (("dense", None),))),
  ],
)
def test_lift_in_lift(node):
  check(node, grad=True)


@pytest.mark.xfail(
  strict=True,
  reason="Flax hangs the name scope of a module that is constructed in another's method on that other module",
)
@pytest.mark.parametrize(
  "node",
  [
    ("setup", (("name_scope", (("dropout", None), ("dropout", "a"), ("sow", None))),)),
    ("name_scope", (("scan_shared", ("vmap", ("perturb", None))), ("name_scope", (("noise", "a"),)))),
    ("name_scope", (("name_scope", (("noise", "a"),)), ("name_scope", (("noise", "a"),)))),
  ],
)
def test_found_and_not_yet_mended(node):
  check(node)
