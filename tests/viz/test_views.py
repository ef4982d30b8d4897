"""What every view can do: print, notebooks, data, files; and `render`, which picks one."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
import viz_traces as models
from rich.console import Console

import minilinen as nn
import viz

VIEWS = {
  "table": lambda: viz.tabulate(models.lstm()),
  "tree": lambda: viz.tree(models.lstm()),
  "trace": lambda: viz.timeline(models.lstm()),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_prints(kind: str) -> None:
  view = VIEWS[kind]()
  assert "embed" in str(view) and str(view) == repr(view)
  out = io.StringIO()
  Console(file=out, width=70).print(view)
  assert "embed" in out.getvalue()
  assert max(map(len, out.getvalue().split("\n"))) <= 70
  html = view._repr_html_()
  assert html.startswith("<pre") and "embed" in html and "<html" not in html


@pytest.mark.parametrize("kind", VIEWS)
def test_saves_by_suffix(kind: str, tmp_path: Path) -> None:
  view = VIEWS[kind]()
  for suffix, begin in ((".svg", "<svg"), (".html", "<!DOCTYPE html>"), (".txt", ""), (".json", "{")):
    file = tmp_path / f"m{suffix}"
    view.save(file)
    content = file.read_text(encoding="utf-8")
    assert content.startswith(begin) and "embed" in content
  data = json.loads((tmp_path / "m.json").read_text())
  assert data["kind"] == kind and data["rows"] == json.loads(json.dumps(view.to_rows()))
  view.save(tmp_path / "narrow.txt", width=50)
  assert max(map(len, (tmp_path / "narrow.txt").read_text().split("\n"))) <= 50


@pytest.mark.parametrize("name", ["m.png", "m", "m.html.gz"])
def test_unknown_suffixes(name: str, tmp_path: Path) -> None:
  with pytest.raises(viz.SuffixError) as caught:
    VIEWS["table"]().save(tmp_path / name)
  assert "Expected one of .html, .json, .svg, .txt." in str(caught.value)
  assert 'm.html")' in str(caught.value)
  assert not (tmp_path / name).exists()


def test_render_picks() -> None:
  trace = models.lstm()
  assert viz.render(trace).to_dict()["kind"] == "table"
  for kind in VIEWS:
    assert viz.render(trace, kind).to_dict()["kind"] == kind
  assert viz.render({"params": {"w": models.f32(3)}}).to_dict()["kind"] == "tree"
  assert len(viz.render(trace, "table", depth=0).to_rows()) == 1


def test_render_knows_what_it_cannot() -> None:
  with pytest.raises(viz.UnknownKindError) as caught:
    viz.render(models.lstm(), "tabel")
  told = caught.value.message.partition("are: ")[0]
  assert told == "There is no picture of kind 'tabel'. Did you mean 'table'? The kinds "
  assert caught.value.mend == 'viz.render(x, "table")'
  with pytest.raises(viz.UnknownKindError) as caught:
    viz.render({"params": {}}, "table")
  assert caught.value.message == (
    "There is no picture of kind 'table' of a tree of variables. The kinds for it are: tree."
  )
  with pytest.raises(viz.NothingToDrawError, match=r"viz\.tree draws variables"):
    viz.render(None)


def test_timeline_is_complete_and_in_order() -> None:
  trace = models.lstm()
  rows = viz.timeline(trace, fold=False).to_rows()
  assert [r["order"] for r in rows] == [record.order for record in trace]
  events = {r["event"] for r in rows}
  assert {"run", "call", "lift", "body", "create"} <= events
  assert any("test_views.py" in (r["source"] or "") or "viz_traces.py" in (r["source"] or "") for r in rows)
  assert viz.timeline(models.deep(2000)).text(width=80)


def test_runs_of_several_models_are_told_in_order() -> None:
  """Two models that run in turn are not folded into a row for each; the same run again and again is one."""
  model, x = nn.Dense(2), jnp.ones((1, 2))
  one, other = (model.init(jax.random.key(seed), x) for seed in (0, 1))
  with nn.record() as trace:
    for _ in range(3):
      model.apply(one, x)
      model.apply(other, x)
    for _ in range(3):
      model.apply(one, x)
  rows = viz.timeline(trace).to_rows()
  assert [(r["says"], r["times"]) for r in rows if r["event"] == "run"] == [
    *[("Dense (tree 0)", 1), ("Dense (tree 1)", 1)] * 3,
    ("Dense (tree 0)", 3),
  ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_timeline_widths(width: int) -> None:
  text = viz.timeline(models.transformer(scanned=True)).text(width=width)
  assert max(map(len, text.split("\n"))) <= width
  assert "lift scan ×12" in text


def test_a_failed_save_leaves_the_file_alone(tmp_path, monkeypatch) -> None:
  file = tmp_path / "view.txt"
  file.write_text("before")
  view = viz.tabulate(models.lstm())
  monkeypatch.setattr(type(view), "text", lambda self, **_: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    view.save(file)
  assert file.read_text() == "before"
