"""Traces in files: what is written, and what is said of a file that cannot be read."""

from __future__ import annotations

import gc
import json
import pickle
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import pytest
from test_records import small_trace

import minilinen as nn
import viz
from minilinen.tracing import Run, Trace, TraceFileError, codec
from minilinen.tracing.equations.program import Stored
from minilinen.tracing.tables import Tables


def test_a_trace_reads_back_from_its_file(tmp_path: Path):
  trace = small_trace()
  trace.save(tmp_path / "t.json")
  assert Trace.load(tmp_path / "t.json") == trace
  assert Trace.load(str(tmp_path / "t.json")).to_json() == trace.to_json()


def test_a_file_is_plain_json_with_a_line_for_each_record():
  text = small_trace().to_json()
  plain = json.loads(text)
  assert (plain["format"], plain["version"]) == ("minilinen.trace", 8)
  assert [r["record"] for r in plain["records"]] == [type(r).__name__ for r in small_trace()]
  assert sum(line.startswith('{"record"') for line in text.splitlines()) == len(small_trace())
  assert text.isascii()


@dataclass(frozen=True)
class Row:
  a: int
  b: bool = False
  c: str = ""
  d: bool = True


@pytest.mark.parametrize(
  "row, written",
  [
    (Row(1), [1]),
    (Row(1, True), [1, True]),
    (Row(1, c="x"), [1, False, "x"]),
    (Row(1, d=False), [1, False, "", False]),
  ],
)
def test_fields_at_the_end_that_have_their_default_are_not_written(row: Row, written: list[Any]):
  write, read = codec.coder(Row)
  assert write(Tables(), row) == written
  assert read(Tables(), written) == row


TRACED = nn.trace(nn.Dense(3).init)(jax.random.key(0), "f32[b,5]")


def changed(change: Any, trace: Trace | None = None) -> str:
  plain = json.loads((trace or small_trace()).to_json())
  change(plain)
  return json.dumps(plain)


def record_changed(**fields: Any) -> str:
  return changed(lambda plain: plain["records"][5].update(fields))


def value_changed(plain: Any) -> str:
  return changed(lambda whole: whole["values"].__setitem__(1, plain))


def equations_changed(**parts: Any) -> str:
  return changed(lambda plain: plain["code"][0].update(parts), TRACED)


def in_itself() -> str:
  """A trace whose second equation says that it stands in itself."""
  trace = Trace.from_json(TRACED.to_json())
  assert trace.program is not None
  first, second, *rest = trace.program.equations
  program = replace(trace.program, equations=(first, replace(second, inside=1), *rest))
  return replace(trace, code=program).to_json()


@pytest.mark.parametrize(
  ("text", "what"),
  [
    ("", "it is empty"),
    ("hello", "it is no trace: it is not JSON (Expecting value"),
    ("[1, 2]", 'it is no trace: it lacks "format": "minilinen.trace"'),
    ('{"format": "other"}', 'it is no trace: it lacks "format": "minilinen.trace"'),
    (small_trace().to_json()[:700], "it is cut off after 700 characters"),
    (small_trace().to_json().replace('"Key"', "Key"), "it is damaged: Expecting value"),
    (
      changed(lambda p: p.update(version=1)),
      "it is of an older minilinen: it is of version 1, and this one reads version 8",
    ),
    (changed(lambda p: p.update(version=[])), "it is of another minilinen"),
    (changed(lambda p: p.pop("names")), "its entry 'names' is missing or no list"),
    (changed(lambda p: p.pop("args")), "it lacks the entry 'args'"),
    (changed(lambda p: p.update(args=3)), "its entry 'args' is damaged (3 is no list)"),
    (changed(lambda p: p.update(extra=3)), "it has the unknown entry 'extra'"),
    (changed(lambda p: p.update(sources=[[1]])), "one of its sources is damaged ([1] is no line)"),
    (changed(lambda p: p["names"].insert(0, [5, "x"])), "there is no path"),
    (changed(lambda p: p["records"].insert(0, 5)), "its record 0 is of the unknown kind None"),
    (record_changed(record="Creat"), "its record 5 is of the unknown kind 'Creat'. Did you mean 'Create'?"),
    (record_changed(span=4), "its record 5 (Create) stands in 4, which is no open span"),
    (record_changed(path=99), "its record 5 (Create) is damaged (its field 'path': there is no path 99)"),
    (record_changed(colour="red"), "its record 5 (Create) is damaged (Create has no field 'colour')"),
    (record_changed(name=7), "its record 5 (Create) is damaged (its field 'name': 7 is no str)"),
    (record_changed(value={"Spec": [3]}), "its record 5 (Create) is damaged"),
    (record_changed(value=[999]), "its field 'value': there is no value 999"),
    (record_changed(value=[1, 2]), "its field 'value': there is no value [1, 2]"),
    (record_changed(initializer=[0]), "is no Opaque"),
    (record_changed(keys=[0]), "its record 5 names keys that are none"),
    (record_changed(keys=[99]), "its record 5 names keys that are none"),
    (value_changed({"Spec": [3]}), "its value 1 is damaged ([3] is no Spec)"),
    (value_changed({"tuple": [[1]]}), "its value 1 is damaged (there is no value 1)"),
    (value_changed({"matrix": 1}), "its value 1 is damaged (a value of the unknown kind 'matrix')"),
    (equations_changed(rows=[0, 99]), "its entry 'code' is damaged (there is no step 99)"),
    (
      changed(
        lambda p: p.update(code=[*p["code"][:1], {"different": [], "rows": [3]}, *p["code"][2:]]), TRACED
      ),
      "its entry 'code' is damaged (3)",
    ),
    (equations_changed(words=[]), "its entry 'code' is damaged ([] is no list of 8)"),
    (equations_changed(steps=[[[0], [], [0, 0]]], rows=[0]), "is no step"),
    (in_itself(), "its equation 1 stands in 1, which is no equation before it"),
    (
      changed(lambda p: p["records"][5].pop("collection")),
      "missing 1 required keyword-only argument: 'collection'",
    ),
  ],
)
def test_a_file_that_cannot_be_read_is_told_what_and_what_to_do(tmp_path: Path, text: str, what: str):
  file = tmp_path / "bad.json"
  file.write_text(text)
  with pytest.raises(TraceFileError) as caught:
    Trace.load(file)
  message = str(caught.value)
  assert message.startswith(f"{file}: {what}") or what in message
  assert message.endswith(("`trace.save(file)`.", "wrote."))
  assert isinstance(caught.value, ValueError)
  assert caught.value.__suppress_context__
  with pytest.raises(TraceFileError, match=r"^the text: "):
    Trace.from_json(text)


def test_a_file_that_is_no_text_is_no_trace(tmp_path: Path):
  (tmp_path / "image.png").write_bytes(b"\x89PNG\xff\xfe")
  with pytest.raises(TraceFileError, match="it is no trace: it is no text"):
    Trace.load(tmp_path / "image.png")


def test_a_missing_file_is_a_missing_file(tmp_path: Path):
  with pytest.raises(FileNotFoundError):
    Trace.load(tmp_path / "none.json")


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_wherever_a_file_is_cut_off_it_is_said(share: float):
  text = small_trace().to_json()
  with pytest.raises(TraceFileError, match=r"cut off|damaged"):
    Trace.from_json(text[: int(len(text.rstrip()) * share)])


def places(value: Any, path: tuple[Any, ...] = ()) -> Any:
  """Every place in a document, the deepest first."""
  items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
  for key, inside in items:
    yield from places(inside, (*path, key))
  if path:
    yield path


WRONG = [None, True, -5, float("inf"), float("nan"), "", "@", [], {}, [[]], {"a": 1}, [1, [2]]]


def test_a_damaged_file_is_refused_or_can_be_drawn():
  text = nn.trace(nn.Dense(3).init)(jax.random.key(0), "f32[b,5]").to_json()
  cases = [(place, wrong) for place in places(json.loads(text)) for wrong in WRONG]
  refused = 0
  for place, wrong in random.Random(1).sample(cases, 400):
    whole = inside = json.loads(text)
    for key in place[:-1]:
      inside = inside[key]
    inside[place[-1]] = wrong
    try:
      trace = Trace.from_json(json.dumps(whole))
    except TraceFileError:
      refused += 1
      continue
    for kind in ("table", "tree", "graph", "trace"):
      str(viz.render(trace, kind))
    str(trace.cost()), str(trace.check()), trace.to_json()
  assert refused > 200


def test_a_key_that_folds_what_no_key_can_is_damage():
  whole = json.loads(nn.trace(nn.Dense(3).init)(jax.random.key(0), "f32[b,5]").to_json())
  fold = whole["names"].index([-1, "fold"])
  whole["names"] = [[above, -5 if (above, name) == (fold, 1) else name] for above, name in whole["names"]]
  with pytest.raises(TraceFileError, match="folds a negative number into a key"):
    Trace.from_json(json.dumps(whole))


def test_equations_of_a_file_are_made_when_somebody_asks_for_them():
  trace = nn.trace(nn.Dense(3).init)(jax.random.key(0), "f32[b,5]")
  back = Trace.from_json(trace.to_json())
  assert str(viz.tree(back)) == str(viz.tree(trace)) and isinstance(back.code, Stored)
  assert back.program == trace.program and back.program is back.program
  assert back.to_json() == trace.to_json() and pickle.loads(pickle.dumps(back)).program == trace.program


def test_the_same_trace_has_the_same_bytes():
  texts = {nn.trace(nn.Dense(3).init)(jax.random.key(0), "f32[b,5]").to_json() for _ in range(3)}
  assert len(texts) == 1
  assert " at 0x" not in texts.pop()


class Deep(nn.Module):
  layers: int

  @nn.compact
  def __call__(self, x: Any) -> Any:
    for _ in range(self.layers):
      x = nn.relu(nn.Dense(4)(x))
    return x


def test_equal_layers_say_once_what_they_have_in_common():
  """Of each further layer only its names are new, and the numbers of what is there."""
  few, many = (nn.trace(Deep(n).init)(jax.random.key(0), "f32[b,4]") for n in (20, 60))
  texts = few.to_json(), many.to_json()
  assert Trace.from_json(texts[1]) == many and Trace.from_json(texts[1]).program == many.program
  (their, ours) = (json.loads(text) for text in texts)
  assert len(their["values"]) == len(ours["values"]) and their["code"][0]["steps"] == ours["code"][0]["steps"]
  assert len(ours["code"][0]["rows"]) == len(many.equations()) > 2000
  assert len(texts[1]) - len(texts[0]) < 40 * 1600  # A layer has 6 records and 40 equations.


def test_reading_leaves_the_garbage_collector_as_it_was():
  text = small_trace().to_json()
  for switch in (gc.disable, gc.enable):
    switch()
    was = gc.isenabled()
    Trace.from_json(text).to_json()
    with pytest.raises(TraceFileError):
      Trace.from_json(text[:100])
    assert gc.isenabled() is was


def test_traces_are_compared_by_their_records():
  a, b = (nn.trace(nn.Dense(3).init)(jax.random.key(0), size) for size in ("f32[b,5]", "f32[2,5]"))
  assert a != b and a.at(b=2) == b and a.at(b=2).program == b.program
  first = a.records[0]
  assert isinstance(first, Run)
  assert Trace((replace(first, jitted=3),), name="init") != Trace((first,), name="init")


@dataclass
class NoParts:
  """A setting without settings."""


class Set(nn.Module):
  settings: Any = None

  @nn.compact
  def __call__(self, x: Any) -> Any:
    return nn.Dense(2)(x)


def test_a_value_without_parts_reads_back():
  trace = nn.trace(Set(NoParts()).init)(jax.random.key(0), "f32[1,2]")
  assert Trace.from_json(trace.to_json()).calls()[0].fields == trace.calls()[0].fields
  assert str(trace.calls()[0].fields["settings"]) == str(
    Trace.from_json(trace.to_json()).calls()[0].fields["settings"]
  )


def test_numbers_are_whole_in_a_file():
  whole = json.loads(nn.trace(Deep(2).init)(jax.random.key(0), "f32[b,4]").to_json())
  (equations, values, *_) = whole["code"]
  numbers = [
    *equations["rows"],
    *values["rows"],
    *(n for step in equations["steps"] for part in step for n in part),
  ]
  assert {*map(type, numbers)} == {int}


def test_what_is_said_outside_of_all_models_is_in_the_trace_and_checked():
  with nn.record() as trace, pytest.warns(nn.errors.MinilinenWarning):
    nn.errors.warn(nn.errors.MinilinenWarning("look"))
  for known in (trace, Trace.from_json(trace.to_json())):
    assert [finding.message for finding in known.check()] == ["look"]
