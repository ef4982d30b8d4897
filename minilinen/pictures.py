"""Where the package `viz` is: beside this one, whatever else is called viz.

minilinen draws in two places only, `Module.tabulate` and the command line, and asks here for the package that draws.
A user may have a `viz.py` of his own beside his script, which Python finds first; then ours is loaded by its place,
under the name `minilinen.viz`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_PLACE = Path(__file__).resolve().parent.parent / "viz" / "__init__.py"


def pictures() -> ModuleType:
  """The package `viz` that belongs to this minilinen.

  >>> pictures().tabulate.__name__
  'tabulate'
  """
  if _is_ours("viz"):
    return importlib.import_module("viz")
  if "minilinen.viz" not in sys.modules:
    spec = importlib.util.spec_from_file_location(
      "minilinen.viz", _PLACE, submodule_search_locations=[str(_PLACE.parent)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["minilinen.viz"] = module
    spec.loader.exec_module(module)
  return sys.modules["minilinen.viz"]


def _is_ours(name: str) -> bool:
  try:
    spec = importlib.util.find_spec(name)
  except (
    ImportError,
    ValueError,
  ):  # what stands under the name is no module that was imported from somewhere
    return False
  return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == _PLACE
