"""Modules share a body that `nn.jit` compiled if they do the same, and no others do: numbers are as without it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import minilinen

X = jnp.arange(6.0).reshape(2, 3) - 2
WHOLE = jnp.arange(6).reshape(2, 3)
HALF = jnp.ones((2,), jnp.bfloat16)
KEY = jax.random.key(0)
Program = Callable[[Any, Any, list[int]], Any]


@dataclasses.dataclass
class Settings:
  scale: Any


def each(values: list[Any], use: Callable[[Any, Any], Any], x: Any = X) -> Program:
  """Modules that differ in a field."""

  def program(nn: Any, jit: Any, log: list[int]) -> Any:
    class Net(nn.Module):
      field: Any

      def __call__(self, x: Any) -> Any:
        log.append(1)
        return use(self.field, x)

    lifted = jit(Net)
    return [lifted(value).apply({}, x) for value in values]

  return program


def times(field: Any, x: Any) -> Any:
  return field * x


def modules(make: Callable[[Any, Any, Any], Any]) -> Program:
  """Modules that are given others, in a module that runs several times."""

  def program(nn: Any, jit: Any, log: list[int]) -> Any:
    class Net(nn.Module):
      a: Any
      b: Any = None
      c: Any = None

      def __call__(self, x: Any) -> Any:
        log.append(1)
        return sum(10**n * m(x) for n, m in enumerate((self.a, self.b, self.c)) if m is not None)

    lifted = jit(Net)

    class Outer(nn.Module):
      @nn.compact
      def __call__(self, x: Any) -> Any:
        return make(nn, lifted, x)

    return twice(Outer())

  return program


def twice(model: Any) -> Any:
  variables = model.init(KEY, X)
  return variables, model.apply(variables, X), model.apply(variables, X)


def in_other_parents(nn: Any, net: Any, x: Any) -> Any:
  class Parent(nn.Module):
    def setup(self) -> None:
      self.inner = nn.Dense(3)

    def __call__(self, x: Any) -> Any:
      return self.inner(x)

  a, b = Parent(), Parent()
  _, a, b = a(x), b(x), (a.inner, b.inner)  # type: ignore[assignment]
  return net(b[0], b[1], b[0])(x), net(b[0], b[1], b[1])(x)


def shared(nn: Any, net: Any, x: Any) -> Any:
  dense = nn.Dense(3)
  return net(dense)(net(dense)(x))


def of_arguments(nn: Any, jit: Any, log: list[int]) -> Any:
  def sums(module: Any, a: Any, b: Any, c: Any, x: Any) -> Any:
    log.append(1)
    return a(x) + 10 * b(x) + 100 * c(x)

  lifted = jit(sums)

  class Outer(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      a, b = nn.Dense(3), nn.Dense(3)
      return a(x), b(x), lifted(self, a, a, b, x), lifted(self, a, b, b, x), lifted(self, a, b, a, x)

  return twice(Outer())


def names(nn: Any, jit: Any, log: list[int]) -> Any:
  def layer(module: Any, x: Any) -> Any:
    log.append(1)
    return nn.Dense(3)(x)

  lifted = jit(layer)

  class Outer(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return nn.Dense(3)(lifted(self, lifted(self, x)))

  return twice(Outer()), twice(Outer())


def of_setup(makes: list[Callable[[Any], Any]]) -> Program:
  """A method that uses what `setup` made, which is another each time."""

  def program(nn: Any, jit: Any, log: list[int]) -> Any:
    now: list[Any] = []

    class Net(nn.Module):
      def setup(self) -> None:
        self.made = now[-1](nn)

      def __call__(self, x: Any) -> Any:
        return self.method(x)

      @jit
      def method(self, x: Any) -> Any:
        log.append(1)
        return self.made * x if isinstance(self.made, float) else self.made(x)

    found = []
    for make in makes:
      now.append(make)
      found.append(twice(Net()))
    return found

  return program


def kept_by_setup(nn: Any, jit: Any, log: list[int]) -> Any:
  """An array from outside that `setup` keeps, or makes others of."""
  table = jnp.ones(3)

  class Net(nn.Module):
    def setup(self) -> None:
      self.whole, self.doubled = table, [table * 2]

    def __call__(self, x: Any) -> Any:
      return self.method(x)

    @jit
    def method(self, x: Any) -> Any:
      log.append(1)
      return self.whole * x + self.doubled[0]

  found = []
  for number in (1.0, 1.0, 2.0):
    table = jnp.full(3, number)
    found.append(Net().apply({}, X))
  return found


def hidden_field(nn: Any, jit: Any, log: list[int]) -> Any:
  class Net(nn.Module):
    scale: float
    doubled: Any = dataclasses.field(init=False, default=None)

    def __post_init__(self) -> None:
      self.doubled = now[-1]
      super().__post_init__()

    def __call__(self, x: Any) -> Any:
      log.append(1)
      return self.doubled * x

  now, found, lifted = [], [], jit(Net)
  for number in (1.0, 1.0, 2.0):
    now.append(number)
    found.append(lifted(1.0).apply({}, X))
  return found


def listening(nn: Any, jit: Any, log: list[int]) -> Any:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      log.append(1)
      return nn.Dense(3, kernel_init=nn.initializers.ones)(x)

  def double(run: Any, args: Any, kwargs: Any, context: Any) -> Any:
    return 2 * run(*args, **kwargs)

  model = jit(Net)()
  variables = model.init(KEY, X)
  plain = model.apply(variables, X)
  with nn.intercept_methods(double):
    doubled = model.apply(variables, X)
  kept = [
    model.apply(variables, X, capture_intermediates=keep, mutable=["intermediates"])[1]
    for keep in (lambda module, name: False, True)
  ]
  return plain, doubled, model.apply(variables, X), [sorted(k.get("intermediates", {})) for k in kept]


def mutable(nn: Any, jit: Any, log: list[int]) -> Any:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      log.append(1)
      count = self.variable("state", "count", lambda: jnp.zeros(()))
      if self.is_mutable_collection("state"):
        count.value += 1
      self.sow("seen", "x", x)
      return x * count.value

  model = jit(Net)()
  state = {"state": model.init(KEY, X)["state"]}
  ways = (False, "state", ["seen"], True, ["state", "other"], False, "state")
  return [model.apply(state, X, mutable=way) for way in ways]


def keywords(nn: Any, jit: Any, log: list[int]) -> Any:
  class Net(nn.Module):
    def __call__(self, x: Any, train: Any, k: Any = 1) -> Any:
      log.append(1)
      return x * (2 if train else 3) * k

  model = jit(Net, static_argnames=("train",))() if jit is not plainly else Net()
  ways = [{"train": True}, {"train": False}, {"train": True, "k": 2.0}, {"train": True}]
  return [model.apply({}, X, **way) for way in ways]


def plainly(target: Any) -> Any:
  return target


PROGRAMS: dict[str, Program] = {
  "numbers": each([2.0, 3.0, 2.0], times),
  "numbers of other types": each([1, 1.0, 1], times, WHOLE),
  "zeros": each([0.0, -0.0], times),
  "numbers of numpy": each([2.0, np.float32(2), np.float64(2)], times, HALF),
  "arrays": each([np.ones(3), np.ones(3), 2 * np.ones(3)], times),
  "functions": each([jnp.sin, jnp.cos, jnp.sin], lambda f, x: f(x)),
  "functions made anew": each([lambda x, k=k: k * x for k in (1.0, 2.0, 1.0)], lambda f, x: f(x)),
  "tuples": each([(1, 2), (1.0, 2.0), (1, 2)], lambda pair, x: pair[1] * x, WHOLE),
  "dicts": each([{"a": 1}, {"a": 2}, {"a": 1}], lambda d, x: d["a"] * x),
  "dataclasses": each([Settings(1.0), Settings(2.0), Settings(1.0)], lambda s, x: s.scale * x),
  "dataclasses with arrays": each(
    [Settings(np.ones(3)), Settings(2 * np.ones(3))], lambda s, x: s.scale * x
  ),
  "sets": each([{1.0}, {2.0}], lambda s, x: max(s) * x),
  "modules of its own": modules(lambda nn, net, x: net(nn.Dense(3))(net(nn.Dense(3))(x))),
  "one module": modules(shared),
  "modules in other parents": modules(in_other_parents),
  "which of the arguments": of_arguments,
  "names given inside": names,
  "an initializer of setup": of_setup([lambda nn: nn.Dense(3, kernel_init=nn.initializers.constant(0.5))] * 2),
  "a function of setup": of_setup([lambda nn: lambda x: 2 * x] * 2),
  "a number of setup": of_setup([lambda nn: 2.0, lambda nn: 3.0]),
  "an array of setup": kept_by_setup,
  "a layer of setup": of_setup([lambda nn: nn.Dense(3), lambda nn: nn.Dense(2)]),
  "a field that is not passed": hidden_field,
  "who listens": listening,
  "mutable": mutable,
  "static by name": keywords,
}  # fmt: skip
# Where Flax shares a body among modules that do not do the same.
FLAX_IS_WRONG = {
  "numbers of other types", "zeros", "numbers of numpy", "tuples", "names given inside", "a number of setup",
  "an array of setup", "a layer of setup", "who listens",
}  # fmt: skip


@pytest.fixture(autouse=True)
def folded() -> Iterator[None]:
  """Keys as Flax has them at a jitted module, and what `init` returns as Flax does."""
  with (
    minilinen.config.temp_flip_flag("jit_folds_rngs", True),
    minilinen.config.temp_flip_flag("return_frozendict", False),
  ):
    yield


def run(nn: Any, jit: Any, program: Program) -> tuple[Any, int]:
  log: list[int] = []
  return program(nn, jit, log), len(log)


def agree(a: Any, b: Any) -> bool:
  """Whether results have the same form, types and numbers, but for last bits, which compilers may round otherwise."""
  (flat_a, tree_a), (flat_b, tree_b) = jax.tree.flatten(a), jax.tree.flatten(b)
  pairs = list(zip(flat_a, flat_b))
  return tree_a == tree_b and all(
    a == b
    if isinstance(a, str)
    else a.dtype == b.dtype
    and a.shape == b.shape
    and np.allclose(a, b, rtol=1e-5)
    and np.array_equal(np.signbit(a.astype(float)), np.signbit(b.astype(float)))
    for a, b in pairs
  )


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_body_is_shared_by_those_that_do_the_same(name: str):
  plain, _ = run(flax.linen, plainly, PROGRAMS[name])
  theirs, their_traces = run(flax.linen, flax.linen.jit, PROGRAMS[name])
  with minilinen.config.temp_flip_flag("jit_folds_rngs", False):
    unfolded, _ = run(minilinen, minilinen.jit, PROGRAMS[name])
  ours, our_traces = run(minilinen, minilinen.jit, PROGRAMS[name])
  assert agree(unfolded, plain)
  if name in FLAX_IS_WRONG:
    assert not agree(theirs, plain)
  else:
    assert agree(ours, theirs)
    assert our_traces <= their_traces


def test_arrays_that_flax_takes_for_no_fields():
  """Keys, and arrays whose type gives way to another's."""
  keys = each([KEY, jax.random.key(1), KEY], lambda key, x: x + jax.random.normal(key, ()))
  numbers = each([jnp.asarray(2.0), jnp.array(2.0, jnp.float32), jnp.asarray(2.0)], times, HALF)
  for program in (keys, numbers):
    ours, traces = run(minilinen, minilinen.jit, program)
    assert agree(ours, run(minilinen, plainly, program)[0])
    assert traces == 2
    with pytest.raises(TypeError):
      run(flax.linen, flax.linen.jit, program)
