"""The views on models that really ran, and their totals beside Flax's."""

from __future__ import annotations

import functools
import re
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
import pytest

import minilinen as nn
import viz
from minilinen import core
from minilinen.examples.lstm import TextModel
from minilinen.examples.resnet import ResNet
from minilinen.examples.transformer import Transformer

KEY = jax.random.PRNGKey(0)
WIDTHS = (60, 80, 120, 200)


@functools.cache
def trace(name: str) -> Any:
  return {
    "resnet50": lambda: nn.trace(ResNet().init)(KEY, "f32[8,224,224,3]"),
    "transformer": lambda: nn.trace(Transformer().init)(KEY, "i32[2,128]"),
    "scanned": lambda: nn.trace(Transformer(scanned=True).init)(KEY, "i32[2,128]"),
    "lstm": lambda: nn.trace(TextModel().init)(KEY, "i32[4,64]"),
  }[name]()


@pytest.mark.parametrize("name", ["resnet50", "transformer", "scanned", "lstm"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_view_fits(name: str, width: int) -> None:
  for kind in ("table", "tree", "trace"):
    text = viz.render(trace(name), kind).text(width=width)
    assert max(map(len, text.split("\n"))) <= width


def test_resnet50() -> None:
  view = viz.tabulate(trace("resnet50"))
  assert 24 <= len(view.to_rows()) <= 32
  assert view.to_dict()["totals"]["params"]["count"] == 25_557_032
  text = view.text(width=80)
  assert "Bottleneck_14…15 ×2 ⋯" in text and "outputs" in text and "batch_stats" in text


def test_a_scanned_transformer_counts_what_an_unrolled_one_counts() -> None:
  unrolled, scanned = (viz.tabulate(trace(name)) for name in ("transformer", "scanned"))
  assert unrolled.to_dict()["totals"] == scanned.to_dict()["totals"]
  assert "Block_0…11 ×12" in unrolled.text(width=80)
  for width in WIDTHS:
    assert re.search(r"blocks +Block scan ×12", scanned.text(width=width))


def net(linen: Any) -> Any:
  class Block(linen.Module):
    @linen.compact
    def __call__(self, x: Any, _: Any = None) -> Any:
      h = linen.Dense(6)(x)
      return linen.BatchNorm(use_running_average=False)(h), None

  class Net(linen.Module):
    @linen.compact
    def __call__(self, x: Any, train: bool = False) -> Any:
      shared = linen.Dense(6, name="shared")
      x = shared(shared(x))
      stacks = {"params": 0, "batch_stats": 0}
      scan = linen.scan(Block, variable_axes=stacks, split_rngs={"params": True}, length=5)
      x, _ = scan(name="layers")(x, None)
      x = linen.jit(linen.Dense)(3, name="jitted")(x)
      vmap = linen.vmap(linen.Dense, variable_axes={"params": 0}, split_rngs={"params": True})
      return vmap(2, name="mapped")(x)

  return Net()


def test_totals_are_flaxs() -> None:
  x = jnp.ones((4, 6))
  console = {"width": 200, "force_terminal": False}
  theirs = net(flax.linen).tabulate(KEY, x, console_kwargs=console)
  ours = net(nn).tabulate(KEY, x, console_kwargs=console)
  total = re.compile(r"Total Parameters: [\d,]+ \([\d.]+ \w+\)")
  assert total.search(ours).group() == total.search(theirs).group()  # type: ignore[union-attr]
  assert set(re.findall(r"[\d,]+ \([\d.]+ \w+\)", theirs)) >= set(re.findall(r"[\d,]+ \([\d.]+ \w+\)", ours))
  for heading in ("path", "module", "inputs", "outputs", "params", "batch_stats"):
    assert heading in ours


def test_lifts_of_every_kind() -> None:
  rows = {r["path"]: r for r in viz.tabulate(nn.trace(net(nn).init)(KEY, "f32[4,6]")).to_rows()}
  kinds = {path: [(lift["kind"], lift["length"]) for lift in r["lifts"]] for path, r in rows.items()}
  assert kinds["layers"] == [("scan", 5)]
  assert kinds["jitted"] == [("jit", None)]
  assert kinds["mapped"] == [("vmap", 4)]
  assert kinds["layers/Dense_0"] == kinds["shared"] == []
  assert [rows[p]["module"] for p in ("layers", "jitted", "mapped")] == ["Block", "Dense", "Dense"]
  assert rows["layers/Dense_0"]["collections"]["params"]["variables"]["kernel"] == "f32[5,6,6]"
  assert rows["mapped"]["inputs"] == "f32[4,3]"
  assert rows["shared"]["calls"] == 2


def test_parts_of_a_module_that_are_lifted_mark_what_is_inside() -> None:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      def body(self: Any, x: Any, _: Any) -> Any:
        return nn.Dense(4)(x), None

      x, _ = nn.scan(body, variable_broadcast="params", split_rngs={"params": False}, length=3)(self, x, None)
      return self.head(x)

    @nn.remat
    def head(self, x: Any) -> Any:
      return nn.Dense(2, name="last")(x)

  rows = {r["path"]: r for r in viz.tabulate(nn.trace(Net().init)(KEY, "f32[4,4]")).to_rows()}
  assert rows["Dense_0"]["lifts"] == [{"kind": "scan", "length": 3}]
  assert rows["last"]["lifts"] == [{"kind": "remat", "length": None}]
  assert rows[""]["lifts"] == []


def test_a_jitted_call_marks_its_module() -> None:
  class Net(nn.Module):
    @nn.jit
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return nn.Dense(2)(x)

  rows = viz.tabulate(nn.trace(Net().init)(KEY, "f32[4,4]")).to_rows()
  assert [(r["module"], [lift["kind"] for lift in r["lifts"]]) for r in rows] == [
    ("Net", ["jit"]),
    ("Dense", []),
  ]


def test_a_variable_that_is_a_dict_is_one_variable() -> None:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      self.variable("state", "memory", lambda: {"n": jnp.zeros(()), "past": jnp.zeros((3,))})
      return x

  rows = viz.tabulate(nn.trace(Net().init)(KEY, "f32[4,4]")).to_rows()
  assert [r["path"] for r in rows] == [""]
  assert rows[0]["collections"]["state"]["variables"] == {"memory/n": "f32[]", "memory/past": "f32[3]"}


def test_applied_models_show_modules_that_were_not_called() -> None:
  class Net(nn.Module):
    def setup(self) -> None:
      self.encoder = nn.Dense(3)
      self.decoder = nn.Dense(4)

    def __call__(self, x: Any) -> Any:
      return self.decoder(self.encode(x))

    def encode(self, x: Any) -> Any:
      return self.encoder(x)

  model, x = Net(), jnp.ones((2, 4))
  variables = model.init(KEY, x)
  view = viz.tabulate(nn.trace(functools.partial(model.apply, method="encode"))(variables, x))
  rows = {r["path"]: r for r in view.to_rows()}
  assert rows[""]["method"] == "encode" and "Net (encode)" in view.text(width=80)
  assert rows["decoder"]["module"] == "" and rows["decoder"]["collections"]["params"]["count"] == 16
  assert viz.tabulate(nn.trace(model.apply)(variables, x)).to_dict()["totals"] == view.to_dict()["totals"]


def test_a_run_that_failed_is_shown_as_far_as_it_came() -> None:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      nn.Dense(3)(x)
      raise ValueError("oops")

  with pytest.raises(ValueError, match="oops"), nn.record() as recorded:
    Net().init(KEY, jnp.ones((2, 4)))
  rows = viz.tabulate(recorded).to_rows()
  assert [r["path"] for r in rows] == ["", "Dense_0"]
  assert rows[0]["outputs"] == "left by ValueError: oops"
  assert "left by ValueError: oops" in viz.timeline(recorded).text(width=80)


def test_training_steps_and_functions_of_scopes() -> None:
  model = nn.Dense(3)
  params = model.init(KEY, jnp.ones((2, 4)))["params"]

  @jax.jit
  def step(params: Any, x: Any) -> Any:
    return jax.grad(lambda p: model.apply({"params": p}, x).sum())(params)

  assert viz.tabulate(nn.trace(step)(params, "f32[2,4]")).to_dict()["totals"]["params"]["count"] == 15

  def function(scope: Any, x: Any) -> Any:
    return scope.child(lambda s, x: x @ s.param("kernel", nn.initializers.ones, (4, 4)), "dense")(x)

  view = viz.tabulate(nn.trace(core.init(function))(KEY, "f32[2,4]"))
  assert [r["path"] for r in view.to_rows()] == ["", "dense"]


def test_modules_through_the_front_door() -> None:
  model = nn.Dense(3)
  assert viz.render(model, "table", KEY, "f32[2,4]").to_dict()["totals"]["params"]["count"] == 15
  assert viz.render(model, "tree", KEY, "f32[2,4]").to_dict()["total"]["count"] == 15
  bound = model.bind(model.init(KEY, jnp.ones((2, 4))))
  assert viz.render(bound).to_dict()["kind"] == "tree"
  assert viz.render(bound, "table", jnp.ones((2, 4))).to_rows()[0]["module"] == "Dense"
  with pytest.raises(viz.NothingToDrawError, match=r"together with what it is called with.*(?s:.)*mend"):
    viz.render(model, "table")
  with pytest.raises(
    viz.NothingToDrawError, match="draws a module when it is given inputs too, but got dict"
  ):
    viz.render({"params": {}}, "table", KEY)


def test_boxes_in_a_trace_show_their_axes() -> None:
  init = nn.with_partitioning(nn.initializers.ones, ("embed", None))
  view = viz.tree(nn.trace(nn.Dense(3, kernel_init=init).init)(KEY, "f32[2,4]"))
  assert {r["path"]: r["axes"] for r in view.to_rows() if r["value"]} == {
    "params/bias": None,
    "params/kernel": "(embed, -)",
  }
