"""Whole models in the functional core: the same program run with `flax.core` and `minilinen.core`, to the last bit.

A program is a function of the `core` namespace. `shapes` says what its variables must be, by name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.core
import flax.core.nn
import jax
import jax.numpy as jnp
import pytest
from oracle import KEY, equal, equations, flax_settings

import minilinen.core
from minilinen import errors

X = jax.random.normal(jax.random.fold_in(KEY, 1), (4, 3))
IMAGES = jax.random.normal(jax.random.fold_in(KEY, 2), (2, 4, 4, 3))


def both(program: Callable[[Any], Any]) -> Any:
  """What a program gives with minilinen, which must be what it gives with Flax."""
  with flax_settings():
    theirs, ours = program(flax.core), program(minilinen.core)
  equal(theirs, ours)
  return ours


def same_model(
  build: Callable[[Any], Any], *args: Any, shapes: Any, rngs: Any = KEY, mutable: Any = False
) -> None:
  """Compares variables, outputs, gradients and jaxpr of a function of a scope; `shapes` is its variable tree."""
  streams = rngs if isinstance(rngs, dict) else {"params": rngs}

  def program(core: Any) -> Any:
    fn = build(core)
    y, variables = core.init(fn)(rngs, *args)

    def apply(variables: Any, *args: Any) -> Any:
      return core.apply(fn, mutable=mutable)(variables, *args, rngs=streams)

    def loss(params: Any) -> Any:
      leaves = jax.tree.leaves(apply({**variables, "params": params}, *args))
      return sum(jnp.sum(leaf**2) for leaf in leaves)

    return {
      "init": y,
      "variables": variables,
      "apply": apply(variables, *args),
      "grad": jax.grad(loss)(variables["params"]),
      "jaxpr": equations(jax.make_jaxpr(apply)(variables, *args)),
    }

  variables = both(program)["variables"]
  assert jax.tree.map(jnp.shape, variables) == shapes


def dense(*shape: int) -> dict[str, Any]:
  return {"kernel": shape, "bias": shape[-1:]}


def mlp(core: Any) -> Any:
  def model(scope: Any, x: Any, sizes: tuple[int, ...] = (8, 2)) -> Any:
    x = scope.child(core.nn.dense, "hidden")(x, sizes[0])
    x = core.nn.relu(x)
    for size in sizes[1:]:
      x = scope.child(core.nn.dense)(x, size)
    return x

  return model


def test_mlp() -> None:
  same_model(mlp, X, shapes={"params": {"hidden": dense(3, 8), "dense_0": dense(8, 2)}})


def test_auto_encoder() -> None:
  def build(core: Any) -> Any:
    def model(scope: Any, x: Any) -> Any:
      encode = scope.child(mlp(core), "encoder", sizes=(8, 2))
      decode = scope.child(mlp(core), "decoder", sizes=(8, 3))
      code = encode(x)
      return decode(code), code

    return model

  half = {"hidden": dense(3, 8), "dense_0": dense(8, 2)}
  other = {"hidden": dense(2, 8), "dense_0": dense(8, 3)}
  same_model(build, X, shapes={"params": {"encoder": half, "decoder": other}})


def test_weight_standardisation() -> None:
  def build(core: Any) -> Any:
    def standardise(tree: Any) -> Any:
      return jax.tree.map(lambda w: (w - w.mean()) / (w.std() + 1e-5) if w.ndim > 1 else w, tree)

    def model(scope: Any, x: Any) -> Any:
      layer = core.lift.map_variables(
        lambda s, x: core.nn.dense(s, x, 4, bias_init=jax.nn.initializers.normal()),
        "params",
        standardise,
        init=True,
      )
      return scope.child(layer, "std")(x)

    return model

  same_model(build, X, shapes={"params": {"std": dense(3, 4)}})


def test_tied_embedding() -> None:
  def build(core: Any) -> Any:
    def model(scope: Any, tokens: Any) -> Any:
      table = scope.child(core.nn.embedding, "embed")(7, 5)
      x = core.nn.relu(scope.child(core.nn.dense, "mix")(table.lookup(tokens), 5))
      return table.attend(x)

    return model

  shapes = {"params": {"embed": {"table": (7, 5)}, "mix": dense(5, 5)}}
  same_model(build, jnp.array([[1, 2], [0, 6]]), shapes=shapes)


def test_resnet_block() -> None:
  def build(core: Any) -> Any:
    nn = core.nn

    def block(scope: Any, x: Any, features: int, train: bool) -> Any:
      norm = functools.partial(nn.batch_norm, use_running_average=not train)
      y = scope.child(nn.conv, "conv1")(x, features, (3, 3), bias=False)
      y = nn.relu(scope.child(norm, "norm1")(y))
      y = scope.child(nn.conv, "conv2")(y, features, (3, 3), bias=False)
      y = scope.child(norm, "norm2")(y)
      if x.shape != y.shape:
        x = scope.child(nn.conv, "shortcut")(x, features, (1, 1), bias=False)
      return nn.relu(x + y)

    def model(scope: Any, x: Any) -> Any:
      x = scope.child(block, "block")(x, 4, train=True)
      return scope.child(nn.dense, "head")(nn.avg_pool(x, (2, 2), (2, 2)), 2)

    return model

  norm, stats = {"scale": (4,), "bias": (4,)}, {"mean": (4,), "var": (4,)}
  kernels = {
    "conv1": {"kernel": (3, 3, 3, 4)},
    "conv2": {"kernel": (3, 3, 4, 4)},
    "shortcut": {"kernel": (1, 1, 3, 4)},
  }
  shapes = {
    "params": {"block": {**kernels, "norm1": norm, "norm2": norm}, "head": dense(4, 2)},
    "batch_stats": {"block": {"norm1": stats, "norm2": stats}},
  }
  same_model(build, IMAGES, shapes=shapes, mutable=["batch_stats"])


def lstm_cell(core: Any) -> Any:
  def cell(scope: Any, carry: Any, x: Any) -> Any:
    c, h = carry
    gates = scope.child(core.nn.dense, "x")(x, 16) + scope.child(core.nn.dense, "h")(h, 16, bias=False)
    i, f, g, o = jnp.split(gates, 4, -1)
    c = core.nn.sigmoid(f) * c + core.nn.sigmoid(i) * jnp.tanh(g)
    h = core.nn.sigmoid(o) * jnp.tanh(c)
    return (c, h), h

  return cell


@pytest.mark.parametrize("reverse", [False, True])
def test_lstm_in_a_scan(reverse: bool) -> None:
  def build(core: Any) -> Any:
    def model(scope: Any, xs: Any) -> Any:
      scan = core.lift.scan(
        lstm_cell(core), variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1,
        reverse=reverse,
      )  # fmt: skip
      zeros = jnp.zeros((xs.shape[0], 4))
      return scope.child(scan, "lstm")((zeros, zeros), xs)

    return model

  same_model(
    build, jnp.ones((2, 5, 3)), shapes={"params": {"lstm": {"x": dense(3, 16), "h": {"kernel": (4, 16)}}}}
  )


def test_layers_in_a_scan() -> None:
  def build(core: Any) -> Any:
    def layer(scope: Any, x: Any) -> Any:
      y = core.nn.dropout(scope, core.nn.relu(scope.child(core.nn.dense, "fc")(x, 3)), 0.5)
      count = scope.variable("counts", "n", lambda: jnp.zeros(()))
      count.value = count.value + 1
      return x + y, y.mean()

    def model(scope: Any, x: Any) -> Any:
      scan = core.lift.scan(
        layer,
        variable_axes={"params": 0, "counts": 0},
        split_rngs={"params": True, "dropout": True},
        length=6,
      )
      return scope.child(scan, "layers")(x)

    return model

  rngs = {"params": KEY, "dropout": jax.random.fold_in(KEY, 7)}
  shapes = {
    "params": {"layers": {"fc": {"kernel": (6, 3, 3), "bias": (6, 3)}}},
    "counts": {"layers": {"n": (6,)}},
  }
  same_model(build, X, shapes=shapes, rngs=rngs, mutable="counts")


def test_heads_in_a_vmap() -> None:
  def build(core: Any) -> Any:
    def head(scope: Any, x: Any) -> Any:
      q, k, v = (scope.child(core.nn.dense, name)(x, 2, bias=False) for name in ("query", "key", "value"))
      weights = core.nn.softmax(q @ k.T / jnp.sqrt(2.0))
      return weights @ v

    def model(scope: Any, x: Any) -> Any:
      heads = core.lift.vmap(
        head, in_axes=None, out_axes=-1, axis_size=4, variable_axes={"params": 0}, split_rngs={"params": True}
      )
      y = scope.child(heads, "heads")(x)
      return scope.child(core.nn.dense_general, "out")(y, 3, axis=(-2, -1))

    return model

  heads = {name: {"kernel": (4, 3, 2)} for name in ("query", "key", "value")}
  same_model(build, X, shapes={"params": {"heads": heads, "out": {"kernel": (2, 4, 3), "bias": (3,)}}})


def test_remat() -> None:
  def build(core: Any) -> Any:
    return lambda scope, x: scope.child(core.lift.remat(mlp(core)), "body")(x)

  same_model(build, X, shapes={"params": {"body": {"hidden": dense(3, 8), "dense_0": dense(8, 2)}}})


def test_jit_changes_no_number() -> None:
  """Against the model without it: `flax.core.jit` takes no array of a function of a scope today."""
  core = minilinen.core
  plain = core.init(lambda scope, x: scope.child(mlp(core), "body")(x))(KEY, X)
  compiled = core.init(lambda scope, x: scope.child(core.jit(mlp(core)), "body")(x))(KEY, X)
  equal(plain[1], compiled[1])
  assert jnp.allclose(plain[0], compiled[0])


def test_several_scopes_in_one_transform() -> None:
  def build(core: Any) -> Any:
    def pair(scopes: Any, x: Any) -> Any:
      a, b = scopes
      return core.nn.dense(a, x, 3) + core.nn.dense(b, x, 3)

    def model(scope: Any, x: Any) -> Any:
      a, b = scope.push("a"), scope.push("b")
      stacked = core.lift.vmap(pair, variable_axes={"params": 0}, split_rngs={"params": True})
      return stacked((a, b), x)

    return model

  one = {"kernel": (4, 3, 3), "bias": (4, 3)}
  same_model(build, X, shapes={"params": {"a": one, "b": one}})


def test_lazy_init() -> None:
  spec = jax.ShapeDtypeStruct((4, 3), jnp.float32)
  variables = both(lambda core: core.lazy_init(mlp(core))(KEY, spec))
  assert jax.tree.map(jnp.shape, variables) == {"params": {"hidden": dense(3, 8), "dense_0": dense(8, 2)}}
  both(lambda core: core.init(mlp(core))(KEY, X)[1]["params"])
  with pytest.raises(errors.LazyInitError):
    minilinen.core.lazy_init(lambda scope, x: scope.param("p", lambda key: x))(KEY, spec)


# Methods of a scope.


def in_scope(fn: Callable[[Any, Any], Any], variables: Any = None, **settings: Any) -> Any:
  """What a function of (core, scope) gives in a scope of these variables, in both libraries."""

  def program(core: Any) -> Any:
    scope = core.bind(variables or {}, rngs={"params": KEY, "noise": jax.random.fold_in(KEY, 9)}, **settings)
    return fn(core, scope)

  return both(program)


def test_names_of_children() -> None:
  def names(core: Any, scope: Any) -> Any:
    children = [
      scope.push("a"),
      scope.push(prefix="b_"),
      scope.push(prefix="b_"),
      scope.push("a", reuse=True),
    ]
    return [(s.name, s.path, s.path_text) for s in children] + [
      scope.default_name("b_"),
      scope.name_reserved("a"),
    ]

  found = in_scope(names)
  assert [name for name, *_ in found[:4]] == ["a", "b_0", "b_1", "a"] and found[1][2] == "/b_0"


def test_keys_of_children_and_of_rewound_scopes() -> None:
  def keys(core: Any, scope: Any) -> Any:
    first = scope.make_rng("noise")
    child = scope.push("a")
    draws = [
      first,
      scope.make_rng("noise"),
      child.make_rng("noise"),
      child.make_rng("params"),
      child.make_rng("other"),
    ]
    rewound = scope.rewound()
    again = scope.rewound(rewind_rngs=True)
    return [*draws, rewound.make_rng("noise"), again.make_rng("noise"), rewound.push("a").make_rng("noise")]

  found = in_scope(keys)
  assert (found[0] == found[6]).all() and (found[0] != found[1]).any()


def test_variables_of_a_scope() -> None:
  variables = {"params": {"a": {"w": jnp.ones(2)}}, "state": {"n": jnp.zeros(())}}

  def use(core: Any, scope: Any) -> Any:
    child = scope.push("a")
    n = scope.variable("state", "n", lambda: 1 / 0)
    n.value = n.value + 1
    child.put_variable("state", "m", 3)
    child.variable("state", "k", lambda: 4)
    return (
      child.get_variable("params", "w"), child.get_variable("params", "x", "none"), child.has_variable("params", "w"),
      scope.is_mutable_collection("state"), scope.is_mutable_collection("params"), scope.is_collection_empty("cache"),
      scope.has_rng("noise"), scope.has_rng("x"), scope.mutable_variables(), child.variables(), n.is_mutable(),
    )  # fmt: skip

  found = in_scope(use, variables, mutable="state")
  assert found[8] == {"state": {"n": 1.0, "a": {"m": 3, "k": 4}}}
  assert variables["state"] == {"n": 0.0}  # the caller's tree is as it was


def test_flags() -> None:
  def flags(core: Any, scope: Any) -> Any:
    child = scope.push("a")
    return (
      child.has_flag("train"),
      child.get_flag("train"),
      child.get_flag("other", 3),
      child.has_flag("other"),
    )

  assert in_scope(flags, flags={"train": True}) == (True, True, 3, False)
  assert both(lambda core: core.init(lambda s: s.get_flag("initializing"))(KEY)[0]) is True


def test_a_scope_ends_with_its_block() -> None:
  def invalid(core: Any, scope: Any) -> Any:
    with scope.temporary() as root:
      child = root.push("a")
      before = root.invalid, child.invalid
    return before, scope.invalid

  assert in_scope(invalid) == ((False, False), True)
  for core, error in ((flax.core, flax.errors.InvalidScopeError), (minilinen.core, errors.InvalidScopeError)):
    kept: list[Any] = []
    core.init(kept.append)(KEY)
    with pytest.raises(error):
      kept[0].push("late")


def test_trace_level():
  """Code that was entered at a level of JAX's transforms notices another one."""
  level = minilinen.core.current_trace()
  minilinen.core.check_trace_level(level)
  jax.eval_shape(lambda: minilinen.core.check_trace_level(minilinen.core.current_trace()))
  with pytest.raises(errors.JaxTransformError):
    jax.eval_shape(lambda: minilinen.core.check_trace_level(level))
  assert flax.core.Array.__args__[0] is minilinen.core.Array
