"""Mistakes with JAX's transforms and the lifted ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from minilinen.errors.base import MinilinenError, MinilinenWarning, misspelt, short
from minilinen.tracing.source import Source


class JaxTransformError(MinilinenError):
  """A raw JAX transform was used where a lifted one is needed.

  For user code that raises it or catches it by Flax's name. Like Flax today, minilinen lets raw transforms pass, and
  warns of those that do harm.
  """

  def __init__(self) -> None:
    super().__init__(
      "A JAX transform and a module's variables are mixed.",
      wrong="jax.vmap(self.layer)(x)",
      right='nn.vmap(nn.Dense, variable_axes={"params": None}, split_rngs={"params": False})(4)(x)',
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
      f"Linen transformations must be applied to Module classes or functions taking a Module, got {short(target)}.",
      wrong="nn.vmap(nn.Dense(3), ...)",
      right="nn.vmap(nn.Dense, ...)(3)",
    )


class LiftedFunctionError(MinilinenError, TypeError):
  """A lifted function was called with something else than a module first."""

  def __init__(self, name: str, found: Any):
    super().__init__(
      f"The lifted function {name!r} takes a module first, but got {short(found)}.",
      wrong="nn.jit(lambda layers, x: ...)((self.a, self.b), x)",
      right="nn.jit(lambda self, x: self.b(self.a(x)))(self, x)",
      mend="other modules may follow as arguments of their own.",
    )


class MultiScopeError(MinilinenError, NotImplementedError):
  """A derivative was asked for over several scopes, where gradients come for one."""

  def __init__(self, paths: Sequence[str]):
    super().__init__(
      f"nn.vjp got modules with scopes of their own: {', '.join(paths)}. Gradients of the variables come for one.",
      wrong="y, pull = nn.vjp(lambda net, x: net.inner(x), self, x)   # `inner` was made outside of this module",
      right="y, pull = nn.vjp(lambda net, x: net.inner(x), self, x, multi_scope=True)",
      mend="then the gradients are a list, one tree for each scope.",
    )


class DerivativeError(MinilinenError, TypeError, ValueError):
  """A function of a lifted derivative gives something of another form than it must, or a direction has another."""

  def __init__(self, what: str, expected: str, found: str, right: str, lift: LiftedAt):
    super().__init__(what, places=lift.places, expected=expected, found=found, right=right)


class TraceContextError(MinilinenError):
  """A value was touched in another trace than the one it belongs to.

  For user code that raises it or catches it by Flax's name; minilinen leaves the check to JAX.
  """

  def __init__(self, message: str):
    super().__init__(message)


@dataclass(frozen=True)
class LiftedAt:
  """A boundary as messages speak of it: which transform of what, lifted where."""

  kind: str
  target: str = ""
  source: Source | None = None

  def __str__(self) -> str:
    return f"nn.{self.kind} of {self.target or 'a function'}"

  @property
  def places(self) -> dict[str, Source | None]:
    """The line where it was lifted, labelled for a message."""
    return {"lifted": self.source}

  def passing_collection(self, col: str) -> str:
    """The code that lets a collection pass."""
    opened = {
      "vmap": f'variable_axes={{..., "{col}": 0}}',
      "scan": f'variable_axes={{..., "{col}": 0}}',
      "while_loop": f'carry_variables="{col}"',
      "map_variables": "variables=True, mutable=True",
    }.get(self.kind, "variables=True")
    return self.call(f"{opened}, ...")

  def passing_stream(self, stream: str) -> str:
    """The code that lets a random stream pass."""
    splits = self.kind in ("vmap", "scan", "while_loop")
    return self.call(f'split_rngs={{..., "{stream}": True}}, ...' if splits else "rngs=True, ...")

  def call(self, options: str) -> str:
    """The call of the transform with options."""
    first = "cond_fn, body_fn, self, init" if self.kind == "while_loop" else self.target or "..."
    return f"nn.{self.kind}({', '.join(filter(None, (first, options)))})"


class LeakedTracerWarning(MinilinenWarning):
  """A variable was written inside a JAX transform that its module is outside of: what was written is a tracer."""

  def __init__(self, col: str, name: str, path: str, kind: str, lift: LiftedAt | None = None):
    what = f"Variable {name!r} of collection {col!r} in {path!r} is written inside {lift or kind}"
    lost = "the value cannot leave the transform, and is a tracer afterwards."
    if lift is not None:
      super().__init__(
        f"{what}, by a module from outside of it: {lost}",
        path=path,
        places=lift.places,
        expected="modules that the lifted function is given, or makes",
        found="a module that the lifted function closes over",
        **_closing_over(lift),
      )
      return
    right = _LIFTED.get(kind, "")
    if col != "params":
      right = right.replace(
        'variable_broadcast="params"', f'variable_broadcast="params", variable_carry="{col}"'
      )
    super().__init__(
      f"{what}: {lost}",
      path=path,
      expected="a lifted transform, which hands variables out"
      if right
      else "variables written outside of it",
      found=f"{kind} around a call of the module",
      right=right.replace("COL", col),
      mend="" if right else f"call the module before {kind}, which then only reads its variables.",
    )


class ReusedKeyWarning(MinilinenWarning):
  """One key is drawn for all elements of a vmap, or for all steps of a loop."""

  def __init__(self, stream: str, path: str, kind: str, lift: LiftedAt | None = None):
    each = "element" if kind == "jax.vmap" else "step"
    message = (
      f"{path!r} draws one key of the stream {stream!r} inside {lift or kind}: every {each} gets the same random"
      " numbers."
    )
    if lift is not None:
      super().__init__(
        message,
        path=path,
        places=lift.places,
        expected="modules that the lifted function is given, or makes",
        found="a module that the lifted function closes over",
        **_closing_over(lift),
      )
      return
    lifted = "nn.vmap" if kind == "jax.vmap" else "nn.scan"
    super().__init__(
      message,
      path=path,
      expected=f"a key for each {each}",
      found=f"{kind} around a call of the module",
      right=f'{lifted}(..., split_rngs={{"{stream}": True}})',
    )


_LIFTED = {
  "jax.vmap": 'nn.vmap(nn.Dense, variable_axes={"COL": 0}, split_rngs={"params": True})(4)(x)',
  "jax.jit": "nn.jit(nn.Dense)(4)(x)",
  "jax.checkpoint": "nn.remat(nn.Dense)(4)(x)",
  "jax.lax.scan": 'nn.scan(Cell, variable_broadcast="params", split_rngs={"params": False})(4)(carry, xs)',
}


def _closing_over(lift: LiftedAt) -> dict[str, Any]:
  """The code that closes over a module, and the code that doesn't."""
  return {
    "wrong": f"layer = nn.Dense(3); nn.{lift.kind}(lambda module, x: layer(x), ...)(self, x)",
    "right": f"nn.{lift.kind}(lambda module, x: nn.Dense(3)(x), ...)(self, x)",
  }


class StackedKeyWarning(MinilinenWarning):
  """Parameters that are stacked, one for each element, all got one key: they are all the same."""

  def __init__(self, name: str, path: str, lift: LiftedAt):
    super().__init__(
      f"Parameter {name!r} in {path!r} has one entry for each element of {lift}, and all were made with one key:"
      " they are equal.",
      path=path,
      places=lift.places,
      expected='split_rngs={"params": True}',
      found='"params" on an axis of its own, and its stream not split',
      right=lift.passing_stream("params"),
    )


class ServedByParamsWarning(MinilinenWarning):
  """A random stream was meant to be passed, and "params" served for it without a word."""

  def __init__(self, stream: str, path: str, passed: Iterable[str], lift: LiftedAt | None = None):
    if lift is not None:
      super().__init__(
        f'{path!r} draws from the stream {stream!r}, which stops at {lift}: "params" serves for it.',
        path=path,
        places=lift.places,
        expected=f"the stream {stream!r}, which was passed to the run",
        found='a key of "params"',
        right=lift.passing_stream(stream),
      )
      return
    streams = list(passed)
    super().__init__(
      f'{path!r} draws from the stream {stream!r}, which was not passed: "params" serves for it.'
      f"{misspelt(stream, streams)}",
      path=path,
      expected=f"a key for {stream!r}",
      found=", ".join(streams),
      right=f'rngs={{"{stream}": key, ...}}',
    )


class DroppedValueWarning(MinilinenWarning):
  """A value was sown, or a perturbation point passed, where a boundary keeps the collection out."""

  def __init__(self, verb: str, col: str, name: str, path: str, lift: LiftedAt):
    super().__init__(
      f"{path!r} {verb} {name!r}, but collection {col!r} stops at {lift}: nothing is kept.",
      path=path,
      places=lift.places,
      expected=f"collection {col!r} on both sides of the boundary",
      found="a boundary that does not pass it on",
      right=lift.passing_collection(col),
    )


class StaticArgumentWarning(MinilinenWarning):
  """The static arguments of a lifted transform are not those that should be; the module is number 0."""

  def __init__(
    self,
    lift: LiftedAt,
    names: Sequence[str],
    static: Sequence[int],
    wrong: str,
    right: Sequence[int],
    path: str = "",
    by_name: str = "",
  ):
    counted = ", ".join(f"{i} {name}" for i, name in enumerate(names))
    fits = f"static_argnums={_tuple_text(right)}"
    if by_name:
      super().__init__(
        f"The static arguments of {lift} are off: {by_name!r} is passed by name, and only arguments passed by position"
        f" are counted: {counted}.",
        path=path,
        places=lift.places,
        expected=f"{by_name!r} passed by position",
        found=f"{by_name}=..., static_argnums={_tuple_text(static)}",
        wrong=f"module({', '.join([*names[1:], f'{by_name}=True'])})",
        right=f"module({', '.join([*names[1:], 'True'])})",
      )
      return
    super().__init__(
      f"The static arguments of {lift} are off: {wrong} The arguments are counted so: {counted}.",
      path=path,
      places=lift.places,
      expected=fits if right else "no static argument that is an array",
      found=f"static_argnums={_tuple_text(static)}",
      right=lift.call(fits if right else ""),
    )


class CarryError(MinilinenError, TypeError):
  """The carry of a scan goes in as one thing and comes out as another."""

  def __init__(self, what: str, lift: LiftedAt, path: str, before: str, after: str):
    super().__init__(
      f"{what} changes in {lift}: it goes in as {before} and comes out as {after}.",
      path=path,
      places=lift.places,
      mend="return what went in, with the same shape and dtype, or begin with a carry as the body returns it.",
    )


class CarriedCollectionError(MinilinenError, TypeError):
  """A variable was created in a collection that a scan carries."""

  def __init__(self, col: str, names: Sequence[str], lift: LiftedAt, path: str):
    super().__init__(
      f"Collection {col!r} is carried by {lift}, and the body creates {', '.join(names)} in it: what is carried must"
      " be there before the loop begins.",
      path=path,
      places=lift.places,
      right=lift.passing_collection(col) if lift.kind == "scan" else "",
      mend=f"create the variables before the {lift.kind}, which then carries them.",
    )


class BranchesDifferError(MinilinenError, TypeError):
  """The branches of a `cond` or `switch` give results or variables of different kinds."""

  def __init__(self, what: str, lift: LiftedAt, path: str, first: str, other: str, number: int):
    super().__init__(
      f"The branches of {lift} differ: {what} is {first} in branch 0 and {other} in branch {number}.",
      path=path,
      places=lift.places,
      mend="every branch must give the same structure, shapes and dtypes, and create the same variables; at init call"
      " what the branches use before them: if self.is_initializing(): self.layer(x)",
    )


def _tuple_text(numbers: Sequence[int]) -> str:
  return f"({', '.join(map(str, numbers))}{',' if len(numbers) == 1 else ''})"
