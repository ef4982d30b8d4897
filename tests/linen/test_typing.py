"""What editors, type checkers and readers of annotations see: names and types outlive every decorator and transform."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import json
import subprocess
import sys
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
import pytest
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation
from layer_cases import LAYERS

import minilinen as nn
import viz
from minilinen.aliases import ALIASES

ROOT = Path(__file__).parents[2]

# A type checker.

KEEP_WHAT_THEY_ARE_GIVEN = (
  "compact nowrap compact_name_scope named_call vmap scan jit remat checkpoint map_variables add_metadata_axis"
  " fold_rngs remat_scan"
)


@pytest.mark.parametrize("name", KEEP_WHAT_THEY_ARE_GIVEN.split())
def test_what_a_decorator_or_transform_gives_is_typed_as_what_it_was_given(name: str) -> None:
  hints = typing.get_type_hints(getattr(nn, name))
  first, *_, given = hints.values()
  assert isinstance(first, typing.TypeVar) and first is given


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, str]]:
  """File -> line -> what pyright says of it: the files of tests/typing as they are, and on Flax."""
  there = tmp_path_factory.mktemp("pyright")
  for file in (ROOT / "tests" / "typing").glob("*.py"):
    text = file.read_text()
    (there / file.name).write_text(text)
    (there / f"{file.stem}_on_flax.py").write_text(
      text.replace("import minilinen as nn", "import flax.linen as nn")
    )
  (there / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)], "pythonVersion": "3.11"}))
  run = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(there)]
  found = json.loads(subprocess.run(run, capture_output=True, text=True, check=False).stdout)
  assert found["summary"]["filesAnalyzed"] == 4
  lines: dict[str, dict[int, str]] = {}
  for each in found["generalDiagnostics"]:
    if each["severity"] == "error":
      line = each["range"]["start"]["line"] + 1
      lines.setdefault(Path(each["file"]).stem, {})[line] = each["message"]
  return lines


def test_pyright_sees_every_mistake(reported: dict[str, dict[int, str]]) -> None:
  text = (ROOT / "tests" / "typing" / "mistakes.py").read_text().split("\n")
  marked = {number for number, line in enumerate(text, 1) if "# mistake" in line}
  seen, seen_on_flax = set(reported["mistakes"]), set(reported["mistakes_on_flax"])
  assert len(marked) > 150 and len(seen_on_flax & marked) > 150
  assert seen == marked, [(n, text[n - 1], reported["mistakes"].get(n)) for n in sorted(seen ^ marked)]
  assert seen >= seen_on_flax & marked


def test_pyright_is_content_with_right_uses(reported: dict[str, dict[int, str]]) -> None:
  assert reported.get("right_uses", {}) == {}


# Annotations at run time.

SPACES = [
  nn,
  nn.core,
  nn.core.lift,
  nn.core.nn,
  nn.partitioning,
  nn.errors,
  nn.tracing,
  viz,
  *ALIASES.values(),
]


def public(space: ModuleType) -> list[tuple[str, Any]]:
  """The classes and functions of a namespace, and the methods of the classes."""
  found = []
  for name, value in vars(space).items():
    if (
      name[0] == "_"
      or not callable(value)
      or not getattr(value, "__module__", "").startswith(("minilinen", "viz"))
    ):
      continue
    found.append((name, value))
    if isinstance(value, type):
      found += [(f"{name}.{k}", f) for k, f in vars(value).items() if inspect.isfunction(f) and k[0] != "_"]
      found.append((f"{name}.__init__", value.__init__))
  return found


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.__name__)
def test_annotations_can_be_resolved(space: ModuleType) -> None:
  wrong = {}
  for name, value in public(space):
    try:
      typing.get_type_hints(value)
      inspect.signature(value, eval_str=True)
    except NameError as error:
      wrong[name] = str(error)
    except ValueError:
      assert "no signature found" in str(sys.exc_info()[1])
  assert wrong == {}


TEXT = '''
{future}
import dataclasses
from typing import Generic, TypeVar
import {nn} as nn

Width = int
T = TypeVar("T")

class Net(nn.Module):
  """A user's own."""
  width: Width
  rate: float = 0.1
  def __call__(self, x: Width, *, y: Width = 2) -> Width:
    return x

class Mixin:
  hidden: int = 3

@dataclasses.dataclass
class Data:
  datum: int = 3

class Mixed(Mixin, Data, Net):
  extra: str = "a"

class OfLayer(nn.Dense):
  more: Width = 3

class Words(Net, kw_only=True):
  word: Width
  with_default: Width = 4

class AfterWords(Words):
  last: int = 1

class OnlyWords(nn.Module, kw_only=True):
  word: Width
  with_default: Width = 4

class Marked(nn.Module):
  first: Width
  _: dataclasses.KW_ONLY
  second: Width = 3
  third: Width = dataclasses.field(default=2, kw_only=True, repr=False)

class Of(nn.Module, Generic[T]):
  what: T
  given: dataclasses.InitVar[int] = 3
  def __post_init__(self, given):
    super().__post_init__()

class OfInt(Of[int]):
  also: Width = 1

class Two(Words, Mixed):
  both: int = 2

class Own(nn.Module):
  def __init__(self, a: Width, b: int = 2):
    self.a = a
    super().__post_init__()
'''
FUTURE = "from __future__ import annotations"


@functools.cache
def users(library: str, future: str) -> ModuleType:
  """A user's file."""
  file = ModuleType(f"users_file_on_{library.split('.', maxsplit=1)[0]}{'_as_text' * bool(future)}")
  sys.modules[file.__name__] = file
  exec(compile(TEXT.format(nn=library, future=future), file.__name__, "exec", dont_inherit=True), vars(file))
  return file


CLASSES = [name for name, value in vars(users("minilinen", "")).items() if isinstance(value, type)]
CLASSES = [name for name in CLASSES if issubclass(getattr(users("minilinen", ""), name), nn.Module)]


@pytest.mark.parametrize("future", ["", FUTURE], ids=["types", "text"])
@pytest.mark.parametrize("name", CLASSES)
def test_a_users_class_is_read_as_on_flax(name: str, future: str) -> None:
  ours, theirs = (getattr(users(library, future), name) for library in ("minilinen", "flax.linen"))
  assert [f.name for f in dataclasses.fields(ours)] == [f.name for f in dataclasses.fields(theirs)]
  assert hints(ours) == hints(theirs)
  assert hints(ours.__init__) == hints(theirs.__init__)
  if callable(ours_called := vars(ours).get("__call__")):
    assert hints(ours_called) == hints(theirs.__call__)
  arguments = inspect.signature(ours, eval_str=True).parameters
  assert arguments.keys() == inspect.signature(theirs, eval_str=True).parameters.keys()
  assert not [argument for argument in arguments.values() if isinstance(argument.annotation, str)]


def hints(of: Any) -> dict[str, str]:
  """What annotations are; those of `nn.Dense` and of `parent` name classes of the library's own."""
  own = {"parent", *nn.Dense.__annotations__} - {"features"}
  found = {n: "of the library" if n in own else repr(t) for n, t in typing.get_type_hints(of).items()}
  return {n: t.replace("typing.Optional[str]", "str | None") for n, t in found.items()}


@pytest.mark.parametrize("transform", ["vmap", "jit", "remat", "scan"])
def test_a_lifted_class_is_read_as_the_class(transform: str) -> None:
  lifted = getattr(nn, transform)(nn.Dense)
  assert typing.get_type_hints(lifted.__init__) == typing.get_type_hints(nn.Dense.__init__)
  assert inspect.signature(lifted, eval_str=True) == inspect.signature(nn.Dense, eval_str=True)
  names = [f.name for f in dataclasses.fields(lifted)]
  assert names == [f.name for f in dataclasses.fields(getattr(flax.linen, transform)(flax.linen.Dense))]


# Annotations that are checked at run time.

KEY, X = jax.random.key(0), jnp.ones((1, 2))


@beartype
class Checked(nn.Module):
  width: int
  inner: nn.Module | None = None

  @nn.compact
  def __call__(self, x: jax.Array, n: int = 1) -> jax.Array:
    return nn.Dense(self.width)(x) * n

  @nn.nowrap
  def plain(self, n: int) -> int:
    return n


def test_a_module_whose_annotations_are_checked_is_as_any_other() -> None:
  plain = Checked(3, name="net", inner=Checked(2)).init(KEY, X)["params"]["Dense_0"]["kernel"].shape
  assert plain == (2, 3)
  assert Checked(3).plain(2) == 2
  lifted = nn.vmap(Checked, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=(0, None))
  assert lifted(3).init(KEY, jnp.ones((2, 4)), 1)["params"]["Dense_0"]["kernel"].shape == (2, 4, 3)


@pytest.mark.parametrize(
  "mistake",
  [
    lambda: Checked("3"),
    lambda: Checked(3, inner=4),
    lambda: Checked(3, name=4),
    lambda: Checked(3, parent="net"),
    lambda: Checked(3).init(KEY, X, "twice"),
    lambda: Checked(3).plain("a"),
  ],
)
def test_what_is_checked_is_found(mistake: Any) -> None:
  with pytest.raises(BeartypeCallHintViolation):
    mistake()


@pytest.mark.parametrize("name", sorted({name for name, _, _ in LAYERS}))
def test_what_a_layer_may_be_given_is_what_its_annotations_say(name: str) -> None:
  checked = beartype(type(name, (getattr(nn, name),), {"__module__": __name__}))
  for kwargs in (kwargs for other, kwargs, _ in LAYERS if other == name):
    checked(**kwargs)


def test_every_file_with_layers_is_named_where_its_annotations_can_be_resolved() -> None:
  """A subclass in another file has a layer's annotations too: there they must not be text."""
  for cls in vars(nn).values():
    if isinstance(cls, type) and issubclass(cls, nn.Module):
      file = importlib.import_module(cls.__module__)
      assert not [f.name for f in dataclasses.fields(cls) if isinstance(f.type, str)], file.__file__
