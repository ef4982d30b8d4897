"""May be skipped: numbers that may be formulas: sizes and costs of a model whose dimensions are symbolic.

In a trace of "f32[b,t,512]" a size is one of JAX's symbolic dimensions, which knows its arithmetic. Here is what
JAX leaves out: the number that a formula has for given dimensions (`at`), and reading a saved formula back.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax

from minilinen.spelling import near
from minilinen.tracing.errors import DimensionMissingError

Count = Any
"""How many: an int, or a formula, which is a symbolic dimension of JAX's."""

_OPERATORS: dict[type, Callable[..., Any]] = {
  ast.Add: operator.add,
  ast.Sub: operator.sub,
  ast.Mult: operator.mul,
  ast.Pow: operator.pow,
  ast.FloorDiv: operator.floordiv,
  ast.Mod: operator.mod,
  ast.USub: operator.neg,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
  "floordiv": operator.floordiv,
  "mod": operator.mod,
  "max": max,
  "min": min,
}


def at(value: Any, dimensions: Mapping[str, int]) -> int:
  """The number that a formula has for these dimensions; a number is itself.

  Args:
    value: a number, one of JAX's symbolic dimensions, or its text.
    dimensions: a number for each of its names.

  Raises:
    DimensionMissingError: if one of them is not given.

  >>> at("256*b*t^2 + floordiv(t, 2)", {"b": 2, "t": 8})
  32772
  """
  if isinstance(value, int):
    return value
  text = str(value)
  try:
    return _number(ast.parse(text.replace("^", "**"), mode="eval").body, dimensions)
  except KeyError as error:
    close = near(error.args[0], dimensions)
    hint = f" You gave {close[0]!r}." if close else ""
    raise DimensionMissingError(name=error.args[0], formula=text, hint=hint) from None


def _number(node: ast.AST, dimensions: Mapping[str, int]) -> int:
  match node:
    case ast.Constant(value=int(number)):
      return number
    case ast.Name(id=name):
      return dimensions[name]
    case ast.BinOp(left=left, op=op, right=right):
      return _OPERATORS[type(op)](_number(left, dimensions), _number(right, dimensions))
    case ast.UnaryOp(op=op, operand=operand):
      return _OPERATORS[type(op)](_number(operand, dimensions))
    case ast.Call(func=ast.Name(id=name), args=args):
      return _FUNCTIONS[name](*(_number(arg, dimensions) for arg in args))
  raise ValueError(f"{ast.unparse(node)!r} is no formula of dimensions")


def names(value: Any) -> tuple[str, ...]:
  """The dimensions in a formula, in the order of the alphabet; a number has none.

  >>> names("256*b*t^2 + floordiv(t, 2)")
  ('b', 't')
  """
  found = set() if isinstance(value, int) else set(re.findall(r"[A-Za-z_]\w*(?!\w*\()", str(value)))
  return tuple(sorted(found))


def as_number(value: Any) -> int:
  """A number to tell which of two formulas is larger: theirs at dimensions of a usual size."""
  return at(value, dict.fromkeys(names(value), 128))


SYMBOLS = jax.export.SymbolicScope()
"""One for all, so that all formulas may be reckoned with together: in a scope of its own each "b" would be another, and
JAX keeps for ever what it traced for it."""

_known: dict[str, Any] = {}


def parse(value: int | str) -> Count:
  """A size as a number, or as a formula that JAX's arithmetic understands."""
  if isinstance(value, int):
    return value
  if value not in _known:
    (_known[value],) = jax.export.symbolic_shape(value, scope=SYMBOLS)
  return _known[value]
