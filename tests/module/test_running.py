"""Ways to run a module: init, apply, bind, methods, functional forms, interceptors."""

from __future__ import annotations

import contextlib
from collections import Counter

import flax.errors
import flax.linen
import jax
import jax.numpy as jnp
import pytest
from oracle import KEY, X, as_flax, core, same, shown

import minilinen

ENCODER_DECODER = {"params": {"e": {"kernel": (4, 2), "bias": (2,)}, "d": {"kernel": (2, 4), "bias": (4,)}}}


@as_flax(
  {
    "init": ENCODER_DECODER,
    "init by encode": {"params": {"e": {"kernel": (4, 2), "bias": (2,)}}},
    "encode": [(3, 2), (3, 2), (3, 2)],
    "a lambda": (3, 4),
    "bound": ((3, 2), (3, 2), ENCODER_DECODER),
    "bound and unbound": [{"params": {"kernel": (4, 2), "bias": (2,)}}] * 2,
  }
)
def test_method_by_name_function_and_lambda(nn):

  class AE(nn.Module):
    def setup(self):
      self.e = nn.Dense(2)
      self.d = nn.Dense(4)

    def __call__(self, x):
      return self.decode(self.encode(x))

    def encode(self, x):
      return self.e(x)

    def decode(self, x):
      return self.d(x)

  m = AE()
  v = m.init(KEY, X)
  bound = m.bind(v)
  return {
    "init": v,
    "init by encode": m.init(KEY, X, method=AE.encode),
    "encode": [m.apply(v, X, method=method) for method in ("encode", AE.encode, m.encode)],
    "a lambda": m.apply(v, X, method=lambda s, x: s.d(s.e(x))),
    "bound": (bound.encode(X), bound.e(X), bound.variables),
    "bound and unbound": [bound.e.variables, bound.e.unbind()[1]],
  }


@as_flax(
  {
    "output": (3, 3),
    "params": {"layers_0": {"kernel": (4, 2), "bias": (2,)}, "layers_1": {"kernel": (2, 3), "bias": (3,)}},
    "log": ["Sequential.__call__", "inner", "Dense.__call__", "inner", "Dense.__call__", "inner"],
  }
)
def test_interceptors_nest(nn):
  log = []

  def f(next_fun, args, kwargs, ctx):
    log.append(f"{type(ctx.module).__name__}.{ctx.method_name}")
    y = next_fun(*args, **kwargs)
    return y * 2 if isinstance(ctx.module, nn.Dense) and ctx.method_name == "__call__" else y

  def g(next_fun, args, kwargs, ctx):
    log.append("inner")
    return next_fun(*args, **kwargs)

  with nn.intercept_methods(f), nn.intercept_methods(g):
    y, variables = nn.Sequential([nn.Dense(2), nn.Dense(3)]).init_with_output(KEY, X)
  return {"output": y, **variables, "log": log}


def bodies_behind_boundaries(nn):
  """What an interceptor sees of each lift, and what is captured there.

  Flax tells besides of calls of modules that it makes and throws away; those have no path, or are of `setup`.
  """

  class Set(nn.Module):
    def setup(self):
      self.d = nn.Dense(4)

    def __call__(self, x, _=None):
      return self.d(self.helper(x)), None

    def helper(self, x):
      return x

  class Compact(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
      return nn.Dense(4)(x), None

  class Jitted(nn.Module):
    @nn.jit
    @nn.compact
    def __call__(self, x):
      return nn.Dense(4)(x)

  def plain(module, x):
    return module(x)

  def scan(cls):
    return nn.scan(cls, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)

  def vmap(target):
    return nn.vmap(target, variable_axes={"params": 0}, split_rngs={"params": True})

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      for cls in (Set, Compact):
        scan(cls)()(x, None)
        vmap(cls)()(x)
        nn.remat(cls)()(x)
        nn.remat(nn.jit(cls))()(x)
      Jitted()(x)
      nn.remat(Set, methods=["__call__", "helper"])()(x)
      d = nn.Dense(4)
      d(x)
      vmap(plain)(nn.Dense(4), x)
      nn.remat(plain)(d, x)
      nn.cond(True, plain, plain, d, x)
      nn.switch(0, [plain, plain], d, x)
      nn.vjp(plain, d, x)
      return x

  log = []

  def listen(next_fun, args, kwargs, ctx):
    seen = ctx.module.path and ctx.method_name != "setup"
    name = f"{type(ctx.module).__name__}.{ctx.method_name} {'/'.join(ctx.module.path)}"
    log.extend([name] if seen else [])
    y = next_fun(*args, **kwargs)
    log.extend(["left"] if seen else [])
    return y

  with nn.intercept_methods(listen):
    v = Net().init(KEY, X)
    at_init = len(log)
    Net().apply(v, X)
  _, captured = Net().apply(v, X, capture_intermediates=lambda module, name: name in ("__call__", "helper"))
  return {"init": log[:at_init], "apply": log[at_init:], "captured": captured["intermediates"]}


# "intermediates" stop at scan and vmap.
@pytest.mark.filterwarnings("ignore::minilinen.errors.DroppedValueWarning")
def test_interceptors_see_the_body_behind_a_boundary_as_any_call():
  found = same(bodies_behind_boundaries)
  calls = Counter(line.split()[-1] for line in found["apply"] if "__call__" in line)
  assert {name: n for name, n in calls.items() if "/" not in name} == {
    "ScanSet_0": 2,
    "VmapSet_0": 1,
    "CheckpointSet_0": 1,
    "CheckpointJitSet_0": 1,
    "CheckpointSet_1": 1,
    "ScanCompact_0": 2,
    "VmapCompact_0": 1,
    "CheckpointCompact_0": 1,
    "CheckpointJitCompact_0": 1,
    "Jitted_0": 1,
    "Dense_0": 7,
    "Dense_1": 1,
  }
  assert {name: sorted(sown) for name, sown in found["captured"].items() if name != "__call__"} == {
    "CheckpointSet_0": ["__call__", "d", "helper"],
    "CheckpointSet_1": ["__call__", "d", "helper"],
    "CheckpointJitSet_0": ["__call__", "d", "helper"],
    "CheckpointCompact_0": ["Dense_0", "__call__"],
    "CheckpointJitCompact_0": ["Dense_0", "__call__"],
    "Jitted_0": ["Dense_0", "__call__"],
    "Dense_0": ["__call__"],
  }
  assert shown(found["captured"]["Dense_0"]["__call__"]) == ((3, 4),) * 5


@as_flax(
  {
    "init": {"params": {"kernel": (4, 3), "bias": (3,)}},
    "apply": (3, 3),
    "init_with_output": ((3, 3), {"params": {"kernel": (4, 3), "bias": (3,)}}),
    "mutable": ((3, 3), {}),
  }
)
def test_functional_init_and_apply(nn):

  def f(m, x):
    return m(x) * 2

  m = nn.Dense(3)
  v = nn.init(f, m)(KEY, X)
  return {
    "init": v,
    "apply": nn.apply(f, m)(v, X),
    "init_with_output": nn.init_with_output(f, m)(KEY, X),
    "mutable": nn.apply(f, m, mutable=["a"])(v, X),
  }


@as_flax(
  {"params": {"layers_0": {"kernel": (3, 2), "bias": (2,)}, "layers_1": {"kernel": (2, 3), "bias": (3,)}}}
)
def test_lazy_init(nn):
  return nn.Sequential([nn.Dense(2), nn.Dense(3)]).lazy_init(KEY, jax.ShapeDtypeStruct((2, 3), jnp.float32))


def test_lazy_init_that_needs_values():
  """An error as in Flax; on the newest JAX, Flax gives zeros instead."""

  def program(nn):
    class Memory(nn.Module):
      @nn.compact
      def __call__(self, x):
        return self.param("w", lambda key: x)

    return Memory().lazy_init(KEY, jax.ShapeDtypeStruct((2, 3), jnp.float32))

  with pytest.raises(minilinen.errors.LazyInitError):
    program(minilinen)
  with contextlib.suppress(flax.errors.LazyInitError):
    assert not jnp.any(program(flax.linen)["params"]["w"])


@as_flax(({"": "C", "Sequential_0": "Sequential", "Dense_0": "Dense", "Dense_1": "Dense"}, ()))
def test_module_paths(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.Sequential([nn.Dense(2), nn.Dense(3)])(x)

  return ({k: type(v).__name__ for k, v in C().module_paths(KEY, X).items()}, C().bind(C().init(KEY, X)).path)


@as_flax(((3, 4), {"batch_stats": {"mean": (4,), "var": (4,)}, "params": {"scale": (4,), "bias": (4,)}}))
def test_bind_with_mutable(nn):
  m = nn.BatchNorm(use_running_average=False)
  v = m.init(KEY, X)
  b = m.bind(v, mutable=["batch_stats"])
  y = b(X)
  return (y, b.variables)


@as_flax(
  {
    "all but params": ((3, 4), {"batch_stats": {"mean": (4,), "var": (4,)}}),
    "a set": ((3, 4), {"batch_stats": {"mean": (4,), "var": (4,)}}),
    "everything at init": {
      "batch_stats": {"mean": (4,), "var": (4,)},
      "params": {"scale": (4,), "bias": (4,)},
    },
  }
)
def test_mutable_as_deny_list_set_and_true(nn):
  D = core(nn).DenyList
  m = nn.BatchNorm(use_running_average=False)
  v = m.init(KEY, X)
  return {
    "all but params": m.apply(v, X, mutable=D("params")),
    "a set": m.apply(v, X, mutable={"batch_stats", "x"}),
    "everything at init": m.init(KEY, X, mutable=True),
  }
