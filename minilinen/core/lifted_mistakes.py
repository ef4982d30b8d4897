"""May be skipped: mistakes at a boundary, said in the user's words instead of JAX's.

JAX numbers the leaves of what it is given, and what it is given by a lifted transform is not what the user wrote. Here
a carry is named as the lifted function names it, and static arguments are counted as the user counts them. `explained`
is asked once, when an exception leaves a boundary; what it must know and nobody kept it finds out by another run of
the body.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from minilinen import errors
from minilinen.core.boundary import Boundary
from minilinen.core.frozen_dict import unfreeze
from minilinen.tracing.paths import Path
from minilinen.tracing.recorder import Recorder, recording
from minilinen.tracing.spec import Opaque, describe


class Crossed(Protocol):
  """What messages must know of the run of a lifted transform: a `Crossing` has it.

  Attributes:
    boundary: what passes, and how.
    given: the arguments of the call, as seen from outside.
    again: what the body makes of what it was given, found out by another run of it; None if that says nothing.
    odd: what the body of a scan gave back, if that is no pair: in words, and how many things it is.
    path: where it happens.
  """

  boundary: Boundary
  given: tuple[tuple[Any, ...], Mapping[str, Any]]
  again: Callable[[], Any] | None
  odd: tuple[str, int] | None
  path: Path


def explained(error: Exception, crossing: Crossed) -> Exception | None:
  """The error that says more than one that leaves a boundary, or None; a note may be added to it.

  Carries that change and branches that differ come as TypeErrors, if not out of another boundary inside; static
  arguments that aren't right come as errors of several kinds.
  """
  if isinstance(error, errors.PartitioningUnspecifiedError) and error.lift is None:
    return errors.PartitioningUnspecifiedError(error.box, crossing.boundary.at, error.given)
  if isinstance(error, errors.DependsOnStepError) and error.lift is None:
    return _depends_on_step(error, crossing)
  if isinstance(error, errors.MinilinenError):
    return None
  if isinstance(error, (TypeError, ValueError)) and crossing.odd is not None:
    carry = argument_names(crossing.boundary.target.fn, 2)[1]
    return errors.CarryError.no_pair(crossing.boundary.at, str(crossing.path), carry, *crossing.odd)
  kept = vars(error)
  if type(error) is ValueError or isinstance(error, _CONCRETE):
    trap = None
    if not isinstance(kept.get("trap"), errors.StaticArgumentWarning):
      trap = _static_trap(error, crossing)
    if trap is not None:
      kept["trap"] = trap
      error.add_note(str(trap))
  elif isinstance(error, TypeError) and crossing.again is not None and not kept.get("crossed"):
    kept["crossed"] = True
    better = _CHANGED.get(crossing.boundary.kind, _carry_error)
    with contextlib.suppress(Exception), recording(Recorder()):  # whoever records has seen it
      return better(crossing, crossing.again())
  return None


def no_pair(gave: Any) -> tuple[str, int] | None:
  """What the body of a scan gave back, and how many things, if it is not a carry and what is stacked."""
  count = len(gave) if isinstance(gave, (tuple, list)) else 1
  return None if count == 2 else (_in_words(gave), count)


_CONCRETE = (jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError)


def _carry_error(crossing: Crossed, seen: Any) -> Exception | None:
  """The error for a carry that is another after the body than before: `(variables, carry)` each."""
  (groups_in, carry_in), (groups_out, carry_out) = seen
  boundary, path = crossing.boundary, str(crossing.path)
  for before, after in zip(groups_in, groups_out):
    created = sorted(_places(after) - _places(before))
    if created:
      col = created[0][0]
      names = ["/".join(place[1:]) for place in created if place[0] == col]
      return errors.CarriedCollectionError(col, [repr(n) for n in names[:3]], boundary.at, path)
  name = argument_names(boundary.target.fn, 2)[1]
  if jax.tree.structure(carry_in) != jax.tree.structure(carry_out):
    return errors.CarryError(
      f"The carry {name!r}", boundary.at, path, _in_words(carry_in), _in_words(carry_out)
    )
  for key, before, after in _differences(carry_in, carry_out):
    what = f"The carry {name + jax.tree_util.keystr(key)!r}"
    return errors.CarryError(what, boundary.at, path, _in_words(before), _in_words(after))
  for key, before, after in _differences(groups_in, groups_out):
    what = f"The carried variable {'/'.join(_place(key))!r}"
    return errors.CarryError(what, boundary.at, path, _in_words(before), _in_words(after))
  return None


def _branches_error(crossing: Crossed, seen: Sequence[Any]) -> Exception | None:
  """The error for branches that give different results or variables: a pair of each."""

  def differ(number: int, what: str, first: str, other: str, kind: str = "result") -> Exception:
    at, path = crossing.boundary.at, str(crossing.path)
    return errors.BranchesDifferError(what, at, path, first, other, number, kind)

  y, groups = seen[0]
  for number, (other_y, other_groups) in enumerate(seen):
    for place in sorted(_places(groups) ^ _places(other_groups)):
      there = ("there", "not there") if place in _places(groups) else ("not there", "there")
      return differ(
        number, f"variable {'/'.join(place)!r}", *there, "made" if place[0] == "params" else "sown"
      )
    if jax.tree.structure(y) != jax.tree.structure(other_y):
      return differ(number, "the result", _in_words(y), _in_words(other_y))
    for key, before, after in _differences(y, other_y):
      return differ(number, f"the result{jax.tree_util.keystr(key)}", _in_words(before), _in_words(after))
    for key, before, after in _differences(groups, other_groups):
      what = f"variable {'/'.join(_place(key))!r}"
      return differ(number, what, _in_words(before), _in_words(after), "changed")
  return None


def _depends_on_step(error: errors.DependsOnStepError, crossing: Crossed) -> errors.DependsOnStepError:
  """The error for what shall be the same in every step of a scan, said of the variable or the result.

  The place in what the pass before the loop gives: the shared variables by scope, or the results and the variables.
  """
  boundary, (part, *rest) = crossing.boundary, error.place.split("/")
  names = [name for name in rest if not name.isdigit()]
  if part == "0" or rest[:1] == ["1"]:
    col = names[0] if names else ""
    keys = [p for p in boundary.streams if p.takes("params")]
    is_split = part == "0" and col == "params" and bool(keys) and keys[0].kind == "split"
    return errors.DependsOnStepError.of_variable(
      error.place, boundary.at, str(crossing.path), "/".join(names), col, is_split, part == "0"
    )
  return errors.DependsOnStepError(error.place, boundary.at, str(crossing.path))


_CHANGED = {"cond": _branches_error, "switch": _branches_error}


def argument_names(fn: Any, count: int, needed: bool = False) -> list[str]:
  """The names of a function's first positional arguments, with what stands for the module first; or all it needs."""
  try:
    parameters = inspect.signature(fn).parameters.values()
  except (TypeError, ValueError):
    parameters = ()
  plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
  if needed:
    return [n for n in plain if inspect.signature(fn).parameters[n].default is inspect.Parameter.empty]
  return [*plain[:count], *(f"argument {i}" for i in range(len(plain), count))]


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
  """What a result, a carry or a direction is: what it consists of, with the shape of each array."""
  if isinstance(value, Mapping):
    return "{" + ", ".join(f"{name!r}: {_in_words(inner)}" for name, inner in value.items()) + "}"
  if type(value) in (tuple, list):
    inner = ", ".join(map(_in_words, value))
    return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
  described = describe(value)
  return described.type if isinstance(described, Opaque) else str(described)


# Mapped axes.


def size_on(leaf: Any, axis: int) -> int | None:
  """The size of an array on an axis, None if it has no such axis."""
  shape = getattr(leaf, "shape", ())
  return shape[axis] if -len(shape) <= axis < len(shape) else None


def not_one_size(axes: Any, trees: Any, given: int | None, what: str, crossing: Crossed) -> Exception:
  """The error for variables and arguments of several sizes on the mapped axis, or of none.

  Args:
    axes, trees: of the groups of variables, and of the arguments.
    given: the size that the user gave, as `what`.
  """
  at, path = crossing.boundary.at, str(crossing.path)
  first = 2 if crossing.boundary.kind == "scan" else 1  # the module and the carry are not mapped
  names = argument_names(crossing.boundary.target.fn, first + len(trees[1]))[first:]
  found: dict[str, dict[Any, str]] = {"variable": {}, "argument": {}}

  def look(key: Any, axis: Any, tree: Any) -> None:
    for inner, leaf in jax.tree_util.tree_leaves_with_path(tree) if isinstance(axis, int) else []:
      (part, index, *rest), size = (*key, *inner), size_on(leaf, axis)
      kind = "argument" if part.idx else "variable"
      name = names[index.idx] + jax.tree_util.keystr(tuple(rest)) if part.idx else "/".join(_place(rest))
      if size is None:
        raise errors.MappedSizeError.no_axis(at, path, f"{kind} {name!r}", np.shape(leaf), axis)
      found[kind].setdefault(size, f"{kind} {name!r}")

  try:
    jax.tree_util.tree_map_with_path(look, axes, trees, is_leaf=lambda x: x is None)
  except errors.MappedSizeError as error:
    return error
  if given is None and not any(found.values()):
    if first == 2 and not trees[1] and len(taken := argument_names(crossing.boundary.target.fn, 2, True)) > 2:
      return errors.MappedSizeError.carry_alone(at, path, taken[1:])
    return errors.MappedSizeError.unknown(at, path, what)
  return errors.MappedSizeError.differ(at, path, found["variable"], found["argument"], given, what)


# Derivatives.


def forward_error(pair: Any, boundary: Boundary) -> errors.DerivativeError:
  """The error for a forward function of `custom_vjp` that gives no pair."""
  return errors.DerivativeError(
    "The forward function of nn.custom_vjp must give a pair.",
    "(result, what the backward function needs)",
    _in_words(pair),
    "nn.custom_vjp(f, lambda module, x: nn.vjp(f, module, x), backward)",
    boundary.at,
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
        boundary.at,
      )
  return plain


def check_collections(by_scope: Sequence[Any], boundary: Boundary) -> None:
  """Raises DerivativeError if the directions for the variables are not given by collection."""
  for given in by_scope:
    if not isinstance(given, Mapping) or not all(v is None or isinstance(v, Mapping) for v in given.values()):
      raise errors.DerivativeError(
        "The variable_tangents of nn.jvp are a dict of collections, as variables are.",
        "collection -> nested dict of arrays",
        _in_words(given),
        '{"params": ...} in its place',
        boundary.at,
      )


def check_directions(wanted: Any, directions: Any, boundary: Boundary) -> None:
  """Raises DerivativeError if the directions for the variables are of another form than the variables."""
  if jax.tree.structure(directions) != jax.tree.structure(wanted):
    raise errors.DerivativeError(
      "The variable_tangents of nn.jvp must have a value for each variable of a collection, or none at all.",
      _listed(wanted),
      _listed(directions),
      'nn.jvp(f, self, (x,), (x_t,), {"params": jax.tree.map(jnp.ones_like, self.variables["params"])})',
      boundary.at,
    )


# Static arguments.


def no_concrete(boundary: Boundary) -> errors.RemovedOptionError:
  """The error for `concrete` of `remat`; arguments with a bool or a string for a default are settings."""
  try:
    parameters = [*inspect.signature(boundary.target.fn).parameters.values()]
  except (TypeError, ValueError):
    parameters = []
  settings = [
    n for n, p in enumerate(parameters) if p.kind != p.KEYWORD_ONLY and isinstance(p.default, (bool, str))
  ]
  return errors.RemovedOptionError.concrete(boundary.at, settings)


def warn_of_static_arrays(crossing: Crossed) -> None:
  """Warns if an array is static: then it is a constant for JAX, and not transformed."""
  args = crossing.given[0]
  for n in crossing.boundary.static:
    if isinstance(n, int) and 0 < n <= len(args) and _holds_array(args[n - 1]):
      errors.warn(_static(crossing, f"{_names(crossing)[n]!r} is an array, which must not be static."))
      return


def _static_trap(error: Exception, crossing: Crossed) -> errors.StaticArgumentWarning | None:
  """What is wrong with the static arguments, if that is what an error comes from."""
  static, args = crossing.boundary.static, crossing.given[0]
  if crossing.boundary.kind not in ("jit", "remat"):
    return None
  numbers = [n for n in static if isinstance(n, int)]
  if type(error) is ValueError:
    if 0 in numbers:
      return _static(crossing, "number 0 is the module, which never is.")
    if "static_argnums" not in str(error) or all(n <= len(args) for n in numbers):
      return None
    by_name = next(iter(crossing.given[1]), "")
    return _static(crossing, f"there is no argument number {max(numbers)}.", by_name=by_name)
  kinds = (bool, str, int) if isinstance(error, jax.errors.TracerIntegerConversionError) else (bool, str)
  plain = [n for n in _plain(args, kinds) if n not in static]
  if plain:
    return _static(
      crossing, f"{_names(crossing)[plain[0]]!r} is {args[plain[0] - 1]!r}, and not static.", plain
    )
  return None


def _static(
  crossing: Crossed, wrong: str, plain: Sequence[int] = (), by_name: str = ""
) -> errors.StaticArgumentWarning:
  numbers = [n for n in crossing.boundary.static if isinstance(n, int)]
  names, plain = _names(crossing), plain or _plain(crossing.given[0])
  return errors.StaticArgumentWarning(
    crossing.boundary.at, names, numbers, wrong, plain, str(crossing.path), by_name
  )


def _names(crossing: Crossed) -> list[str]:
  return argument_names(crossing.boundary.target.fn, 1 + len(crossing.given[0]))


def _plain(args: Sequence[Any], kinds: tuple[type[Any], ...] = (bool, str)) -> list[int]:
  """The positions of the arguments that are settings and not data, so should be static."""
  return [n for n, arg in enumerate(args, 1) if isinstance(arg, kinds) or callable(arg)]


def _holds_array(value: Any) -> bool:
  return any(isinstance(leaf, (jax.Array, np.ndarray)) for leaf in jax.tree.leaves(value))
