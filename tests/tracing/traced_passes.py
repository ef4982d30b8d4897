"""What is true of the passes over bodies in every trace."""

from __future__ import annotations

from minilinen.tracing import Trace
from minilinen.tracing.events import Body, Call, Caught, Create, Lift


def check_passes(found: Trace) -> None:
  """Passes are counted and the last holds; in one that does not hold only what it made for good does."""
  for lift in found.events(Lift):
    bodies = [item for item in lift.items if isinstance(item, Body)]
    for name in {body.name for body in bodies}:
      passes = [body for body in bodies if body.name == name]
      assert [body.number for body in passes] == list(range(len(passes)))
      assert [body.holds for body in passes] == [False] * (len(passes) - 1) + [lift.holds]
  made = [c for c in found.events(Create) if c.holds]
  kept = {key for create in made for key in create.keys}
  for r in found:
    if all(span.holds for span in found.parents(r)):
      assert r.holds or (isinstance(r, Body) and any(b.number > r.number for b in found.events(Body)))
    else:
      assert not r.holds or isinstance(r, (Create, Caught)) or r.order in kept
  check_calls(found)


def check_calls(found: Trace) -> None:
  """No two calls that hold have one number, and equations belong to calls that hold."""

  def run(call: Call) -> int:
    return [-1, *(span.order for span in found.parents(call)[::-1] if span in found.runs)][-1]

  calls = [(run(c), c.path, c.method, c.number) for c in found.calls()]
  assert len(calls) == len(set(calls))
  assert not found.has_equations or all(found.records[n].holds for e in found.equations() for n in e.calls)
