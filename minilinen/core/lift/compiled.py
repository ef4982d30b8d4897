"""`jit` compiles, `remat` computes again backwards, `fold_rngs` makes keys independent of the place."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import jax

from minilinen.configurations import config
from minilinen.core.boundary import Boundary, passing
from minilinen.core.filters import CollectionFilter, DenyList
from minilinen.core.lift.crossing import Crossing, Groups, behind, filled, spoken_of_as
from minilinen.core.lift.targets import Liftable, lifted
from minilinen.core.lifted_mistakes import argument_names, no_concrete, warn_of_static_arrays
from minilinen.core.rng import LazyRng
from minilinen.core.scope import Scope
from minilinen.tracing.recorder import current


@dataclass(frozen=True, slots=True)
class _Static:
  """What a compiled body depends on besides its arrays; equal ones share a compilation.

  The crossing comes along uncompared: it is used while JAX traces, and does the same whenever the compared parts
  are equal. JAX keeps statics in its cache, so the crossing, which holds variables, is referenced weakly.
  """

  parts: Any
  crossing: weakref.ref[Crossing] = field(compare=False)


@jax.tree_util.register_static
@dataclass(frozen=True)
class _End:
  """Counters at the end of a body, of keys and of names. JAX hands them back even when it doesn't trace it again."""

  counters: Any
  names: Any

  def __hash__(self) -> int:
    return 0


@lifted("Jit", fn="target")
def jit(
  target: Liftable,
  variables: CollectionFilter = True,
  rngs: CollectionFilter = True,
  static_argnums: int | Iterable[int] = (),
  static_argnames: str | Iterable[str] = (),
  donate_argnums: int | Iterable[int] = (),
  device: Any = None,
  backend: str | None = None,
  methods: Any = None,
) -> Liftable:
  """`jax.jit` for a module class, a method, or a function of a module or of a scope.

  Random numbers are the same with and without it. Equal layers share one compilation if they draw no keys, since a key
  depends on the place. With the setting `jit_folds_rngs` keys are folded at the boundary, as Flax does: numbers change,
  and those that draw share one too. While somebody records each place has a body of its own.

  Args:
    target: what is compiled.
    variables, rngs: the collections and streams that exist inside.
    static_argnums: positions of static arguments; the module is number 0.
    static_argnames, donate_argnums, device, backend: as for `jax.jit`.
    methods: of a class, which methods are compiled: a name, several, or name -> options; `__call__` by default.
  """
  static = _positions(static_argnums)
  names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
  boundary = Boundary(
    "jit", target, (passing(variables),), (passing(rngs, "folded" if config.jit_folds_rngs else "same"),),
    static=(*static, *names), takes_keywords=True,
  )  # fmt: skip

  def body(static: _Static, variables: Groups, keys: Groups, /, *args: Any, **kwargs: Any) -> Any:
    crossing = static.crossing()
    assert crossing is not None
    with crossing.inside(variables, keys, args, kwargs) as inner:
      y = inner.run()
      counters = [_snapshot(scope.rng_counters) for scope in inner.scopes]
      return *inner.leave(y), _End(counters, dict(crossing.carrier.names))

  called = argument_names(boundary.target.fn, 1 + max(static, default=0))
  jitted = jax.jit(
    spoken_of_as(boundary.target, body),
    static_argnums=(0, *(n + 2 for n in static)),
    static_argnames=(*names, *(called[n] for n in static)),  # however they are passed
    donate_argnums=tuple(n + 2 for n in _positions(donate_argnums)),
    **({} if device is None and backend is None else {"device": device, "backend": backend}),
  )

  @behind(boundary)
  def call(first: Any, *args: Any, **kwargs: Any) -> Any:
    with Crossing(boundary, first, args, kwargs) as crossing:
      warn_of_static_arrays(crossing)
      streams: Any = [top.rngs for top in crossing.tops]
      if config.jit_folds_rngs:
        (streams,) = _fold_streams(crossing, (streams,))
        crossing.carrier.set_up(boundary.target, crossing.form, streams)
      variables, keys = crossing.groups(streams)
      variables = tuple(tuple(map(filled, group)) for group in variables)
      static = _Static(_parts(crossing), weakref.ref(crossing))
      y, out, end = jitted(static, variables, keys, *crossing.args, **crossing.kwargs)
      for top, counters in zip(crossing.tops, end.counters):
        _restore(top.rng_counters, counters)
      crossing.carrier.names.update(end.names)
      return crossing.back(y, out)

  return call


@lifted("Fold_rngs", fn="target")
def fold_rngs(
  target: Liftable, variables: CollectionFilter = True, rngs: CollectionFilter = True, methods: Any = None
) -> Liftable:
  """Folds path and counter into the keys at this place, so that inside they no longer depend on it.

  That is what `jit` does under the setting `jit_folds_rngs`.

  Args:
    target: a module class, a method, or a function of a module or of a scope.
    variables, rngs: the collections and streams that exist inside.
    methods: of a class, which methods are lifted; `__call__` by default.
  """
  passings = (passing(variables),), (passing(rngs, "folded"),)
  boundary = Boundary("fold_rngs", target, *passings, takes_keywords=True)

  @behind(boundary)
  def call(first: Any, *args: Any, **kwargs: Any) -> Any:
    with Crossing(boundary, first, args, kwargs) as crossing:
      variables, keys = crossing.groups()
      with crossing.inside(variables, _fold_streams(crossing, keys), crossing.args, crossing.kwargs) as inner:
        y, written = inner.leave(inner.run())
      return crossing.back(y, written)

  return call


def _parts(crossing: Crossing) -> Any:
  """Everything that decides what a body does, besides the arrays that go in."""
  return (
    crossing.carrier.fingerprint,
    crossing.form,
    tuple(
      (
        _hashable(top.mutable),
        tuple(sorted((k, str(v)) for k, v in top.flags.items())),
        (not config.jit_folds_rngs and top.path, _hashable(top.rng_counters)) if top.rngs else None,
      )
      for top in crossing.tops
    ),
    tuple(config.as_dict().items()),
    # Who records wants to see the body of each module. Otherwise where it is matters for its keys only.
    tuple(top.path for top in crossing.tops) if current() is not None else None,
  )


def _fold_streams(crossing: Crossing, streams: Groups) -> Groups:
  """The streams as Flax passes them in.

  Those of the lifted module's own scope have everything folded in that is to be; those of others, which are modules
  among the arguments, have forgotten their path. If one of them is around the lifted module, so have all.
  """
  own, (number, below) = (
    crossing.carrier.scopes[crossing.carrier.own],
    crossing.form.ways[crossing.carrier.own],
  )

  def folded(top: Scope, group: dict[str, LazyRng]) -> dict[str, LazyRng]:
    drawn = {stream: own.draw(stream).folded() for stream in group if top is crossing.tops[number]}
    if below or not drawn:
      drawn = {stream: LazyRng(rng.rng, (), rng.steps) for stream, rng in group.items()}
    return dict(sorted(drawn.items()))  # as a pytree hands them on

  return tuple(tuple(folded(top, g) for top, g in zip(crossing.tops, group)) for group in streams)


def _snapshot(counters: dict[Any, Any]) -> dict[Any, Any]:
  return {k: _snapshot(v) if isinstance(v, dict) else v for k, v in counters.items()}


def _restore(counters: dict[Any, Any], end: dict[Any, Any]) -> None:
  for key, value in end.items():
    if isinstance(value, dict):
      _restore(counters.setdefault(key, {}), value)
    else:
      counters[key] = value


def _hashable(value: Any) -> Any:
  if isinstance(value, dict):
    return frozenset((k, _hashable(v)) for k, v in value.items())
  if isinstance(value, DenyList):
    return DenyList(_hashable(value.deny))
  return frozenset(value) if isinstance(value, (set, list, tuple)) else value


@lifted("Checkpoint", fn="target")
def remat(
  target: Liftable,
  variables: CollectionFilter = True,
  rngs: CollectionFilter = True,
  concrete: bool = False,
  prevent_cse: bool = True,
  static_argnums: int | tuple[int, ...] = (),
  policy: Callable[..., bool] | None = None,
  methods: Any = None,
) -> Liftable:
  """`jax.checkpoint` for a module class, a method, or a function of a module or of a scope.

  Args:
    target: what is computed again in the backward pass.
    variables, rngs: the collections and streams that exist inside.
    concrete: kept for compatibility; JAX no longer has it.
    prevent_cse: whether XLA is kept from sharing the two computations.
    static_argnums: positions of static arguments; the module is number 0.
    policy: which activations are kept, of `jax.checkpoint_policies`.
    methods: of a class, which methods are lifted: a name, several, or name -> options; `__call__` by default.

  Raises:
    RemovedOptionError: if `concrete` is True.
  """
  static = _positions(static_argnums)

  options = {"policy": policy, "prevent_cse": prevent_cse}
  boundary = Boundary(
    "remat", target, (passing(variables),), (passing(rngs),), options, static, takes_keywords=True
  )
  if concrete:
    raise no_concrete(boundary)

  @behind(boundary)
  def call(first: Any, *args: Any, **kwargs: Any) -> Any:
    with Crossing(boundary, first, args, kwargs) as crossing:

      def body(variables: Groups, keys: Groups, *args: Any, **kwargs: Any) -> Any:
        with crossing.inside(variables, keys, args, kwargs) as inner:
          return inner.leave(inner.run())

      warn_of_static_arrays(crossing)
      computed_again = jax.checkpoint(
        spoken_of_as(boundary.target, body), prevent_cse=prevent_cse, policy=policy,
        static_argnums=tuple(n + 1 for n in static),
      )  # fmt: skip
      return crossing.back(*computed_again(*crossing.groups(), *crossing.args, **crossing.kwargs))

  return call


checkpoint = remat


def _positions(argnums: int | Iterable[int]) -> tuple[int, ...]:
  return (argnums,) if isinstance(argnums, int) else tuple(argnums)
