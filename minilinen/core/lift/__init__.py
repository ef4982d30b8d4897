"""The lifted transforms, and how to write another.

1. A function under `@lifted(prefix=...)` (`targets.py`) in the file whose theme it is. It makes a `Boundary` of its
   kind and of a `passing` for each filter of collections and of streams, and gives a function that is `behind` it; the
   docstring of `crossing.py` shows a whole one. A new kind of passing goes into `Kind` of `tracing/events.py` and gets
   its word in `viz/words.py`.
2. The name: here, in `core/__init__.py`, `transforms/__init__.py` and `minilinen/__init__.py`.
3. What messages advise for what it stops: `LiftedAt` in `errors/lifts.py`; mistakes of its own in
   `core/lifted_mistakes.py`.
4. Tests: against Flax (`tests/oracle.py`), a kind in `tests/fuzz_programs.py`, and a model in `tests/trace_models.py`,
   which holds it to every rule of a trace.
"""

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
