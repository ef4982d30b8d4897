"""May be skipped: `minilinen run script.py args...`: a program that imports Flax Linen is run on minilinen, untouched.

It sees what `python script.py args...` or `python -m package.module args...` would show it, and ends as it would: with
its own exit code, or with its own traceback.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import runpy
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType

from minilinen.compat.installing import installed


class NoScriptError(Exception):
  """What shall be run is not there."""


def run_script(script: str, arguments: Sequence[str] = (), is_module: bool = False) -> int:
  """Runs a program on minilinen.

  Args:
    script: its file, or with `is_module` the path of its module.
    arguments: what follows on its command line.

  Returns:
    0 if all went well, 1 if it ended with an exception, whose traceback is shown then.

  Raises:
    NoScriptError: if there is no such file or module.
    SystemExit: if the program ends by that.
  """
  folder = os.getcwd() if is_module else os.path.dirname(os.path.abspath(script))
  with _as_started([script, *arguments], folder), installed():
    if is_module and importlib.util.find_spec(script.partition(".")[0]) is None:
      raise NoScriptError(f"there is no module {script.partition('.')[0]!r}")
    if not is_module and not os.path.exists(script):
      raise NoScriptError(f"there is no file {script!r}")
    try:
      if is_module:
        runpy.run_module(script, run_name="__main__", alter_sys=True)
      else:
        runpy.run_path(script, run_name="__main__")
    except Exception as error:
      error.__traceback__ = _of_script(error.__traceback__)
      sys.excepthook(type(error), error, error.__traceback__)
      return 1
  return 0


@contextlib.contextmanager
def _as_started(argv: list[str], folder: str) -> Iterator[None]:
  """The arguments and the path that Python gives a program."""
  before = sys.argv, sys.path[:]
  sys.argv = argv
  sys.path[: 0 if sys.flags.safe_path else 1] = [] if sys.flags.safe_path else [folder]
  try:
    yield
  finally:
    sys.argv, sys.path[:] = before


def _of_script(trace: TracebackType | None) -> TracebackType | None:
  """A traceback from the program's first frame on."""
  step = trace
  while step is not None and step.tb_frame.f_globals.get("__name__") in (__name__, "runpy"):
    step = step.tb_next
  return step or trace
