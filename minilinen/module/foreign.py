"""May be skipped: what Python and JAX say of a module, found out and said again with the module, the line and the mend.

Read it to know why a `TypeError` of Python's became one of ours. `explained` is asked once for each exception, when it
leaves the innermost module; nothing here runs unless something failed.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax

from minilinen import errors
from minilinen.module.base import ModuleBase
from minilinen.spelling import did_you_mean, near
from minilinen.tracing.source import source_of


def explained(error: Exception, module: ModuleBase) -> Exception | None:
  """The error of ours that says more than Python's; to one of JAX's a note is added instead."""
  path = module.scope.path_text if module.scope is not None else ""
  if type(error) is TypeError and "concrete values" not in _text(error):
    return of_arguments(error, module, path)
  if type(error) is NameError and (found := re.match(r"unbound axis name: ([^\s.]+)", _text(error))):
    return errors.AxisNameError(found[1], type(module).__name__, path, source_of(error))
  if (type(error) is TypeError or isinstance(error, _CONCRETE)) and "trap" not in vars(error):
    trap = errors.TracedValueWarning(type(module).__name__, path, source_of(error), type(error).__name__)
    error.trap = trap  # type: ignore[attr-defined]
    error.add_note(str(trap))
  return None


_CONCRETE = (
  jax.errors.ConcretizationTypeError,
  jax.errors.TracerIntegerConversionError,
  jax.errors.TracerArrayConversionError,
  jax.errors.NonConcreteBooleanIndexError,
)


def _text(error: Exception) -> str:
  return error.args[0] if error.args and isinstance(error.args[0], str) else ""


_CALL = re.compile(
  r"(?P<owner>\S+)\.(?P<method>\w+)\(\) (?P<what>missing|got an unexpected|got multiple|takes)\b.*"
)


def of_arguments(error: TypeError, module: ModuleBase, path: str) -> errors.ArgumentsError | None:
  """The error for arguments that a module's class, or a method of the module that ran, does not take."""
  said = _CALL.fullmatch(_text(error))
  if said is None:
    return None
  owner, method = said["owner"], said["method"]
  if method == "__init__":
    cls = next((c for c in _classes(ModuleBase) if c.__qualname__ == owner), None)
  else:
    cls = next((c for c in type(module).__mro__ if c.__qualname__ == owner), None)
  if cls is None:
    return None
  called = cls.__name__ if method == "__init__" else f"{cls.__name__}.{method}"
  names, arguments = _parameters(getattr(cls, method))
  given = re.findall(r"'(\w+)'", said[0].partition("() ")[2])
  case: dict[str, Any] = dict(called=called, arguments=arguments, module=cls.__name__)
  if said["what"] == "missing":
    wanted = ", ".join(f"{name}=..." for name in given)
    case["right"] = _call(module, cls, method, path).replace("ARGS", wanted)
  elif said["what"] == "got an unexpected" and given[0] in ("name", "parent"):
    case |= dict(
      mend=errors.ArgumentsError.constructor, field=", ".join(f"{n}: ..." for n in names) or "n: int"
    )
  elif said["what"] == "got an unexpected":
    case["hint"], close = did_you_mean(given[0], names), near(given[0], names)
    ours = "take it away." if cls.__module__.startswith("minilinen.") else errors.ArgumentsError.own
    case |= dict(right=f"{close[0]}=...") if close else dict(mend=ours)
  says = said[0].replace("{", "").replace(owner, cls.__name__, 1) + "." + case.pop("hint", "")
  return errors.ArgumentsError(says, path, source_of(error), **case)


def _call(module: Any, cls: type[Any], method: str, path: str) -> str:
  """How the user calls what lacks an argument, with ARGS in its place."""
  if method == "__init__":
    return f"{cls.__name__}(ARGS)"
  if path not in ("", "/"):
    return "module(..., ARGS)" if method == "__call__" else f"module.{method}(..., ARGS)"
  which = "" if method == "__call__" else f', method="{method}"'
  return (
    f"model.init(key, ..., ARGS{which})"
    if module.is_initializing()
    else f"model.apply(variables, ..., ARGS{which})"
  )


def _classes(cls: type[Any]) -> Iterator[type[Any]]:
  """All classes that inherit from one, the youngest first: of two with one name that is the one that was meant."""
  for below in reversed(cls.__subclasses__()):
    yield from _classes(below)
  yield cls


def _parameters(fun: Callable[..., Any]) -> tuple[list[str], str]:
  """The names of a function's arguments, and how they are written: those that must be given, and some others."""
  found = [p for p in inspect.signature(fun).parameters.values() if p.name not in ("self", "parent", "name")]
  needed = [p.name for p in found if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
  others = [
    f"{p.name}={p.default!r}" for p in found if p.default is not p.empty and len(repr(p.default)) < 20
  ]
  shown = [*needed, *others[:3], *(["..."] if len(others) > 3 else [])]
  return [p.name for p in found], ", ".join(shown)


def of_constructor(error: TypeError, module: Any) -> Exception:
  """The error for a class whose own constructor does not take the fields, from which modules are made anew."""
  better = of_arguments(error, module, "")
  return error if better is None else better


def explain_hash_of(cls: Any) -> None:
  """Lets a module class name the field which cannot be hashed."""
  hashed = cls.__hash__

  @functools.wraps(hashed)
  def __hash__(self: Any) -> int:
    try:
      return hashed(self)
    except TypeError:
      for field in self.__dataclass_fields__:
        value = getattr(self, field)
        if not _is_hashable(value) and not isinstance(value, ModuleBase):
          raise errors.UnhashableFieldError(type(self).__name__, field, value) from None
      raise

  cls.__hash__ = __hash__


def _is_hashable(value: Any) -> bool:
  try:
    hash(value)
  except TypeError:
    return False
  return True
