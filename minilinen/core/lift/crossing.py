"""One run of a lifted transform: out of the outer scopes, through JAX, and back.

JAX transforms pure functions; a function of a scope reads and writes a tree. A `Crossing` takes the variables and keys
out of the outer scopes as plain arguments. Whatever JAX makes of them, its body opens inner scopes of what arrives,
runs the user's function, and hands out the variables that it leaves; and they are written into the outer scopes. It is
the only place where a boundary enters the trace. Mostly one scope crosses, the only one of `tops`; several do if the
module has others in its attributes or among its arguments.

    @lifted("Jit")
    def jit(target, variables=True, rngs=True):
      boundary = Boundary("jit", target, (passing(variables),), (passing(rngs),))

      @behind(boundary)
      def call(module, *args):
        with Crossing(boundary, module, args) as crossing:
          @jax.jit
          def body(variables, keys, *args):
            with crossing.inside(variables, keys, args) as inner:   # scopes of what arrived
              y = inner.run()                                       # the user's function
              return inner.leave(y)                                 # variables of what leaves
          return crossing.back(*body(*crossing.groups(), *crossing.args))

      return call
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

from minilinen.core import home, lifted_mistakes
from minilinen.core.boundary import Boundary, grouped, taking
from minilinen.core.filters import CollectionFilter, in_filter, intersect_filters
from minilinen.core.frozen_dict import FrozenDict, unfreeze
from minilinen.core.lift.carriers import carrier_of
from minilinen.core.lift.form import Form
from minilinen.core.lift.targets import Target
from minilinen.core.meta import laid_out
from minilinen.core.run_span import store, within
from minilinen.core.scope import Scope
from minilinen.core.tree import Behind, Tree
from minilinen.tracing import events
from minilinen.tracing.paths import ROOT, Path
from minilinen.tracing.rebuilt import leaves
from minilinen.tracing.recorder import current
from minilinen.tracing.spec import Value, boxed, describe

Groups = tuple[tuple[dict[str, Any], ...], ...]
"""Group by group, scope by scope: collection -> variables, or stream -> key."""


def behind(boundary: Boundary) -> Callable[[Callable[..., Any]], Any]:
  """Says of a function of a module, of a scope, or of any pytree of scopes, that it runs another behind a boundary."""

  def decorate(call: Callable[..., Any]) -> Any:
    functools.update_wrapper(call, boundary.target.fn)
    vars(call)["lifted"] = {boundary.kind, *getattr(boundary.target.fn, "lifted", ())}
    return call

  return decorate


class Crossing:
  """The `with` block of one run of a lifted transform: the outer scopes, and the way in and out.

  Attributes:
    boundary: what passes, and how.
    given: the arguments of the call, as seen from outside.
    args, kwargs: the same as they go through JAX.
    carrier: what the function was called with first.
    form, tops: the scopes that cross, and how others are found from them.
    path: where it happens: the path of the scope that is lifted; others came along.
    again: for messages: what the body makes of what it was given, found out by another run of it.
    odd: for messages: what the body of a scan gave back, if that is no pair.
  """

  def __init__(
    self, boundary: Boundary, first: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any] = FrozenDict()
  ):
    if kwargs and not boundary.takes_keywords:
      message = f'kwargs are not supported in {boundary.kind}, so "{", ".join(kwargs)}" is(are) ignored'
      warnings.warn(message, RuntimeWarning, stacklevel=4)
      kwargs = {}
    self.boundary = boundary
    self.given = args, kwargs
    self.carrier, self.args, self.kwargs = carrier_of(first, args, kwargs, boundary.target, boundary.kind)
    scopes = self.carrier.scopes
    for scope in scopes:
      scope.check_valid()
    self.form, self.tops = Form.of(scopes)
    self.path = scopes[self.carrier.own].path if scopes else ROOT
    self.again: Callable[[], Any] | None = None
    self.odd: tuple[str, int] | None = None
    self._span: Any = None
    self._seen_inside: dict[tuple[Any, ...], Value] = {}
    self._seen_outside: dict[tuple[Any, ...], tuple[Value, bool]] = {}

  def __enter__(self) -> Self:
    recorder = current()
    if recorder is not None:
      b, (args, kwargs) = self.boundary, self.given
      module = b.target.base.__name__ if b.target.base is not None else self.carrier.class_name
      tree = self.tops[0].tree if self.tops else None
      self._span = within(recorder, tree).span(
        events.Lift, self.path, kind=b.kind, target=b.target.name, module=module,
        method=getattr(b.target.fn, "__name__", ""), collections=taking(b.collections),
        streams=taking(b.streams), options=describe(b.options), args=describe(args), kwargs=describe(kwargs),
        static=b.static,
      )  # fmt: skip
      self._span.__enter__()
    return self

  def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
    better = lifted_mistakes.explained(error, self) if isinstance(error, Exception) else None
    if self._span is not None:
      self._span.__exit__(kind, better or error, traceback)
    if better is not None:
      raise better from None

  def groups(self, streams: Sequence[dict[str, Any]] = ()) -> tuple[Groups, Groups]:
    """The variables and keys of the outer scopes, by group and scope; those with gradients as plain dicts.

    Args:
      streams: the random streams of those that cross, if they are not the scopes' own.
    """
    b = self.boundary
    variables = _transposed([grouped(top.tree.collections(top.path), b.ins) for top in self.tops], len(b.ins))
    self._note(variables, False)
    variables = tuple(
      tuple(unfreeze(filled(cols)) for cols in group) if passing.kind == "differentiated" else group
      for passing, group in zip(b.ins, variables)
    )
    streams = streams or [top.rngs for top in self.tops]
    return variables, _transposed([grouped(rngs, b.streams) for rngs in streams], len(b.streams))

  def inside(
    self,
    variables: Groups,
    keys: Groups,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = FrozenDict(),
    target: Target | None = None,
    name: str = "body",
    mutable: CollectionFilter = True,
  ) -> Inside:
    """For a `with` block, the other side: one pass over the body `name` with inner scopes of what arrived.

    Args:
      variables, keys, args, kwargs: what arrived.
      target: the user's function, if it is another than the one that is lifted.
      mutable: filter of what may be written there, if it may be outside and comes back.
    """
    scopes = self.opened(variables, keys, mutable)
    return Inside(self, scopes, target or self.boundary.target, args, kwargs, name)

  def opened(self, variables: Groups, keys: Groups, mutable: CollectionFilter = True) -> list[Scope]:
    """The inner scopes of what arrived."""
    return [_inner(self, i, variables, keys, mutable) for i in range(len(self.tops))]

  def leave(self, inner: Sequence[Scope]) -> Groups:
    """The mutable variables of the inner scopes, by group and scope."""
    out = []
    for top, scope in zip(self.tops, inner):
      scope.check_valid()
      variables = {c: v for c, v in scope.tree.variables.items() if scope.is_mutable_collection(c)}
      self.note_inside(top, variables)
      out.append(grouped(variables, self.boundary.outs))
    return _transposed(out, len(self.boundary.outs))

  def back(self, y: Any, groups: Groups) -> Any:
    """The result, when the variables that came out are written into the outer scopes."""
    for group in groups:
      for top, collections in zip(self.tops, group):
        for col, tree in collections.items():
          if top.is_mutable_collection(col):
            for name, value in tree.items():
              store(current(), top.tree, col, top.path, name, value)
    self._note(groups, True)
    if self._span is not None:
      self.tell(result=describe(y), variables=self._lifted_variables())
    return y

  # The trace.

  def pass_over(self, name: str, args: Any, kwargs: Any) -> AbstractContextManager[object] | None:
    """The span of one pass over a body, if somebody records."""
    recorder = current()
    if recorder is None:
      return None
    lift = self._span.draft if self._span is not None and self._span.recorder is recorder else None
    return recorder.body(lift, self.path, name, args=describe(args), kwargs=describe(dict(kwargs)))

  def tell(self, **fields: Any) -> None:
    """Says more about the span that is open, of the boundary or of a pass, if somebody records."""
    if (recorder := current()) is not None:
      recorder.innermost().set(**fields)

  def note_inside(self, top: Scope, variables: Mapping[str, Any]) -> None:
    """Keeps what variables look like in the body."""
    if current() is not None:
      self._seen_inside.update(_leaves(top, variables))

  def _note(self, groups: Groups, written: bool) -> None:
    if current() is not None:
      for group in groups:
        for top, variables in zip(self.tops, group):
          self._seen_outside.update((key, (value, written)) for key, value in _leaves(top, variables))

  def _lifted_variables(self) -> tuple[events.Lifted, ...]:
    """Every variable that crossed, with its specs inside and outside."""
    return tuple(
      events.Lifted(path, col, name, self._seen_inside.get((path, col, name)), value, written)
      for (path, col, name), (value, written) in self._seen_outside.items()
    )


class Inside:
  """One pass over a body: the inner scopes, which end with it, and the call of the user's function there.

  Attributes:
    scopes: one for each that crosses.
    run: calls the function.
  """

  __slots__ = ("scopes", "run", "_crossing", "_call", "_body", "_running", "_span")

  def __init__(
    self, crossing: Crossing, scopes: list[Scope], target: Target, args: Any, kwargs: Any, name: str
  ):
    self.scopes = scopes
    self._crossing = crossing
    self._call = target, args, kwargs
    self._running: Any = home.InBody(scopes[0].tree) if scopes else contextlib.nullcontext()
    self._span = crossing.pass_over(name, args, kwargs)

  def __enter__(self) -> Self:
    self._running.__enter__()
    if self._span is not None:
      self._span.__enter__()
    try:
      self._body = self._crossing.carrier.call(self._crossing.form.opened(self.scopes), *self._call)
      self._body.__enter__()
    except BaseException as error:
      self._end(type(error), error, error.__traceback__)
      raise
    self.run = self._body.run
    return self

  def __exit__(self, *error: Any) -> None:
    try:
      self._body.__exit__(*error)
    finally:
      self._end(*error)

  def _end(self, *error: Any) -> None:
    for scope in self.scopes:
      scope.invalidate()
    if self._span is not None:
      self._span.__exit__(*error)
    self._running.__exit__(*error)

  def leave(self, y: Any) -> tuple[Any, Groups]:
    """The result, and the groups of variables that leave."""
    y = self._body.left(y)
    if self._span is not None:
      self._crossing.tell(result=describe(y))
    return y, self._crossing.leave(self.scopes)


def spoken_of_as(target: Target, body: Callable[..., Any]) -> Callable[..., Any]:
  """A body that JAX calls by the name, file and line of the user's function, in jaxprs, profiles and messages."""
  functools.update_wrapper(body, target.fn)
  body.__signature__ = _ANY  # type: ignore[attr-defined]
  return body


_ANY = inspect.signature(lambda *args, **kwargs: None)


def _inner(
  crossing: Crossing, index: int, variable_groups: Groups, keys: Groups, also: CollectionFilter
) -> Scope:
  """The inner side of an outer scope."""
  top, boundary = crossing.tops[index], crossing.boundary
  mutable = intersect_filters(intersect_filters(top.mutable, boundary.mutable), also)
  variables: dict[str, Any] = {}
  for group in variable_groups:
    for col, tree in group[index].items():
      variables[col] = unfreeze(tree) if in_filter(mutable, col) else tree
  rngs = {stream: key for group in keys for stream, key in group[index].items()}
  tree = Tree(variables, rngs, mutable, top.flags, top.path, Behind(top.tree, boundary))
  crossing.note_inside(top, variables)
  return Scope.at(tree, top.path, top.rng_counters)


def filled(collections: dict[str, Any]) -> dict[str, Any]:
  """The collections that have something in them: of others there is nothing to compile and no gradient."""
  return {col: tree for col, tree in collections.items() if tree}


def _transposed(by_scope: Sequence[Sequence[dict[str, Any]]], groups: int) -> Groups:
  return tuple(tuple(scope[i] for scope in by_scope) for i in range(groups))


def _leaves(top: Scope, variables: Mapping[str, Any]) -> Iterator[tuple[tuple[Any, ...], Value]]:
  """Every variable below a scope as ((path, collection, name), spec)."""
  for place, value in leaves(variables):
    if not isinstance(value, Mapping):
      col, *names, name = place
      yield (Path((*top.path, *names)), col, name), boxed(describe(laid_out(value)))[0]
