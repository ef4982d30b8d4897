"""What a run costs, and whose each equation is: against formulas done by hand, and against XLA's own count."""

from __future__ import annotations

import itertools
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import minilinen as nn
import viz
from minilinen.examples.resnet import ResNet
from minilinen.examples.transformer import Transformer
from minilinen.tracing import (
  Call,
  DimensionMissingError,
  NoEquationsError,
  NoSuchCostError,
  Spec,
  Trace,
  UnknownEquationError,
  Work,
)
from minilinen.tracing.equations import formula
from minilinen.tracing.paths import Path
from minilinen.tracing.recording import record, trace

KEY = jax.random.key(0)


class Block(nn.Module):
  """A transformer block of width 64 with 4 heads."""

  @nn.compact
  def __call__(self, x, _=None):
    x = x + nn.MultiHeadDotProductAttention(4)(nn.LayerNorm()(x))
    return x + nn.Dense(64)(nn.gelu(nn.Dense(256)(nn.LayerNorm()(x)))), None


class Stack(nn.Module):
  """Three blocks: unrolled, scanned, or scanned with each block computed again in the backward pass."""

  how: str

  @nn.compact
  def __call__(self, x):
    if self.how == "unrolled":
      for _ in range(3):
        x, _ = Block()(x)
      return x
    block = nn.remat(Block) if self.how == "remat" else Block
    return nn.scan(block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)()(x, None)[0]


def shapes(model, *args):
  return jax.eval_shape(model.init, KEY, *args)


def forward(model):
  return lambda variables, x: model.apply(variables, x, mutable=["batch_stats"])[0]


def gradient(model):
  return jax.grad(lambda variables, x: forward(model)(variables, x).sum())


def xla(fn, *args):
  found = jax.jit(fn).lower(*args).cost_analysis()
  assert found is not None
  return found["flops"], found.get("transcendentals", 0)


# Against formulas done by hand.


def test_resnet_50_has_the_multiply_adds_of_the_papers_but_for_those_with_padding():
  """They say 4.09 billion; 3,948,251,904 are with elements of the image, counted by convolutions of ones."""
  image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
  model = ResNet()
  cost = trace(lambda v, x: model.apply(v, x, train=False))(shapes(model, image), image).cost()
  assert cost.total.work.matmul / 2 == 3_948_251_904
  assert cost.total.parameters == 25_557_032
  assert cost.total.notes == {}


def test_a_dense_layer_by_hand():
  x = jnp.ones((8, 5))
  variables = nn.Dense(3).init(KEY, x)
  cost = trace(nn.Dense(3).apply)(variables, x).cost()
  assert cost[""].own.forward == Work(
    matmul=2 * 8 * 5 * 3, elementwise=8 * 3, transcendentals=0,
    # The product, the bias made [1, 3], the sum.
    read=4 * (8 * 5 + 5 * 3 + 3 + 8 * 3 + 3), written=4 * (8 * 3 + 3 + 8 * 3),
  )  # fmt: skip
  assert cost.total.parameters == 5 * 3 + 3
  assert cost.flops == 8 * 5 * 3 * 2 + 8 * 3


def test_a_product_costs_twice_as_much_backward():
  x = jnp.ones((8, 5))
  model = nn.Dense(3, use_bias=False)
  cost = trace(jax.grad(lambda v, x: model.apply(v, x).sum(), argnums=(0, 1)))(model.init(KEY, x), x).cost()
  assert cost.total.backward.matmul == 2 * cost.total.forward.matmul == 2 * 2 * 8 * 5 * 3


# Against XLA's count, where there are no loops.


@pytest.mark.parametrize("how", ["apply", "gradient"])
def test_xla_counts_the_same(how):
  model, x = Stack("unrolled"), jax.ShapeDtypeStruct((2, 16, 64), jnp.float32)
  run = model.apply if how == "apply" else jax.value_and_grad(lambda v, x: model.apply(v, x).sum())
  variables = shapes(model, x)
  work = trace(run)(variables, x).cost().total.work
  flops, transcendentals = xla(run, variables, x)
  assert work.flops == pytest.approx(flops, rel=2e-3)
  assert work.transcendentals == pytest.approx(transcendentals, rel=2e-3)


# Loops, branches, recomputation.


@pytest.mark.parametrize("run", [forward, gradient], ids=["forward", "gradient"])
def test_a_scanned_model_costs_what_it_costs_unrolled(run):
  x = jax.ShapeDtypeStruct((2, 16, 64), jnp.float32)
  unrolled, scanned = Stack("unrolled"), Stack("scanned")
  one = trace(run(unrolled))(shapes(unrolled, x), x).cost().total
  other = trace(run(scanned))(shapes(scanned, x), x).cost().total
  assert one.work.matmul == other.work.matmul
  # In a gradient JAX takes what is the same in all steps out of the loop.
  assert one.forward.flops == pytest.approx(other.forward.flops, rel=2e-3 if run is gradient else 0)
  assert one.backward.matmul == other.backward.matmul
  assert one.parameters == other.parameters


def test_what_remat_computes_again_is_told_apart():
  x = jax.ShapeDtypeStruct((2, 16, 64), jnp.float32)
  plain, again = Stack("scanned"), Stack("remat")
  one = trace(gradient(plain))(shapes(plain, x), x).cost().total
  other = trace(gradient(again))(shapes(again, x), x).cost().total
  assert one.recomputed == Work()
  assert other.forward.matmul == one.forward.matmul
  assert other.backward.matmul == one.backward.matmul
  # The last product of a block is not needed for its gradient.
  last = 2 * 2 * 16 * 256 * 64 * 3
  assert other.recomputed.matmul == one.forward.matmul - last


def test_the_dearest_branch_counts_and_the_others_are_marked():
  w = jnp.ones((8, 8))

  def fn(p, x):
    return jax.lax.cond(p, lambda x: x @ w @ w, lambda x: x @ w, x)

  found = trace(fn)(True, jnp.ones((4, 8)))
  assert found.cost().total.work.matmul == 2 * (2 * 4 * 8 * 8)
  assert [(e.times, e.notes) for e in found.equations() if e.primitive == "dot_general"] == [
    (0, ("other branch",)), (1, ()), (1, ()),
  ]  # fmt: skip
  assert found.cost().total.notes == {"other branch": 1}


def test_a_while_loop_counts_one_iteration_and_says_so():
  def fn(x):
    return jax.lax.while_loop(lambda c: c[0] < 9, lambda c: (c[0] + 1, jnp.tanh(c[1])), (0, x))

  total = trace(fn)(jnp.ones(5)).cost().total
  assert total.work.transcendentals == 5
  assert total.notes == {"per iteration": 3}


def test_a_scan_in_a_scan_multiplies():
  def inner(c, _):
    return jnp.sin(c), None

  def outer(c, _):
    return jax.lax.scan(inner, c, None, length=3)[0], None

  found = trace(lambda x: jax.lax.scan(outer, x, None, length=4)[0])(jnp.ones(5))
  assert found.cost().total.work.transcendentals == 5 * 3 * 4
  assert [e.times for e in found.equations()] == [1, 4, 12]


def test_custom_rules_are_followed():
  @jax.custom_vjp
  def square(x):
    return x * x

  square.defvjp(lambda x: (x * x, x), lambda x, g: (jnp.sin(x) * g,))

  class Squared(nn.Module):
    @nn.compact
    def __call__(self, x):
      return square(x)

  found = trace(jax.grad(lambda x: Squared().apply({}, x).sum()))(jnp.ones(5))
  total = found.cost()[""].own
  assert (total.forward.elementwise, total.backward.elementwise, total.backward.transcendentals) == (5, 5, 5)
  assert found.cost().own.backward.flops == 0


def test_a_primitive_without_a_rule_is_named():
  def fn(x):
    return jax.pure_callback(lambda x: np.sin(x), jax.ShapeDtypeStruct((5,), jnp.float32), x)

  cost = trace(fn)(jnp.ones(5)).cost()
  assert cost.total.notes == {"unknown pure_callback": 1}
  work = cost.total.work
  assert (work.matmul, work.elementwise, work.transcendentals) == (0, 0, 0)
  assert cost.total.work.bytes == 2 * 5 * 4


# Symbolic dimensions.


def test_costs_are_formulas_in_symbolic_dimensions():
  found = trace(Block().init)(KEY, "f32[b,t,64]")
  cost = found.cost()
  assert str(cost.total.work.matmul) == "256*b*t^2 + 98304*b*t"
  assert str(cost["Dense_1"].total.work.matmul) == "32768*b*t"
  numbers = trace(Block().init)(KEY, "f32[8,512,64]").cost()
  assert cost.at(b=8, t=512) == numbers
  with pytest.raises(DimensionMissingError, match=r"'t' of .* has no number\. Write \.at\(t=8, \.\.\.\)"):
    cost.at(b=8)
  with pytest.raises(DimensionMissingError, match="You gave 'tt'"):
    cost.at(b=8, tt=512)


@pytest.mark.parametrize("how", ["unrolled", "scanned", "remat"])
def test_a_trace_at_numbers_is_the_trace_that_they_give(how):
  model = Stack(how)
  found = trace(model.init_with_output)(KEY, "f32[b,t,64]")
  assert found.result[0] == Spec(("b", "t", 64), "float32")
  at = found.at(b=2, t=3)
  assert at == trace(model.init_with_output)(KEY, "f32[2,3,64]")
  assert at.cost() == found.cost().at(b=2, t=3)
  with pytest.raises(DimensionMissingError, match="'t'"):
    found.at(b=2)


def test_strides_give_formulas_with_floors():
  model = nn.Conv(4, (3,), strides=2)
  trace(model.init)(
    KEY, "f32[b,t,2]"
  )  # the first time, some of JAX's initializers have literals in other places
  found = trace(model.init)(KEY, "f32[b,t,2]").cost()
  for t in (6, 7):
    assert found.at(b=3, t=t) == trace(model.init)(KEY, f"f32[3,{t},2]").cost()


@pytest.mark.parametrize(
  "layer, x, told",
  [
    (nn.Dense(3), "f32[b,t]", r"dimension 't'.*gives \(t, 3\), for inputs \(f32\[b,t\]\)"),
    (nn.Conv(3, (3,)), "f32[b,8,c]", r"dimension 'c'.*gives \(3, c, 3\), for inputs"),
    (nn.BatchNorm(False), "f32[b,2*c]", r"dimension 'c'.*gives \(2\*c,\), for inputs"),
  ],
)
def test_a_parameter_cannot_depend_on_a_symbolic_dimension(layer, x, told):
  with pytest.raises(nn.errors.SymbolicParamError) as caught:
    trace(layer.init)(KEY, x)
  text = " ".join(str(caught.value).split())
  assert re.search(told, text)
  assert "test_cost.py" in text and "mend a batch or a length may be left open" in text


def test_a_saved_trace_costs_the_same():
  found = trace(Block().init)(KEY, "f32[b,t,64]")
  for again in (Trace.from_json(found.to_json()), pickle.loads(pickle.dumps(found))):
    assert again == found
    assert again.cost().at(b=2, t=3) == found.cost().at(b=2, t=3)
    assert str(again.cost().flops) == str(found.cost().flops)
    assert again.program.names == found.program.names


# Owners.


MODELS = {
  "unrolled": lambda: (Stack("unrolled"), jnp.ones((2, 3, 64))),
  "scanned": lambda: (Stack("scanned"), jnp.ones((2, 3, 64))),
  "remat in scan": lambda: (Stack("remat"), jnp.ones((2, 3, 64))),
  "resnet": lambda: (ResNet((1, 1), 3, 4), jnp.ones((1, 16, 16, 3))),
  "transformer": lambda: (Transformer(2, 16, 2, 32, 8), jnp.ones((1, 4), int)),
}


@pytest.mark.parametrize("how", ["apply", "gradient"])
@pytest.mark.parametrize("name", MODELS)
def test_every_equation_has_one_owner_and_the_parts_add_up(name, how):
  model, x = MODELS[name]()
  run = forward(model) if how == "apply" else gradient(model)
  found = trace(run)(shapes(model, x), x)
  paths = {call.path for call in found.calls()}
  for equation in found.equations():
    assert found.owner(equation) in paths | {None}
  outside = [e for e in found.equations() if found.owner(e) is None]
  # The loss, and gradients that are zero because the input has no influence.
  assert {e.primitive for e in outside} == (set() if how == "apply" else {"reduce_sum", "broadcast_in_dim"})
  cost = found.cost()
  assert sum((e.total for e in found.equations()), Work()) == cost.total.work
  assert sum((c.own.work for _, c in cost.walk()), Work()) == cost.total.work
  assert len(found.equations("**")) + len(outside) == len(found.equations())


def test_an_equation_belongs_to_the_module_whose_names_it_carries():
  """The names that everybody's JAX shows say the same as the owners, where they say it."""
  model, x = Stack("unrolled"), jnp.ones((2, 3, 64))
  found = trace(model.apply)(shapes(model, x), x)
  for equation in found.jaxpr.eqns:
    names = str(equation.source_info.name_stack).split("/")
    owner = found.owner(equation)
    assert owner is not None
    # Inside of the innermost module JAX has names of its own, as that of an einsum.
    assert tuple(n for n in names if n)[1 : len(owner) + 1] == owner


@pytest.mark.parametrize("how", ["apply", "gradient"])
@pytest.mark.parametrize("name", MODELS)
def test_every_equation_belongs_to_a_call_and_to_a_line_of_the_users(name, how):
  model, x = MODELS[name]()
  run = forward(model) if how == "apply" else gradient(model)
  found = trace(run)(shapes(model, x), x)
  for equation in found.equations():
    chain = [found.records[call] for call in equation.calls]
    assert all(isinstance(call, Call) for call in chain)
    for outer, inner in itertools.pairwise(chain):
      assert outer in found.parents(inner)
    assert found.owner(equation) == (chain[-1].path if chain else None)
    if chain:
      assert equation.source is not None and "/jax/" not in equation.source.file
  by_call = [sum((e.total for e in found.equations() if e.call == c.order), Work()) for c in found.calls()]
  outside = sum((e.total for e in found.equations() if e.call == -1), Work())
  assert sum(by_call, outside) == found.cost().total.work


def test_a_line_of_the_users_owns_what_it_led_to():
  def doubled(x):
    y = jnp.sin(x) * 2
    return y + 1

  lines, start = {}, doubled.__code__.co_firstlineno
  for e in trace(jax.grad(lambda x: doubled(x).sum()))(jnp.ones(3)).equations():
    lines.setdefault(e.source.line - start, []).append(e.primitive)
  assert lines[1] == ["sin", "cos", "mul", "mul", "mul"] and "add" in lines[2]


def here(fun, x):
  return fun(x)


def there(fun, x):
  return fun(x)


@pytest.mark.parametrize(
  "fun",
  [
    jax.nn.relu, jax.nn.softmax, jnp.linalg.norm, jnp.median, jax.jit(jax.nn.gelu), jax.checkpoint(jax.nn.silu),
    lambda x: jax.lax.map(jax.nn.relu, x), jax.grad(lambda x: jax.nn.logsumexp(x)),
  ],
)  # fmt: skip
def test_what_jax_traced_once_is_of_the_line_that_calls_it(fun):
  """JAX keeps the bodies of its own functions, from one trace to the next too; no line is told that called before."""
  trace(lambda x: here(fun, x))("f32[3]")
  both = trace(lambda x: (here(fun, x), there(fun, x)))("f32[3]").equations()
  assert {e.source.file for e in both} == {__file__}
  first, second = ([e.primitive for e in both if e.source.function == f.__name__] for f in (here, there))
  assert first == second and (first or "<lambda>" in {e.source.function for e in both})


def test_a_jitted_module_that_is_called_again_stands_in_the_call_that_is_there():
  class Twice(nn.Module):
    @nn.compact
    def __call__(self, x):
      dense = nn.jit(nn.Dense)(4)
      return dense(dense(x))

  found = trace(Twice().init)(KEY, jnp.ones((2, 4)))
  products = [e for e in found.equations() if e.primitive == "dot_general"]
  outer = [call for call in found.calls() if call.path and found.span_of(call).path == ()]
  assert len(products) == len(outer) == 2
  for product, call in zip(products, outer):
    assert [o.order in product.calls for o in outer] == [o is call for o in outer]


def test_nobody_can_spell_a_mark():
  class Named(nn.Module):
    @nn.compact
    def __call__(self, x):
      with jax.named_scope("@@0@@"), jax.named_scope("@@init@@"), jax.named_scope("init"):
        return nn.Dense(3)(x) * 2

  model, x = Named(), jnp.ones((2, 5))
  variables = model.init(KEY, x)
  plain = jax.make_jaxpr(model.apply)(variables, x).jaxpr
  found = trace(model.apply)(variables, x)

  def names(jaxpr):
    return [str(e.source_info.name_stack) for e in jaxpr.eqns]

  assert names(plain) == names(found.jaxpr) and "@@0@@" in names(plain)[0]
  assert {e.phase for e in found.equations()} == {"forward"}
  assert [found.owner(e) for e in found.equations() if e.primitive in ("dot_general", "mul")] == [
    ("Dense_0",),
    (),
  ]


def test_owners_of_jaxs_own_equations():
  found = trace(Stack("scanned").init)(KEY, jnp.ones((2, 3, 64)))
  scan = next(e for e in found.jaxpr.eqns if e.primitive.name == "scan")
  assert found.owner(scan) == ("ScanBlock_0",)
  inner = next(e for e in scan.params["jaxpr"].jaxpr.eqns if e.primitive.name == "rsqrt")
  assert found.owner(inner) == ("ScanBlock_0", "LayerNorm_0")
  with pytest.raises(UnknownEquationError, match="rsqrt is no equation of this trace"):
    trace(nn.relu)(jnp.ones(3)).owner(inner)


def test_an_equation_of_a_function_that_several_modules_share_has_no_single_owner():
  found = trace(lambda x: nn.Sequential([Halved(name="a"), Halved(name="b")]).apply({}, x))(jnp.ones(3))
  inner = next(e for e in found.jaxpr.eqns if e.primitive.name == "jit").params["jaxpr"].jaxpr.eqns[0]
  with pytest.raises(UnknownEquationError, match=r"several modules: .*trace\.equations\(\)"):
    found.owner(inner)


@jax.jit
def halved(x):
  return x / 2


class Halved(nn.Module):
  def __call__(self, x):
    return halved(x)


def test_a_whole_training_step():
  model, x = nn.Sequential([nn.Dense(16), nn.relu, nn.Dense(4)]), jnp.ones((8, 5))
  optimizer = optax.adam(1e-3)
  params = model.init(KEY, x)
  state = jax.eval_shape(optimizer.init, params)

  def step(params, state, x):
    loss, grads = jax.value_and_grad(lambda p: (model.apply(p, x) ** 2).mean())(params)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss

  found = trace(jax.jit(step))(params, state, x)
  cost = found.cost()
  forward = 2 * 8 * (5 * 16 + 16 * 4)
  assert cost.total.forward.matmul == forward
  assert cost.total.backward.matmul == forward + 2 * 8 * 16 * 4  # no gradient of the input of the first layer
  assert cost.own.work.flops > 10 * cost.total.parameters  # Adam is nobody's
  assert {c.path for _, c in cost.walk()} == {(), ("layers_0",), ("layers_2",)}


class Head(nn.Module):
  encoder: nn.Module

  def __call__(self, x):
    return self.encoder(x)


class TwoHeads(nn.Module):
  @nn.compact
  def __call__(self, x, y):
    encoder = nn.Dense(4, name="encoder")
    return Head(encoder, name="left")(x), Head(encoder, name="right")(y)


def test_what_a_module_is_given_costs_in_the_call_that_runs_it():
  """The encoder's row has all of its work; each head has none of its own, but runs half of it."""
  x = jnp.ones((2, 4))
  trace_of = trace(TwoHeads().init)(jax.random.key(0), x, x)
  cost = trace_of.cost()
  whole, left, right = (cost[path].total.running.flops for path in ("encoder", "left", "right"))
  assert (left, right) == (2 * 2 * 4 * 4 + 2 * 4,) * 2
  assert whole == left + right
  assert cost["left"].own.work == Work()
  assert "Nothing is computed" not in str(viz.graph(trace_of))


def test_two_models_in_one_function_have_their_own_costs():
  one, other, x = nn.Dense(3), nn.Dense(4), jnp.ones((2, 5))

  def both(v, w, x):
    return one.apply(v, x).sum() + other.apply(w, x).sum()

  cost = trace(both)(shapes(one, x), shapes(other, x), x).cost()
  assert [(c.module, c.total.work.matmul, c.total.parameters) for c in cost.inside] == [
    ("Dense", 2 * 2 * 5 * 3, 18), ("Dense", 2 * 2 * 5 * 4, 24),
  ]  # fmt: skip
  assert cost.total.parameters == 42


@pytest.mark.parametrize("wrap", [jax.jit, jax.vmap, jax.checkpoint], ids=["jit", "vmap", "checkpoint"])
def test_modules_under_the_users_own_transforms(wrap):
  model, x = nn.Dense(3), jnp.ones((7, 2, 5))
  variables = model.init(KEY, x)
  run = wrap(lambda x: model.apply(variables, x))
  found = trace(lambda x: jax.grad(lambda x: run(x).sum())(x))(x)
  work = found.cost()[""].total
  assert work.forward.matmul == work.backward.matmul == 2 * 7 * 2 * 5 * 3
  assert found.cost().own.work.matmul == 0


def test_running_the_model_on_shapes_leaves_no_marks_in_real_programs():
  model, x = Stack("scanned"), jnp.ones((2, 3, 64))
  variables = model.init(KEY, x)
  before = jax.jit(model.apply).lower(variables, x).as_text(debug_info=True)
  trace(model.apply)(variables, x)
  with record():
    after = jax.jit(lambda v, x: model.apply(v, x)).lower(variables, x).as_text(debug_info=True)
  assert "Mark" not in before + after


def test_a_cost_in_words():
  x = jnp.ones((8, 5))
  model = nn.Dense(3)
  assert repr(trace(model.apply)(model.init(KEY, x), x).cost()) == "<Cost of apply: 18 parameters, 264 FLOPs>"
  found = trace(gradient(model))(model.init(KEY, x), x).cost()
  assert repr(found[""]) == "<Cost of Dense: 18 parameters, 525 FLOPs, forward 264, backward 261>"
  formula = "272*b*t^2 + 102020*b*t"
  text = repr(trace(Block().init)(KEY, "f32[b,t,64]").cost())
  assert text.startswith(f"<Cost of init: 49,984 parameters, {formula} FLOPs, init ")
  assert f"forward {formula}, " in text and ", estimated (equations: " in text
  assert repr(trace(jnp.sort)(x).cost()).endswith(", estimated (equations: 1)>")


# What is not there.


def test_a_recording_of_real_code_has_no_equations():
  with record() as found:
    nn.Dense(3).init(KEY, jnp.ones((2, 5)))
  with pytest.raises(NoEquationsError, match=r"record it with minilinen\.trace\(function\)"):
    found.cost()


def test_the_cost_of_an_unknown_module():
  cost = trace(Block().init)(KEY, jnp.ones((2, 3, 64))).cost()
  with pytest.raises(NoSuchCostError, match=r"no module at 'Dense_2'.*nearest are 'Dense_"):
    cost["Dense_2"]
  with pytest.raises(NoSuchCostError, match=r"no module at 'Dense_2'.*nearest are 'Dense_"):
    cost.of(0, Path(("Dense_2",)))


def test_a_model_of_175_billion_parameters_costs_no_memory():
  model = Transformer(96, 12288, 96, 50257, 2048, scanned=True)
  cost = trace(model.init)(KEY, "i32[b,2048]").cost()
  assert cost.total.parameters == pytest.approx(175e9, rel=0.01)
  # Kaplan et al. 2020 (arXiv:2001.08361): about 2 FLOPs for each parameter and token, and attention.
  work = cost.at(b=1).total.work.matmul
  assert work / 2048 == pytest.approx(2 * 175e9 + 2 * 2 * 96 * 2048 * 12288, rel=0.01)


def test_all_formulas_may_be_reckoned_with_together():
  trace = nn.trace(nn.Dense(4).init)(jax.random.key(0), "f32[b,3]")
  size = Spec(("b", 4), "float32").size
  for known in (trace, Trace.from_json(trace.to_json())):
    assert str(known.cost().flops + size) == str(trace.cost().flops + size)
    assert formula.at(known.cost().flops + size, {"b": 2}) == formula.at(known.cost().flops, {"b": 2}) + 8


def test_a_ragged_product_contracts_the_sizes_that_it_says():
  sizes = jax.lax.RaggedDotDimensionNumbers(
    dot_dimension_numbers=(((0,), (1,)), ((), ())), lhs_ragged_dimensions=[1], rhs_group_dimensions=[0]
  )
  a, b = jnp.ones((5, 7)), jnp.ones((2, 5, 3))  # [k, m] and [group, k, n]
  cost = trace(lambda a, b, g: jax.lax.ragged_dot_general(a, b, g, sizes))(a, b, jnp.array([3, 4])).cost()
  assert cost.total.forward.matmul == 2 * 7 * 5 * 3
