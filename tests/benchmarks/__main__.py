"""`make bench`: the same user code on minilinen and on Flax, interleaved in one run; medians and their ratios."""

from __future__ import annotations

import argparse
import dataclasses
import platform

import flax
import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

import minilinen as nn
from minilinen.tracing import Trace
from tests.benchmarks import cases, keeping, models, programs
from tests.benchmarks.timing import geometric_mean, medians, without_collection
from tests.twins import flax_twin

# Wide enough that no column is cut where the output is no terminal.
console = Console(width=120)


def main() -> None:
  """Runs the parts that the command line names, or all."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help=f"what to run: {', '.join(PARTS)} (all)")
  parser.add_argument("--rounds", type=int, default=7, help="how often everything is timed (%(default)s)")
  options = parser.parse_args()
  console.print(
    f"Python {platform.python_version()}, JAX {jax.__version__}, Flax {flax.__version__},"
    f" {options.rounds} rounds; times are medians, ratios are minilinen / Flax",
    highlight=False,
  )
  for name in options.parts or PARTS:
    console.print(f"\n[bold]{name}[/]")
    PARTS[name](options.rounds)


def _table(*columns: str) -> Table:
  table = Table(box=None, pad_edge=False)
  for number, column in enumerate(columns):
    table.add_column(column, justify="right" if number else "left", no_wrap=True)
  return table


def _ms(seconds: float) -> str:
  return f"{seconds * 1e3:,.2f} ms" if seconds < 0.01 else f"{seconds * 1e3:,.0f} ms"


def _goal(found: float, goal: float) -> str:
  return f"{found:.2f} [{'green' if found <= goal else 'red'}](goal {goal})[/]"


def _within(found: float, goal: float) -> str:
  return f"[{'green' if found <= goal else 'red'}]{found:.2f}[/]"


def tracing(rounds: int) -> None:
  """`eval_shape(init)` and `make_jaxpr(apply)` of five models, with and without recording."""
  table = _table("tracing", "Flax", "minilinen", "ratio", "recording", "ratio")
  plain, recording = [], []
  for case in cases.TRACED:
    flax_runs = cases.tracing(case.flax(), case.inputs)
    for what, ours in cases.tracing(case.ours(), case.inputs).items():
      with console.status(f"{case.name}: {what}"):
        found = medians({"flax": flax_runs[what], "ours": ours, "recorded": cases.recorded(ours)}, rounds)
      plain.append(found["ours"] / found["flax"])
      recording.append(found["recorded"] / found["flax"])
      table.add_row(
        f"{case.name}, {what}",
        _ms(found["flax"]),
        _ms(found["ours"]),
        f"{plain[-1]:.2f}",
        _ms(found["recorded"]),
        f"{recording[-1]:.2f}",
      )
  means = geometric_mean(plain), geometric_mean(recording)
  table.add_row("geometric mean", "", "", _goal(means[0], 0.45), "", _goal(means[1], 0.6))
  console.print(table)


def peers(rounds: int) -> None:
  """`make_jaxpr(apply)` beside what a user may pick instead, and beside plain functions."""
  try:
    from tests.benchmarks import peers as those
  except ModuleNotFoundError as missing:
    console.print(f"{missing.name} is not installed; `make bench` installs what it compares with")
    return
  runs = {library: of() for library, of in those.LIBRARIES.items()}
  table = _table(
    "apply (goal of ratios 1.0)", *runs, *(f"/ {library}" for library in runs if library != "minilinen")
  )
  for model in those.INPUTS:
    with console.status(model):
      found = medians({library: of[model] for library, of in runs.items()}, rounds)
    ratios = {library: found["minilinen"] / seconds for library, seconds in found.items()}
    goals = [_within(ratios[library], 1.0) for library in ("Haiku", "NNX", "Equinox")]
    table.add_row(model, *map(_ms, found.values()), f"{ratios['plain']:.2f}", *goals)
  console.print(table)


def growth(rounds: int) -> None:
  """Time per module of trees of 100, 1,000 and 10,000 modules; it should not grow.

  Python's garbage collector looks again and again at all that is alive, in any program; without it stands what
  minilinen and JAX need themselves.
  """
  table = _table(
    "eval_shape(init), per module", "plain functions", "minilinen", "without gc", "recording", "Flax"
  )
  for size in (100, 1_000, 10_000):
    ours = cases.tracing(models.Tree(size), [cases.f32(4)])["eval_shape(init)"]
    variants = {
      "plain": lambda size=size: jax.eval_shape(lambda x: models.plain_tree(size, x), cases.f32(4)),
      "ours": ours,
      "alone": without_collection(ours),
      "recorded": cases.recorded(ours),
    }
    if size < 10_000:
      flax_model = flax_twin(models.__name__).Tree(size)
      variants["flax"] = cases.tracing(flax_model, [cases.f32(4)])["eval_shape(init)"]
    with console.status(f"{size:,} modules"):
      found = medians(variants, rounds if size < 10_000 else min(rounds, 3))
    order = ("plain", "ours", "alone", "recorded", "flax")
    cells = [f"{found[v] / size * 1e6:,.0f} µs" if v in found else "" for v in order]
    table.add_row(f"{size:,} modules", *cells)
  console.print(table)


def eager(rounds: int) -> None:
  """`apply` outside of jit, where nothing but Python takes time."""
  x = jnp.ones((8, 32))
  made = {"flax": flax_twin(models.__name__).MLP(3, 32), "ours": models.MLP(3, 32)}
  variables = {name: model.init(cases.KEY, x) for name, model in made.items()}
  found = medians(
    {
      name: lambda model=model, v=variables[name]: jax.block_until_ready(model.apply(v, x))
      for name, model in made.items()
    },
    rounds,
    repeats=50,
  )
  table = _table("eager apply", "Flax", "minilinen", "ratio")
  ratio = found["ours"] / found["flax"]
  table.add_row("MLP, 3 layers of 32", _ms(found["flax"]), _ms(found["ours"]), _goal(ratio, 0.6))
  console.print(table)


TABLES: dict[str, tuple[dict[str, bool], float]] = {
  "": ({}, 1.0),
  ", flops": ({"compute_flops": True}, 0.1),
  ", flops and vjp_flops": ({"compute_flops": True, "compute_vjp_flops": True}, 0.1),
}


def tabulate(rounds: int) -> None:
  """`model.tabulate(key, x)`, from nothing to text, also with costs, for which Flax compiles every module."""
  table = _table("tabulate", "Flax", "minilinen", "ratio")
  for case in cases.TABULATED:
    inputs = [jnp.zeros(x.shape, x.dtype) for x in case.inputs]
    made = {"flax": case.flax(), "ours": case.ours()}
    for what, (options, goal) in TABLES.items():
      variants = {
        name: lambda model=model, inputs=inputs, options=options: model.tabulate(
          cases.KEY, *inputs, **options
        )
        for name, model in made.items()
      }
      with console.status(f"{case.name}{what}"):
        found = medians(variants, min(rounds, 3 if options else 5))
      ratio = found["ours"] / found["flax"]
      table.add_row(f"{case.name}{what}", _ms(found["flax"]), _ms(found["ours"]), _goal(ratio, goal))
  console.print(table)


def cost(rounds: int) -> None:
  """What costs take on top of a trace, which goes from the equations that JAX wrote down to a sum for each module."""
  table = _table("cost", "trace", "equations", "cost", "cost / trace", "per module")
  sizes = [
    cases.case(f"tree of {n:,} modules", models, lambda m, n=n: m.Tree(n), cases.f32(4))
    for n in (100, 1_000, 10_000)
  ]
  for case in (*cases.TABULATED, *sizes):
    init = case.ours().init
    trace = nn.trace(init)(cases.KEY, *case.inputs)

    def costs(trace: Trace = trace) -> None:
      dataclasses.replace(trace).cost()

    variants = {"trace": lambda init=init, case=case: nn.trace(init)(cases.KEY, *case.inputs), "cost": costs}
    with console.status(case.name):
      found = medians(variants, min(rounds, 3))
    modules = len(trace.paths)
    table.add_row(
      case.name, _ms(found["trace"]), f"{len(trace.equations()):,}", _ms(found["cost"]),
      _goal(found["cost"] / found["trace"], 2.0), f"{found['cost'] / modules * 1e6:,.0f} µs",
    )  # fmt: skip
  console.print(table)


def imports(rounds: int) -> None:
  """What an import takes beyond `import jax`, of user and system time."""
  table = _table("import, beyond import jax", "Flax", "minilinen", "with viz")
  with console.status("imports"):
    found = keeping.import_times(["flax.linen", "minilinen", "viz"], rounds)
  ours = f"{_ms(found['minilinen'])}, s: {_goal(found['minilinen'], 0.25)}"
  table.add_row("best of fresh processes", _ms(found["flax.linen"]), ours, _ms(found["viz"]))
  console.print(table)


def files(rounds: int) -> None:
  """A trace as JSON, which Flax does not have."""
  table = _table("trace of 8,000 layers", "out, s", "in, s", "MB")
  with console.status("8,000 layers"):
    out, back, size = keeping.file_of_many_layers(8_000)
  table.add_row("as JSON", _goal(out, 3), _goal(back, 3), _goal(size / 1e6, 15))
  console.print(table)


def left(rounds: int) -> None:
  """What stays behind of 50 runs, after others that filled the caches. Flax does the like without a recording."""
  table = _table("left behind by 50", "Flax: objects", "bytes", "minilinen: objects", "bytes")
  for name, runs in keeping.repeated().items():
    with console.status(name):
      (their, their_bytes), (ours, our_bytes) = (keeping.left_behind(run, 50) for run in runs)
    table.add_row(name, f"{their:,}", f"{their_bytes:,}", _goal(ours, 0), f"{our_bytes:,}")
  console.print(table)


def compiled(rounds: int) -> None:
  """Whether both libraries' programs are the same, metadata aside, after XLA optimised them."""
  table = _table("optimised program", "forward", "gradient")
  for case in cases.COMPILED:
    with console.status(case.name):
      table.add_row(case.name, *map(_verdict, programs.same_programs(case)))
  console.print(table)


def _verdict(both: tuple[str, str]) -> str:
  theirs, ours = both
  lines = len(ours.splitlines())
  return f"[green]same[/], {lines:,} lines" if theirs == ours else "[red]differs[/]"


PARTS = {
  "tracing": tracing,
  "peers": peers,
  "growth": growth,
  "eager": eager,
  "tabulate": tabulate,
  "cost": cost,
  "imports": imports,
  "files": files,
  "left": left,
  "compiled": compiled,
}


if __name__ == "__main__":
  main()
