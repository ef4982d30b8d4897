"""Mistakes with JAX's transforms and the lifted ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from minilinen.errors.base import MinilinenError, MinilinenWarning, misspelt
from minilinen.tracing.source import Source


class JaxTransformError(MinilinenError):
  """A raw JAX transform was used where a lifted one is needed.

  For user code that raises it or catches it by Flax's name. Like Flax today, minilinen lets raw transforms pass, and
  warns of those that do harm.

  Example:
    raise nn.errors.JaxTransformError()
  """

  takes = ()
  says = "A JAX transform and a module's variables are mixed."
  wrong = "jax.vmap(self.layer)(x)"
  right = 'nn.vmap(nn.Dense, variable_axes={"params": None}, split_rngs={"params": False})(4)(x)'


class TransformedMethodReturnValueError(MinilinenError):
  """A lifted method gave back a module or a variable.

  Example:
    class Maker(nn.Module):
      @nn.jit
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4)
    Maker().init(key, x)
  """

  takes = ("name", "found")
  says = "Transformed module method {name} cannot return Modules or Variables."
  mend = "return arrays, and call the module inside; or make it outside of what is lifted."

  variable = "return what it holds: variable.value."

  def __init__(self, name: str, found: str = ""):
    super().__init__(name, found, **(dict(mend=self.variable) if found == "Variable" else {}))


class TransformTargetError(MinilinenError):
  """A lifted transform was given an instance instead of a class or a function.

  Example:
    nn.vmap(nn.Dense(4))
  """

  takes = ("target", "kind", "module")
  says = "Linen transformations must be applied to Module classes or functions taking a Module, got {target:short}."
  wrong = "nn.{kind}({module}(...), ...)"
  right = "nn.{kind}({module}, ...)(...)"

  nothing = "nn.{kind}(lambda model, x: model.layer(x), ...)(self, x)"

  def __init__(self, target: Any, kind: str = "vmap", module: str = ""):
    case = {} if module else dict(wrong="", right=self.nothing)
    super().__init__(target, kind, module, **case)


_SEVERAL_MODULES = dict(
  wrong="nn.{kind}(lambda layers, x: ...)((self.a, self.b), x)",
  right="nn.{kind}(lambda model, x: model.b(model.a(x)), ...)(self, x)",
  mend="other modules may follow as arguments of their own.",
)


class LiftedFunctionError(MinilinenError, TypeError):
  """A lifted function was called with something else than a module first.

  Example:
    class Two(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.jit(lambda layers, x: layers[0](x))((nn.Dense(4),), x)
    Two().init(key, x)
  """

  takes = ("name", "value", "kind")
  says = "The lifted function {name!r} takes a module first, but got {value:words}."
  wrong = "nn.{kind}({short_name}, ...)(x)   # {short_name} closes over modules, or has none"
  right = "nn.{kind}(lambda model, x: model.layer(x), ...)(self, x)"
  mend = "the variables of the module that comes first are what the transform lifts."

  def __init__(self, name: str, value: Any, kind: str = "jit"):
    case = _SEVERAL_MODULES if isinstance(value, (tuple, list, dict)) else {}
    super().__init__(name, value, kind, short_name="f" if name == "<lambda>" else name, **case)


class MultiScopeError(MinilinenError, NotImplementedError):
  """A derivative was asked for over several scopes, where gradients come for one.

  Example:
    class Inner(nn.Module):
      other: nn.Module
      @nn.compact
      def __call__(self, x):
        return nn.vjp(lambda self, x: self.other(x), self, x)[0]
    class Outer(nn.Module):
      @nn.compact
      def __call__(self, x):
        return Inner(nn.Dense(4))(x)
    Outer().init(key, x)
  """

  takes = ("paths",)
  says = (
    "nn.vjp got modules with scopes of their own: {paths:listed}. Gradients of the variables come for one."
  )
  right = "y, pull = nn.vjp(..., multi_scope=True)"
  mend = "then the gradients are a list, one tree for each scope.{around}"

  arguments = " Or lift over the module that holds them: nn.vjp(lambda model, x: model.layer(x), self, x)."

  def __init__(self, paths: Sequence[str], arguments: bool = False):
    super().__init__(paths, around=self.arguments if arguments else "")


class DerivativeError(MinilinenError, TypeError, ValueError):
  """A function of a lifted derivative gives something of another form than it must, or a direction has another.

  Example:
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        layer = nn.custom_vjp(lambda self, x: x, lambda self, x: x, lambda pull, y_t: pull(y_t))
        return layer(self, x)
    jax.grad(lambda x: Net().apply({}, x).sum())(x)
  """

  takes = ("says", "expected", "found", "right", "lift")


class TraceContextError(MinilinenError):
  """A value was touched in another trace than the one it belongs to.

  For user code that raises it or catches it by Flax's name; minilinen leaves the check to JAX.

  Example:
    raise nn.errors.TraceContextError("a value of another trace")
  """

  takes = ("says",)


@dataclass(frozen=True)
class LiftedAt:
  """A boundary as messages speak of it: which transform of what, lifted where; perhaps as a method's decorator."""

  kind: str
  target: str = ""
  source: Source | None = None
  decorates: bool = False

  def __str__(self) -> str:
    return f"nn.{self.kind} of {self.target or 'a function'}"

  def passing_collection(self, col: str) -> str:
    """The code that lets a collection pass."""
    opened = {
      "vmap": f'variable_axes={{..., "{col}": 0}}',
      "scan": f'variable_axes={{..., "{col}": 0}}',
      "remat_scan": f'variable_axes={{..., "{col}": 0}}',
      "while_loop": f'carry_variables="{col}"',
      "map_variables": "variables=True, mutable=True",
    }.get(self.kind, "variables=True")
    return self.call(f"{opened}, ...")

  def passing_stream(self, stream: str) -> str:
    """The code that lets a random stream pass."""
    splits = self.kind in ("vmap", "scan", "remat_scan", "while_loop")
    return self.call(f'split_rngs={{..., "{stream}": True}}, ...' if splits else "rngs=True, ...")

  def call(self, options: str) -> str:
    """The call of the transform with options."""
    target = "f" if self.target == "<lambda>" else self.target or "..."
    first = "cond_fn, body_fn, self, init" if self.kind == "while_loop" else target
    if self.decorates:
      return f"@functools.partial({', '.join(filter(None, (f'nn.{self.kind}', options)))})"
    return f"nn.{self.kind}({', '.join(filter(None, (first, options)))})"


class LeakedTracerWarning(MinilinenWarning):
  """A variable was written inside a JAX transform that its module is outside of: what was written is a tracer.

  Example:
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return jax.jit(nn.Dense(4))(x)
    Net().init(key, x)
  """

  says = (
    "Variable {name!r} of collection {col!r} in {path!r} is written inside {inside}{by}: the value cannot leave the "
    "transform, and is a tracer afterwards."
  )
  expected = "a lifted transform, which hands variables out"
  found = "{kind} around a call of the module"

  def __init__(self, col: str, name: str, path: str, kind: str, lift: LiftedAt | None = None):
    right = _LIFTED.get(kind, "")
    if col != "params":
      right = right.replace(
        'variable_broadcast="params"', f'variable_broadcast="params", variable_carry="{col}"'
      )
    case: dict[str, Any] = dict(inside=kind, by="", right=right.replace("COL", col))
    if not right:
      mend = f"call the module before {kind}, which then only reads its variables."
      case |= dict(expected="variables written outside of it", mend=mend)
    if lift is not None:
      case = dict(inside=lift, by=", by a module from outside of it", **_closing_over(lift))
    super().__init__(col=col, name=name, path=path, kind=kind, **case)


class ReusedKeyWarning(MinilinenWarning):
  """One key is drawn for all elements of a vmap, or for all steps of a loop.

  Example:
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return jax.vmap(nn.Dropout(0.5, deterministic=False))(x)
    Net().apply({}, x, rngs={"dropout": key})
  """

  says = "{path!r} draws one key of the stream {stream!r} inside {inside}: every {each} gets the same random numbers."
  expected = "a key for each {each}"
  found = "{kind} around a call of the module"
  right = '{lifted}(..., split_rngs={"{stream}": True})'

  def __init__(self, stream: str, path: str, kind: str, lift: LiftedAt | None = None):
    lifted = {"jax.vmap": "nn.vmap", "jax.lax.while_loop": "nn.while_loop"}.get(kind, "nn.scan")
    case = dict(inside=kind) if lift is None else dict(inside=lift, **_closing_over(lift))
    each = "element" if kind == "jax.vmap" else "step"
    super().__init__(stream=stream, path=path, kind=kind, each=each, lifted=lifted, **case)


_LIFTED = {
  "jax.vmap": 'nn.vmap(nn.Dense, variable_axes={"COL": 0}, split_rngs={"params": True})(4)(x)',
  "jax.jit": "nn.jit(nn.Dense)(4)(x)",
  "jax.checkpoint": "nn.remat(nn.Dense)(4)(x)",
  "jax.lax.scan": 'nn.scan(Cell, variable_broadcast="params", split_rngs={"params": False})(4)(carry, xs)',
}


def _closing_over(lift: LiftedAt) -> dict[str, Any]:
  """What to say of a lifted function that closes over a module, with the code that doesn't."""
  return {
    "lift": lift,
    "expected": "modules that the lifted function is given, or makes",
    "found": "a module that the lifted function closes over",
    "wrong": f"layer = nn.Dense(3); nn.{lift.kind}(lambda module, x: layer(x), ...)(self, x)",
    "right": f"nn.{lift.kind}(lambda module, x: nn.Dense(3)(x), ...)(self, x)",
  }


class StackedKeyWarning(MinilinenWarning):
  """Parameters that are stacked, one for each element, all got one key: they are all the same.

  Example:
    nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": False})(4).init(key, x)
  """

  takes = ("name", "path", "lift")
  says = (
    "Parameter {name!r} in {path!r} has one entry for each element of {lift}, and all were made with one "
    "key: they are equal."
  )
  expected = 'split_rngs={"params": True}'
  found = '"params" on an axis of its own, and its stream not split'

  def __init__(self, name: str, path: str, lift: LiftedAt):
    super().__init__(name, path, lift, right=lift.passing_stream("params"))


class ServedByParamsWarning(MinilinenWarning):
  """A random stream was meant to be passed, and "params" served for it without a word.

  Example:
    nn.Dropout(0.5, deterministic=False).init({"params": key, "dropuot": key}, x)
  """

  says = '{path!r} draws from the stream {stream!r}, which was not passed: "params" serves for it.{hint}'
  expected = "a key for {stream!r}"
  found = "{streams:listed}"
  right = 'rngs={"{stream}": key, ...}'

  stopped = '{path!r} draws from the stream {stream!r}, which stops at {lift}: "params" serves for it.'

  def __init__(self, stream: str, path: str, passed: Iterable[str], lift: LiftedAt | None = None):
    streams, case = list(passed), {}
    if lift is not None:
      case = dict(says=self.stopped, lift=lift, right=lift.passing_stream(stream), found='a key of "params"')
      case["expected"] = "the stream {stream!r}, which was passed to the run"
    super().__init__(stream=stream, path=path, streams=streams, hint=misspelt(stream, streams), **case)


class DroppedValueWarning(MinilinenWarning):
  """A value was sown, or a perturbation point passed, where a boundary keeps the collection out.

  Example:
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        self.sow("intermediates", "x", x)
        return x
    nn.vmap(Net)().apply({}, x, mutable=["intermediates"])
  """

  takes = ("verb", "col", "name", "path", "lift")
  says = "{path!r} {verb} {name!r}, but collection {col!r} stops at {lift}: nothing is kept."
  expected = "collection {col!r} on both sides of the boundary"
  found = "a boundary that does not pass it on"

  def __init__(self, verb: str, col: str, name: str, path: str, lift: LiftedAt):
    super().__init__(verb, col, name, path, lift, right=lift.passing_collection(col))


class StaticArgumentWarning(MinilinenWarning):
  """The static arguments of a lifted transform are not those that should be; the module is number 0.

  Example:
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, train):
        return x
    nn.remat(Net, static_argnums=(1,))().apply({}, x, True)
  """

  says = "The static arguments of {lift} are off: {off} The arguments are counted so: {counted}."
  expected = "no static argument that is an array"
  found = "static_argnums={static}"

  named = (
    "The static arguments of {lift} are off: {by_name!r} is passed by name, and only arguments passed by position are "
    "counted: {counted}."
  )

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
    fits = f"static_argnums={tuple(right)}" if right else ""
    case = dict(right=lift.call(fits)) | (dict(expected=fits) if right else {})
    if by_name:
      call = ", ".join(names[1:])
      case = dict(
        says=self.named,
        expected="{by_name!r} passed by position",
        found="{by_name}=..., static_argnums={static}",
        wrong=f"module({call}, {by_name}=True)",
        right=f"module({call}, True)",
      )
    super().__init__(
      lift=lift,
      path=path,
      off=wrong,
      static=tuple(static),
      counted=", ".join(f"{i} {name}" for i, name in enumerate(names)),
      by_name=by_name,
      **case,
    )


class CarryError(MinilinenError, TypeError):
  """The carry of a scan goes in as one thing and comes out as another.

  Example:
    class Step(nn.Module):
      @nn.compact
      def __call__(self, carry, x):
        return (carry, x), x
    nn.scan(Step)().apply({}, jnp.zeros(()), x)
  """

  takes = ("what", "lift", "path", "before", "after")
  says = "{what} changes in {lift}: it goes in as {before} and comes out as {after}."
  mend = "return what went in, with the same shape and dtype, or begin with a carry as the body returns it."


class CarriedCollectionError(MinilinenError, TypeError):
  """A variable was created in a collection that a scan carries.

  Example:
    class Step(nn.Module):
      @nn.compact
      def __call__(self, carry, x):
        self.variable("state", "count", lambda: jnp.zeros(()))
        return carry, x
    nn.scan(Step, variable_carry="state")().init(key, jnp.zeros(()), x)
  """

  takes = ("col", "names", "lift", "path")
  says = (
    "Collection {col!r} is carried by {lift}, and the body creates {names:listed} in it: what is carried must be "
    "there before the loop begins."
  )
  mend = "create the variables before the {kind}, which then carries them{or_stack}."

  def __init__(self, col: str, names: Sequence[str], lift: LiftedAt, path: str):
    or_stack = f', or give each step its own: variable_axes={{"{col}": 0}} instead of variable_carry'
    super().__init__(col, names, lift, path, kind=lift.kind, or_stack=or_stack if lift.kind == "scan" else "")


class BranchesDifferError(MinilinenError, TypeError):
  """The branches of a `cond` or `switch` give results or variables of different kinds.

  Example:
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.cond(True, lambda self, x: x, lambda self, x: x[0], self, x)
    Net().init(key, x)
  """

  takes = ("what", "lift", "path", "first", "other", "number")
  says = "The branches of {lift} differ: {what} is {first} in branch 0 and {other} in branch {number}."
  mend = "every branch must give the same structure, shapes and dtypes."

  changed = "a branch that sets a variable must keep its shape and dtype."
  sown = "let every branch create it, or create it before nn.{kind}."
  made = (
    "at init call what the branches use before them: if self.is_initializing(): self.layer(x). Make it in setup, or "
    "before nn.{kind}, and pass it as an argument."
  )

  def __init__(
    self, what: str, lift: LiftedAt, path: str, first: str, other: str, number: int, kind: str = "result"
  ):
    mend = {"changed": self.changed, "sown": self.sown, "made": self.made}.get(kind, self.mend)
    super().__init__(what, lift, path, first, other, number, kind=lift.kind, mend=mend)
