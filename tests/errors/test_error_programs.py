"""Every error class shows the shortest program that raises it in its docstring: here they run.

And its texts: a class says what will be read as literals, with nothing left in them that no fact fills.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import minilinen as nn
from minilinen import core, errors
from minilinen.tracing.checks import Findings

pytestmark = pytest.mark.grid

BASES = (errors.base.Texts, errors.TraceError)
CLASSES = sorted(
  {c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, BASES)} - {*BASES},
  key=lambda c: c.__name__,
)


def program_of(cls: type[Any]) -> str:
  """The program below "Example:", with which a docstring ends."""
  return textwrap.dedent(inspect.cleandoc(cls.__doc__ or "").partition("\nExample:\n")[2])


def said_by(program: str) -> set[str]:
  """The names of the classes that a program raises, warns of, or that its last line finds."""
  names: dict[str, Any] = dict(nn=nn, core=core, jax=jax, jnp=jnp, key=jax.random.key(0), x=jnp.ones((2, 3)))
  *body, last = ast.parse(program).body
  with warnings.catch_warnings(record=True) as shown:
    warnings.simplefilter("always", errors.MinilinenWarning)
    try:
      exec(compile(ast.Module(body, []), "<program>", "exec"), names)
      if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), "<program>", "eval"), names)
        if isinstance(value, Findings):
          return {finding.kind for finding in value}
      else:
        exec(compile(ast.Module([last], []), "<program>", "exec"), names)
    except Exception as error:
      return {type(getattr(error, "trap", error)).__name__}
  return {warning.category.__name__ for warning in shown}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_program_in_the_docstring_leads_to_the_class(cls: type[Any]) -> None:
  program = program_of(cls)
  assert program, f"{cls.__name__} shows no program"
  assert said_by(program) == {cls.__name__}


def test_every_class_of_questions_to_a_trace_is_listed() -> None:
  waiting, found = [errors.TraceError], set[type]()
  while waiting:
    subclasses = waiting.pop().__subclasses__()
    waiting += subclasses
    found |= {c for c in subclasses if c.says}
  assert found <= {*CLASSES}


def test_said_by_sees_what_a_program_leads_to() -> None:
  assert said_by("nn.Dense(4).init(key, x)") == set()
  assert said_by("nn.Dense(4)(x)") == {"CallCompactUnboundModuleError"}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_class_that_only_user_code_raises_says_why_it_is_there(cls: type[Any]) -> None:
  if program_of(cls).startswith(("raise", "nn.errors.warn")):
    assert cls in (
      errors.MinilinenError,
      errors.MinilinenWarning,
      errors.MinilinenHint,
    ) or "by Flax's name" in (cls.__doc__ or "")
