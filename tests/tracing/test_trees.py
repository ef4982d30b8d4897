"""Which variable tree each run was on: two models in one trace stay two, and one model stays one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracle import equations

import minilinen as nn
import viz
from minilinen.tracing import Trace, Work
from minilinen.tracing.equations import leaves

KEY, OTHER = jax.random.split(jax.random.key(0))
X = jnp.ones((2, 9))


class Q(nn.Module):
  """32 parameters in each of two layers."""

  @nn.compact
  def __call__(self, x: Any) -> Any:
    return nn.Dense(9)(nn.relu(nn.Dense(9)(x)))


class Net(nn.Module):
  def setup(self) -> None:
    self.encoder = Q()
    self.head = nn.Dense(3)

  def __call__(self, x: Any) -> Any:
    return self.head(self.encoder(x))


q, net = Q(), Net()
ONE, TWO = q.init(KEY, X), q.init(OTHER, X)
WHOLE = net.init(KEY, X)
STACK = jax.tree.map(lambda *parts: np.stack(parts), ONE, TWO)


def loss(params: Any, x: Any = X) -> Any:
  return (q.apply(params, x) ** 2).sum()


def stepped(params: Any) -> Any:
  return jax.tree.map(lambda p: p - 0.1, params)


def descended(params: Any) -> Any:
  return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))


def told(trace: Trace) -> list[tuple[Any, ...]]:
  """What a trace says of its trees: module, number of runs, origin, argument, what it is derived from or within."""
  return [
    (t.module, len(t.runs), t.origin, t.argument, t.derived_from, t.within and t.within[1])
    for t in trace.trees
  ]


# What a run writes into the program changes nothing else.


def scanned(params: Any, x: Any) -> Any:
  return jax.lax.scan(lambda c, _: (q.apply(params, c), None), x, None, length=3)[0]


def scanned_over(params: Any, x: Any) -> Any:
  return jax.lax.scan(lambda c, each: (q.apply(each, c), None), x, params)[0]


def trained(params: Any, x: Any) -> Any:
  return jax.lax.scan(lambda p, _: (descended(p), None), params, None, length=2)[0]["params"]["Dense_0"][
    "bias"
  ]


def chosen(params: Any, x: Any) -> Any:
  return jax.lax.cond(x.sum() > 0, lambda: q.apply(params, x), lambda: x)


@jax.custom_vjp
def own(params: Any, x: Any) -> Any:
  return q.apply(params, x)


own.defvjp(lambda params, x: (q.apply(params, x), (params, x)), lambda kept, g: jax.vjp(q.apply, *kept)[1](g))


def summed(fn: Callable[..., Any]) -> Callable[..., Any]:
  return lambda params, x: (fn(params, x) ** 2).sum()


def closed_over(params: Any, x: Any) -> Any:
  return jax.jit(lambda x: q.apply(params, x))(x)


def remat(**options: Any) -> Callable[..., Any]:
  return lambda params, x: jax.checkpoint(q.apply, **options)(params, x)


everything, dots = jax.checkpoint_policies.everything_saveable, jax.checkpoint_policies.dots_saveable
FUNCTIONS = {
  "plain": (q.apply, ONE),
  "jit": (jax.jit(lambda p, x: q.apply(p, x)), ONE),
  "jit that closes over": (closed_over, ONE),
  "remat": (remat(), ONE),
  "remat that keeps all": (remat(policy=everything), ONE),
  "remat that keeps products": (remat(policy=dots), ONE),
  "scan": (scanned, ONE),
  "scan over layers": (scanned_over, STACK),
  "scan of training": (trained, ONE),
  "scan of remat": (lambda p, x: jax.lax.scan(lambda c, _: (remat()(p, c), None), x, None, length=3)[0], ONE),
  "remat of scan": (jax.checkpoint(scanned), ONE),
  "while": (lambda p, x: jax.lax.fori_loop(0, 3, lambda i, c: q.apply(p, c), x), ONE),
  "cond": (chosen, ONE),
  "custom_vjp": (own, ONE),
  "vmap": (lambda p, x: jax.vmap(q.apply, (0, None))(p, x), STACK),
  "vmap of jit": (lambda p, x: jax.vmap(jax.jit(lambda p, x: q.apply(p, x)), (0, None))(p, x), STACK),
  "vmap of the input": (lambda p, x: jax.vmap(q.apply, (None, 0))(p, x[:, None]), ONE),
}
WAYS: dict[str, Callable[[Any], Any]] = {
  "forward": lambda fn: fn,
  "gradient": lambda fn: jax.grad(summed(fn)),
  "value and gradient": lambda fn: jax.value_and_grad(
    lambda p, x: (summed(fn)(p, x), fn(p, x)), has_aux=True
  ),
  "gradient of jit": lambda fn: jax.grad(summed(jax.jit(fn))),
  "jit of gradient": lambda fn: jax.jit(jax.grad(summed(fn))),
  "jvp": lambda fn: lambda p, x: jax.jvp(lambda p: fn(p, x), (p,), (p,)),
}


def has_it(name: str, way: str) -> bool:
  """No forward derivative of a `custom_vjp`, and no gradient of a `while`."""
  return way != "jvp" if name == "custom_vjp" else name != "while" or way in ("forward", "jvp")


@pytest.mark.grid
@pytest.mark.parametrize(
  "name, way", [(name, way) for name in FUNCTIONS for way in WAYS if has_it(name, way)]
)
def test_the_program_is_the_same_and_tells_of_the_tree(name: str, way: str):
  fn, params = FUNCTIONS[name]
  plain = jax.make_jaxpr(WAYS[way](fn))(params, X).jaxpr
  trace = nn.trace(WAYS[way](fn))(params, X)
  assert equations(trace.jaxpr) == equations(plain)
  if (
    way != "value and gradient"
  ):  # There a function is called twice, and what the two share is told by its text.
    assert text(trace.jaxpr) == text(plain)
  (tree,) = trace.trees
  # JAX lets Python run `own` for its value too, and then takes the rule: that first run is in no program.
  is_known = (name, way) != ("custom_vjp", "gradient of jit")
  assert (tree.origin, tree.known, tree.elsewhere) == ("argument", is_known, ()), tree
  whole = dict(tree.stacked) if params is STACK else {}
  assert {place: spec.shape for place, spec in whole.items()} == (
    {place: leaf.shape for place, leaf in leaves.leaves_of(STACK)} if params is STACK else {}
  )


def text(jaxpr: Any) -> str:
  return re.sub("0x[0-9a-f]+", "", str(jaxpr))


# Which trees there are.


def init_and_apply(key: Any, x: Any) -> Any:
  return q.apply(q.init(key, x), x)


def cast(params: Any, x: Any) -> Any:
  def half() -> Any:
    return jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)

  return q.apply(params, x), q.apply(half(), x), q.apply(half(), x)


def averaged(params: Any, average: Any, x: Any) -> Any:
  later = jax.tree.map(lambda a, p: 0.9 * a + 0.1 * p, average, params)
  return q.apply(params, x), q.apply(average, x), q.apply(later, x)


def adapted(params: Any, x: Any) -> Any:
  return jax.grad(lambda p: loss(descended(p), x))(params)


def twice(first: Any, second: Any, x: Any) -> Any:
  run = jax.jit(lambda p, x: q.apply(p, x))
  return run(first, x) + run(second, x)


def made_by_vmap(keys: Any, x: Any) -> Any:
  ensemble = jax.vmap(lambda key: q.init(key, x))(keys)
  y = jax.vmap(q.apply, (0, None))(ensemble, x)
  return y, q.apply(jax.tree.map(lambda p: p[1], ensemble), x)


def head_learns(trunk: Any, head: Any, x: Any) -> Any:
  def run(head: Any) -> Any:
    return net.apply({"params": {"encoder": trunk, "head": head}}, x)

  for _ in range(3):
    grads = jax.grad(lambda head: run(head).sum())(head)
    head = jax.tree.map(lambda p, g: p - 0.1 * g, head, grads)
  return run(head)


def states_in_turn(params: Any, x: Any) -> Any:
  for _ in range(4):
    grads = jax.grad(lambda p: q.apply(p, x).sum())(params)
    params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
  return params


def shared_trunk(trunk: Any, one: Any, other: Any, x: Any) -> Any:
  heads = [{"params": {"encoder": trunk, "head": head}} for head in (one, other)]
  return [net.apply(each, x) for each in heads]


def part_of(whole: Any, x: Any) -> Any:
  return net.apply(whole, x), q.apply({"params": whole["params"]["encoder"]}, x)


def part_first(whole: Any, x: Any) -> Any:
  return part_of(whole, x)[::-1], q.apply({"params": whole["params"]["encoder"]}, x), net.apply(whole, x)


HEAD = WHOLE["params"]["head"]
OWN = ("Q", 1, "argument")
TREES: dict[str, tuple[Callable[..., Any], tuple[Any, ...], list[tuple[Any, ...]]]] = {
  "init and apply": (init_and_apply, (KEY, X), [("Q", 2, "init", "", (), None)]),
  "two inits with one key": (
    lambda key, x: (q.init(key, x), q.init(key, x)), (KEY, X), [("Q", 1, "init", "", (), None)] * 2,
  ),
  "called ten times": (
    lambda params, x: [q.apply(params, x) for _ in range(10)], (ONE, X),
    [("Q", 10, "argument", "params", (), None)],
  ),
  "teacher and student": (
    lambda teacher, student, x: jax.value_and_grad(
      lambda p: ((q.apply(p, x) - q.apply(teacher, x)).sum(), x), has_aux=True
    )(student),
    (ONE, TWO, X), [(*OWN, "student", (), None), (*OWN, "teacher", (), None)],
  ),
  "closed over": (
    lambda x: [q.apply(p, x) for p in (ONE, TWO, ONE)], (X,),
    [("Q", 2, "array", "", (), None), ("Q", 1, "array", "", (), None)],
  ),
  "cast": (cast, (ONE, X), [(*OWN, "params", (), None), ("Q", 2, "computed", "", (0,), None)]),
  "average": (
    averaged, (ONE, TWO, X),
    [(*OWN, "params", (), None), (*OWN, "average", (), None), ("Q", 1, "computed", "", (0, 1), None)],
  ),
  "inner update": (adapted, (ONE, X), [(*OWN, "params", (), None), ("Q", 1, "computed", "", (0,), None)]),
  "ensemble by a loop": (
    lambda stack, x: [q.apply(jax.tree.map(lambda p, i=i: p[i], stack), x) for i in range(2)], (STACK, X),
    [("Q", 1, "computed", "", (), None)] * 2,
  ),
  "ensemble by vmap": (
    lambda stack, x: jax.vmap(q.apply, (0, None))(stack, x), (STACK, X), [(*OWN, "stack", (), None)],
  ),
  "ensemble made by vmap": (
    made_by_vmap, (jax.random.split(KEY, 3), X), [("Q", 2, "init", "", (), None), ("Q", 1, "computed", "", (0,), None)],
  ),
  "a head that learns on a trunk that does not": (
    head_learns, (WHOLE["params"]["encoder"], HEAD, X),
    [("Net", 1, "argument", "trunk", (), None), ("Net", 1, "computed", "", (0,), None)]
    + [("Net", 1, "computed", "", (0, number), None) for number in (1, 2)],
  ),
  "states one after the other": (
    states_in_turn, (ONE, X), [(*OWN, "params", (), None)] + [("Q", 1, "computed", "", (n,), None) for n in range(3)],
  ),
  "one jitted function": (
    twice, (ONE, TWO, X), [(*OWN, "first", (), None), (*OWN, "second", (), None)],
  ),
  "a part of a tree": (
    part_of, (WHOLE, X),
    [("Net", 1, "argument", "whole", (), None), (*OWN, "whole/params/encoder", (), ("encoder",))],
  ),
  "heads on one trunk": (
    shared_trunk, (WHOLE["params"]["encoder"], HEAD, stepped(HEAD), X),
    [("Net", 1, "argument", "trunk", (), None)] * 2,
  ),
  "of shapes only": (
    lambda key, x: jax.eval_shape(q.init, key, x), (KEY, X), [("Q", 1, "init", "", (), None)],
  ),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_the_trees_of_a_traced_function(name: str):
  fn, args, expected = TREES[name]
  trace = nn.trace(fn)(*args)
  assert told(trace) == expected
  assert Trace.from_json(trace.to_json()).trees == trace.trees
  for tree in trace.trees:
    assert tree.known
    for order in tree.runs:
      assert trace.records[order].tree == tree.number


@pytest.mark.parametrize(
  ("name", "counted"),
  {
    "teacher and student": 360, "cast": 180, "average": 360, "inner update": 180, "called ten times": 180,
    "ensemble by a loop": 360, "ensemble by vmap": 360, "closed over": 360, "one jitted function": 360,
    "a part of a tree": 210, "heads on one trunk": 240,
  }.items(),
)  # fmt: skip
def test_every_view_counts_a_tree_once(name: str, counted: int):
  fn, args, expected = TREES[name]
  trace = nn.trace(fn)(*args)
  assert trace.cost().total.parameters == counted
  assert viz.tabulate(trace).to_dict()["totals"]["params"]["count"] == counted
  assert viz.tree(trace).to_dict()["total"]["count"] == counted
  assert {found.tree for found in trace.find("params/**")} == set(range(len(expected)))
  assert {row["tree"] for row in viz.tabulate(trace).to_rows()} == set(range(len(expected)))
  assert len([box for box in viz.graph(trace).network.boxes if not box.inside and "tree" in box.data]) == len(
    expected
  )
  assert not trace.check().of_kind("UnusedVariableHint")
  own = sum((cost.own.work for _, cost in trace.cost().walk()), Work())
  assert own == trace.cost().total.work == sum((e.total for e in trace.equations()), Work())


class Careless(nn.Module):
  """Adds its bias if it is told to."""

  biased: bool

  @nn.compact
  def __call__(self, x: Any) -> Any:
    bias = self.param("b", nn.initializers.zeros, (4,))
    return nn.Dense(4)(x) + bias if self.biased else nn.Dense(4)(x)


def test_a_check_accuses_the_right_one_of_two_models():
  right, wrong = Careless(True), Careless(False)
  variables = right.init(KEY, X)
  trace = nn.trace(lambda good, bad, x: right.apply(good, x) + wrong.apply(bad, x))(variables, variables, X)
  (finding,) = trace.check().of_kind("UnusedVariableHint")
  assert "'bad'" in finding.message and "'good'" not in finding.message


class Actor(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return nn.Dense(2, name="head")(nn.tanh(nn.Dense(5, name="torso")(x)))


class Critic(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return nn.Dense(1, name="head")(nn.tanh(nn.Dense(5, name="torso")(x)))


def test_actor_and_critic_with_equal_names_inside():
  actor, critic = Actor(), Critic()
  first, second = actor.init(KEY, X), critic.init(KEY, X)
  trace = nn.trace(lambda a, c, x: (actor.apply(a, x), critic.apply(c, x)))(first, second, X)
  assert told(trace) == [("Actor", 1, "argument", "a", (), None), ("Critic", 1, "argument", "c", (), None)]
  assert [f.tree for f in trace.find("params/head/kernel")] == [0, 1]
  assert [f.value.shape for f in trace.find("params/head/kernel")] == [(5, 2), (5, 1)]
  assert trace.models[0]["head"].calls != trace.models[1]["head"].calls
  assert [cost.total.parameters for cost in (trace.models[0]["head"].cost, trace.models[1]["head"].cost)] == [
    12,
    6,
  ]
  assert trace.cost().total.parameters == (9 * 5 + 5) * 2 + 12 + 6
  assert {row["tree"] for row in viz.tabulate(trace).to_rows()} == {0, 1}
  assert "Actor" in viz.tabulate(trace).text() and "Critic" in viz.tabulate(trace).text()
  assert not trace.check() and Trace.from_json(trace.to_json()) == trace


def test_what_counts_elsewhere():
  fn, args, _ = TREES["heads on one trunk"]
  first, second = nn.trace(fn)(*args).trees
  assert first.elsewhere == () and {place[1] for place in second.elsewhere} == {"encoder"}
  assert not second.counts(("params", "encoder", "Dense_0", "kernel"))
  assert second.counts(("params", "head", "kernel"))
  derived = nn.trace(cast)(ONE, X).trees[1]
  assert not derived.counts(("params", "Dense_0", "kernel")) and derived.states == 1


def test_two_networks_with_two_optimizers():
  optimizer = optax.adam(1e-3)
  state = optimizer.init(ONE)

  def step(generator: Any, judge: Any, first: Any, second: Any, x: Any) -> Any:
    grads = jax.grad(lambda p: q.apply(p, q.apply(generator, x)).sum())(judge)
    updates, second = optimizer.update(grads, second)
    judge = optax.apply_updates(judge, updates)
    grads = jax.grad(lambda p: q.apply(judge, q.apply(p, x)).sum())(generator)
    updates, first = optimizer.update(grads, first)
    return optax.apply_updates(generator, updates), judge, first, second

  trace = nn.trace(jax.jit(step))(ONE, TWO, state, state, X)
  assert told(trace) == [
    ("Q", 2, "argument", "generator", (), None),
    ("Q", 1, "argument", "judge", (), None),
    ("Q", 1, "computed", "", (0, 1), None),
  ]


# In code that really runs.


def recorded(fn: Callable[[], Any]) -> tuple[list[int], list[tuple[Any, ...]]]:
  with nn.record() as trace:
    fn()
  return [run.tree for run in trace.runs], [(t.origin, t.states, t.known) for t in trace.trees]


def test_ten_updates_are_one_model_in_ten_states():
  def train(params: Any) -> None:
    for _ in range(10):
      params = descended(params)

  assert recorded(lambda: train(ONE)) == ([0] * 10, [("array", 10, True)])
  assert recorded(lambda: train(q.init(KEY, X))) == ([0] * 11, [("init", 10, True)])

  def held() -> None:
    variables = q.init(KEY, X)
    train(variables)
    del variables

  assert recorded(held) == ([0] * 11, [("init", 10, True)])


def test_what_is_passed_to_a_jitted_function_is_known():
  def train() -> None:
    params, step = q.init(KEY, X), jax.jit(jax.grad(loss))
    for _ in range(3):
      params = stepped(step(params))

  assert recorded(train) == ([0, 0, 0, 0], [("init", 3, True)])

  def twins() -> None:
    first, second = q.init(KEY, X), q.init(OTHER, X)
    jax.jit(lambda p: loss(p))(first)
    loss(second)

  assert recorded(twins) == ([0, 1, 0, 1], [("init", 1, True), ("init", 1, True)])


def test_what_a_jitted_function_hides_is_told_as_not_known():
  def twins() -> None:
    first, second = q.init(KEY, X), q.init(OTHER, X)
    jax.jit(lambda p: loss(jax.tree.map(jnp.sin, p)))(first)
    loss(second)

  assert recorded(twins) == ([0, 1, 2, 1], [("init", 1, True), ("init", 1, True), ("unknown", 1, False)])


def test_a_jitted_init_makes_the_tree_that_runs_next():
  def train() -> None:
    params = jax.jit(lambda key: q.init(key, X))(KEY)
    for _ in range(3):
      loss(params)
      params = stepped(params)

  assert recorded(train) == ([0] * 4, [("init", 3, True)])


def test_models_of_one_class_stay_apart_while_they_learn():
  def ensemble() -> None:
    for params in (ONE, TWO):
      loss(params)

  assert recorded(ensemble) == ([0, 1], [("array", 1, True)] * 2)

  def teacher_and_student() -> None:
    student = TWO
    for _ in range(4):
      loss(ONE)
      loss(student)
      student = stepped(student)

  assert recorded(teacher_and_student) == ([0, 1] * 4, [("array", 1, True), ("array", 4, True)])

  def twins() -> None:
    first, second = ONE, TWO
    for _ in range(4):
      for params in (first, second):
        loss(params)
      first, second = stepped(first), stepped(second)

  # That the two did not change places is not known: both are stepped when both have run.
  assert recorded(twins) == ([0, 1] * 4, [("array", 4, False)] * 2)

  def target() -> None:
    params = late = q.init(KEY, X)
    for step in range(8):
      loss(params)
      loss(late)
      params = stepped(params)
      late = params if step % 3 == 2 else late

  trees = recorded(target)[1]
  assert [origin for origin, _, _ in trees] == ["init", "array"]


def test_an_argument_that_is_a_variable_itself_is_called_by_its_name():
  class Scale(nn.Module):
    @nn.compact
    def __call__(self):
      return self.param("w", nn.initializers.ones, (3,)) * 2

  found = nn.trace(lambda w: Scale().apply({"params": {"w": w}}))(jnp.ones(3))
  assert [tree.argument for tree in found.trees] == ["w"]
