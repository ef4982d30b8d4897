"""May be skipped: mistakes that a trace shows: plain functions of its records, each giving findings.

Each finding is a `Told`; `finding` has the list of them. By theme: `keys` (one for two places or runs), `modules`
(declared and never called), `variables` (passed and never read, or read for nothing; a tree against the tree that a
model makes), `runs` (what was caught while it happened, what ended a run, runs that are traced again and again).
`Trace.check` lists what all of them find, by `every`.
"""

from minilinen.tracing.checks.finding import Findings as Findings
