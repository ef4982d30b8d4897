"""`make mutants`: faults put in one at a time, and whether the tests of the floor they are in notice.

The source is changed in a copy of the tree, never in place: a comparison turned, a number one more or less, a condition
negated, a statement left out ... Of all such changes a sample is tried. What survives is either a hole in the tests or
a change that makes no difference; each is shown with its line. What the same seed chooses is the same on every machine.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import itertools
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Floor -> the files of its tests, those first that notice soonest; of two floors that fit, the longer one is meant.
FLOORS = {
  "minilinen/core/": "core/filters core/design core/frozen_dict errors/every_error tracing/tree_states"
  " core/in_force errors/advice_dicts tracing/trees",
  "minilinen/core/axes_scan": "lift/scan lift/streams_and_state",
  "minilinen/core/home": "errors/traps_lifts errors/advice_lifts errors/traps_carries errors/every_error",
  "minilinen/core/initial": "errors/advice_initializers core/order_of_inputs core/design errors/every_error",
  "minilinen/core/lift/": "lift/scan lift/vmap lift/map_variables lift/jit_and_remat lift/nested_lifts"
  " lift/streams_and_state lift/branches lift/gradients lift/jit_sharing tracing/passes linen/public_names",
  "minilinen/core/lift/carriers": "lift/vmap lift/scan lift/jit_and_remat lift/jit_sharing lift/handed_over"
  " errors/advice errors/every_error tracing/passes",
  "minilinen/core/lift/branches": "lift/branches lift/nested_lifts errors/advice_lifts tracing/passes",
  "minilinen/core/lift/targets": "lift/vmap lift/jit_and_remat errors/advice errors/advice_lifts errors/every_error",
  "minilinen/core/lifted_mistakes": "errors/traps_lifts errors/traps_carries errors/traps_axes"
  " errors/advice_axes errors/advice_lifts errors/advice_mapped",
  "minilinen/core/meta": "core/boxes core/logical_axes core/partitioning lift/scan",
  "minilinen/core/mistakes": "errors/advice errors/every_error errors/traps_modules errors/traps_lifts"
  " errors/traps_derivatives errors/advice_lifts",
  "minilinen/core/nn/": "core/functional_layers core/design",
  "minilinen/core/run": "core/design errors/advice errors/every_error core/in_force module/running",
  "minilinen/core/run_span": "tracing/bound tracing/records core/design core/in_force tracing/rules",
  "minilinen/core/sown": "errors/advice_silent errors/lookalikes errors/traps_lifts errors/traps_values"
  " errors/advice_lifts",
  "minilinen/core/spmd": "core/logical_axes core/partitioning core/sharding core/boxes",
  "minilinen/module/": "module/misuse module/fields module/identity module/naming module/running"
  " module/variables tracing/trees errors/every_error errors/traps_modules errors/advice_modules"
  " errors/tracebacks lift/jit_setup lift/jit_sharing",
  "minilinen/module/arguments": "errors/advice_beginners errors/advice errors/every_error",
  "minilinen/module/backward": "viz/costs",
  "minilinen/module/call": "core/config module/misuse module/running module/naming tracing/trees errors/tracebacks"
  " errors/advice_modules errors/traps_modules lift/jit_setup tracing/cost",
  "minilinen/module/foreign": "errors/advice errors/advice_beginners errors/advice_values errors/traps_values"
  " errors/tracebacks errors/every_error",
  "minilinen/module/mistakes": "errors/advice_asked errors/advice_beginners errors/advice_modules"
  " errors/traps_modules module/misuse errors/every_error",
  "minilinen/module/profile": "tracing/cost module/naming lift/passes_of_bodies",
  "minilinen/tracing/": "tracing/spec tracing/paths tracing/records tracing/files tracing/source"
  " tracing/shared_bodies tracing/run tracing/rules tracing/caches errors/tracebacks tracing/check"
  " errors/every_error errors/advice_traces viz/views",
  "minilinen/tracing/arrays": "tracing/tree_states tracing/trees tracing/rules errors/lookalikes",
  "minilinen/tracing/checks/": "tracing/check tracing/check_variables tracing/bound errors/advice_traces"
  " errors/traps_transforms",
  "minilinen/tracing/draft": "tracing/records tracing/shared_bodies tracing/passes lift/passes_of_bodies",
  "minilinen/tracing/equations/": "tracing/cost tracing/reach viz/graph tracing/files tracing/shared_bodies"
  " tracing/run tracing/check tracing/cost_layers lift/passes_of_bodies",
  "minilinen/tracing/equations/reach": "tracing/reach tracing/check_variables",
  "minilinen/tracing/identity": "tracing/trees tracing/bound tracing/tree_states tracing/model_handles",
  "minilinen/tracing/models": "tracing/model_handles tracing/bound tracing/paths tracing/trees viz/tree",
  "minilinen/tracing/recorder": "tracing/records tracing/bound errors/tracebacks tracing/shared_bodies tracing/run"
  " tracing/passes",
  "minilinen/tracing/rows": "tracing/files tracing/run",
  "minilinen/tracing/statements": "errors/advice_beginners errors/traps_modules errors/every_error",
  "minilinen/tracing/tracebacks": "errors/tracebacks",
  "minilinen/transforms/": "errors/traps_carries lift/streams_and_state lift/branches lift/gradients",
  "viz/": "viz/table viz/tree viz/parts viz/views viz/costs viz/graph viz/models",
  "viz/dot": "viz/graph viz/models",
  "viz/flow": "viz/graph viz/models",
  "viz/house": "viz/graph viz/models",
}
WHERE = ("minilinen/core", "minilinen/module", "minilinen/transforms", "minilinen/tracing", "viz")
TURNED = {
  ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
  ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
NOT_COPIED = (".git", ".venv*", "out", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis")


@dataclass(frozen=True)
class Mutant:
  """A part of a file, and what stands there instead."""

  file: str
  line: int
  start: int
  end: int
  before: str
  after: str
  around: tuple[str, str]

  def __str__(self) -> str:
    before, after = (" ".join(text.split()) for text in (self.before, self.after))
    left, right = self.around
    return f"{self.file}:{self.line}  {left}»{before}«{right}\n    now  {after}"

  def of(self, source: str) -> str:
    """The source with the fault in it; its lines keep their numbers."""
    after = self.after + "\n" * (self.before.count("\n") - self.after.count("\n"))
    whole = self.after in ("pass", "return None") or after == self.after
    return source[: self.start] + (after if whole else f"({after})") + source[self.end :]


def mutants(file: str, source: str) -> Iterator[Mutant]:
  r"""All changes of a file, in the order of its syntax tree.

  >>> for mutant in mutants("a.py", "def f(x, y):\n  if x < 1 and y:\n    x.g(y, z=0)\n  return x"):
  ...   print(mutant.before, "|", mutant.after)
  x < 1 and y | not (x < 1 and y)
  x < 1 and y | x < 1 or y
  x < 1 | x <= 1
  1 | 2
  x.g(y, z=0) | pass
  x.g(y, z=0) | x.g(y)
  0 | 1
  return x | return None
  """
  lines = source.splitlines(keepends=True)
  starts = [0, *itertools.accumulate(map(len, lines))]
  for node, after in _changes(ast.parse(source)):
    line, before = node.lineno - 1, ast.get_source_segment(source, node) or ""
    start = starts[line] + len(lines[line].encode()[: node.col_offset].decode())
    left, right = source[starts[line] : start], source[start + len(before) :].partition("\n")[0]
    yield Mutant(file, node.lineno, start, start + len(before), before, after, (left.lstrip(), right))


def _changes(tree: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
  """Nodes, and what stands in their place."""
  for node in _code(tree):
    for test in _conditions(node):
      yield test, f"not ({ast.unparse(test)})"
    match node:
      case ast.Constant(bool(value)):
        yield node, str(not value)
      case ast.Constant(int(value)):
        yield node, str(value + 1)
      case ast.BoolOp(op, values):
        yield node, ast.unparse(ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values))
      case ast.Compare(left, ops, comparators):
        for i, op in enumerate(ops):
          turned = [*ops[:i], TURNED[type(op)](), *ops[i + 1 :]]
          yield node, ast.unparse(ast.Compare(left, turned, comparators))
      case ast.Call(func, args, keywords):
        for i in range(len(keywords)):
          yield node, ast.unparse(ast.Call(func, args, [*keywords[:i], *keywords[i + 1 :]]))
        if len(args) > 1:
          yield node, ast.unparse(ast.Call(func, args[:-1], keywords))
      case ast.Return(ast.AST() as value) if ast.unparse(value) != "None":
        yield node, "return None"
      case ast.Expr(ast.Call()) | ast.AugAssign() | ast.Delete() | ast.Raise() | ast.Continue() | ast.Break():
        yield node, "pass"
      case ast.Assign([ast.Attribute() | ast.Subscript()]):
        yield node, "pass"


def _conditions(node: ast.AST) -> Iterator[ast.expr]:
  match node:
    case ast.If(test) | ast.IfExp(test) | ast.While(test):
      yield test
    case ast.comprehension(ifs=ifs):
      yield from ifs


# Said about the code, not done by it; in an f-string the places of Python 3.11 are not right.
_NOT_CODE = {"annotation", "returns", "decorator_list", "type_params"}


def _code(node: ast.AST) -> Iterator[ast.AST]:
  """The nodes that do something, each before those in it; what only type checkers read does nothing."""
  if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
    return
  yield node
  for name, value in ast.iter_fields(node):
    if name not in _NOT_CODE:
      for child in value if isinstance(value, list) else [value]:
        if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
          yield from _code(child)


def sample(number: int, seed: int, where: Iterable[str]) -> list[Mutant]:
  """So many changes of the files below some folders."""
  files = [
    f for path in where for f in ([ROOT / path] if path.endswith(".py") else (ROOT / path).rglob("*.py"))
  ]
  every: list[Mutant] = []
  for file in sorted(files):
    every += mutants(file.relative_to(ROOT).as_posix(), file.read_text())
  return random.Random(seed).sample(every, min(number, len(every)))


def floor(file: str) -> str:
  """The floor that a file is on.

  >>> floor("minilinen/core/nn/linear.py"), floor("minilinen/core/scope.py")
  ('minilinen/core/nn/', 'minilinen/core/')
  """
  return max((name for name in FLOORS if file.startswith(name)), key=len)


def files_of(file: str) -> list[str]:
  """The examples in a file, and the tests of its floor.

  >>> files_of("viz/dot.py")
  ['viz/dot.py', 'tests/viz/test_graph.py', 'tests/viz/test_models.py']
  >>> [file for name in FLOORS for file in files_of(name)[1:] if not (ROOT / file).exists()]
  []
  """
  return [file, *(f"tests/{'/test_'.join(theme.split('/'))}.py" for theme in FLOORS[floor(file)].split())]


class Copy:
  """A copy of the tree, in which the tests of a floor run with a fault or without."""

  def __init__(self, at: str):
    self._root = Path(at)
    shutil.copytree(ROOT, self._root, ignore=shutil.ignore_patterns(*NOT_COPIED))

  def notices(self, mutant: Mutant, limit: float) -> str:
    """The first test that fails with the fault and passes without, "" if none does."""
    file = self._root / mutant.file
    source = file.read_text()
    try:
      self._write(file, mutant.of(source))
      tests = files_of(mutant.file)
      failed = self._fails(tests, limit)
    finally:
      self._write(file, source)
    # Where no test is named, none could run.
    if failed and self._fails([failed] if "::" in failed else ["--collect-only", *tests], limit):
      sys.exit(f"{failed}: without a fault, too")
    return failed

  def _write(self, file: Path, source: str) -> None:
    # Two changes within one second may be equally long: Python would take what it compiled for the other.
    Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)
    file.write_text(source)

  def _fails(self, tests: Sequence[str], limit: float) -> str:
    """The first test that fails, or what else went wrong, "" if all pass."""
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "jax"))
    with subprocess.Popen(
      [sys.executable, "-m", "pytest", "-xq", "-p", "no:cacheprovider", *tests],
      cwd=self._root,
      env={**os.environ, "PYTHONPATH": str(self._root), "JAX_COMPILATION_CACHE_DIR": cache},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      start_new_session=True,  # so that what the tests start can be ended with them
    ) as process:
      try:
        said, _ = process.communicate(timeout=limit)
      except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return f"more than {limit:.0f} s"
    if process.returncode == 0:
      return ""
    named = re.search(r"^FAILED (\S+?\.py::.+?)(?: - |$)", said, re.M)
    return named[1] if named else " ".join(said.split()[-12:]) or "no test could run"


def main() -> None:
  """Tries a sample and says what survived."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("where", nargs="*", default=WHERE, help="folders and files (%(default)s)")
  parser.add_argument("--number", type=int, default=200, help="how many faults (%(default)s)")
  parser.add_argument("--seed", type=int, default=0, help="which ones (%(default)s)")
  parser.add_argument("--workers", type=int, default=2, help="how many at once (%(default)s)")
  parser.add_argument("--limit", type=float, default=1200, help="seconds for one fault (%(default)s)")
  options = parser.parse_args()
  chosen, survived = sample(options.number, options.seed, options.where), 0
  with tempfile.TemporaryDirectory() as home, ThreadPoolExecutor(options.workers) as pool:
    copies: queue.Queue[Copy] = queue.Queue()
    for i in range(options.workers):
      copies.put(Copy(f"{home}/{i}"))

    def tried(mutant: Mutant) -> str:
      copy = copies.get()
      try:
        return copy.notices(mutant, options.limit)
      finally:
        copies.put(copy)

    for mutant, noticed in zip(chosen, pool.map(tried, chosen)):
      survived += not noticed
      print(f"found     {mutant}\n    by   {noticed}" if noticed else f"SURVIVED  {mutant}", flush=True)
  found = len(chosen) - survived
  print(
    f"\n{found} of {len(chosen)} found ({found / len(chosen):.0%}), {survived} survived; seed {options.seed}"
  )


if __name__ == "__main__":
  main()
