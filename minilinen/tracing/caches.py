"""May be skipped: JAX's caches, while somebody records; `opened` stands around every recording.

A function that JAX has traced before is not run by Python, and the modules in it would be missed. So while a thread
records, this file stands where JAX looks for what it has traced, and has a user's function traced all the same: as a
*clone*, another function that does what it does. JAX keeps what it traced by the function, weakly, and so all of it
goes when the clone does. `nn.trace` takes the program of the clone. Code that really runs takes what JAX has, compiled
or not, and the clone is traced beside it for its events only.

JAX's own functions run no modules and are found where they always are. So is a user's function of which the first
clone led to no event: that one is kept until the recording is over.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import jax

from minilinen import jax_internals
from minilinen.tracing.recorder import Recorder, current

jax_internals.passed_over(__file__)
_PLACES = jax_internals.tracing_functions()
_NOT_THE_USERS = ("jax.", "jaxlib.", "numpy.", "minilinen.core.initial.")

_asks: Any = jax_internals.switch("minilinen.recording")
"""Not None in a thread that records: its calls of jitted functions ask Python. A number, another if one was left on."""

_by_number = jax.make_user_context()
"""Where JAX lacks the places: a number for each recording in the keys of all of its caches."""


@contextlib.contextmanager
def opened(recorder: Recorder) -> Iterator[None]:
  """For the `with` block of a recording, functions that JAX knows are traced again."""
  if _PLACES is None:
    with _by_number(recorder.number):
      yield
    return
  _hooks.open(recorder)
  try:
    yield
  finally:
    _hooks.close(recorder)
    _clones.pop(recorder, None)


class _Hooks:
  """Stands in the places while there are recordings, in any thread."""

  def __init__(self) -> None:
    self._lock = threading.Lock()
    self._open: list[Recorder] = []
    self._originals: dict[str, Any] = {}

  def open(self, recorder: Recorder) -> None:
    """A recording begins."""
    with self._lock:
      if not self._records_here():
        _asks.set_local((_asks.value or 0) + 1)
      self._open.append(recorder)
      if len(self._open) == 1:
        for kind, (module, name) in (_PLACES or {}).items():
          original = getattr(module, name)
          setattr(module, name, _InPlaceOf(original, functools.partial(_ROLES[kind], original)))
          self._originals[kind] = original

  def close(self, recorder: Recorder) -> None:
    """A recording is over."""
    with self._lock:
      self._open.remove(recorder)
      if not self._records_here():
        _asks.set_local(None)
      if not self._open:
        for kind, (module, name) in (_PLACES or {}).items():
          setattr(module, name, self._originals[kind])

  def _records_here(self) -> bool:
    return any(recorder.thread == threading.get_ident() for recorder in self._open)


class _InPlaceOf:
  """Calls one function, and has the attributes of another."""

  def __init__(self, original: Any, by: Callable[..., Any]):
    self._original = original
    self._by = by

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    return self._by(*args, **kwargs)

  def __getattr__(self, name: str) -> Any:
    return getattr(self._original, name)


_hooks = _Hooks()


# What is called in place of JAX's functions.


def _trace_for_jit(original: Any, fun: Any, jit: Any, args: Any, kwargs: Any) -> Any:
  recorder = current()
  if recorder is None:
    return original(fun, jit, args, kwargs)
  runs_modules = _runs_modules(fun) or _passes_modules(args, kwargs)
  if not runs_modules and recorder.marked is not None:
    return original(fun, jit, args, kwargs)
  static = {*getattr(jit, "static_argnums", ()), *getattr(jit, "static_argnames", ())}
  leaves, structure = jax.tree.flatten(
    ([x for n, x in enumerate(args) if n not in static], {n: x for n, x in kwargs.items() if n not in static})
  )
  around = recorder.jitted
  recorder.arrays.passed.append(leaves)
  try:
    if not runs_modules:
      return original(fun, jit, args, kwargs)
    plain = tuple(x for n, x in (*enumerate(args), *kwargs.items()) if n in static)
    recorder.leave_bound()
    recorder.jitted = _numbers_of(recorder, fun, (plain, structure, *map(jax.typeof, leaves)))
    return _with_events(original, fun, jit, args, kwargs)
  finally:
    if recorder.jitted != around:
      recorder.leave_bound()
    recorder.jitted = around
    recorder.arrays.passed.pop()


def _numbers_of(recorder: Recorder, fun: Any, form: tuple[Any, ...]) -> tuple[int, int]:
  """Numbers for what JAX traces once, however often we do, a function with arguments of one form; and the function."""
  if recorder not in _signatures:
    _signatures[recorder] = itertools.count(1), weakref.WeakKeyDictionary()
  numbers, known = _signatures[recorder]
  if fun not in known:
    known[fun] = next(numbers), {}
  of_function, of_form = known[fun]
  if form not in of_form:
    of_form[form] = next(numbers)
  return of_form[form], of_function


_signatures: weakref.WeakKeyDictionary[Recorder, tuple[Iterator[int], weakref.WeakKeyDictionary[Any, Any]]]
_signatures = weakref.WeakKeyDictionary()


def _trace_body(original: Any, fun: Any, *args: Any, **kwargs: Any) -> Any:
  def counted(fun: Any, *args: Any, **kwargs: Any) -> Any:
    before = original.cache_info().misses
    found = original(fun, *args, **kwargs)
    _here.traced += original.cache_info().misses - before
    return found

  return _trace(counted, fun, *args, **kwargs)


def _trace(original: Any, fun: Any, *args: Any, **kwargs: Any) -> Any:
  may = current() is not None and _runs_modules(fun)
  return _with_events(original, fun, *args, **kwargs) if may else original(fun, *args, **kwargs)


def _run(original: Any, program: Any, flat: Any, fun: Any, args: Any, kwargs: Any) -> Any:
  found = original(program, flat, fun, args, kwargs)
  asked_again = _asks.value is not None and (_runs_modules(fun) or _passes_modules(args, kwargs))
  return jax_internals.without_fast_path(found) if asked_again else found


_ROLES = {"jit": _trace_for_jit, "run": _run, "body": _trace_body, "checkpoint": _trace}


class _Here(threading.local):
  """How many functions this thread has traced."""

  traced = 0


_here = _Here()
_clones: weakref.WeakKeyDictionary[Recorder, weakref.WeakKeyDictionary[Any, Any]] = (
  weakref.WeakKeyDictionary()
)


def _with_events(trace: Any, fun: Any, *args: Any, **kwargs: Any) -> Any:
  """What `trace` gives for a function, whose events are recorded."""
  recorder = current()
  if recorder is None or hasattr(fun, "is_clone"):
    return trace(fun, *args, **kwargs)
  if recorder.marked is not None:
    return _cloned_and_traced(recorder, trace, fun, *args, **kwargs)
  before = _here.traced
  found = trace(fun, *args, **kwargs)
  if _here.traced == before:  # JAX had it, and nothing of it has run.
    _cloned_and_traced(recorder, trace, fun, *args, **kwargs)
  return found


def _cloned_and_traced(recorder: Recorder, trace: Any, fun: Any, *args: Any, **kwargs: Any) -> Any:
  known = _clones.setdefault(recorder, weakref.WeakKeyDictionary())
  clone = known.pop(fun, None) or _clone_of(fun)
  events = recorder.emitted
  found = trace(clone, *args, **kwargs)
  if recorder.emitted == events:
    known[fun] = clone
  return found


def _clone_of(fun: Any) -> Any:
  """Another function that does the same, as long as the first one lives."""
  reference: Any = weakref.ref(fun)

  def clone(*args: Any, **kwargs: Any) -> Any:
    return reference()(*args, **kwargs)

  while isinstance(fun, functools.partial) and not hasattr(fun, "__name__"):
    fun = fun.func
  clone.__name__ = getattr(fun, "__name__", "<unnamed function>")
  clone.__qualname__ = getattr(fun, "__qualname__", clone.__name__)
  clone.__module__ = getattr(fun, "__module__", None) or ""
  clone.is_clone = True  # type: ignore[attr-defined]
  return clone


_DEPTH = 3


def _runs_modules(fun: Any, depth: int = _DEPTH) -> bool:
  """Whether a function may run modules: it is a user's, or one of JAX's that calls one of a user's."""
  if type(fun) is types.FunctionType:
    if fun.__closure__ is None or _is_the_users(fun.__module__ or ""):
      return _is_the_users(fun.__module__ or "")
    if depth < _DEPTH:
      return _encloses_some(fun, depth)
    if (known := _known.get(fun)) is None:
      known = _known[fun] = _encloses_some(fun, depth)
    return known
  if not callable(fun) or isinstance(fun, (type, types.BuiltinFunctionType)):
    return False
  if isinstance(fun, weakref.ref):
    return _runs_modules(fun(), depth)
  if isinstance(fun, functools.partial):
    return any(_runs_modules(part, depth) for part in (fun.func, *fun.args, *fun.keywords.values()))
  if _is_the_users(getattr(fun, "__module__", None) or type(fun).__module__):
    return True
  return _encloses_some(fun, depth)


_known: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
"""Of JAX's functions with a closure, whether they may: JAX does not look into closures either when one comes again."""


def _encloses_some(fun: Any, depth: int) -> bool:
  return depth > 0 and any(_runs_modules(part, depth - 1) for part in _enclosed(fun))


@functools.lru_cache(maxsize=4096)
def _is_the_users(module: str) -> bool:
  return not f"{module}.".startswith(_NOT_THE_USERS)


def _enclosed(fun: Any) -> Iterator[Any]:
  """What a function holds in its closure."""
  for cell in getattr(fun, "__closure__", None) or ():
    try:
      yield cell.cell_contents
    except ValueError:  # it is still empty
      continue


def _passes_modules(args: Any, kwargs: Any) -> bool:
  return any(_runs_modules(value) for value in (*args, *kwargs.values()) if callable(value))
