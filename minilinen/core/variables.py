"""May be skipped: the path by which Flax's users import `Variable` from the core: `core.variables.Variable`."""

from minilinen.core.scope import Variable as Variable
