"""Every mistake that minilinen knows, as a class that builds its own message.

A message says what went wrong, where (the module's path and the user's line), what was expected and found,
the nearest right name, and how to mend it, with right code. `MinilinenError` lays all of them out alike, in lines
of 80 columns. The names and the first arguments of the classes are Flax's; what else a class takes is optional
and makes its message better. What was passed to the module that failed stands in a note below the message
(`Exception.add_note`), which `minilinen.module` adds to every exception, also to those of JAX and of users.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from minilinen.trace.source import Source, user_source

_COLUMNS = 80


class MinilinenError(Exception):
  """Base of all errors of minilinen's own.

  Attributes:
    path: path of the module it happened in, as text, "" if it is not known.
    source: the user's line that caused it, None if it is not known.
    plain: the message with each part of it on one line, however long.
  """

  path: str = ""
  source: Source | None = None
  plain: str = ""

  def __init__(self, message: str, *, path: str = "", mend: str = "", wrong: str = "", right: str = ""):
    self.path = path
    self.source = user_source(2)
    code = {"module": path, "line": str(self.source or ""), "wrong": wrong, "right": right}
    parts = [f"  {label:<8}{text}" for label, text in code.items() if text]
    self.plain = "\n".join([message, *parts, *([f"  mend    {mend}"] if mend else [])])
    wrapped = _wrapped(mend, first="  mend    ", rest=" " * 10)
    super().__init__("\n".join([*_wrapped(message), *parts, *wrapped]))

  def __reduce__(self) -> Any:
    return _restored, (type(self), self.args, self.__dict__)


def _restored(cls: type[MinilinenError], args: tuple[Any, ...], state: dict[str, Any]) -> MinilinenError:
  """An error read back from a pickle: its message is built already."""
  error = cls.__new__(cls, *args)
  error.args = args
  error.__dict__.update(state)
  return error


def _wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
  """A text in lines: one if it fits, else a new one for each sentence, broken where that is too long."""
  if len(first + text) <= _COLUMNS:
    return [first + text] if text else []
  lines: list[str] = []
  for sentence in re.split(r"(?<=[.?!]) (?=[A-Z])", text):
    begin = rest if lines else first
    lines += textwrap.wrap(
      sentence, _COLUMNS, initial_indent=begin, subsequent_indent=rest or "  ",
      break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
  return lines


FlaxError = MinilinenError


def nearest(name: str, names: Iterable[Any]) -> str:
  """For a name that isn't there: the nearest that is, and all of them."""
  known = [str(n) for n in names]
  close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
  hint = f" Did you mean {close[0]!r}?" if close else ""
  return f"{hint} There: {', '.join(sorted(known)[:12]) or 'nothing'}."


def _misspelt(name: str, passed: Iterable[str]) -> str:
  """For a name that was not passed: the one that was, if it looks like it."""
  close = difflib.get_close_matches(name, list(passed), n=1)
  return f" Is {close[0]!r} misspelt?" if close else ""


# Running: what is passed to init and apply.


class InvalidRngError(MinilinenError, ValueError):
  """A random stream is missing, or its key is no key."""

  def __init__(self, msg: str, *, path: str = "", mend: str = "", right: str = ""):
    super().__init__(msg, path=path, mend=mend, right=right)

  @classmethod
  def missing(cls, stream: str, path: str, available: Iterable[str]) -> InvalidRngError:
    """For a stream that was asked for and not passed."""
    streams = list(available)
    misspelt = _misspelt(stream, streams)
    return cls(
      f'{path} needs PRNG for "{stream}", but the streams passed are: {", ".join(streams) or "none"}.{misspelt}',
      path=path,
      right=f'model.apply(variables, x, rngs={{"{stream}": key}})',
    )


class ApplyScopeInvalidVariablesTypeError(MinilinenError):
  """The variables passed to apply are no dict of dicts."""

  def __init__(self, found: Any = None) -> None:
    super().__init__(
      f"apply needs variables as a dict: collection -> nested dict of arrays, but got {_short(found)}.",
      wrong="model.apply(params, x)",
      right='model.apply({"params": params}, x)',
    )


class ApplyScopeInvalidVariablesStructureError(MinilinenError):
  """The variables have a level too many: "params" inside "params"."""

  def __init__(self, variables: Any):
    super().__init__(
      'The variables have "params" inside "params": '
      f'variables["params"] has the keys {sorted(map(str, variables["params"]))[:8]}.',
      wrong='model.apply({"params": variables}, x)',
      right="model.apply(variables, x)",
    )


class LazyInitError(MinilinenError):
  """A variable's first value depends on an argument of which only the shape is known."""

  def __init__(self, partial_val: Any):
    super().__init__(
      f"lazy_init cannot make a variable of {partial_val}: its value depends on an argument that was passed "
      "as a jax.ShapeDtypeStruct.",
      mend="pass that argument as an array, or make the variable from shapes only.",
    )


# Scopes: variables, names, collections.


class ScopeCollectionNotFound(MinilinenError):
  """A variable was asked of a collection that is empty and may not be written."""

  def __init__(self, col_name: str, var_name: str, scope_path: str, available: Iterable[str] = ()):
    passed = sorted(available)
    what = f"Tried to access {var_name!r} from collection {col_name!r} in {scope_path!r}, but the collection is empty."
    place = [*scope_path.strip("/").split("/"), var_name]
    if col_name == "params" and next(filter(None, place)) in passed:
      super().__init__(
        f"{what} The dict passed has the keys {', '.join(passed)}: it looks like the params themselves.",
        path=scope_path,
        wrong="model.apply(params, x)",
        right='model.apply({"params": params}, x)',
      )
      return
    super().__init__(
      f"{what}{_misspelt(col_name, passed)} Collections passed: {', '.join(passed) or 'none'}.",
      path=scope_path,
      right=f'model.apply({{..., "{col_name}": variables["{col_name}"]}}, x)',
      mend=f"or let it be created: mutable=[{col_name!r}].",
    )


class ScopeParamNotFoundError(MinilinenError):
  """A parameter is not among those that were passed.

  `candidates` are the parameters that its module has; if it has none, `beside` are the modules beside it, one of which
  may be it under another name.
  """

  def __init__(
    self,
    param_name: str,
    scope_path: str,
    candidates: Iterable[str] = (),
    module: str = "",
    beside: Iterable[str] = (),
  ):
    known, others = list(candidates), list(beside)
    if module in others:
      hint = f" {scope_path!r} itself is there, but it is no dict of parameters."
    elif not known and others:
      hint = f" There are no parameters for {module!r}.{nearest(module, others)}"
    else:
      hint = nearest(param_name, known)
    super().__init__(
      f"Could not find parameter {param_name!r} in {scope_path!r}.{hint}",
      path=scope_path,
      mend="pass the parameters of this very model, as its init returns them; if a layer was added or renamed, init"
      " again.",
    )


class ScopeVariableNotFoundError(MinilinenError):
  """A variable is not among those that were passed, and may not be created."""

  def __init__(self, name: str, col: str, scope_path: str, candidates: Iterable[str] = ()):
    super().__init__(
      f"No variable {name!r} in collection {col!r} of {scope_path!r}.{nearest(name, candidates)}",
      path=scope_path,
      mend=f"pass it in the variables, or let it be created: mutable=[{col!r}].",
    )


class ScopeParamShapeError(MinilinenError):
  """A parameter has another shape than its initializer gives."""

  def __init__(self, param_name: str, scope_path: str, value_shape: Any, init_shape: Any, implied: str = ""):
    super().__init__(
      f"Parameter {param_name!r} in {scope_path!r} has shape {tuple(value_shape)}, but its initializer gives "
      f"{tuple(init_shape)}{f' ({implied})' if implied else ''}.",
      path=scope_path,
      mend="pass an input of the size that the parameters were made for, or init again for this one.",
    )


class ScopeParamTypeError(MinilinenError, TypeError):
  """A parameter that was passed is no array, where its initializer gives one."""

  def __init__(self, param_name: str, scope_path: str, found: Any, init_shapes: Any):
    expected = ", ".join(map(str, init_shapes))
    super().__init__(
      f"Parameter {param_name!r} in {scope_path!r} is {_short(found)}, but its initializer gives arrays of shape"
      f" {expected}.",
      path=scope_path,
      mend="pass the parameters as init returns them; a checkpoint may have lost or renamed a part of them.",
    )


class ModifyScopeVariableError(MinilinenError):
  """A variable of a collection that is not mutable was set."""

  def __init__(self, col: str, variable_name: str, scope_path: str):
    super().__init__(
      f"Cannot update variable {variable_name!r} in {scope_path!r}: collection {col!r} is immutable.",
      path=scope_path,
      right=f"y, updates = model.apply(variables, x, mutable=[{col!r}])",
    )


class ImmutableVariableError(MinilinenError):
  """Something that may not change was to be changed.

  A scope's last guard, which `ModifyScopeVariableError` comes before; user code may raise it by Flax's name.
  """

  def __init__(self, message: str):
    super().__init__(message)


class InvalidScopeError(MinilinenError):
  """A scope was used after its init or apply was over."""

  def __init__(self, scope_name: Any):
    super().__init__(
      f"The scope {scope_name!r} is no longer valid: its init, apply or lifted transform is over.",
      mend="don't keep a bound module or a Variable after apply; return values, or use model.bind.",
    )


class ScopeNameTypeError(MinilinenError, TypeError):
  """A name is no string, or one that cannot be a name."""

  def __init__(self, scope_name: Any, path: str = ""):
    super().__init__(
      f"Names are strings, but got {scope_name!r} ({type(scope_name).__name__}).",
      path=path,
      right=f"name={str(scope_name)!r}",
    )


class ScopeNameInUseError(MinilinenError, ValueError):
  """A name was claimed twice in one scope."""

  def __init__(self, name: str, path: str):
    super().__init__(
      f'Duplicate use of scope name: "{name}" in {path!r}.',
      path=path,
      mend="give one of the two another name.",
    )


class InvalidFilterError(MinilinenError):
  """Something is no filter of collections."""

  def __init__(self, filter_like: Any):
    super().__init__(
      f"Invalid filter: {filter_like!r}. A filter is True, False, a name, a list of names, or DenyList(...)."
    )


class NestingTooDeepError(MinilinenError, RecursionError):
  """Modules are nested deeper than Python's stack allows."""

  def __init__(self, limit: int):
    super().__init__(
      f"The modules are nested deeper than Python can call: its limit is {limit} calls, and a module in a module"
      " takes about five.",
      right="sys.setrecursionlimit(100_000) before init and apply",
      mend="or build the depth with a loop, or with nn.scan, instead of modules in modules.",
    )


class JaxTransformError(MinilinenError):
  """A raw JAX transform was used where a lifted one is needed.

  For user code that raises it or catches it by Flax's name. Like Flax today, minilinen lets raw transforms pass.
  """

  def __init__(self) -> None:
    super().__init__(
      "A JAX transform and a module's variables are mixed.",
      wrong="jax.vmap(self.layer)(x)",
      right='nn.vmap(nn.Dense, variable_axes={"params": None}, split_rngs={"params": False})(4)(x)',
    )


# Modules.


class NameInUseError(MinilinenError):
  """A submodule or variable has a name that is in use in the module."""

  def __init__(self, key_type: str, value: str, module_name: str, *, path: str = "", used_by: str = ""):
    super().__init__(
      f'Could not create {key_type} "{value}" in Module {module_name}: Name in use{used_by and f" by {used_by}"}.',
      path=path,
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


class ApplyModuleInvalidMethodError(MinilinenError):
  """`method=` names no method of the module."""

  def __init__(self, method: Any, candidates: Iterable[str] = ()):
    super().__init__(
      f"Cannot call apply(): {method!r} is not a valid function, or no method of the module."
      f"{nearest(getattr(method, '__name__', method), candidates) if candidates else ''}",
      right="model.apply(variables, x, method=Model.encode) or method='encode'",
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


class InvalidInstanceModuleError(MinilinenError):
  """A method was called on the class instead of an instance."""

  def __init__(self, found: Any = None) -> None:
    got = "" if found is None else f", but the first argument is {_short(found)}"
    super().__init__(
      f"Can only call init, init_with_output, apply or bind methods on an instance of a Module{got}.",
      wrong="Net.init(key, x)",
      right="Net().init(key, x)",
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


class TransformedMethodReturnValueError(MinilinenError):
  """A lifted method gave back a module or a variable."""

  def __init__(self, name: str):
    super().__init__(
      f"Transformed module method {name} cannot return Modules or Variables.",
      mend="return arrays; make the submodule outside the lifted method.",
    )


class TransformTargetError(MinilinenError):
  """A lifted transform was given an instance instead of a class or a function."""

  def __init__(self, target: Any):
    super().__init__(
      f"Linen transformations must be applied to Module classes or functions taking a Module, got {_short(target)}.",
      wrong="nn.vmap(nn.Dense(3), ...)",
      right="nn.vmap(nn.Dense, ...)(3)",
    )


class PartitioningUnspecifiedError(MinilinenError):
  """A box was lifted and nobody said what its new axis is called."""

  def __init__(self, target: Any):
    super().__init__(
      f"Trying to transform a Partitioned variable but metadata_params[{_PARTITION_NAME!r}] is not specified: "
      f"{_short(target)} with the axes {getattr(target, 'names', ())}.",
      right='nn.scan(..., metadata_params={nn.PARTITION_NAME: "layers"})',
    )


class TraceContextError(MinilinenError):
  """A value was touched in another trace than the one it belongs to.

  For user code that raises it or catches it by Flax's name; minilinen leaves the check to JAX.
  """

  def __init__(self, message: str):
    super().__init__(message)


_PARTITION_NAME = "partition_name"


def _short(found: Any) -> str:
  """What a value is, in a few words."""
  if found is None:
    return "None"
  if isinstance(found, Mapping):
    return f"a {type(found).__name__} with the keys {', '.join(sorted(map(str, found))[:8]) or 'none'}"
  text = repr(found)
  if len(text) > 40 or "\n" in text:
    return f"an instance of {type(found).__name__}"
  return f"{text}, a {type(found).__name__}" if isinstance(found, (str, int, float, list, tuple)) else text
