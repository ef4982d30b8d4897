"""Mistakes with JAX's transforms and the lifted ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minilinen.errors.base import MinilinenError
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

  takes = ("target", "kind")
  says = "Linen transformations must be applied to Module classes or functions taking a Module, got {target:short}."
  wrong = "nn.{kind}({module}(...), ...)"
  right = "nn.{kind}({module}, ...)(...)"

  nothing = "nn.{kind}(lambda model, x: model.layer(x), ...)(self, x)"

  def __init__(self, target: Any, kind: str = "vmap"):
    is_module = hasattr(target, "__carry__")
    case = dict(module=type(target).__name__) if is_module else dict(wrong="", right=self.nothing)
    super().__init__(target, kind, **case)


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


class RemovedOptionError(MinilinenError, NotImplementedError):
  """A transform was given an option that JAX no longer has.

  Example:
    nn.remat(nn.Dense, concrete=True)
  """

  takes = ("lift", "option")
  says = "{lift} has no {option} any more."

  @classmethod
  def concrete(cls, lift: LiftedAt, settings: Sequence[int] = ()) -> RemovedOptionError:
    """For `concrete` of `remat`, with the positions of the arguments that are settings."""
    right = lift.call(f"static_argnums={tuple(settings)}, ..." if settings else "...")
    mend = "static_argnums are the positions of arguments that the body looks at; the module is number 0."
    return cls(lift, "concrete", right=right, mend=mend)

  @classmethod
  def reduce_axes(cls, lift: LiftedAt, names: Any) -> RemovedOptionError:
    """For `reduce_axes` of `vjp` and what is made of it."""
    axes = repr(names if isinstance(names, str) else tuple(names))
    mend = "sum what comes out over the axes, for each of the gradients."
    return cls(lift, "reduce_axes", right="jax.lax.psum(gradients, {axes})", axes=axes, mend=mend)


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

  pair = "The body of {lift} must return a pair, the carry and what is stacked, but it returns {after}."
  nothing = "where nothing is to be stacked, None stands in its place."
  together = "what is stacked may be a tuple: return carry, (y, z)."

  @classmethod
  def no_pair(cls, lift: LiftedAt, path: str, carry: str, gave: str, count: int) -> CarryError:
    """For a body that returns one thing, or another number of them than two."""
    right, mend = f"return {carry}, y", cls.together
    if count < 2:
      right, mend = f"return {carry}, None", cls.nothing
    return cls("", lift, path, after=gave, says=cls.pair, right=right, mend=mend)


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
