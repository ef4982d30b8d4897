"""Finds the model that a command line names: `package.module:expression` or `file.py:expression`.

The left half is imported as Python would, with the current folder first on the path; the right half is evaluated
in that module. `cli.py` traces what comes out.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

import minilinen as nn
from minilinen.spelling import did_you_mean
from minilinen.tracing.source import source_of


class TargetError(Exception):
  """The command line names no model."""


def load_model(target: str) -> nn.Module:
  """The module that a target stands for.

  Args:
    target: "package.module:expression" or "file.py:expression". A class is called without arguments.

  Raises:
    TargetError: if there is no such file, module or name, or if it is no `nn.Module`.

  >>> load_model("minilinen.examples.digits:CNN(features=8)").features
  8
  """
  place, colon, expression = target.partition(":")
  if not place or not colon or not expression.strip():
    raise TargetError(
      f"{target!r} does not say which model: write '{place or 'model.py'}:Net()', the file or module, a colon and an"
      " expression that gives the model"
    )
  source = _from_file(place) if place.endswith(".py") else _from_module(place)
  return _checked(_evaluated(expression, source, place), expression)


def _from_file(file: str) -> ModuleType:
  """Runs a file as a module of its own name, with its folder first on the path, as `python file.py` has it."""
  if os.path.isdir(file):
    raise TargetError(f"{file!r} is a folder")
  if not os.path.isfile(file):
    raise TargetError(f"there is no file {file!r}.{did_you_mean(file, _python_files(file))}")
  folder, name = os.path.split(os.path.abspath(file))
  name = name.removesuffix(".py")
  sys.path.insert(0, folder)
  spec = importlib.util.spec_from_file_location(name, file)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  sys.modules[name] = module
  spec.loader.exec_module(module)
  return module


def _from_module(name: str) -> ModuleType:
  if "" not in sys.path and os.getcwd() not in sys.path:
    sys.path.insert(0, os.getcwd())
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    missing = error.name or ""
    if name == missing or name.startswith(f"{missing}."):
      hint = f". For a file, write {name}.py:..." if os.path.isfile(f"{name}.py") else ""
      raise TargetError(f"there is no module {missing!r}{hint}") from error
    raise
  except (ValueError, TypeError) as error:
    raise TargetError(f"{name!r} is no name of a module") from error


def _evaluated(expression: str, source: ModuleType, place: str) -> Any:
  try:
    code = compile(expression.strip(), _EXPRESSION, "eval")
  except SyntaxError as error:
    raise TargetError(f"{expression!r} is no Python expression: {error.msg}") from error
  try:
    return eval(code, dict(vars(source)))
  except Exception as error:
    if not _is_own(error):
      raise
    names = [name for name in vars(source) if not name.startswith("_")]
    if isinstance(error, NameError) and error.name is not None:
      raise TargetError(f"{place} has no {error.name!r}.{did_you_mean(error.name, names)}") from error
    raise TargetError(f"{expression}: {type(error).__name__}: {error}") from error


def _is_own(error: Exception) -> bool:
  """Whether an error happened in the expression itself and not in the user's code that it calls."""
  source = source_of(error)
  return source is not None and source.file == _EXPRESSION


_EXPRESSION = "<expression>"


def _checked(model: Any, expression: str) -> nn.Module:
  """The model, made if it is a class that needs no arguments."""
  if isinstance(model, type) and issubclass(model, nn.Module):
    try:
      model = model()
    except TypeError as error:
      raise TargetError(
        f"{expression} is a class that needs arguments: write {expression}(...) ({error})"
      ) from error
  if isinstance(model, nn.Module):
    return model
  kind = type(model) if not isinstance(model, type) else model
  if any(base.__module__.startswith("flax.") for base in kind.__mro__):
    raise TargetError(
      f"{expression} is a module of Flax; with --flax, or if it imports minilinen instead, it is one of minilinen"
    )
  raise TargetError(f"{expression} is no nn.Module but {type(model).__name__}")


def _python_files(file: str) -> list[str]:
  folder = os.path.dirname(file)
  if not os.path.isdir(folder or "."):
    return []
  return [os.path.join(folder, f) for f in os.listdir(folder or ".") if f.endswith(".py")]
