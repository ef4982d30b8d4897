"""Boxes: what Flax's do, ours do, in every function and under the lifted transforms."""

from __future__ import annotations

from typing import Any

import flax.core
import flax.core.meta
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from oracle import KEY, equal, flax_settings, same, same_error

import minilinen
import minilinen.core
from minilinen import errors
from minilinen.core import meta

LIBRARIES = {"flax": flax.core.meta, "minilinen": meta}


def both(program: Any) -> Any:
  """What a function of the `meta` namespace gives, which must be the same in Flax."""
  theirs, ours = program(flax.core.meta), program(meta)
  equal(theirs, ours)
  return ours


def tree(lib: Any) -> Any:
  box = lib.Partitioned(jnp.ones((2, 3)), ("in", None))
  return {"a": box, "b": {"c": jnp.zeros(4), "d": lib.Partitioned(jnp.ones(5), ("x",))}, "e": None}


def test_unbox_and_replace() -> None:
  both(lambda lib: lib.unbox(tree(lib)))
  both(lambda lib: lib.replace_boxed(tree(lib), jax.tree.map(lambda x: x + 1, lib.unbox(tree(lib)))))
  both(lambda lib: lib.map_axis_meta(lambda box: box.value * 2, tree(lib)))
  both(lambda lib: [lib.is_axis_metadata(x) for x in (tree(lib)["a"], 3, None, jnp.ones(2))])


def test_a_box_in_a_box() -> None:
  both(lambda lib: lib.unbox(lib.Partitioned(lib.Partitioned(jnp.ones(2), ("x",)), ("y",))))
  both(
    lambda lib: (
      lib.replace_boxed(lib.Partitioned(lib.Partitioned(jnp.ones(2), ("x",)), ("y",)), jnp.zeros(2)).value
    )
  )


@pytest.mark.parametrize("index", [0, 1, 2, 4])
def test_add_axis(index: int) -> None:
  params = {meta.PARTITION_NAME: "layers"}
  assert flax.core.meta.PARTITION_NAME == meta.PARTITION_NAME
  added = both(
    lambda lib: lib.add_axis({"a": lib.Partitioned(jnp.ones((2, 3)), ("in", None))}, index, params)
  )
  assert added["a"].names[index] == "layers"
  if index < 3:
    both(lambda lib: lib.remove_axis(lib.add_axis(tree(lib)["a"], index, params), index, params))


def test_an_axis_that_is_not_there() -> None:
  for lib in LIBRARIES.values():
    with pytest.raises(AssertionError):
      lib.remove_axis(tree(lib)["a"], 0, {meta.PARTITION_NAME: "layers"})


@pytest.mark.parametrize("index, rest", [(0, ("layers",)), (1, ("in",)), (-1, ("in",)), (-2, ("layers",))])
def test_an_axis_is_counted_from_either_end(index: int, rest: tuple[str, ...]) -> None:
  box = meta.Partitioned(jnp.ones(2), ("in", "layers"))
  gone = ({"in", "layers"} - {*rest}).pop()
  assert box.remove_axis(index, {meta.PARTITION_NAME: gone}).names == rest


@pytest.mark.parametrize("index", [2, 5, -3])
def test_an_axis_out_of_range(index: int) -> None:
  """Two names are there: the message says which, not that a tuple's index is out of range."""
  with pytest.raises(errors.RemovedAxisError, match=r"'in', None"):
    meta.remove_axis(tree(meta)["a"], index, {meta.PARTITION_NAME: None})


def test_an_axis_without_a_name() -> None:
  with pytest.raises(
    errors.PartitioningUnspecifiedError, match=r"add_axis\(0, \{nn\.PARTITION_NAME: \"layers\"\}\)"
  ):
    meta.add_axis(tree(meta), 0, {})


def test_partition_specs() -> None:
  specs = both(lambda lib: lib.get_partition_spec(tree(lib)))
  assert specs == {
    "a": PartitionSpec("in", None),
    "b": {"c": PartitionSpec(), "d": PartitionSpec("x")},
    "e": None,
  }
  shapes = lambda lib: jax.eval_shape(lambda: tree(lib))  # noqa: E731
  assert (
    meta.get_partition_spec(shapes(meta))
    == flax.core.meta.get_partition_spec(shapes(flax.core.meta))
    == specs
  )


def test_shardings() -> None:
  mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("in", "x"))
  ours, theirs = meta.get_sharding(tree(meta), mesh), flax.core.meta.get_sharding(tree(flax.core.meta), mesh)
  assert ours == theirs and ours["a"] == NamedSharding(mesh, PartitionSpec("in", None))
  boxed = meta.Partitioned(jnp.ones((1, 1)), ("in", None), mesh=mesh)
  assert boxed.unbox().sharding == NamedSharding(mesh, PartitionSpec("in", None))


def test_a_box_is_a_pytree() -> None:
  box = meta.Partitioned(jnp.ones(2), ("x",))
  doubled = jax.jit(lambda b: jax.tree.map(lambda x: 2 * x, b))(box)
  assert type(doubled) is meta.Partitioned and doubled.names == ("x",) and doubled.value.tolist() == [2, 2]
  paths = [
    [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree(lib))[0]]
    for lib in LIBRARIES.values()
  ]
  assert paths[0] == paths[1]
  assert box.replace(names=("y",)).names == ("y",) and box.replace_boxed(3).value == 3


def boxed_dense(nn: Any) -> Any:
  return {"kernel_init": nn.with_partitioning(nn.initializers.lecun_normal(), ("in", "out"))}


def test_parameters_in_boxes() -> None:
  def program(nn: Any) -> Any:
    variables = nn.Dense(3, **boxed_dense(nn)).init(KEY, jnp.ones((2, 4)))
    return (
      variables,
      nn.Dense(3, **boxed_dense(nn)).apply(variables, jnp.ones((2, 4))),
      nn.get_partition_spec(variables),
    )

  variables, _, specs = same(program)
  assert variables["params"]["kernel"].names == ("in", "out")
  assert specs["params"] == {"kernel": PartitionSpec("in", "out"), "bias": PartitionSpec()}


@pytest.mark.parametrize(
  "axis, names",
  [(0, ("layers", "in", "out")), (1, ("in", "layers", "out")), (-1, None)],
  ids=["0", "1", "-1"],
)
def test_lifted_transforms_tell_boxes_of_their_axis(axis: int, names: tuple[str, ...] | None) -> None:
  def program(nn: Any) -> Any:
    stacked = nn.vmap(
      nn.Dense, in_axes=0, out_axes=0, variable_axes={"params": axis}, split_rngs={"params": True},
      metadata_params={nn.PARTITION_NAME: "layers"},
    )(3, use_bias=False, **boxed_dense(nn))  # fmt: skip
    x = jnp.ones((5, 2, 4))
    variables = stacked.init(KEY, x)
    return variables, stacked.apply(variables, x)

  if names is None:  # counted from the end, an axis is another one with it and without
    same_error(program, "AssertionError")
  else:
    assert same(program)[0]["params"]["kernel"].names == names


def test_boxes_under_the_functional_core() -> None:
  def program(core: Any, lib: Any) -> Any:
    def model(scope: Any, x: Any) -> Any:
      w = scope.param("w", lambda key: lib.Partitioned(jax.random.normal(key, (3,)), ("a",)))
      boxed = scope.param("v", lambda key: lib.Partitioned(jnp.ones(3), ("b",)), unbox=False)
      state = scope.variable("state", "s", lambda: lib.Partitioned(jnp.zeros(3), ("c",)))
      state.value = state.value + 1
      return x * w * boxed.value + state.value

    y, variables = core.init(model)(KEY, jnp.ones(3))
    return y, variables, core.apply(model, mutable="state")(variables, jnp.ones(3))

  with flax_settings():
    equal(program(flax.core, flax.core.meta), program(minilinen.core, meta))
