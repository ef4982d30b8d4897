"""Numbers, specs and arguments in words: how every view writes them.

One place decides how a count, a number of bytes or a value of the trace reads, in full and in brief, so that
all pictures read alike.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minilinen.tracing.equations.formula import Count
from minilinen.tracing.events import Passing
from minilinen.tracing.spec import ModuleRef, Node, Opaque, Spec, Value, boxed


@dataclass(frozen=True, slots=True)
class Amount:
  """How much there is: numbers, their bytes, and bytes on one device; formulas where a size is symbolic."""

  count: Count = 0
  nbytes: Count = 0
  on_device: Count = 0

  def __add__(self, other: Amount) -> Amount:
    return Amount(self.count + other.count, self.nbytes + other.nbytes, self.on_device + other.on_device)

  def numbers(self) -> tuple[tuple[str, ...], ...]:
    """Count and bytes, then the count, then the count in brief, for a `Cell`."""
    texts = count_texts(self.count, "KMBT")
    return ((*texts[0], bytes_text(self.nbytes)), *texts) if texts else ()

  def plain(self) -> dict[str, int | str]:
    """Count and bytes as plain data."""
    return {"count": plain_count(self.count), "bytes": plain_count(self.nbytes)}

  def __str__(self) -> str:
    (full,), *_ = count_texts(self.count, "KMBT") or (("0",),)
    return f"{full} ({bytes_text(self.nbytes)})"


def plain_count(count: Count) -> int | str:
  """A count as plain data: a number, or the text of a formula."""
  return count if isinstance(count, int) else str(count)


def count_texts(count: Count, units: str = "KMGTPE") -> tuple[tuple[str, ...], ...]:
  """A count in full and in brief, nothing for none; a formula whole, and then its first term.

  >>> count_texts(8_178_368_512)
  (('8,178,368,512',), ('8.18G',))
  """
  if isinstance(count, int):
    return ((f"{count:,}",), (brief_count(count, units),)) if count else ()
  text = str(count)
  first = text.partition(" + ")[0]
  return ((text,), (f"{first} + …",)) if first != text else ((text,),)


def brief_count(n: int, units: str = "KMBT") -> str:
  """A count in three digits.

  Args:
    n: the count.
    units: for thousands, millions ...; FLOPs have "KMGTPE".

  >>> [brief_count(n) for n in (64, 9408, 25_610_152, 175_000_000_000, 999_499, 999_500)]
  ['64', '9.41K', '25.6M', '175B', '999K', '1.00M']
  """
  if n < 1000:
    return str(n)
  scaled, unit = n / 1000, units[0]
  for above in units[1:]:
    if scaled < 999.5:
      break
    scaled, unit = scaled / 1000, above
  digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
  return f"{scaled:.{digits}f}{unit}"


def bytes_text(n: Count) -> str:
  """Bytes in decimal units, as Linen's tabulate writes them; a formula as it is.

  >>> [bytes_text(n) for n in (480, 4_812_280, 102_440_608)]
  ['480 B', '4.8 MB', '102.4 MB']
  """
  if not isinstance(n, int):
    return f"({n}) B" if " " in str(n) else f"{n} B"
  if n < 1000:
    return f"{n} B"
  scaled: float = n
  for unit in ("B", "KB", "MB", "GB"):
    if scaled < 999.95:
      return f"{scaled:.1f} {unit}"
    scaled /= 1000
  return f"{scaled:,.1f} TB"


def specs(value: Value) -> Iterator[Spec]:
  """Every array in a value."""
  stack = [value]
  while stack:
    part = stack.pop()
    if isinstance(part, Spec):
      yield part
    elif isinstance(part, Node):
      stack.extend(reversed(part.parts.values()))
    elif isinstance(part, dict):
      stack.extend(reversed(part.values()))
    elif isinstance(part, (tuple, list)):
      stack.extend(reversed(part))


def amount(value: Value) -> Amount:
  """How much a value holds."""
  if isinstance(value, Spec):
    return _amount(value)
  total = Amount()
  for spec in specs(value):
    total = total + amount(spec)
  return total


# A model has many arrays and few shapes.
@functools.lru_cache(4096)
def _amount(spec: Spec) -> Amount:
  return Amount(spec.size, spec.nbytes, spec.shard_nbytes)


_spec_text = functools.lru_cache(4096)(Spec.__str__)


def printable(text: str) -> str:
  """A name with characters that would disturb a terminal written as escapes."""
  return (text or "''") if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def value_text(value: Value, depth: int = 4) -> str:
  """A value of the trace on one line.

  >>> value_text({"a": Spec((2, 4), "float32"), "b": (None, True)})
  '{a: f32[2,4], b: (None, True)}'
  """
  if isinstance(value, Spec):
    return _spec_text(value)
  if isinstance(value, str):
    return repr(value if len(value) <= 24 else value[:23] + "…")
  if isinstance(value, ModuleRef):
    return value.module
  if isinstance(value, Opaque):
    return printable(value.text or value.type)
  if isinstance(value, (tuple, list, dict, Node)) and depth == 0:
    return "…"
  if isinstance(value, (tuple, list)):
    inside = several(value, depth - 1)
    return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' * (len(value) == 1)})"
  if isinstance(value, dict):
    return "{" + _named(value, ": ", depth - 1) + "}"
  if isinstance(value, Node):
    return f"{value.type}({_named(value.parts, '=', depth - 1)})"
  return printable(str(value))


def _named(parts: dict[str, Value], between: str, depth: int) -> str:
  return ", ".join(f"{printable(str(k))}{between}{value_text(v, depth)}" for k, v in parts.items())


def several(values: Sequence[Value], depth: int = 4) -> str:
  """Values one after the other; equal neighbours once, with their number.

  >>> several([Spec((2,), "float32")] * 3 + [True])
  'f32[2] ×3, True'
  """
  texts: list[list[Any]] = []
  for value in values:
    text = value_text(value, depth)
    if texts and texts[-1][0] == text:
      texts[-1][1] += 1
    else:
      texts.append([text, 1])
  return ", ".join(text if n == 1 else f"{text} ×{n}" for text, n in texts)


def arguments(args: Sequence[Value], kwargs: dict[str, Value]) -> tuple[str, ...]:
  """Arguments of a call, in full, and in brief: the first one and how many more there are."""
  named = [f"{printable(k)}={value_text(v)}" for k, v in kwargs.items()]
  full = ", ".join([*([several(args)] if args else []), *named])
  total = len(args) + len(kwargs)
  if total < 2:
    return (full,) if full else ()
  first = value_text(args[0]) if args else named[0]
  return (full, f"{first} +{total - 1}")


def largest_first(n: Count) -> tuple[int, int, str]:
  """A sort key under which formulas, of which nobody knows which is larger, come before numbers.

  >>> sorted([3, 20, 7], key=largest_first)
  [20, 7, 3]
  """
  return (1, -n, "") if isinstance(n, int) else (0, 0, str(n))


def variables_text(variables: Mapping[str, Value]) -> tuple[str, ...]:
  """Variables by name and shape, the largest first: all of them, then that one and how many more there are.

  >>> variables_text({"scale": Spec((64,), "float32"), "bias": Spec((64,), "float32")})
  ('bias, scale f32[64]',)
  """
  sizes = {name: amount(value).count for name, value in variables.items()}
  order = sorted(variables, key=lambda name: (*largest_first(sizes[name]), name))
  names: dict[str, list[str]] = {}
  for name in order:
    names.setdefault(value_text(boxed(variables[name])[0]), []).append(printable(name))
  texts = [f"{', '.join(same)} {text}" for text, same in names.items()]
  if len(texts) < 2:
    return tuple(texts)
  brief = f"{printable(order[0])} {value_text(boxed(variables[order[0]])[0])} +{len(variables) - 1}"
  return ("; ".join(texts) if len(texts) < len(variables) else ", ".join(texts), brief)


def names_text(passing: Passing) -> str:
  """Which collections, or streams, a passing is about.

  >>> names_text(Passing(("params", "cache"))), names_text(Passing(("params",), all_but=True))
  ('params, cache', 'all but params')
  """
  names = ", ".join(map(printable, passing.names))
  if not passing.all_but:
    return names or "none"
  return f"all but {names}" if names else "all"


def passing_text(passing: Passing) -> str:
  """What happens to collections, or streams, at a boundary.

  >>> passing_text(Passing(("params",), kind="axis", axis=0, out_of=False))
  'axis 0 (in only)'
  """
  only = "" if passing.into and passing.out_of else " (in only)" if passing.into else " (out only)"
  if passing.kind == "axis":
    return f"axis {passing.axis}{only}"
  return passing.kind if passing.kind != "broadcast" else f"broadcast{only}"
