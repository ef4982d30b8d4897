"""Mistakes at a boundary, said in the user's words instead of JAX's.

JAX numbers the leaves of what it is given, and what it is given by a lifted transform is not what the user wrote. Here
a carry is named as the lifted function names it, and static arguments are counted as the user counts them.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from minilinen import errors
from minilinen.core.frozen_dict import unfreeze
from minilinen.core.lift.pack import Boundary, Crossing
from minilinen.tracing.spec import describe


def argument_names(fn: Any, count: int) -> list[str]:
  """The names of a function's first positional arguments, with what stands for the module first."""
  try:
    parameters = inspect.signature(fn).parameters.values()
  except (TypeError, ValueError):
    parameters = ()
  plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
  return [*plain[:count], *(f"argument {i}" for i in range(len(plain), count))]


class Carries:
  """The carry of a loop, before and after its body, for the message if the two don't fit."""

  def __init__(self) -> None:
    self._last: tuple[Any, Any] | None = None

  def kept(self, step: Callable[..., Any]) -> Callable[..., Any]:
    """A step `(_, carry, ...) -> (_, carry, ...)`, with a pair of variables and the user's carry, that is watched."""

    def run(constants: Any, carry: Any, *args: Any) -> Any:
      self._last = None
      out = step(constants, carry, *args)
      self._last = carry, out[1]
      return out

    return run

  @contextlib.contextmanager
  def explained(self, boundary: Boundary, crossing: Crossing) -> Iterator[None]:
    """Gives JAX's error for a carry that changes in the user's words.

    Raises:
      CarriedCollectionError: if the body creates variables in what is carried.
      CarryError: if the carry changes its structure, shapes or dtypes.
    """
    try:
      yield
    except TypeError as error:
      better = self._better(boundary, crossing) if not isinstance(error, errors.MinilinenError) else None
      if better is None:
        raise
      raise better from None
    finally:
      self._last = None

  def _better(self, boundary: Boundary, crossing: Crossing) -> Exception | None:
    if self._last is None:
      return None
    (groups_in, carry_in), (groups_out, carry_out) = self._last
    path = crossing.tops[0].path_text if crossing.tops else ""
    lift = boundary.lifted_at()
    for before, after in zip(groups_in, groups_out):
      created = sorted(_places(after) - _places(before))
      if created:
        col = created[0][0]
        names = ["/".join(place[1:]) for place in created if place[0] == col]
        return errors.CarriedCollectionError(col, [repr(n) for n in names[:3]], lift, path)
    name = argument_names(boundary.target, 2)[1]
    if jax.tree.structure(carry_in) != jax.tree.structure(carry_out):
      return errors.CarryError(f"The carry {name!r}", lift, path, _in_words(carry_in), _in_words(carry_out))
    for key, before, after in _differences(carry_in, carry_out):
      what = f"The carry {name + jax.tree_util.keystr(key)!r}"
      return errors.CarryError(what, lift, path, _in_words(before), _in_words(after))
    for key, before, after in _differences(groups_in, groups_out):
      what = f"The carried variable {'/'.join(_place(key))!r}"
      return errors.CarryError(what, lift, path, _in_words(before), _in_words(after))
    return None


class Branches:
  """What the branches of a `cond` or `switch` gave, for the message if the results don't fit together."""

  def __init__(self) -> None:
    self._given: dict[int, Any] = {}

  def kept(self, number: int, branch: Callable[..., Any]) -> Callable[..., Any]:
    """A branch `(*operands) -> (result, groups)` whose results are kept."""

    def run(*operands: Any) -> Any:
      self._given.pop(number, None)
      out = self._given[number] = branch(*operands)
      return out

    return run

  @contextlib.contextmanager
  def explained(self, boundary: Boundary, crossing: Crossing) -> Iterator[None]:
    """Gives JAX's error for branches that differ in the user's words.

    Raises:
      BranchesDifferError: if two branches give other structures, shapes or dtypes.
    """
    try:
      yield
    except TypeError as error:
      difference = None if isinstance(error, errors.MinilinenError) else self._difference()
      if difference is None:
        raise
      path = crossing.tops[0].path_text if crossing.tops else ""
      what, first, other, number = difference
      lift = boundary.lifted_at()
      raise errors.BranchesDifferError(what, lift, path, first, other, number) from None

  def _difference(self) -> tuple[str, str, str, int] | None:
    if 0 not in self._given:
      return None
    y, groups = self._given[0]
    for number, (other_y, other_groups) in sorted(self._given.items()):
      for place in sorted(_places(groups) ^ _places(other_groups)):
        first, other = ("there", "not there") if place in _places(groups) else ("not there", "there")
        return f"variable {'/'.join(place)!r}", first, other, number
      if jax.tree.structure(y) != jax.tree.structure(other_y):
        return "the result", _in_words(y), _in_words(other_y), number
      for key, before, after in _differences(y, other_y):
        return f"the result{jax.tree_util.keystr(key)}", _in_words(before), _in_words(after), number
      for key, before, after in _differences(groups, other_groups):
        return f"variable {'/'.join(_place(key))!r}", _in_words(before), _in_words(after), number
    return None


def _places(tree: Any) -> set[tuple[str, ...]]:
  """The addresses of all leaves of nested dicts."""
  return {_place(key) for key, _ in jax.tree_util.tree_leaves_with_path(tree)}


def _listed(trees: Sequence[Any]) -> str:
  """What nested dicts hold, or what stands in their place."""
  places = sorted("/".join(place) for place in _places(trees) if place)
  return ", ".join(places) or ", ".join(map(_in_words, trees)) or "nothing"


def _place(key: Sequence[Any]) -> tuple[str, ...]:
  return tuple(str(part.key) for part in key if hasattr(part, "key"))


def _differences(before: Any, after: Any) -> Iterator[tuple[Any, Any, Any]]:
  """The leaves that have another shape or dtype after the body: the key path and both."""
  for (key, a), b in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after)):
    if _kind(a) != _kind(b):
      yield key, a, b


def _kind(x: Any) -> tuple[Any, Any]:
  return np.shape(x), jax.numpy.result_type(x)


def _in_words(value: Any) -> str:
  described = describe(value)
  if isinstance(described, tuple):
    return f"({', '.join(map(str, described))})"
  return str(described)


def forward_error(pair: Any, boundary: Boundary) -> errors.DerivativeError:
  """The error for a forward function of `custom_vjp` that gives no pair."""
  return errors.DerivativeError(
    "The forward function of nn.custom_vjp must give a pair.",
    "(result, what the backward function needs)",
    _in_words(pair),
    "nn.custom_vjp(f, lambda module, x: nn.vjp(f, module, x), backward)",
    boundary.lifted_at(),
  )


def check_cotangents(wanted: Any, given: Any, boundary: Boundary) -> Any:
  """The gradients that a backward function gives for the variables of each scope, as plain dicts.

  Raises:
    DerivativeError: if they have not the form of the variables.
  """
  plain = tuple(unfreeze(tree) if isinstance(tree, Mapping) else tree for tree in given)
  for collections, tree in zip(wanted, plain):
    if tree is not None and jax.tree.structure(tree) != jax.tree.structure(collections):
      raise errors.DerivativeError(
        "The backward function of nn.custom_vjp must first give the gradients of the variables, as the pullback of"
        " nn.vjp does.",
        _listed(wanted),
        _listed(plain),
        "lambda pull, y_t: pull(y_t)   # or what was made of it: (variables_t, *xs_t)",
        boundary.lifted_at(),
      )
  return plain


def check_directions(wanted: Any, directions: Any, boundary: Boundary) -> None:
  """Raises DerivativeError if the directions for the variables are of another form than the variables."""
  if jax.tree.structure(directions) != jax.tree.structure(wanted):
    raise errors.DerivativeError(
      "The variable_tangents of nn.jvp must have a value for each variable of a collection, or none at all.",
      _listed(wanted),
      _listed(directions),
      'nn.jvp(f, self, (x,), (x_t,), {"params": jax.tree.map(jnp.ones_like, self.variables["params"])})',
      boundary.lifted_at(),
    )


class Statics:
  """The static arguments of a lifted call, for messages if they are not those that should be."""

  def __init__(self, boundary: Boundary, static: Sequence[int], crossing: Crossing, args: Any, kwargs: Any):
    self.boundary = boundary
    self.static = static
    self.path = crossing.tops[0].path_text if crossing.tops else ""
    self.args = args
    self.kwargs = kwargs

  def warn(self) -> None:
    """Warns if an array is static: then it is a constant for JAX, and not transformed."""
    for n in self.static:
      if 0 < n <= len(self.args) and _holds_array(self.args[n - 1]):
        errors.warn(self._told(f"{self._names()[n]!r} is an array, which must not be static."))
        return

  def trap(self, error: Exception) -> errors.StaticArgumentWarning | None:
    """What is wrong with the static arguments, if that is what an error comes from."""
    names = self._names()
    if "static_argnums" in str(error) and any(n > len(self.args) for n in self.static):
      return self._told(f"there is no argument number {max(self.static)}.", next(iter(self.kwargs), ""))
    plain = [n for n in self._plain() if n not in self.static]
    if isinstance(error, jax.errors.ConcretizationTypeError) and plain:
      return self._told(f"{names[plain[0]]!r} is {self.args[plain[0] - 1]!r}, and not static.")
    return None

  def _told(self, wrong: str, by_name: str = "") -> errors.StaticArgumentWarning:
    lift, plain = self.boundary.lifted_at(), self._plain()
    return errors.StaticArgumentWarning(lift, self._names(), self.static, wrong, plain, self.path, by_name)

  def _names(self) -> list[str]:
    return argument_names(self.boundary.target, 1 + len(self.args))

  def _plain(self) -> list[int]:
    """The positions of the arguments that are settings and not data, so should be static."""
    return [n for n, arg in enumerate(self.args, 1) if isinstance(arg, (bool, str)) or callable(arg)]


def _holds_array(value: Any) -> bool:
  return any(isinstance(leaf, (jax.Array, np.ndarray)) for leaf in jax.tree.leaves(value))


@contextlib.contextmanager
def explained(
  boundary: Boundary, static: Sequence[int], crossing: Crossing, args: Any, kwargs: Any
) -> Iterator[None]:
  """Warns of static arguments that are arrays, and adds to JAX's errors what is wrong with those that there are."""
  statics = Statics(boundary, static, crossing, args, kwargs)
  if static:
    statics.warn()
  try:
    yield
  except (jax.errors.ConcretizationTypeError, ValueError) as error:
    trap = None if isinstance(error, errors.MinilinenError) else statics.trap(error)
    if trap is not None and not hasattr(error, "trap"):
      error.trap = trap  # type: ignore[attr-defined]
      error.add_note(str(trap))
    raise
