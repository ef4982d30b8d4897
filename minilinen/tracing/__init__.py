"""What happened: records, the recorder that collects them, and the `Trace` of them.

Read in this order: `source` (a line of the user's code), `paths` (where something is), `globs` (patterns over paths),
`spec` (an array without its numbers), `inputs` (what a function is given, made abstract), `events` (every record there
is), `draft` (records in the making), `recorder`
(collects them while somebody records), `caches` (what JAX traced before, seen all the same), `rebuilt` (the variable
tree, from the events), `codec` and `files` (JSON), `trace` (the tree of records), `replay` (keys, from their
derivation), `recording` (`nn.trace`, `nn.record`).
Then `equations`, what is known from JAX's equations: whose they are, what they cost, what never reaches the output; and
`checks`, the mistakes that a trace shows.
Nothing here imports anything else of minilinen but `jax_internals` and `keys`.
"""

from minilinen.tracing.equations.cost import Cost
from minilinen.tracing.equations.program import Equation, Program
from minilinen.tracing.equations.reach import Dropped, Unused
from minilinen.tracing.equations.work import Work
from minilinen.tracing.errors import (
  DimensionMissingError,
  NoEquationsError,
  NoSuchCostError,
  NoSuchModuleError,
  NoSuchPathError,
  SharedEquationError,
  SpecError,
  TraceError,
  TraceFileError,
  UnknownEquationError,
)
from minilinen.tracing.events import (
  Body,
  Call,
  Create,
  Key,
  Lift,
  Lifted,
  Name,
  Passing,
  Perturb,
  Read,
  Record,
  Run,
  Share,
  Sow,
  Span,
  Variable,
  Write,
)
from minilinen.tracing.globs import matches
from minilinen.tracing.inputs import abstract, parse_spec
from minilinen.tracing.paths import Path
from minilinen.tracing.rebuilt import Found
from minilinen.tracing.recorder import Recorder, current
from minilinen.tracing.replay import replay_key
from minilinen.tracing.source import Source
from minilinen.tracing.spec import (
  ModuleRef,
  Node,
  Opaque,
  Spec,
  Value,
  describe,
  spec_of,
)
from minilinen.tracing.trace import Trace

__all__ = [
  "Body",
  "Call",
  "Cost",
  "Create",
  "DimensionMissingError",
  "Dropped",
  "Equation",
  "Found",
  "Key",
  "Lift",
  "Lifted",
  "ModuleRef",
  "Name",
  "NoEquationsError",
  "NoSuchCostError",
  "NoSuchModuleError",
  "NoSuchPathError",
  "Node",
  "Opaque",
  "Passing",
  "Path",
  "Perturb",
  "Program",
  "Read",
  "Record",
  "Recorder",
  "Run",
  "Share",
  "SharedEquationError",
  "Source",
  "Sow",
  "Span",
  "Spec",
  "SpecError",
  "Trace",
  "TraceError",
  "TraceFileError",
  "UnknownEquationError",
  "Unused",
  "Value",
  "Variable",
  "Work",
  "Write",
  "abstract",
  "current",
  "describe",
  "matches",
  "parse_spec",
  "replay_key",
  "spec_of",
]
