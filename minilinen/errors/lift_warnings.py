"""What hardly does what it should at JAX's transforms and the lifted ones, and what Flax lets pass: warnings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from minilinen.errors.base import MinilinenWarning, misspelt
from minilinen.errors.lifts import LiftedAt


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
  "jax.checkpoint": "nn.remat(nn.Dense)(...)(x)",
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
