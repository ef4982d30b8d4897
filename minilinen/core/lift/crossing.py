"""One run of a lifted transform: out of the outer scopes, through JAX, and back.

JAX transforms pure functions; a function of a scope reads and writes a tree. A `Crossing` takes the variables and keys
out of the outer scopes as plain arguments. Whatever JAX makes of them, its body opens inner scopes of what arrives,
runs the user's function, and hands out the variables that it leaves; and they are written into the outer scopes. It is
the only place where a boundary enters the trace.

    @lifted("Jit")
    def jit(target, variables=True, rngs=True):
      def across(crossing, variables, keys, *args):
        @jax.jit
        def body(variables, keys, *args):
          with crossing.inside(variables, keys, args) as inner:   # scopes of what arrived
            y = inner.call(target, *args)                         # the user's function
            return inner.leave(y)                                 # variables of what leaves
        return body(variables, keys, *args)
      return around(Boundary("jit", target, (passing(variables),), (passing(rngs),)), across)
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from minilinen.core import home, lifted_mistakes
from minilinen.core.boundary import Boundary, grouped, told
from minilinen.core.filters import CollectionFilter, in_filter, intersect_filters
from minilinen.core.frozen_dict import unfreeze
from minilinen.core.lift.carriers import carried
from minilinen.core.lift.form import Form
from minilinen.core.lift.targets import Target
from minilinen.core.meta import laid_out
from minilinen.core.scope import Scope
from minilinen.core.tree import Behind, Tree
from minilinen.tracing import events
from minilinen.tracing.recorder import Draft, current
from minilinen.tracing.spec import Value, boxed, describe

Groups = tuple[tuple[dict[str, Any], ...], ...]
"""Group by group, scope by scope: collection -> variables, or stream -> key."""


def around(boundary: Boundary, across: Callable[..., Any]) -> Any:
  """The user's function on the other side of a boundary, for one that carries variables and keys through JAX.

  Args:
    boundary: what passes, and how.
    across: called as `across(crossing, variable_groups, key_groups, *args, **kwargs)`; gives the result and the groups
      of variables to write back.

  Returns:
    A function `(module, *args, **kwargs)`, or of a scope, or of any pytree of scopes.
  """

  def lifted(first: Any, *args: Any, **kwargs: Any) -> Any:
    if kwargs and not boundary.takes_keywords:
      message = f'kwargs are not supported in {boundary.kind}, so "{", ".join(kwargs)}" is(are) ignored'
      warnings.warn(message, RuntimeWarning, stacklevel=3)
      kwargs = {}
    crossing = Crossing(boundary, first, args, kwargs)
    with crossing.span() as span:
      try:
        y, written = across(crossing, *crossing.groups(), *crossing.through, **crossing.through_by_name)
      except Exception as error:
        better = lifted_mistakes.explained(error, crossing)
        if better is None:
          raise
        raise better from None
      crossing.write_back(written)
      if span is not None:
        span.set(result=describe(y), variables=crossing.lifted_variables())
    return y

  functools.update_wrapper(lifted, boundary.target.fn)
  lifted.lifted = True  # type: ignore[attr-defined]
  return lifted


class Crossing:
  """One run of a lifted transform: the outer scopes, and the way in and out.

  Attributes:
    boundary: what passes, and how.
    args, kwargs: of the call, as seen from outside.
    through, through_by_name: the same as they go through JAX.
    carrier: what the function was called with first.
    form, tops: the scopes that cross, and how others are found from them.
    target: the scope that is lifted; others came along.
    again: for messages: what the body makes of what it was given, found out by another run of it.
  """

  def __init__(self, boundary: Boundary, first: Any, args: tuple[Any, ...], kwargs: dict[str, Any]):
    self.boundary = boundary
    self.args = args
    self.kwargs = kwargs
    self.carrier, self.through, self.through_by_name = carried(
      first, args, kwargs, boundary.target, boundary.kind
    )
    scopes = self.carrier.scopes
    for scope in scopes:
      scope.check_valid()
    self.form, self.tops = Form.of(scopes)
    self.target: Scope | None = scopes[-1] if scopes else None
    self.again: Callable[[], Any] | None = None
    self._seen_inside: dict[tuple[Any, ...], Value] = {}
    self._seen_outside: dict[tuple[Any, ...], tuple[Value, bool]] = {}

  @property
  def path(self) -> tuple[str, ...]:
    """Where it happens."""
    return self.target.path if self.target is not None else ()

  @property
  def path_text(self) -> str:
    """The same for messages."""
    return self.target.path_text if self.target is not None else ""

  def groups(self) -> tuple[Groups, Groups]:
    """The variables and keys of the outer scopes, by group and scope."""
    b = self.boundary
    variables = _transposed([grouped(top.tree.collections(top.path), b.ins) for top in self.tops], len(b.ins))
    self._note(variables, False)
    return variables, _transposed([grouped(top.rngs, b.streams) for top in self.tops], len(b.streams))

  def inside(
    self,
    variables: Groups,
    keys: Groups,
    args: tuple[Any, ...] = (),
    name: str = "body",
    mutable: CollectionFilter = True,
  ) -> Inside:
    """For a `with` block, the other side: one pass over the body `name` with inner scopes of what arrived."""
    return Inside(self, variables, keys, args, name, mutable)

  def leave(self, inner: Sequence[Scope]) -> Groups:
    """The mutable variables of the inner scopes, by group and scope. The scopes end."""
    out = []
    for top, scope in zip(self.tops, inner):
      scope.check_valid()
      variables = {c: v for c, v in scope.tree.variables.items() if scope.is_mutable_collection(c)}
      self.note_inside(top, variables)
      out.append(grouped(variables, self.boundary.outs))
      scope.invalidate()
    return _transposed(out, len(self.boundary.outs))

  def write_back(self, groups: Groups) -> None:
    """Writes what came out into the outer scopes."""
    for group in groups:
      for top, collections in zip(self.tops, group):
        for col, tree in collections.items():
          if top.is_mutable_collection(col):
            for name, value in tree.items():
              top.tree.store(col, top.path, name, value)
    self._note(groups, True)

  def named(self, body: Callable[..., Any], target: Target | None = None) -> Callable[..., Any]:
    """A body that JAX speaks of by what the user lifted."""
    return spoken_of_as(target or self.boundary.target, body)

  # The trace.

  @contextlib.contextmanager
  def span(self) -> Iterator[Draft | None]:
    """The boundary's span, if somebody records."""
    recorder = current()
    if recorder is None:
      yield None
      return
    b = self.boundary
    module = b.target.base.__name__ if b.target.base is not None else self.carrier.class_name
    with recorder.span(
      events.Lift, self.path, kind=b.kind, target=b.target.name, module=module,
      method=getattr(b.target.fn, "__name__", ""), collections=told(b.collections),
      streams=told(b.streams), options=describe(b.options), args=describe(self.args), kwargs=describe(self.kwargs),
      static=b.static,
    ) as draft:  # fmt: skip
      yield draft

  def tell(self, **fields: Any) -> None:
    """Says more about the boundary, if somebody records."""
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

  def lifted_variables(self) -> tuple[events.Lifted, ...]:
    """Every variable that crossed, with its specs inside and outside."""
    return tuple(
      events.Lifted(path, col, name, self._seen_inside.get((path, col, name)), value, written)
      for (path, col, name), (value, written) in self._seen_outside.items()
    )


class Inside:
  """One pass over a body: the inner scopes.

  Attributes:
    scopes: one for each that crosses.
    call: runs the user's function there: `call(target, *args, **kwargs)`.
  """

  __slots__ = ("scopes", "call", "_crossing", "_running", "_span")

  def __init__(
    self, crossing: Crossing, variables: Groups, keys: Groups, args: Any, name: str, mutable: CollectionFilter
  ):
    self._crossing = crossing
    self.scopes = [_inner(crossing, i, variables, keys, mutable) for i in range(len(crossing.tops))]
    self.call: Any = functools.partial(crossing.carrier.run, crossing.form.opened(self.scopes))
    self._running: Any = home.Inside(self.scopes[0].tree) if self.scopes else contextlib.nullcontext()
    recorder = current()
    self._span = None if recorder is None else recorder.body(crossing.path, name, args=describe(args))

  def __enter__(self) -> Inside:
    self._running.__enter__()
    if self._span is not None:
      self._span.__enter__()
    return self

  def __exit__(self, *error: Any) -> None:
    if self._span is not None:
      self._span.__exit__(*error)
    self._running.__exit__(*error)

  def leave(self, y: Any) -> tuple[Any, Groups]:
    """The result, and the groups of variables that leave. The scopes end."""
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


def _transposed(by_scope: Sequence[Sequence[dict[str, Any]]], groups: int) -> Groups:
  return tuple(tuple(scope[i] for scope in by_scope) for i in range(groups))


def _leaves(top: Scope, variables: Mapping[str, Any]) -> Iterator[tuple[tuple[Any, ...], Value]]:
  """Every variable below a scope as ((path, collection, name), spec)."""

  def walk(
    path: tuple[str, ...], col: str, tree: Mapping[str, Any]
  ) -> Iterator[tuple[tuple[Any, ...], Value]]:
    for name, value in tree.items():
      if isinstance(value, Mapping):
        yield from walk((*path, name), col, value)
      else:
        yield (path, col, name), boxed(describe(laid_out(value)))[0]

  for col, tree in variables.items():
    yield from walk(top.path, col, tree)
