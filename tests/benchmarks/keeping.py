"""What is there before and after: how long an import takes, and what stays behind when something is over."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable

import jax
import jax.numpy as jnp

import minilinen as nn
from minilinen.tracing import Trace
from tests.benchmarks import cases, models
from tests.benchmarks.models import MLP
from tests.twins import flax_twin

_IMPORT = "import time, jax; start = time.process_time(); import {}; print(time.process_time() - start)"


def import_times(names: list[str], rounds: int) -> dict[str, float]:
  """User and system seconds that each import takes beyond `import jax`: the best of several fresh processes.

  Bytecode may be written: installed packages have theirs, and a repository has it from the second import on.
  """
  environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
  found: dict[str, list[float]] = {name: [] for name in names}
  for _ in range(rounds + 1):
    for name in names:
      command = [sys.executable, "-c", _IMPORT.format(name)]
      out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
      found[name].append(float(out))
  return {name: min(times[1:]) for name, times in found.items()}


def file_of_many_layers(layers: int) -> tuple[float, float, int]:
  """Seconds of this process to write a trace and to read it, and how many characters it has."""
  trace = nn.trace(MLP(layers, 4).init)(cases.KEY, cases.f32(2, 4))
  assert trace.program is not None
  start = time.process_time()
  text = trace.to_json()
  written = time.process_time()
  Trace.from_json(text)
  return written - start, time.process_time() - written, len(text)


X = jnp.ones((2, 4))


def recorded(run: Callable[[], object]) -> Callable[[], object]:
  """The same while somebody records."""

  def under() -> None:
    with nn.record():
      run()

  return under


def repeated() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
  """What may be done again and again, in Flax and in minilinen."""
  flax, ours = flax_twin(models.__name__).MLP(3, 4), MLP(3, 4)
  given = {"flax": flax.init(cases.KEY, X), "ours": ours.init(cases.KEY, X)}
  step = jax.jit(ours.apply)
  step(given["ours"], X)
  return {
    "a trace": (
      lambda: jax.make_jaxpr(lambda x: flax.apply(given["flax"], x))(X),
      lambda: nn.trace(lambda x: ours.apply(given["ours"], x))(X),
    ),
    "tabulate": (lambda: flax.tabulate(cases.KEY, X), lambda: ours.tabulate(cases.KEY, X)),
    "apply, recorded": (
      lambda: flax.apply(given["flax"], X),
      recorded(lambda: ours.apply(given["ours"], X)),
    ),
    "a jitted step, recorded": (lambda: None, recorded(lambda: step(given["ours"], X))),
  }


def left_behind(run: Callable[[], object], times: int) -> tuple[int, int]:
  """Objects and bytes that so many runs leave behind, after as many that fill the caches."""

  def repeat() -> None:
    for _ in range(times):
      run()
    gc.collect()

  repeat()
  before = len(gc.get_objects())
  repeat()
  objects = len(gc.get_objects()) - before
  tracemalloc.start(1)
  repeat()
  start, _ = tracemalloc.get_traced_memory()
  repeat()
  end, _ = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  return objects, end - start
