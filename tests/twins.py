"""The same model source on minilinen and on Flax: a module of Python whose import of `nn` is exchanged."""

from __future__ import annotations

import importlib
import inspect
import sys
from types import ModuleType

OURS = "import minilinen as nn"
FLAX = "import flax.linen as nn"


def flax_twin(name: str) -> ModuleType:
  """A module whose source is that of another with `nn` from Flax.

  Args:
    name: a module that has the line `import minilinen as nn`.
  """
  twin_name = f"flax_twin_of_{name.replace('.', '_')}"
  if twin_name not in sys.modules:
    source = inspect.getsource(importlib.import_module(name))
    assert source.count(OURS) == 1, f"{name} imports nn in another way"
    twin = ModuleType(twin_name)
    sys.modules[twin_name] = twin
    exec(compile(source.replace(OURS, FLAX), f"<{name} on Flax>", "exec"), vars(twin))
  return sys.modules[twin_name]
