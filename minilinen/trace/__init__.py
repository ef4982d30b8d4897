"""What happened: records, the recorder that collects them, and the `Trace` of them.

Read in this order: `source` (a line of the user's code), `spec` (an array without its numbers),
`events` (every record there is), `draft` (records in the making), `recorder` (collects them while somebody
records), `caches` (what JAX remembers, put aside meanwhile), `globs`
(patterns over paths), `tree` (the variable tree, from the events), `document` and `serialize` (JSON),
`trace` (the tree of records), `replay` (keys, from their derivation), `run` (`nn.trace`, `nn.record`).
Then `equations`, what is known from JAX's equations: whose they are, what they cost, what never reaches the output; and
`checks`, the mistakes that a trace shows.
Nothing here imports anything else of minilinen but `jax_internals` and `keys`.
"""

from minilinen.trace.equations.cost import Cost, NoSuchCostError
from minilinen.trace.equations.formula import DimensionMissingError
from minilinen.trace.equations.program import Equation, Program
from minilinen.trace.equations.reach import Dropped, Unused
from minilinen.trace.equations.work import Work
from minilinen.trace.events import (
  Body,
  Call,
  Create,
  Key,
  Lift,
  Lifted,
  Name,
  Path,
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
from minilinen.trace.globs import matches
from minilinen.trace.recorder import Recorder, current, recording
from minilinen.trace.replay import replay_key
from minilinen.trace.run import record, trace
from minilinen.trace.serialize import TraceFileError
from minilinen.trace.source import Source
from minilinen.trace.spec import (
  ModuleRef,
  Node,
  Opaque,
  Spec,
  SpecError,
  Value,
  abstract,
  describe,
  parse_spec,
  spec_of,
)
from minilinen.trace.trace import NoEquationsError, NoSuchPathError, Trace, UnknownEquationError
from minilinen.trace.tree import Found

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
  "NoSuchPathError",
  "Node",
  "Opaque",
  "Path",
  "Perturb",
  "Program",
  "Read",
  "Record",
  "Recorder",
  "Run",
  "Share",
  "Source",
  "Sow",
  "Span",
  "Spec",
  "SpecError",
  "Trace",
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
  "record",
  "recording",
  "replay_key",
  "spec_of",
  "trace",
]
