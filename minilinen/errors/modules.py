"""Mistakes in how a module is written or used."""

from __future__ import annotations

from typing import Any

from minilinen.errors.base import MinilinenError, MinilinenWarning
from minilinen.tracing.source import Source


class NameInUseError(MinilinenError):
  """A submodule or variable has a name that is in use in the module."""

  def __init__(
    self,
    key_type: str,
    value: str,
    module_name: str,
    *,
    path: str = "",
    used_by: str = "",
    at: Source | None = None,
  ):
    super().__init__(
      f'Could not create {key_type} "{value}" in Module {module_name}: Name in use{used_by and f" by {used_by}"}.',
      path=path,
      places={"first": at},
      mend="give one of the two another name (submodules, variables, fields and methods share one namespace).",
    )


class AssignSubModuleError(MinilinenError):
  """A submodule was made in a method that is neither `setup` nor compact."""

  def __init__(self, cls: str):
    super().__init__(
      f"Submodule {cls} must be defined in `setup()` or in a method wrapped in `@compact`.",
      wrong=f"def __call__(self, x): return nn.{cls}(...)(x)",
      right=f"@nn.compact\n          def __call__(self, x): return nn.{cls}(...)(x)",
    )


class SetAttributeInModuleSetupError(MinilinenError):
  """A dataclass field was set in `setup`."""

  def __init__(self, name: str = "") -> None:
    super().__init__(
      f"Module field {name!r} is set in setup(): fields are settings, and setup must not change them.",
      mend="give the value another name.",
      wrong="def setup(self): self.features = 3",
      right="def setup(self): self.width = self.features or 3",
    )


class SetAttributeFrozenModuleError(MinilinenError):
  """An attribute was set outside `setup`: modules are frozen."""

  def __init__(self, module_cls: str, attr_name: str, attr_val: Any):
    super().__init__(
      f"Can't set {attr_name}={attr_val!r} for Module of type {module_cls}: Module instance is frozen outside of "
      "setup method.",
      mend="define it as a field, in setup, as a local variable, or as self.variable(...).",
      right=f"other = module.clone({attr_name}=...)",
    )


class MultipleMethodsCompactError(MinilinenError):
  """More than one method of a class is compact where only one may be.

  For user code that raises it or catches it by Flax's name. Like Flax today, minilinen allows several.
  """

  def __init__(self) -> None:
    super().__init__("Only one method per class can be @nn.compact.")


class ReservedModuleAttributeError(MinilinenError):
  """A class declares a field that all modules have."""

  def __init__(self, annotations: Any):
    super().__init__(
      f"properties `parent` and `name` are reserved: {annotations}", mend="name the field something else."
    )


class CallCompactUnboundModuleError(MinilinenError):
  """A compact method was called on a module that has no variables."""

  def __init__(self, method: str = "") -> None:
    super().__init__(
      f"Can't call compact methods on unbound modules: there are no variables to call {method or 'it'} with.",
      wrong="model(x)",
      right="model.apply(variables, x) or model.bind(variables)(x)",
    )


class CallSetupUnboundModuleError(MinilinenError):
  """`setup` was called by hand."""

  def __init__(self) -> None:
    super().__init__(
      "Can't call `.setup()` directly: it runs when a bound module is first used.",
      right="module.bind(variables) ... module.submodule",
    )


class CallUnbindOnUnboundModuleError(MinilinenError):
  """`unbind` was called on a module that is not bound."""

  def __init__(self) -> None:
    super().__init__(
      "Can't call `.unbind()` on unbound modules.",
      right="module, variables = model.bind(variables).layer.unbind()",
    )


class CallShareScopeOnUnboundModuleError(MinilinenError):
  """`share_scope` was called on a module that is not bound."""

  def __init__(self) -> None:
    super().__init__(
      "Can't call `.share_scope()` on unbound modules.", mend="call it in setup or in a compact method."
    )


class IncorrectPostInitOverrideError(MinilinenError):
  """A `__post_init__` does not call that of `Module`."""

  def __init__(self) -> None:
    super().__init__(
      "Overrode `.__post_init__()` without calling `super().__post_init__()`.",
      right="def __post_init__(self): ...; super().__post_init__()",
    )


class DescriptorAttributeError(MinilinenError):
  """A property of a module raised an AttributeError, which Python would take for a missing property."""

  def __init__(self, name: str = "", cause: object = "") -> None:
    which = f" {name!r}" if name else ""
    super().__init__(
      f"Trying to access a property{which} that is accessing a non-existent attribute{f': {cause}' if cause else '.'}",
      mend="correct the attribute's name in the property, or set it in setup.",
    )


class AppendAfterSetupError(MinilinenError, AttributeError):
  """A list of submodules was to be changed after it was assigned: names are given at the assignment."""

  def __init__(self, method: str, attribute: str, module: str, path: str = "", source: Source | None = None):
    super().__init__(
      f"'tuple' object has no attribute '{method}': {attribute!r} of {module} became a tuple when it was assigned, for"
      " then its modules got their names.",
      path=path,
      source=source,
      wrong=f"self.{attribute} = []; self.{attribute}.append(nn.Dense(3))",
      right=f"{attribute} = []; {attribute}.append(nn.Dense(3)); self.{attribute} = {attribute}",
    )


class HiddenMethodWarning(MinilinenWarning):
  """A field or an attribute has the name of a method, which can no longer be called."""

  def __init__(self, name: str, module: str, owner: str, what: str, path: str = ""):
    super().__init__(
      f"The {what} {name!r} of {module} hides the method {owner}.{name}: whoever calls it gets the {what}.",
      path=path,
      expected="a name that no method has",
      found=f"{module}.{name}",
      right=f"{name}_: ..." if what == "field" else f"self.{name}_ = ...",
    )
