"""Code written for Flax Linen runs with its imports changed, and gives the same to the last bit.

Each program of tests/flax_programs has a `run`; here its source is run a second time with Flax's imports.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
import sys
import warnings
from collections import Counter
from types import ModuleType
from typing import Any
from unittest import mock

import flax.linen
import flax_programs
import jax
import pytest
from oracle import equal, flax_settings

import minilinen

pytestmark = pytest.mark.grid

PROGRAMS = sorted(m.name for m in pkgutil.iter_modules(flax_programs.__path__))


def with_flax(source: str) -> str:
  """The program as it was before its imports were changed.

  >>> with_flax("import minilinen as nn")
  'import flax.linen as nn'
  >>> with_flax("from minilinen.core import freeze")
  'from flax.core import freeze'
  """
  source = re.sub(r"^(import|from) minilinen\.core\b", r"\1 flax.core", source, flags=re.M)
  return re.sub(r"^(import|from) minilinen\b", r"\1 flax.linen", source, flags=re.M)


def flaxs(name: str) -> Any:
  """What the program gives on Flax."""
  return on_flax(name)[0]


@functools.cache
def on_flax(name: str, jitted: bool = True) -> tuple[Any, Counter[Any]]:
  """What the program gives on Flax, and how often it calls each method of each module.

  Where nothing is jitted, a step that runs three times calls its modules three times.
  """
  calls: Counter[Any] = Counter()

  def counted(method: Any, args: Any, kwargs: Any, told: Any) -> Any:
    calls[type(told.module).__name__, told.module.scope.path, told.method_name] += 1
    return method(*args, **kwargs)

  theirs = ModuleType(f"{name}_on_flax")
  source = with_flax(inspect.getsource(program(name)))
  assert "minilinen" not in source
  sys.modules[theirs.__name__] = theirs
  exec(compile(source, f"<{name} on Flax>", "exec", dont_inherit=True), vars(theirs))
  as_it_is = mock.patch.object(jax, "jit", jax.jit if jitted else lambda function, **_: function)
  with warnings.catch_warnings(), flax.linen.intercept_methods(counted), as_it_is:
    warnings.simplefilter("ignore", DeprecationWarning)
    return theirs.run(), calls


def program(name: str) -> ModuleType:
  return importlib.import_module(f"flax_programs.{name}")


@pytest.mark.parametrize("name", PROGRAMS)
def test_gives_the_same(name: str) -> None:
  with flax_settings():
    equal(flaxs(name), program(name).run())


@pytest.mark.parametrize("name", ["mnist_cnn", "tagger", "vae"])
def test_gives_the_same_with_our_own_settings(name: str) -> None:
  """Frozen dicts, and `nn.jit` that leaves keys alone: the same numbers, for none of these programs jits a module."""
  equal(flaxs(name), program(name).run())


@pytest.mark.parametrize("name", ["graph_net", "vae", "wmt"])
def test_is_traced(name: str) -> None:
  """Recording a program that really runs changes nothing, and tells of every run."""
  with flax_settings(), minilinen.record() as trace:
    result = program(name).run()
  equal(flaxs(name), result)
  calls = Counter((call.module, tuple(call.path), call.method) for call in trace.calls())
  theirs = on_flax(name, jitted=False)[1]
  # Flax's interceptors see `setup` as a call. Each of these models has one, and it runs once a run.
  assert calls == {call: n for call, n in theirs.items() if call[2] != "setup"}
  setups = {module: n for (module, path, method), n in theirs.items() if (path, method) == ((), "setup")}
  assert Counter(run.module for run in trace.runs if run.module in setups) == setups


def test_the_programs_use_linens_kinds() -> None:
  """Layers and transforms of which the programs use none are named here: a program less shows."""
  text = "".join(inspect.getsource(program(name)) for name in PROGRAMS)
  kinds = {name for name, value in vars(flax.linen).items() if is_kind(value)}
  unused = {name for name in kinds if not re.search(rf"\bnn\.{name}\b", text)}
  assert sorted(unused) == UNUSED.split()


def is_kind(value: Any) -> bool:
  if isinstance(value, type):
    return issubclass(value, flax.linen.Module)
  return inspect.isfunction(value) and value.__module__ == "flax.linen.transforms"


UNUSED = """
ConvLSTMCell ConvLocal DenseGeneral Einsum Fp8DirectDotGeneralOp Fp8DotGeneral Fp8DotGeneralOp
Fp8Einsum InstanceNorm MGUCell MultiHeadAttention NANOOFp8DotGeneralOp PReLU RMSNorm RNNCellBase
SelfAttention add_metadata_axis checkpoint fold_rngs grad named_call
"""
