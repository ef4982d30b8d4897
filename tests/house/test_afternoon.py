"""The afternoon: the files in which one person reads how all of this works stay few, and lead nowhere else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import readme

FILES = [file for _, names in readme.AFTERNOON for file in readme.afternoon_files(names)]


def test_an_afternoon_is_enough():
  assert sum(map(readme.code_lines, FILES)) <= 3200


def test_a_boundary_is_said_once():
  """The transforms for scopes and for modules are one, in few lines; the words of their mistakes stand elsewhere."""
  home = readme.ROOT / "minilinen"
  files = [*(home / "core" / "lift").glob("*.py"), *(home / "transforms").glob("*.py")]
  assert len(files) > 10
  assert sum(map(readme.code_lines, files)) <= 1250


def test_lines_of_code_are_counted(tmp_path: Path):
  file = tmp_path / "counted.py"
  file.write_text(
    '"""Why\n\nit exists."""\n\nX = (\n  1,  # a comment\n)\n\n\ndef f():\n  """One."""\n  # No.\n  return X\n'
  )
  assert readme.code_lines(file) == 5


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_is_used_besides_may_be_skipped(file: Path):
  """An annex says so in the first words of its docstring."""
  for other in sorted(readme._imports(file) - set(FILES)):
    told = ast.get_docstring(ast.parse(other.read_text())) or ""
    assert told.startswith("May be skipped: "), (
      f"{file.stem} leads to {other.name}, which does not say that it may be skipped"
    )


def rows():
  """The rows of the README's table of questions: the files and the names that each points to."""
  table = (
    readme.README.read_text().partition("| what you want to know | file | name |\n")[2].partition("\n\n")[0]
  )
  for line in table.splitlines()[1:]:
    question, files, names = (part.strip() for part in line.strip().strip("|").split(" | "))
    yield pytest.param(re.findall(r"`([^`]+)`", files), re.findall(r"`([^`]+)`", names), id=question)


def names_in(file: Path) -> set[str]:
  """What a file defines, and the methods of its classes."""
  tree = ast.parse(file.read_text())
  defined = (ast.FunctionDef, ast.ClassDef)
  found = {node.name for node in tree.body if isinstance(node, defined)}
  assigned = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
  found |= {node.id for target in assigned for node in ast.walk(target) if isinstance(node, ast.Name)}
  for cls in tree.body:
    if isinstance(cls, ast.ClassDef):
      found |= {f"{cls.name}.{node.name}" for node in cls.body if isinstance(node, defined)}
  return found


@pytest.mark.parametrize("files, names", list(rows()))
def test_the_table_of_questions_is_true(files, names):
  """What the README says of where something is, is there."""
  found = set().union(*(names_in(readme.ROOT / file) for file in files))
  assert files and set(names) <= found
