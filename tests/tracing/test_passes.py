"""Every pass over a body is in a trace, with its keys, and says whether it holds."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trace_models import ALL, MODELS, RNGS, SPLIT, Probe, X, bits
from traced_passes import check_passes

import minilinen as nn
import viz
from minilinen.tracing import Trace, Work, describe, replay_key
from minilinen.tracing.events import Body, Create, Key, Lift, Path, Run
from minilinen.tracing.recording import record, trace

pytestmark = pytest.mark.filterwarnings("ignore::minilinen.errors.MinilinenWarning")


@pytest.mark.parametrize("name", MODELS)
def test_the_passes_of_every_model_are_marked(name: str):
  module, rngs, args = MODELS[name]()
  found = trace(module.init)(rngs, *args)
  check_passes(found)
  variables = module.init(rngs, *args)
  check_passes(trace(lambda v, *a: module.apply(v, *a, rngs=rngs, mutable=True))(variables, *args))
  assert Trace.from_json(found.to_json()) == found


NONE = {"params": False, "dropout": False, "noise": False}
RAN: list[int] = []
DREW: list[Any] = []


class Counted(nn.Module):
  """Notes each time that Python runs it, and the keys it draws."""

  @nn.compact
  def __call__(self, x: Any, _: Any = None) -> Any:
    RAN.append(1)
    key = self.make_rng("noise")
    DREW.append(None if isinstance(key, jax.core.Tracer) else np.asarray(bits(key)))
    return nn.Dense(4)(Probe()(x)), None


class Once(nn.Module):
  """Calls what lifts `Counted` in a module that has called it before."""

  lift: Any

  @nn.compact
  def __call__(self, x: Any) -> Any:
    return self.lift(self, x)


def of_class(lifted: Any) -> Any:
  return lambda net, x: jax.tree.leaves(lifted()(x, None))[0]


def call(net: nn.Module, x: Any) -> Any:
  return net(x)[0]


def two_branches(net: nn.Module, x: Any) -> Any:
  inner = Counted()
  return nn.cond(x.sum() > 0, call, lambda net, x: 2 * call(net, x), inner, x)


def three_branches(net: nn.Module, x: Any) -> Any:
  return nn.switch(1, [call, call, lambda net, x: 2 * call(net, x)], Counted(), x)


def looping(net: nn.Module, x: Any) -> Any:
  inner = Counted()
  call(inner, x)
  step = lambda net, c: (c[0] + 1, call(net, c[1]))  # noqa: E731
  return nn.while_loop(lambda net, c: c[0] < 3, step, inner, (0, x), split_rngs=NONE)[1]


def own_gradient(net: nn.Module, x: Any) -> Any:
  own = nn.custom_vjp(call, lambda net, x: nn.vjp(call, net, x), lambda pull, y_t: pull(y_t))
  return own(Counted(), x)


def shared(module: Any) -> Any:
  return nn.scan(module, variable_broadcast="params", variable_axes={"keys": 0}, split_rngs=NONE)


def turned(module: Any) -> Any:
  same = lambda tree: tree  # noqa: E731
  return nn.map_variables(module, "params", same, same, init=True, mutable=True)


def scanned(module: Any, length: int = 3) -> Any:
  return nn.scan(module, variable_axes=ALL, split_rngs=SPLIT, length=length)


def vmapped(module: Any) -> Any:
  return nn.vmap(module, variable_axes=ALL, split_rngs=SPLIT, axis_size=2, in_axes=None)


class Inner(nn.Module):
  """A scan as the body of something else."""

  @nn.compact
  def __call__(self, x: Any, _: Any = None) -> Any:
    return scanned(Counted, 2)()(x, None)


class Middle(nn.Module):
  @nn.compact
  def __call__(self, x: Any, _: Any = None) -> Any:
    return scanned(Inner, 2)()(x, None)


# What is lifted, and how often Python runs `Counted` in the lift: in init, and in apply.
LIFTS: dict[str, tuple[Any, int, int]] = {
  "scan": (of_class(lambda: scanned(Counted)()), 2, 2),
  "vmap": (of_class(lambda: vmapped(Counted)()), 1, 1),
  "remat": (of_class(lambda: nn.remat(Counted)()), 1, 1),
  "jit": (of_class(lambda: nn.jit(Counted)()), 1, 1),
  "map_variables": (of_class(lambda: turned(Counted)()), 2, 1),
  "cond": (two_branches, 2, 2),
  "switch": (three_branches, 3, 3),
  "while_loop": (looping, 1, 1),
  "custom_vjp": (own_gradient, 1, 1),
  "scan of scan": (of_class(lambda: scanned(Inner)()), 4, 4),
  "vmap of scan": (of_class(lambda: vmapped(Inner)()), 2, 2),
  "remat of scan": (of_class(lambda: nn.remat(Inner)()), 2, 2),
  "scan of scan of scan": (of_class(lambda: scanned(Middle)()), 8, 8),
  "map_variables of scan": (of_class(lambda: turned(Inner)()), 4, 2),
}


def of_counted(found: Trace) -> list[Key]:
  """The keys that `Counted` drew, one each time that it ran."""
  return [key for key in found.events(Key) if key.stream == "noise" and "Probe_0" not in key.path]


@pytest.mark.parametrize("method", ["init", "apply"])
@pytest.mark.parametrize("name", LIFTS)
def test_every_pass_is_there_and_draws_its_keys(name: str, method: str):
  lift, *times = LIFTS[name]
  module = Once(lift)
  variables = module.init(RNGS, X)
  RAN.clear()
  if method == "init":
    found = trace(module.init)(RNGS, X)
  else:
    found = trace(lambda v, x: module.apply(v, x, rngs=RNGS, mutable=["keys"]))(variables, X)
  keys = of_counted(found)
  in_lift = [key for key in keys if any(isinstance(span, Lift) for span in found.parents(key))]
  assert len(keys) == len(RAN)
  assert len(in_lift) == times[method == "apply"]
  assert len([key for key in in_lift if key.holds]) == {"cond": 2, "switch": 3}.get(name, 1)
  check_passes(found)
  if method == "init":
    told = {col: tree for col, tree in found.variables().items() if tree}
    assert told == describe({col: tree for col, tree in variables.items() if tree})


@pytest.mark.parametrize("lift", [shared, turned], ids=["scan", "map_variables"])
def test_keys_of_every_pass_are_replayed(lift: Any):
  """Where a pass is run on what is known, its keys are known too."""

  class Lifted(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return lift(Counted)()(x, jnp.zeros(3))

  DREW.clear()
  with record() as found:
    Lifted().init(RNGS, X)
  keys = of_counted(found)
  assert [key.holds for key in keys] == [False, True]
  known = [(key, drew) for key, drew in zip(keys, DREW) if drew is not None]
  assert len(DREW) == 2 and known
  for key, drew in known:
    assert np.array_equal(bits(replay_key(key, RNGS)), drew)


def test_what_all_steps_share_is_made_in_a_pass_that_does_not_hold():
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return shared(Counted)(name="s")(x, jnp.zeros(3))[0]

  found = trace(Net().init)(RNGS, X)
  first, last = found.events(Body)
  assert (first.holds, last.holds) == (False, True)
  made = {c.collection: found.parents(c) for c in found.events(Create) if c.holds}
  assert first in made["params"] and last in made["keys"]
  (kernel,) = found.find("params/**/kernel")
  assert kernel.create is not None and first in found.parents(kernel.create)
  assert list(kernel.create.keys) == [k.order for k in found.events(Key, "s/Dense_0") if k.holds][:1]
  assert [last in found.parents(read) for read in kernel.reads] == [True]
  assert len(found.calls("s/Dense_0")) == len(found["s/Dense_0"]) == 1
  node = found.models[0]["s/Dense_0"]
  assert len(node.calls) == 1 and any(e.phase == "init" for e in node.equations)
  assert {e.call for e in node.equations} == {node.calls[0].order}


INNER = nn.Dense(4)
GIVEN = INNER.init(jax.random.key(0), X)


class RunsAnother(nn.Module):
  """Makes a model in every step and runs it, and another that it was not given as a module."""

  @nn.compact
  def __call__(self, x: Any, _: Any = None) -> Any:
    own = INNER.init(jax.random.key(1), x)
    return nn.Dense(4)(INNER.apply(own, x) + INNER.apply(GIVEN, x)), None


class Scanned(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    each = nn.scan(
      RunsAnother, length=3, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=nn.broadcast
    )
    return each()(x, None)[0]


@pytest.mark.parametrize("way", ["init", "apply"])
def test_a_run_in_a_pass_is_on_the_tree_of_its_like_in_the_pass_that_holds(way: str):
  model = Scanned()
  values = (jax.random.key(0), X) if way == "init" else (model.init(jax.random.key(0), X), X)
  found = trace(getattr(model, way))(*values)
  outer, *trials, own, run_on_own, given = (found.records[run.order] for run in found.events(Run))
  assert [run.holds for run in trials] == [False] * len(trials) and len(trials) in (3, 6)
  assert [run.tree for run in (outer, *trials, own, run_on_own, given)] == [
    0,
    *(len(trials) // 3) * (1, 1, 2),
    1,
    1,
    2,
  ]
  assert [tree.runs for tree in found.trees] == [
    (outer.order,),
    (own.order, run_on_own.order),
    (given.order,),
  ]
  assert [tree.origin for tree in found.trees] == ["init" if way == "init" else "argument", "init", "array"]
  size = 4 * X.shape[-1] + 4
  assert found.cost().total.parameters == 3 * 20 + 2 * size
  runs = {run.order for run in found.runs}
  assert {e.owner.run for e in found.equations()} <= {-1, *runs}
  assert sum((c.own.work for _, c in found.cost().walk()), Work()) == found.cost().total.work
  cost = found.cost().of(2, Path())
  assert cost.flops == 3 * (2 * X.shape[0] * 4 * X.shape[-1] + X.shape[0] * 4)
  assert Trace.from_json(found.to_json()) == found


def test_the_timeline_marks_everything_in_a_pass_that_does_not_hold():
  found = trace(Scanned().init)(jax.random.key(0), X)
  view = viz.timeline(found, fold=False)
  for row, r in zip(view.outline.rows, found, strict=True):
    assert row.label.startswith("~ ") is not r.holds, row.label
  assert any(r.holds is False for r in found)
  assert "~: only tried, in a pass" in view.text(width=120)
  for width in (60, 80, 120):
    assert max(map(len, view.text(width=width).splitlines())) <= width


def ask(net: nn.Module, x: Any) -> Any:
  return net(x)


def scalar(net: nn.Module, x: Any) -> Any:
  return net(x).sum()


def with_aux(net: nn.Module, x: Any) -> Any:
  return net(x).sum(), {"half": x / 2}


def step(net: nn.Module, carry: Any, _: Any) -> Any:
  return net(carry), carry.sum()


AT_ONCE: dict[str, Any] = {
  "vmap": lambda net, x: nn.vmap(ask, variable_axes={"params": None})(net, x),
  "scan": lambda net, x: nn.scan(step, variable_broadcast="params", length=3)(net, x, None),
  "remat": lambda net, x: nn.remat(ask)(net, x),
  "jit": lambda net, x: nn.jit(with_aux)(net, x),
  "map_variables": lambda net, x: nn.map_variables(ask, "params")(net, x),
  "fold_rngs": lambda net, x: nn.fold_rngs(ask)(net, x),
  "cond": lambda net, x: nn.cond(True, ask, ask, net, x),
  "switch": lambda net, x: nn.switch(1, [with_aux, with_aux], net, x),
  "while_loop": lambda net, x: nn.while_loop(lambda net, c: c[0] < 2, lambda n, c: (c[0] + 1, n(c[1])), net, (0, x)),
  "vjp": lambda net, x: nn.vjp(ask, net, x),
  "vjp, aux": lambda net, x: nn.vjp(with_aux, net, x, has_aux=True),
  "grad": lambda net, x: nn.grad(scalar, net, x),
  "grad, aux": lambda net, x: nn.grad(with_aux, net, x, has_aux=True),
  "value_and_grad": lambda net, x: nn.value_and_grad(scalar, net, x),
  "value_and_grad, aux": lambda net, x: nn.value_and_grad(with_aux, net, x, has_aux=True),
  "jvp": lambda net, x: nn.jvp(ask, net, (x,), (x,), {}),
  "custom_vjp": lambda net, x: nn.custom_vjp(ask, lambda net, x: nn.vjp(ask, net, x), lambda pull, y: pull(y))(net, x),
}  # fmt: skip


@pytest.mark.parametrize("name", AT_ONCE)
def test_what_a_lift_gives_is_what_the_user_was_given(name: str):
  given: list[Any] = []

  class Asks(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      dense = nn.Dense(4)
      dense(x)
      given.append(describe(AT_ONCE[name](dense, x)))

  found = trace(Asks().init)(RNGS, X)
  assert found.lifts[0].kind == name.partition(",")[0]
  assert found.lifts[0].result == given[0]
  for private in ("_Pullback", "VJP(", "Stand", "functools"):
    assert private not in found.to_json()


def test_a_pass_tells_its_keywords():
  class Scaled(nn.Module):
    @nn.compact
    def __call__(self, x: Any, scale: Any, mode: str) -> Any:
      return nn.Dense(2)(x) * scale

  def run(x: Any) -> Any:
    return nn.jit(Scaled, static_argnames="mode")().init_with_output(
      jax.random.key(0), x, scale=x[0], mode="a"
    )

  body = nn.trace(run)(jnp.ones((2, 2))).events(Body)[0]
  assert [str(value) for value in body.args] == ["f32[2,2]"]
  assert {name: str(value) for name, value in body.kwargs.items()} == {"scale": "f32[2]", "mode": "a"}
