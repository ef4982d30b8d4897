"""The one place where state lives: a `Scope` is a module's window on the variable tree.

A scope knows its path, the collections below it, the random streams and which collections
may be written. `push` opens a child: the same tree one name further down. The root of a
scope tree holds the variables (`run.py` makes it, `lift.py` makes one for each side of a
boundary); a child finds its dict in its parent's when it first needs it, and makes it there
when it first writes, so that all scopes of a tree see one set of nested dicts.

A `Module` is a dataclass of settings plus a scope; functional code takes a scope as its
first argument.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax

from minilinen import errors
from minilinen.configurations import config
from minilinen.core import meta, mistakes
from minilinen.core.filters import CollectionFilter, in_filter
from minilinen.core.frozen_dict import freeze
from minilinen.core.home import Home
from minilinen.core.initial import check_shapes, first_value, initial_shapes, new_parameter
from minilinen.core.rng import LazyRng
from minilinen.core.variable import Variable
from minilinen.tracing import events
from minilinen.tracing.recorder import current
from minilinen.tracing.spec import boxed, describe

_CHILD = object()  # key of a child's counters among its parent's: (_CHILD, name)
_MISSING = object()
_EMPTY: Mapping[str, Any] = types.MappingProxyType({})


class Scope:
  """A place in a variable tree, with the random streams that belong to it.

  Attributes:
    name: its name in the parent, None for a root.
    parent: the scope that pushed it, None for a root.
    path: the names from the root, across boundaries of lifted transforms.
    mutable: filter of the collections that may be written.
    flags: settings of the run, such as "initializing".
    reservations: name -> the collections that use it (None: a child scope).
    rng_counters: how many keys were drawn, by stream, and the children's counters.

  Raises:
    InvalidScopeError: by every method, once the run that the scope belongs to is over.
  """

  __slots__ = (
    "name", "parent", "path", "debug_path", "mutable", "flags", "reservations", "rng_counters",
    "_variables", "_rngs", "_invalid", "_is_mutable", "_cursors", "_home", "__weakref__",
  )  # fmt: skip

  def __init__(
    self,
    variables: Mapping[str, Any],
    rngs: Mapping[str, Any] | None = None,
    name: str | None = None,
    mutable: CollectionFilter = False,
    parent: Scope | None = None,
    path: Iterable[str] = (),
    debug_path: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
    *,
    _home: Home | None = None,
  ):
    self._home = _home or (parent._home if parent is not None else Home())
    self.name = name
    self.parent = parent
    self.path = tuple(path)
    self.debug_path = tuple(debug_path) or self.path
    self.mutable = mutable
    self.flags = flags or {}
    self.reservations: dict[str, set[str | None]] = {}
    self.rng_counters: dict[Any, Any] = {}
    self._variables = variables if isinstance(variables, dict) else dict(variables)
    self._rngs = rngs if rngs is None else {k: LazyRng.create(v) for k, v in rngs.items()}
    self._invalid = False
    self._is_mutable: dict[str, bool] = parent._is_mutable if parent is not None else {}
    self._cursors: dict[str, int] = {}

  # Paths and names.

  @property
  def path_text(self) -> str:
    """The path as text: "/encoder/Dense_0"; a name with a slash in it stands in quotes."""
    return "/" + "/".join(repr(name) if "/" in name else name for name in self.debug_path)

  @property
  def root(self) -> Scope:
    """The scope at the top, of this side of the innermost boundary."""
    scope = self
    while scope.parent is not None:
      scope = scope.parent
    return scope

  @property
  def invalid(self) -> bool:
    """Whether the run that the scope belongs to is over."""
    scope: Scope | None = self
    while scope is not None:
      if scope._invalid:
        return True
      scope = scope.parent
    return False

  def invalidate(self) -> None:
    """Ends the scope's life: whoever still holds it gets an error, not stale values."""
    self._invalid = True

  def _check_valid(self) -> None:
    if self.invalid:
      raise errors.InvalidScopeError(self.path_text)

  @contextlib.contextmanager
  def temporary(self) -> Iterator[Scope]:
    """The scope, valid for the length of a `with` block."""
    try:
      yield self
    finally:
      self.invalidate()

  def reserve(self, name: str, col: str | None = None) -> None:
    """Claims a name for a variable of collection `col`, or for a child scope if None.

    Raises:
      ScopeNameTypeError: if the name is no string.
      ScopeNameInUseError: if the name is claimed already.
    """
    if not isinstance(name, str):
      raise errors.ScopeNameTypeError(name, self.path_text)
    if self.name_reserved(name, col):
      raise errors.ScopeNameInUseError(name, self.path_text)
    self.reservations.setdefault(name, set()).add(col)

  def name_reserved(self, name: str, col: str | None = None) -> bool:
    """Whether a name is claimed: a child's by anything, a variable's by a child or in `col`."""
    claimed = self.reservations.get(name)
    if claimed is None:
      return False
    return col is None or None in claimed or col in claimed

  def default_name(self, prefix: str) -> str:
    """The first free name of `prefix` and a number."""
    number = self._cursors.get(prefix, 0)
    while (name := f"{prefix}{number}") in self.reservations:
      number += 1
    self._cursors[prefix] = number
    return name

  # Children.

  def push(self, name: str | None = None, prefix: str = "", reuse: bool = False) -> Scope:
    """Opens a child scope.

    Args:
      name: its name; the first free one of `prefix` if None.
      prefix: beginning of the automatic name.
      reuse: whether the name may be in use: the child is then opened again.

    Raises:
      ScopeNameInUseError: if the name is in use and `reuse` is False.
    """
    self._check_valid()
    if name is None:
      name = self.default_name(prefix)
    if not reuse or name not in self.reservations:
      self.reserve(name)
    child = Scope(
      {}, None, name, self.mutable, self, (*self.path, name), (*self.debug_path, name), self.flags
    )
    counters = self.rng_counters.get((_CHILD, name))
    if counters is None:
      counters = self.rng_counters[(_CHILD, name)] = {}
    child.rng_counters = counters
    return child

  def child(
    self,
    fn: Callable[..., Any],
    name: str | None = None,
    prefix: str | None = None,
    named_call: bool = True,
    **partial_kwargs: Any,
  ) -> Callable[..., Any]:
    """A function of a scope, bound to a child scope of this one.

    Args:
      fn: called with the child scope and the arguments.
      name: the child's name; by default the function's name and a number.
      prefix: beginning of the automatic name.
      named_call: whether the name shows in JAX's profiles.
      **partial_kwargs: keyword arguments to pass on every call.
    """
    if name is None:
      name = self.default_name(
        f"{fn.__name__}_" if prefix is None and hasattr(fn, "__name__") else prefix or ""
      )
    scope = self.push(name)
    if named_call:
      fn = jax.named_call(fn, name=name)

    def call(*args: Any, **kwargs: Any) -> Any:
      return fn(scope.rewound(), *args, **{**partial_kwargs, **kwargs})

    return call

  def rewound(self, rewind_rngs: bool = False) -> Scope:
    """The same scope with no name claimed, so that a function can run in it again.

    Args:
      rewind_rngs: whether the keys are drawn from the start again too.
    """
    self._check_valid()
    scope = Scope(
      self._variables,
      self._rngs,
      self.name,
      self.mutable,
      self.parent,
      self.path,
      self.debug_path,
      self.flags,
      _home=self._home,
    )
    if not rewind_rngs:
      scope.rng_counters = self.rng_counters
    return scope

  # Collections.

  def is_mutable_collection(self, col: str) -> bool:
    """Whether a collection may be written."""
    known = self._is_mutable.get(col)
    if known is None:
      known = self._is_mutable[col] = in_filter(self.mutable, col)
    return known

  def is_collection_empty(self, col: str) -> bool:
    """Whether the run has no variable at all in a collection."""
    return not self.root._collection(col)

  def _collection(self, col: str) -> Mapping[str, Any]:
    """The variables of a collection at this place, to be read."""
    found = self._variables.get(col)
    if found is None:
      if self.parent is None:
        return _EMPTY
      found = self.parent._collection(col).get(self.name or "")
      if not isinstance(found, Mapping):
        return _EMPTY
      self._variables[col] = found
    return found

  def _mutable_collection(self, col: str) -> dict[str, Any]:
    """The variables of a collection at this place, to be written; made if it isn't there."""
    if not self.is_mutable_collection(col):
      raise errors.ImmutableVariableError(f"collection {col!r} is not mutable in {self.path_text}")
    found = self._variables.get(col)
    if found is None:
      if self.parent is None:
        found = {}
      else:
        found = self.parent._mutable_collection(col).setdefault(self.name or "", {})
      self._variables[col] = found
    return found

  def _populate(self) -> dict[str, Any]:
    """Every collection of the tree as seen from this place."""
    return {col: self._collection(col) or {} for col in self.root._variables}

  def variables(self) -> Mapping[str, Any]:
    """All variables at this place and below, by collection."""
    return _outward(self._populate())

  def mutable_variables(self) -> Mapping[str, Any]:
    """The variables of the mutable collections, by collection: what a run hands back."""
    return _outward({c: v for c, v in self._populate().items() if self.is_mutable_collection(c)})

  # Variables.

  def _peek(self, col: str, name: str, default: Any = None) -> Any:
    return self._collection(col).get(name, default)

  def _store(self, col: str, name: str, value: Any) -> None:
    """Sets a variable; of a whole branch, dicts that child scopes hold stay the same objects."""
    _merge(self._mutable_collection(col), name, value)

  def has_variable(self, col: str, name: str) -> bool:
    """Whether a variable exists."""
    return name in self._collection(col)

  def get_variable(self, col: str, name: str, default: Any = None) -> Any:
    """The value of a variable, `default` if it doesn't exist."""
    value = self._collection(col).get(name, _MISSING)
    if value is _MISSING:
      return default
    if (recorder := current()) is not None:
      recorder.event(events.Read, self.path, collection=col, name=name, value=describe(value))
    return value

  def put_variable(self, col: str, name: str, value: Any) -> None:
    """Sets the value of a variable, which need not exist yet.

    Raises:
      ModifyScopeVariableError: if the collection is not mutable.
    """
    self._check_valid()
    if not self.is_mutable_collection(col):
      raise mistakes.not_mutable(self, col, name)
    if not self._home.is_here():
      mistakes.warn_of_leak(self, col, name, value)
    if (recorder := current()) is not None:
      before = describe(self._peek(col, name))
      recorder.event(events.Write, self.path, collection=col, name=name, before=before, after=describe(value))
    self._store(col, name, value)

  def _create(self, col: str, name: str, value: Any) -> None:
    if not self._home.is_here():
      mistakes.warn_of_leak(self, col, name, value)
    self._store(col, name, value)
    if (recorder := current()) is not None:
      content, axes = boxed(describe(meta.laid_out(value)))
      recorder.event(events.Create, self.path, collection=col, name=name, value=content, axes=axes)

  def variable(
    self,
    col: str,
    name: str,
    init_fn: Callable[..., Any] | None = None,
    *init_args: Any,
    unbox: bool = True,
    **init_kwargs: Any,
  ) -> Variable[Any]:
    """A reference to a variable, which is created if it isn't there and may be.

    Args:
      col, name: its collection and name.
      init_fn: called with the remaining arguments for the first value.
      unbox: whether the reference speaks of what is inside a box.

    Raises:
      ScopeCollectionNotFound: if the whole collection is missing and not mutable.
      ScopeVariableNotFoundError: if the variable is missing and its collection not mutable,
        or there is no `init_fn`.
    """
    self.reserve(name, col)
    if not self.has_variable(col, name):
      if not self.is_mutable_collection(col) or init_fn is None:
        if self.is_collection_empty(col):
          raise mistakes.collection_not_found(self, col, name)
        raise errors.ScopeVariableNotFoundError(name, col, self.path_text, self._collection(col))
      self._create(col, name, first_value(init_fn, init_args, init_kwargs))
    return Variable(self, col, name, unbox=unbox)

  def param(
    self, name: str, init_fn: Callable[..., Any], *init_args: Any, unbox: bool = True, **init_kwargs: Any
  ) -> Any:
    """The value of a parameter, which is created if `params` is mutable and lacks it.

    Args:
      name: its name.
      init_fn: called with a key and the remaining arguments for the first value.
      unbox: whether to give what is inside a box.

    Raises:
      ScopeParamShapeError: if the parameter has another shape than `init_fn` gives.
      SymbolicParamError: if a size of it is a symbol.
      ScopeCollectionNotFound: if no parameters were passed at all.
      ScopeParamNotFoundError: if this one was not passed.
    """
    self.reserve(name, "params")
    value = self.get_variable("params", name, _MISSING)
    if value is _MISSING:
      if not self.is_mutable_collection("params"):
        if self.is_collection_empty("params"):
          raise mistakes.collection_not_found(self, "params", name)
        raise mistakes.param_not_found(self, name)
      if self._home.shares_key is not None:
        mistakes.warn_of_shared_key(self, name, init_fn, init_args, init_kwargs)
      value = new_parameter(self, name, init_fn, init_args, init_kwargs)
      self._create("params", name, value)
    else:
      mismatch = check_shapes(name, self.path_text, value, initial_shapes(init_fn, init_args, init_kwargs))
      if mismatch is not None:
        raise mistakes.param_shape(self, name, *mismatch)
    return meta.unbox(value) if unbox else value

  # Random keys.

  @property
  def rngs(self) -> dict[str, LazyRng]:
    """The random streams of this place: the parent's with the name folded in."""
    if self._rngs is None:
      streams = self.parent.rngs if self.parent is not None else {}
      self._rngs = {k: LazyRng.create(rng, self.name or "") for k, rng in streams.items()}
    return self._rngs

  def has_rng(self, name: str) -> bool:
    """Whether a stream of this name was passed."""
    return name in self.rngs

  def make_rng(self, name: str = "params") -> Any:
    """Draws a key from a stream; "params" serves if there is no stream of that name.

    Raises:
      InvalidRngError: if there is neither.
    """
    if not self._home.is_here():
      mistakes.warn_of_reuse(self, name)
    return self._draw(name).as_jax_rng()

  def _draw(self, name: str) -> LazyRng:
    self._check_valid()
    served = name
    if name not in self.rngs:
      if "params" not in self.rngs:
        lift = self._home.stopping_stream(name)
        raise errors.InvalidRngError.missing(name, self.path_text, self.rngs, lift)
      mistakes.warn_of_served(self, name)
      served = "params"
    counter = self.rng_counters.get(served, 0) + 1
    self.rng_counters[served] = counter
    drawn = LazyRng.create(self.rngs[served], counter)
    if (recorder := current()) is not None:
      recorder.event(
        events.Key, self.path, stream=name, served=served, counter=counter, steps=drawn.derivation(),
        value=describe(drawn.rng),
      )  # fmt: skip
    return drawn

  # Flags.

  def has_flag(self, key: str) -> bool:
    """Whether the run has a setting of this name."""
    return key in self.flags

  def get_flag(self, key: str, default: Any = _MISSING) -> Any:
    """A setting of the run.

    Raises:
      KeyError: if it isn't there and no default is given.
    """
    if default is _MISSING and key not in self.flags:
      raise KeyError(f"flag {key!r} is not set in this run; its flags are {sorted(self.flags)}")
    return self.flags.get(key, default)

  def __eq__(self, other: Any) -> bool:
    if not isinstance(other, Scope):
      return NotImplemented
    return self is other or (
      self.root._variables is other.root._variables
      and self.path == other.path
      and self.rng_counters is other.rng_counters
    )

  def __hash__(self) -> int:
    return hash((self.path, id(self.root._variables), id(self.rng_counters)))


def _merge(target: dict[str, Any], name: str, value: Any) -> None:
  branch = target.get(name)
  if isinstance(branch, dict) and isinstance(value, Mapping):
    for key, inner in value.items():
      _merge(branch, key, inner)
  else:
    target[name] = value


def _outward(variables: dict[str, Any]) -> Mapping[str, Any]:
  """Variables as users get them: frozen, or as plain dicts if the setting says so."""
  return freeze(variables) if config.return_frozendict else variables
