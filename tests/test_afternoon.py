"""The afternoon: the files in which one person reads how all of this works stay few, and lead nowhere else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import readme

FILES = [file for _, names in readme.AFTERNOON for file in readme.afternoon_files(names)]
# Lists of names, each with no code of its own.
LISTS = {readme.ROOT / "minilinen" / "core" / "__init__.py"}


def test_an_afternoon_is_enough():
  assert sum(map(readme.code_lines, FILES)) <= 3200


def test_lines_of_code_are_counted(tmp_path: Path):
  file = tmp_path / "counted.py"
  file.write_text(
    '"""Why\n\nit exists."""\n\nX = (\n  1,  # a comment\n)\n\n\ndef f():\n  """One."""\n  # No.\n  return X\n'
  )
  assert readme.code_lines(file) == 5


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_is_used_besides_may_be_skipped(file: Path):
  """An annex says so in the first words of its docstring."""
  for other in sorted(readme._imports(file) - {*FILES, *LISTS}):
    told = ast.get_docstring(ast.parse(other.read_text())) or ""
    assert told.startswith("May be skipped: "), (
      f"{file.stem} leads to {other.name}, which does not say that it may be skipped"
    )
