"""May be skipped: the plain data of a trace, walked: compared, and with numbers in the place of symbols."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import jax

from minilinen.tracing.events import Lift, Span
from minilinen.tracing.rebuilt import leaves, put
from minilinen.tracing.spec import Spec


def same(a: Any, b: Any) -> bool:
  """Whether two values say the same: as ==, but 1 is not True, and what is no number is equal to itself.

  Of records what is in a span is not compared, nor the fields that say so, such as the user's lines.
  """
  if isinstance(a, tuple) and isinstance(b, tuple):
    return len(a) == len(b) and all(map(same, a, b))
  if type(a) is not type(b):
    return False
  if is_dataclass(a):
    apart = ("items",) if isinstance(a, Span) else ()
    names = [f.name for f in fields(a) if f.compare and f.name not in apart]
    return all(same(getattr(a, name), getattr(b, name)) for name in names)
  if isinstance(a, list):
    return len(a) == len(b) and all(map(same, a, b))
  if isinstance(a, Mapping):
    ours, theirs = dict(leaves(a)), dict(leaves(b))
    return ours.keys() == theirs.keys() and all(same(value, theirs[place]) for place, value in ours.items())
  if isinstance(a, complex):
    return same(a.real, b.real) and same(a.imag, b.imag)
  return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


def with_numbers(value: Any, number: Callable[[Any], int]) -> Any:
  """A value with numbers in the place of symbolic sizes; of a span without what is in it.

  Args:
    value: any value of a trace.
    number: gives the number of a size: an int, a formula, or its text.
  """
  if isinstance(value, Spec):
    return replace(value, shape=tuple(map(number, value.shape)))
  if isinstance(value, tuple):
    return type(value)([with_numbers(v, number) for v in value])
  if isinstance(value, list):
    return [with_numbers(v, number) for v in value]
  if isinstance(value, Mapping):
    found: dict[str, Any] = {}
    for place, leaf in leaves(value):
      put(found, place, leaf if isinstance(leaf, Mapping) else with_numbers(leaf, number))
    return found
  if is_dataclass(value) and not isinstance(value, type):
    apart = ("items",) if isinstance(value, Span) else ()
    given = {
      f.name: with_numbers(getattr(value, f.name), number) for f in fields(value) if f.name not in apart
    }
    if isinstance(value, Lift) and isinstance(value.length, str):
      given["length"] = number(value.length)
    return type(value)(**given)
  return number(value) if not isinstance(value, type) and jax.export.is_symbolic_dim(value) else value
