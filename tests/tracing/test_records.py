"""The recorder and the `Trace`, driven by hand: no module is involved."""

from __future__ import annotations

import contextlib
import copy
import math
import pickle
import sys
import threading
from contextlib import ExitStack
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilinen.tracing import (
  Body,
  Call,
  Create,
  Key,
  Lift,
  Lifted,
  ModuleRef,
  Name,
  Node,
  NoSuchPathError,
  Opaque,
  Passing,
  Path,
  Read,
  Recorder,
  Run,
  Share,
  Source,
  Span,
  Spec,
  Trace,
  Write,
  current,
  matches,
)
from minilinen.tracing.events import Caught
from minilinen.tracing.paths import ROOT
from minilinen.tracing.recorder import recording
from minilinen.tracing.recording import record
from minilinen.tracing.told import Told

F32 = Spec((3,), "float32")


def call(recorder: Recorder, path: tuple[str, ...], **fields: Any) -> Any:
  return recorder.span(Call, path, module="Dense", qualname="user.Dense", method="__call__", **fields)


def create(recorder: Recorder, path: tuple[str, ...], name: str = "kernel", value: Any = F32, **fields: Any):
  recorder.event(Create, path, collection="params", name=name, value=value, **fields)


def small_trace() -> Trace:
  recorder = Recorder()
  with recorder.span(Run, (), name="init", streams=("params",)), call(recorder, ()) as outer:
    recorder.event(Name, ("a",), module="Dense", how="automatic")
    with call(recorder, ("a",), args=(F32,)) as inner:
      steps = (("split", 3), ("fold", "a", 1))
      recorder.event(Key, ("a",), stream="dropout", served="params", counter=1, steps=steps)
      create(recorder, ("a",), axes=("in", None))
      create(recorder, ("a",), "bias")
      inner.set(result=F32)
    recorder.event(Share, ("b",), other=("a",))
    outer.set(result=(F32, math.nan))
  return Trace(recorder.freeze(), name="init", args=(F32,), kwargs={"train": True}, result={})


# Random programs for a recorder.

names = st.sampled_from(["a", "Dense_0", "", "a/b", "üñ", "*", "\ud800", "params"])
paths = st.lists(names, max_size=3).map(tuple)
specs = st.builds(
  Spec,
  st.lists(st.integers(0, 9) | st.just("2*b"), max_size=3).map(tuple),
  st.sampled_from(["float32", "key<fry>"]),
  st.booleans(),
  st.sampled_from(["", "P('data', None)"]),
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text(max_size=5)
plain = scalars | specs | st.builds(Opaque, names, names) | st.builds(ModuleRef, names, st.none() | paths)
values = st.recursive(
  plain,
  lambda inner: (
    st.lists(inner, max_size=3)
    | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(names, inner, max_size=3)
    | st.builds(Node, names, st.dictionaries(names, inner, max_size=2))
  ),
  max_leaves=6,
)
steps = st.lists(
  st.tuples(st.just("split"), st.integers(1, 9))
  | st.lists(names | st.integers(0, 300), min_size=1).map(lambda parts: ("fold", *parts)),
  max_size=3,
).map(tuple)
lifted = st.builds(Lifted, paths, names, names, values, values, st.booleans())
sources = st.none() | st.builds(Source, names, st.integers(1, 99), names)
events = st.one_of(
  st.tuples(
    st.just(Create),
    st.fixed_dictionaries({"collection": names, "name": names, "value": values, "axes": values}),
  ),
  st.tuples(st.just(Read), st.fixed_dictionaries({"collection": names, "name": names, "value": values})),
  st.tuples(
    st.just(Write),
    st.fixed_dictionaries({"collection": names, "name": names, "before": values, "after": values}),
  ),
  st.tuples(
    st.just(Key),
    st.fixed_dictionaries({"stream": names, "served": names, "counter": st.integers(0, 99), "steps": steps}),
  ),
  st.tuples(st.just(Share), st.fixed_dictionaries({"other": paths})),
)
trees = st.dictionaries(names, st.dictionaries(names, values, max_size=2), max_size=2)
spans = st.one_of(
  st.tuples(
    st.just(Run), st.fixed_dictionaries({"name": names, "given": trees, "result": trees, "mutable": values})
  ),
  st.tuples(
    st.just(Call),
    st.fixed_dictionaries(
      {"module": names, "qualname": names, "method": names, "args": st.lists(values, max_size=2).map(tuple)}
    ),
  ),
  st.tuples(
    st.just(Lift),
    st.fixed_dictionaries(
      {"kind": names, "length": st.none() | st.integers(), "variables": st.tuples(lifted)}
    ),
  ),
)
programs = st.recursive(
  st.tuples(events, paths),
  lambda inner: st.tuples(spans, paths, st.lists(inner, max_size=4)),
  max_leaves=12,
)


def play(recorder: Recorder, program: Any) -> None:
  (kind, fields), path, *inside = program
  if not inside:
    recorder.event(kind, path, **fields)
    return
  with recorder.span(kind, path, **fields):
    for inner in inside[0]:
      play(recorder, inner)


def played(items: list[Any], **facts: Any) -> Trace:
  recorder = Recorder()
  for program in items:
    play(recorder, program)
  return Trace(recorder.freeze(), **facts)


def with_sources(trace: Trace) -> list[Any]:
  return [(type(r), r.source) for r in trace]


@settings(deadline=None, max_examples=80)
@given(st.lists(programs, max_size=4), st.lists(values, max_size=2).map(tuple), values)
def test_random_traces_read_back_equal(items: list[Any], args: tuple[Any, ...], result: Any):
  trace = played(items, name="f", args=args, result=result)
  for back in (Trace.from_json(trace.to_json()), pickle.loads(pickle.dumps(trace)), copy.deepcopy(trace)):
    assert back == trace
    assert with_sources(back) == with_sources(trace)
    assert repr(list(back)) == repr(list(trace))
    assert repr((back.args, back.result)) == repr((args, result))
    assert back.to_json() == trace.to_json()


@settings(deadline=None, max_examples=40)
@given(st.lists(programs, max_size=3), programs)
def test_traces_are_equal_only_if_the_same_happened(items: list[Any], more: Any):
  assert played(items) == played(items)
  assert played(items) != played([*items, more])
  assert played(items) != played(items, name="other")


@settings(deadline=None, max_examples=40)
@given(st.lists(programs, max_size=4))
def test_records_are_numbered_depth_first(items: list[Any]):
  trace = played(items)
  assert [r.order for r in trace] == list(range(len(trace)))
  for r in trace:
    if isinstance(r, Span):
      assert all(inner.span == r.order and trace.span_of(inner) is r for inner in r.items)
  assert all(trace.span_of(r) is None for r in trace.items)
  assert [r for r in trace if not trace.parents(r)] == list(trace.items)


def test_a_trace_shows_its_records():
  trace = small_trace()
  assert [type(r).__name__ for r in trace] == [
    "Run",
    "Call",
    "Name",
    "Call",
    "Key",
    "Create",
    "Create",
    "Share",
  ]
  assert len(trace) == 8
  assert [c.order for c in trace.calls()] == [1, 3]
  assert trace.calls("a") == trace["a"] == trace[("a",)] == trace.events(Call, "?")
  assert trace[""][0].path == ()
  assert trace.paths == ("", "a")
  assert trace.runs[0].streams == ("params",)
  assert trace.lifts == ()
  assert [type(p) for p in trace.parents(trace.events(Key)[0])] == [Call, Call, Run]
  assert trace.events((Key, Share))[1].path == ("b",)
  assert repr(trace) == "<Trace of init: 2 modules, 2 variables, 1 key>"


def test_the_nearest_path_is_named():
  with pytest.raises(
    NoSuchPathError, match=r"no module was called at 'aa' in this trace. The nearest are 'a'"
  ):
    small_trace()["aa"]
  with pytest.raises(KeyError, match=r"`trace\.paths` lists what there is"):
    small_trace()["encoder"]


def test_a_trace_does_not_change():
  trace = small_trace()
  with pytest.raises(FrozenInstanceError, match="'name'"):
    trace.name = "other"  # type: ignore[misc]
  with pytest.raises(AttributeError):
    trace.items = ()  # type: ignore[misc]
  with pytest.raises(AttributeError):
    trace.items[0].path = ("x",)  # type: ignore[misc]
  with pytest.raises(TypeError, match="unhashable"):
    hash(trace)


def test_lines_of_code_are_not_compared():
  def elsewhere() -> Trace:
    return played([((Share, {"other": ()}), ("a",))])

  here = played([((Share, {"other": ()}), ("a",))])
  assert here == elsewhere()
  assert here.items == elsewhere().items


def test_order_in_dicts_is_not_compared():
  assert Trace(kwargs={"a": 1, "b": 2}) == Trace(kwargs={"b": 2, "a": 1}) != Trace(kwargs={"a": 1, "b": 3})


def test_found_variables_have_their_events():
  recorder = Recorder()
  with recorder.span(Run, (), name="apply", given={"params": {"a": {"kernel": F32}, "scale": F32}}):
    recorder.event(Read, ("a",), collection="params", name="kernel", value=F32)
    recorder.event(Write, ("a", "b"), collection="stats", name="mean", before=None, after=F32)
    create(recorder, ("c",), axes=("x",))
    recorder.event(
      Write, ("d",), collection="cache", name="tree", before=None, after={"x": F32, "y": {"z": 1}}
    )
  trace = Trace(recorder.freeze())
  assert [str(f) for f in trace.find()] == [
    "params/a/kernel: f32[3]",
    "params/scale: f32[3]",
    "params/c/kernel: f32[3]",
    "stats/a/b/mean: f32[3]",
    "cache/d/tree/x: f32[3]",
    "cache/d/tree/y/z: 1",
  ]
  (kernel,) = trace.find("params/a/*")
  assert (len(kernel.reads), kernel.writes, kernel.create) == (1, (), None)
  (made,) = trace.find("**/c/kernel")
  assert made.create is not None and made.axes == ("x",) and made.place == ("params", "c", "kernel")
  assert len(trace.find("cache/**")[0].writes) == 1
  assert trace.find("params") == ()
  assert trace.variables()["cache"]["d"]["tree"]["y"] == {"z": 1}


def test_variables_are_seen_from_outside_of_lifts():
  stacked = Spec((5, 3), "float32")
  recorder = Recorder()
  with recorder.span(Run, (), name="init"), recorder.span(Lift, ("s",), kind="scan", length=5) as lift:
    with recorder.body(lift, ("s",)):
      create(recorder, ("s",))
    lift.set(variables=(Lifted(("s",), "params", "kernel", F32, stacked, True),))
  trace = Trace(recorder.freeze())
  assert trace.variables() == {"params": {"s": {"kernel": stacked}}}
  (kernel,) = trace.find("params/**")
  assert kernel.value == stacked
  assert kernel.create is not None and kernel.create.value == F32


def test_a_run_in_a_run_keeps_its_variables_to_itself():
  recorder = Recorder()
  with recorder.span(Run, (), name="apply"):
    create(recorder, ("mine",))
    with recorder.span(Run, (), name="init"):
      create(recorder, ("other",))
  trace = Trace(recorder.freeze())
  assert trace.variables() == {"params": {"mine": {"kernel": F32}}}
  assert trace.variables(trace.runs[1]) == {"params": {"other": {"kernel": F32}}}
  assert [found.path for found in trace.find("**/kernel")] == [("mine",), ("other",)]


def test_calls_are_counted_by_run_path_and_method():
  recorder = Recorder()
  for _ in range(2):
    with recorder.span(Run, (), name="apply"):
      for path in (("a",), ("b",), ("a",)):
        with call(recorder, path):
          pass
      with recorder.span(Call, ("a",), module="A", qualname="A", method="decode"):
        pass
  numbers = [(c.path[0], c.method, c.number) for c in Trace(recorder.freeze()).calls()]
  once = [("a", "__call__", 0), ("b", "__call__", 0), ("a", "__call__", 1), ("a", "decode", 0)]
  assert numbers == once * 2


def key(recorder: Recorder, counter: int) -> None:
  recorder.event(Key, ("s",), stream="params", served="params", counter=counter, steps=(("fold", counter),))


def test_what_all_steps_share_holds_in_the_first_pass():
  recorder = Recorder()
  with recorder.span(Run, (), name="init"), recorder.span(Lift, (), kind="scan") as lift:
    for number in (0, 1):
      with recorder.body(lift, ()), call(recorder, ("s",)):
        if number == 0:
          key(recorder, 1)
          create(recorder, ("s",), "shared", keys=recorder.keys_since((recorder.innermost().items, 0)))
        else:
          recorder.event(Read, ("s",), collection="params", name="shared", value=F32)
        position = recorder.position()
        key(recorder, 2 + number)
        keys = recorder.keys_since(position)
        recorder.event(Create, ("s",), collection="state", name="stacked", value=F32, keys=keys)
        key(recorder, 4)
    lift.set(
      collections=(Passing(("params",), kind="broadcast"), Passing(("state",), kind="axis", axis=0)),
      variables=(
        Lifted(("s",), "params", "shared", F32, F32, True),
        Lifted(("s",), "state", "stacked", F32, F32, True),
      ),
    )
  trace = Trace(recorder.freeze())
  assert [(k.counter, k.holds) for k in trace.events(Key)] == [(1, 1), (2, 0), (4, 0), (3, 1), (4, 1)]
  assert [(c.name, c.holds) for c in trace.events(Create)] == [("shared", 1), ("stacked", 0), ("stacked", 1)]
  assert [(b.number, b.holds) for b in trace.events(Body)] == [(0, False), (1, True)]
  assert [c.number for c in trace.events(Call)] == [0, 0]
  (called,) = trace.calls()
  assert trace["s"] == (called,) and called.order == 10
  shared, stacked = trace.find()
  assert shared.create is trace.events(Create)[0] and len(shared.reads) == 1
  assert stacked.create is trace.events(Create)[2]
  assert [k.counter for k in trace.models[0].keys] == [1, 3, 4]


def test_what_the_last_pass_only_reads_was_made_in_the_first():
  recorder = Recorder()
  with recorder.span(Lift, (), kind="map_variables") as lift:
    with recorder.body(lift, ()), call(recorder, ("s",)):
      key(recorder, 1)
      create(recorder, ("s",), keys=recorder.keys_since((recorder.innermost().items, 0)))
    with recorder.body(lift, ()), call(recorder, ("s",)):
      for _ in range(2):
        recorder.event(Read, ("s",), collection="params", name="kernel", value=F32)
  trace = Trace(recorder.freeze())
  assert [type(r) for r in trace if r.holds] == [Lift, Key, Create, Body, Call, Read, Read]


def test_passes_in_passes_hold_if_both_do():
  recorder = Recorder()
  with recorder.span(Lift, (), kind="scan") as outer:
    for _ in range(2):
      with recorder.body(outer, ()), recorder.span(Lift, (), kind="scan") as inner:
        for name in ("a", "b", "b"):
          with recorder.body(inner, ()), call(recorder, ("s",)):
            create(recorder, ("s",), name)
  trace = Trace(recorder.freeze())
  assert [c.holds for c in trace.events(Call)] == [False] * 5 + [True]
  assert [c.number for c in trace.events(Call)] == [0] * 6
  created = [(c.name, c.holds) for c in trace.events(Create)]
  assert created == [("a", 0), ("b", 0), ("b", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_all_passes_over_a_body_are_kept_and_the_last_holds():
  recorder = Recorder()
  with recorder.span(Lift, (), kind="cond") as lift:
    for size in (1, 2, 3):
      with recorder.body(lift, (), args=(size,)) as draft:
        create(recorder, (), "one")
        draft.set(result=size)
    with recorder.body(lift, (), "branch 1"):
      create(recorder, (), "other")
  *first, second = Trace(recorder.freeze()).events(Body)
  assert [(b.number, b.holds, b.args, b.result, len(b.items)) for b in first] == [
    (0, False, (1,), 1, 1), (1, False, (2,), 2, 1), (2, True, (3,), 3, 1),
  ]  # fmt: skip
  assert (second.name, second.number, second.holds, len(second.items)) == ("branch 1", 0, True, 1)


def test_a_pass_that_fails_holds_until_the_next():
  recorder = Recorder()
  with recorder.span(Lift, (), kind="scan") as lift:
    with pytest.raises(ValueError, match="shapes"), recorder.body(lift, ()):
      raise ValueError("shapes differ\nin detail")
    (body,) = Trace(recorder.freeze()).events(Body)
    assert (body.error, body.holds) == ("ValueError: shapes differ", True)
    with recorder.body(lift, ()):
      pass
  first, second = Trace(recorder.freeze()).events(Body)
  assert (first.number, first.holds, first.error) == (0, False, "ValueError: shapes differ")
  assert (second.number, second.holds, second.error) == (1, True, None)


def test_a_mistake_of_an_earlier_pass_holds_if_the_last_does_not_make_it():
  recorder = Recorder()
  with recorder.span(Lift, (), kind="scan") as lift:
    for texts in ("ab", "b"):
      with recorder.body(lift, ()):
        for text in texts:
          recorder.event(Caught, (), told=Told("SomeWarning", ROOT, None, text))
  trace = Trace(recorder.freeze())
  assert [(c.told.message, c.holds) for c in trace.events(Caught)] == [("a", 1), ("b", 0), ("b", 1)]
  assert [told.message for told in trace.check()] == ["a", "b"]


def test_a_body_that_outlives_its_lift_stands_by_itself():
  recorder = Recorder()
  with recorder.body(None, ("x",)), recorder.body(None, ("y",)):
    create(recorder, ())
  with recorder.body(None, ("x",)):
    pass
  assert [b.path for b in Trace(recorder.freeze()).events(Body)] == [("x",), ("y",), ("x",)]


def test_no_span_stays_open_after_an_exception():
  recorder = Recorder()
  with contextlib.suppress(KeyError), recorder.span(Run, (), name="init"), call(recorder, ("a",)):
    create(recorder, ("a",))
    raise KeyError("lost")
  create(recorder, ("b",))
  trace = Trace(recorder.freeze())
  assert [s.error for s in trace.events(Span)] == ["KeyError: 'lost'", "KeyError: 'lost'"]
  assert trace.items[1].path == ("b",)


def test_a_trace_is_alive_while_it_records():
  with contextlib.suppress(RuntimeError), record() as trace:
    recorder = current()
    assert recorder is not None and len(trace) == 0
    with recorder.span(Run, (), name="init") as run, call(recorder, ("a",)):
      recorder.given(run, {}, None)
      assert (len(trace), trace["a"][0].result) == (2, None)
      create(recorder, ("a",))
      assert "still recording" in repr(trace)
      assert [f.name for f in trace.find()] == ["kernel"]
      create(recorder, ("a",), "bias")
      assert [f.name for f in trace.find()] == ["kernel", "bias"]
      raise RuntimeError("stop")
  assert current() is None
  assert len(trace) == 4
  assert trace.error == trace["a"][0].error == "RuntimeError: stop"
  assert repr(trace) == "<Trace of init: 1 module, 2 variables, 0 keys, ended by RuntimeError: stop>"


def test_an_inner_recording_takes_its_events():
  with record() as outer:
    recorder = current()
    assert recorder is not None
    create(recorder, ("before",))
    with record() as inner:
      create(current(), ("inside",))  # type: ignore[arg-type]
    assert current() is recorder
    create(recorder, ("after",))
  assert [r.path for r in outer] == [("before",), ("after",)]
  assert [r.path for r in inner] == [("inside",)]


def test_threads_record_apart():
  start = threading.Barrier(4)
  traces: dict[int, Trace] = {}

  def work(i: int) -> None:
    with record() as traces[i]:
      start.wait()
      for n in range(200):
        with call(current(), (f"t{i}",)):  # type: ignore[arg-type]
          create(current(), (f"t{i}",), str(n))  # type: ignore[arg-type]

  threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert current() is None
  for i, trace in traces.items():
    assert {r.path for r in trace} == {(f"t{i}",)}
    assert len(trace) == 400


@pytest.mark.long
def test_a_deep_trace_needs_no_deep_stack():
  depth = 2_000
  assert sys.getrecursionlimit() < depth
  recorder = Recorder()
  path: tuple[str, ...] = ()
  tree: dict[str, Any] = {}
  with ExitStack() as stack:
    run = stack.enter_context(recorder.span(Run, (), name="init"))
    for _ in range(depth):
      path = (*path, "m")
      tree = {"m": tree, "kernel": F32}
      stack.enter_context(call(recorder, path))
      create(recorder, path)
    run.set(result={"params": tree})
  trace = Trace(recorder.freeze())
  assert len(trace) == 2 * depth + 1
  assert Trace.from_json(trace.to_json()) == trace
  assert pickle.loads(pickle.dumps(trace)) == trace
  assert len(trace.find("params/**/kernel")) == depth
  assert len(trace.parents(trace.records[-1])) == depth + 1
  assert repr(trace) == "<Trace of init: 2,000 modules, 2,000 variables, 0 keys>"
  assert len(trace.to_json()) < 600 * depth


@pytest.mark.parametrize(
  ("pattern", "path", "fits"),
  [
    ("params/**/kernel", "params/kernel", True),
    ("params/**/kernel", "params/a/b/kernel", True),
    ("params/**/kernel", "params/a/bias", False),
    ("params/*/kernel", "params/kernel", False),
    ("**", "", True),
    ("**", "a/b", True),
    ("", "", True),
    ("", "a", False),
    ("a/**/b/**/c", "a/x/b/b/c", True),
    ("a/**/b/**/c", "a/x/c", False),
    ("a/**/b/c/**/d", "a/b/b/c/d", True),
    ("**/a/**", "b/c", False),
    ("a/**/a", "a", False),
    ("Dense_?/[kb]*", "Dense_1/bias", True),
    ("Dense_?", "Dense_10", False),
    ("A", "a", False),
  ],
)
def test_patterns(pattern: str, path: str, fits: bool):
  assert matches(pattern, path) is fits


def test_a_slash_in_a_name_is_no_border():
  assert matches("*", ("a/b",))
  assert not matches("a/b", ("a/b",))
  assert matches(("a/b",), ("a/b",))
  assert matches(("a[0]",), ("a[0]",))
  assert Path.of(["a/b"]) == ("a/b",)


def slow_match(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
  if not pattern:
    return not path
  if pattern[0] == "**":
    return any(slow_match(pattern[1:], path[i:]) for i in range(len(path) + 1))
  return bool(path) and pattern[0] in ("*", path[0]) and slow_match(pattern[1:], path[1:])


@given(
  st.lists(st.sampled_from(["a", "b", "*", "**"]), max_size=6),
  st.lists(st.sampled_from(["a", "b"]), max_size=6),
)
def test_patterns_mean_what_a_slow_matcher_says(pattern: list[str], path: list[str]):
  assert matches(pattern, path) == slow_match(tuple(pattern), tuple(path))


def test_recording_is_open_only_inside_its_block():
  recorder = Recorder()
  with contextlib.suppress(RuntimeError), recording(recorder):
    assert current() is recorder
    raise RuntimeError
  assert current() is None
