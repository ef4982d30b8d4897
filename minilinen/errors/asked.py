"""Mistakes in what a module is asked for: an attribute, a variable or a setting where there is none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minilinen.errors.base import MinilinenError, near, nearest


class UnboundModuleError(MinilinenError, ValueError):
  """A module that has no variables was asked for something that only one with variables has.

  Example:
    nn.Dense(4).variables
  """

  takes = ("what", "module", "call")
  says = "Can't {what} on unbound modules: this {module} has no variables."
  right = "model.bind(variables).{call}"
  mend = "or ask in setup or in a method, which init and apply run where there are variables."

  nothing_kept = "a module keeps none: init gives them, and apply and bind take them."
  nameless = (
    "assign it to an attribute of self first: in setup a module gets its name and its variables by that."
  )
  stray = (
    "it is no part of {around}: make it a field of {around}, or make it in setup, or in the compact method that "
    "asks."
  )
  too_early = "in __post_init__ no module has variables yet: ask in setup or in a method."

  def __init__(self, what: str, module: str, call: str, around: str = "", place: str = ""):
    case: dict[str, Any] = {}
    if place in ("setup", "__post_init__"):
      case = dict(right="", mend=self.nameless if place == "setup" else self.too_early)
    elif around:
      case = dict(right="", mend=self.stray, around=around)
    elif call == "variables":
      case = dict(right="variables = model.init(key, x)", mend=self.nothing_kept)
    elif call.startswith(("make_rng", "has_rng")):
      case = dict(right="model.bind(variables, rngs={{rngs}}).{call}", rngs='"dropout": key')
    super().__init__(what, module, call, **case)


class NoSuchAttributeError(MinilinenError, AttributeError):
  """A module has no attribute of this name, or none yet.

  Example:
    nn.Dense(4).featuers
  """

  takes = ("module", "attribute", "path")
  says = '"{module}" object has no attribute "{attribute}"{but}.{hint}'

  unbound = ": setup() makes it, which runs only where there are variables"
  by_setup = "or inside of init and apply: method=lambda model: model.{attribute}"
  too_early = ": setup() makes it, and has not yet"
  not_made = ": setup() mentions it, and did not set it"
  replaced = ": {owner}.setup sets it, and {by}.setup replaces that"
  submodule = ": it is the name of a submodule, which no attribute holds"
  has_value = ": it is the name of a variable, which no attribute holds"
  to_hold = "make it in setup, self.{attribute} = ..., to ask for it; what it holds is in variables[{col!r}]."
  foreign = ": it runs {owner}.{method}, a method of another class"
  of_holder = "a method of a submodule is called through the model: the first argument stands for the model."
  of_other = "model is here one of {module}; run the method on a model of {owner}."
  correct = "correct the name, or give {module} a field of it, or set it in setup."
  elsewhere = "correct the name; what init makes is in its result, variables['params'] and so on."

  def __init__(self, module: str, attribute: str, path: str = "", known: Iterable[str] = (), **case: Any):
    if not case:
      case = dict(hint=nearest(attribute, known), mend=self.correct if path else self.elsewhere)
    super().__init__(module, attribute, path, **dict(but="", hint="") | case)

  @classmethod
  def of_setup(
    cls,
    module: str,
    attribute: str,
    path: str,
    when: str,
    method: str = "",
    owner: str = "",
    by: str = "",
  ) -> NoSuchAttributeError:
    """For an attribute that `setup` makes: asked for without variables, in `setup` before, or not made this time.

    `method` is what was called of the module, if a method of its own asks. If the setup of `by` replaces that of
    `owner`, nobody makes it.
    """
    if by:
      case = dict(but=cls.replaced.format(owner=owner, by=by), right="def setup(self): super().setup(); ...")
    elif when == "unbound" and method:
      called, which = (method != "__call__") * f".{method}", (method != "__call__") * f", method={method!r}"
      case = dict(but=cls.unbound, right=f"model.bind(variables){called}(...)")
      case["mend"] = f"or model.apply(variables, ...{which}). The variables are what model.init(...) gives."
    elif when == "unbound":
      case = dict(but=cls.unbound, right="model.bind(variables).{attribute}", mend=cls.by_setup)
    elif when == "early":
      case = dict(but=cls.too_early, mend="set it before it is asked for.")
    else:
      case = dict(but=cls.not_made, mend="set it in every case, to None where there is nothing.")
    return cls(module, attribute, path, **case)

  @classmethod
  def of_method(
    cls, module: str, attribute: str, path: str, owner: str, method: str, holder: str
  ) -> NoSuchAttributeError:
    """For an attribute that a method of another class asks for, which was given a module of this one.

    `holder` is the module's attribute that has the method.
    """
    case: dict[str, Any] = dict(but=cls.foreign.format(owner=owner, method=method), mend=cls.of_other)
    if holder:
      called = holder if method == "__call__" else f"{holder}.{method}"
      case |= dict(right=f"lambda model, x: model.{called}(x)", mend=cls.of_holder)
    return cls(module, attribute, path, owner=owner, **case)

  @classmethod
  def of_variables(
    cls, module: str, attribute: str, path: str, col: str, is_module: bool
  ) -> NoSuchAttributeError:
    """For the name of a submodule or a variable, which no attribute has."""
    case: dict[str, Any] = dict(but=cls.submodule, mend=cls.to_hold)
    if not is_module:
      case = dict(but=cls.has_value, right="module.get_variable({col!r}, {attribute!r})")
    return cls(module, attribute, path, col=col, **case)


class NoCallMethodError(MinilinenError, AttributeError):
  """A module without `__call__` is run, and nobody says which method.

  Example:
    class Autoencoder(nn.Module):
      def encode(self, x):
        return x
    Autoencoder().init(key, x)
  """

  takes = ("module", "known")
  says = "{module} has no method __call__, and method= names no other.{there}"
  right = "model.init(key, x, method={first!r}), and so with apply"

  renamed = "or name it as init and apply look for it: def __call__(self, ...), instead of {first}."
  written = "write what it computes as a method: def __call__(self, x)."

  def __init__(self, module: str, known: Iterable[str] = ()):
    known = [*known]
    alike = [name for name in known if name in ("forward", "call") or near(name.strip("_"), ["call"])]
    case: dict[str, Any] = dict(first=[*alike, *known, ""][0], there=f" There: {', '.join(known)}.")
    if not known:
      case = dict(right="", mend=self.written, there="")
    elif alike or len(known) == 1:
      case |= dict(mend=self.renamed)
    super().__init__(module, known, **case)


class PlainMethodError(MinilinenError, ValueError):
  """A parameter or variable was declared in a method that is neither `setup` nor compact.

  Example:
    class Scale(nn.Module):
      def __call__(self, x):
        return x * self.param("scale", nn.initializers.ones, (3,))
    Scale().init(key, x)
  """

  takes = ("what", "module", "col", "name", "method", "path")
  says = (
    "{what} must be initialized in `setup()` or in a method wrapped in `@compact`: {name!r} of {module} is "
    "{where}."
  )
  wrong = "def {method}(self, ...): ... {call}"
  right = "@nn.compact\ndef {method}(self, ...): ... {call}"
  mend = "or declare it in setup, and keep it: self.{name} = {call}"

  outside = "asked for from outside of its methods"

  def __init__(self, what: str, module: str, col: str, name: str, method: str = "", path: str = ""):
    call = f"self.param({name!r}, ...)" if what == "Parameters" else f"self.variable({col!r}, {name!r}, ...)"
    case: dict[str, Any] = dict(where=f"declared in {method}", call=call)
    if not method:
      case = dict(where=self.outside, wrong="", right="module.get_variable({col!r}, {name!r})")
      case["mend"] = "or declare it in {module} itself: in setup, or in a compact method."
    super().__init__(what, module, col, name, method, path, **case)


class PerturbationError(MinilinenError, ValueError):
  """The collection of perturbations was passed, and lacks one.

  Example:
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return self.perturb("hidden", x)
    Net().apply({"perturbations": {"hiden": x}}, x)
  """

  takes = ("collection", "name", "path", "there")
  says = "Perturbation collection {collection!r} present, but missing perturbation variable {name!r} at {path}.{hint}"
  right = 'model.apply({..., "{collection}": variables["{collection}"]}, x)'
  mend = "pass the collection as init of this very model returns it, or leave it away."

  def __init__(self, collection: str, name: str, path: str, there: Iterable[str]):
    super().__init__(collection, name, path, hint=nearest(name, there))


class MergeParamError(MinilinenError, ValueError):
  """A setting was given to the constructor and at the call, or to neither.

  Example:
    nn.Dropout(0.5).apply({}, x)
  """

  takes = ("says", "name", "module", "path")
  neither = 'Parameter "{name}" must be passed to the constructor or at call time, and was not.'
  both = (
    'Parameter "{name}" was passed to the constructor and at call time. Should be passed just once: it is {first:words}'
    " there and {second:words} here."
  )

  @classmethod
  def missing(cls, name: str, module: str, path: str, caller: str = "") -> MergeParamError:
    """For a setting that nobody gave. `caller` is the layer of ours that calls it, where no user can pass it."""
    value = "not train" if name in ("deterministic", "use_running_average") else "..."
    if caller:
      mend = "{caller} calls it, and passes on no {name}."
      if value != "...":
        mend += " Here train is a field of the model, or an argument of the method that makes it."
      facts = dict(value=value, caller=caller)
      return cls(cls.neither, name, module, path, right="{module}(..., {name}={value})", mend=mend, **facts)
    mend = "where train is an argument of the method that calls it." if value != "..." else ""
    return cls(
      cls.neither, name, module, path, right="{module}(...)(x, {name}={value})", value=value, mend=mend
    )

  @classmethod
  def twice(cls, name: str, module: str, path: str, first: Any, second: Any) -> MergeParamError:
    """For a setting that was given twice."""
    mend = "a setting that changes from call to call belongs to the call alone."
    facts = dict(first=first, second=second)
    right = "{module}(...)(x, {name}=...)   # or {module}(..., {name}=...)(x)"
    return cls(cls.both, name, module, path, right=right, mend=mend, **facts)
