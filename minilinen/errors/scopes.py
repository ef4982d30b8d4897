"""Mistakes with variables, collections and names, which a scope finds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from minilinen.errors.base import MinilinenError, misspelt, nearest
from minilinen.errors.lifts import LiftedAt
from minilinen.spelling import did_you_mean
from minilinen.tracing.equations import formula
from minilinen.tracing.paths import Path
from minilinen.tracing.statements import in_a_loop

_TRIED = "Tried to access {var_name!r} from collection {col!r} in {path!r}, but the collection is empty."
_NOT_CREATED = " It cannot be created inside {lift}, which hands out no new variables of this collection."
_FIRST_VALUE = "to let it be created, give its first value: self.variable(col, name, init_fn)."
_CREATE = "create it before: if self.is_initializing(): self.layer(x)"


class ScopeCollectionNotFound(MinilinenError):
  """A variable was asked of a collection that is empty and may not be written.

  Example:
    nn.Dense(4).apply({}, x)
  """

  says = _TRIED + "{hint} Collections passed: {passed:listed}."
  right = 'model.apply({{others}"{col}": variables["{col}"]}, x)'
  mend = "or let it be created: mutable={mutable}."

  training = "or while training, where mean 0 and variance 1 are a beginning: mutable={mutable}."
  frozen = _TRIED + _NOT_CREATED
  stopped = _TRIED + " It stops at {lift}, which does not pass it on."
  unmade = _TRIED + " This init does not let it be created."
  bare = _TRIED + " The dict passed has the keys {passed:listed}: it looks like the params themselves."

  def __init__(
    self,
    col_name: str,
    var_name: str,
    scope_path: str,
    available: Iterable[str] = (),
    lift: LiftedAt | None = None,
    frozen_by: LiftedAt | None = None,
    mutable: Iterable[str] = (),
    initializing: bool = False,
    creatable: bool = True,
  ):
    passed, mutables = sorted(available), [*mutable, col_name]
    place = Path.parse(scope_path) / var_name
    case: dict[str, Any] = {} if creatable else dict(mend=_FIRST_VALUE, right=self.right * (not initializing))
    if col_name == "params":
      case = dict(mend="")
    if frozen_by is not None:
      case = dict(says=self.frozen, lift=frozen_by, right="", mend=_CREATE)
    elif lift is not None:
      case = dict(says=self.stopped, lift=lift, right=lift.passing_collection(col_name), mend="")
    elif initializing and creatable:
      case = dict(says=self.unmade, right="model.init(key, x, mutable={mutable})", mend="")
    elif col_name == "params" and place[0] in passed:
      right = 'model.apply({"params": params}, x)'
      case = dict(says=self.bare, wrong="model.apply(params, x)", right=right, mend="")
    if col_name == "batch_stats" and not case:
      case = dict(mend=self.training)
    others = "..., " if {*passed} - {col_name} else ""
    hint = " It was passed with nothing in it." if col_name in passed else misspelt(col_name, passed)
    super().__init__(
      var_name=var_name, col=col_name, path=scope_path, passed=passed, mutable=mutables, others=others, hint=hint,
      **case,
    )  # fmt: skip


class ScopeParamNotFoundError(MinilinenError):
  """A parameter is not among those that were passed.

  `candidates` are the parameters and modules that its module has, `inside` those of the modules that have such a
  parameter. If it has none, `beside` are the modules beside it, one of which may be it under another name.

  Example:
    nn.Dense(4).apply({"params": {"bias": jnp.zeros(4)}}, x)
  """

  says = "Could not find parameter {param_name!r} in {path!r}.{hint}"
  mend = (
    "pass the parameters of this very model, as its init returns them; "
    "if a layer was added or renamed, init again."
  )

  frozen = "Could not find parameter {param_name!r} in {path!r}." + _NOT_CREATED
  below = " {inside!r}, which was passed, has one: these are the parameters of the model around."

  def __init__(
    self,
    param_name: str,
    scope_path: str,
    candidates: Iterable[str] = (),
    module: str = "",
    beside: Iterable[str] = (),
    frozen_by: LiftedAt | None = None,
    inside: Sequence[str] = (),
  ):
    known, others, case = list(candidates), list(beside), {}
    hint = nearest(param_name, known)
    if frozen_by is not None:
      case = dict(says=self.frozen, lift=frozen_by, mend=_CREATE)
    elif module in others:
      hint = f" {scope_path!r} itself is there, but it is no dict of parameters."
    elif not known and others:
      hint = f" There are no parameters for {module!r}.{_of_modules(module, others)}"
    elif inside and scope_path == "/":
      case = dict(says=self.says.replace("{hint}", self.below), inside=inside[0], mend="")
      case["right"] = 'layer.apply({"params": params["{inside}"]}, x)'
    super().__init__(param_name=param_name, path=scope_path, hint=hint, **case)


def _of_modules(module: str, others: Sequence[str]) -> str:
  """The modules that are there; an automatic name is no misspelt one of the same kind."""
  kind, _, number = module.rpartition("_")
  if not number.isdigit():
    return nearest(module, others)
  guess = did_you_mean(module, [other for other in others if other.rpartition("_")[0] != kind])
  return f"{guess} There: {', '.join(sorted(others)[:12])}."


class ScopeVariableNotFoundError(MinilinenError):
  """A variable is not among those that were passed, and may not be created.

  Example:
    core.apply(lambda scope: scope.variable("state", "count"))({"state": {"counts": 1}})
  """

  says = "No variable {name!r} in collection {col!r} of {path!r}.{hint}"
  mend = "pass it in the variables, or let it be created: mutable=['{col}']."

  def __init__(
    self, name: str, col: str, scope_path: str, candidates: Iterable[str] = (), creatable: bool = True
  ):
    case = {} if creatable else dict(mend=_FIRST_VALUE)
    super().__init__(name=name, col=col, path=scope_path, hint=nearest(name, candidates), **case)


class SymbolicParamError(MinilinenError, TypeError):
  """A parameter would have a size that is a symbol.

  Example:
    nn.trace(nn.Dense(4).init)(key, "f32[8,n]")
  """

  takes = ("param_name", "path", "shape", "dimension", "inputs")
  says = (
    "Parameter {param_name!r} in {path!r} depends on the {symbols}, which {have} no number: its "
    "initializer gives {shape}{inputs}."
  )
  mend = (
    "a batch or a length may be left open, the size of a parameter may not: give a number to the {symbols} in the "
    'input, as in "f32[b,128]".'
  )

  def __init__(self, param_name: str, scope_path: str, shape: Any, dimension: Any):
    names = formula.names(dimension)
    super().__init__(
      param_name,
      scope_path,
      f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})",
      symbols="dimension" + "s" * (len(names) > 1) + " " + " and ".join(map(repr, names)),
      have="have" if len(names) > 1 else "has",
    )


class ScopeParamShapeError(MinilinenError):
  """A parameter has another shape than its initializer gives.

  Example:
    nn.Dense(4).apply(nn.Dense(5).init(key, x), x)
  """

  takes = ("param_name", "path", "value_shape", "init_shape", "inputs")
  says = "Parameter {param_name!r} in {path!r} has another shape than its initializer gives{inputs}.{why}"
  expected = "{init_shape}"
  found = "{value_shape}"
  mend = (
    "pass an input, and make the layers, of the sizes that the parameters were made for, or init again for these."
    "{names}"
  )

  def __init__(
    self,
    param_name: str,
    scope_path: str,
    value_shape: Any,
    init_shape: Any,
    fitting: Sequence[str] = (),
    beside: Sequence[str] = (),
  ):
    value, init, case = tuple(value_shape), tuple(init_shape), dict(why="", names="")
    if fitting:
      case["why"] = f" That of {fitting[0]!r} beside it has this shape: names may have moved."
      case["mend"] = (
        "automatic names are counted, and a layer was taken out before this one: name the layers (name=...)."
      )
    elif any(value[:axis] + value[axis + 1 :] == init for axis in range(len(value))):
      case["why"] = " It has an axis more: parameters are stacked so by nn.scan and nn.vmap."
      case["mend"] = (
        "lift the layer as the one that made the parameters was lifted, or pass one entry of that axis."
      )
    elif beside:
      case["names"] = (
        f" If a layer was put in before {scope_path!r}, the automatic names have moved: name the layers."
      )
    super().__init__(param_name, scope_path, value, init, **case)


class ScopeParamTypeError(MinilinenError, TypeError):
  """A parameter that was passed is no array, where its initializer gives one.

  Example:
    nn.Dense(4).apply({"params": {"kernel": "abc", "bias": jnp.zeros(4)}}, x)
  """

  takes = ("param_name", "path", "value", "init_shapes")
  says = (
    "Parameter {param_name!r} in {path!r} is {value:short}, but its initializer gives arrays of shape "
    "{init_shapes:listed}."
  )
  mend = "pass the parameters as init returns them; a checkpoint may have lost or renamed a part of them."


class ModifyScopeVariableError(MinilinenError):
  """A variable of a collection that is not mutable was set.

  Example:
    model = nn.BatchNorm(use_running_average=False)
    model.apply(model.init(key, x), x)
  """

  says = "Cannot update variable {variable_name!r} in {path!r}: collection {col!r} is immutable."
  right = "y, updates = model.apply(variables, x, mutable={mutable})"

  behind = (
    "Cannot update variable {variable_name!r} in {path!r}: collection {col!r} is immutable behind {lift}, "
    "which does not hand it out."
  )

  def __init__(
    self,
    col: str,
    variable_name: str,
    scope_path: str,
    lift: LiftedAt | None = None,
    also: Iterable[str] = (),
    initializing: bool = False,
  ):
    case: dict[str, Any] = dict(mutable=[*also, col])
    if lift is not None:
      case = dict(says=self.behind, lift=lift, right=lift.passing_collection(col))
    elif initializing:
      case["right"] = "model.init(key, x, mutable={mutable})"
    super().__init__(variable_name=variable_name, path=scope_path, col=col, **case)


class ImmutableVariableError(MinilinenError):
  """Something that may not change was to be changed.

  A scope's last guard, which `ModifyScopeVariableError` comes before; user code may raise it by Flax's name.

  Example:
    raise nn.errors.ImmutableVariableError("this may not change")
  """

  takes = ("says",)


class InvalidScopeError(MinilinenError):
  """A scope was used after its init or apply was over.

  Example:
    kept = []
    core.init(lambda scope: kept.append(scope))(key)
    kept[0].param("kernel", nn.initializers.ones, (3,))
  """

  takes = ("scope_name",)
  says = "The scope {scope_name!r} is no longer valid: its init, apply or lifted transform is over."
  mend = "don't keep a bound module or a Variable longer than that; return values, or use model.bind."


class ScopeNameTypeError(MinilinenError, TypeError):
  """A name is no string, or one that cannot be a name.

  Example:
    core.init(lambda scope: scope.push(3))(key)
  """

  takes = ("scope_name", "path")
  says = "Names are strings, but got {scope_name:short}."

  def __init__(self, scope_name: Any, path: str = ""):
    case = dict(right=f"{str(scope_name)!r} in its place")
    if isinstance(scope_name, int) and in_a_loop():
      case = dict(right='f"layer_{i}" in its place', mend="where i is the number: each name is used once.")
    if callable(scope_name):
      names = (
        'self.param("scale", init_fn, shape), self.variable(col, "mean", init_fn), nn.Dense(4, name="out")'
      )
      case = dict(mend=f"a name comes first, or by keyword: {names}.")
    super().__init__(scope_name, path, **case)


class ScopeNameInUseError(MinilinenError, ValueError):
  """A name was claimed twice in one scope.

  Example:
    core.init(lambda scope: (scope.push("a"), scope.push("a")))(key)
  """

  takes = ("name", "path")
  says = 'Duplicate use of scope name: "{name}" in {path!r}.'
  mend = "give one of the two another name."


class InvalidFilterError(MinilinenError):
  """Something is no filter of collections.

  Example:
    nn.Dense(4).apply({}, x, mutable=3)
  """

  takes = ("filter_like",)
  says = (
    "Invalid filter: {filter_like!r}. A filter is True, False, a name, a list of names, or DenyList(...)."
  )
  mend = "a name stands for a collection or a stream; True lets all of them through, False none."
