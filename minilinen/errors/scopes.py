"""Mistakes with variables, collections and names, which a scope finds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from minilinen.errors.base import MinilinenError, misspelt, nearest, short
from minilinen.errors.lifts import LiftedAt
from minilinen.tracing.equations import formula


class ScopeCollectionNotFound(MinilinenError):
  """A variable was asked of a collection that is empty and may not be written."""

  def __init__(
    self,
    col_name: str,
    var_name: str,
    scope_path: str,
    available: Iterable[str] = (),
    lift: LiftedAt | None = None,
    frozen_by: LiftedAt | None = None,
  ):
    passed = sorted(available)
    what = f"Tried to access {var_name!r} from collection {col_name!r} in {scope_path!r}, but the collection is empty."
    if frozen_by is not None:
      super().__init__(
        f"{what} {_not_created(frozen_by)}", path=scope_path, places=frozen_by.places, mend=_CREATE
      )
      return
    if lift is not None:
      super().__init__(
        f"{what} It stops at {lift}, which does not pass it on.",
        path=scope_path,
        places=lift.places,
        right=lift.passing_collection(col_name),
      )
      return
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
      f"{what}{misspelt(col_name, passed)} Collections passed: {', '.join(passed) or 'none'}.",
      path=scope_path,
      right=f'model.apply({{..., "{col_name}": variables["{col_name}"]}}, x)',
      mend=f"or let it be created: mutable=[{col_name!r}].",
    )


def _not_created(lift: LiftedAt) -> str:
  return f"It cannot be created inside {lift}, which hands out no new variables of this collection."


_CREATE = "create it before: if self.is_initializing(): self.layer(x)"


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
    frozen_by: LiftedAt | None = None,
  ):
    if frozen_by is not None:
      what = f"Could not find parameter {param_name!r} in {scope_path!r}. {_not_created(frozen_by)}"
      super().__init__(what, path=scope_path, places=frozen_by.places, mend=_CREATE)
      return
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


class _ImpliedShape(MinilinenError):
  """The shape that an input implies for a parameter is wrong. The call wrapper adds what the input was."""

  _implied = ""

  def implied_by(self, inputs: str) -> None:
    """Adds what the module was called with, which is where the shape comes from, to the message."""
    expected, found = self.expected, self.found
    message = self.message.replace(self._implied, f"{self._implied}, for inputs ({inputs})", 1)
    self.args = (self._tell(message, 1, self.path, self.mend, "", "", source=self.source),)
    self.expected, self.found = expected, found


class SymbolicParamError(_ImpliedShape, TypeError):
  """A parameter would have a size that is a symbol."""

  def __init__(self, param_name: str, scope_path: str, shape: Any, dimension: Any):
    self._implied = f"its initializer gives {_shape(shape)}"
    symbols = " and ".join(map(repr, formula.names(dimension)))
    super().__init__(
      f"Parameter {param_name!r} in {scope_path!r} depends on the dimension {symbols}, which has no number:"
      f" {self._implied}.",
      path=scope_path,
      mend="a batch or a length may be left open, the size of a parameter may not: write a number for"
      f' {symbols} in the input, as in "f32[b,128]".',
    )


def _shape(shape: Any) -> str:
  return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"


class ScopeParamShapeError(_ImpliedShape):
  """A parameter has another shape than its initializer gives."""

  def __init__(
    self,
    param_name: str,
    scope_path: str,
    value_shape: Any,
    init_shape: Any,
    fitting: Sequence[str] = (),
    beside: Sequence[str] = (),
  ):
    moved = f" That of {fitting[0]!r} beside it has this shape: names may have moved." if fitting else ""
    mend = "pass an input of the size that the parameters were made for, or init again for this one."
    if fitting:
      mend = (
        "automatic names are counted, and a layer was taken out before this one: name the layers (name=...)."
      )
    elif beside:
      mend += (
        f" If a layer was put in before {scope_path!r}, the automatic names have moved: name the layers."
      )
    self._implied = f"its initializer gives {tuple(init_shape)}"
    super().__init__(
      f"Parameter {param_name!r} in {scope_path!r} has shape {tuple(value_shape)}, but {self._implied}.{moved}",
      path=scope_path,
      mend=mend,
    )
    self.expected, self.found = str(tuple(init_shape)), str(tuple(value_shape))


class ScopeParamTypeError(MinilinenError, TypeError):
  """A parameter that was passed is no array, where its initializer gives one."""

  def __init__(self, param_name: str, scope_path: str, found: Any, init_shapes: Any):
    expected = ", ".join(map(str, init_shapes))
    super().__init__(
      f"Parameter {param_name!r} in {scope_path!r} is {short(found)}, but its initializer gives arrays of shape"
      f" {expected}.",
      path=scope_path,
      mend="pass the parameters as init returns them; a checkpoint may have lost or renamed a part of them.",
    )


class ModifyScopeVariableError(MinilinenError):
  """A variable of a collection that is not mutable was set."""

  def __init__(
    self,
    col: str,
    variable_name: str,
    scope_path: str,
    lift: LiftedAt | None = None,
    also: Iterable[str] = (),
  ):
    if lift is not None:
      super().__init__(
        f"Cannot update variable {variable_name!r} in {scope_path!r}: collection {col!r} is immutable behind {lift},"
        " which does not hand it out.",
        path=scope_path,
        places=lift.places,
        right=lift.passing_collection(col),
      )
      return
    super().__init__(
      f"Cannot update variable {variable_name!r} in {scope_path!r}: collection {col!r} is immutable.",
      path=scope_path,
      right=f"y, updates = model.apply(variables, x, mutable={[*also, col]})",
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
