"""Mistakes in what is passed to `init`, `apply` and their relatives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from minilinen.errors.base import MinilinenError, in_words, misspelt, near, nearest
from minilinen.errors.lifts import LiftedAt


class InvalidRngError(MinilinenError, ValueError):
  """A random stream is missing, or its key is no key.

  Example:
    nn.Dropout(0.5, deterministic=False).apply({}, x)
  """

  @classmethod
  def no_key(cls, whose: str, value: Any, right: str) -> InvalidRngError:
    """For what is passed to `init` and is neither a key nor a dict of keys."""
    return cls(
      "{whose} needs a random key or a dict of them, but got {value:words}.",
      right=right,
      whose=whose,
      value=value,
    )

  @classmethod
  def of_variables(cls, whose: str) -> InvalidRngError:
    """For variables that are passed to `init` or `tabulate`, which make them anew."""
    return cls(
      "{whose} needs a random key or a dict of them first, but got variables: it makes new ones.",
      right="model.{called}(jax.random.key(0), x)",
      mend="what uses the variables is model.apply(variables, x).",
      whose=whose,
      called=whose.partition(" ")[0],
    )

  @classmethod
  def of_stream(cls, stream: Any, value: Any) -> InvalidRngError:
    """For what is passed as the key of a stream and is none."""
    return cls(
      "rngs should be a dictionary of stream names and keys, but {stream!r} is {value:words}.",
      right='rngs={"dropout": jax.random.key(1)}',
      stream=stream,
      value=value,
    )

  @classmethod
  def missing(
    cls,
    stream: str,
    path: str,
    available: Iterable[str],
    lift: LiftedAt | None = None,
    initializing: bool = False,
  ) -> InvalidRngError:
    """For a stream that was asked for and not passed, or that stops at a boundary."""
    facts: dict[str, Any] = dict(stream=stream, path=path, streams=list(available))
    if lift is not None:
      return cls(
        '{path} needs PRNG for "{stream}", which stops at {lift}. The streams passed on are: {streams:listed}.',
        right=lift.passing_stream(stream),
        lift=lift,
        **facts,
      )
    others = [other for other in facts["streams"] if other not in near(stream, facts["streams"])]
    rngs = ", ".join([*(f'"{other}": ...' for other in others), f'"{stream}": key'])
    return cls(
      '{path} needs PRNG for "{stream}", but the streams passed are: {streams:listed}.{hint}',
      right="model.init({{rngs}}, x)" if initializing else "model.apply(variables, x, rngs={{rngs}})",
      mend="" if initializing else "a bound module is given them by bind: model.bind(variables, rngs=...).",
      rngs=rngs,
      hint=misspelt(stream, facts["streams"]),
      **facts,
    )


class LayerInputError(MinilinenError, TypeError, IndexError):
  """A layer was called with something that is no array of numbers, or that has no axes.

  Example:
    nn.Dense(4).init(key, "hello")
  """

  says = "{module} in {path!r} works on an array of numbers that has axes, but its input is {value:words}."
  mend = "pass an array, such as jnp.ones((8, 3)).{shape}"

  of_text = ' A shape alone, as nn.trace and model.tabulate take it, is written "f32[8,3]".'
  of_dict = "pass what the layer works on, such as batch[{key!r}]."

  def __init__(self, module: str, path: str, value: Any):
    case = dict(mend=self.of_dict, key=next(iter(value))) if isinstance(value, Mapping) and value else {}
    shape = self.of_text if isinstance(value, str) else ""
    super().__init__(module=module, path=path, value=value, shape=shape, **case)


class ApplyScopeInvalidVariablesTypeError(MinilinenError):
  """The variables passed to apply are no dict of dicts.

  Example:
    nn.Dense(4).apply({"kernel": jnp.ones((3, 4))}, x)
  """

  says = "apply needs variables as a dict: collection -> nested dict of arrays, but got {value:words}."
  wrong = "model.apply(params, x)"
  right = 'model.apply({"params": params}, x)'

  collection = (
    "apply needs variables as a dict: collection -> nested dict of arrays, but the collection {col!r} is "
    "{inside:words}."
  )

  def __init__(self, value: Any = None):
    case: dict[str, Any] = {}
    if not isinstance(value, Mapping):
      case = dict(wrong="", right="variables = model.init(key, x); model.apply(variables, x)")
    elif "params" in value:
      col = next(col for col in value if not (isinstance(col, str) and isinstance(value[col], Mapping)))
      case = dict(says=self.collection, col=col, inside=value[col], wrong="", right="")
      case["mend"] = "pass each collection as init returns it: a dict of dicts, with arrays below the names."
    super().__init__(value=value, **case)


class ApplyScopeInvalidVariablesStructureError(MinilinenError):
  """The variables have a level too many: "params" inside "params".

  Example:
    nn.Dense(4).apply({"params": nn.Dense(4).init(key, x)}, x)
  """

  says = 'The variables have "params" inside "params": variables["params"] has the keys {keys}.'
  mend = 'pass what init returned as it is, without {"params": ...} around: it has the collections.'

  def __init__(self, variables: Any):
    super().__init__(keys=sorted(map(str, variables["params"]))[:8])


class LazyInitError(MinilinenError):
  """A variable's first value depends on an argument of which only the shape is known.

  Example:
    class Offset(nn.Module):
      @nn.compact
      def __call__(self, x):
        return self.param("mean", lambda key: x.mean(0))
    Offset().lazy_init(key, jax.ShapeDtypeStruct((2, 3), jnp.float32))
  """

  says = (
    "lazy_init cannot make {variable} of {partial_val:words}: its value depends on an argument that was passed as a "
    "jax.ShapeDtypeStruct."
  )
  mend = "pass that argument as an array, or make the variable from shapes only."

  def __init__(self, partial_val: Any, variable: str = ""):
    super().__init__(
      partial_val=partial_val, variable=f"the variable {variable!r}" if variable else "a variable"
    )


class ApplyModuleInvalidMethodError(MinilinenError, AttributeError, TypeError):
  """`method=` names no method of the module.

  Example:
    nn.Dense(4).apply({}, x, method="encode")
  """

  says = "Cannot call apply(): {method!r} is not a valid function, or no method of the module.{hint}"
  right = "method={known!r}"
  mend = "method= takes the name of a method, or a function of the module: lambda model, x: ..."

  def __init__(self, method: Any, candidates: Iterable[str] = ()):
    known = sorted(candidates)
    case = dict(hint="", right="")
    if known:
      case = dict(hint=nearest(method, known), known=[*near(method, known), *known][0])
    super().__init__(method=method, **case)


class InvalidInstanceModuleError(MinilinenError):
  """A method was called on the class instead of an instance.

  Example:
    nn.Dense.init(key, x)
  """

  takes = ("value", "called")
  says = "Can only call {called} on an instance of a Module, not on its class{but}."
  wrong = "Model.{called}(...)"
  right = "Model().{called}(...)"

  first = "{called} takes a module first, and its variables after it, but got {value:words}."

  def __init__(self, value: Any = None, called: str = "init"):
    case: dict[str, Any] = {}
    if called == "nn.check":
      case = dict(says=self.first, value=value, wrong="", right="nn.check(model, variables, x)")
    super().__init__(
      called=called, **case, but="" if value is None else f": the first argument is {in_words(value)}"
    )


class NestingTooDeepError(MinilinenError, RecursionError):
  """Modules are nested deeper than Python's stack allows.

  Example:
    class Deep(nn.Module):
      depth: int
      @nn.compact
      def __call__(self, x):
        return Deep(self.depth - 1)(x) if self.depth else x
    Deep(2000).init(key, x)
  """

  takes = ("limit",)
  says = (
    "The modules are nested deeper than Python can call: its limit is {limit} calls, and a module in a "
    "module takes about five."
  )
  right = "sys.setrecursionlimit(100_000) before init and apply"
  mend = (
    "or build the depth with a loop, or with nn.scan, instead of modules in modules. "
    "If nothing ends the nesting, no limit is enough."
  )
