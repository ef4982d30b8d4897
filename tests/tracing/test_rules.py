"""The rules that a trace keeps, on real models: it changes nothing, costs nothing when off, and misses nothing."""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import re
import sys
import threading
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trace_models import ALL, MODELS, RNGS, SPLIT, Chain, Probe, Scanned, Step, X, bits
from traced_passes import check_passes

import minilinen as nn
from minilinen import errors
from minilinen.core import meta
from minilinen.tracing import Trace, current, describe, replay_key
from minilinen.tracing.events import Body, Call, Create, Key, Lift, Read, Run, Span, Write
from minilinen.tracing.rebuilt import leaves
from minilinen.tracing.recording import record, trace

# Some of these models share a key or a stream on purpose, so that replayed keys show it.
pytestmark = [pytest.mark.grid, pytest.mark.filterwarnings("ignore::minilinen.errors.MinilinenWarning")]

every_model = pytest.mark.parametrize("name", MODELS)


def text(jaxpr: Any) -> str:
  """A jaxpr in words, without the addresses of Python functions."""
  return re.sub(r"0x[0-9a-f]+", "", str(jaxpr))


def same_bits(one: Any, other: Any) -> None:
  assert jax.tree.structure(one) == jax.tree.structure(other)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
    assert np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)


def specs(variables: Any) -> Any:
  """The variable tree as a trace tells it."""
  return without_empty(describe(meta.unbox(variables)))


def without_empty(tree: Any) -> Any:
  if not isinstance(tree, dict):
    return tree
  inner = {name: without_empty(value) for name, value in tree.items()}
  return {name: value for name, value in inner.items() if value != {}}


@functools.cache
def initialized(name: str, *setting: Any) -> tuple[nn.Module, Any, Any, tuple[Any, ...]]:
  """A model with its variables; computed once for each of the settings that the test chose."""
  module, rngs, args = MODELS[name]()
  return module, module.init(rngs, *args), rngs, args


# Rule 1: recording changes nothing.


@every_model
def test_recording_changes_no_equation(name: str):
  module, rngs, args = MODELS[name]()
  init = jax.make_jaxpr(module.init)
  variables = jax.eval_shape(module.init, rngs, *args)
  apply = jax.make_jaxpr(lambda v, r, *a: module.apply(v, *a, rngs=r, mutable=True))
  plain = text(init(rngs, *args)), text(apply(variables, rngs, *args))
  with record():
    recorded = text(init(rngs, *args)), text(apply(variables, rngs, *args))
  assert recorded == plain
  rngs = dict(sorted(rngs.items()))  # JAX sorts them, and a trace does not.
  assert text(trace(module.init)(rngs, *args).jaxpr) == text(init(rngs, *args).jaxpr)


@pytest.mark.parametrize("name", ["mlp", "busy", "scan", "vmap of scan", "methods", "boxed"])
def test_recording_changes_no_number(name: str):
  module, rngs, args = MODELS[name]()
  variables = module.init(rngs, *args)
  plain = module.apply(variables, *args, rngs=rngs, mutable=True)
  with record() as found:
    same_bits(module.init(rngs, *args), variables)
    same_bits(module.apply(variables, *args, rngs=rngs, mutable=True), plain)
  assert [run.name for run in found.runs] == ["init", "apply"]


def test_recording_changes_no_gradient():
  module, variables, rngs, args = initialized("scan of remat")

  def loss(params: Any) -> Any:
    return module.apply({**variables, "params": params}, *args, rngs=rngs, mutable=["batch_stats", "state"])[
      0
    ].sum()

  gradient = jax.grad(loss, allow_int=True)
  plain = jax.tree.map(str, gradient(variables["params"]))
  with record() as found:
    assert jax.tree.map(str, gradient(variables["params"])) == plain
  assert found.events(Body)


def test_recording_changes_no_equation_of_boxes_under_a_mesh():
  module, rngs, args = MODELS["boxed"]()
  mesh = jax.make_mesh((1, 1), ("in", "layer"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
  with jax.set_mesh(mesh):
    plain = text(jax.make_jaxpr(module.init)(rngs, *args))
    with record() as found:
      assert text(jax.make_jaxpr(module.init)(rngs, *args)) == plain
  assert [f.axes for f in found.find("params/**/kernel")] == [("in", None), ("layer", "in", None)]


# Rule 2: not recording costs nothing.

# What is called of the recorder's package when nobody records, and why it is no work.
NOTHING_DONE = {
  "current",  # The question whether somebody records.
  "user_place",  # Once when a function is lifted: a code object and a number, for messages that may never come ...
  "_is_users",  # ... of the first frame that is not ours: a look into a dict for each ...
  "_is_internal",  # ... which knows of every file once whose it is.
  "entry",  # Once in each `init` and `apply`: a function in another, which ...
  "entry.<locals>.entered",  # ... does nothing unless an exception comes: then the traceback goes without our frames.
}


# Models that warn of something: a warning has words, and is recorded like an error.
WARNING = {"broadcast", "vmap of vmap", "scan of vmap"}


@pytest.mark.parametrize("name", sorted(MODELS.keys() - WARNING))
def test_not_recording_runs_none_of_the_recorder_and_words_no_message(name: str):
  module, rngs, args = MODELS[name]()
  home = tuple(str(Path(sys.modules[m].__file__ or "").parent) for m in (Trace.__module__, errors.__name__))
  called: set[str] = set()

  def watch(frame: Any, event: str, _: Any) -> None:
    if event == "call" and frame.f_code.co_filename.startswith(home):
      called.add(frame.f_code.co_qualname)

  def run() -> None:
    variables = jax.eval_shape(module.init, rngs, *args)
    jax.eval_shape(lambda v: module.apply(v, *args, rngs=rngs, mutable=True), variables)

  sys.setprofile(watch)
  try:
    run()
    assert called <= NOTHING_DONE
    with record():
      run()
  finally:
    sys.setprofile(None)
  assert "Recorder.event" in called


# Rule 3: the trace is complete.


@every_model
def test_the_variables_of_init_come_back_from_the_events(name: str):
  module, variables, rngs, args = initialized(name)
  found = trace(module.init)(rngs, *args)
  assert without_empty(found.variables()) == specs(variables)
  assert without_empty(found.runs[0].result) == without_empty(describe(variables))
  assert Trace.from_json(found.to_json()) == found


@every_model
def test_the_variables_of_apply_come_back_from_the_events(name: str):
  module, variables, rngs, args = initialized(name)
  found = trace(lambda v, r, *a: module.apply(v, *a, rngs=r, mutable=True))(variables, rngs, *args)
  _, mutated = module.apply(variables, *args, rngs=rngs, mutable=True)
  assert without_empty(found.variables()) == specs(mutated)
  assert len(found.find("params/**")) == len(jax.tree.leaves(meta.unbox(mutated["params"])))


@every_model
def test_every_parameter_is_found_with_its_creation(name: str):
  module, rngs, args = MODELS[name]()
  found = trace(module.init)(rngs, *args)
  for variable in found.find("params/**"):
    assert variable.create is not None, variable
    assert variable.create.source is not None
    assert Path(variable.create.source.file).name == (
      "trace_models.py" if name != "dense" else Path(__file__).name
    )


def drawn(found: Trace) -> list[tuple[Key, Create]]:
  """The keys that probes keep: each with the event that made the variable of its bits."""
  last: dict[Any, Key] = {}
  pairs = []
  for r in (r for r in found if r.holds):
    if isinstance(r, Key):
      last[r.path] = r
    if isinstance(r, Create) and r.name in ("params", "dropout", "noise", "unheard"):
      pairs.append((last[r.path], r))
  return pairs


def check_keys(found: Trace, variables: Any, rngs: Any) -> int:
  """Compares each replayed key with the bits that a probe kept; axes of a lift that splits nothing repeat."""
  for key, created in drawn(found):
    kept = variables[created.collection]
    for part in (*created.path, created.name):
      kept = kept[part]
    replayed = bits(replay_key(key, rngs))
    lengths = [span.length for span in reversed(found.parents(key)) if isinstance(span, Lift)]
    splits = [step[1] for step in key.steps if step[0] == "split"]
    shape = []
    for length in (n for n in lengths if n is not None):
      split = bool(splits) and splits[0] == length
      shape.append(splits.pop(0) if split else 1)
    assert not splits
    replayed = np.asarray(replayed).reshape(
      *shape, *replayed.shape[len([s for s in key.steps if s[0] == "split"]) :]
    )
    replayed = replayed.reshape(replayed.shape[max(0, replayed.ndim - kept.ndim) :])
    assert np.array_equal(np.broadcast_to(replayed, kept.shape), kept), (key, created)
  return len(drawn(found))


WITHOUT_PROBES = {"dense", "mlp", "setup", "map_variables", "boxed", "share_scope", "attention", "lstm"}
KEY_MODELS = [name for name in MODELS if name not in WITHOUT_PROBES]


@pytest.mark.parametrize("special", [False, True], ids=["default settings", "the other settings"])
@pytest.mark.parametrize("name", KEY_MODELS)
def test_every_key_replayed_is_the_key_that_was_drawn(name: str, special: bool):
  nn.config.update("jit_folds_rngs", special)
  nn.config.update("fix_rng_separator", special)
  module, variables, rngs, args = initialized(name, special) if special else initialized(name)
  found = trace(module.init)(rngs, *args)
  nn.config.update("fix_rng_separator", not special)
  assert check_keys(found, variables, rngs) >= 4


@pytest.mark.parametrize("name", KEY_MODELS)
def test_keys_drawn_by_apply_are_replayed(name: str):
  module, variables, rngs, args = initialized(name)
  variables = {col: tree for col, tree in variables.items() if col != "keys"}
  found = trace(lambda v, r, *a: module.apply(v, *a, rngs=r, mutable=True))(variables, rngs, *args)
  _, mutated = module.apply(variables, *args, rngs=rngs, mutable=True)
  assert check_keys(found, mutated, rngs) >= 3


def with_lengths(program: Any, lengths: Any) -> Any:
  """A random program with a length for each lift; no two are equal, so that axes cannot be confused."""
  if isinstance(program, str):
    return program
  if isinstance(program, list):
    return tuple(with_lengths(part, lengths) for part in program)
  kind, flag, inner = program
  inner = with_lengths(inner, lengths)
  return (kind, next(lengths), flag, inner) if kind in ("vmap", "scan") else (kind, inner)


programs = st.recursive(
  st.lists(st.sampled_from(["probe", "probe", "dense", "busy"]), min_size=1, max_size=2),
  lambda inner: st.lists(
    st.tuples(st.sampled_from(["vmap", "scan", "jit", "remat"]), st.booleans(), inner) | st.just("probe"),
    min_size=1,
    max_size=2,
  ),
  max_leaves=3,
)


@settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))
@given(programs, st.booleans())
def test_random_models_are_traced_whole(program: Any, special: bool):
  module = Chain(with_lengths(program, itertools.count(2)))
  with nn.config.temp_flip_flag("jit_folds_rngs", special):
    rngs = dict(sorted(RNGS.items()))  # JAX sorts them, and a trace does not.
    found = trace(module.init)(rngs, X)
    variables = jax.jit(module.init)(rngs, X)
    assert text(found.jaxpr) == text(jax.make_jaxpr(module.init)(rngs, X).jaxpr)
  assert without_empty(found.variables()) == specs(variables)
  check_keys(found, variables, rngs)
  assert Trace.from_json(found.to_json()) == found
  check_passes(found)


def test_a_kernel_is_its_initializer_on_the_replayed_key():
  module, variables, rngs, args = initialized("mlp")
  found = trace(module.init)(rngs, *args)
  key = found.events(Key, "Dense_1")[0]
  kernel = nn.initializers.lecun_normal()(replay_key(key, rngs), (3, 2))
  assert np.array_equal(kernel, variables["params"]["Dense_1"]["kernel"])


def test_one_key_for_init_is_the_root_of_params():
  key = jax.random.PRNGKey(5)
  found = trace(Probe().init)({"params": key, "dropout": key, "noise": key}, X)
  assert set(found.runs[0].streams) == {"params", "dropout", "noise"}
  found = trace(nn.Dense(3).init)(key, X)
  assert found.runs[0].streams == ("params",)
  assert replay_key(found.events(Key)[0], key).shape == (2,)


def test_a_sown_value_and_a_written_one_are_told():
  module, variables, rngs, args = initialized("busy")
  with record() as found:
    module.apply(variables, *args, rngs=rngs, mutable=["intermediates", "state", "batch_stats"])
  writes = {(w.collection, w.name) for w in found.events(Write)}
  assert {("state", "count"), ("batch_stats", "mean"), ("batch_stats", "var")} <= writes
  reads = {(r.collection, r.name) for r in found.events(Read)}
  assert {("state", "count"), ("state", "pair"), ("params", "kernel")} <= reads


# Rule 4, passes, is in test_passes.py.


def test_a_jitted_module_called_twice_is_told_twice():
  class Twice(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      dense = nn.jit(nn.Dense)(4)
      return dense(dense(x))

  found = trace(Twice().init)(RNGS, X)
  assert [lift.kind for lift in found.lifts] == ["jit", "jit"]
  assert without_empty(found.variables()) == specs(Twice().init(RNGS, X))


def test_a_second_recording_sees_what_the_first_saw():
  module = Scanned(Step)
  step = jax.jit(lambda v: module.apply(v, X, rngs=RNGS))
  variables = module.init(RNGS, X)
  step(variables)
  traces = [trace(step)(variables) for _ in range(2)]
  assert traces[0] == traces[1]
  assert [body.holds for body in traces[0].events(Body)] == [False, True]
  with record() as found:
    step(variables)
  assert [type(r) for r in found] == [type(r) for r in traces[0]]


# Rule 5: it nests, is safe under threads, and survives exceptions.


class Breaks(nn.Module):
  lift: Any = None

  @nn.compact
  def __call__(self, x: Any) -> Any:
    class Inner(nn.Module):
      @nn.compact
      def __call__(self, x: Any, _: Any = None) -> Any:
        x = nn.Dense(4)(x)
        raise ArithmeticError("in the middle")

    inner = Inner if self.lift is None else self.lift(Inner)
    return inner(name="inner")(Probe()(x))


LIFTS = {
  "none": None,
  "vmap": lambda m: nn.vmap(m, variable_axes=ALL, split_rngs=SPLIT),
  "scan": lambda m: nn.scan(m, variable_axes=ALL, split_rngs=SPLIT, length=3),
  "jit": nn.jit,
  "remat": nn.remat,
}


@pytest.mark.parametrize("lift", LIFTS)
@pytest.mark.parametrize("way", ["trace", "record"])
def test_an_exception_leaves_the_partial_trace_and_no_open_span(lift: str, way: str):
  module = Breaks(LIFTS[lift])
  with pytest.raises(ArithmeticError, match="in the middle") as caught, record() as outer:
    trace(module.init)(RNGS, X) if way == "trace" else module.init(RNGS, X)
  found = caught.value.trace if way == "trace" else outer  # type: ignore[attr-defined]
  assert current() is None
  assert [f.place for f in found.find("params/**/kernel")] == [("params", "inner", "Dense_0", "kernel")]
  broken = [s for s in found.events(Span) if s.error]
  assert broken[0] is found.runs[0]
  assert all("in the middle" in s.error for s in broken)
  assert {s.path for s in found.events(Call) if not s.error} == {("Probe_0",), ("inner", "Dense_0")}
  assert Trace.from_json(found.to_json()) == found
  with record() as again:
    nn.Dense(3).init(RNGS, X)
  assert [type(r) for r in again.items] == [Run]


def test_threads_record_their_own_models():
  traces: dict[str, Trace] = {}
  expected = {
    name: trace(MODELS[name]()[0].init)(*MODELS[name]()[1:2], X) for name in ("mlp", "shared", "setup")
  }
  start = threading.Barrier(len(expected))

  def work(name: str) -> None:
    module, rngs, args = MODELS[name]()
    start.wait()
    traces[name] = trace(module.init)(rngs, *args)

  threads = [threading.Thread(target=work, args=(name,)) for name in expected]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert traces == expected


def test_a_thread_that_does_not_record_is_not_recorded():
  with record() as found:
    thread = threading.Thread(target=lambda: nn.Dense(3).init(RNGS, X))
    thread.start()
    thread.join()
  assert len(found) == 0


def test_a_recording_keeps_no_array_and_no_tracer():
  module, variables, rngs, args = initialized("busy")
  gc.collect()
  before = {id(a) for a in jax.live_arrays()}
  with jax.check_tracer_leaks():
    found = trace(lambda v, r, *a: module.apply(v, *a, rngs=r, mutable=True))(variables, rngs, *args)
  gc.collect()
  assert {id(a) for a in jax.live_arrays()} <= before
  assert found.find("params/**/kernel")


def test_an_inner_trace_takes_its_events():
  module = nn.Dense(3)
  with record() as outer:
    module.init(RNGS, X)
    inner = trace(module.init)(RNGS, X)
  assert len(outer.runs) == len(inner.runs) == 1


def test_a_bound_module_is_recorded_outside_of_a_run():
  variables = nn.Dense(3).init(RNGS, X)
  bound = nn.Dense(3).bind(variables)
  with record() as found:
    bound(X)
  assert [c.module for c in found.calls()] == ["Dense"]
  assert found.variables() == specs(variables)


def test_symbolic_sizes_go_through_a_model():
  found = trace(lambda v, x: nn.Dense(3).apply(v, x))(nn.Dense(3).init(RNGS, X), "f32[b,t,4]")
  assert found.result.shape == ("b", "t", 3)
  assert found[""][0].args[0].shape == ("b", "t", 4)


def test_a_layer_hides_nothing_that_it_calls():
  inner = nn.Dense(3)
  variables = inner.init(RNGS, X)
  jitted = jax.jit(lambda x: inner.apply(variables, x))

  class Outer(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return jitted(x)

  module = nn.Sequential([Outer()])
  for _ in range(2):
    assert [c.module for c in trace(module.init)(RNGS, X).calls()] == ["Sequential", "Outer", "Dense"]


def test_a_step_of_training_is_traced():
  module, variables, _, _ = initialized("mlp")

  @jax.jit
  def step(params: Any, x: Any) -> Any:
    loss = lambda p: (module.apply({"params": p}, x) ** 2).mean()  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(params)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), value

  for _ in range(2):
    found = trace(step)(variables["params"], "f32[8,4]")
    assert [c.module for c in found.calls()] == ["Mlp", "Dense", "Dense"]
    step(variables["params"], X)
  assert found.result[1].shape == ()
  with contextlib.suppress(Exception), record() as recorded:
    step(variables["params"], X)
  assert [c.module for c in recorded.calls()] == ["Mlp", "Dense", "Dense"]
  assert jnp.isfinite(step(variables["params"], X)[1])


@every_model
def test_the_states_of_a_trace_lead_from_nothing_to_its_variables(name: str):
  module, rngs, args = MODELS[name]()

  def twice(rngs: Any, *args: Any) -> Any:
    variables = module.init(rngs, *args)
    return module.apply(variables, *args, rngs=rngs, mutable=True)

  found = trace(twice)(rngs, *args)
  states = list(found.states())
  assert [r.order for r, _ in states] == [r.order for r in found]
  made = None
  for r, tree in states:
    if isinstance(r, Run):
      assert tree == {}
      made = found.variables(r)
    assert made is not None and places(tree) <= places(made)
    if isinstance(r, Create) and not any(isinstance(span, Body) for span in found.parents(r)):
      assert (r.collection, *r.path, r.name) not in places(tree)
  second = [tree for r, tree in states if r.order > found.runs[1].order]
  assert all(places(tree) >= places(found.runs[1].given) for tree in second)


def places(tree: Any) -> set[Any]:
  return {place for place, _ in leaves(tree)}
