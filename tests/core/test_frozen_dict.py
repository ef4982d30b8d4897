"""`FrozenDict`: what it prints, that nobody can change it, and that JAX takes it for a dict; as in Flax."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import flax.core
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilinen import core
from minilinen.core import FrozenDict, freeze, unfreeze

TREES = st.dictionaries(
  st.text("abcz/ _", min_size=1, max_size=3),
  st.recursive(
    st.integers() | st.floats(allow_nan=False) | st.text(max_size=3) | st.tuples(st.integers()),
    lambda inner: st.dictionaries(st.text("abz", min_size=1, max_size=2), inner, max_size=3),
    max_leaves=6,
  ),
  max_size=4,
)


def plain(x: Any) -> Any:
  """The same without the classes of either library."""
  if isinstance(x, (flax.core.FrozenDict, FrozenDict)):
    return ("frozen", x.unfreeze(), repr(x))
  return tuple(map(plain, x)) if isinstance(x, tuple) else x


def test_it_prints_as_in_the_first_document() -> None:
  tree = freeze({"params": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.zeros(3)}, "empty": {}})
  assert repr(tree) == str(tree) == (
    "FrozenDict({\n"
    "    params: {\n"
    "        kernel: Array([[0., 1., 2.],\n"
    "               [3., 4., 5.]], dtype=float32),\n"
    "        bias: Array([0., 0., 0.], dtype=float32),\n"
    "    },\n"
    "    empty: {},\n"
    "})"
  )  # fmt: skip
  assert repr(tree) == repr(flax.core.freeze(tree.unfreeze()))
  assert tree.pretty_repr(2).splitlines()[1] == "  params: {"
  assert repr(freeze({})) == "FrozenDict({})"
  assert repr(tree.keys()) == "frozen_dict_keys(['params', 'empty'])"


@given(TREES)
@settings(max_examples=60, deadline=None)
def test_random_trees_are_as_in_flax(tree: Any) -> None:
  def run(lib: Any) -> Any:
    frozen = lib.freeze(tree)
    with_keys = jax.tree_util.tree_flatten_with_path(frozen)[0]
    return (
      plain(frozen),
      frozen.pretty_repr(3),
      lib.pretty_repr(tree),
      list(frozen),
      [(jax.tree_util.keystr(path), leaf) for path, leaf in with_keys],
      jax.tree.leaves(frozen),
      plain(jax.tree.map(lambda x: (x,), frozen)),
      plain(frozen.copy({"new": {"a": 1}, "a": 2})),
      plain(lib.copy(tree, {"new": 1})),
      [plain(lib.pop(frozen, key)) for key in tree],
      [plain(lib.pop(tree, key)) for key in tree],
      frozen == tree,
      frozen == lib.freeze(dict(reversed(tree.items()))),
      hash(frozen) == hash(lib.freeze(dict(reversed(tree.items())))),
      repr(frozen.keys()),
    )

  assert run(core) == run(flax.core)


@given(TREES)
@settings(max_examples=30, deadline=None)
def test_it_survives_pickling_copying_and_jax(tree: Any) -> None:
  frozen = freeze(tree)
  for same in (pickle.loads(pickle.dumps(frozen)), copy.deepcopy(frozen), copy.copy(frozen)):
    assert type(same) is FrozenDict and same == frozen and list(same) == list(frozen)
  leaves, structure = jax.tree.flatten(frozen)
  again = jax.tree.unflatten(structure, leaves)
  assert type(again) is FrozenDict and again == frozen


def test_leaves_are_sorted_by_key_as_those_of_a_dict() -> None:
  tree = {"b": {"z": 1, "a": 2}, "a": 3}
  assert jax.tree.leaves(freeze(tree)) == jax.tree.leaves(tree) == [3, 2, 1]
  paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(freeze(tree))[0]]
  assert paths == [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]


def test_it_goes_through_jax_transforms() -> None:
  params = freeze({"w": jnp.ones(3), "inner": {"b": jnp.ones(())}})
  grads = jax.jit(jax.grad(lambda p: (p["w"].sum() * p["inner"]["b"]) ** 2))(params)
  assert type(grads) is FrozenDict and type(grads["inner"]) is FrozenDict
  assert float(grads["inner"]["b"]) == 18.0


def test_nothing_is_shared_with_the_dict_it_was_made_of() -> None:
  source = {"a": {"b": 1}}
  frozen = freeze(source)
  source["a"]["b"] = 2
  source["c"] = 3  # type: ignore[assignment]
  assert frozen == {"a": {"b": 1}}


def test_unfreeze_gives_dicts_of_the_callers_own() -> None:
  frozen = freeze({"a": {"b": {"c": 1}}})
  mine = unfreeze(frozen)
  mine["a"]["b"]["c"] = 2
  assert type(mine["a"]["b"]) is dict and frozen == {"a": {"b": {"c": 1}}}
  half = unfreeze({"a": freeze({"b": 1})})
  assert type(half["a"]) is dict
  source = {"a": {"b": 1}}
  unfreeze(source)["a"]["b"] = 2
  assert source == {"a": {"b": 1}}


def test_freeze_of_a_frozen_dict_is_itself() -> None:
  frozen = freeze({"a": 1})
  assert freeze(frozen) is frozen


def test_it_cannot_be_changed() -> None:
  frozen = freeze({"a": {"b": 1}})
  for change in (lambda: frozen.__setitem__("a", 1), lambda: frozen["a"].__setitem__("b", 1)):
    with pytest.raises(ValueError, match=r"FrozenDict is immutable: .* cannot be set"):
      change()
  with pytest.raises(AttributeError):
    frozen.update  # type: ignore[attr-defined]  # noqa: B018


def test_copy_and_pop_leave_it_as_it_is() -> None:
  frozen = freeze({"a": {"b": 1}, "c": 2})
  rest, value = frozen.pop("a")
  assert (rest, value) == ({"c": 2}, {"b": 1}) and type(rest) is type(value) is FrozenDict
  assert frozen.copy({"c": {"d": 4}})["c"] == {"d": 4}
  assert frozen == {"a": {"b": 1}, "c": 2}
  for wrong in (core.pop, core.copy):
    with pytest.raises(TypeError, match="Expected FrozenDict or dict, got <class 'int'>"):
      wrong(3, "a")  # type: ignore[arg-type]
  with pytest.raises(KeyError):
    frozen.pop("missing")


def test_equality_and_hash() -> None:
  a, b = freeze({"x": 1, "y": {"z": 2}}), freeze({"y": {"z": 2}, "x": 1})
  assert a == b == {"x": 1, "y": {"z": 2}} and hash(a) == hash(b) and len({a, b}) == 1
  assert a != {"x": 1} and a != 3
  with pytest.raises(TypeError, match="unhashable"):
    hash(freeze({"a": np.ones(2)}))
