"""Makes the pictures that the README and the pages here show; `make docs` runs it."""

from __future__ import annotations

from pathlib import Path

import jax

import minilinen as nn
import viz
from minilinen.examples.transformer import Transformer

HERE = Path(__file__).parent
WIDTH = 110


def pictures() -> dict[str, viz.View]:
  """The name of each picture, and the view that it is of."""
  trace = nn.trace(Transformer(scanned=True).init_with_output)(jax.random.key(0), "i32[b,t]")
  return {"transformer": viz.tabulate(trace), "transformer_graph": viz.graph(trace)}


if __name__ == "__main__":
  for name, view in pictures().items():
    view.save(HERE / f"{name}.svg", width=WIDTH)
    print(HERE / f"{name}.svg")
