"""The class layer: `Module`, what its methods may be marked as, and functions that run modules."""

from minilinen.core.filters import VariableDict
from minilinen.core.scope import Variable
from minilinen.module.call import (
  InterceptorContext,
  compact,
  compact_name_scope,
  intercept_methods,
  nowrap,
)
from minilinen.module.call import wrapped as wrap_method_once
from minilinen.module.life import share_scope
from minilinen.module.module import Module, merge_param
from minilinen.module.profile import disable_named_call, enable_named_call, named_call, override_named_call
from minilinen.module.runs import apply, init, init_with_output

__all__ = [
  "InterceptorContext", "Module", "Variable", "VariableDict", "apply", "compact", "compact_name_scope",
  "disable_named_call", "enable_named_call", "init", "init_with_output", "intercept_methods", "merge_param",
  "named_call", "nowrap", "override_named_call", "share_scope", "wrap_method_once",
]  # fmt: skip
