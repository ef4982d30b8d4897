"""What `test_sharding` runs in a process of its own, with eight simulated devices; it prints its results as JSON."""

from __future__ import annotations

import json
from typing import Any

import flax.linen
import jax
import numpy as np
from twins import flax_twin

import minilinen as nn
import viz
from minilinen.examples import sharded

MODEL = {"vocab": 32, "width": 16, "heads": 4, "hidden": 32, "layers": 2}
TOKENS = jax.random.randint(jax.random.key(1), (8, 9), 0, MODEL["vocab"])


def arrays(variables: Any) -> dict[str, Any]:
  flat = jax.tree_util.tree_leaves_with_path(nn.unbox(variables))
  return {"/".join(str(part.key) for part in path): x for path, x in flat}


def ulps(ours: dict[str, Any], theirs: dict[str, Any]) -> int:
  """How many floats at most lie between two arrays' numbers; 0 if they have the same bits."""
  assert ours.keys() == theirs.keys()
  pairs = [
    (np.asarray(x).view(np.int32), np.asarray(theirs[name]).view(np.int32)) for name, x in ours.items()
  ]
  return max(int(np.abs(x.astype(np.int64) - y).max()) for x, y in pairs)


def found_in_trace(model: Any, mesh: Any) -> dict[str, list[Any]]:
  with jax.set_mesh(mesh), nn.logical_axis_rules(sharded.RULES):
    trace = nn.trace(model.init)(jax.random.key(0), TOKENS)
  assert nn.Trace.from_json(trace.to_json()) == trace
  return {"/".join(f.place): [f.axes, f.value.sharding, f.value.shard] for f in trace.find()}


def on_flax() -> tuple[Any, float]:
  """First variables and loss with Flax, which cannot make this attention's parameters with a mesh in force: without."""
  theirs = flax_twin("minilinen.examples.sharded")
  assert theirs.nn is flax.linen
  model = theirs.Transformer(**MODEL)
  variables = jax.jit(model.init)(jax.random.key(0), TOKENS)
  return variables, float(jax.jit(lambda v: theirs.loss(model, v, TOKENS))(variables))


def main() -> None:
  model, mesh = sharded.Transformer(**MODEL), sharded.mesh_of(2, 4)
  variables, losses = sharded.train(model, mesh, TOKENS, steps=3)
  alone, losses_alone = sharded.train(model, sharded.mesh_of(1, 1), TOKENS, steps=3)
  flax_variables, flax_loss = on_flax()
  values = arrays(variables)
  rows = {row["path"]: row for row in viz.tree(variables).to_rows()}
  result = {
    "shapes": {name: x.shape for name, x in values.items()},
    "shards": {name: [s.data.shape for s in x.addressable_shards] for name, x in values.items()},
    "losses": [losses, losses_alone, flax_loss],
    "ulps_from_alone": ulps(values, arrays(alone)),
    "ulps_from_flax": ulps(values, arrays(flax.linen.unbox(flax_variables))),
    "trace": found_in_trace(model, mesh),
    "tree": {path: [row["bytes"], row["bytes_per_device"], row["sharding"]] for path, row in rows.items()},
    "text": {width: viz.tree(variables).text(width=width) for width in (60, 80, 120)},
  }
  print(json.dumps(result))


if __name__ == "__main__":
  main()
