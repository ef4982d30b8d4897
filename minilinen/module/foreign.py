"""May be skipped: what Python and JAX say of a module, found out and said again with the module, the line and the mend.

Read it to know why a `TypeError` of Python's became one of ours. `explained` is asked once for each exception, when it
leaves the innermost module; constructors ask for themselves, since they are called outside of all modules too. Besides
the frame around a constructor nothing here runs unless something failed.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import inspect
import itertools
import linecache
import re
import traceback
from collections.abc import Callable
from typing import Any

import jax

from minilinen import errors
from minilinen.core.mistakes import called
from minilinen.errors.base import in_words
from minilinen.module import arguments, mixed
from minilinen.module.base import ModuleBase
from minilinen.module.context import hide_frames_outside, running
from minilinen.spelling import near
from minilinen.tracing.source import is_hidden, source_at, source_of


def explained(error: Exception, module: ModuleBase) -> Exception | None:
  """The error of ours that says more than Python's; to one of JAX's a note is added instead."""
  path = module.scope.path_text if module.scope is not None else ""
  if (mixed_up := mixed.of_flax_inside(error, module, path)) is not None:
    return mixed_up
  if type(error) is TypeError and (found := re.fullmatch(r"data type '(\w+)' not understood", _text(error))):
    return errors.DTypeNameError(found[1], type(module).__name__, path, source_of(error))
  is_format = "Tracer.__format__" in _text(error)
  if type(error) is TypeError and "concrete values" not in _text(error) and not is_format:
    return of_method(error, module, path)
  if type(error) is TypeError and not is_format and "Tracer(" not in _text(error):
    return _of_size(_text(error), module, path, source_of(error))
  if type(error) is NameError and (found := re.search(r"unbound axis name: ([^\s.]+)", _text(error))):
    return errors.AxisNameError(found[1], type(module).__name__, path, source_of(error))
  if (type(error) is TypeError or isinstance(error, _CONCRETE)) and "trap" not in vars(error):
    trap = _of_traced(error, type(module).__name__, path)
    error.trap = trap  # type: ignore[attr-defined]
    error.add_note(str(trap))
  return None


_CONCRETE = (
  jax.errors.ConcretizationTypeError,
  jax.errors.TracerIntegerConversionError,
  jax.errors.TracerArrayConversionError,
  jax.errors.NonConcreteBooleanIndexError,
)


def _of_size(told: str, module: ModuleBase, path: str, source: Any) -> errors.SizeError:
  """The error for a shape with a size that is no int: the size, and the field of the module that it is, if one is."""
  shape = re.sub(r"np\.\w+\(([^()]*)\)", r"\1", told.partition("got ")[2].removesuffix("."))
  facts: dict[str, Any] = {}
  with contextlib.suppress(ValueError, SyntaxError):
    size = next(size for size in ast.literal_eval(shape) if not isinstance(size, int))
    of_size = [f for f in module.__dataclass_fields__ if repr(getattr(module, f, None)) == repr(size)]
    field = of_size[0] if len(of_size) == 1 and size is not None else ""
    facts = dict(field=field, size=size)
  return errors.SizeError(type(module).__name__, path, shape, source, **facts)


def _of_traced(error: Exception, cls: str, path: str) -> errors.TracedValueWarning:
  """What stands below JAX's error: by what the user's line does with the number that it asks for."""
  kind, text, at = type(error).__name__, _text(error), source_of(error)
  before, asked = _written(error)
  if isinstance(error, jax.errors.ConcretizationTypeError) and re.search(
    r"`(float|complex)` function|(item|tolist)\(\) method", text
  ):
    kind = "float"
  elif "__format__" in text:
    kind = "format"
  elif isinstance(error, jax.errors.TracerIntegerConversionError) and asked.endswith("]"):
    kind = "list"
  elif isinstance(error, jax.errors.TracerBoolConversionError):
    statement = (before or asked).partition(" ")[0]
    kind = statement if statement in ("while", "assert") and ":" not in before else kind
  setting = _setting(error)
  if setting is not None and kind in ("TracerBoolConversionError", "TracerIntegerConversionError"):
    return errors.TracedValueWarning.of_setting(cls, path, at, *setting)
  return errors.TracedValueWarning(cls, path, at, kind)


def _written(error: Exception) -> tuple[str, str]:
  """What the user's line that failed is, and what stands before it on the line; "" where nobody knows."""
  found, step = ("", ""), error.__traceback__
  while step is not None:
    code, place = step.tb_frame.f_code, step.tb_lasti // 2
    if source_at(step.tb_frame, step.tb_lineno) is not None:
      first, last, start, end = next(itertools.islice(code.co_positions(), place, None))
      line = linecache.getline(code.co_filename, first or 0).rstrip()
      found = line[:start].lstrip(), line[start : end if last == first else None]
    step = step.tb_next
  return found


def _setting(error: Exception) -> tuple[str, int, str] | None:
  """Which flag or count was passed by position to a jitted `apply` or `init`: which of them, its number and name."""
  jitted = re.search(r"tracing the function (apply|init) at \S+:\d+ for jit", _text(error))
  runs = [] if jitted is None else [frame.f_locals for frame, _ in traceback.walk_stack(None)]
  run = next(
    (r for r in runs if {"self", "rngs", "args", "method"} <= {*r} and isinstance(r["self"], ModuleBase)),
    None,
  )
  if jitted is None or run is None:
    return None
  method = type(run["self"]).__call__ if run["method"] is None else None
  names = [] if method is None else _parameters(method)[0]
  for number in map(int, re.findall(r"args\[(\d+)\](?!\[)", _text(error).partition("depends on")[2])):
    value = run["args"][number]
    if jax.numpy.shape(value) == () and value.dtype.kind in "bi":
      return jitted[1], number + 1, names[number] if number < len(names) else ""
  return None


def _text(error: Exception) -> str:
  return error.args[0] if error.args and isinstance(error.args[0], str) else ""


_CALL = re.compile(
  r"(?P<owner>\S+)\.(?P<method>\w+)\(\) (?P<what>missing|got an unexpected|got multiple|takes)\b.*"
)


def _said(error: Exception) -> re.Match[str] | None:
  """What Python says of arguments, in its parts; what it guesses since 3.13 we guess ourselves."""
  return _CALL.fullmatch(_text(error).partition(". Did you mean")[0])


def of_method(error: TypeError, module: ModuleBase, path: str) -> errors.ArgumentsError | None:
  """The error for arguments that a method of the module that ran does not take."""
  said = _said(error)
  if said is None or said["method"] == "__init__":
    return None
  cls = next((c for c in type(module).__mro__ if c.__qualname__ == said["owner"]), None)
  if cls is None:
    return None
  method = said["method"]
  facts = dict(called=f"{cls.__name__}.{method}", path=path, source=source_of(error))
  passed = _passed(error, module)
  fun, call = getattr(cls, method), _call(module, method, path)
  meant = arguments.without_self(passed, said, fun, method) or arguments.passed_on(said, module)
  if not meant and path in ("", "/"):
    meant = arguments.for_the_run(passed, said, _parameters(fun)[0], module, call)
  return _arguments(passed, said, cls, fun, call, facts, meant)


def _call(module: Any, method: str, path: str) -> str:
  """How the user calls a method, with ARGS in the place of its arguments."""
  if path not in ("", "/"):
    return "module(ARGS)" if method == "__call__" else f"module.{method}(ARGS)"
  which = "" if method == "__call__" else f', method="{method}"'
  start = f"{called()}(key" if module.is_initializing() else "apply(variables"
  return f"model.{start}, ARGS{which})"


def explain_constructor_of(cls: Any) -> None:
  """Lets a module class say what its constructor takes, to whoever passes something else."""
  construct = cls.__init__

  @functools.wraps(construct)
  def __init__(*args: Any, **kwargs: Any) -> None:  # only so beartype looks at what is wrapped
    try:
      try:
        construct(*args, **kwargs)
      except TypeError as error:
        if error.__traceback__ is None or error.__traceback__.tb_next is not None:
          raise  # its arguments were right
        raise _of_constructor(error, args[0], cls, construct) from None
    except Exception as error:
      hide_frames_outside(error)
      raise

  cls.__init__ = __init__


def _of_constructor(error: TypeError, module: Any, cls: type[Any], construct: Any) -> Exception:
  said, around = _said(error), running.get()
  if said is None:
    return error
  path = around.scope.path_text if around is not None and around.scope is not None else ""
  is_whole = type(module) is cls or "lifted_class" in vars(type(module))
  call = f"{cls.__name__}(ARGS)" if is_whole else "super().__init__(ARGS)"
  passed = _passed(error, module)
  meant = arguments.of_class(cls, passed, said, _parameters(construct)[0])
  return _arguments(passed, said, cls, construct, call, dict(called=cls.__name__, path=path), meant)


def _arguments(
  passed: tuple[tuple[Any, ...], dict[str, Any]],
  said: re.Match[str],
  cls: type[Any],
  fun: Any,
  call: str,
  facts: dict[str, Any],
  meant: dict[str, str],
) -> errors.ArgumentsError:
  """The error for a call that Python could not make; `meant` are its texts where it is known what was meant."""
  kind, told = errors.ArgumentsError, said[0].replace(said["owner"], cls.__name__, 1)
  names, taken = _parameters(fun)
  args, kwargs = passed
  given = {n: kwargs[n] for n in names if n in kwargs} | dict(zip(names, args))
  name, *others = re.findall(r"'(\w+)'", said[0].partition("() ")[2]) or [""]
  facts |= dict(python=told, arguments=taken, module=cls.__name__, name=name, what="it")
  texts = kind.too_much if cls.__module__.startswith("minilinen.") else kind.own
  if said["what"] == "missing" and names[0] == "carry" and len(args) == 1 and name == names[1] and not others:
    texts = dict(right=call.replace("ARGS", f"carry, {name}"), mend=kind.carry)
  elif said["what"] == "missing":
    wanted = ", ".join([*["..."] * bool(given), *(f"{n}=..." for n in (name, *others))])
    texts = dict(right=call.replace("ARGS", wanted))
  elif said["what"] == "got multiple":
    texts = kind.twice if name in given and name in kwargs else dict(mend=kind.twice["mend"])
    facts |= dict(first=given.get(name), second=kwargs.get(name))
  elif said["what"] == "takes":
    named = [p.name for p in inspect.signature(fun).parameters.values() if p.kind == p.KEYWORD_ONLY]
    named = [n for n in named if n in names]
    extra = args[len(names) - len(named) :]
    facts["what"] = ", ".join(map(in_words, extra)) or "what is too much"
    texts = texts | kind.counted
    if len(named) == len(extra) == 1:
      before = "..., " * (len(args) > 1)
      value = extra[0] if isinstance(extra[0], (bool, int, float)) else "..."
      texts |= dict(right=call.replace("ARGS", f"{before}{named[0]}={value}"), mend=kind.by_name)
    elif named:
      texts |= dict(mend=f"{texts['mend'].removesuffix('.')}; {kind.by_name}")
  elif name in ("name", "parent"):
    texts, facts["fields"] = kind.constructor, as_fields(fun)
  elif close := near(name, names):
    texts = kind.given if close[0] in given else kind.meant
    facts |= dict(near=close[0], value=given.get(close[0]))
  if meant:
    texts = (kind.counted if said["what"] == "takes" else {}) | meant
  return kind(**facts, **texts)


def as_fields(constructor: Callable[..., Any]) -> str:
  """How a class says by fields what its constructor takes."""
  return ", ".join(f"{n}: ..." for n in _parameters(constructor)[0]) or "n: int"


def _passed(error: TypeError, module: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
  """What a module was called with that Python could not call: the frames of ours that tried it still hold it."""
  steps, step = [], error.__traceback__
  while step is not None:
    steps.append(step.tb_frame)
    step = step.tb_next
  for frame in itertools.takewhile(lambda frame: is_hidden(frame.f_code), reversed(steps)):
    args = frame.f_locals.get("args", ())
    if args and args[0] is module:
      return args[1:], frame.f_locals.get("kwargs", {})
  return (), {}


def _parameters(fun: Callable[..., Any]) -> tuple[list[str], str]:
  """The names of a function's arguments, and how they are written: those that must be given, and some others."""
  found = [p for p in inspect.signature(fun).parameters.values() if p.name not in ("self", "parent", "name")]
  others = [p for p in found if p.default is not p.empty and len(repr(p.default)) < 20]
  shown: list[str] = []
  for by_name in (False, True):
    here = [p for p in found if (p.kind == p.KEYWORD_ONLY) is by_name and p.kind not in _STARRED]
    needed = [p.name for p in here if p.default is p.empty]
    written = [*needed, *(f"{p.name}={p.default!r}" for p in here if p in others[:3])]
    shown += ["*"] * (by_name and bool(written)) + written
  return [p.name for p in found], ", ".join([*shown, *["..."] * (len(others) > 3)])


_STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def make_dataclass(cls: type[Any], unsafe_hash: bool, kw_only: bool) -> None:
  """Makes a class a dataclass, and says what is wrong with its fields if Python refuses them."""
  try:
    dataclasses.dataclass(cls, unsafe_hash=unsafe_hash, repr=False, kw_only=kw_only)
  except (TypeError, ValueError) as error:
    text = _text(error)
    if found := re.match(r"mutable default .* for field (\w+) is not allowed", text):
      better = errors.FieldsError.mutable(cls.__name__, found[1], vars(cls).get(found[1]))
    elif found := re.match(r"non-default argument '(\w+)' follows default argument", text):
      better = errors.FieldsError.late(cls.__name__, found[1], cls.__base__.__name__ if cls.__base__ else "")
    else:
      raise
    raise better from None


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
