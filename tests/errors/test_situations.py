"""Every error class is shown in three situations at least, and what is said is read in each.

A situation is a program with the whole message that it leads to (`CASES` of a test file), or one with what must be said
and what must not (`ADVICE`). A class that cannot have three stands here with its reason.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from test_error_programs import CLASSES

from minilinen import errors

FEWER = {
  errors.ImmutableVariableError: "only a user's code raises it: ModifyScopeVariableError comes before it",
  errors.JaxTransformError: "only a user's code raises it: raw transforms that do harm are warned of by what they do",
  errors.MultipleMethodsCompactError: "only a user's code raises it: several compact methods are allowed",
  errors.TraceContextError: "only a user's code raises it: JAX checks the traces itself",
  errors.MinilinenError: "the base, which a user's own errors may have too",
  errors.MinilinenHint: "the base of hints, which a user's own may have too",
  errors.MinilinenWarning: "the base, which a user's own warnings may have too",
}


def situations() -> Counter[type[Any]]:
  """How many programs show each class, over all test files; two that are the same count once."""
  found: set[tuple[type[Any], str]] = set()
  for file in sorted(Path(__file__).parents[1].glob("*/test_*.py")):
    if any(word in file.read_text() for word in ("CASES: list[Case]", "\nADVICE = [")):
      sys.path.append(str(file.parent))  # as pytest does for the files that it collects
      module = importlib.import_module(file.stem)
      for kind, message, program in getattr(module, "CASES", ()):
        found.add((kind, f"{file.stem} {program.__name__} {message}"))
      for advice in getattr(module, "ADVICE", ()):
        found.add((advice.kind, " ".join(advice.program.split())))
  return Counter(kind for kind, _ in found)


FOUND = situations()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_is_read_in_three_situations(cls: type[Any]) -> None:
  if cls in FEWER:
    assert FOUND[cls] < 3, f"{cls.__name__} has three now: take its reason away"
  else:
    assert FOUND[cls] >= 3, f"{cls.__name__} is shown in {FOUND[cls]} situations only"


def test_a_class_that_only_users_raise_says_so() -> None:
  for cls, reason in FEWER.items():
    assert ("by Flax's name" in (cls.__doc__ or "")) == reason.startswith("only a user's code")
