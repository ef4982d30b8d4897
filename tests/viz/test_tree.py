"""`viz.tree`: order, totals, patterns, boxes and every kind of leaf."""

from __future__ import annotations

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import viz_traces as models

import minilinen as nn
import viz
from minilinen.core.meta import Partitioned
from minilinen.tracing.spec import Node, Spec


def tree() -> dict:
  layer = {"kernel": np.ones((3, 4), np.float32), "bias": np.zeros(4, np.float32)}
  return {
    "batch_stats": {"norm": {"mean": np.zeros(4, np.float32)}},
    "params": {
      "layers_10": {"kernel": np.ones((3, 5), np.float32)},
      "layers_2": dict(layer),
      "head": {"kernel": jnp.ones((4, 2), jnp.bfloat16)},
    },
  }


def paths(view: viz.View) -> list[str]:
  return [r["path"] for r in view.to_rows()]


def test_params_first_and_natural_order() -> None:
  top = [p for p in paths(viz.tree(tree())) if p.count("/") < 2]
  assert top == [
    "params", "params/head", "params/layers_2", "params/layers_10", "batch_stats", "batch_stats/norm",
  ]  # fmt: skip


def test_shapes_bytes_and_totals() -> None:
  view = viz.tree(tree())
  rows = {r["path"]: r for r in view.to_rows()}
  assert rows["params/layers_2/kernel"]["value"] == "f32[3,4]"
  assert (
    rows["params/head/kernel"] | {"value": "bf16[4,2]", "count": 8, "bytes": 16} == rows["params/head/kernel"]
  )
  assert (rows["params/layers_2"]["count"], rows["params/layers_2"]["bytes"]) == (16, 64)
  assert (rows["params"]["count"], rows["params"]["bytes"]) == (39, 140)
  assert view.to_dict()["total"] == {"count": 43, "bytes": 156, "bytes_per_device": 156}
  assert re.search(r"^Total +43 156 B$", view.text(width=60), re.M)


def test_patterns() -> None:
  def leaves(pattern: str) -> list[str]:
    return [r["path"] for r in viz.tree(tree(), pattern).to_rows() if r["value"]]

  kernels = ["params/head/kernel", "params/layers_2/kernel", "params/layers_10/kernel"]
  assert leaves("params/**/kernel") == kernels
  assert leaves("**/kernel") == kernels
  assert leaves("params/layers_*/*") == ["params/layers_2/bias", *kernels[1:]]
  assert leaves("params/head") == ["params/head/kernel"]
  assert leaves("batch_stats/**") == ["batch_stats/norm/mean"]
  assert viz.tree(tree(), "**/bias").to_dict()["total"]["count"] == 4


def test_a_pattern_that_fits_nothing() -> None:
  with pytest.raises(viz.NoMatchError) as caught:
    viz.tree(tree(), "params/**/kernal")
  text = " ".join(str(caught.value).split())
  assert "'params/**/kernal'" in text
  assert "Did you mean 'params/**/kernel'?" in text
  assert "mend" in text and '"**" for any number' in text


@pytest.mark.parametrize(("count", "named"), [(4, "c, params/d."), (5, "c, params/d and 1 more.")])
def test_a_pattern_that_fits_nothing_is_told_of_four_variables(count: int, named: str) -> None:
  with pytest.raises(viz.NoMatchError) as caught:
    viz.tree({"params": dict.fromkeys("abcde"[:count], jnp.ones(2))}, "zzz")
  assert f"There: params/a, params/b, params/{named}" in " ".join(str(caught.value).split())


class Carry(NamedTuple):
  c: jax.Array
  h: jax.Array


def test_any_leaf_and_any_pytree() -> None:
  view = viz.tree({
    "spec": Spec((2, 3), "bfloat16"),
    "struct": jax.ShapeDtypeStruct((7,), jnp.int8),
    "key": jax.random.key(0),
    "number": 3,
    "none": None,
    "carry": Carry(jnp.ones(2), jnp.ones(3)),
    "list": [jnp.ones(1), (jnp.ones(2),)],
    "partial": jax.tree_util.Partial(print, jnp.ones(4)),
    "empty": {},
  })  # fmt: skip
  values = {r["path"]: r["value"] for r in view.to_rows()}
  assert values["spec"] == "bf16[2,3]"
  assert values["struct"] == "i8[7]"
  assert values["key"].startswith("key<")
  assert values["number"] == "3" and values["none"] == "None"
  assert values["carry/c"] == "f32[2]" and values["list/1/0"] == "f32[2]"
  assert "f32[4]" in values.values()


def test_boxes_show_their_axes() -> None:
  boxed = {"params": {"kernel": Partitioned(jnp.ones((3, 4)), names=("embed", None))}}
  view = viz.tree(boxed)
  assert view.to_rows()[1]["axes"] == "(embed, -)"
  assert "(embed, -)" in view.text(width=60)
  assert "axes" not in viz.tree(tree()).text(width=100)


def split_over(*sizes: int) -> Spec:
  """A kernel of 8 by 6 whose axes "data" and "model" split."""
  return Spec((8, 6), "float32", sharding="P('data', ('model', 'pod'))", shard=sizes)


def test_axes_and_what_splits_them() -> None:
  kernel = Node("Partitioned", {"value": split_over(4, 2), "names": ("batch", "mlp")})
  whole = Node("Partitioned", {"value": Spec((3,), "float32"), "names": ("embed",)})
  view = viz.tree({"params": {"kernel": kernel, "scale": whole}})
  rows = {row["path"]: row for row in view.to_rows()}
  assert rows["params/kernel"]["axes"] == "(batch, mlp)"
  assert rows["params/kernel"]["sharding"] == "P('data', ('model', 'pod'))"
  assert (rows["params/kernel"]["bytes"], rows["params/kernel"]["bytes_per_device"]) == (192, 32)
  assert rows["params"]["bytes_per_device"] == 32 + 12
  assert "(batch→data, mlp→model+pod)" in view.text(width=80)
  assert re.search(r"kernel +f32\[8,6\] +→data, model\+pod +48 192 B +32 B$", view.text(width=56), re.M)
  for width in (40, 48, 56, 60, 80, 120):
    assert "→" in view.text(width=width) and "/device" in view.text(width=width)
    assert max(map(len, view.text(width=width).split("\n"))) <= width
  assert "→" not in viz.tree({"params": {"scale": whole}}).text(width=80)
  assert not re.search("axes|sharding", viz.tree({"params": {"kernel": kernel}}, depth=1).text(width=80))


def test_arrays_that_are_split_and_have_no_names() -> None:
  text = viz.tree({"params": {"kernel": split_over(4, 6)}}).text(width=80)
  assert "sharding" in text and "(data, model+pod)" in text and "/device" in text


def test_axes_that_are_left_to_xla() -> None:
  mesh = jax.make_mesh((1, 1), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
  box = Partitioned(jax.ShapeDtypeStruct((2, 3), jnp.float32), (jax.P.UNCONSTRAINED, "model"))
  with jax.set_mesh(mesh):
    view = viz.tree({"params": {"kernel": box}})
  row = view.to_rows()[1]
  assert (row["axes"], row["sharding"]) == ("(?, model)", "P(UNCONSTRAINED, 'model')")
  assert "(?, model)" in view.text(width=60)
  assert "P(<Axis.X: 1>)" in viz.tree({"w": Spec((4,), "int8", False, "P(<Axis.X: 1>)", (2,))}).text(width=80)


def test_axes_beside_the_variables() -> None:
  class Dense(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
      return x @ nn.partitioning.param_with_axes(
        "kernel", nn.initializers.ones, (3, 4), axes=("embed", "mlp")
      )

  key, x = jax.random.key(0), jnp.ones((1, 3))
  trace, variables = nn.trace(Dense().init)(key, x), Dense().init(key, x)
  assert viz.tree(trace).to_rows() == viz.tree(variables).to_rows()
  rows = {row["path"]: row for row in viz.tree(variables).to_rows()}
  assert rows["params/kernel"]["axes"] == rows["params_axes/kernel_axes"]["axes"] == "(embed, mlp)"
  assert rows["params_axes/kernel_axes"]["value"] is None
  (kernel,) = trace.find("params/kernel")
  assert kernel.axes == ("embed", "mlp")


def test_looking_at_boxes_under_a_mesh_moves_no_array() -> None:
  mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  box = Partitioned(Partitioned(jnp.ones((2, 3)), ("data", None)), ("outer",))
  with jax.set_mesh(mesh):
    (row,) = viz.tree({"w": box}).to_rows()
  assert (row["value"], row["axes"], row["sharding"]) == ("f32[2,3]", "(outer)", None)


def test_trees_of_a_trace_fold() -> None:
  view = viz.tree(models.transformer())
  rows = {r["path"]: r for r in view.to_rows()}
  assert rows["params/encoderblock_0"]["times"] == 12
  assert view.to_dict()["total"]["count"] == 70_629_632
  assert len(viz.tree(models.transformer(), fold=False).to_rows()) > 200
  assert len(viz.tree(models.transformer(), depth=1).to_rows()) == 1


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_widths(width: int) -> None:
  for source in (tree(), models.transformer(), models.resnet50()):
    assert max(map(len, viz.tree(source).text(width=width).split("\n"))) <= width


def test_deep_trees() -> None:
  nested: dict = {"kernel": np.ones(2)}
  for i in range(2000):
    nested = {f"inner_{i}": nested}
  view = viz.tree({"params": nested})
  assert len(view.to_rows()) == 2002
  assert max(map(len, view.text(width=60).split("\n"))) <= 60


@pytest.mark.parametrize("wrong", [None, 3, "params", print])
def test_not_a_tree(wrong: object) -> None:
  with pytest.raises(viz.NothingToDrawError, match=r"viz\.tree draws variables"):
    viz.tree(wrong)


def test_a_tree_without_variables_says_so() -> None:
  assert "There are no variables." in viz.tree({}).text(width=80)
  assert "Total" not in viz.tree({}).text(width=80)


def test_the_title_is_not_broken_by_a_narrow_table() -> None:
  assert viz.tree(tree(), "**/mean").text(width=80).startswith("Variables that fit **/mean\n")


def test_an_empty_name_is_seen() -> None:
  assert "└─ ''" in viz.tree({"params": {"": {"w": np.ones(3)}}}).text(width=80)
