"""The demo: real models, traced, drawn and trained, in the terminal and in files.

`minilinen demo` runs it, and with it everything the project is for: traces of ResNet-50 and of a transformer whose
layers are unrolled and scanned, as tables with costs and as graphs, without computing anything; then a network that
learns handwritten digits by a jitted step, with the trace of that step and the tree of its variables.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import jax
from rich.console import Console
from rich.rule import Rule

import minilinen as nn
from minilinen.examples.digits import CNN, Epoch, load_digits, new_state, train, train_step
from minilinen.examples.resnet import ResNet
from minilinen.examples.transformer import Transformer
from minilinen.pictures import pictures
from minilinen.tracing import Trace

if TYPE_CHECKING:
  import viz
else:
  viz = pictures()

SUFFIXES = (".txt", ".svg", ".html", ".json")


class Demo:
  """Prints pictures and writes them to a folder."""

  def __init__(self, folder: str | Path, console: Console):
    self.folder = Path(folder)
    self.console = console
    self.written: list[str] = []
    self.folder.mkdir(parents=True, exist_ok=True)

  def heading(self, text: str) -> None:
    """Begins a part."""
    self.console.print()
    self.console.print(Rule(text, align="left"))

  def say(self, text: str) -> None:
    """Prints a line."""
    self.console.print(text, highlight=False, markup=False, soft_wrap=True)

  def traced(self, what: str, run: Callable[[], Trace]) -> Trace:
    """A trace of something, and how long it took."""
    with self.console.status(f"Tracing {what} ..."):
      start = time.perf_counter()
      trace = run()
      seconds = time.perf_counter() - start
    self.say(f"{trace!r}\nTraced in {seconds:.1f} s; nothing was computed.\n")
    return trace

  def show(self, view: viz.View, name: str) -> None:
    """Prints a picture and writes it in every form."""
    self.console.print(view)
    self.save(view, name)

  def save(self, view: viz.View, name: str) -> None:
    """Writes a picture in every form."""
    with self.console.status(f"Writing {name} ..."):
      for suffix in SUFFIXES:
        view.save(self.folder / f"{name}{suffix}")
    self.written.append(f"{self.folder / name}.{{{','.join(suffix[1:] for suffix in SUFFIXES)}}}")

  def draw(self, trace: Trace, name: str) -> None:
    """Writes the graph of a trace; only its text where Graphviz is missing."""
    graph = viz.graph(trace)
    with self.console.status(f"Drawing {name} ..."):
      graph.save(self.folder / f"{name}.dot")
      suffixes = ["dot"]
      try:
        for suffix in ("svg", "png"):
          graph.save(self.folder / f"{name}.{suffix}")
          suffixes.append(suffix)
      except viz.DotMissingError as error:
        self.say(str(error))
    self.written.append(f"{self.folder / name}.{{{','.join(suffixes)}}}")

  def keep(self, trace: Trace, name: str) -> None:
    """Writes a trace, to be read again."""
    file = self.folder / f"{name}.trace.json"
    trace.save(file)
    self.written.append(str(file))


def run(folder: str | Path = "out", console: Console | None = None, epochs: int = 8) -> Epoch:
  """Shows all of it.

  Args:
    folder: where the files go.
    console: where the text goes; standard output by default.
    epochs: how long the network learns.

  Returns:
    How far it learned.
  """
  demo = Demo(folder, console or Console())
  _resnet(demo)
  _transformers(demo)
  last = _digits(demo, epochs)
  demo.heading("Files")
  for line in demo.written:
    demo.say(line)
  return last


def _resnet(demo: Demo) -> None:
  demo.heading("ResNet-50: one row per module, equal blocks folded")
  model = ResNet()
  run = nn.trace(model.init_with_output)
  trace = demo.traced("ResNet-50", lambda: run(jax.random.key(0), "f32[8,224,224,3]"))
  demo.show(viz.tabulate(trace, compute_flops=True), "resnet50")
  demo.draw(trace, "resnet50_graph")


def _transformers(demo: Demo) -> None:
  for scanned in (False, True):
    how = "scanned" if scanned else "unrolled"
    demo.heading(f"A transformer of 12 layers, {how}")
    run = nn.trace(Transformer(scanned=scanned).init_with_output)
    trace = demo.traced("the transformer", lambda run=run: run(jax.random.key(0), "i32[8,512]"))
    demo.show(viz.tabulate(trace, compute_flops=True), f"transformer_{how}")
    demo.draw(trace, f"transformer_{how}_graph")


def _digits(demo: Demo, epochs: int) -> Epoch:
  demo.heading("A CNN that learns handwritten digits: its jitted step")
  model, digits = CNN(), load_digits()
  state = new_state(model, jax.random.key(0))
  step = demo.traced("the step", lambda: nn.trace(train_step)(model, state, "f32[64,8,8,1]", "i32[64]"))
  demo.show(viz.tabulate(step), "digits_step")
  demo.save(viz.render(step, "trace"), "digits_step_in_order")
  demo.keep(step, "digits_step")

  demo.heading(
    f"Training on {len(digits.train_labels):,} digits, testing on {len(digits.test_labels)} others"
  )
  learning = train(model, digits, epochs)
  with demo.console.status("Compiling the step ..."):
    last = next(learning)
  _say_epoch(demo, last)
  for last in learning:
    _say_epoch(demo, last)

  demo.heading("What it learned: its variables")
  demo.show(
    viz.tree({"params": last.state.params, "batch_stats": last.state.batch_stats}), "digits_variables"
  )
  return last


def _say_epoch(demo: Demo, epoch: Epoch) -> None:
  demo.say(f"epoch {epoch.number}  loss {epoch.loss:.3f}  {epoch.accuracy:.1%} of the test digits read right")
