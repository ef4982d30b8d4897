"""May be skipped: the paths by which Linen's users import: `minilinen.linear` is `minilinen/layers/linear.py`.

`nn.linear.Dense` needs nothing of this: `minilinen/__init__.py` names `linear`. But `import minilinen.linear` and
`from minilinen.linear import Dense` ask Python for a module of that name, and Python looks into `sys.modules` first.
It finds there the module itself, not a copy, so a class is the same by either path. A type checker doesn't see this; it
follows `from minilinen import linear`.
"""

from __future__ import annotations

import sys
from types import ModuleType

from minilinen.core import spmd
from minilinen.functions import initializers, pooling
from minilinen.layers import (
  activation,
  attention,
  batch_apply,
  combinators,
  dtypes,
  fp8_ops,
  linear,
  normalization,
  recurrent,
  stochastic,
)

ALIASES: dict[str, ModuleType] = {
  "minilinen.activation": activation,
  "minilinen.attention": attention,
  "minilinen.batch_apply": batch_apply,
  "minilinen.combinators": combinators,
  "minilinen.dtypes": dtypes,
  "minilinen.fp8_ops": fp8_ops,
  "minilinen.initializers": initializers,
  "minilinen.linear": linear,
  "minilinen.normalization": normalization,
  "minilinen.pooling": pooling,
  "minilinen.recurrent": recurrent,
  "minilinen.spmd": spmd,
  "minilinen.stochastic": stochastic,
}

sys.modules.update(ALIASES)
