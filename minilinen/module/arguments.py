"""May be skipped: what was meant by arguments that a module does not take, where they tell.

A key belongs to `rngs=`, names of collections to `mutable=`; a method may lack `self`, and what looks like a field its
type. Each function gives the texts of the error, none where nothing is known.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Mapping
from typing import Any

from minilinen.core.rng import is_key
from minilinen.errors.base import in_words
from minilinen.module import frames
from minilinen.module.base import ModuleBase
from minilinen.spelling import near

Passed = tuple[tuple[Any, ...], dict[str, Any]]
Said = re.Match[str]
_SELVES = {"self", "cls", "me", "this", "module", "mdl", "model", "layer", "m", "s", "_", "_self"}


def without_self(passed: Passed, said: Said, fun: Callable[..., Any], method: str) -> dict[str, str]:
  """For a method whose `self` was forgotten: the module itself came as its first argument."""
  parameters = list(inspect.signature(fun).parameters.values())
  names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
  if len(names) < len(parameters) or (names and names[0] in _SELVES):
    return {}
  args, kwargs = passed
  by_count = said["what"] == "takes" and len(args) + len(kwargs) == len(names)
  by_name = said["what"] == "got multiple" and bool(names) and names[0] in kwargs
  if not by_count and not by_name:
    return {}
  right = f"def {method}({', '.join(['self', *map(str, parameters)])})"
  return dict(right=right, mend="Python passes the module itself as the first argument of its methods.")


def for_the_run(passed: Passed, said: Said, names: list[str], module: Any, call: str) -> dict[str, str]:
  """For keys and collections that were passed to a method: `init` and `apply` take them by name."""
  args, kwargs = passed
  name = next(iter(re.findall(r"'(\w+)'", said[0].partition("() ")[2])), "")
  extra = {name: kwargs[name]} if said["what"] == "got an unexpected" and name in kwargs else {}
  if said["what"] == "takes" and len(args) > len(names):
    extra = {"": args[len(names)]}
  for given, value in extra.items():
    is_filter = isinstance(value, (list, tuple)) and value and all(isinstance(v, str) for v in value)
    is_rngs = isinstance(value, Mapping) and value and all(map(is_key, value.values()))
    if is_key(value) or is_rngs:
      stream = re.sub(r"_?(rngs?|keys?|prng)$", "", given)
      streams = list(value) if isinstance(value, Mapping) else [stream or "dropout"]
      return _with_keys([stream for stream in streams if stream != "params"], module, call)
    if is_filter and (not given or near(given, ["mutable"])):
      return dict(right=call.replace("ARGS", f"..., mutable={[*value]!r}"), mend="it is passed by name.")
  return {}


def _with_keys(streams: list[str], module: Any, call: str) -> dict[str, str]:
  rngs = ", ".join(f'"{stream}": key' for stream in streams)
  if module.is_initializing():
    both = f'{{"params": key, {rngs}}}'
    right = call.replace("(key,", f"({both},").replace("ARGS", "...")
    return dict(right=right, mend="init takes the keys of all streams as its first argument.")
  mend = (
    "apply takes keys by name, and modules draw theirs from the stream: no method needs them as an argument."
  )
  return dict(right=call.replace("ARGS", f"..., rngs={{{rngs}}}"), mend=mend)


def passed_on(said: Said, module: ModuleBase) -> dict[str, str]:
  """For a setting that a layer of ours passed on to a layer which does not take it."""
  caller = frames.calling_layer(module)
  if said["what"] != "got an unexpected" or not caller:
    return {}
  return dict(
    mend=f"{caller} passes it on to this layer: give it to the constructor of the one that takes it."
  )


def of_class(cls: type[Any], passed: Passed, said: Said, names: list[str]) -> dict[str, str]:
  """For a constructor: attributes without a type, which are no fields, and layers that belong into one list."""
  args, kwargs = passed
  if said["what"] == "takes" and names == ["layers"] and len(args) > 1 and all(map(callable, args)):
    layers = ", ".join(f"{type(a).__name__}(...)" if isinstance(a, ModuleBase) else in_words(a) for a in args)
    return dict(right=f"{cls.__name__}([{layers}])", mend="the layers are one argument, a list.")
  plain = _without_type(cls)
  meant = [n for n in plain if n in kwargs] if said["what"] == "got an unexpected" else []
  if said["what"] == "takes" and len(args) - len(names) <= len(plain):
    meant = [*plain][: len(args) - len(names)]
  if not meant:
    return {}
  name = meant[0]
  kind = type(plain[name]).__name__ if isinstance(plain[name], (bool, int, float, str, tuple)) else "Any"
  kind = "nn.Module" if isinstance(plain[name], ModuleBase) else kind
  says = f"{{python}}. {name!r} stands in the class {cls.__name__} without a type, so that it is no field."
  return dict(says=says, right=f"{name}: {kind} = ...")


def _without_type(cls: type[Any]) -> dict[str, Any]:
  """The attributes in the bodies of a user's classes that have a value and no type."""
  kinds = [kind for kind in reversed(cls.__mro__[:-1]) if not kind.__module__.startswith("minilinen.")]
  found = {n: value for kind in kinds for n, value in vars(kind).items() if not n.startswith("_")}
  fields = getattr(cls, "__dataclass_fields__", {})
  return {n: value for n, value in found.items() if n not in fields and not _is_of_class(n, value)}


def _is_of_class(name: str, value: Any) -> bool:
  is_method = isinstance(value, (types.FunctionType, type)) or hasattr(type(value), "__get__")
  return is_method or name == "preserve_adopted_names"
