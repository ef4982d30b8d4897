"""`pack`: the one primitive behind every lifted transform.

JAX transforms pure functions; a function of a scope reads and writes a tree. `pack` takes the
variables and keys out of the scopes, hands them to a transform as plain arguments, lets the
transform build inner scopes of what arrives on the other side (`scope_fn`), take the variables out of
those again (`repack_fn`), and writes what comes back into the outer scopes. It is the only place where a
boundary enters the trace.

    def jit(fn, variables=True, rngs=True):
      def inner(scope_fn, repack_fn, variable_groups, rng_groups, *args):
        body = jax.jit(pure(fn, scope_fn, repack_fn))
        return body(variable_groups, rng_groups, *args)
      return pack(inner, (variables,), (variables,), (rngs,), name="jit")
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from minilinen import errors
from minilinen.core.filters import (
  CollectionFilter,
  filter_in_words,
  group_collections,
  in_filter,
  intersect_filters,
  is_filter_empty,
  union_filters,
)
from minilinen.core.frozen_dict import unfreeze
from minilinen.core.home import Inside
from minilinen.core.lift.form import Form
from minilinen.core.meta import laid_out
from minilinen.core.rng import LazyRng
from minilinen.core.scope import Scope
from minilinen.core.tree import Behind, Tree
from minilinen.tracing import events
from minilinen.tracing.recorder import Draft, current
from minilinen.tracing.spec import Value, boxed, describe

Groups = tuple[tuple[dict[str, Any], ...], ...]
"""Filter by filter, scope by scope: collection -> variables, or stream -> key."""


@dataclass(frozen=True)
class Boundary:
  """What a transform says of itself, for the trace.

  Attributes:
    kind: its name ("vmap").
    target: what is lifted.
    collections: what happens to the collections of each filter, in words.
    streams: what happens to the random streams of each filter, in words.
    options: what else the user said.
    static: positions and names of static arguments.
  """

  kind: str
  target: Any = None
  collections: Sequence[tuple[CollectionFilter, str]] = ()
  streams: Sequence[tuple[CollectionFilter, str]] = ()
  options: Mapping[str, Any] = field(default_factory=dict)
  static: tuple[int | str, ...] = ()

  def how(self, collection: str) -> str:
    """What happens to one collection."""
    return next((how for f, how in self.collections if in_filter(f, collection)), "same")

  def lifted_at(self) -> errors.LiftedAt:
    """The boundary as messages speak of it."""
    return errors.LiftedAt(self.kind, _short_target(self.target), getattr(self.target, "lifted_at", None))


def pack(
  fn: Callable[..., Any],
  in_variable_filters: Sequence[CollectionFilter],
  out_variable_filters: Sequence[CollectionFilter],
  rng_filters: Sequence[CollectionFilter],
  name: str | None = None,
  enable_kwargs: bool = False,
  boundary: Boundary | None = None,
) -> Callable[..., Any]:
  """Makes a function of variables and keys into a function of scopes.

  Args:
    fn: called as `fn(scope_fn, repack_fn, variable_groups, rng_groups, *args, **kwargs)`; gives the
      result and the groups of variables to write back, one for each out filter.
    in_variable_filters: which collections go in, grouped; a collection goes to the first that matches.
    out_variable_filters: which collections come back, grouped.
    rng_filters: which random streams go in, grouped; others do not exist inside.
    name: name of the transform, for messages and the trace.
    enable_kwargs: whether keyword arguments are passed on; otherwise they are dropped with a warning.
    boundary: what the trace shall say.

  Returns:
    A function `(scope_tree, *args, **kwargs)` of any pytree of scopes.
  """
  kind = name or getattr(fn, "__name__", "lift")
  boundary = boundary or Boundary(kind)

  def lifted(scope_tree: Any, *args: Any, **kwargs: Any) -> Any:
    if kwargs and not enable_kwargs:
      message = f'kwargs are not supported in {kind}, so "{", ".join(kwargs)}" is(are) ignored'
      warnings.warn(message, RuntimeWarning, stacklevel=3)
      kwargs = {}
    crossing = Crossing(scope_tree, in_variable_filters, out_variable_filters, rng_filters, boundary)
    with crossing.span(args, kwargs) as span:
      variable_groups, rng_groups = crossing.groups()
      y, out_groups = fn(crossing.scope_fn, crossing.repack_fn, variable_groups, rng_groups, *args, **kwargs)
      crossing.write_back(out_groups)
      if span is not None:
        span.set(result=describe(y), variables=crossing.lifted_variables(variable_groups, out_groups))
    return y

  return lifted


class Crossing:
  """One run of a lifted transform: the outer scopes and the way in and out.

  `fingerprint` is equal for trees of scopes with which a body does the same; a tree of a class of its own may
  bring one.
  """

  def __init__(
    self,
    scope_tree: Any,
    in_filters: Sequence[CollectionFilter],
    out_filters: Sequence[CollectionFilter],
    rng_filters: Sequence[CollectionFilter],
    boundary: Boundary,
  ):
    self.form, self.tops = Form.of(scope_tree)
    self.fingerprint = getattr(scope_tree, "fingerprint", self.form)
    for scope in jax.tree.leaves(scope_tree):
      scope.check_valid()
    self.in_filters = in_filters
    self.out_filters = out_filters
    self.rng_filters = rng_filters
    self.boundary = boundary
    self.inside: dict[tuple[Any, ...], Value] = {}
    self.mutable = functools.reduce(union_filters, out_filters, False)

  def groups(self) -> tuple[Groups, Groups]:
    """The variables and keys of the outer scopes, by filter and scope."""
    variables = [group_collections(top.tree.collections(top.path), self.in_filters) for top in self.tops]
    rngs = [group_collections(top.rngs, self.rng_filters) for top in self.tops]
    return _transposed(variables, len(self.in_filters)), _transposed(rngs, len(self.rng_filters))

  def scope_fn(
    self, variable_groups: Groups, rng_groups: Groups, mutable_filter: CollectionFilter = True
  ) -> Any:
    """Inner scopes of what arrived inside, as the tree of scopes that was passed in."""
    inner = []
    for index, top in enumerate(self.tops):
      mutable = intersect_filters(intersect_filters(top.mutable, self.mutable), mutable_filter)
      variables: dict[str, Any] = {}
      for group in variable_groups:
        for col, tree in group[index].items():
          variables[col] = unfreeze(tree) if in_filter(mutable, col) else tree
      rngs = {stream: key for group in rng_groups for stream, key in group[index].items()}
      tree = Tree(variables, rngs, mutable, top.flags, top.path, self._behind(top))
      inner.append(Scope.at(tree, top.path, top.rng_counters))
      self._note_inside(top, variables)
    return self.form.opened(inner)

  def _behind(self, top: Scope) -> Behind:
    """What a tree on the inner side knows of the outer one."""
    b = self.boundary
    on_axis = b.how("params").startswith("axis")
    shares_key = on_axis and any(how == "same" and in_filter(f, "params") for f, how in b.streams)
    filters = (*self.in_filters, *self.out_filters)
    return Behind(top.tree, b.lifted_at(), filters, tuple(self.rng_filters), shares_key)

  def repack_fn(self, inner_tree: Any) -> Groups:
    """The mutable variables of the inner scopes, by out filter and scope. The scopes end."""
    out = []
    for top, scope in zip(self.tops, self.form.inner_tops(inner_tree)):
      scope.check_valid()
      variables = {c: v for c, v in scope.tree.variables.items() if scope.is_mutable_collection(c)}
      self._note_inside(top, variables)
      out.append(group_collections(variables, self.out_filters))
      scope.invalidate()
    return _transposed(out, len(self.out_filters))

  def write_back(self, out_groups: Groups) -> None:
    """Writes what came out into the outer scopes."""
    for group in out_groups:
      for top, collections in zip(self.tops, group):
        for col, tree in collections.items():
          if top.is_mutable_collection(col):
            for name, value in tree.items():
              top.tree.store(col, top.path, name, value)

  def counters(self) -> list[dict[Any, Any]]:
    """How many keys each outer scope has drawn; the same dicts inside."""
    return [top.rng_counters for top in self.tops]

  # The trace.

  @contextlib.contextmanager
  def span(self, args: Any, kwargs: Any) -> Iterator[Draft | None]:
    """The boundary's span, if somebody records."""
    recorder = current()
    if recorder is None:
      yield None
      return
    b = self.boundary
    path = self.tops[0].path if self.tops else ()
    with recorder.span(
      events.Lift,
      path,
      kind=b.kind,
      target=_target(b.target),
      collections=tuple((_words(f), how) for f, how in b.collections),
      streams=tuple((_words(f), how) for f, how in b.streams),
      options=describe(b.options),
      args=describe(args),
      kwargs=describe(kwargs),
      static=b.static,
    ) as draft:
      yield draft

  def _note_inside(self, top: Scope, variables: Mapping[str, Any]) -> None:
    if current() is not None:
      for key, value in _leaves(top, variables):
        self.inside[key] = value

  def lifted_variables(self, before: Groups, after: Groups) -> tuple[events.Lifted, ...]:
    """Every variable that crossed, with its specs inside and outside."""
    outside: dict[tuple[Any, ...], tuple[Value, bool]] = {}
    for groups, written in ((before, False), (after, True)):
      for group in groups:
        for top, variables in zip(self.tops, group):
          for key, value in _leaves(top, variables):
            outside[key] = (value, written)
    return tuple(
      events.Lifted(
        path, col, name, self.boundary.how(col), self.inside.get((path, col, name)), value, written
      )
      for (path, col, name), (value, written) in outside.items()
    )


def named(collections: CollectionFilter, how: str) -> list[tuple[CollectionFilter, str]]:
  """What happens to the collections of a filter, unless there are none."""
  return [] if is_filter_empty(collections) else [(collections, how)]


def note(**fields: Any) -> None:
  """Says more about the boundary that is being crossed, if somebody records."""
  if (recorder := current()) is not None:
    recorder.innermost().set(**fields)


def pure(
  fn: Callable[..., Any],
  scope_fn: Any,
  repack_fn: Any,
  name: str = "body",
  mutable_filter: CollectionFilter = True,
) -> Callable[..., tuple[Any, Groups]]:
  """A function of a scope as a pure function of variables, keys and arguments.

  Returns:
    A function `(variable_groups, rng_groups, *args, **kwargs)` that gives the result and the groups of
    mutable variables. Each of its runs is one pass over the body `name` in the trace.
  """

  def run(variable_groups: Groups, rng_groups: Groups, *args: Any, **kwargs: Any) -> tuple[Any, Groups]:
    scope_tree = scope_fn(variable_groups, rng_groups, mutable_filter)
    scopes = jax.tree.leaves(scope_tree)
    inside = Inside(scopes[0].tree) if scopes else contextlib.nullcontext()
    recorder = current()
    if recorder is None:
      with inside:
        y = fn(scope_tree, *args, **kwargs)
      return y, repack_fn(scope_tree)
    path = scopes[0].path if scopes else ()
    with inside, recorder.body(path, name, args=describe(args)) as draft:
      y = fn(scope_tree, *args, **kwargs)
      draft.set(result=describe(y))
    return y, repack_fn(scope_tree)

  return run


def split_streams(rng_groups: Groups, splits: Sequence[bool], n: int) -> Groups:
  """The streams of the groups that are to be split, with their root keys split in `n`."""
  return tuple(
    jax.tree.map(lambda rng: rng.split(n), group, is_leaf=_is_stream) if split else group
    for group, split in zip(rng_groups, splits)
  )


def fold_streams(rng_groups: Groups, splits: Sequence[bool], step: Any, sign: int) -> Groups:
  """The streams of the groups that are to be split, with `sign` times a step's number folded into their root keys."""
  return tuple(
    jax.tree.map(lambda rng: rng.at_step(step, sign), group, is_leaf=_is_stream) if split else group
    for group, split in zip(rng_groups, splits)
  )


def _is_stream(x: Any) -> bool:
  return isinstance(x, LazyRng)


def _transposed(by_scope: Sequence[Sequence[dict[str, Any]]], groups: int) -> Groups:
  return tuple(tuple(scope[i] for scope in by_scope) for i in range(groups))


def _words(f: CollectionFilter) -> str:
  words = filter_in_words(f)
  if isinstance(words, bool):
    return "all" if words else "none"
  return words if isinstance(words, str) else ", ".join(words)


def _target(target: Any) -> str:
  return getattr(target, "__qualname__", type(target).__name__) if target is not None else ""


def _short_target(target: Any) -> str:
  return _target(target).rpartition("<locals>.")[2].removesuffix(".__call__")


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
