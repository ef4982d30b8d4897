"""`Module`, the class that users derive from: a dataclass of settings plus a scope.

A subclass names its settings as fields and says in methods what it computes. Constructing one inside another's
method makes it a submodule there; assigning one in `setup` does too. This file is how a class is made; what its
instances do is in the files that it is made of, `life.py`, `variables.py`, `call.py` and `runs.py`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from minilinen import errors
from minilinen.module import foreign, mistakes
from minilinen.module.base import ModuleBase
from minilinen.module.call import wrap_methods
from minilinen.module.runs import ModuleRuns
from minilinen.tracing.tracebacks import entry


class Module(ModuleRuns):
  """Base class of all layers and models.

  Attributes:
    parent: the module or scope that this one belongs to; None for a module that belongs to none yet.
    name: its name in the parent.
    scope: its place in the variable tree; None unless it is bound.

  >>> import jax, minilinen as nn
  >>> class MLP(nn.Module):
  ...   width: int
  ...   @nn.compact
  ...   def __call__(self, x):
  ...     x = nn.relu(nn.Dense(self.width)(x))
  ...     return nn.Dense(1)(x)
  >>> variables = MLP(8).init(jax.random.key(0), jax.numpy.ones((2, 4)))
  >>> variables["params"]["Dense_0"]["kernel"].shape
  (4, 8)
  """

  if TYPE_CHECKING:  # a subclass may have it, so that a field `inner: nn.Module` may be called

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

  @entry
  def __init_subclass__(cls, kw_only: bool = False, **kwargs: Any) -> None:
    super().__init_subclass__(**kwargs)
    own = cls.__dict__.get("__annotations__", {})
    if "lifted_class" in cls.__dict__:
      return
    if "parent" in own or "name" in own:
      raise errors.ReservedModuleAttributeError(own)
    own_hash = "__hash__" in cls.__dict__
    foreign.make_dataclass(cls, unsafe_hash=not own_hash, kw_only=kw_only)
    foreign.explain_constructor_of(cls)
    if not own_hash:
      foreign.explain_hash_of(cls)
    cls.__dataclass_fields__ = _in_linens_order(cls, kw_only)
    cls._hidden = mistakes.hidden_methods(cls, own)
    for name, owner in cls._hidden:
      errors.warn(errors.HiddenMethodWarning(name, cls.__name__, owner, "field"))
    cls._is_layer = cls.__module__.startswith("minilinen.layers.")
    wrap_methods(cls)

  def __repr__(self) -> str:
    return module_repr(self)


def _in_linens_order(cls: type[Module], kw_only: bool) -> dict[str, dataclasses.Field[Any]]:
  """The fields of a class: settings, then parent and name; these come earlier if only later settings are `kw_only`."""
  fields = cls.__dataclass_fields__
  last = {name: fields[name] for name in ("parent", "name")}
  if not kw_only:
    return {name: field for name, field in fields.items() if name not in last} | last
  bases = [base for base in reversed(cls.__mro__[1:]) if base not in Module.__mro__]
  inherited = [name for base in bases for name in getattr(base, "__dataclass_fields__", ())]
  own = [name for name in fields if name not in last]
  return {name: fields[name] for name in (*inherited, *own, *last)}


def module_repr(module: ModuleBase, indent: int = 4) -> str:
  """A module with its settings and, if it is bound, its submodules, as text."""
  lines: list[str] = []
  settings = [
    (f, getattr(module, f)) for f, d in module.__dataclass_fields__.items() if d.repr and f != "name"
  ]
  if settings:
    lines.append("# attributes")
    lines += [f"{name} = {_setting_repr(value)}" for name, value in settings]
  children = module._state.children if "_state" in vars(module) else {}
  children = {n: c for n, c in children.items() if n not in module._fields()}
  if children:
    lines.append("# children")
    lines += [f"{name} = {module_repr(child)}" for name, child in children.items()]
  if not lines:
    return f"{type(module).__name__}()"
  body = "\n".join(lines).replace("\n", "\n" + " " * indent)
  return f"{type(module).__name__}(\n{' ' * indent}{body}\n)"


def _setting_repr(value: Any) -> str:
  if callable(value) and not isinstance(value, ModuleBase) and hasattr(value, "__name__"):
    return value.__name__
  return repr(value)


def merge_param(name: str, a: Any, b: Any) -> Any:
  """The one of a constructor's and a call's setting that was given.

  Raises:
    MergeParamError: if both or neither were given.

  >>> merge_param("train", None, True)
  True
  """
  if (a is None) == (b is None):
    raise mistakes.not_given_once(name, a, b)
  return b if a is None else a
