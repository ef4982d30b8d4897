"""Bound modules: what happens in one is in a run of its own, whosever code it stands in, and on whichever tree."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import minilinen as nn
import viz
from minilinen import core
from minilinen.tracing import Call, Create, Read, Record, Run, Span, Trace
from minilinen.tracing.rebuilt import leaves

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


class Encoder(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return nn.Dense(4, name="inner")(x)


class TwoMethods(nn.Module):
  def setup(self) -> None:
    self.up = nn.Dense(4)
    self.down = nn.Dense(3)

  def __call__(self, x: Any) -> Any:
    return self.down(self.up(x))

  def encode(self, x: Any) -> Any:
    return self.up(x)


class Counting(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    count = self.variable("state", "count", lambda: jnp.zeros(()))
    count.value = count.value + 1
    self.sow("intermediates", "seen", x)
    return nn.Dropout(0.5, deterministic=False)(x)


class Head(nn.Module):
  """Calls a module from outside before a layer of its own."""

  before: Any

  @nn.compact
  def __call__(self, x: Any) -> Any:
    return nn.Dense(5)(self.before(x))


def bound(module: Any = Encoder(), **kwargs: Any) -> Any:
  variables = module.init({"params": KEY, "dropout": KEY}, X)
  return module.bind(variables, **kwargs)


def size_of(trace: Trace) -> list[tuple[str, int]]:
  """Of each model its class and how many parameters it has."""
  return [
    (model.module, sum(math.prod(spec.shape) for _, spec in leaves(model.variables["params"])))
    for model in trace.models
  ]


def with_run(trace: Trace) -> Iterator[tuple[Record, Run | None]]:
  """Every record with the run it stands in."""
  around: dict[int, Run | None] = {-1: None}
  for record in trace.records:
    run = around[record.span]
    if isinstance(record, Span):
      around[record.order] = record if isinstance(record, Run) else run
    if not isinstance(record, Run):
      yield record, run


def told(trace: Trace) -> list[tuple[str, str, list[str]]]:
  """Every run, depth first, and the calls in it."""
  calls: dict[int, list[str]] = {r.order: [] for r in trace.records if isinstance(r, Run)}
  for record, run in with_run(trace):
    if isinstance(record, Call):
      assert run is not None
      calls[run.order].append(f"{record.module}{record.path}")
  return [(r.name, r.module, calls[r.order]) for r in trace.records if isinstance(r, Run)]


@pytest.mark.parametrize("really", [False, True], ids=["traced", "run"])
@pytest.mark.parametrize("jitted", [False, True], ids=["plain", "jit"])
def test_in_the_middle_of_another_models_run(really: bool, jitted: bool):
  encoder = bound()
  head = Head((jax.jit if jitted else lambda f: f)(lambda x: encoder(x)))
  variables = head.init(KEY, X)
  if really:
    with nn.record() as trace:
      head.apply(variables, X)
  else:
    trace = nn.trace(head.apply)(variables, X)
  assert told(trace) == [
    ("apply", "Head", ["Head/", "Dense/Dense_0"]),
    ("bind", "Encoder", ["Encoder/", "Dense/inner"]),
  ]
  assert size_of(trace) == [("Head", 25), ("Encoder", 16)]
  assert [row.path for row in trace.models[0].nodes.values()] == [(), ("Dense_0",)]
  assert str(viz.tabulate(trace)).count("inner") == 1


def test_an_init_around_it_makes_none_of_its_variables():
  encoder = bound()
  trace = Head(lambda x: encoder(x)).trace(KEY, X)
  assert told(trace)[1:] == [("bind", "Encoder", ["Encoder/", "Dense/inner"])]
  assert size_of(trace) == [("Head", 25), ("Encoder", 16)]
  assert [found.create is not None for found in trace.find("params/**")] == [True, True, False, False]


def test_of_the_params_that_a_loss_is_given():
  model = TwoMethods()
  variables = model.init(KEY, X)

  def loss(params: Any, x: Any) -> Any:
    net = model.bind({"params": params})
    return jnp.sum((net.down(net.encode(x)) - x) ** 2) + jnp.sum(net.up.variables["params"]["kernel"])

  trace = nn.trace(jax.grad(loss))(variables["params"], X)
  assert told(trace) == [("bind", "TwoMethods", ["TwoMethods/", "Dense/up", "Dense/down"])]
  (tree,) = trace.trees
  assert (tree.module, tree.origin, tree.argument) == ("TwoMethods", "argument", "params")
  (run,) = trace.runs
  assert run.source is not None and run.source.function.endswith("loss")
  assert size_of(trace) == [("TwoMethods", 31)]
  assert trace.models[0]["up"].cost.total.forward.flops == 2 * 2 * 3 * 4 + 2 * 4
  assert not trace.check()


def test_calls_in_a_row_are_in_one_run_and_others_end_it():
  one, two = bound(), bound()
  head = nn.Dense(2)
  variables = head.init(KEY, X)
  with nn.record() as trace:
    one(X), one(X)
    two(X)
    one(X)
    head.apply(variables, X)
    one(X)
  encoder = ["Encoder/", "Dense/inner"]
  assert told(trace) == [
    ("bind", "Encoder", encoder * 2),
    ("bind", "Encoder", encoder),
    ("bind", "Encoder", encoder),
    ("apply", "Dense", ["Dense/"]),
    ("bind", "Encoder", encoder),
  ]
  assert [run.tree for run in trace.runs] == [0, 1, 0, 2, 0]
  assert [r.number for r in trace.records if isinstance(r, Call) and not r.path and r.span == 0] == [0, 1]


def test_one_bound_module_inside_of_another():
  inner = bound()
  outer = bound(Head(lambda x: inner(x)))
  trace = nn.trace(lambda x: outer(outer(x)[:, :3]))(X)
  names = [name for name, _, _ in told(trace)]
  assert names == ["bind"] * 3  # outer, and inner in each call of it
  assert size_of(trace) == [("Head", 25), ("Encoder", 16)]


def test_whatever_happens_in_one_is_in_its_run():
  """Reading, writing, drawing, naming: no record of a variable tree stands outside of a run on it."""
  net = bound(TwoMethods())
  counting = bound(Counting(), mutable=["state", "intermediates"], rngs={"dropout": KEY})
  with nn.record() as trace:
    net.up.get_variable("params", "kernel")
    counting(X)
    counting.put_variable("state", "count", jnp.zeros(()))
    counting.make_rng("dropout")
    counting(X)
  of_kind = [(type(r).__name__, run and run.module) for r, run in with_run(trace)]
  assert dict.fromkeys(of_kind).keys() == {
    ("Name", "TwoMethods"), ("Read", "TwoMethods"), ("Call", "Counting"), ("Read", "Counting"), ("Write", "Counting"),
    ("Sow", "Counting"), ("Key", "Counting"), ("Name", "Counting"),
  }  # fmt: skip
  assert [(run.name, run.module, run.streams) for run in trace.runs] == [
    ("bind", "TwoMethods", ()),
    ("bind", "Counting", ("dropout",)),
  ]
  assert not trace.check()


@pytest.mark.parametrize("lift", [nn.jit, nn.remat, nn.scan, nn.vmap], ids=lambda lift: lift.__name__)
def test_in_a_lifted_body(lift: Any):
  encoder = bound()

  class Body(nn.Module):
    @nn.compact
    def __call__(self, x: Any, _: Any = None) -> Any:
      y = nn.Dense(3)(encoder(x))
      return (y, None) if lift is nn.scan else y

  axes = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
  more = {nn.scan: {**axes, "length": 2}, nn.vmap: {**axes, "in_axes": None, "axis_size": 2}}.get(lift, {})
  model = lift(Body, **more)()
  args = (X, None) if lift is nn.scan else (X,)
  variables = model.init(KEY, *args)
  trace = nn.trace(lambda v: model.apply(v, *args))(variables)
  encoders = [run for run in trace.records if isinstance(run, Run) and run.module == "Encoder" and run.holds]
  assert [run.name for run in encoders] == ["bind"]
  sizes = dict(size_of(trace))
  assert sizes["Encoder"] == 16 and len(sizes) == 2
  assert sum(sizes.values()) - 16 == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def test_a_lifted_module_that_is_bound():
  net = bound(nn.jit(Encoder)())
  trace = nn.trace(lambda x: net(net(x)[:, :3]))(X)
  assert {run and run.order for _, run in with_run(trace)} == {0}
  assert size_of(trace) == [("Encoder", 16)]


def test_a_model_that_runs_in_another_models_run_while_its_own_is_open():
  """A submodule is called by a function that another model is given."""

  class Lending(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      own = nn.Dense(3, name="own")
      other = Head(lambda x: own(x), parent=None)
      return other.apply({"params": {"Dense_0": {"kernel": jnp.ones((3, 5)), "bias": jnp.ones(5)}}}, own(x))

  model = Lending()
  variables = model.init(KEY, X)
  trace = nn.trace(model.apply)(variables, X)
  assert told(trace) == [
    ("apply", "Lending", ["Lending/", "Dense/own"]),
    ("apply", "Head", ["Head/", "Dense/Dense_0"]),
    ("bind", "Lending", ["Dense/own"]),
  ]
  assert size_of(trace) == [("Lending", 12), ("Head", 20)]
  assert [run.tree for run in trace.records if isinstance(run, Run)] == [0, 1, 0]


def test_what_only_a_run_inside_of_another_uses_is_used():
  class Lending(nn.Module):
    def setup(self) -> None:
      self.own = nn.Dense(3)

    def __call__(self, x: Any) -> Any:
      head = {"params": {"Dense_0": {"kernel": jnp.ones((3, 5)), "bias": jnp.ones(5)}}}
      return Head(lambda x: self.own(x), parent=None).apply(head, x)

  model = Lending()
  assert not nn.trace(model.apply)({"params": {"own": nn.Dense(3).init(KEY, X)["params"]}}, X).check()


def test_a_recording_inside_of_a_run_leaves_that_run_as_it_is():
  inner: list[Trace] = []

  class Looking(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      dense = nn.Dense(3)
      x = dense(x)
      with nn.record() as looked:
        x = dense(x)
      inner.append(looked)
      return dense(x)

  model = Looking()
  variables = model.init(KEY, X)
  with nn.record() as trace:
    model.apply(variables, X)
  assert told(trace) == [("apply", "Looking", ["Looking/", "Dense/Dense_0", "Dense/Dense_0"])]
  assert told(inner[-1]) == [("bind", "Looking", ["Dense/Dense_0"])]


def test_a_scope_that_is_bound():
  def dense(scope: core.Scope, x: Any) -> Any:
    return x @ scope.param("kernel", nn.initializers.ones, (3, 4))

  scope = core.bind({"params": {}}, rngs={"params": KEY}, mutable=True)
  with nn.record() as trace:
    scope.child(dense, "a")(X)
    scope.child(core.lift.jit(dense), "b")(X)
  (run,) = trace.runs
  assert (run.name, run.module) == ("bind", "")
  assert [str(found) for found in trace.find()] == ["params/a/kernel: f32[3,4]", "params/b/kernel: f32[3,4]"]
  assert all(len(found.create.keys) == 1 for found in trace.find() if found.create)


def test_an_error_in_one_is_told_of_its_call_and_what_follows_is_in_its_own_run():
  encoder, head = bound(), nn.Dense(2)
  variables = head.init(KEY, X)
  with nn.record() as trace:
    with pytest.raises(nn.errors.ScopeParamShapeError):
      encoder(jnp.ones((2, 7)))
    head.apply(variables, X)
    encoder(X)
  assert [(run.name, run.module) for run in trace.runs] == [
    ("bind", "Encoder"),
    ("apply", "Dense"),
    ("bind", "Encoder"),
  ]
  failed = next(r for r in trace.records if isinstance(r, Call))
  assert failed.error is not None and failed.error.startswith("ScopeParamShapeError")


def test_a_key_that_a_bound_module_draws_on_is_no_key_twice():
  """Its counters go on from call to call, so that two runs of one root key are no mistake."""
  net = bound(nn.Dropout(0.5, deterministic=False), rngs={"dropout": KEY})
  other = bound()
  with nn.record() as trace:
    first = net(X)
    other(X)
    second = net(X)
  assert len(trace.runs) == 3
  assert not jnp.array_equal(first, second)
  assert not trace.check()


def test_it_is_saved_and_read_back():
  encoder = bound()
  trace = nn.trace(lambda x: encoder(x))(X)
  assert Trace.from_json(trace.to_json()) == trace
  assert any(isinstance(record, Read) for record in trace.records)


def test_a_model_that_is_made_in_one_is_one_model():
  """Whoever has it in hand again, bound or not, and whatever was done in between."""
  other = bound()

  def run(x: Any) -> Any:
    net = TwoMethods().bind({}, rngs={"params": KEY}, mutable=True)
    x = net.encode(x)
    net(other(x[:, :3])[:, :3])
    return TwoMethods().apply(net.variables, x[:, :3])

  with nn.record() as ran:
    run(X)
  for trace in (ran, nn.trace(run)(X)):
    assert size_of(trace) == [("TwoMethods", 31), ("Encoder", 16)]
    assert trace.trees[0].origin == "init"
    assert all(len(found.create.keys) == 1 for found in trace.find("params/up/**") if found.create)
    assert Trace.from_json(trace.to_json()) == trace


def test_what_is_written_in_one_is_a_state_of_its_model():
  """Also if the model has no parameters, which would say that it is the same."""
  stats, other = nn.BatchNorm(use_running_average=False, use_scale=False, use_bias=False), bound()
  variables = stats.init(KEY, X)

  def run(variables: Any, x: Any) -> Any:
    net = stats.bind(variables, mutable=["batch_stats"])
    net(other(net(x))[:, :3])
    return stats.apply(net.variables, x, mutable=["batch_stats"])

  with nn.record() as ran:
    run(variables, X)
  for trace in (ran, nn.trace(run)(variables, X)):
    assert [(tree.module, len(tree.runs)) for tree in trace.trees] == [("BatchNorm", 3), ("Encoder", 1)]


@pytest.mark.parametrize("transform", ["scan", "vmap", "grad"])
def test_one_made_in_a_transform_that_is_over_when_its_run_ends(transform: str):
  other = bound()

  def made(key: Any) -> Any:
    net = nn.Dense(4).bind({}, rngs={"params": key}, mutable=True)
    return jnp.sum(net(X)), net.variables

  def run(x: Any) -> Any:
    keys = jax.random.split(KEY, 3)
    if transform == "grad":
      return jax.grad(lambda x: jnp.sum(nn.Dense(4).bind(made(KEY)[1])(x)))(x), other(x)
    return jax.lax.scan(lambda c, k: (c, made(k)), 0, keys) if transform == "scan" else jax.vmap(made)(
      keys
    ), other(x)

  plain = run(X)
  with nn.record() as ran:
    recorded = run(X)
  assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), plain, recorded))
  for trace in (ran, nn.trace(run)(X)):
    assert [tree.module for tree in trace.trees] == ["Dense", "Encoder"]


@pytest.mark.parametrize("lift", [nn.jit, nn.remat], ids=lambda lift: lift.__name__)
def test_the_last_thing_in_a_lifted_body(lift: Any):
  """What the body gives is no result of the bound module's run."""
  encoder = bound()

  class Body(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return encoder(nn.Dense(3)(x))

  model = lift(Body)()
  trace = nn.trace(model.apply)(model.init(KEY, X), X)
  assert [run.result for run in trace.records if isinstance(run, Run)] == [{}, {}]
  (lifted,) = trace.lifts
  assert str(lifted.result) == "f32[2,4]"
  assert Trace.from_json(trace.to_json()) == trace


def test_a_jitted_function_that_is_traced_again_and_again():
  encoder = bound()
  jitted = jax.jit(lambda x: encoder(x))
  with nn.record() as trace:
    for rows in range(1, 5):
      jitted(jnp.ones((rows, 3)))
    encoder(X)
  assert len({run.jitted for run in trace.runs}) == 5
  assert [run.jitted for run in trace.runs][-1] == 0
  (told_of,) = trace.check()
  assert "a bound Encoder is traced 4 times" in str(told_of)


def test_a_recording_keeps_no_bound_module_alive():
  variables = Encoder().init(KEY, X)
  with nn.record():
    net = Encoder().bind(jax.tree.map(lambda leaf: leaf + 1, variables))
    net(X)
    held = weakref.ref(net.variables["params"]["inner"]["kernel"])
    del net
    gc.collect()
    assert held() is None


def test_keys_of_a_variable_whose_initializer_calls_one():
  other = bound()
  scope = core.bind({"params": {}}, rngs={"params": KEY}, mutable=True)
  with nn.record() as trace:
    scope.param("kernel", lambda key: other(jax.random.normal(key, (3, 3))))
  (created,) = trace.events(Create)
  assert len(created.keys) == 1


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a run"])
def test_an_error_in_one_is_found_where_it_was(inside: bool):
  encoder = bound()
  head = Head(lambda x: encoder(x))
  variables = head.init(KEY, X)
  with nn.record() as trace, pytest.raises(nn.errors.ScopeParamShapeError):
    head.apply(variables, jnp.ones((2, 7))) if inside else encoder(jnp.ones((2, 7)))
  (found,) = trace.check()
  assert (found.path, found.tree) == (("inner",), 1 if inside else None)  # a number where there are several


@pytest.mark.parametrize("how", ["bound", "apply"])
def test_a_warning_in_a_run_inside_of_another_is_found(how: str):
  embed = nn.Embed(5, 3)
  variables = embed.init(KEY, jnp.array([1]))
  net = embed.bind(variables)
  head = Head(lambda x: net(x) if how == "bound" else embed.apply(variables, x))
  given = head.init(KEY, jnp.array([1]))
  with nn.record() as trace, pytest.warns(nn.errors.IdsOutsideWarning):
    head.apply(given, jnp.array([9]))
  (found,) = trace.check()
  assert (found.kind, found.tree) == ("IdsOutsideWarning", 1)


def test_keys_that_collide_in_a_run_inside_of_another_are_found():
  class Colliding(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      a = nn.Dropout(0.5, deterministic=False, name="ab")(x)
      return a + Wrapped(name="a")(x)

  class Wrapped(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return nn.Dropout(0.5, deterministic=False, name="b")(x)

  net = Colliding().bind({}, rngs={"dropout": KEY})
  head = Head(lambda x: net(x))
  variables = head.init(KEY, X)
  with nn.record() as trace:
    head.apply(variables, X)
  (collision,) = (found for found in trace.check() if found.kind == "KeyCollisionWarning")
  assert collision.tree is not None and collision.tree == trace.runs[-1].tree
