"""The parts that views are made of: guides, folding, layout, words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from viz.folding import Branch, folded, natural, preorder, range_label
from viz.layout import cut_end, cut_middle, fit
from viz.outline import Cell, Column, Outline, Row, guides
from viz.words import Amount, brief_count, bytes_text

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)


@st.composite
def outlines(draw: st.DrawFn) -> Outline:
  depth, rows = 0, []
  for _ in range(draw(st.integers(1, 12))):
    depth = draw(st.integers(0, depth + 1)) if rows else 0
    number = draw(st.integers(0, 10**13))
    cells = {
      "a": Cell((draw(NAMES),)),
      "b": Cell(tuple(draw(st.lists(NAMES, max_size=2))), Amount(number, 4 * number).numbers()),
    }
    rows.append(Row(draw(NAMES), depth, draw(st.sampled_from(["", "×6", "×12 ⋯"])), cells))
  shrink = (("b", "text"), ("a", "column"), ("", "indent"), ("b", "numbers"), ("", "room"), ("b", "numbers"))
  return Outline(
    "title", "path", (Column("a", "a"), Column("b", "long title of b")), tuple(rows), {}, (), shrink
  )


@settings(max_examples=60, deadline=None)
@given(outlines(), st.integers(30, 200))
def test_everything_fits(outline: Outline, width: int) -> None:
  fitted = fit(outline, width)
  assert sum(h.width for h in fitted.heads) + 2 * (len(fitted.heads) - 1) <= width
  for row in fitted.rows:
    for text, head in zip(row, fitted.heads, strict=True):
      assert cell_len(text) <= head.width
  for row, (text, *_) in zip(outline.rows, fitted.rows):
    assert text.endswith(row.mark)


def test_wide_enough_cuts_nothing() -> None:
  row = Row("a", 0, "", {"x": Cell(("full", "f"), (("1,000", "4 KB"), ("1,000",)))})
  outline = Outline("t", "path", (Column("x", "x"),), (row,), shrink=(("x", "text"), ("x", "numbers")))
  assert fit(outline, 80).rows == (("a", "full  1,000 4 KB"),)
  assert fit(outline, 17).rows == (("a", "1,000 4 KB"),)
  assert fit(outline, 12).rows == (("a", "1,000"),)
  assert fit(outline, 5).left_out == ("x",)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_guides_are_as_long_as_the_depth(depths: list[int]) -> None:
  rows = tuple(Row("x", d) for d in depths)
  assert [len(g) for g in guides(rows)] == [3 * d for d in depths]


def test_very_deep_guides_are_cut() -> None:
  rows = tuple(Row("x", d) for d in range(40))
  assert guides(rows, deepest=4)[39] == "35⋯          └─ "
  assert max(map(len, guides(rows, deepest=4))) <= 16


def test_folding_needs_equal_blocks_and_even_names() -> None:
  def block(label: str, same: str = "b") -> Branch:
    return Branch(label, same=same, children=[Branch("x", same=1), Branch("y", same=2)])

  def labels(*names: str, **kwargs: str) -> list[str]:
    return [s.label for s in folded([Branch("", children=[block(n, **kwargs) for n in names])], depth=1)][1:]

  assert labels("a_0", "a_1", "a_2") == ["a_0…2"]
  assert labels("a_0", "a_2", "a_4") == ["a_0,2…4"]
  assert labels("a_0", "a_1", "a_3") == ["a_0…1", "a_3"]
  assert labels("query", "key") == ["query", "key"]
  assert labels("a_0", "b_1") == ["a_0", "b_1"]
  assert labels("a_2_x", "a_3_x") == ["a_2…3_x"]
  differing = Branch("", children=[block("a_0"), block("a_1", "c"), block("a_2")])
  assert len(folded([differing], depth=1)) == 4


def test_folding_is_linear() -> None:
  root = Branch("", children=[Branch(f"a_{i}", same=i % 7) for i in range(20_000)])
  assert len(preorder([root])) == 20_001
  assert [len(s.copies) for s in folded([root])] == [1, *[2857] * 7, 1]


@pytest.mark.parametrize("width", range(1, 12))
def test_cuts(width: int) -> None:
  for text in ("BottleneckResNetBlock_12", "模块模块模块模块", "ab"):
    assert cell_len(cut_end(text, width)) <= width
    assert cell_len(cut_middle(text, width)) <= width


def test_words() -> None:
  assert brief_count(999) == "999" and brief_count(1000) == "1.00K" and brief_count(999_999) == "1.00M"
  assert bytes_text(999) == "999 B" and bytes_text(1000) == "1.0 KB" and bytes_text(10**16) == "10,000.0 TB"
  assert sorted(["b10", "b9", "10", "9", "a"], key=natural) == ["9", "10", "a", "b9", "b10"]
  assert range_label(["a1", "a2"]) == "a1…2"
