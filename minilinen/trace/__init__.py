"""What happened: records, the recorder that collects them, and the `Trace` of them.

Read in this order: `source` (a line of the user's code), `spec` (an array without its numbers),
`events` (every record there is), `draft` (records in the making), `recorder` (collects them while somebody
records), `caches` (what JAX remembers, put aside meanwhile), `globs`
(patterns over paths), `tree` (the variable tree, from the events), `document` and `serialize` (JSON),
`trace` (the tree of records), `replay` (keys, from their derivation), `run` (`nn.trace`, `nn.record`).
Nothing here imports anything else of minilinen.
"""

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
from minilinen.trace.trace import NoSuchPathError, Trace
from minilinen.trace.tree import Found

__all__ = [
  "Body",
  "Call",
  "Create",
  "Found",
  "Key",
  "Lift",
  "Lifted",
  "ModuleRef",
  "Name",
  "NoSuchPathError",
  "Node",
  "Opaque",
  "Path",
  "Perturb",
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
  "Value",
  "Variable",
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
