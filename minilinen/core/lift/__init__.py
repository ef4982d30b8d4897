"""The lifted transforms, and how to write another.

1. A function in the file whose theme it is. It makes a `Boundary` of its kind and of a `passing` for each filter of
   collections and of streams. If it gives a lifted class or function (as `vmap`), it stands under `@lifted(prefix)` and
   gives a function that is `behind` the boundary; the docstring of `crossing.py` shows a whole one. If it runs at once
   (as `vjp` and `cond`), it stands under `@also_called`, takes `Target.of(fn)` and opens the `Crossing` itself. Both
   decorators are in `targets.py`. A new kind of passing goes into `Kind` of `tracing/events.py` and gets its word in
   `viz/words.py`.
2. The name: here, in `transforms/__init__.py` and `minilinen/__init__.py`; in `core/__init__.py` only if Flax's core
   has it.
3. What messages advise for what it stops: `LiftedAt` in `errors/lifts.py`; mistakes of its own in
   `core/lifted_mistakes.py`.
4. Tests: against Flax (`tests/oracle.py`), a kind in `tests/fuzz_programs.py`, and a model in `tests/trace_models.py`,
   which holds it to every rule of a trace.
"""

from minilinen.core.lift.branches import cond as cond
from minilinen.core.lift.branches import switch as switch
from minilinen.core.lift.compiled import checkpoint as checkpoint
from minilinen.core.lift.compiled import fold_rngs as fold_rngs
from minilinen.core.lift.compiled import jit as jit
from minilinen.core.lift.compiled import remat as remat
from minilinen.core.lift.gradients import custom_vjp as custom_vjp
from minilinen.core.lift.gradients import grad as grad
from minilinen.core.lift.gradients import jvp as jvp
from minilinen.core.lift.gradients import value_and_grad as value_and_grad
from minilinen.core.lift.gradients import vjp as vjp
from minilinen.core.lift.loops import remat_scan as remat_scan
from minilinen.core.lift.loops import scan as scan
from minilinen.core.lift.loops import while_loop as while_loop
from minilinen.core.lift.mapping import Axes as Axes
from minilinen.core.lift.mapping import In as In
from minilinen.core.lift.mapping import Out as Out
from minilinen.core.lift.mapping import add_metadata_axis as add_metadata_axis
from minilinen.core.lift.mapping import map_variables as map_variables
from minilinen.core.lift.mapping import swap_collection as swap_collection
from minilinen.core.lift.mapping import vmap as vmap
from minilinen.core.lift.packing import pack as pack
