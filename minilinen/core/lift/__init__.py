"""JAX's transforms for functions of a scope, each a short function over `Crossing`."""

from minilinen.core.lift.branches import cond, switch
from minilinen.core.lift.compiled import checkpoint, fold_rngs, jit, remat
from minilinen.core.lift.gradients import custom_vjp, grad, jvp, value_and_grad, vjp
from minilinen.core.lift.loops import remat_scan, scan, while_loop
from minilinen.core.lift.mapping import (
  Axes,
  In,
  Out,
  add_metadata_axis,
  map_variables,
  swap_collection,
  vmap,
)
from minilinen.core.lift.packing import pack

__all__ = [
  "Axes",
  "In",
  "Out",
  "add_metadata_axis",
  "checkpoint",
  "cond",
  "custom_vjp",
  "fold_rngs",
  "grad",
  "jit",
  "jvp",
  "map_variables",
  "pack",
  "remat",
  "remat_scan",
  "scan",
  "swap_collection",
  "switch",
  "value_and_grad",
  "vjp",
  "vmap",
  "while_loop",
]
