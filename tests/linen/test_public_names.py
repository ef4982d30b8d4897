"""Every public name of flax.linen and flax.core, and of their submodules: where minilinen has it, and called how.

A name is Flax's if it is defined in Flax; what a submodule imports from elsewhere is not asked for, except in the two
namespaces themselves. `NOT_HERE` lists what minilinen leaves out, and why.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import flax
import flax.core
import flax.linen
import jax
import jax.numpy as jnp
import pytest
from oracle import KEY, X, as_flax, core, same, shown

import minilinen
import minilinen.core

PATHS = sorted(
  m.name
  for root in (flax.linen, flax.core)
  for m in [
    pkgutil.ModuleInfo(None, root.__name__, True),
    *pkgutil.walk_packages(root.__path__, f"{root.__name__}."),
  ]  # type: ignore[arg-type]
)
INSIDE = "how Flax is made inside"
TYPES = "type variables and protocols for annotations"
NOT_HERE: dict[str, dict[str, str]] = {
  "flax.linen.activation": {"imported by Flax's file": "Dense"},
  "flax.linen.dtypes": {TYPES: "T"},
  "flax.linen.fp8_ops": {"whether JAX has an array for fm32 outside of jax.jit": "CAN_USE_EARRAY"},
  "flax.linen.kw_only_dataclasses": {TYPES: "M"},
  "flax.linen.linear": {TYPES: "PromoteDtypeFn"},
  "flax.linen.module": {
    TYPES: "K M T",
    "the filter of capture_intermediates=True": "capture_call_intermediates",
    INSIDE: """CompactNameScope Descriptor DescriptorWrapper ModuleBase ParentDescriptor SetupState TestScope
      ThreadLocalStack create_descriptor_wrapper module_field run_interceptors tuple_init tuple_reduce
      wrap_descriptor_once""",
  },
  "flax.linen.recurrent": {TYPES: "A"},
  "flax.linen.summary": {"a table is viz.tabulate's": "Row Table"},
  "flax.linen.transforms": {
    TYPES: "C ModuleT Target",
    INSIDE: """InstancePlaceholder VariablePlaceholder clean_clone decorator_lift_transform
      decorator_lift_transform_cached fork_rngs get_module_scopes lift_direct_transform
      lift_transform_cached module_class_lift_transform module_class_lift_transform_cached set_module_scopes""",
  },
  "flax.core.axes_scan": {INSIDE: "build_shaped_array"},
  "flax.core.frozen_dict": {TYPES: "K V", INSIDE: "FrozenKeysView FrozenValuesView"},
  "flax.core.lift": {
    TYPES: "A C",
    INSIDE: "CountsHolder TransformContext id_fn set_from_dict tree_map_rngs",
  },
  "flax.core.meta": {TYPES: "B TAxisMetadata", INSIDE: "get_global_mesh global_mesh_defined"},
  "flax.core.partial_eval": {"it is minilinen.core.lazy_init": "lazy_init"},
  "flax.core.spmd": {
    "Flax's other module system, NNX, places its arrays by them": """apply_rules composite_rules
      from_sharding_rules get_mesh get_pspec map_sharding shard_value""",
  },
  "flax.core.scope": {
    TYPES: "T",
    INSIDE: "child_rng_token no_flag",
    "minilinen.core has them, in files of their own": """apply bind init lazy_init filter_to_set group_collections
      intersect_filters is_filter_empty subtract_filters union_filters""",
  },
}


def ours_of(path: str) -> Any:
  """The module of minilinen that has the same path; None if there is none."""
  try:
    return importlib.import_module(
      path.replace("flax.linen", "minilinen").replace("flax.core", "minilinen.core")
    )
  except ModuleNotFoundError:
    return None


def left_out(path: str) -> set[str]:
  return set(" ".join(NOT_HERE.get(path, {}).values()).split())


def public(path: str) -> dict[str, Any]:
  """The public names that Flax defines in a module; in a namespace also those that it imports."""
  module = importlib.import_module(path)
  values = {
    name: value for name, value in vars(module).items() if name[0] != "_" and not inspect.ismodule(value)
  }
  if path in ("flax.linen", "flax.core"):
    return {name: value for name, value in values.items() if name != "TYPE_CHECKING"}
  return {
    name: value
    for name, value in values.items()
    if getattr(value, "__module__", None) == path or isinstance(value, (str, int))
  }


@pytest.mark.parametrize("path", PATHS)
def test_minilinen_has(path):
  missing = {name for name in public(path) if name not in left_out(path)}
  if missing:
    missing -= set(dir(ours_of(path)))
  assert not missing


@pytest.mark.parametrize("path", NOT_HERE)
def test_what_is_left_out_is_not_there(path):
  assert left_out(path) <= set(dir(importlib.import_module(path))), "Flax has no such name"
  ours = set(dir(ours_of(path)))
  assert not {name for name in left_out(path) if len(name) > 1} & ours, "no longer left out"


# How they are called.

# A cell's features and carry have two forms, the seed's and Flax's; LazyRng carries its derivation.
OTHERWISE = {
  "LSTMCell.initialize_carry",
  "OptimizedLSTMCell.initialize_carry",
  "LSTMCell",
  "OptimizedLSTMCell",
}
# Transforms are one function for modules and for scopes, with Linen's names and order; what Flax's core calls otherwise
# works by those names too, and by position as far as the order is one.
SAME_POSITIONS = {"flax.core.scan": 10}
NNX = "from_nnx_metadata to_nnx_metadata"
INTERNAL_METHODS = {"Partitioned": NNX, "LogicallyPartitioned": NNX, "LazyRng": "clear_suffix replace"}


def described(default: Any) -> Any:
  """A default in a form that can be compared between libraries."""
  if callable(default):
    return default.__name__ if "float" in getattr(default, "__name__", "") else "a function"
  if isinstance(default, (bool, int, float, str, tuple, type(None))):
    return default
  if hasattr(default, "keys"):
    return dict(default)
  return type(default).__name__ if type(default).__name__ in ("DenyList", "_Broadcast") else "a mark"


def parameters(fn: Any) -> list[inspect.Parameter]:
  return list(inspect.signature(fn).parameters.values())


def check_calls(theirs: Any, ours: Any, positions: int | None = None) -> None:
  """Whatever can be passed to Flax's function can be passed to ours, and means the same."""
  also = getattr(ours, "also_called", {})
  mine = {p.name: p for p in parameters(ours)}
  order = [p.name for p in mine.values() if p.kind != p.KEYWORD_ONLY]
  flaxs = [p.replace(name=also.get(p.name, p.name)) for p in parameters(theirs)]
  by_position = [p.name for p in flaxs if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
  if by_position[-2:] == [
    "parent",
    "name",
  ]:  # a module's; by name only, for a subclass's fields come before them
    by_position = by_position[:-2]
  assert order[: len(by_position)][:positions] == by_position[:positions]
  for p in flaxs:
    if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
      assert any(q.kind == p.kind for q in mine.values()), f"no {p}"
    else:
      assert p.name in mine, f"no {p.name}"
      if p.default is not p.empty and p.name != "parent":
        assert described(mine[p.name].default) == described(p.default), p.name
  for name in mine.keys() - {p.name for p in flaxs}:
    q = mine[name]
    assert q.default is not q.empty or q.kind in (q.VAR_POSITIONAL, q.VAR_KEYWORD), f"{name} must be given"


def callables() -> list[Any]:
  """(path, name) of all public functions and classes, each once, and of the classes' methods."""
  seen, found = set(), []
  for path in PATHS:
    for name, value in public(path).items():
      if (
        not callable(value)
        or not str(getattr(value, "__module__", "")).startswith("flax.")
        or id(value) in seen
      ):
        continue
      if name in left_out(path) or not hasattr(ours_of(path), name):
        continue
      seen.add(id(value))
      found.append((path, name))
      for method in vars(value) if inspect.isclass(value) else ():
        shown = (method[0] != "_" or method == "__call__") and inspect.isroutine(getattr(value, method))
        if shown and method not in INTERNAL_METHODS.get(name, "").split():
          found.append((path, f"{name}.{method}"))
  return found


def reach(module: Any, dotted: str) -> Any:
  for part in dotted.split("."):
    module = getattr(module, part)
  return module


@pytest.mark.parametrize("path,name", callables(), ids=[f"{p}.{n}" for p, n in callables()])
def test_called_as_in_flax(path, name):
  theirs, ours = reach(importlib.import_module(path), name), reach(ours_of(path), name)
  if name in OTHERWISE or name == "Module":
    return
  try:
    inspect.signature(theirs)
  except ValueError:
    return
  check_calls(theirs, ours, SAME_POSITIONS.get(f"{path}.{name}"))


def test_one_transform_for_modules_and_scopes():
  names = "add_metadata_axis cond custom_vjp fold_rngs grad jit jvp map_variables remat remat_scan scan switch vjp vmap"
  for name in [*names.split(), "value_and_grad", "while_loop", "checkpoint"]:
    assert getattr(minilinen, name) is getattr(minilinen.core.lift, name), name


@as_flax(((3, 4), {"params": {"b": {"bias": 1}, "c": {"bias": 1}}}))
def test_core_names_of_arguments(nn):
  lift = core(nn).lift

  def double(scope, x):
    return 2 * x + scope.param("bias", lambda key: jnp.ones(()))

  def run(scope, x):
    shared = lift.vmap(fn=double, variable_axes={"params": None}, split_rngs={"params": False})
    x = shared(scope.push("b"), x)
    mapped = lift.map_variables(
      fn=double, mapped_collections="params", map_in_fn=lambda v: v, map_out_fn=lambda v: v, init=True
    )
    x = mapped(scope.push("c"), x)
    return lift.while_loop(lambda s, c: c.sum() < 99, lambda s, c: c + 1, scope=scope.push("e"), init=x)

  return core(nn).init(run)(KEY, X)


def _own_transform(fn, axes=None, lift=None):
  return lift.vmap(lift.remat(fn), variable_axes=axes or {"params": 0}, split_rngs={"params": True})


@as_flax(
  {
    "a transform of Linen's": {"params": {"bias": (2, 3), "kernel": (2, 4, 3)}},
    "of a user's": {"params": {"Dense_0": {"bias": (2, 5), "kernel": (2, 4, 5)}}},
    "methods by name": {"params": {"bias": (3, 3), "kernel": (4, 3, 3)}},
    "name": ("VmapDense", "_own_transformNet"),
  },
)
def test_a_transform_of_scopes_for_modules(nn):
  lift, lift_transform = core(nn).lift, nn.transforms.lift_transform

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.Dense(5)(x)

  mapped = lift_transform(lift.vmap, nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True})
  own = lift_transform(_own_transform, Net, {"params": 0}, lift=lift)
  options = {"__call__": dict(axes={"params": 1}, lift=lift)}
  named = lift_transform(_own_transform, nn.Dense, methods=options)
  x = jnp.ones((2, 4))
  return {
    "a transform of Linen's": mapped(3).init(KEY, x),
    "of a user's": own().init(KEY, x),
    "methods by name": named(3).init(KEY, jnp.ones((3, 4))),
    "name": (mapped.__name__, own.__name__),
  }


@as_flax(["again", 3, 3])
def test_a_method_that_is_put_on_a_class_by_hand(nn):
  """Parts of a model that are added from outside: `nn.module.wrap_method_once` makes a method of a function."""

  class Net(nn.Module):
    def setup(self):
      self.dense = nn.Dense(3)

  def again(self, x):
    return self.dense(x)

  Net.again = nn.module.wrap_method_once(again)
  assert nn.module.wrap_method_once(Net.again) is Net.again
  y, variables = Net().init_with_output(KEY, X, method="again")
  return [Net.again.__name__, y.shape[-1], Net().apply(variables, X, method=Net.again).shape[-1]]


# Three ways to import.


@pytest.mark.parametrize("path", [p for p in PATHS if p.count(".") == 2 and ours_of(p) is not None])
def test_submodule_in_three_forms(path):
  namespace, _, name = (
    path.replace("flax.linen", "minilinen").replace("flax.core", "minilinen.core").rpartition(".")
  )
  module = ours_of(path)
  assert getattr(importlib.import_module(namespace), name) is module
  assert sys.modules[f"{namespace}.{name}"] is module


def test_imports_in_a_new_process():
  code = """
import minilinen.linear
import minilinen.core.tracers as tracers
from minilinen import fp8_ops, recurrent
from minilinen.attention import MultiHeadDotProductAttention, dot_product_attention
from minilinen.dtypes import promote_dtype
from minilinen.initializers import lecun_normal
from minilinen.linear import Conv, Dense, DenseGeneral, default_embed_init, default_kernel_init
from minilinen.module import Module, compact, merge_param
from minilinen.recurrent import RNNCellBase
from minilinen.core import FrozenDict, Scope
from minilinen.core.frozen_dict import freeze
from minilinen.core.scope import Scope as S, CollectionFilter, DenyList, FrozenVariableDict, MutableVariableDict
from minilinen.core.scope import FrozenDict as F, VariableDict
from minilinen.core.variables import Variable
from minilinen.linear import PrecisionLike
from minilinen.module import VariableDict as V, wrap_method_once
from minilinen.transforms import lift_transform
assert F is FrozenDict and V is VariableDict and Variable is minilinen.Variable
assert minilinen.linear.Dense is Dense is minilinen.Dense and S is Scope
"""
  subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_files_of_the_user_with_names_of_ours(tmp_path):
  """A script beside which files stand that Python finds before ours."""
  for name in (
    "viz",
    "trace",
    "config",
    "configurations",
    "tracing",
    "core",
    "errors",
    "keys",
    "layers",
    "module",
  ):
    (tmp_path / f"{name}.py").write_text("mine = True")
  root = Path(minilinen.__file__).parent.parent
  (tmp_path / "script.py").write_text(f"""
import sys
from pathlib import Path
sys.path.insert(1, {str(root)!r})
import viz, jax
import minilinen as nn
assert viz.mine and sys.modules["viz"] is viz
print(nn.Dense(3).tabulate(jax.random.key(0), "f32[2,4]"))
print(nn.trace(nn.Dense(3).init)(jax.random.key(0), "f32[2,4]"))
from minilinen.cli import main
main(["tabulate", "minilinen:Dense(3)", "-i", "f32[2,4]"])
import viz
assert viz.mine
""")
  env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
  done = subprocess.run(
    [sys.executable, str(tmp_path / "script.py")], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert done.stdout.count("Dense") >= 3


# nn.tabulate, named calls, kw_only_dataclasses.


def named_in(jaxpr):
  """The scopes of names in a program, in the order in which they first come."""
  return list(dict.fromkeys(str(equation.source_info.name_stack) for equation in jaxpr.eqns))


def test_tabulate():
  model = minilinen.Sequential([minilinen.Dense(3), minilinen.Dense(2)])
  assert minilinen.tabulate(model, KEY)(X) == model.tabulate(KEY, X)
  shallow = minilinen.tabulate(model, KEY, depth=0, console_kwargs={"width": 80})(X)
  assert shallow == model.tabulate(KEY, X, depth=0, console_kwargs={"width": 80})
  assert isinstance(flax.linen.tabulate(flax.linen.Dense(2), KEY)(X), str)
  assert minilinen.tabulate(model, KEY, method="__call__", compute_flops=True)(X) == model.tabulate(
    KEY, X, compute_flops=True
  )


@as_flax(
  {
    "at first": ["Net/Dense_0"],
    "disabled": [""],
    "disabled, but here": ["Net/Dense_0"],
    "disabled, after that": [""],
    "enabled, but not here": [""],
    "enabled": ["Net/Dense_0"],
  }
)
def test_named_calls(nn):
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.Dense(2)(x)

  model = Net()
  variables = model.init(KEY, X)

  def names():
    return named_in(jax.make_jaxpr(lambda x: model.apply(variables, x))(X))

  told = {"at first": names()}
  try:
    nn.disable_named_call()
    told["disabled"] = names()
    with nn.override_named_call():
      told["disabled, but here"] = names()
    told["disabled, after that"] = names()
    nn.enable_named_call()
    with nn.override_named_call(False):
      told["enabled, but not here"] = names()
    told["enabled"] = names()
  finally:
    nn.enable_named_call()
  return told


def by_name(module, x):
  return module(x) * 2


@as_flax(
  [
    ["net/inner.by_name/inner/inner/Dense_0", "net/inner.by_name/inner/inner/inner.grow/inner.grow"]
    + ["net/inner.by_name", "net/net.again", "net/dense/dense"],
    ["inner.by_name/inner", "inner.by_name/inner/inner.grow", "inner.by_name", "net.again", "dense"],
    ["net/inner.by_name/inner/inner/Dense_0", "net/inner.by_name/inner/inner/inner.grow/inner.grow"]
    + ["net/inner.by_name", "net/net.again", "net/dense/dense"],
    ["inner", "inner/inner.grow", "", "net.again", "dense"],
  ]
)
def test_named_call(nn):
  """With `force` and without, each while every call is named and while none is."""

  class Inner(nn.Module):
    @nn.compact
    @nn.named_call
    def __call__(self, x):
      return self.grow(nn.Dense(2)(x))

    @nn.named_call
    def grow(self, x):
      return x + 1

  class Net(nn.Module):
    force: bool = True

    def setup(self):
      self.inner = Inner()
      self.dense = nn.Dense(2)

    def __call__(self, x):
      x = nn.named_call(by_name, self.force)(self.inner, x)
      return nn.named_call(nn.Dense.__call__)(self.dense, self.again(x))

    @nn.named_call
    @nn.nowrap
    def again(self, x):
      return x * 3

  told = []
  for force in (True, False):
    for enabled in (True, False):
      model = Net(force, name="net")
      variables = model.init(KEY, X)
      with nn.override_named_call(enabled):
        jaxpr = jax.make_jaxpr(lambda v, m=model: m.apply(v, X))(variables)
      told.append(named_in(jaxpr))
  assert nn.named_call(lambda module, x: x)(Net(), 1) == 1
  return told


def test_named_call_takes_a_module():
  with pytest.raises(TypeError, match="takes a module first"):
    minilinen.named_call(by_name)(X, X)


@as_flax(
  [
    {"a": 1, "b": 2},
    {"a": 1, "b": 3, "c": 2, "d": 4},
    {"a": 1, "b": 4, "c": 2, "d": 3},
    {"x": 1, "y": 5, "z": 7},
    {"x": 1, "y": 2, "z": 3},
  ]
)
def test_kw_only_dataclasses(nn):
  kw = nn.kw_only_dataclasses

  @kw.dataclass
  class Base:
    a: int
    b: int = kw.field(default=3, kw_only=True)

  @kw.dataclass
  class Derived(Base):
    c: int
    d: int = 4

  class Marked:
    x: int
    _: kw.KW_ONLY
    y: int = 5

  Marked.__annotations__["_"] = kw.KW_ONLY
  marked = kw.dataclass(Marked, extra_fields=[("z", int, kw.field(default=7))])
  return [
    dataclasses.asdict(Base(1, b=2)), dataclasses.asdict(Derived(1, 2)), dataclasses.asdict(Derived(1, 2, 3, b=4)),
    dataclasses.asdict(marked(1)), dataclasses.asdict(marked(1, y=2, z=3)),
  ]  # fmt: skip


def test_parent_and_name_are_passed_by_name():
  dense = same(lambda nn: nn.Dense(3, name="a", parent=None).init(KEY, X))
  assert shown(dense) == {"params": {"kernel": (4, 3), "bias": (3,)}}
  assert jnp.issubdtype(minilinen.Dense(3).param_dtype, jnp.floating)
