"""The README is true: its examples print what it says, and its list of files is that of the code."""

import html
import re
import shutil
from pathlib import Path

import pictures
import pytest
import readme

import viz

ROOT = Path(__file__).parents[2]


def test_the_readme_is_as_the_code_makes_it():
  now = readme.README.read_text()
  assert readme.renewed(now) == now, "write it anew: make docs"


@pytest.mark.parametrize("page", ["README.md", "tutorials/README.md"])
def test_what_a_page_links_to_is_there(page):
  for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
    assert (ROOT / page).parent.joinpath(link).exists(), link


def test_the_pictures_show_what_viz_draws():
  for name, view in pictures.pictures().items():
    if isinstance(view, viz.GraphView) and shutil.which("dot") is None:
      continue
    drawn, kept = view.svg(width=pictures.WIDTH), (ROOT / "docs" / f"{name}.svg").read_text()
    assert texts(drawn) == texts(kept), "draw it anew: make docs"


def texts(svg):
  """What is written in an SVG."""
  return [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]
