"""Paths: one spelling for all, which is read back whatever the names are."""

from __future__ import annotations

import pickle

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minilinen as nn
import viz
from minilinen.tracing import Path, Trace

odd_names = st.text(max_size=4) | st.sampled_from(
  ["", "/", "a/b", "'", '"', "it's", "'a'/b", "a.b", ".", "..", "*", "**", "\\", "\n", "\ud800", "'\\", "[a]"]
)
odd_paths = st.lists(odd_names, max_size=4).map(Path)


@given(odd_paths)
def test_a_path_is_read_back_from_its_text(path: Path):
  assert Path.parse(str(path)) == path
  assert Path.parse(path.bare) == path
  assert str(path).startswith("/") and str(path)[1:] == path.bare


@given(odd_paths, odd_paths)
def test_two_paths_have_two_texts(a: Path, b: Path):
  assert (str(a) == str(b)) == (a == b)


@given(st.text(max_size=8))
def test_any_text_is_a_path(text: str):
  path = Path.parse(text)
  assert Path.parse(str(path)) == path


def test_a_path_is_the_tuple_of_its_names():
  path = Path(("a", "b"))
  assert path == ("a", "b") and hash(path) == hash(("a", "b")) and {("a", "b"): 1}[path] == 1
  assert [type(p) for p in (path + ("c",), path / "c", path.parent)] == [Path] * 3 and path[:1] == ("a",)
  assert path / "c" == path + ("c",) == ("a", "b", "c") and path[0] == "a"
  assert type(pickle.loads(pickle.dumps(path))) is Path


@pytest.mark.parametrize(
  ("text", "names"),
  [
    ("", ()), ("/", ()), ("//", ()), ("a", ("a",)), ("/a//b/", ("a", "b")), ("'a/b'/c", ("a/b", "c")),
    ("''", ("",)), ("it's/b", ("it's", "b")), ("'a", ("'a",)), ("'a'b/c", ("'a'b", "c")), ("'\\x'", ("'\\x'",)),
  ],
)  # fmt: skip
def test_texts_that_people_write(text: str, names: tuple[str, ...]):
  assert Path.parse(text) == names


ODD = ("a/b", "", "c.d", "it's", ".")


class Odd(nn.Module):
  @nn.compact
  def __call__(self, x):
    for name in ODD:
      x = nn.Dense(2, name=name)(x)
    return x


@pytest.fixture(scope="module")
def odd() -> Trace:
  return nn.trace(Odd().init)(jax.random.key(0), "f32[1,2]")


@pytest.mark.parametrize("name", ODD)
def test_modules_with_odd_names_are_found_by_path_and_by_text(odd: Trace, name: str):
  path = Path((name,))
  by_names = odd[(name,)]
  assert [call.path for call in by_names] == [(name,)] and type(by_names[0].path) is Path
  assert odd[str(path)] == odd[path.bare] == by_names
  assert path.bare in odd.paths
  assert [f.place for f in odd.find(f"params/{path.bare}/*")] == [
    ("params", name, "kernel"),
    ("params", name, "bias"),
  ]
  assert {odd.owner(e) for e in odd.equations(path)} == {path}
  assert odd.cost()[str(path)].path == path
  assert odd.variables()["params"][name]["kernel"].shape == (2, 2)


def test_checks_and_trees_write_odd_names_so_that_they_can_be_told_apart(odd: Trace):
  params = Odd().init(jax.random.key(0), jax.numpy.ones((1, 2)))["params"]
  wrong = {**params, "a/b": {"kernel": params["a/b"]["kernel"]}, "": {**params[""], "more": 1.0}}
  found = nn.check(Odd(), {"params": wrong}, jax.numpy.ones((1, 2)))
  assert sorted((f.kind, f.path) for f in found) == [
    ("ExtraVariableHint", Path(("",))),
    ("ScopeParamNotFoundError", Path(("a/b",))),
  ]
  rows = {row["path"] for row in viz.tree(odd).to_rows()}
  assert {"params/'a/b'/kernel", "params/''/kernel", "params/c.d/kernel"} <= rows
  assert {"'a/b'", "''"} <= {row["path"] for row in viz.tabulate(odd).to_rows()}


def test_modules_and_scopes_have_paths_and_errors_write_them():
  with pytest.raises(nn.errors.ScopeParamNotFoundError) as caught:
    Odd().apply({"params": {"x": 1.0}}, jax.numpy.ones((1, 2)))
  assert caught.value.path == "/'a/b'"
  bound = nn.Dense(2).bind({})
  assert type(bound.path) is Path and type(bound.scope.path) is Path
