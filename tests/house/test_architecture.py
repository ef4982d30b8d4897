"""The house stays as it was designed: imports point down, files and functions stay short, Flax stays outside."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted([*(ROOT / "minilinen").rglob("*.py"), *(ROOT / "viz").rglob("*.py")])

# From the bottom up. A file may import what stands on its own floor or below.
FLOORS = [
  "minilinen.jax_internals minilinen.keys minilinen.spelling minilinen.in_force",
  "minilinen.tracing",
  "minilinen.configurations minilinen.errors minilinen.functions",
  "minilinen.core minilinen.checkpoints",
  "minilinen.module minilinen.transforms minilinen.partitioning",
  "minilinen.layers",
  "minilinen",
  "viz",
  "minilinen.examples minilinen.target minilinen.demo",
  "minilinen.cli minilinen.__main__",
]


def module_of(path):
  return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def floor(module):
  """The floor of the longest name that the module's begins with."""
  floors = {name: number for number, names in enumerate(FLOORS) for name in names.split()}
  return floors[max((name for name in floors if f"{module}.".startswith(f"{name}.")), key=len)]


def imports_of(path):
  """Every module that a file imports, with the line; `from minilinen import errors` imports `minilinen.errors`."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      for name in node.names:
        yield node.lineno, name.name
    elif isinstance(node, ast.ImportFrom):
      package = module_of(path.parent / "__init__.py") if node.level else ""
      base = ".".join(filter(None, (package, node.module)))
      for name in node.names:
        inner = f"{base}.{name.name}"
        is_module = (ROOT / inner.replace(".", "/")).is_dir() or (
          ROOT / f"{inner.replace('.', '/')}.py"
        ).exists()
        yield node.lineno, inner if is_module else base


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_point_down(path):
  module = module_of(path)
  for line, imported in imports_of(path):
    if imported.split(".")[0] in ("minilinen", "viz"):
      assert floor(imported) <= floor(module), f"{path}:{line} imports {imported}, which stands above it"


def circles(imports):
  """The files that import each other in a circle or stand between such, of a dict from file to what it imports."""
  left = {module: set(imported) - {module} for module, imported in imports.items()}
  while True:
    ends = {module for module in left if not left[module] & left.keys()}
    ends |= {module for module in left if not any(module in imported for imported in left.values())}
    if not ends:
      return set(left)
    left = {module: imported for module, imported in left.items() if module not in ends}


def test_no_files_import_each_other():
  """File by file, inside a floor too, also where only type checkers read an import."""
  assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {"b", "c"}
  assert "viz.items" in {name for _, name in imports_of(ROOT / "viz" / "house.py")}  # by `from .items import`
  found = circles({module_of(path): {name for _, name in imports_of(path)} for path in FILES})
  assert not found, f"these files import each other: {sorted(found)}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_flax_is_never_imported(path):
  assert not [name for _, name in imports_of(path) if name.split(".")[0] in ("flax", "optax")]


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_and_functions_are_short(path):
  text = path.read_text()
  assert len(text.splitlines()) <= 420, "a file is one idea: split it"
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.FunctionDef):
      body = node.body[1:] if ast.get_docstring(node) else node.body
      length = node.end_lineno - body[0].lineno + 1 if body else 0
      assert length <= 60, f"{node.name} has {length} lines: a function is one thought"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_every_file_says_why_it_is_there(path):
  assert ast.get_docstring(ast.parse(path.read_text()))


def test_private_jax_names_stand_in_few_files():
  """The names that are reachable but not promised only in the file made for them."""
  for path in FILES:
    text = path.read_text().replace("flax.core.partial_eval", "")
    if "jax._src" in text or "partial_eval" in text:
      assert path.name == "jax_internals.py", path


def test_no_name_is_both_a_module_and_something_else():
  """`minilinen.core.scope` is the file of that name, however it is reached: no function or class hides it."""
  for module in map(module_of, FILES):
    if module.endswith("__main__") or "." not in module:
      continue
    importlib.import_module(module)
    package, _, name = module.rpartition(".")
    is_module = getattr(sys.modules[package], name) is sys.modules[module]
    assert is_module, module


def test_an_import_brings_nothing_that_only_pictures_need():
  code = "import sys, minilinen; print(*sorted({name.split('.')[0] for name in sys.modules}))"
  loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
  assert "minilinen" in loaded.stdout.split()
  assert not {"viz", "rich", "graphviz", "flax"} & {*loaded.stdout.split()}
