"""`viz.tabulate` on hand-made traces: rows, folding, totals, lifts and widths."""

from __future__ import annotations

import re

import jax
import pytest
import viz_traces as models
from viz_traces import Builder, f32

import minilinen as nn
import viz
from minilinen.tracing.spec import Spec

WIDTHS = (60, 80, 120, 200)
MODELS = {
  "resnet50": models.resnet50,
  "transformer": models.transformer,
  "scanned": lambda: models.transformer(scanned=True),
  "lstm": models.lstm,
  "deep": lambda: models.deep(100),
}


def row(view: viz.View, path: str) -> dict:
  return next(r for r in view.to_rows() if r["path"] == path)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_longer_than_the_width(name: str, width: int) -> None:
  lines = viz.tabulate(MODELS[name]()).text(width=width).split("\n")
  assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_resnet50_takes_about_thirty_rows(width: int) -> None:
  text = viz.tabulate(models.resnet50()).text(width=width)
  assert 24 <= len(viz.tabulate(models.resnet50()).to_rows()) <= 32
  assert len(text.splitlines()) <= 42
  for path in ("conv_init", "BottleneckResNetBlock_0", "Block_14…15 ×2", "norm_proj", "Dense_0"):
    assert path in text


@pytest.mark.parametrize("width", WIDTHS)
def test_paths_stay_whole_where_there_is_room(width: int) -> None:
  text = viz.tabulate(models.transformer()).text(width=width)
  assert "MultiHeadDotProductAttention_0" in text
  assert "encoderblock_0…11 ×12" in text


def test_totals_are_those_of_resnet50() -> None:
  view = viz.tabulate(models.resnet50())
  assert view.to_dict()["totals"] == {
    "params": {"count": 25_557_032, "bytes": 102_228_128},
    "batch_stats": {"count": 53_120, "bytes": 212_480},
  }
  text = view.text(width=120)
  assert "Total Parameters: 25,610,152 (102.4 MB)" in text
  assert "params 25,557,032 (102.2 MB), batch_stats 53,120 (212.5 KB)" in text
  assert re.search(r"^Total +25,557,032 102.2 MB +53,120 212.5 KB$", text, re.M)


def test_folded_blocks_stand_for_all() -> None:
  view = viz.tabulate(models.transformer())
  block = row(view, "encoderblock_0")
  assert block["times"] == 12
  assert block["names"] == [f"encoderblock_{i}" for i in range(12)]
  count = block["collections"]["params"]["count"]
  rest = [r for r in view.to_rows() if r["depth"] == 1 and r != block]
  outside = sum(r["collections"]["params"]["count"] for r in rest)
  assert 12 * count + outside == view.to_dict()["totals"]["params"]["count"]


def test_fold_and_rows_can_be_switched_off() -> None:
  trace = models.resnet50()
  assert len(viz.tabulate(trace, fold=False).to_rows()) == 1 + 53 + 53 + 16 + 1
  opened = viz.tabulate(trace, rows=None).to_rows()
  assert len(opened) == 1 + 3 + 8 + 4 * 8 + 4 * 6
  assert not any(r["closed"] for r in opened)


def test_small_models_are_shown_whole() -> None:
  b = Builder()
  x = f32(2, 8)
  with b.run("MLP"), b.call("", "MLP", x, x):
    x = models.dense(b, "Dense_0", x, 8)
    x = models.dense(b, "Dense_1", x, 8)
    models.dense(b, "Dense_2", x, 3)
  rows = viz.tabulate(b.trace()).to_rows()
  assert [r["path"] for r in rows] == ["", "Dense_0", "Dense_1", "Dense_2"]


def test_alternating_siblings_fold_into_one_row_each() -> None:
  b = Builder()
  x = f32(2, 8)
  with b.run("Net"), b.call("", "Net", x, x):
    for i in range(5):
      models.dense(b, f"Dense_{i}", x, 8)
      b.leaf(f"LayerNorm_{i}", "LayerNorm", x, x, scale=(8,))
  view = viz.tabulate(b.trace())
  assert [(r["path"], r["times"]) for r in view.to_rows()] == [("", 1), ("Dense_0", 5), ("LayerNorm_0", 5)]
  assert "Dense_0…4 ×5" in view.text(width=80)


def test_lifted_modules_say_how_and_show_the_outside() -> None:
  view = viz.tabulate(models.transformer(scanned=True))
  layers = row(view, "layers")
  assert layers["module"] == "EncoderBlock"
  assert layers["lifts"] == [{"kind": "scan", "length": 12}, {"kind": "remat", "length": None}]
  dense = row(view, "layers/MlpBlock_0/Dense_0")
  assert dense["collections"]["params"]["variables"]["kernel"] == "f32[12,512,2048]"
  assert not dense["lifts"]
  for width in WIDTHS:
    assert "scan ×12 remat" in view.text(width=width)
  unrolled = viz.tabulate(models.transformer()).to_dict()["totals"]
  assert view.to_dict()["totals"] == unrolled


def test_function_lifts_mark_the_modules_inside() -> None:
  b = Builder()
  x = f32(4, 8)
  with b.run("Net"), b.call("", "Net", x, x):
    with b.lift("vmap", 4, "Net.__call__.<locals>.<lambda>", x, x, stacks=False):
      models.dense(b, "Dense_0", f32(8), 8)
    models.dense(b, "Dense_1", x, 8)
  view = viz.tabulate(b.trace())
  assert [[lift["kind"] for lift in r["lifts"]] for r in view.to_rows()] == [[], ["vmap"], []]
  assert "Dense vmap ×4" in view.text(width=100)


def test_a_module_called_again_shows_once() -> None:
  b = Builder()
  x = f32(2, 8)
  with b.run("Net"), b.call("", "Net", x, x):
    models.dense(b, "Dense_0", x, 8)
    with b.call("Dense_0", "Dense", f32(7, 8), f32(7, 8)):
      pass
  assert [r["path"] for r in viz.tabulate(b.trace()).to_rows()] == ["", "Dense_0"]
  view = viz.tabulate(b.trace(), show_repeated=True)
  rows = view.to_rows()
  assert [r["path"] for r in rows] == ["", "Dense_0", "Dense_0"]
  assert [r["inputs"] for r in rows[1:]] == ["f32[2,8]", "f32[7,8]"]
  assert view.to_dict()["totals"]["params"]["count"] == 72
  assert rows[2]["collections"] == {}


def test_many_equal_calls_fold_too() -> None:
  b = Builder()
  x = f32(2, 8)
  with b.run("RNN"), b.call("", "RNN", x, x):
    models.dense(b, "cell", x, 8)
    for _ in range(19):
      with b.call("cell", "Dense", x, x):
        pass
  view = viz.tabulate(b.trace(), show_repeated=True)
  assert [(r["path"], r["times"]) for r in view.to_rows()] == [("", 1), ("cell", 1), ("cell", 19)]
  assert "cell ×19 (again)" in view.text(width=80)


def test_other_methods_are_named() -> None:
  b = Builder()
  x = f32(2, 8)
  with b.run("VAE"), b.call("", "VAE", x, x, method="encode"):
    with b.call("embed", "Embed", x, x):
      b.variable("embedding", (8, 8))
    with b.call("embed", "Embed", x, x, method="attend"):
      pass
    with b.call("", "VAE", x, x, method="_helper"):
      models.dense(b, "Dense_0", x, 2)
  text = viz.tabulate(b.trace()).text(width=100)
  assert "VAE (encode)" in text
  assert "Embed (+attend)" in text
  assert "_helper" not in text


def test_depth_closes_what_is_below() -> None:
  view = viz.tabulate(models.transformer(), depth=1)
  assert [r["path"] for r in view.to_rows()] == ["", "Embed_0", "encoderblock_0", "encoder_norm", "logits"]
  assert row(view, "encoderblock_0")["collections"]["params"]["count"] == 3_152_384
  assert "below depth=1" in view.text(width=80)
  assert len(viz.tabulate(models.transformer(), depth=0).to_rows()) == 1


def test_symbolic_sizes_are_formulas() -> None:
  b = Builder()
  x = Spec(("b", 8), "float32")
  with b.run("Net"), b.call("", "Net", x, x):
    models.dense(b, "Dense_0", x, 4)
    b.variable("cache__last", ("b", 8))
  view = viz.tabulate(b.trace())
  assert row(view, "")["inputs"] == "f32[b,8]"
  text = view.text(width=120)
  assert "8*b" in text and "32*b B" in text
  assert "Total Parameters: 8*b + 36 ((32*b + 144) B)" in text


def test_two_models_in_one_trace() -> None:
  b = Builder()
  x = f32(2, 8)
  for tree, name in enumerate(("Generator", "Discriminator")):
    with b.run(name, tree=tree), b.call("", name, x, x):
      models.dense(b, f"{name}_dense", x, 8)
  rows = viz.tabulate(b.trace()).to_rows()
  assert [r["module"] for r in rows] == ["Generator", "Dense", "Discriminator", "Dense"]


def test_several_models_are_sorted_too() -> None:
  b = Builder()
  x = f32(2, 8)
  for tree, (name, size) in enumerate({"Small": 2, "Large": 9, "Middle": 5}.items()):
    with b.run(name, tree=tree), b.call("", name, x, x):
      models.dense(b, "Dense_0", x, size)
  rows = viz.tabulate(b.trace(), sort="params").to_rows()
  assert [r["module"] for r in rows] == ["Large", "Dense", "Middle", "Dense", "Small", "Dense"]
  assert [r["collections"]["params"]["count"] for r in rows] == [81, 81, 45, 45, 18, 18]


def test_init_and_apply_of_one_model_are_one_table() -> None:
  b = Builder()
  x = f32(2, 8)
  for run in ("init", "apply"):
    with b.run("Net", run), b.call("", "Net", x, x):
      models.dense(b, "Dense_0", x, 8)
  assert len(viz.tabulate(b.trace(), show_repeated=True).to_rows()) == 2


def test_odd_names_do_not_disturb_the_terminal() -> None:
  b = Builder()
  x = f32(2, 8)
  with b.run("Net"), b.call("", "Net", x, x):
    models.dense(b, "a\x1b[31m\nb", x, 8)
    models.dense(b, "[bold]x[/bold]", x, 8)
    models.dense(b, "模块_0", x, 8)
  for width in WIDTHS:
    text = viz.tabulate(b.trace()).text(width=width)
    assert "\x1b" not in text
    assert "[bold]x[/bold]" in text
    assert "模块_0" in text


def test_rich_arguments_go_where_linen_sends_them() -> None:
  from rich import box

  view = viz.tabulate(
    models.lstm(), console_kwargs={"width": 90, "force_terminal": True},
    table_kwargs={"box": box.ROUNDED, "show_lines": True}, column_kwargs={"justify": "right"},
  )  # fmt: skip
  text = str(view)
  assert "╭" in text and "\x1b[" in text
  plain = view.text(force_terminal=False)
  assert max(map(len, plain.split("\n"))) <= 90


@pytest.mark.long
def test_2000_levels_and_10000_modules() -> None:
  deep = viz.tabulate(models.deep(2000))
  assert len(deep.to_rows()) == 2002
  assert max(map(len, deep.text(width=80).split("\n"))) <= 80
  assert len(viz.tabulate(models.wide(10_000), fold=False).to_rows()) == 10_001


def test_not_a_trace() -> None:
  with pytest.raises(viz.NothingToDrawError, match=r"(?s)viz.tabulate draws a Trace, but got dict .* mend "):
    viz.tabulate({"params": {}})  # type: ignore[arg-type]
  with pytest.raises(viz.NothingToDrawError, match="in which a model ran"):
    viz.tabulate(Builder().trace())


@pytest.mark.parametrize("width", [8, 20, 40])
@pytest.mark.parametrize("name", ["lstm", "deep"])
def test_a_very_narrow_table_keeps_its_rows(name: str, width: int) -> None:
  """A line for every row between the heading's rule and the totals, and in it the name, if there is room."""
  view = viz.tabulate(MODELS[name]())
  lines = view.text(width=width).split("\n")
  assert max(map(len, lines)) <= width
  rule = next(i for i, line in enumerate(lines) if set(line) == {"─"})
  rows = view.to_rows()
  shown = lines[rule + 1 : rule + 1 + len(rows)]
  assert all(set(line) - {"─"} for line in shown)
  if (name, width) != ("deep", 8):
    for row, line in zip(rows, shown, strict=True):
      assert re.search(rf"(^|[└├─] ?){re.escape(row['names'][-1])}\b|^\.", line), line


def test_a_table_one_letter_wide_is_all_there() -> None:
  view = viz.tabulate(MODELS["lstm"]())
  lines = view.text(width=1).split("\n")
  assert max(map(len, lines)) == 1 and len(lines) > len(view.to_rows())


def test_variables_of_several_shapes_are_told_apart_in_a_row() -> None:
  class Scaled(nn.Module):
    @nn.compact
    def __call__(self, x):
      kernel = self.param("kernel", nn.initializers.ones, (3, 4))
      return x @ kernel * self.param("scale", nn.initializers.ones, (4,)) + self.param(
        "bias", nn.initializers.ones, (4,)
      )

  class Two(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.Dense(4)(x)

  text = viz.tabulate(nn.trace(Scaled().init)(jax.random.key(0), "f32[2,3]")).text(width=140)
  assert "kernel f32[3,4]; bias, scale f32[4]" in text
  assert "kernel f32[3,4], bias f32[4]" in viz.tabulate(
    nn.trace(Two().init)(jax.random.key(0), "f32[2,3]")
  ).text(width=140)
