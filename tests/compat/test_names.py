"""Every name of Flax's modules in those that take their place: minilinen's like, or an error that says so."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from types import ModuleType
from typing import Any

import flax.core
import flax.errors
import flax.linen
import jax
import jax.numpy as jnp
import pytest

import minilinen as nn
from minilinen import compat, errors
from minilinen.compat import names

pytestmark = pytest.mark.grid

ROOTS = (flax.linen, flax.core, flax.errors)
PATHS = sorted(
  module.name
  for root in ROOTS
  for module in [
    pkgutil.ModuleInfo(None, root.__name__, True),  # type: ignore[arg-type]
    *pkgutil.walk_packages(getattr(root, "__path__", ()), f"{root.__name__}."),
  ]
)
THEIRS: dict[str, ModuleType] = {path: importlib.import_module(path) for path in PATHS}
KEY, X = jax.random.key(0), jnp.ones((2, 4))


@pytest.fixture(autouse=True)
def exchanged():
  with compat.installed(set_aside=True):
    yield


def is_of_flax_linen(value: Any) -> bool:
  """Whether something is the real Flax's."""
  home = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
  is_exchanged = inspect.ismodule(value) and value is sys.modules.get(str(home))
  return str(home).startswith(("flax.linen", "flax.core", "flax.errors")) and not is_exchanged


def test_every_module_is_there():
  assert {*names.MODULES} == {*PATHS}
  for path in PATHS:
    assert repr(importlib.import_module(path)) == f"<module {path!r} (minilinen)>"
    assert hasattr(THEIRS[path], "__path__") == hasattr(sys.modules[path], "__path__")


@pytest.mark.parametrize("path", PATHS)
def test_a_name_is_there_or_refused_with_advice(path: str):
  module, refused = importlib.import_module(path), set[str]()
  for name, theirs in vars(THEIRS[path]).items():
    if name[0] == "_":
      continue
    if not hasattr(module, name):
      refused.add(name)
      with pytest.raises(errors.NoFlaxNameError) as caught:
        getattr(module, name)
      assert caught.value.plain.startswith(f"{path} has no {name!r} under minilinen.compat: "), name
    else:
      ours = getattr(module, name)
      assert not is_of_flax_linen(ours), name
      if inspect.isclass(theirs) and ours is not Any and name != "FlaxError":
        assert ours.__name__ == theirs.__name__, name
  assert refused <= {*REFUSED.get(path, "").split()}


REFUSED = {
  "flax.core.axes_scan": "build_shaped_array pe",
  "flax.core.frozen_dict": "FrozenKeysView FrozenValuesView",
  "flax.core.lift": "A C CountsHolder TransformContext id_fn set_from_dict tree_map_rngs",
  "flax.core.meta": "B TAxisMetadata get_global_mesh global_mesh_defined",
  "flax.core.partial_eval": "pe",
  "flax.core.scope": "child_rng_token no_flag",
  "flax.core.spmd": "apply_rules composite_rules from_sharding_rules get_mesh get_pspec map_sharding shard_value",
  "flax.linen.dtypes": "T",
  "flax.linen.fp8_ops": "CAN_USE_EARRAY earray pxla",
  "flax.linen.kw_only_dataclasses": "M",
  "flax.linen.module": """CompactNameScope Descriptor DescriptorWrapper K M ModuleBase ParentDescriptor SetupState T
    TestScope ThreadLocalStack capture_call_intermediates create_descriptor_wrapper module_field run_interceptors
    tuple_init tuple_reduce wrap_descriptor_once""",
  "flax.linen.recurrent": "A",
  "flax.linen.summary": "Row Table",
  "flax.linen.transforms": """C InstancePlaceholder ModuleT VariablePlaceholder clean_clone decorator_lift_transform
    decorator_lift_transform_cached fork_rngs get_module_scopes lift_direct_transform lift_transform_cached
    module_class_lift_transform module_class_lift_transform_cached set_module_scopes""",
}


def test_python_can_look_into_them():
  import flax.linen.linear as linear

  assert inspect.getsource(linear) == inspect.getsource(nn.linear)
  assert importlib.reload(linear).Dense is nn.Dense
  assert dict(inspect.getmembers(linear))["Conv"] is nn.Conv


def test_a_star_imports_what_flax_has():
  """minilinen's `trace`, `check` and so on must not take the place of a user's own."""
  found: dict[str, Any] = {}
  exec("from flax.linen import *", found)
  assert {*found} - {*vars(THEIRS["flax.linen"])} <= {"min_pool", "partitioning"}


# Names that real projects reach for.


@pytest.mark.parametrize(
  "path",
  str.split("""core.scope.FrozenVariableDict core.scope.VariableDict core.scope.MutableVariableDict
    core.scope.FrozenDict core.scope.DenyList core.variables.Variable linen.linear.PrecisionLike
    linen.module.VariableDict linen.module.wrap_method_once linen.transforms.lift_transform"""),
)
def test_public_names_are_minilinens_own(path: str):
  module, _, name = path.rpartition(".")
  mine = importlib.import_module(f"minilinen.{module.removeprefix('linen.')}")
  assert getattr(importlib.import_module(f"flax.{module}"), name) is getattr(mine, name)


def given(function: Any, *args: Any) -> Any:
  """What a function gives, or the class of what it raises."""
  try:
    return function(*args)
  except Exception as error:
    return type(error)


AXES = [((-1,), 4), ((0, -2), 4), ((-1, 0), 4), ([1, -1], 3), ((), 2), ([5], 4)]
PRIVATE: dict[tuple[str, str], list[Any]] = {
  ("linear", "_conv_dimension_numbers"): [
    ((2,),),
    ((1, 3),),
    ((1, 8, 3),),
    ((1, 8, 8, 3),),
    ((1, 8, 8, 8, 3),),
  ],
  ("linear", "_canonicalize_tuple"): [(3,), ([1, 2],), ((1,),), ("ab",), (None,)],
  ("linear", "_normalize_axes"): AXES,
  ("normalization", "_canonicalize_axes"): [(rank, axes) for axes, rank in AXES] + [(4, -1), (4, 2)],
  ("summary", "_process_inputs"): [((1,), {}), ((1, 2), {}), ((1,), {"a": 2}), ((), {"a": 2}), ((), {})],
}


@pytest.mark.parametrize("module, name", PRIVATE)
def test_private_functions_give_what_flaxs_give(module: str, name: str):
  ours = getattr(importlib.import_module(f"flax.linen.{module}"), name)
  for args in PRIVATE[module, name]:
    assert given(ours, *args) == given(getattr(THEIRS[f"flax.linen.{module}"], name), *args), args


def calls_of(linen: Any) -> Any:
  """What `_tabulate_context` notes of the calls of a model, and what `_context` has of the modules that run."""
  context, seen = linen.module._context, []

  class Inner(linen.Module):
    def setup(self) -> None:
      self.dense = linen.Dense(3)

    def __call__(self, x: Any) -> Any:
      seen.append(context.module_stack[-1] is self)
      return self.helper(self.dense(x), scale=2)

    def helper(self, x: Any, scale: int) -> Any:
      context.module_stack.append(None)
      free = linen.Dense(2)
      seen.append((free.parent, context.module_stack[-1], context.module_stack.pop()))
      seen.append(context.module_stack[-1] is self)
      return x * scale

  class Net(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
      seen.append(len(context.module_stack))
      return Inner(name="inner")(x)

  seen.append([*context.module_stack])
  with linen.module._tabulate_context():
    Net().init(KEY, X)
    calls = context.call_info_stack[-1].calls
    calls.sort(key=lambda call: call.index)
    told = [
      (c.index, c.path, type(c.module).__name__, c.method, [*c.kwargs], c.args[0].shape, c.outputs.dtype)
      for c in calls
    ]
  return told, seen, context.call_info_stack, [*context.module_stack]


def test_what_is_going_on():
  assert calls_of(importlib.import_module("flax.linen")) == calls_of(THEIRS["flax.linen"])


def test_what_flaxs_other_parts_raise():
  """The errors of checkpoints, files and cursors, which are in `flax.errors` too."""
  import flax.errors as ours

  theirs = THEIRS["flax.errors"]
  of_others = [n for n, cls in vars(theirs).items() if inspect.isclass(cls) and not hasattr(errors, n)]
  assert len(of_others) == 7
  for name in of_others:
    signature = inspect.signature(getattr(theirs, name))
    assert inspect.signature(getattr(ours, name)).parameters.keys() == signature.parameters.keys()
    error = getattr(ours, name)(*["told"] * len(signature.parameters))
    assert (isinstance(error, ours.FlaxError) and "told" in str(error)) or name == "TraverseTreeError"


# Names that are not there.


def test_who_asks_for_a_missing_name_sees_what_python_shows():
  import flax.linen as linen

  assert not hasattr(linen, "Dens") and getattr(linen, "Dens", 3) == 3
  with pytest.raises(AttributeError, match=r"has no 'Dens' under minilinen.compat.*'Dense'"):
    linen.Dens  # type: ignore[attr-defined]  # noqa: B018
  with pytest.raises(ImportError, match=r"has no 'Dens' under minilinen.compat.*'Dense'") as caught:
    from flax.linen import Dens  # type: ignore[attr-defined]  # noqa: F401
  assert caught.value.name == "flax.linen"
  with pytest.raises(ImportError, match="private to Flax"):
    from flax.linen.linear import _other  # type: ignore[attr-defined]  # noqa: F401
  with pytest.raises(
    ModuleNotFoundError, match=r"(?s)No module named 'flax.linen.linaer'.*'flax.linen.linear'"
  ) as lacks:
    importlib.import_module("flax.linen.linaer")
  assert lacks.value.name == "flax.linen.linaer"
  assert importlib.util.find_spec("flax.linen.linaer") is None and importlib.util.find_spec(
    "flax.linen.linear"
  )
  with pytest.raises(ImportError, match="has no 'trace' under"):
    from flax.linen import trace  # type: ignore[attr-defined]  # noqa: F401
  assert nn.trace
