"""May be skipped: what an error must know of a module and of the one around it, found out when something is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minilinen import errors
from minilinen.module.context import running
from minilinen.tracing.source import user_source

if TYPE_CHECKING:
  from minilinen.module.module import Module


def unbound(module: Module, method: str) -> errors.CallCompactUnboundModuleError:
  """The error for a compact method without variables: of a model, or of a module that is no part of the one running."""
  around, cls = running.get(), type(module).__name__
  if around is None or around.scope is None:
    return errors.CallCompactUnboundModuleError(f"{cls}.{method}")
  in_class = {name: value for base in type(around).__mro__ for name, value in vars(base).items()}
  attribute = next((name for name, value in in_class.items() if value is module), "")
  return errors.CallCompactUnboundModuleError.outside(
    f"{cls}.{method}", cls, type(around).__name__, attribute
  )


def module_for_method(model: Module, method: Any) -> errors.CallCompactUnboundModuleError:
  """The error for a module that was passed as `method=`."""
  attribute = next((name for name, value in vars(model).items() if value is method), "")
  return errors.CallCompactUnboundModuleError.of_method(type(method).__name__, attribute)


def submodule_in_a_plain_method(child: Module, parent: Module) -> errors.AssignSubModuleError:
  """The error for a module made in a method that is neither `setup` nor compact."""
  at = user_source(2)
  name = at.function.rpartition(".")[2] if at is not None else ""
  return errors.AssignSubModuleError(
    type(child).__name__, name if hasattr(type(parent), name) else "__call__"
  )


def frozen(module: Module, name: str, value: Any, is_module: bool) -> errors.SetAttributeFrozenModuleError:
  """The error for an attribute that is set where a module is frozen: while it runs, or from outside."""
  what = "field" if name in module.__dataclass_fields__ else "submodule" if is_module else "attribute"
  return errors.SetAttributeFrozenModuleError(
    type(module).__name__, name, value, calls=running.get() is module, what=what
  )
