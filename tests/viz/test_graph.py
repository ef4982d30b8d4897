"""The graph: modules as boxes and frames, and the data between them, read off JAX's equations."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import minilinen as nn
import viz
from minilinen.examples.lstm import TextModel
from minilinen.examples.resnet import ResNet
from minilinen.examples.transformer import Transformer
from minilinen.tracing import Trace

KEY = jax.random.key(0)
needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot is not installed")


def graph(model, *args, **options):
  return viz.graph(nn.trace(model.init_with_output)(KEY, *args), **options)


def arrows(view):
  """(name of the start, name of the end) of each arrow that does not lead to another copy, by full names."""
  boxes = {box.key: box for box in view.network.boxes}

  def name(key):
    box = boxes[key]
    return f"{name(box.inside)}/{box.title}" if box.inside and boxes[box.inside].inside else box.title

  return {(name(a.start), name(a.end)) for a in view.network.arrows if not a.again}


def boxes(view, kind):
  return [box.title for box in view.network.boxes if box.kind == kind]


class Residual(nn.Module):
  """Two layers, and their input added."""

  @nn.compact
  def __call__(self, x):
    y = nn.relu(nn.Dense(8)(x))
    return x + nn.Dense(4)(y)


def test_data_flows_from_module_to_module_and_through_work_between_them():
  view = graph(Residual(), jnp.ones((2, 4)))
  assert arrows(view) == {
    ("args[0]", "Dense_0"),
    ("Dense_0", "relu"),
    ("relu", "Dense_1"),
    ("Dense_1", "add"),
    ("args[0]", "add"),
    ("add", "output"),
  }
  assert boxes(view, "frame") == ["Residual"]


def test_what_json_says_of_the_boxes_of_modules():
  model = nn.Sequential([nn.Dense(3), nn.Dropout(0.5, deterministic=True)])
  view = viz.graph(model.trace(KEY, jnp.ones((2, 4))))
  of_modules = [box for box in view.to_dict()["boxes"] if "parameters" in box]
  names = ("path", "class", "tree", "times", "parameters", "outputs")
  assert [tuple(box[name] for name in names) for box in of_modules] == [
    ("", "Sequential", 0, 1, 15, "f32[2,3]"),
    ("layers_0", "Dense", 0, 1, 15, "f32[2,3]"),
    ("layers_1", "Dropout", 0, 1, 0, "f32[2,3]"),
  ]


def test_parameters_and_keys_are_no_data():
  variables = Residual().init(KEY, jnp.ones((2, 4)))
  applied = viz.graph(nn.trace(Residual().apply)(variables, jnp.ones((2, 4))))
  assert arrows(applied) == arrows(graph(Residual(), jnp.ones((2, 4))))


def mapped(module):
  return nn.vmap(module, variable_axes={"params": None}, split_rngs={"params": False})


@pytest.mark.parametrize("lift", [nn.jit, nn.remat, mapped])
def test_no_arrow_is_cut_at_a_lifted_transform(lift):
  class Outer(nn.Module):
    @nn.compact
    def __call__(self, x):
      x = nn.Dense(4, name="before")(x)
      x = lift(Residual)(name="middle")(x)
      return nn.Dense(3, name="after")(x)

  view = graph(Outer(), jnp.ones((2, 4)))
  assert {("before", "middle/Dense_0"), ("before", "middle/add"), ("middle/add", "after")} <= arrows(view)


def test_a_scan_is_a_frame_that_says_how_and_its_carry_comes_round():
  view = graph(Transformer(12, 16, 2, 32, 8, scanned=True), jnp.ones((1, 8), int))
  frame = next(box for box in view.network.boxes if box.title == "blocks")
  assert (frame.kind, frame.lift, frame.details) == (
    "frame",
    "scan ×12",
    "params axis 0, params split, dropout split",
  )
  assert {("add", "blocks/LayerNorm_0"), ("blocks/add", "norm"), ("norm", "tokens")} <= arrows(view)
  titles = {box.key: box.title for box in view.network.boxes}
  again = {(titles[a.start], titles[a.end]) for a in view.network.arrows if a.again}
  assert again == {("add", "LayerNorm_0"), ("add", "add")}


def test_equal_neighbours_are_drawn_once():
  view = graph(Transformer(12, 16, 2, 32, 8), jnp.ones((1, 8), int))
  (frame,) = [box for box in view.network.boxes if box.mark == "×12"]
  assert frame.title == "Block_0…11"
  assert {("add", "Block_0…11/LayerNorm_0"), ("Block_0…11/add", "norm")} <= arrows(view)
  opened = graph(Transformer(12, 16, 2, 32, 8), jnp.ones((1, 8), int), fold=False)
  assert ("Block_3/add", "Block_4/LayerNorm_0") in arrows(opened)


@needs_dot
def test_real_models_fit_a_screen():
  for model, x in ((ResNet(), "f32[1,224,224,3]"), (Transformer(), "i32[1,128]"), (TextModel(), "i32[2,8]")):
    view = graph(model, x)
    width, height = re.search(r'<svg width="(\d+)pt" height="(\d+)pt"', view.svg()).groups()
    assert int(width) < 1500 and int(height) < 1100
    assert 10 < len(view.network.boxes) < 40


def test_a_shared_module_has_one_box():
  class Shared(nn.Module):
    @nn.compact
    def __call__(self, x):
      layer = nn.Dense(4, name="layer")
      return layer(jnp.tanh(layer(x)))

  view = graph(Shared(), jnp.ones((2, 4)))
  assert arrows(view) == {
    ("args[0]", "layer"),
    ("layer", "tanh"),
    ("tanh", "layer"),
    ("layer", "output"),
  }
  titles = {box.key: box.title for box in view.network.boxes}
  assert [(titles[a.start], titles[a.end]) for a in view.network.arrows if a.back] == [("tanh", "layer")]
  (back,) = (line for line in view.source.splitlines() if "constraint=false" in line)
  assert back.strip() == 'w0 -> m1 [constraint=false tooltip="f32[2,4]"]'


def test_an_arrow_says_how_many_values_flow():
  """A pair goes from one module to the other: the label is the first, and that there is one more."""

  class Two(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.Dense(4)(x), nn.Dense(5)(x)

  class Join(nn.Module):
    @nn.compact
    def __call__(self, a, b):
      return jnp.concatenate([a, b], -1)

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      return Join(name="join")(*Two(name="two")(x))

  view = graph(Net(), jnp.ones((2, 3)), depth=1)
  assert [arrow.label for arrow in view.network.arrows] == ["f32[2,3]", "f32[2,4] +1", "f32[2,9]"]


def test_data_goes_through_the_module_that_calls_one_that_is_not_its_own():
  """In at the caller, through the layer and the work of what it calls, and out at the caller again."""

  class Caller(nn.Module):
    layer: nn.Module

    def __call__(self, x):
      return self.layer(x)

  class Net(nn.Module):
    def setup(self):
      self.residual = Residual()
      self.caller = Caller(self.residual)

    def __call__(self, x):
      return self.caller(x)

  view = graph(Net(), jnp.ones((2, 4)))
  assert arrows(view) == {
    ("args[0]", "caller"),
    ("caller", "residual/Dense_0"),
    ("residual/Dense_0", "residual/relu"),
    ("residual/relu", "residual/Dense_1"),
    ("residual/Dense_1", "residual/add"),
    ("caller", "residual/add"),
    ("residual/add", "caller"),
    ("caller", "output"),
  }


def test_what_comes_from_two_places_goes_on_to_another_module_in_one_arrow():
  """An input and the output of a layer, through a caller to what it calls."""

  class Times(nn.Module):
    def __call__(self, x, y):
      return x * y

  class Caller(nn.Module):
    times: nn.Module

    def __call__(self, x, y):
      return self.times(x, y)

  class Net(nn.Module):
    def setup(self):
      self.first, self.times = nn.Dense(4), Times()
      self.caller = Caller(self.times)

    def __call__(self, x):
      return self.caller(x, self.first(x))

  view = graph(Net(), jnp.ones((2, 4)))
  drawn = [(arrow.start, arrow.end) for arrow in view.network.arrows]
  assert len(drawn) == len(set(drawn)) == 6
  assert {("args[0]", "caller"), ("first", "caller"), ("caller", "times")} <= arrows(view)


def test_depth_closes_modules():
  view = graph(ResNet(), "f32[1,224,224,3]", depth=1)
  assert boxes(view, "frame") == ["ResNet"]
  assert "Bottleneck_0" in boxes(view, "module")
  assert ("relu · max window", "Bottleneck_0") in arrows(view)
  assert boxes(graph(ResNet(), "f32[1,224,224,3]", depth=0), "module") == ["ResNet"]


def test_modules_that_compute_nothing_are_named_below():
  view = graph(Transformer(2, 16, 2, 32, 8), jnp.ones((1, 8), int))
  assert set(boxes(view, "idle")) == {"Dropout_0", "Dropout_1"}
  assert "Dropout_0" in view.source.split("Not drawn")[1].split("\n")[0]
  assert "Nothing is computed in Dropout_0" in view.text(width=120)


@needs_dot
def test_saved_in_every_form(tmp_path):
  view = graph(Residual(), jnp.ones((2, 4)))
  for suffix in (".dot", ".svg", ".png", ".txt", ".html", ".json"):
    view.save(tmp_path / f"graph{suffix}")
  assert (tmp_path / "graph.dot").read_text().startswith("digraph Residual")
  drawn = ElementTree.fromstring((tmp_path / "graph.svg").read_text())
  texts = {t.text for t in drawn.iter("{http://www.w3.org/2000/svg}text")}
  assert {"Dense_0", "relu", "f32[2,8]", "output"} <= texts
  assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")
  saved = json.loads((tmp_path / "graph.json").read_text())
  assert {row["title"] for row in saved["boxes"]} == {b.title for b in view.network.boxes}
  assert len(saved["arrows"]) == len(view.network.arrows)
  with pytest.raises(viz.SuffixError, match=r"\.dot"):
    view.save(tmp_path / "graph.gif")


@needs_dot
@pytest.mark.parametrize("model, x", [(ResNet(), "f32[1,64,64,3]"), (Transformer(), "i32[1,16]")])
def test_labels_stay_inside_their_boxes(model, x):
  """Every text of the SVG lies within the polygon or path that is drawn for the same node."""
  svg = ElementTree.fromstring(graph(model, x).svg())
  ns = "{http://www.w3.org/2000/svg}"
  nodes = [g for g in svg.iter(f"{ns}g") if g.get("class") == "node"]
  assert len(nodes) > 10
  for node in nodes:
    shape = next(node.iter(f"{ns}path"), None)
    points = shape.get("d") if shape is not None else next(node.iter(f"{ns}polygon")).get("points")
    numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", points)]
    left, right, top, bottom = min(numbers[::2]), max(numbers[::2]), min(numbers[1::2]), max(numbers[1::2])
    for text in node.iter(f"{ns}text"):
      size = float(text.get("font-size"))
      assert left <= float(text.get("x")) <= right
      assert top <= float(text.get("y")) - size / 2 and float(text.get("y")) <= bottom


@pytest.mark.parametrize("width", [60, 80, 120])
def test_in_a_terminal(width):
  text = graph(Transformer(), "i32[1,128]").text(width=width)
  assert max(map(len, text.splitlines())) <= width
  assert "LayerNorm_0" in text and "gets data from" in text


def test_without_graphviz_all_but_pictures_works(tmp_path, monkeypatch):
  monkeypatch.setenv("PATH", str(tmp_path))
  view = graph(Residual(), jnp.ones((2, 4)))
  with pytest.raises(viz.DotMissingError, match=r"(?s)program dot.*apt install graphviz.*graph\.dot"):
    view.save(tmp_path / "graph.svg")
  with pytest.raises(viz.DotMissingError):
    view.save(tmp_path / "graph.png")
  assert not (tmp_path / "graph.png").exists()
  view.save(tmp_path / "graph.dot")
  assert "Dense_0" in view.text(width=80)
  assert "Dense_0" in view._repr_html_()


@needs_dot
def test_odd_names_are_escaped():
  class Odd(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.Dense(2, name='<b>"a&b\\N')(x)

  view = graph(Odd(), jnp.ones((2, 4)))
  subprocess.run(["dot", "-Tsvg"], input=view.source.encode(), check=True, capture_output=True)
  assert '&lt;b&gt;"a&amp;b' in view.svg() or "&lt;b&gt;&quot;a&amp;b" in view.svg()


def test_a_saved_trace_gives_the_same_graph():
  found = nn.trace(Residual().init_with_output)(KEY, jnp.ones((2, 4)))
  assert viz.graph(Trace.from_json(found.to_json())).source == viz.graph(found).source
  assert viz.render(found, "graph").source == viz.graph(found).source
  assert viz.render(Residual(), "graph", KEY, jnp.ones((2, 4))).source == viz.graph(found).source


def test_what_has_no_graph():
  with nn.record() as found:
    Residual().init(KEY, jnp.ones((2, 4)))
  with pytest.raises(
    viz.GraphMissingError, match=r"(?s)come from JAX's equations.*nn\.trace\(model\.apply\)"
  ):
    viz.graph(found)
  with pytest.raises(viz.NothingToDrawError, match=r"viz\.graph draws a Trace"):
    viz.graph({"params": {}})
  with pytest.raises(viz.NothingToDrawError, match="a trace in which a model ran"):
    viz.graph(nn.trace(jnp.sin)(jnp.ones(3)))
  with pytest.raises(viz.UnknownKindError, match="'graph' of a tree of variables"):
    viz.render({"params": {}}, "graph")


def test_of_a_large_model():
  class Tree(nn.Module):
    depth: int

    @nn.compact
    def __call__(self, x):
      if self.depth == 0:
        return nn.Dense(2)(x)
      return Tree(self.depth - 1)(x) + Tree(self.depth - 1, name=f"other{self.depth}")(x)

  view = graph(Tree(8), jnp.ones((1, 2)), fold=False, rows=None)
  assert len(boxes(view, "module")) == 2**8
  assert len(boxes(view, "work")) == 2**8 - 1


INITS: dict[str, Any] = {
  "alone": lambda init: init,
  "jit": jax.jit,
  "jit in jit": lambda init: jax.jit(lambda key, x: jax.jit(init)(key, x)),
  "vmap": lambda init: lambda key, x: jax.vmap(init, (0, None))(jax.random.split(key, 5), x),
  "jit of vmap": lambda init: jax.jit(lambda key, x: jax.vmap(init, (0, None))(jax.random.split(key, 5), x)),
  "map": lambda init: lambda key, x: jax.lax.map(lambda key: init(key, x), jax.random.split(key, 5)),
  "remat": jax.checkpoint,
}


@pytest.mark.parametrize("way", INITS)
def test_the_graph_of_init_ends_in_what_the_model_returns(way: str):
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.relu(nn.Dense(4)(x))

  key, x = jax.random.key(0), jax.ShapeDtypeStruct((2, 3), "float32")
  init = INITS[way](Net().init)
  trace = nn.trace(init)(key, x)
  shape = "f32[5,2,4]" if way.endswith("vmap") else "f32[2,4]"
  for known in (trace, Trace.from_json(trace.to_json())):
    (box,) = (box for box in viz.graph(known).network.boxes if box.kind == "output")
    assert (box.title, box.subtitle) == ("output, which init drops", shape)
    assert any(arrow.end == box.key for arrow in viz.graph(known).network.arrows)
  assert "drops" not in viz.graph(Net().trace(key, x)).text(width=100)
  assert str(trace.jaxpr) == str(jax.make_jaxpr(init)(key, x).jaxpr)


def test_a_module_computes_also_where_no_arrow_leads() -> None:
  """Its input is a constant, and its result goes into a loss whose gradient alone is used: it is not idle."""
  model = nn.Dense(1)
  x = jnp.ones((2, 3))
  one, other = (model.init(jax.random.key(seed), x) for seed in (0, 1))

  def loss(params: Any) -> Any:
    return sum((model.apply(p, x) ** 2).sum() for p in params)

  view = viz.graph(nn.trace(jax.grad(loss))((one, other)))
  assert "Nothing is computed" not in view.text(width=100)
