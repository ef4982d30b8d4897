"""JAX's transforms for functions of a scope, each a short function over `pack`."""

from minilinen.core.lift.compiled import checkpoint, jit, remat
from minilinen.core.lift.loops import scan
from minilinen.core.lift.mapping import Axes, In, Out, map_variables, swap_collection, vmap
from minilinen.core.lift.pack import pack

__all__ = [
  "Axes",
  "In",
  "Out",
  "checkpoint",
  "jit",
  "map_variables",
  "pack",
  "remat",
  "scan",
  "swap_collection",
  "vmap",
]
