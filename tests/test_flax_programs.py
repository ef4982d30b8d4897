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
from types import ModuleType
from typing import Any

import flax.linen
import flax_programs
import pytest
from oracle import equal, flax_settings

import minilinen

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


@functools.cache
def flaxs(name: str) -> Any:
  """What the program gives on Flax."""
  theirs = ModuleType(f"{name}_on_flax")
  source = with_flax(inspect.getsource(program(name)))
  assert "minilinen" not in source
  sys.modules[theirs.__name__] = theirs
  exec(compile(source, f"<{name} on Flax>", "exec", dont_inherit=True), vars(theirs))
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    return theirs.run()


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
  assert len(trace.runs) >= 2 and trace.variables()["params"]


def test_all_of_linens_kinds_are_used() -> None:
  """The programs together use most of Linen."""
  text = "".join(inspect.getsource(importlib.import_module(f"flax_programs.{name}")) for name in PROGRAMS)
  used = {name for name in dir(flax.linen) if re.search(rf"\bnn\.{name}\b", text)}
  assert len(used) > 45, sorted(used)
