"""What happened: records, the recorder that collects them, and the `Trace` of them.

Read in this order: `source` (a line of the user's code), `spec` (an array without its numbers),
`events` (every record there is), `recorder` (collects them while somebody records), `globs`
(patterns over paths), `tree` (the variable tree, from the events), `serialize` (JSON),
`trace` (the tree of records), `replay` (keys, from their derivation), `run` (`nn.trace`, `nn.record`).
Nothing here imports anything else of minilinen.
"""

from minilinen.trace.events import (
  Body as Body,
  Call as Call,
  Create as Create,
  Key as Key,
  Lift as Lift,
  Lifted as Lifted,
  Name as Name,
  Path as Path,
  Perturb as Perturb,
  Read as Read,
  Record as Record,
  Run as Run,
  Share as Share,
  Sow as Sow,
  Span as Span,
  Variable as Variable,
  Write as Write,
)
from minilinen.trace.globs import matches as matches
from minilinen.trace.recorder import Recorder as Recorder, current as current, recording as recording
from minilinen.trace.replay import replay_key as replay_key
from minilinen.trace.run import record as record, trace as trace
from minilinen.trace.serialize import TraceFileError as TraceFileError
from minilinen.trace.source import Source as Source
from minilinen.trace.spec import (
  ModuleRef as ModuleRef,
  Node as Node,
  Opaque as Opaque,
  Spec as Spec,
  SpecError as SpecError,
  Value as Value,
  abstract as abstract,
  describe as describe,
  parse_spec as parse_spec,
  spec_of as spec_of,
)
from minilinen.trace.trace import NoSuchPathError as NoSuchPathError, Trace as Trace
from minilinen.trace.tree import Found as Found
