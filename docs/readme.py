"""Keeps the README true: runs its examples, writes down what they print, and lists the files of the code.

`make docs` writes it anew; `tests/house/test_readme.py` fails where that would change it. The output under a block of
Python or a command, and the list of files, are never written by hand.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import shlex
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
WIDTH = 80

# What a newcomer reads, from the bottom up: a title, what it is, and the files of the group.
GROUPS = [
  (
    "The trace: what happened",
    [
      "minilinen/in_force.py",
      "minilinen/jax_internals.py",
      "minilinen/keys.py",
      "minilinen/spelling.py",
      "minilinen/tracing/**/*.py",
    ],
  ),
  ("The bottom of the rest", ["minilinen/configurations.py", "minilinen/errors/*.py"]),
  ("Functions of arrays", ["minilinen/functions/*.py"]),
  ("The functional core: where state lives", ["minilinen/core/**/*.py"]),
  ("Variables in files", ["minilinen/checkpoints/*.py"]),
  (
    "The class layer: modules",
    ["minilinen/module/*.py", "minilinen/transforms/*.py", "minilinen/partitioning.py"],
  ),
  ("The layers", ["minilinen/layers/*.py"]),
  (
    "The namespace",
    [
      f"minilinen/{name}.py"
      for name in [
        "checking",
        "pictures",
        "summary",
        "kw_only_dataclasses",
        "after_import",
        "other_libraries",
        "aliases",
        "__init__",
      ]
    ],
  ),
  ("Projects of Flax", ["minilinen/compat/*.py"]),
  ("Pictures", ["viz/*.py"]),
  ("Programs on top", ["minilinen/examples/*.py", "minilinen/*.py"]),
]

# What one person reads in an afternoon to know how all of this works, in this order; the rest may be skipped.
AFTERNOON = [
  ("Keys, a tree of variables, and places in it", "keys core/rng core/tree core/place core/scope core/run"),
  (
    "A module, and a call",
    "module/context module/base module/life module/attributes module/variables module/call module/runs"
    " module/module",
  ),
  (
    "A boundary, and the transforms",
    "core/boundary core/lift/targets core/lift/form core/lift/carriers core/lift/crossing core/lift/compiled"
    " core/lift/mapping core/lift/loops core/lift/branches transforms/carried",
  ),
  ("The trace", "tracing/paths tracing/events tracing/recorder tracing/recording tracing/trace"),
]

_EXAMPLE = re.compile(r"```(python|console)\n(.*?)```\n(?:\n```text\n.*?```\n)?", re.DOTALL)
_AFTERNOON = re.compile(r"(?<=<!-- afternoon -->\n).*(?=<!-- /afternoon -->)", re.DOTALL)
_FILES = re.compile(r"(?<=<!-- files -->\n).*(?=<!-- /files -->)", re.DOTALL)


def renewed(text: str) -> str:
  """The text of the README with the outputs and the list of files as they are now."""
  names: dict[str, object] = {}

  def example(match: re.Match[str]) -> str:
    language, code = match.groups()
    printed = _printed_by_python(code, names) if language == "python" else _printed_by_command(code)
    shown = f"\n```text\n{printed}```\n" if printed else ""
    return f"```{language}\n{code}```\n{shown}"

  text = _AFTERNOON.sub(lambda _: afternoon(), _EXAMPLE.sub(example, text))
  return _FILES.sub(lambda _: files(), text)


def _printed_by_python(code: str, names: dict[str, object]) -> str:
  # The example is a file of a user's, so that the lines of code in its output are the user's.
  return _captured(lambda: exec(compile(code, "example.py", "exec"), names))


def _printed_by_command(code: str) -> str:
  from minilinen.cli import main

  return _captured(lambda: main(shlex.split(code.removeprefix("$ minilinen"))))


def _captured(run: object) -> str:
  """What a function prints, in a terminal of `WIDTH` columns, without blanks at the ends of lines."""
  columns, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), str(WIDTH)
  try:
    with contextlib.redirect_stdout(io.StringIO()) as out:
      run()  # type: ignore[operator]
  finally:
    os.environ.pop("COLUMNS")
    if columns is not None:
      os.environ["COLUMNS"] = columns
  return (
    "\n".join(line.rstrip() for line in out.getvalue().split("\n")).rstrip("\n") + "\n"
    if out.getvalue()
    else ""
  )


def afternoon_files(names: str) -> list[Path]:
  """The files of one part of the afternoon."""
  return [ROOT / "minilinen" / f"{name}.py" for name in names.split()]


def afternoon() -> str:
  """The files of the afternoon, in reading order, with how many lines of code each has."""
  files = [file for _, names in AFTERNOON for file in afternoon_files(names)]
  total = sum(map(code_lines, files))
  lines = [
    f"{len(files)} files, {total:,} lines of code.",
    "",
  ]
  for title, names in AFTERNOON:
    lines += [f"**{title}**", ""]
    for number, file in enumerate(afternoon_files(names), 1):
      lines.append(
        f"{number}. [`{_name(file)}`]({_name(file)}) ({code_lines(file)} lines): {_first_sentence(file)}"
      )
    lines.append("")
  return "\n".join(lines)


def code_lines(file: Path) -> int:
  """How many lines of a Python file hold code: not those of docstrings and comments, and no blank ones."""
  text = file.read_text()
  lines: set[int] = set()
  for token in tokenize.generate_tokens(io.StringIO(text).readline):
    if token.type not in _NO_CODE:
      lines.update(range(token.start[0], token.end[0] + 1))
  for node in ast.walk(ast.parse(text)):
    if (
      isinstance(node, ast.Expr)
      and isinstance(node.value, ast.Constant)
      and isinstance(node.value.value, str)
    ):
      lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
  return len(lines)


_NO_CODE = {
  tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip


def files() -> str:
  """The list of all files, each after those that it imports, with the first sentence of what it says of itself.

  Raises:
    ValueError: if a file imports one of a later group.
  """
  lines: list[str] = []
  listed: set[Path] = set()
  for title, patterns in GROUPS:
    group = {file for pattern in patterns for file in ROOT.glob(pattern)} - listed
    lines += [f"**{title}**", ""]
    while group:
      ready = sorted((f for f in group if not (_imports(f) - {f}) & group), key=lambda f: (len(f.parts), f))
      file = (ready or sorted(group))[0]
      if late := _imports(file) - listed - group - {file}:
        raise ValueError(f"{_name(file)} imports what stands below it: {', '.join(map(_name, sorted(late)))}")
      lines.append(f"- [`{_name(file)}`]({_name(file)}): {_first_sentence(file)}")
      group.remove(file)
      listed.add(file)
    lines.append("")
  return "\n".join(lines)


def _name(file: Path) -> str:
  return file.relative_to(ROOT).as_posix()


def _first_sentence(file: Path) -> str:
  paragraph = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n\n")[0].replace("\n", " ")
  sentence = re.match(r".*?(?<!\bal)[.](?=\s|$)", paragraph)
  return sentence[0] if sentence else paragraph


def _imports(file: Path) -> set[Path]:
  """The files of ours that a file imports when it is loaded."""
  found: set[Path] = set()
  for node in ast.parse(file.read_text()).body:
    if isinstance(node, ast.Import):
      found |= {_file(alias.name) for alias in node.names} - {None}  # type: ignore[operator]
    elif isinstance(node, ast.ImportFrom):
      package = ".".join(file.relative_to(ROOT).parts[:-1]) if node.level else ""
      module = ".".join(filter(None, (package, node.module)))
      found |= {_file(f"{module}.{alias.name}") or _file(module) for alias in node.names} - {None}  # type: ignore[operator]
  return found


def _file(module: str) -> Path | None:
  place = ROOT.joinpath(*module.split("."))
  return next((f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()), None)


if __name__ == "__main__":
  sys.path.insert(0, str(ROOT))
  README.write_text(renewed(README.read_text()))
