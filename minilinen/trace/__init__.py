"""What happened: records, the recorder that collects them, and the `Trace` of them.

Read in this order: `source` (a line of the user's code), `spec` (an array without its numbers),
`events` (every record there is), `draft` (records in the making), `recorder` (collects them while somebody
records), `caches` (what JAX remembers, put aside meanwhile), `globs`
(patterns over paths), `tree` (the variable tree, from the events), `document` and `serialize` (JSON),
`trace` (the tree of records), `replay` (keys, from their derivation), `run` (`nn.trace`, `nn.record`).
Then what is known from the equations: `marks` (which call an equation comes from), `work` (what one costs),
`formula` (counts with symbolic dimensions), `program` (all of them), `listing` (as JSON), `cost` (module by
module), `reach` (what never reaches the output).
Last, `checks`: mistakes that a trace shows, laid out by `layout` like all messages.
Nothing here imports anything else of minilinen but `jax_internals` and `keys`.
"""

from minilinen.trace.cost import Cost, NoSuchCostError
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
from minilinen.trace.formula import DimensionMissingError
from minilinen.trace.globs import matches
from minilinen.trace.program import Equation, Program
from minilinen.trace.reach import Dropped, Unused
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
from minilinen.trace.work import Work

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
