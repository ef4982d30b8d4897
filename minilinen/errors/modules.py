"""Mistakes in how a module is written or used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minilinen.errors.base import MinilinenError, MinilinenWarning, in_words
from minilinen.tracing.source import Source


class NameInUseError(MinilinenError):
  """A submodule or variable has a name that is in use in the module.

  Example:
    class Twice(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4, name="a")(nn.Dense(4, name="a")(x))
    Twice().init(key, x)
  """

  says = 'Could not create {key_type} "{value}" in Module {module_name}: Name in use{by}.'
  mend = "give one of the two another name (submodules, variables, fields and methods share one namespace)."
  looped = "in a loop over i each has a name of its own; what shall be one is made once, before the loop."

  def __init__(
    self,
    key_type: str,
    value: str,
    module_name: str,
    *,
    path: str = "",
    used_by: str = "",
    in_a_loop: bool = False,
  ):
    case = dict(by=used_by and f" by {used_by}")
    if in_a_loop:
      name = f'f"{value}_{{i}}"'
      case |= dict(
        right=f"name={name}" if key_type == "submodule" else f"{name} as its name", mend=self.looped
      )
    super().__init__(key_type=key_type, value=value, module_name=module_name, path=path, **case)


class ParentError(MinilinenError, ValueError):
  """What is passed as a module's parent is neither a module nor a scope.

  Example:
    nn.Dense(4, parent="encoder")
  """

  takes = ("value", "module")
  says = "parent must be None, Module or Scope, and that of {module} is {what}."
  mend = "take parent= away: what is made in setup or in a compact method is a part of the module that runs."

  variables = "a module gets its variables by apply or bind, not by its parent."

  def __init__(self, value: Any, module: str = "a module"):
    case: dict[str, Any] = dict(what=in_words(value))
    if isinstance(value, str):
      case |= dict(wrong="{module}(..., parent={value!r})", right="{module}(..., name={value!r})")
    elif isinstance(value, Mapping):
      case |= dict(right="{module}(...).bind(variables)", mend=self.variables)
    elif isinstance(value, type):
      case |= dict(what=f"the class {value.__name__}", right="{module}(..., parent=self)   # an instance")
    super().__init__(value, module, **case)


class AssignSubModuleError(MinilinenError):
  """A submodule was made in a method that is neither `setup` nor compact.

  Example:
    class Plain(nn.Module):
      def __call__(self, x):
        return nn.Dense(4)(x)
    Plain().init(key, x)
  """

  takes = ("cls", "method")
  says = "Submodule {cls} must be defined in `setup()` or in a method wrapped in `@compact`."
  wrong = "def {method}(self, x): return nn.{cls}(...)(x)"
  right = "@nn.compact\ndef {method}(self, x): return nn.{cls}(...)(x)"

  uncalled = (
    "Submodule {cls} is made where {around} calls what it was given: there is the class {cls} in its {field}, and no "
    "{cls} with its settings."
  )
  another = (
    "make it in setup, and call it here: self.{field} = nn.{cls}(...). Or make {method} compact and give the layer a "
    "name of its own, nn.{cls}(..., name=...): automatic names are counted anew when {method} runs alone."
  )

  def __init__(self, cls: str, method: str = "__call__", compact: str = "", **case: Any):
    if compact:
      case = dict(right="", mend=self.another, field=f"{method}_layer")
    super().__init__(cls, method, **case)

  @classmethod
  def of_class(cls, module: str, around: str, field: str) -> AssignSubModuleError:
    """For a class that stands in a field of a layer of ours, in the place of an instance."""
    case = dict(around=around, field=field, right="{cls}(...)   # in the place of {cls}")
    return cls(module, says=cls.uncalled, wrong="", **case)


class SetAttributeInModuleSetupError(MinilinenError):
  """A dataclass field was set in `setup`.

  Example:
    class Setter(nn.Module):
      features: int = 1
      def setup(self):
        self.features = 3
      def __call__(self, x):
        return x
    Setter().init(key, x)
  """

  says = "Module field '{name}' is set in setup(): fields are settings, and setup must not change them."
  wrong = "self.{name} = ..."
  right = "self.{name}_in_use = ...   # any other name"

  def __init__(self, name: str = ""):
    case = {} if name else dict(wrong="", right="", mend="give the value another name.")
    if name in ("name", "parent"):
      case = dict(right="", mend="every module has a {name}, which the constructor takes: Model({name}=...).")
    super().__init__(name=name, **case)


class SetAttributeFrozenModuleError(MinilinenError):
  """An attribute was set outside `setup`: modules are frozen.

  Example:
    nn.Dense(4).bind({}).features = 3
  """

  takes = ("module_cls", "attr_name", "attr_val")
  says = (
    "Can't set {attr_name}={attr_val:words} for Module of type {module_cls}: Module instance is frozen outside "
    "of setup method."
  )
  right = "other = module.clone({attr_name}=...)"

  field = "a field is a setting, the same in every call: work with a local variable instead."
  counter = (
    "a module keeps nothing from call to call but its variables: apply(..., mutable=['state']) returns them. For this "
    "call alone work with a local variable."
  )
  late = "super().__post_init__() makes the module ready, and nothing is set after it."
  late_module = "a module that is a part of {module_cls} is made in setup, or in a compact method."
  submodule = "a compact method needs no attribute for a module; or make it in setup, where it may have one."
  attribute = "keep it in a local variable; what lasts from call to call is self.variable(...)."
  undeclared = "declare it as a field of {module_cls}; then module.clone({attr_name}=...) has another."

  def __init__(
    self, module_cls: str, attr_name: str, attr_val: Any, *, calls: bool = False, what: str = "field"
  ):
    case = {}
    if what == "late":
      wrong = "super().__post_init__(); self.{attr_name} = ..."
      right = "self.{attr_name} = ...; super().__post_init__()"
      case = dict(wrong=wrong, right=right, mend=self.late)
    elif what == "late module":
      case = dict(right="def setup(self): self.{attr_name} = ...", mend=self.late_module)
    elif what == "counter":
      right = 'count = self.variable("state", "{attr_name}", lambda: ...); count.value += ...'
      case = dict(right=right, mend=self.counter)
    elif calls:
      mend = {"field": self.field, "submodule": self.submodule}.get(what, self.attribute)
      case = dict(wrong="self.{attr_name} = ...", right="{attr_name} = ...", mend=mend)
    elif what != "field":
      case = dict(right="", mend=self.undeclared)
    super().__init__(module_cls, attr_name, attr_val, **case)


class MultipleMethodsCompactError(MinilinenError):
  """More than one method of a class is compact where only one may be.

  For user code that raises it or catches it by Flax's name. Like Flax today, minilinen allows several.

  Example:
    raise nn.errors.MultipleMethodsCompactError()
  """

  takes = ()
  says = "Only one method per class can be @nn.compact."


class FieldsError(MinilinenError, TypeError, ValueError):
  """A class declares fields that no dataclass may have: with a default that can be changed, or in another order.

  Example:
    class Net(nn.Module):
      sizes: list = [4, 5]
  """

  says = "The default of the field {field!r} of {module} is {value:words}, which all its modules would share."
  right = "{field}: ... = {default}"

  follows = (
    "The field {field!r} of {module} has no default, and stands behind fields that have one: its own, or those of "
    "{base}."
  )
  named = "or class {module}({base}, kw_only=True): then it is passed by name, {module}({field}=...)."

  @classmethod
  def mutable(cls, module: str, field: str, value: Any) -> FieldsError:
    """For a default such as a list: a tuple serves, or a function that makes the value."""
    is_list = isinstance(value, list) and len(repr(value)) < 40
    default = repr(tuple(value)) if is_list else "dataclasses.field(default_factory=lambda: ...)"
    return cls(module=module, field=field, value=value, default=default)

  @classmethod
  def late(cls, module: str, field: str, base: str) -> FieldsError:
    """For a field without a default behind those that have one."""
    return cls(
      cls.follows, module=module, field=field, base=base, default="...   # a default", mend=cls.named
    )


class ReservedModuleAttributeError(MinilinenError):
  """A class declares a field that all modules have.

  Example:
    class Named(nn.Module):
      name: str = "mine"
  """

  takes = ("annotations",)
  says = "properties `parent` and `name` are reserved: {annotations}"
  mend = "name the field something else: every module has these two."


class CallCompactUnboundModuleError(MinilinenError):
  """A compact method was called on a module that has no variables.

  Example:
    nn.Dense(4)(x)
  """

  says = "Can't call compact methods on unbound modules: there are no variables to call {method} with."
  wrong = "model(x)"
  right = "model.apply(variables, x) or model.bind(variables)(x)"

  stray = (
    "Can't call compact methods on unbound modules: this {module} is no part of {around}, which calls it, so there "
    "are no variables to call {method} with."
  )
  in_class = "a module in the class's body is a part of {around} only if its name is annotated, which makes it a field."
  anywhere = "make it a field of {around}, or make it in setup, or in the compact method that calls it."
  as_method = (
    "Can't call compact methods on unbound modules: method= was given a module, {module}, and it is called as it "
    "stands there, without variables."
  )

  def __init__(self, method: str = "it", **case: Any):
    super().__init__(method=method, **case)

  @classmethod
  def outside(
    cls, method: str, module: str, around: str, attribute: str = ""
  ) -> CallCompactUnboundModuleError:
    """For a module that another calls, and that is no part of it: perhaps it is an attribute of its class."""
    case = dict(right="{attribute}: nn.Module = nn.{module}(...)", mend=cls.in_class)
    if not attribute:
      case = dict(right="", mend=cls.anywhere)
    facts = dict(module=module, around=around, attribute=attribute)
    return cls(method, says=cls.stray, wrong="", **facts, **case)

  @classmethod
  def of_method(cls, module: str, attribute: str) -> CallCompactUnboundModuleError:
    """For a module that was passed as `method=`."""
    right = "method=lambda model, x: model.{attribute}(x)"
    facts = dict(module=module, attribute=attribute or "layer")
    return cls(says=cls.as_method, wrong="", right=right, **facts)


class CallSetupUnboundModuleError(MinilinenError):
  """`setup` was called by hand.

  Example:
    nn.Embed(5, 4).setup()
  """

  takes = ()
  says = "Can't call `.setup()` directly: it runs when a bound module is first used."
  mend = "take the call away. An attribute that setup makes is there in init and apply, and in model.bind(variables)."


class CallUnbindOnUnboundModuleError(MinilinenError):
  """`unbind` was called on a module that is not bound.

  Example:
    nn.Dense(4).unbind()
  """

  takes = ()
  says = "Can't call `.unbind()` on unbound modules."
  right = "module, variables = model.bind(variables).unbind()"
  mend = "of a submodule: model.bind(variables).layer.unbind()."


class CallShareScopeOnUnboundModuleError(MinilinenError):
  """`share_scope` was called on a module that is not bound.

  Example:
    nn.share_scope(nn.Dense(4), nn.Dense(4))
  """

  takes = ("unbound", "around")
  says = "Can't call `.share_scope()` on unbound modules{which}."
  mend = "call it in setup or in a compact method."

  stray = "make {unbound} in {around}, in setup or in a compact method, or take it as a field."

  def __init__(self, unbound: str = "", around: str = ""):
    which = unbound and f": {unbound} has no variables here"
    super().__init__(unbound, around, which=which, **(dict(mend=self.stray) if around else {}))


class IncorrectPostInitOverrideError(MinilinenError):
  """A `__post_init__` does not call that of `Module`.

  Example:
    class Forgetful(nn.Module):
      def __post_init__(self):
        pass
      def __call__(self, x):
        return x
    Forgetful().init(key, x)
  """

  takes = ("module",)
  says = "Overrode `.__post_init__()` without calling `super().__post_init__()`{where}."
  right = "def __post_init__(self): ...; super().__post_init__()"

  constructor = (
    "{module} has a constructor of its own, which does not call super().__init__(...): without that no module is "
    "made."
  )
  as_fields = (
    "declare the settings as fields ({fields}), which makes the constructor, and compute what follows from them in "
    "setup."
  )

  def __init__(self, module: str = "", fields: str = ""):
    case = dict(says=self.constructor, right="", mend=self.as_fields) if fields else {}
    super().__init__(module, where=module and f": {module} does", fields=fields, **case)


class DescriptorAttributeError(MinilinenError):
  """A property of a module raised an AttributeError, which Python would take for a missing property.

  Example:
    class Proper(nn.Module):
      @property
      def width(self):
        return self.featuers
      def __call__(self, x):
        return x * self.width
    Proper().init(key, x)
  """

  takes = ("name", "cause", "source")
  says = "Trying to access a property{which} that is accessing a non-existent attribute{why}"
  mend = "correct the attribute's name in the property, or set it in setup."

  elsewhere = "correct the attribute's name in the property, or give the module something that has it."
  unbound = "where setup makes it, ask a module with variables: model.bind(variables).{name}."

  def __init__(self, name: str = "", cause: object = "", source: Source | None = None, of: str = "module"):
    said = cause.message if isinstance(cause, MinilinenError) else cause
    texts = {"other": dict(mend=self.elsewhere), "unbound": dict(mend=self.unbound)}.get(of, {})
    super().__init__(
      name, cause, source, which=name and f" {name!r}", why=f": {said}" if said else ".", **texts
    )


class AppendAfterSetupError(MinilinenError, AttributeError):
  """A list of submodules was to be changed after it was assigned: names are given at the assignment.

  Example:
    class Stack(nn.Module):
      def setup(self):
        self.layers = []
        self.layers.append(nn.Dense(4))
      def __call__(self, x):
        return self.layers[0](x)
    Stack().init(key, x)
  """

  takes = ("method", "attribute", "module", "path", "source")
  says = (
    "'tuple' object has no attribute '{method}': {attribute!r} of {module} became a tuple when it was "
    "assigned, for then its modules got their names."
  )
  wrong = "self.{attribute} = [...]; self.{attribute}.{method}(...)"
  right = "{attribute} = [...]; {attribute}.{method}(...); self.{attribute} = {attribute}"


class HiddenMethodWarning(MinilinenWarning):
  """A field or an attribute has the name of a method, which can no longer be called.

  Example:
    class Named(nn.Module):
      path: str = "data"
  """

  takes = ("name", "module", "owner", "what", "path")
  says = "The {what} {name!r} of {module} hides the method {owner}.{name}: whoever calls it gets the {what}."
  expected = "a name that no method has"
  found = "{module}.{name}"

  def __init__(self, name: str, module: str, owner: str, what: str, path: str = ""):
    right = "{name}_: ..." if what == "field" else "self.{name}_ = ..."
    super().__init__(name, module, owner, what, path, right=right)
