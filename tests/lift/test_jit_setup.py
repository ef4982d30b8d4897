"""What `nn.jit` compiles under `jit_folds_rngs` is set up before, as in Flax: what `setup` makes goes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
import pytest
from oracle import equations, same

import minilinen

pytestmark = pytest.mark.grid

X = jnp.linspace(-1, 1, 6).reshape(2, 3)
RNGS = {"params": jax.random.key(0), "noise": jax.random.key(1)}
MUTABLE = ["stats", "params"]


class Programs:
  """The models, of a namespace of layers and a function in the place of its `jit`."""

  def __init__(self, nn: Any, jit: Any, log: list[str]):
    self.nn, self.jit = nn, jit
    normal = nn.initializers.normal()

    class Plain(nn.Module):
      rows: int = 3

      def setup(self) -> None:
        log.append("setup")
        self.w = self.param("w", normal, (self.rows, 3))
        self.doubled = self.w * 2

      def __call__(self, x: Any) -> Any:
        log.append("call")
        return x @ self.w[:3] + self.doubled[0]

    class Holds(nn.Module):
      """With a module in a field, and others that it makes, one with a `setup` of its own."""

      inner: nn.Module

      def setup(self) -> None:
        self.b = self.param("b", normal, (3,))
        self.d = nn.Dense(3)
        self.several = [Plain(5), nn.Dense(3)]

      def __call__(self, x: Any) -> Any:
        return self.several[1](self.several[0](self.d(self.inner(x)))) + self.b

      def other(self, x: Any) -> Any:
        return self.inner(x) + self.b

    class Fields(nn.Module):
      z: nn.Module
      rest: Any
      named: Any

      def setup(self) -> None:
        self.b = self.param("b", normal, (3,))

      def __call__(self, x: Any) -> Any:
        for module in (self.z, *self.rest, self.named["q"], self.named["p"]):
          x = module(x)
        return x + self.b

    class Decorated(nn.Module):
      def setup(self) -> None:
        self.w = self.param("w", normal, (3, 3))

      @jit
      def __call__(self, x: Any) -> Any:
        return x @ self.w

    class Method(nn.Module):
      """A compiled method, when the module is set up already."""

      inner: nn.Module

      def setup(self) -> None:
        self.w, self.d = self.param("w", normal, (3, 3)), Plain()
        self.key = self.make_rng("noise")

      def __call__(self, x: Any) -> Any:
        return self.method(self.method(x) + self.w[0])

      @jit
      def method(self, x: Any) -> Any:
        return self.d(self.inner(x) @ self.w) + jax.random.normal(self.key, (3,))

    class Draws(nn.Module):
      """With keys before and after the variables, and another collection."""

      def setup(self) -> None:
        self.first = self.make_rng("params")
        self.v = self.variable("stats", "v", lambda: jax.random.normal(self.make_rng("noise"), (3,)))
        self.w = self.param("w", normal, (3, 3))
        self.last = self.make_rng("params"), self.make_rng("noise")

      def __call__(self, x: Any) -> Any:
        if self.is_mutable_collection("stats"):
          self.v.value += 1
        keys = (self.first, *self.last, self.make_rng("noise"), self.make_rng("params"))
        return x @ self.w + self.v.value + sum(jax.random.normal(key, (3,)) for key in keys)

    class Calls(nn.Module):
      """A `setup` that calls what it makes."""

      def setup(self) -> None:
        self.p, self.drop = Plain(), nn.Dropout(0.5, deterministic=False, rng_collection="noise")
        self.y = self.drop(self.p(jnp.ones((2, 3))))

      def __call__(self, x: Any) -> Any:
        return self.drop(self.p(x)) + self.y

    class Asks(nn.Module):
      """A `setup` that looks at a module in a field."""

      inner: nn.Module

      def setup(self) -> None:
        self.w = self.inner.w + self.param("w", normal, (3, 3))

      def __call__(self, x: Any) -> Any:
        return self.inner(x @ self.w)

    class Step(nn.Module):
      def setup(self) -> None:
        self.w = self.param("w", normal, (3, 3))

      def __call__(self, x: Any, _: Any) -> tuple[Any, None]:
        return x @ self.w, None

    class Stepped(nn.Module):
      def setup(self) -> None:
        self.p = jit(Plain)()

      def __call__(self, x: Any, _: Any) -> tuple[Any, None]:
        return self.p(x), None

    self.Plain, self.Holds, self.Fields, self.Decorated, self.Method = Plain, Holds, Fields, Decorated, Method
    self.Draws, self.Calls, self.Asks, self.Step, self.Stepped = Draws, Calls, Asks, Step, Stepped

  def inside(self, call: Callable[[Any, Any], Any]) -> Any:
    """A module in which a function of it runs."""

    class Net(self.nn.Module):
      @self.nn.compact
      def __call__(self, x: Any) -> Any:
        return call(self, x)

    return Net()

  def scan(self, cls: Any) -> Any:
    return self.nn.scan(cls, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)

  def vmap(self, cls: Any) -> Any:
    return self.nn.vmap(cls, variable_axes={"params": 0}, split_rngs={"params": True})


def twice(module: Any, x: Any) -> Any:
  return module(module(x))


def both(module: Any, x: Any) -> Any:
  return module.other(module(x))


def looked_at(p: Programs) -> Callable[[Any, Any], Any]:
  """What `setup` made is asked for from outside."""

  def call(module: Any, x: Any) -> Any:
    draws = p.jit(p.Draws)()
    return draws(draws(x @ draws.w)) + jax.random.normal(draws.first, (3,))

  return call


def in_remat(p: Programs) -> Callable[[Any, Any], Any]:
  """A compiled method of a module that another method has set up already."""

  def call(module: Any, x: Any) -> Any:
    inner = p.Method(p.Draws())
    return p.nn.remat(lambda m, x: m.method(x))(inner, inner(x))

  return call


MODELS: dict[str, Callable[[Programs], Any]] = {
  "a class": lambda p: p.jit(p.Plain)(),
  "a method": lambda p: p.Decorated(),
  "a module in a field": lambda p: p.jit(p.Holds)(p.Plain()),
  "modules in fields": lambda p: p.jit(p.Fields)(
    p.Plain(), [p.Plain(), p.Plain(4)], {"q": p.Plain(5), "p": p.Plain(6)}
  ),
  "a module in the field of one in a field": lambda p: p.inside(lambda m, x: p.jit(p.Holds)(p.Holds(p.Plain()))(x)),
  "called twice": lambda p: p.inside(lambda m, x: twice(p.jit(p.Holds)(p.Plain()), x)),
  "two of a class": lambda p: p.inside(lambda m, x: p.jit(p.Plain)()(p.jit(p.Plain)()(x))),
  "a function": lambda p: p.inside(lambda m, x: p.jit(lambda a, x: a(x) * 2)(p.Plain(), x)),
  "a function of several": lambda p: p.inside(
    lambda m, x: p.jit(lambda a, b, x: b(a(x)))(p.Plain(), p.Plain(5), x)
  ),
  "an argument": lambda p: p.inside(lambda m, x: p.jit(lambda m, a, x: a(x) * 2)(m, p.Plain(), x)),
  "a method that is called twice": lambda p: p.Method(p.Plain(4)),
  "a method of a class": lambda p: p.jit(p.Method, methods=["method"])(p.Plain()),
  "keys": lambda p: p.jit(p.Draws)(),
  "keys, called twice": lambda p: p.inside(lambda m, x: twice(p.jit(p.Draws)(), x)),
  "keys, called twice in a field": lambda p: p.inside(
    lambda m, x: twice(p.jit(p.Holds)(p.Draws()), twice(p.Draws(), x))
  ),
  "keys, looked at before a call": lambda p: p.inside(looked_at(p)),
  "set up, in remat": lambda p: p.inside(in_remat(p)),
  "keys of a module in a field": lambda p: p.jit(p.Holds)(p.Draws()),
  "in vmap": lambda p: p.inside(lambda m, x: p.vmap(p.jit(p.Plain))()(x)),
  "in scan": lambda p: p.inside(lambda m, x: p.scan(p.jit(p.Step))()(x, None)[0]),
  "inside of scan": lambda p: p.inside(lambda m, x: p.scan(p.Stepped)()(x, None)[0]),
  "in remat": lambda p: p.inside(lambda m, x: p.nn.remat(p.jit(p.Draws))()(x)),
  "of remat": lambda p: p.inside(lambda m, x: p.jit(p.nn.remat(p.Draws))()(x)),
  "of jit": lambda p: p.inside(lambda m, x: p.jit(p.jit(p.Plain))()(x)),
  "two methods": lambda p: p.inside(
    lambda m, x: both(p.jit(p.Holds, methods=["__call__", "other"])(p.Plain()), x)
  ),
}  # fmt: skip
every_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(autouse=True)
def plain_dicts() -> Iterator[None]:
  with minilinen.config.temp_flip_flag("return_frozendict", False):
    yield


def built(name: str, nn: Any, jit: Any = None, log: list[str] | None = None) -> Any:
  return MODELS[name](Programs(nn, jit or nn.jit, [] if log is None else log))


def jaxprs(model: Any, variables: Any) -> list[Any]:
  """Those of `init`, and of `apply` with and without collections that may be written."""

  def applied(variables: Any, rngs: Any, mutable: Any) -> Any:
    return model.apply(variables, X, rngs=rngs, mutable=mutable)

  return [
    jax.make_jaxpr(lambda rngs: model.init_with_output(rngs, X))(RNGS),
    *(jax.make_jaxpr(lambda v, r, m=m: applied(v, r, m))(variables, RNGS) for m in (False, ["stats"], MUTABLE)),
  ]  # fmt: skip


@every_model
def test_as_flax_to_the_bit(name: str):
  def program(nn: Any) -> Any:
    model = built(name, nn)
    variables = model.init(RNGS, X)
    return variables, list(map(equations, jaxprs(model, variables)))

  same(program)


@pytest.mark.parametrize("name", MODELS)
def test_nothing_runs_more_often_than_in_flax(name: str):
  """Other parameters, and arrays that `setup` makes of them, need no other body."""

  def counts(nn: Any) -> Iterator[int]:
    log: list[str] = []
    model = built(name, nn, log=log)
    for seed in range(2):
      variables = model.init({**RNGS, "params": jax.random.key(seed)}, X)
      yield from map(log.count, ("setup", "call"))
    for factor in (2.0, 3.0):
      scaled = {**variables, "params": jax.tree.map(lambda w, factor=factor: w * factor, variables["params"])}
      model.apply(scaled, X, rngs=RNGS, mutable=MUTABLE)
      yield from map(log.count, ("setup", "call"))
    jax.jit(lambda v: model.apply(v, X, rngs=RNGS))(variables)
    yield from map(log.count, ("setup", "call"))

  theirs = list(counts(flax.linen))
  with minilinen.config.temp_flip_flag("jit_folds_rngs", True):
    ours = list(counts(minilinen))
  assert all(a <= b for a, b in zip(ours, theirs)), (ours, theirs)


@every_model
def test_other_weights_trace_nothing_again_where_keys_depend_on_the_place(name: str):
  def traced_again(nn: Any) -> int:
    log: list[str] = []
    model = built(name, nn, log=log)
    variables = model.init(RNGS, X)
    counts = []
    for factor in (1.0, 2.0, 3.0):
      model.apply(jax.tree.map(lambda w, factor=factor: w * factor, variables), X, rngs=RNGS)
      counts.append(log.count("call"))
    return counts[-1] - counts[0]

  assert traced_again(minilinen) <= traced_again(flax.linen)
