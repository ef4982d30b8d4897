"""Recording a run: `nn.record()` for code that really runs, `nn.trace(fn)` for code that should not.

Both open a recorder for this task, and both have JAX trace for their length what it has traced already: a function
that JAX finds in its cache is not run by Python, and what is in it would be missed.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import jax

from minilinen.tracing import caches
from minilinen.tracing.equations.leaves import leaves_in, take_out
from minilinen.tracing.equations.program import OfRun, Unread
from minilinen.tracing.errors import NotTraceableError
from minilinen.tracing.inputs import abstract, separate
from minilinen.tracing.paths import Path
from minilinen.tracing.recorder import Recorder, in_words, recording
from minilinen.tracing.spec import Value, describe, is_array
from minilinen.tracing.trace import Trace
from minilinen.tracing.tracebacks import entry


@contextlib.contextmanager
def record() -> Iterator[Trace]:
  """Records what modules do in a `with` block, in this task of this thread.

  Inside the block and after an exception the trace shows what there is so far. A recording inside
  a recording takes the events for itself: the outer one does not see them.

  Functions that JAX has compiled before are traced once more each time they are called, as their insides would be
  missed otherwise; they are not compiled again.

  >>> with record() as trace:
  ...   pass
  >>> trace
  <Trace: 0 modules, 0 variables, 0 keys>
  """
  with _record(Recorder()) as trace:
    yield trace


@contextlib.contextmanager
def _record(recorder: Recorder) -> Iterator[Live]:
  live = Live(recorder)
  try:
    with recording(recorder), caches.opened(recorder):
      yield live
  except BaseException as error:
    live.end(error=in_words(error))
    raise
  live.end()


class Live(Trace):
  """The trace of a recording: while it runs each look shows what is there by now, and then it is frozen as any other.

  What a trace is and what is kept of it (its fields, and what it computes once) is that of a frozen trace, which is
  made anew at each look as long as there is a recorder.
  """

  def __init__(self, recorder: Recorder):
    self._recorder: Recorder | None = recorder
    self._facts: dict[str, Any] = {}
    self._frozen = Trace()

  def now(self) -> Trace:
    """The frozen trace of what is there."""
    if (recorder := self._recorder) is not None:
      items = recorder.freeze()
      self._frozen = Trace(items, trees=recorder.trees, **self._facts)
    return self._frozen

  def learn(self, **facts: Any) -> None:
    """Facts that are known besides the records, by the names of the fields."""
    self._facts.update(facts)

  def end(self, **facts: Any) -> None:
    """Takes what the recorder has and parts from it."""
    self.learn(**facts)
    self.now()
    self._recorder = None

  def __repr__(self) -> str:
    text = repr(self.now())
    return text if self._recorder is None else text.removesuffix(">") + ", still recording>"


def _looked_up(name: str) -> property:
  return property(lambda live: getattr(live.now(), name))


_KEPT = [name for name, value in vars(Trace).items() if isinstance(value, functools.cached_property)]
for _field in (*(f.name for f in fields(Trace)), *_KEPT):
  setattr(Live, _field, _looked_up(_field))


def trace(fn: Callable[..., Any]) -> Callable[..., Trace]:
  """A function that runs `fn` on shapes only and returns the `Trace` of it, like `jax.make_jaxpr`.

  Nothing is computed and no array is allocated.

  Args:
    fn: any function that runs modules: `model.init`, a training step.

  Returns:
    A function of the arguments of `fn`. Arrays, `ShapeDtypeStruct`s and spec strings ("f32[b,28,28,1]",
    "key<fry>[]") in them become abstract; all else reaches `fn` as it is. If `fn` raises, the exception
    has the partial trace as its attribute `trace`.

  Raises:
    NotTraceableError: if `fn` is no function.

  >>> trace(lambda x: x * 2)("f32[b,3]").result
  Spec(shape=('b', 3), dtype='float32', weak_type=False, sharding='')
  """
  if not callable(fn):
    raise NotTraceableError(found=_in_short(fn))

  @entry
  @functools.wraps(fn)
  def traced(*args: Any, **kwargs: Any) -> Trace:
    args, kwargs = abstract((args, kwargs))
    recorder = Recorder(marking=True)
    with _record(recorder) as live:
      live.learn(name=_name(fn), args=describe(args), kwargs=describe(kwargs))
      try:
        closed, names, result, results = _run_abstractly(fn, args, kwargs)
        recorder.program = (closed, names)
      except BaseException as error:
        with contextlib.suppress(Exception):
          error.trace = live  # type: ignore[attr-defined]
        raise
    jaxpr, of_runs = take_out(closed.jaxpr)
    shared = {t.run.order: t.trees for t in recorder.runs if t.run.holds and len({*t.trees}) > 1}
    marked = tuple(recorder.marked_calls())
    code = Unread(jaxpr, marked, names, results, _of_runs(recorder, of_runs, shared), shared)
    return replace(live.now(), result=result, code=code)

  return traced


def _of_runs(
  recorder: Recorder, taken_out: Mapping[int, list[tuple[int, Any]]], shared: Mapping[int, Any]
) -> dict[int, list[OfRun]]:
  """What an `init` returned, and where runs that are `shared` begin, by the `id` of the jaxpr in which it stands."""
  outputs = {id(leaves): run.order for run, leaves in recorder.outputs if run.holds}
  begins = {id(t.given): t.run.order for t in recorder.runs if t.run.order in shared and t.run.holds}
  found: dict[int, list[OfRun]] = {}
  for place, equations in taken_out.items():
    for before, equation in equations:
      its = leaves_in(equation)
      leaves = id(its[0]) if its is not None else 0
      if leaves in outputs:
        found.setdefault(place, []).append(OfRun(outputs[leaves], before, tuple(equation.invars)))
      elif leaves in begins:
        found.setdefault(place, []).append(OfRun(begins[leaves], before))
  return found


def _run_abstractly(
  fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[str, ...], Value, tuple[str, ...]]:
  """What a call on shapes leads to: the program, the names of its inputs, the result and the names of its parts."""
  leaves, fill = separate((args, kwargs), is_array)
  seen: list[Any] = []

  def run(*arrays: Any) -> list[Any]:
    args, kwargs = fill([*arrays])
    out = fn(*args, **kwargs)
    seen[:] = describe(out), _leaf_names("", out, _is_number)
    return separate(out, _is_number)[0]

  closed = jax.make_jaxpr(run)(*leaves)
  result, results = seen
  return closed, tuple(_argument_names(fn, args, kwargs)), result, tuple(results)


def _is_number(value: Any) -> bool:
  return is_array(value) or isinstance(value, (int, float, complex))


def _argument_names(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
  """The name of each array in the arguments, by the function's own names: "variables/params/Dense_0/kernel"."""
  alone: list[str] = []
  more = "args"
  with contextlib.suppress(TypeError, ValueError):
    for p in inspect.signature(fn).parameters.values():
      if p.kind is p.VAR_POSITIONAL:
        more = p.name
      elif p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
        alone.append(p.name)
  names = [*alone[: len(args)], *(f"{more}[{i}]" for i in range(len(args) - len(alone)))]
  named = (*zip(names, args), *sorted(kwargs.items()))
  return [leaf for name, value in named for leaf in _leaf_names(name, value, is_array)]


def _leaf_names(name: str, tree: Any, wanted: Callable[[Any], bool]) -> list[str]:
  """The place of each leaf that is wanted: "name/0/kernel"."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  above = Path((name,) if name else ())
  return [Path((*above, *map(_key_name, path))).bare for path, leaf in leaves if wanted(leaf)]


def _key_name(key: Any) -> str:
  return jax.tree_util.keystr((key,), simple=True)


def _name(fn: Any) -> str:
  """A function's name; that of what a partial calls; the class of another callable."""
  while isinstance(fn, functools.partial):
    fn = fn.func
  return getattr(fn, "__name__", type(fn).__name__)


def _in_short(value: Any) -> str:
  """What was passed in the place of a function, in a few words."""
  text = repr(value)
  return text if len(text) <= 40 and "\n" not in text else f"an instance of {type(value).__name__}"
