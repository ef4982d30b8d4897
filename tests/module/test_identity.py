"""What a module is as a Python object: equality, hash, repr, pickling, and modules held in data of other kinds."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import cloudpickle
import flax
import jax
import jax.numpy as jnp
import pytest
from oracle import KEY, X, as_flax, flax_settings, raises_as_flax, same, shown

import minilinen


@as_flax({"equal": True, "other field": False, "other class": False, "equal hash": True, "in a set": 2})
def test_equality_and_hash(nn):
  class Net(nn.Module):
    width: int
    inner: Any = None

  a, b, c = Net(2, nn.Dense(3)), Net(2, nn.Dense(3)), Net(2, nn.Dense(4))
  alike = {"equal": a == b, "other field": a == c, "other class": nn.Dense(3) == Net(3)}
  return {**alike, "equal hash": hash(a) == hash(b), "in a set": len({a, b, c})}


@raises_as_flax("TypeError")
def test_hash_of_a_list_field(nn):
  class Net(nn.Module):
    widths: Any

  return hash(Net([1, 2]))


@pytest.mark.parametrize("dump", [pickle, cloudpickle])
def test_pickled_module_gives_the_same(dump):
  def program(nn):
    model = nn.Sequential([nn.Dropout(0.5, deterministic=True), nn.Dropout(0.1, deterministic=True)])
    again = pickle.loads(dump.dumps(model))
    return again == model, again.layers[0].rate, again.apply({}, X)

  assert shown(same(program)) == (True, 0.5, (3, 4))


@as_flax(((3, 3), {"params": {"Dense_0": {"kernel": (4, 3), "bias": (3,)}}}))
def test_cloudpickled_class_of_a_notebook(nn):
  class Net(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
      return nn.Dense(self.width)(x)

  return pickle.loads(cloudpickle.dumps(Net(3))).init_with_output(KEY, X)


REPR = """\
Net(
    # attributes
    size = 3
    act = relu
    # children
    Inner_0 = Inner(
        # attributes
        sizes = (1, 2)
        inner = None
    )
    pool = Pool()
)"""


@as_flax((REPR, "Pool()"))
def test_repr(nn):
  class Inner(nn.Module):
    sizes: tuple[int, ...]
    inner: Any = None

    def __call__(self, x):
      return x

  class Pool(nn.Module):
    def __call__(self, x):
      return x

  class Net(nn.Module):
    size: int = 3
    act: Any = nn.relu

    @nn.compact
    def __call__(self, x):
      return Inner((1, 2))(Pool(name="pool")(x))

  bound = Net(name="net").bind({})
  bound(X)
  return repr(bound), repr(Pool(name="no name"))


def test_modules_in_a_dataclass_pytree():
  """Flax does not find modules in a dataclass registered with JAX; minilinen names them by their place."""
  nn = minilinen

  @jax.tree_util.register_dataclass
  @dataclasses.dataclass
  class Pair:
    left: Any
    right: Any

  class Net(nn.Module):
    def setup(self):
      self.pair = Pair(nn.Dense(2), [nn.Dense(3)])

    def __call__(self, x):
      return self.pair.left(x), self.pair.right[0](x)

  assert set(Net().init(KEY, X)["params"]) == {"pair_left", "pair_right_0"}


@as_flax({"params": {"Dense_0": {"kernel": (4, 2), "bias": (2,)}}})
def test_modules_in_a_plain_dataclass_field(nn):
  @dataclasses.dataclass(frozen=True)
  class Options:
    layer: Any

  class Net(nn.Module):
    options: Any

    @nn.compact
    def __call__(self, x):
      return self.options.layer(x)

  return Net(Options(lambda x: nn.Dense(2)(x))).init(KEY, X)


@pytest.mark.parametrize("value", [False, True])
def test_preserve_adopted_names(value):
  def program(nn):
    class Net(nn.Module):
      inner: Any

      @nn.compact
      def __call__(self, x):
        return self.inner(x)

    return Net(nn.Dense(2, name="mine")).init(KEY, X), Net(nn.Dense(2)).init(KEY, X)

  with flax_settings(), minilinen.config.temp_flip_flag("preserve_adopted_names", value):
    before = flax.config.flax_preserve_adopted_names
    flax.config.update("flax_preserve_adopted_names", value)
    try:
      result = same(program)
    finally:
      flax.config.update("flax_preserve_adopted_names", before)
  assert list(result[0]["params"]) == ["mine" if value else "inner"]


@pytest.mark.parametrize("value", [False, True])
def test_fix_rng_separator(value):
  def program(nn):
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        a, b, c = (nn.Dense(2, name=name) for name in ("ab", "a", "ac"))
        return a(x) + b(x) + c(x)

    return Net().init(KEY, X)

  with minilinen.config.temp_flip_flag("fix_rng_separator", value):
    before = flax.config.flax_fix_rng_separator
    flax.config.update("flax_fix_rng_separator", value)
    try:
      assert list(same(program)["params"]) == ["ab", "a", "ac"]
    finally:
      flax.config.update("flax_fix_rng_separator", before)


@as_flax(((3, 2), {"params": {"part": {"part": {"part": {"kernel": (4, 2), "bias": (2,)}}}}}))
def test_nested_adoption(nn):
  class Outer(nn.Module):
    part: Any

    @nn.compact
    def __call__(self, x):
      return self.part(x)

  return Outer(Outer(Outer(nn.Dense(2)))).init_with_output(KEY, X)


@as_flax(
  (
    ((3, 2), (3, 3)),
    {"params": {"parts_a_0": {"kernel": (4, 2), "bias": (2,)}, "parts_b": {"kernel": (4, 3), "bias": (3,)}}},
  )
)
def test_modules_in_nested_dict_and_list_fields(nn):
  class Outer(nn.Module):
    parts: Any

    @nn.compact
    def __call__(self, x):
      return self.parts["a"][0](x), self.parts["b"](x)

  return Outer({"a": [nn.Dense(2)], "b": nn.Dense(3)}).init_with_output(KEY, X)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_bound_module_can_be_copied(copied: Any):
  model = minilinen.Dense(4)
  bound = model.bind(model.init(KEY, X))
  assert (copied(bound)(X) == model.apply(bound.variables, X)).all()


@as_flax(
  (
    {"here": (4, 2), "named": (4, 2), "free": (4, 3), "free has a parent": False, "here is a child": True},
    {"params": {"Dense_0": {"kernel": (5, 2), "bias": (2,)}, "told": {"kernel": (5, 2), "bias": (2,)}}},
  )
)
def test_a_copy_belongs_where_it_is_made_or_where_it_is_told(nn):
  """Inside of a module that is its parent, by an automatic name or a given one; with `parent=None` it has none."""

  class Net(nn.Module):
    layer: nn.Module

    @nn.compact
    def __call__(self, x):
      here, named, free = (
        self.layer.copy(),
        self.layer.copy(name="told"),
        self.layer.copy(parent=None, features=3),
      )
      y = free.apply(free.init(KEY, x), x)
      parents = {"free has a parent": free.parent is not None, "here is a child": here.parent is self}
      return {"here": here(x), "named": named(x), "free": y, **parents}

  return Net(nn.Dense(2)).init_with_output(KEY, jnp.ones((4, 5)))


def test_a_deep_clone_has_clones_of_the_modules_in_its_fields():
  model = minilinen.Sequential([minilinen.Dense(2)])
  assert model.clone().layers[0] is model.layers[0]
  assert model.clone(_deep_clone=True).layers[0] is not model.layers[0]
