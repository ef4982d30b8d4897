"""The vocabulary of a trace: every span and event there is, as frozen records; and `Passing`, of boundaries.

All that minilinen can tell about a run is said in these words. The core, the
module layer and warnings emit them through `recorder.py`; `Trace` keeps them; every view in
`viz` is a function of them. A record holds plain data only: `Spec`s in the place
of arrays, names in the place of objects, so that it can be compared, pickled
and saved. A view that needs something new gets a new field here, and never looks
inside a module.

A span has a beginning and an end and holds the records that came between, in
order. An event is a point.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from minilinen.tracing.paths import Path as Path
from minilinen.tracing.source import Source
from minilinen.tracing.spec import ModuleRef, Opaque, Value
from minilinen.tracing.told import Told


@dataclass(frozen=True, kw_only=True)
class Record:
  """What every record says.

  Attributes:
    order: its place in the trace, counted depth first; a span's number is also its name.
    span: the `order` of the span it stands in, -1 at the top.
    path: the path of the module it happened in, empty for the root.
    source: the user's file, line and function that caused it, None if no frame
      of the user's was found. Records are compared without it.
    holds: whether it counts. Python runs some bodies several times: a scan first learns from shapes what is the same
      in every step, JAX traces a loop again if its carry changes. The last pass holds; of the others only the
      variables that they created and the last did not, with their keys, and mistakes that only they made. Where that
      is decided: `draft.py`.
  """

  order: int
  span: int
  path: Path
  source: Source | None = field(default=None, compare=False)
  holds: bool = True


@dataclass(frozen=True, kw_only=True)
class Span(Record):
  """A record with records inside, in order. `error` is set if an exception left it."""

  items: tuple[Record, ...] = field(default=(), repr=False)
  error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Run(Span):
  """One run on a variable tree from its root: an `init`, an `apply`, or what happens in a bound module in a row.

  Attributes:
    name: "init" (also that of a `lazy_init`), "apply", or "bind" for a bound module, which stands where it is used.
    module: class name of the root module, "" for a function of a scope.
    given: the variables passed in, collection -> nested dict of specs.
    result: the variables handed back, or by then in a bound module that made or wrote any, in the same form.
    mutable: the collections that may be written, as a filter in words.
    streams: the names of the random streams passed in.
    roots: for each stream a number of its root key, the same for equal keys; without those of which nobody knows.
    repeats: for each stream whose root key is the same in every step, or for every element, of a loop or `jax.vmap`
      around the run, that transform ("jax.lax.scan").
    jitted: number of what the innermost `jax.jit` was tracing when the run began, by function, static arguments, and
      structure, shapes and dtypes of the others; 0 if there was none.
    jitted_function: number of that function, the same whatever its arguments are.
    tree: number of the variable tree that it ran on, among `Trace.trees`. A run in a pass that does not hold has that
      of its like in the pass that does, -1 if there is none.
  """

  name: str
  module: str = ""
  given: dict[str, Value] = field(default_factory=dict)
  result: dict[str, Value] = field(default_factory=dict)
  mutable: Value = False
  streams: tuple[str, ...] = ()
  roots: dict[str, int] = field(default_factory=dict)
  repeats: dict[str, str] = field(default_factory=dict)
  jitted: int = 0
  jitted_function: int = 0
  tree: int = 0


@dataclass(frozen=True, kw_only=True)
class Call(Span):
  """One call of one method of one module.

  Attributes:
    module: class name, as automatic names use it ("Dense").
    qualname: module and qualified name of the class ("minilinen.layers.linear.Dense").
    method: name of the method.
    number: how many calls of this method at this path came before, in this run. In a pass that does not hold, those
      before the pass and in it.
    fields: the module's dataclass fields (without parent and name).
    args, kwargs, result: what went in and out.
  """

  module: str
  qualname: str
  method: str
  number: int = 0
  fields: dict[str, Value] = field(default_factory=dict)
  args: tuple[Value, ...] = ()
  kwargs: dict[str, Value] = field(default_factory=dict)
  result: Value = None


Kind = Literal["same", "axis", "broadcast", "carry", "mapped", "differentiated", "split", "folded"]


@dataclass(frozen=True)
class Passing:
  """What a lifted transform does to some collections, or to some random streams.

  A name goes by the first that takes it; of what none takes nothing passes.

  Attributes:
    names: which ones; with `all_but` all others.
    kind: "same", as it is; "axis", each element or step has its own on `axis`; "broadcast", all have the same;
      "carry", a step hands it to the next; "mapped", through a function; "differentiated". Of streams also "split",
      each element or step draws its own keys, and "folded", path and counter are folded in at the boundary.
    axis: of "axis", which.
    into, out_of: whether it goes in, and whether it comes back.
  """

  names: tuple[str, ...] = ()
  all_but: bool = False
  kind: Kind = "same"
  axis: int | None = None
  into: bool = True
  out_of: bool = True

  def takes(self, name: str) -> bool:
    """Whether a collection, or a stream, is one of these.

    >>> Passing(("params",), all_but=True).takes("cache")
    True
    """
    return (name in self.names) != self.all_but


@dataclass(frozen=True)
class Lifted:
  """A variable that passed a lifted transform, seen from both sides.

  Attributes:
    path: module path, relative to the run's root.
    collection, name: which variable.
    inside, outside: its spec in the body and around the transform; `inside` is
      None for a variable that went in and that no body touched.
    written: whether the transform handed back a new value.
  """

  path: Path
  collection: str
  name: str
  inside: Value
  outside: Value
  written: bool = False


@dataclass(frozen=True, kw_only=True)
class Lift(Span):
  """One run of a lifted transform: the boundary between an outer and an inner scope.

  Attributes:
    kind: the transform's name: "vmap", "scan", "remat", "jit", "map_variables" ...
    target: what was lifted, "Class.method" or a function's name.
    module: class of the module whose method or function that is, "" if it is a function of scopes.
    method: name of the method or function.
    collections, streams: what happens to them.
    length: the number of times the body runs, None where that has no meaning.
    options: everything else the user said: in_axes, out_axes, reverse, policy ...
    args, kwargs, result: what went in and out, as seen from outside.
    static: positions and names of the static arguments.
    variables: every variable that passed the boundary.
    body_of: if JAX took what it ran from its cache, the order of the `Lift` whose body was traced; else None.
  """

  kind: str
  target: str = ""
  module: str = ""
  method: str = ""
  collections: tuple[Passing, ...] = ()
  streams: tuple[Passing, ...] = ()
  length: int | str | None = None
  options: dict[str, Value] = field(default_factory=dict)
  args: tuple[Value, ...] = ()
  kwargs: dict[str, Value] = field(default_factory=dict)
  static: tuple[int | str, ...] = ()
  result: Value = None
  variables: tuple[Lifted, ...] = ()
  body_of: int | None = None

  def passing(self, collection: str) -> Passing | None:
    """What happens to a collection; None if it doesn't pass."""
    return next((p for p in self.collections if p.takes(collection)), None)


@dataclass(frozen=True, kw_only=True)
class Body(Span):
  """One pass over what a lifted transform ran.

  Attributes:
    name: "body", or which of several ("cond", "branch 1").
    number: how many passes over it came before. The last of them holds.
    args, kwargs, result: as seen from inside.
  """

  name: str = "body"
  number: int = 0
  args: tuple[Value, ...] = ()
  kwargs: dict[str, Value] = field(default_factory=dict)
  result: Value = None


@dataclass(frozen=True, kw_only=True)
class Name(Record):
  """A submodule got its name; `path` is the new module's, `how` says by whom.

  `how` is "automatic" (Dense_0), "explicit" (name=...), "attribute" (self.x = ...
  in setup) or "adopted" (a module passed in as a field). `parent` is the module that it is one of.
  """

  module: str
  how: str
  parent: ModuleRef | None = None


@dataclass(frozen=True, kw_only=True)
class Variable(Record):
  """An event on one variable; `path` is that of the module that owns it."""

  collection: str
  name: str


@dataclass(frozen=True, kw_only=True)
class Create(Variable):
  """A variable came to be.

  Attributes:
    value: what it holds.
    axes: the axis names of its box, if it has one.
    initializer: what made it: the function's qualified name, and what that was made from.
    args, kwargs: what the initializer was given, besides a key.
    keys: the orders of the `Key`s that were drawn for it.
  """

  value: Value
  axes: Value = None
  initializer: Opaque | None = None
  args: tuple[Value, ...] = ()
  kwargs: dict[str, Value] = field(default_factory=dict)
  keys: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Read(Variable):
  """A variable's value was asked for."""

  value: Value


@dataclass(frozen=True, kw_only=True)
class Write(Variable):
  """A variable got a new value; `before` is None if it had none."""

  before: Value
  after: Value


@dataclass(frozen=True, kw_only=True)
class Sow(Variable):
  """A value was sown; `accepted` is False if the collection was not mutable."""

  value: Value
  accepted: bool


@dataclass(frozen=True, kw_only=True)
class Perturb(Variable):
  """A perturbation point was passed; `accepted` is False if nothing was added."""

  value: Value
  accepted: bool


@dataclass(frozen=True, kw_only=True)
class Key(Record):
  """A random key was drawn.

  Attributes:
    stream: the stream asked for.
    served: the stream that answered ("params" may serve for another).
    counter: how many keys this scope has drawn from the stream, this one counted: the first has 1.
    steps: how the key is derived from the stream's root key, in order. A step is ("fold", part, part ...) with
      names and numbers, ("fold_sep", part ...) for the same with parts kept apart in the hash, ("split", n), or
      ("step", sign): the number of the step of a `while_loop` is folded in, times the sign.
    value: spec of the key.
  """

  stream: str
  served: str
  counter: int
  steps: tuple[tuple[str | int, ...], ...]
  value: Value = None


@dataclass(frozen=True, kw_only=True)
class Share(Record):
  """A module took over another's scope: `path` now also stands for `other`."""

  other: Path


@dataclass(frozen=True, kw_only=True)
class Caught(Record):
  """A mistake was noticed while it happened.

  Attributes:
    told: what was told of it.
  """

  told: Told


def nested(flat: Iterable[Record]) -> tuple[Record, ...]:
  """Records that stand depth first, with those that stand in a span inside of it.

  Over a list and not over itself, so that the depth of the nesting is no limit.
  """
  inside: dict[int, list[Record]] = {}
  for record in reversed([*flat]):
    if isinstance(record, Span):
      record = replace(record, items=tuple(reversed(inside.pop(record.order, ()))))
    inside.setdefault(record.span, []).append(record)
  return tuple(reversed(inside.pop(-1, ())))


def depth_first(items: Iterable[Record]) -> Iterator[Record]:
  """Every record of a tree of records, each span before what is in it."""
  stack = [iter(items)]
  while stack:
    record = next(stack[-1], None)
    if record is None:
      stack.pop()
      continue
    yield record
    if isinstance(record, Span):
      stack.append(iter(record.items))
