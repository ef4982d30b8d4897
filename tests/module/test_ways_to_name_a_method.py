"""Every way to name the method that runs, of a model and of what is lifted, does what it does in Flax."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from oracle import KEY, X, equations, same, same_error, same_or_error

import minilinen
from minilinen import errors

pytestmark = pytest.mark.grid


def models(nn):
  class Encoder(nn.Module):
    k: int = 1

    def setup(self):
      self.first, self.second = nn.Dense(4), nn.Dense(4)

    def encode(self, x):
      return self.first(x) * self.k

    def twice(self, x):
      return self.second(self.encode(x))

    def __call__(self, x):
      return self.encode(x)

  class Net(nn.Module):
    encoder: nn.Module
    k: int = 1

    @nn.compact
    def __call__(self, x):
      return nn.Dense(4)(self.encoder(x)) * self.k

    def encode(self, x, k=1):
      return self.encoder.encode(x) * k

    @staticmethod
    def plus_one(x):
      return x + 1

  return Net, Encoder


METHODS = {
  "name": lambda Net, model: "encode",
  "unbound": lambda Net, model: Net.encode,
  "bound": lambda Net, model: model.encode,
  "bound call": lambda Net, model: model.__call__,
  "lambda over a submodule": lambda Net, model: lambda model, x: model.encoder.twice(x),
  "partial of an unbound method": lambda Net, model: partial(Net.encode, k=3),
  "partial of a function": lambda Net, model: partial(lambda model, x, k: model.encode(x) * k, k=2),
  "partial of a partial": lambda Net, model: partial(partial(Net.encode, k=3), k=4),
  "static": lambda Net, model: "plus_one",
  "callable object": lambda Net, model: type("Way", (), {"__call__": lambda self, m, x: m.encode(x)})(),
}
RUNS = {
  "init": lambda nn, model, variables, method: model.init(KEY, X, method=method),
  "init_with_output": lambda nn, model, variables, method: model.init_with_output(KEY, X, method=method),
  "apply": lambda nn, model, variables, method: model.apply(variables, X, method=method),
  "lazy_init": lambda nn, model, variables, method: model.lazy_init(KEY, X, method=method),
  "tabulate": lambda nn, model, variables, method: bool(model.tabulate(KEY, X, method=method)),
  "module_paths": lambda nn, model, variables, method: sorted(model.module_paths(KEY, X, method=method)),
  "captured": lambda nn, model, variables, method: model.apply(
    variables, X, method=method, capture_intermediates=True
  ),
  "jit": lambda nn, model, variables, method: jax.jit(lambda v: model.apply(v, X, method=method))(variables),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_model_runs_the_method_that_is_named(method, run):
  def program(nn):
    Net, Encoder = models(nn)
    model = Net(Encoder())
    variables = model.init(KEY, X, method=lambda model, x: (model(x), model.encoder.twice(x)))
    return run(nn, model, variables, method(Net, model))

  same_or_error(program)


@pytest.mark.parametrize("method", ["unbound", "lambda over a submodule", "partial of a function"])
def test_functions_of_a_model_run_the_method_that_is_given(method):
  def program(nn):
    Net, Encoder = models(nn)
    model = Net(Encoder())
    fn = METHODS[method](Net, model)
    y, variables = nn.init_with_output(fn, model)(KEY, X)
    return y, variables, nn.apply(fn, model)(variables, X), nn.init(fn, model)(KEY, X)

  same(program)


@pytest.mark.parametrize("method, name", [("nosuch", "AttributeError"), (3, "ApplyModuleInvalidMethodError")])
def test_what_is_no_method_is_refused_with_errors_that_who_catches_flax_s_catches(method, name):
  def program(nn):
    return nn.Dense(3).init(KEY, X, method=method)

  same_error(program, name)


def test_a_method_of_a_submodule_says_how_it_is_called():
  Net, Encoder = models(minilinen)
  model = Net(Encoder())
  variables = model.init(KEY, X)
  for method in (model.encoder.encode, Encoder.encode):
    with pytest.raises(AttributeError) as error:
      model.apply(variables, X, method=method)
    text = " ".join(str(error.value).split())
    assert "it runs Encoder.encode, a method of another class" in text
    assert "right lambda model, x: model.encoder.encode(x)" in text
  model.apply(variables, X, method=lambda model, x: model.encoder.encode(x))


def test_a_method_of_another_class_without_a_holder_names_both_classes():
  _, Encoder = models(minilinen)
  with pytest.raises(
    errors.NoSuchAttributeError, match=r"one of Dense; run the\s+method on a model of Encoder"
  ):
    minilinen.Dense(3).init(KEY, X, method=Encoder.encode)


def test_a_method_that_only_asks_for_what_both_have_runs_on_another_class():
  def program(nn):
    Net, _ = models(nn)

    class Other(nn.Module):
      k: int = 5

      def scaled(self, x):
        return x * self.k

    return Net(nn.Dense(3), k=7).apply({}, X, method=Other().scaled)

  same(program)


# What is lifted.

LIFTS = {
  "jit": lambda nn: nn.jit,
  "remat": lambda nn: nn.remat,
  "checkpoint": lambda nn: nn.checkpoint,
  "vmap": lambda nn: partial(nn.vmap, variable_axes={"params": None}, split_rngs={"params": False}),
  "map_variables": lambda nn: partial(
    nn.map_variables, mapped_collections="params", trans_in_fn=lambda t: t, init=True
  ),
  "add_metadata_axis": lambda nn: partial(nn.add_metadata_axis, variable_axes={"params": 0}),
}


def both_passes(model, **kwargs):
  y, variables = model.init_with_output(KEY, X, **kwargs)

  def loss(params):
    return jnp.sum(model.apply({"params": params}, X, **kwargs) ** 2)

  gradient = equations(jax.make_jaxpr(jax.grad(loss))(variables["params"]))
  return y, variables, model.apply(variables, X, **kwargs), gradient


def inside(nn, lift, Net, Encoder):
  class Outer(nn.Module):
    @nn.compact
    def __call__(self, x):
      x = lift(partial(nn.Dense, 4))()(x)
      x = lift(partial(Encoder, k=2))(name="named")(x)
      return lift(Encoder)(k=3)(x)

  return both_passes(Outer())


TARGETS = {
  "class": lambda nn, lift, Net, Encoder: both_passes(lift(Encoder)()),
  "partial of a class": lambda nn, lift, Net, Encoder: both_passes(lift(partial(Encoder, k=3))()),
  "partial of a class, set again": lambda nn, lift, Net, Encoder: both_passes(
    lift(partial(Encoder, k=3))(k=4)
  ),
  "partial of a layer": lambda nn, lift, Net, Encoder: both_passes(lift(partial(nn.Dense, 3))()),
  "partial of what is lifted": lambda nn, lift, Net, Encoder: both_passes(
    nn.remat(partial(lift(Encoder), k=2))()
  ),
  "inside": inside,
  "unbound method": lambda nn, lift, Net, Encoder: both_passes(Encoder(), method=lift(Encoder.twice)),
  "partial of a function": lambda nn, lift, Net, Encoder: both_passes(
    Encoder(), method=lift(partial(lambda model, x, k: model.twice(x) * k, k=2))
  ),
  "partial of an unbound method": lambda nn, lift, Net, Encoder: both_passes(
    Encoder(), method=lambda model, x: lift(partial(Encoder.twice))(model, x)
  ),
  "callable object": lambda nn, lift, Net, Encoder: both_passes(
    Encoder(), method=lift(type("Way", (), {"__call__": lambda self, model, x: model.twice(x)})())
  ),
  "submodule": lambda nn, lift, Net, Encoder: both_passes(
    Encoder(), method=lambda model, x: lift(lambda first, x: first(x))(model.first, x)
  ),
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("lift", LIFTS.values(), ids=LIFTS)
def test_a_transform_lifts_whatever_can_be_called_with_a_module(lift, target):
  def program(nn):
    return target(nn, lift(nn), *models(nn))

  same_or_error(program)


@pytest.mark.parametrize("methods", [["twice"], ("encode", "twice"), {"encode": {}, "twice": {}}, []])
@pytest.mark.parametrize("lift", ["jit", "remat"])
def test_methods_say_which_are_lifted(lift, methods):
  def program(nn):
    _, Encoder = models(nn)
    Lifted = LIFTS[lift](nn)(Encoder, methods=methods)
    return both_passes(Lifted(), method="twice"), both_passes(Lifted(), method=Lifted.encode)

  same(program)


def test_a_partial_of_a_class_stays_one():
  Lifted = minilinen.jit(partial(minilinen.Dense, features=3))
  assert isinstance(Lifted, partial) and Lifted.keywords == {"features": 3}
  assert Lifted.func.__name__ == "JitDense"


def test_what_has_no_name_is_spoken_of_by_what_it_calls():
  class Net(minilinen.Module):
    @minilinen.compact
    def __call__(self, x):
      return minilinen.remat(partial(helper, k=2))(self, x)

  def helper(model, x, k):
    return minilinen.Dense(3)(x) * k

  trace = Net().trace(KEY, X)
  assert [lift.target.rpartition(".")[2] for lift in trace.lifts] == ["helper"]


def test_a_named_call_takes_a_partial_too():
  def program(nn):
    return nn.Dense(3).init_with_output(KEY, X, method=nn.named_call(partial(lambda m, x, k: m(x) * k, k=2)))

  same(program)
