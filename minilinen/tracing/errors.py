"""May be skipped: what is said when a trace is asked for what it does not have, in one place.

They stand here and not in `minilinen.errors`, which is built on traces and lists them too. A class shows what it will
say as a literal, with names for the facts that fill it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minilinen.spelling import near


class TraceError(Exception):
  """Base of what is wrong with a question to a trace, or with a trace in a file.

  Facts are given by their names; the message alone, as when it is read back from a pickle, is taken as it is.
  """

  says = ""

  def __init__(self, message: str = "", **facts: Any):
    super().__init__(message or self.says.format(**facts))

  def __str__(self) -> str:
    return self.args[0]


class NoEquationsError(TraceError, ValueError):
  """A trace was asked for what is known from the equations of a run, and has none.

  Example:
    with nn.record() as trace:
      nn.Dense(4).init(key, x)
    trace.cost()
  """

  says = (
    "this trace has no equations, since its code really ran or ended in an exception: record it with"
    " minilinen.trace(function)(...), which runs nothing and keeps JAX's equations."
  )


class UnknownEquationError(TraceError, KeyError):
  """A trace was asked for the owner of an equation that it does not have.

  Example:
    trace = nn.trace(nn.Dense(4).init)(key, x)
    trace.owner(jax.make_jaxpr(jnp.sin)(1.0).eqns[0])
  """

  says = "this {primitive} is no equation of this trace. trace.equations() lists those that are."


class SharedEquationError(UnknownEquationError):
  """A trace was asked for the owner of an equation that has several.

  Example:
    class Two(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4, name="a")(x) + nn.Dense(4, name="b")(x)
    trace = nn.trace(Two().init)(key, x)
    bodies = [e.params["jaxpr"].jaxpr for e in trace.jaxpr.eqns if "jaxpr" in e.params]
    [trace.owner(inner) for body in bodies for inner in body.eqns]
  """

  says = (
    "this {primitive} stands in a function that JAX traced once for several modules: {owners}."
    " Ask for each of its places: trace.equations()."
  )


class NotFoundError(TraceError, KeyError):
  """Base of questions for something at a path at which it is not; what comes nearest is told."""

  otherwise = ""

  @classmethod
  def of(cls, path: str, known: Iterable[str]) -> NotFoundError:
    """With the paths that would be right."""
    close = near(path, list(known), 3)
    nearest = f"The nearest are {', '.join(map(repr, close))}." if close else cls.otherwise
    return cls(path=path, nearest=nearest)


class NoSuchPathError(NotFoundError):
  """A trace was asked for a module path at which nothing was called.

  Example:
    nn.trace(nn.Dense(4).init)(key, x)["Dense_1"]
  """

  says = "no module was called at {path!r} in this trace. {nearest}"
  otherwise = "`trace.paths` lists what there is."


class NoSuchModuleError(NotFoundError):
  """A model was asked for a module that it does not have.

  Example:
    nn.trace(nn.Dense(4).init)(key, x).models[0]["Dense_1"]
  """

  says = "no module at {path!r} in this model. {nearest}"
  otherwise = "`model.paths` lists what there is."


class NoSuchCostError(NotFoundError):
  """A cost was asked for a part that it does not have.

  Example:
    nn.trace(nn.Dense(4).init)(key, x).cost()["Dense_1"]
  """

  says = "no module at {path!r} took part in this cost. {nearest}"
  otherwise = "`cost.walk()` lists all modules."


class DimensionMissingError(TraceError, ValueError):
  """A formula was to be given a number, and a dimension in it has none.

  Example:
    nn.trace(nn.Dense(4).init)(key, "f32[b,3]").at(c=8)
  """

  says = "the dimension {name!r} of {formula} has no number.{hint} Write .at({name}=8, ...)."


class SpecError(TraceError, ValueError):
  """A string that should say a shape and dtype, as in "f32[8,28,28,1]", does not.

  Example:
    nn.trace(nn.Dense(4).init)(key, "f33[8,3]")
  """

  says = (
    "{text!r} is no array spec: {why}. A spec is a dtype and its dimensions, numbers or"
    ' names: "f32[8,28,28,1]", "bf16[b,t,512]", "i32[]", "u32[2]".'
  )


class TraceFileError(TraceError, ValueError):
  """A saved trace cannot be read.

  Example:
    from minilinen.tracing import Trace
    Trace.from_json("{}")
  """

  says = "{file}: {what}. {mend}"


class NotTraceableError(TraceError, TypeError):
  """`nn.trace` was given something that cannot be called.

  Example:
    nn.trace(nn.Dense(4).init(key, x))
  """

  says = (
    "nn.trace takes a function that runs modules, as model.init, but got {found}. Give it the function, and the"
    " arguments to what comes of it: nn.trace(model.init)(key, x)."
  )


class NoSuchRootKeyError(TraceError, KeyError):
  """A recorded key was to be drawn again, and the root key of its stream was not given.

  Example:
    trace = nn.trace(nn.Dense(4).init)(key, x)
    nn.replay_key(next(r for r in trace if hasattr(r, "served")), {"dropout": key})
  """

  says = (
    "the key that was drawn {where} comes of the root key of the stream {stream!r}, which is not among those given:"
    " {known}. Give the key that the run had for it: replay_key(event, {{{stream!r}: key}})."
  )


class LoopStepMissingError(TraceError, ValueError):
  """A key that was drawn in a `while_loop` was to be drawn again, and it was not said in which step.

  Example:
    class Loop(nn.Module):
      @nn.compact
      def __call__(self, x):
        def body(module, i):
          module.make_rng("noise")
          return i + 1
        return nn.while_loop(lambda module, i: i < 3, body, self, 0, split_rngs={"noise": True})
    trace = nn.trace(Loop().apply)({}, x, rngs={"noise": key})
    nn.replay_key(next(r for r in trace if hasattr(r, "served")), key)
  """

  says = (
    "the key of the stream {stream!r} that was drawn {where} is another in every step of {loops}, and the number of"
    " the step is given for {given} of them. Say it, the outermost loop first: replay_key(event, roots, steps={steps})."
  )


class UnknownKeyStepError(TraceError, ValueError):
  """A key was to be drawn again from a record that derives it in a way that is none.

  Example:
    import dataclasses
    trace = nn.trace(nn.Dense(4).init)(key, x)
    event = next(r for r in trace if hasattr(r, "served"))
    nn.replay_key(dataclasses.replace(event, steps=(("turn", 3),)), key)
  """

  says = (
    "{step!r}, by which the key that was drawn {where} is said to be derived, is no step of a derivation; there are"
    " ('fold', part, ...), ('fold_sep', part, ...), ('split', n) and ('step', sign). Take the record as the trace"
    " has it."
  )
