"""Every tutorial runs and prints what it says."""

import doctest
from pathlib import Path

import pytest

TUTORIALS = sorted((Path(__file__).parents[2] / "tutorials").glob("*.md"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_tutorial(path):
  text = path.read_text().replace("```python\n", "\n").replace("```\n", "\n")
  test = doctest.DocTestParser().get_doctest(text, {}, path.name, str(path), 0)
  assert doctest.DocTestRunner().run(test).failed == 0
