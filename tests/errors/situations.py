"""Programs with a mistake, and what must be said of it; test_advice and the files beside it hold them by theme.

`says` are pieces of the message, in whole lines of it; `never` are pieces that would be wrong advice here. `mended` is
the program after the advice was followed: it runs, and raises, warns of and finds nothing. A program that asks for
findings calls them `found`.
"""

from __future__ import annotations

import dataclasses
import linecache
import textwrap
import warnings
from typing import Any

import jax
import jax.numpy as jnp

import minilinen as nn
from minilinen import core, errors

Said = errors.MinilinenWarning | Exception | Any


@dataclasses.dataclass
class Advice:
  """One program with its mistake.

  Attributes:
    kind: the class that is raised or warned of, that a finding has, or that stands in a note below JAX's error.
    program: what the user wrote.
    says: what must stand in the message.
    never: what must not.
    mended: the program as the advice would have it, "" if that cannot be shown in a line.
  """

  kind: type[Any]
  program: str
  says: list[str]
  never: tuple[str, ...] = ()
  mended: str = ""

  def __str__(self) -> str:
    return f"{self.kind.__name__}: {' '.join(self.program.split())[-60:]}"

  def holds(self) -> None:
    """Asserts that the advice is given, and that it helps."""
    everything = run(self.program)
    said = [one for part in everything for one in part if _is(one, self.kind)]
    assert said, everything
    text = told(said[0])
    assert [piece for piece in self.says if piece not in text] == [], text
    assert [piece for piece in self.never if piece in text] == [], text
    assert not [word for word in text.split() if word.startswith("{") and word.endswith("}")], (
      "a fact is missing"
    )
    if self.mended:
      assert run(self.mended) == ([], [], [])


def run(program: str) -> tuple[list[Any], list[Any], list[Any]]:
  """The exceptions, the warnings of ours and the findings that a program leads to."""
  names: dict[str, Any] = dict(nn=nn, core=core, jax=jax, jnp=jnp, key=jax.random.key(0), x=jnp.ones((2, 3)))
  text = textwrap.dedent(program)
  linecache.cache["<program>"] = len(text), None, text.splitlines(True), "<program>"
  with warnings.catch_warnings(record=True) as shown:
    warnings.simplefilter("always", errors.MinilinenWarning)
    try:
      exec(compile(text, "<program>", "exec"), names)
      raised: list[Any] = []
    except Exception as error:
      raised = [error]
  warned = [w.message for w in shown if isinstance(w.message, errors.MinilinenWarning)]
  return raised, warned, list(names.get("found", ()))


def _is(said: Any, kind: type[Any]) -> bool:
  return (
    isinstance(said, kind)
    or isinstance(getattr(said, "trap", None), kind)
    or getattr(said, "kind", "") == kind.__name__
  )


def told(said: Any) -> str:
  """What a user reads, each part of it on one line."""
  notes = [note for note in getattr(said, "__notes__", []) if "JAX has removed" not in note]
  return " ".join("\n".join([str(said), *notes]).split())
