"""May be skipped: the list of all checks, each of which looks at the records of a trace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from minilinen.tracing.checks.finding import Findings
from minilinen.tracing.checks.keys import colliding_keys, repeated_keys, same_keys
from minilinen.tracing.checks.modules import uncalled_modules
from minilinen.tracing.checks.runs import caught_mistakes, ended_runs, retraced_runs
from minilinen.tracing.checks.variables import idle_parameters, unread_parameters
from minilinen.tracing.equations.program import Program
from minilinen.tracing.equations.reach import Unused
from minilinen.tracing.events import Record
from minilinen.tracing.identity import VariableTree

_CHECKS = (ended_runs, caught_mistakes, colliding_keys, unread_parameters, uncalled_modules, retraced_runs)


def check(
  items: Iterable[Record], trees: Sequence[VariableTree] = (), equations: tuple[Program, Unused] | None = None
) -> Findings:
  """Everything that a trace shows to be wrong, each mistake once for a tree; which tree is said if there are several.

  Args:
    items: its records.
    trees: its variable trees.
    equations: what JAX wrote down, if that is known, and what of it never reaches the output.
  """
  items = tuple(items)
  found = [finding for look in _CHECKS for finding in look(items)]
  found += [*same_keys(items, trees), *repeated_keys(items)]
  if equations is not None:
    found += idle_parameters(*equations, items, trees)
  if len(trees) < 2:
    found = [replace(finding, tree=None) for finding in found]
  return Findings(dict.fromkeys(found))
