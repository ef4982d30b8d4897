"""May be skipped: the few names of JAX's that are not public, each behind a function of ours.

If a new JAX moves one of them, this is the only file to mend.
"""

from __future__ import annotations

import sys
import types
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import jax
import numpy as np
from jax import api_util, core
from jax._src import core as inner_core  # `jax.extend` has these too, and imports Pallas
from jax._src import linear_util, source_info_util
from jax.interpreters import ad, batching, mlir, partial_eval

T = TypeVar("T")


class DependsOnInput(Exception):
  """An output depends on an input that is not known; `leaf` is its spec, `path` where it is in the result."""

  def __init__(self, leaf: jax.ShapeDtypeStruct, path: str):
    super().__init__(f"the output {path} of {leaf} depends on an unknown input")
    self.leaf, self.path = leaf, path


def known_outputs(fn: Callable[..., Any], *unknown: Any) -> Any:
  """The result of a function, computed although its arguments are only specs.

  `lazy_init` makes parameters from shapes alone, and a scan makes what all steps share once, before its loop. What does
  not depend on the arguments runs where it stands; the rest is traced and thrown away.

  Args:
    fn: closes over what is known, tracers included; its arguments are unknown.
    *unknown: pytrees of arrays or `ShapeDtypeStruct`s, of which only the shape is used.

  Raises:
    DependsOnInput: if a leaf of the result needs the value of an argument.
  """
  leaves, treedef = jax.tree.flatten(unknown)
  whole = linear_util.wrap_init(fn, debug_info=api_util.debug_info("known", fn, unknown, {}))
  flat, result = api_util.flatten_fun_nokwargs(whole, treedef)
  inputs = [partial_eval.PartialVal.unknown(core.ShapedArray(x.shape, x.dtype)) for x in leaves]
  _, outputs, _ = partial_eval.trace_to_jaxpr_nounits(flat, inputs, False)
  results = jax.tree.unflatten(result(), outputs)
  for path, output in jax.tree_util.tree_leaves_with_path(results):
    if not output.is_known():
      leaf = jax.ShapeDtypeStruct(output.get_aval().shape, output.get_aval().dtype)
      raise DependsOnInput(leaf, jax.tree_util.keystr(path, simple=True, separator="/"))
  return jax.tree.unflatten(result(), [output.get_known() for output in outputs])


def copied_in(fn: Callable[..., T]) -> Callable[..., T]:
  """A function that JAX traces once, and whose equations it copies into every program that calls it.

  A JAX that knows several times for that (`jax.Inline`) shall do it at once, so that no jaxpr has a call instead.
  """
  times = getattr(jax, "Inline", None)
  return jax.jit(fn, inline=True if times is None else times.JAX_EARLY)


def is_staged(x: Any) -> bool:
  """Whether a value stands for one of a program that JAX is writing down, not for a number or a batch of them."""
  return isinstance(x, partial_eval.DynamicJaxprTracer)


def on_name_stack(entry: Any) -> AbstractContextManager[Any]:
  """For a `with` block, an object stands on JAX's stack of names, and comes along with each equation that is traced.

  Args:
    entry: it has a `name`, and a method `wrap` that adds to the names further in when the stack is written out.
  """
  stack = source_info_util.current_name_stack()
  return source_info_util.set_name_stack(type(stack)((*stack.stack, entry)))  # type: ignore[arg-type]


def name_stack(equation: Any) -> Any:
  """The names that were open when an equation was traced, and the transforms it went through; `str` writes them out.

  Its attribute `stack` has the entries, outermost first. In the body of a loop or of a jitted function it begins
  anew: what was open around is said by the outer equation.
  """
  return equation.source_info.name_stack


def frames(equation: Any) -> Iterable[tuple[types.CodeType, int]]:
  """The frames in which an equation was traced, innermost first: the code of each, and where it was in it."""
  traceback = equation.source_info.traceback
  return zip(*traceback.raw_frames()) if traceback is not None else ()


def passed_over(file: str) -> None:
  """Takes a file of ours out of the lines that JAX tells equations and profiles to come from."""
  source_info_util.register_exclusion(file)


def bodies(equation: Any) -> list[Any]:
  """The jaxprs in an equation's parameters, without their constants."""
  found = []
  for value in equation.params.values():
    for part in value if isinstance(value, (tuple, list)) else (value,):
      jaxpr = getattr(part, "jaxpr", part)
      if hasattr(jaxpr, "eqns"):
        found.append(jaxpr)
  return found


ExtendedDType: type = type(jax.eval_shape(jax.random.key, 0).dtype).__mro__[1]
"""The class of dtypes that numpy does not know: that of JAX's keys derives from it."""


def witness(name: str, tell: Callable[..., None]) -> Callable[..., None]:
  """A primitive that takes values and on which nothing depends: it says something of them, and changes nothing.

  Its equations stand in a program as long as the program does, also when JAX throws out what has no effect; but a
  backward pass has none, nor what `remat` computes again. The rest of the program is as it would be without.

  Args:
    name: its name.
    tell: called with the values and the parameters where a transform goes on to other values; it binds them again.

  Returns:
    A function of a transform that is under way, of values that belong to it, and of the parameters.
  """
  primitive = inner_core.Primitive(name)
  nothing = np.False_

  def partly(trace: Any, *values: Any, **params: Any) -> Any:
    known, unknown = {}, {}
    for number, value in zip(params["numbers"], map(trace.to_jaxpr_tracer, values)):
      if value.is_known():
        known[number] = value.pval.get_known()
      else:
        unknown[number] = value
    if known:
      tell(list(known.values()), **{**params, "numbers": tuple(known)})
    if unknown:
      given = {**params, "numbers": tuple(unknown)}
      trace.effect_handles.append(trace.default_process_primitive(primitive, list(unknown.values()), given))
    return nothing

  def again(values: Any, params: dict[str, Any]) -> Any:
    tell(values, **params)
    return nothing

  primitive.def_impl(lambda *values, **params: nothing)
  primitive.def_abstract_eval(lambda *values, **params: core.ShapedArray((), np.dtype(bool)))
  mlir.register_lowering(primitive, lambda context, *values, **params: [mlir.ir_constant(nothing)])
  ad.primitive_jvps[primitive] = lambda values, tangents, **params: (
    again(values, params), ad.Zero(core.ShapedArray((), jax.dtypes.float0)),
  )  # fmt: skip
  batching.primitive_batchers[primitive] = lambda values, axes, **params: (again(values, params), None)
  partial_eval.custom_partial_eval_rules[primitive] = partly
  partial_eval.dce_rules[primitive] = lambda used, *rest: ([True] * len(rest[-1].invars), rest[-1])
  partial_eval.partial_eval_jaxpr_custom_rules[primitive] = lambda saveable, unknown, instantiated, equation: (
    (None if any(unknown) else equation), None, [True], [True], [],
  )  # fmt: skip
  return lambda trace, values, params: trace.process_primitive(primitive, values, params)


def without(jaxpr: Any, name: str) -> tuple[Any, dict[int, list[tuple[int, Any]]]]:
  """A jaxpr without the equations of a witness, at any depth.

  Returns:
    The jaxpr, and for the `id` of it and of each jaxpr in it the equations that stood there, each with the number of
    the one that it stood before.
  """
  known: dict[int, Any] = {}
  left_out: dict[int, list[tuple[int, Any]]] = {}

  def bare(jaxpr: Any) -> Any:
    if id(jaxpr) not in known:
      equations = [_with_bodies(e, bare) for e in jaxpr.eqns if e.primitive.name != name]
      same = len(equations) == len(jaxpr.eqns) and all(a is b for a, b in zip(equations, jaxpr.eqns))
      found = known[id(jaxpr)] = jaxpr if same else jaxpr.replace(eqns=equations)
      if len(equations) < len(jaxpr.eqns):
        its = [(n, e) for n, e in enumerate(jaxpr.eqns) if e.primitive.name == name]
        left_out[id(found)] = [(n - earlier, e) for earlier, (n, e) in enumerate(its)]
    return known[id(jaxpr)]

  return bare(jaxpr), left_out


def _with_bodies(equation: Any, change: Callable[[Any], Any]) -> Any:
  """An equation with other jaxprs in its parameters; the same object if they are the same."""

  def changed(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
      parts = [changed(part) for part in value]
      return value if all(a is b for a, b in zip(parts, value)) else type(value)(parts)
    if hasattr(value, "eqns") and getattr(value, "jaxpr", value) is value:
      return change(value)
    inner = getattr(value, "jaxpr", None)
    if inner is None or not hasattr(inner, "eqns"):
      return value
    new = change(inner)
    return value if new is inner else value.replace(jaxpr=new)

  params = {key: changed(value) for key, value in equation.params.items()}
  same = all(params[key] is value for key, value in equation.params.items())
  return equation if same else equation.replace(params=params)


# Traces: what JAX keeps of each transform that is under way. What cannot be told here is taken for harmless.

REPEATING = ("jax.vmap", "jax.lax.scan", "jax.lax.while_loop", "jax.lax.fori_loop")
"""The transforms that use one value in several places: for all elements, or in every step."""

_BY_CLASS = {"BatchTrace": "jax.vmap", "JVPTrace": "jax.jvp", "LinearizeTrace": "jax.grad"}
_BY_USE = {
  "jit": "jax.jit",
  "scan": "jax.lax.scan",
  "checkpoint / remat": "jax.checkpoint",
  "cond": "jax.lax.cond",
  "while_body": "jax.lax.while_loop",
  "while_cond": "jax.lax.while_loop",
  "fori_loop": "jax.lax.fori_loop",
}
_RUN_ONCE = (_BY_USE["jit"], _BY_USE["checkpoint / remat"])


def current_trace() -> Any:
  """The innermost transform that is under way; eager evaluation counts as one."""
  return inner_core.find_top_trace(())


def outer_trace(trace: Any) -> Any:
  """The transform around a transform, None around the outermost."""
  return getattr(trace, "parent_trace", None)


def bodies_around() -> tuple[Any, ...]:
  """The bodies of loops, branches and custom derivatives that JAX is tracing, the innermost first, as weak references.

  Each pass over one is another. What `jax.jit` and `jax.checkpoint` trace runs as often as it is traced, and is none.
  """
  found, trace = [], current_trace()
  while trace is not None:
    if hasattr(trace, "frame") and transform_of(trace) not in _RUN_ONCE:
      found.append(weakref.ref(trace))
      hash(found[-1])  # while it is there: it has a hash from now on
    trace = outer_trace(trace)
  return tuple(found)


def repeating(value: Any, passed: Sequence[Sequence[Any]] = ()) -> str:
  """The innermost loop or `jax.vmap` around, in each step or for each element of which a value is the same; "" if none.

  Only those are looked at of which it is known that what is traced now runs in each step: not those around a branch.
  Where only derivatives are mapped, as by `jax.jacfwd`, there is one element.

  Args:
    value: what may be a tracer: one of a transform further out is the same for all that is inside of it.
    passed: as for `number_behind`.
  """
  while is_staged(value) and (outer := _argument(value, passed)) is not None:
    value = outer
  trace, its = current_trace(), trace_of(value)
  while trace is not None and trace is not its:
    kind = transform_of(trace)
    if kind in REPEATING:
      return kind
    if kind == "jax.jvp" or (hasattr(trace, "frame") and kind not in _RUN_ONCE):
      return ""
    trace = outer_trace(trace)
  return ""


def trace_of(tracer: Any) -> Any:
  """The transform that a tracer belongs to."""
  return getattr(tracer, "_trace", None)


def number_behind(value: Any, passed: Sequence[Sequence[Any]] = ()) -> Any:
  """The array that a tracer of `grad`, `jvp` or `vmap` has inside; None if it stands for a value of a program.

  Args:
    value: what may be a tracer.
    passed: the arguments of each `jax.jit` that is tracing, the outermost first: a value of such a program that is one
      of its inputs stands for what was passed.
  """
  while isinstance(value, core.Tracer):
    value = _argument(value, passed) if is_staged(value) else _inside(value)
  return value


def traces_behind(value: Any) -> list[Any]:
  """The transforms that a tracer of `grad`, `jvp` or `vmap` goes through, the innermost first."""
  found = []
  while isinstance(value, core.Tracer) and not is_staged(value):
    found.append(trace_of(value))
    value = _inside(value)
  return found


def _inside(tracer: Any) -> Any:
  return getattr(tracer, "primal", getattr(tracer, "val", None))


def _argument(tracer: Any, passed: Sequence[Sequence[Any]]) -> Any:
  """What was passed for an input of a program that `jax.jit` is tracing; None if it is none, or nobody knows."""
  jits, trace = [], current_trace() if passed else None
  while trace is not None:
    jits += [trace] if transform_of(trace) == _BY_USE["jit"] else []
    trace = outer_trace(trace)
  jits.reverse()
  if trace_of(tracer) not in jits or len(jits) != len(passed):
    return None
  inputs, arguments = trace_of(tracer).frame.invars, passed[jits.index(trace_of(tracer))]
  if len(inputs) != len(arguments):
    return None
  return next((leaf for variable, leaf in zip(inputs, arguments) if variable is tracer.val), None)


def transform_of(trace: Any) -> str:
  """What the user calls a transform."""
  used_for = getattr(getattr(getattr(trace, "frame", None), "debug_info", None), "traced_for", None)
  known = _BY_CLASS.get(type(trace).__name__) or _BY_USE.get(str(used_for))
  return known or (f"jax.{used_for}" if used_for else "a JAX transform")


# Where JAX looks into its caches for functions that it has traced before.


def _module_of(thing: Any) -> Any:
  return sys.modules[thing.__module__]


def kept_weakly(kind: type[T]) -> type[T]:
  """A class whose objects, as parameters of equations, JAX's caches don't keep alive."""
  core = getattr(_module_of(partial_eval.DynamicJaxprTracer), "core", None)
  getattr(core, "weakref_cache_key_types", set()).add(kind)
  return kind


def tracing_functions() -> dict[str, tuple[Any, str]] | None:
  """Where JAX keeps the functions that lead to the tracing of another, which is their argument `fun`.

  "jit" traces for `jax.jit`, with the function's `jax.jit` and its arguments behind it, "run" runs what came of that;
  "body" traces for all transforms, and "checkpoint" for `jax.checkpoint`. None if this JAX has them no more.

  Returns:
    For each the module and the name.
  """
  pjit = _module_of(jax.jit(lambda: None).lower)
  found = {
    "jit": (pjit, "_infer_params"),
    "run": (pjit, "_run_python_pjit"),
    "body": (_module_of(partial_eval.DynamicJaxprTracer), "trace_to_jaxpr"),
    "checkpoint": (_module_of(jax.checkpoint), "_trace_to_jaxpr"),
  }
  return found if all(hasattr(module, name) for module, name in found.values()) else None


def without_fast_path(run: tuple[Any, ...]) -> tuple[Any, ...]:
  """What "run" gave, without that by which the next call would not ask Python any more."""
  outs, flat, tree, args, jaxpr, _, *rest = run
  return (outs, flat, tree, args, jaxpr, None, *rest)


def switch(name: str) -> Any:
  """A value of this thread's that is part of the keys by which calls of jitted functions go without Python."""
  kind: Any = type(jax.make_user_context()._obj)
  return kind(name, None, include_in_jit_key=True, include_in_trace_context=False)
