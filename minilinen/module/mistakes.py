"""May be skipped: what is said of a mistake in a class or in a call.

Read it to know why an exception that left a module names it, or why one of Python's became one of ours. Nothing here
runs unless something failed or a class is made.
"""

from __future__ import annotations

import contextlib
import dis
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from minilinen import errors
from minilinen.module import foreign, frames, mixed
from minilinen.module.attributes import modules_in
from minilinen.module.base import UNSPECIFIED, ModuleBase
from minilinen.module.context import running
from minilinen.spelling import near
from minilinen.tracing.layout import wrapped
from minilinen.tracing.source import source_of
from minilinen.tracing.spec import Spec, describe
from minilinen.tracing.statements import in_a_loop, is_counted


def method_owner(cls: type[Any], name: str) -> str | None:
  """The class, or the one it inherits from, in which a name is a method; None if there is none."""
  for base in cls.__mro__:
    if name in vars(base):
      is_ours = base.__module__.startswith("minilinen.module")
      is_method = isinstance(
        vars(base)[name], (types.FunctionType, property) if is_ours else types.FunctionType
      )
      return ("Module" if is_ours else base.__name__) if is_method and base is not object else None
  return None


def hidden_methods(cls: type[Any], fields: Iterable[str]) -> tuple[tuple[str, str], ...]:
  """The fields that a class declares which hide a method, each with the method's class.

  A field's default may be a function. It is a method only if it was written in the class under the field's name.
  """
  found: list[tuple[str, str]] = []
  for name in fields:
    own = cls.__dict__.get(name)
    if isinstance(own, types.FunctionType) and own.__qualname__ == f"{cls.__qualname__}.{name}":
      found.append((name, cls.__name__))
    else:
      bases = (owner for base in cls.__mro__[1:] if (owner := method_owner(base, name)) is not None)
      inherited = next((b for b in cls.__mro__[1:] if name in getattr(b, "__annotations__", {})), None)
      owner = next(bases, None)
      if owner is not None and inherited is None:
        found.append((name, owner))
  return tuple(found)


def note_hidden(module: ModuleBase) -> None:
  """Notes in the trace the methods of a module's class that its fields hide."""
  cls = type(module)
  for field, owner in cls._hidden:
    where = module.scope.path_text if module.scope is not None else ""
    errors.note(errors.HiddenMethodWarning(field, cls.__name__, owner, "field", where))


def looked_at(y: Any, module: ModuleBase, method: Any) -> Any:
  """What a model's method returned, with a warning if `__call__` returned a layer."""
  if isinstance(y, ModuleBase) and getattr(method, "__name__", "") == "__call__":
    errors.warn(errors.ReturnedLayerWarning(type(module).__name__, type(y).__name__, type(y)._is_layer))
  return y


def explain(error: Exception, module: ModuleBase, method: str, args: tuple[Any, ...]) -> None:
  """Adds to an exception that leaves a method which module it left first, and with what inputs.

  The text of an exception is the user's affair: one whose own methods raise when they are asked arrives as it is.

  Raises:
    Exception: the one that says more, where Python or JAX speak of what they found inside of a layer or of a module.
  """
  better = None
  with contextlib.suppress(Exception):
    better = _better(error, module, args)
    _say_where(better or error, module, method, args)
  if better is not None:
    raise better from None


def _better(error: Exception, self: ModuleBase, args: tuple[Any, ...]) -> Exception | None:
  """The error that says more: of an input which is no array, or a tuple that was a list when `setup` assigned it."""
  if _is_input_at_fault(error, self, args):
    path = self.scope.path_text if self.scope is not None else ""
    return errors.LayerInputError(type(self).__name__, path, args[0])
  if type(error) is AttributeError and type(error.obj) is tuple and error.name in _LIST_METHODS:
    for name, value in vars(self).items():
      if value is error.obj:
        path = self.scope.path_text if self.scope is not None else ""
        at = source_of(error)
        better = errors.AppendAfterSetupError(error.name or "", name, type(self).__name__, path, at)
        better.name, better.obj = error.name, error.obj
        return better
  return None if "module_path" in vars(error) else foreign.explained(error, self)


def _is_input_at_fault(error: Exception, self: ModuleBase, args: tuple[Any, ...]) -> bool:
  """Whether a layer of ours failed because its input is no array, or a number without axes."""
  of_input = isinstance(error, errors.NoSuchAttributeError) and error.obj is not self
  is_plain = (of_input or not isinstance(error, errors.MinilinenError)) and "module_path" not in vars(error)
  if not args or not is_plain or not type(self)._is_layer:
    return False
  inputs = jax.tree.leaves(args[0]) if isinstance(args[0], (list, tuple)) else [args[0]]
  if not all(map(_is_numeric, inputs)):
    return True
  return isinstance(error, IndexError) and not isinstance(args[0], (list, tuple)) and jnp.ndim(args[0]) == 0


def _is_numeric(value: Any) -> bool:
  if not hasattr(value, "shape"):
    return isinstance(value, (bool, int, float, complex))
  return any(jnp.issubdtype(value.dtype, kind) for kind in (jnp.number, jnp.bool_))


_LIST_METHODS = ("append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse")


def _say_where(error: Exception, self: ModuleBase, name: str, args: tuple[Any, ...]) -> None:
  """Adds to an exception which module it left first, and with what inputs."""
  if isinstance(error, RecursionError) or "module_path" in vars(error) or self.scope is None:
    return
  vars(error)["module_path"] = self.scope.path
  inputs = ", ".join(_in_short(arg) for arg in args)
  if isinstance(error, (errors.ScopeParamShapeError, errors.SymbolicParamError)):
    error.learn(inputs=f", for inputs ({inputs})")
  at = f"in module {self.scope.path_text} ({type(self).__name__}.{name})"
  error.add_note("\n".join(wrapped(f"{at}, called with ({inputs})")))


def _in_short(arg: Any) -> str:
  if isinstance(arg, str):
    return f"{arg[:40]!r}, a str and no array"
  described = describe(arg)
  return str(described) if isinstance(described, (Spec, bool, int, float)) else type(arg).__name__


def unbound(module: ModuleBase, method: str) -> errors.MinilinenError:
  """The error for a compact method without variables: of a model, or of a module that is no part of the one running."""
  around, cls = running.get(), type(module).__name__
  if around is None or around.scope is None:
    return mixed.inside_of_flax(module) or errors.CallCompactUnboundModuleError(f"{cls}.{method}")
  in_class = {name: value for base in type(around).__mro__ for name, value in vars(base).items()}
  attribute = next((name for name, value in in_class.items() if value is module), "")
  return errors.CallCompactUnboundModuleError.outside(
    f"{cls}.{method}", cls, type(around).__name__, attribute
  )


def module_for_method(model: ModuleBase, method: Any) -> errors.CallCompactUnboundModuleError:
  """The error for a module that was passed as `method=`."""
  attribute = next((name for name, value in vars(model).items() if value is method), "")
  return errors.CallCompactUnboundModuleError.of_method(type(method).__name__, attribute)


def asked_unbound(module: ModuleBase, what: str) -> errors.UnboundModuleError:
  """The error for a module without variables that is asked for something: `Module._bound` knows what."""
  asked = sys._getframe(2).f_code.co_name
  call = asked if isinstance(getattr(type(module), asked, None), property) else f"{asked}(...)"
  around, cls = running.get(), type(module).__name__
  if module.parent is UNSPECIFIED:
    return errors.UnboundModuleError(what, cls, call, place="__post_init__")
  if around is None or around.scope is None:
    return errors.UnboundModuleError(what, cls, call)
  place = "setup" if module.parent is around else ""
  return errors.UnboundModuleError(what, cls, call, type(around).__name__, place)


def not_given_once(name: str, first: Any, second: Any) -> errors.MergeParamError:
  """The error for a setting that the constructor and the call should give once, by the module that is running."""
  module = running.get()
  cls = "layer" if module is None else type(module).__name__
  path = module.scope.path_text if module is not None and module.scope is not None else ""
  if first is None:
    return errors.MergeParamError.missing(name, cls, path, frames.calling_layer(module))
  return errors.MergeParamError.twice(name, cls, path, first, second)


def no_such_attribute(module: ModuleBase, name: str) -> AttributeError:
  """The error for an attribute that is not there; what Python and JAX ask objects for gets no advice."""
  cls, scope, state = type(module).__name__, module.scope, module.__dict__.get("_state")
  path = scope.path_text if scope is not None else ""
  if name.startswith("__"):
    return AttributeError(f'"{cls}" object has no attribute "{name}".')
  holder = None if scope is None else _holder(module, name)
  foreign = frames.foreign_method(module)
  if foreign is not None:
    has_it = (f for f, v in vars(module).items() if isinstance(v, foreign[0]) and f != "parent")
    owner, method = foreign[0][0].__name__, foreign[1]
    error = errors.NoSuchAttributeError.of_method(cls, name, path, owner, method, next(has_it, ""))
  elif (made := _made_in_setup(type(module), name)) is not None:
    when = "unbound" if scope is None else "early" if state is not None and state.in_setup else "never"
    method = frames.outermost_method(module)
    error: Any = mixed.inside_of_flax(module) if scope is None and method else None
    error = error or errors.NoSuchAttributeError.of_setup(cls, name, path, when, method, *made)
  elif holder is not None:
    error = errors.NoSuchAttributeError.of_variables(cls, name, path, *holder)
  else:
    error = errors.NoSuchAttributeError(cls, name, path, _attributes(module, name))
  error.name, error.obj = name, module
  return error


def _made_in_setup(cls: type[Any], name: str) -> tuple[str, str] | None:
  """The class whose `setup` sets an attribute, as far as its code names it, and the one below that never runs it."""
  by = ""
  for base in cls.__mro__:
    method = getattr(vars(base).get("setup"), "raw_method", None)
    if method is None:
      continue
    steps = [*dis.get_instructions(method)]
    if any(step.opname == "STORE_ATTR" and step.argval == name for step in steps):
      return base.__name__, by
    if not by and not any(step.argval == "setup" for step in steps):
      by = base.__name__
  return None


def _holder(module: ModuleBase, name: str) -> tuple[str, bool] | None:
  """The collection in which a name stands, and whether a submodule has it."""
  assert module.scope is not None
  tree, path = module.scope.tree, module.scope.path
  for col in tree.variables:
    here = tree.read(col, path)
    if name in here:
      return col, isinstance(here[name], Mapping)
  return ("params", True) if name in module._state.children else None


def _attributes(module: ModuleBase, name: str) -> set[str]:
  """What a module can be asked for: what is its own, and of what every module has that which looks like a name."""
  kinds = [kind for kind in type(module).__mro__ if not kind.__module__.startswith("minilinen.module")]
  own = {*module.__dataclass_fields__, *vars(module), *(n for kind in kinds[:-1] for n in vars(kind))}
  own = {n for n in own if not n.startswith("_") and n not in ("name", "parent", "scope", "setup")}
  return own | {*near(name, dir(type(module)))}


def share_of_unbound(module: ModuleBase) -> errors.CallShareScopeOnUnboundModuleError:
  """The error for `share_scope` with a module without variables, perhaps where another is running that has them."""
  around = running.get()
  return errors.CallShareScopeOnUnboundModuleError(
    type(module).__name__, type(around).__name__ if around is not None and around.scope is not None else ""
  )


def forgetful(module: ModuleBase) -> errors.IncorrectPostInitOverrideError:
  """The error for a module that has no state, since a `__post_init__`, or a constructor, forgot the one above."""
  for base in type(module).__mro__:
    if "__post_init__" in vars(base) and not base.__module__.startswith("minilinen.module"):
      return errors.IncorrectPostInitOverrideError(base.__name__)
  maker = next(base for base in type(module).__mro__ if "__init__" in vars(base))
  return errors.IncorrectPostInitOverrideError(maker.__name__, foreign.as_fields(maker.__init__))


def property_of_nothing(
  module: ModuleBase, name: str, error: AttributeError
) -> errors.DescriptorAttributeError:
  """The error for a property that asks for an attribute which the module, or what it asks, does not have."""
  asked = error.obj if error.name is not None else module
  of = "other" if not isinstance(asked, ModuleBase) else "unbound" if module.scope is None else "module"
  return errors.DescriptorAttributeError(name, error, source_of(error), of)


def submodule_in_a_plain_method(child: ModuleBase, parent: ModuleBase) -> errors.AssignSubModuleError:
  """The error for a module made while a method runs that is neither `setup` nor compact."""
  cls = type(child).__name__
  if type(parent)._is_layer:  # its method is ours: what it was given is wrong
    for field in parent._fields():
      given = getattr(parent, field)
      if any(part is type(child) for part in (given if isinstance(given, (list, tuple)) else [given])):
        return errors.AssignSubModuleError.of_class(cls, type(parent).__name__, field)
  kinds = [vars(kind) for kind in type(parent).__mro__]
  compact = next((name for kind in kinds for name in kind if hasattr(kind[name], "compact")), "")
  return errors.AssignSubModuleError(cls, frames.innermost_method(parent) or "__call__", compact)


def declared_in_a_plain_method(module: ModuleBase, what: str, col: str, name: str) -> errors.PlainMethodError:
  """The error for a variable declared where a module may not: in a plain method, or from outside."""
  method = frames.innermost_method(module) if running.get() is module else ""
  path = module.scope.path_text if module.scope is not None else ""
  return errors.PlainMethodError(what, type(module).__name__, col, name, method, path)


def cannot_set(
  module: ModuleBase, name: str, value: Any, is_module: bool
) -> errors.SetAttributeFrozenModuleError:
  """The error for an attribute that is set where a module is frozen: while it runs, or from outside."""
  cls, calls = type(module).__name__, running.get() is module
  what = "field" if name in module.__dataclass_fields__ else "submodule" if is_module else "attribute"
  if frames.in_post_init(module):
    what = "late module" if any(modules_in(value)) else "late"
  elif calls and what != "submodule" and is_counted(name):
    what = "counter"
  return errors.SetAttributeFrozenModuleError(cls, name, value, calls=calls, what=what)


def name_in_use(module: ModuleBase, kind: str, name: str, used_by: str) -> errors.NameInUseError:
  """The error for a name that something else in the module has; perhaps it is given again and again in a loop."""
  path = module.scope.path_text if module.scope is not None else ""
  # A field or a method has the name before the loop begins.
  is_of_class = name in module.__dataclass_fields__ or hasattr(type(module), name)
  again = in_a_loop() and not is_of_class
  return errors.NameInUseError(kind, name, type(module).__name__, path=path, used_by=used_by, in_a_loop=again)
