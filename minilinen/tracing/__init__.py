"""What happened: records, the recorder that collects them, and the `Trace` of them.

Read `paths` (where something is), `events` (every record there is), `recorder` (collects them while somebody records),
`recording` (`nn.trace`, `nn.record`) and `trace` (the records, and every question to them). The rest stands behind one
of these: `source` (a line of the user's code), `spec` (an array without its numbers), `inputs` (what a function is
given, made abstract), `draft` (records in the making), `caches` (what JAX traced before, seen all the same), `rebuilt`
(the variables, from the events), `identity` (which tree each run was on), `codec` and `files` (JSON), `models` (one
module, with all that is known of it), `replay` (keys, from their derivation); `equations`, what is known from JAX's
equations: whose they are, what they cost, what never reaches the output; and `checks`, the mistakes that a trace shows.
Nothing here imports anything else of minilinen but `in_force`, `jax_internals`, `keys` and `spelling`.
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
