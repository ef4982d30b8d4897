"""May be skipped: `FrozenDict`: a nested dict that nobody can change, which JAX takes for a dict.

Variable trees leave `init` and `apply` as FrozenDicts, so that a model's parameters never change by accident.
Making one is free: it keeps the dict it was made of, and wraps a branch when somebody looks at it.
"""

from __future__ import annotations

import types
from collections.abc import Hashable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, TypeVar

import jax

from minilinen import errors

K = TypeVar("K")
V = TypeVar("V")


@jax.tree_util.register_pytree_with_keys_class
class FrozenDict(Mapping[K, V]):
  """An immutable nested dict.

  >>> d = FrozenDict({"a": {"b": 1}})
  >>> d["a"]["b"]
  1
  >>> d.copy({"c": 2})
  FrozenDict({
      a: {
          b: 1,
      },
      c: 2,
  })
  """

  __slots__ = ("_dict", "_hash")

  def __init__(self, *args: Any, __unsafe_skip_copy__: bool = False, **kwargs: Any):
    xs: dict[Any, Any] = dict(*args, **kwargs)
    self._dict: dict[Any, Any] = xs if __unsafe_skip_copy__ else _copied(xs)
    self._hash: int | None = None

  def __getitem__(self, key: K) -> Any:
    value = self._dict[key]
    return _wrapped(value) if isinstance(value, dict) else value

  def __setitem__(self, key: K, value: V) -> None:
    raise errors.FrozenDictError(key, isinstance(self._dict.get(key), dict))

  def __contains__(self, key: object) -> bool:
    return key in self._dict

  def __iter__(self) -> Iterator[K]:
    return iter(self._dict)

  def __len__(self) -> int:
    return len(self._dict)

  def keys(self) -> KeysView[K]:
    """The keys, which print as a list."""
    return _Keys(self)

  def values(self) -> ValuesView[Any]:
    """The values, which print as a list."""
    return _Values(self)

  def __repr__(self) -> str:
    return self.pretty_repr()

  def __reduce__(self) -> Any:
    return FrozenDict, (self.unfreeze(),)

  def __hash__(self) -> int:
    if self._hash is None:
      total = 0
      for key, value in self.items():
        total ^= hash((key, value))
      self._hash = total
    return self._hash

  def __eq__(self, other: object) -> bool:
    if isinstance(other, FrozenDict):
      return self._dict == other._dict
    return self._dict == other if isinstance(other, dict) else NotImplemented

  def pretty_repr(self, num_spaces: int = 4) -> str:
    """The tree as text, a line for each entry."""
    return f"FrozenDict({pretty_repr_body(self._dict, num_spaces)})"

  def copy(self, add_or_replace: Mapping[K, V] = types.MappingProxyType({})) -> FrozenDict[K, V]:
    """A FrozenDict with entries added or replaced."""
    return type(self)({**self, **unfreeze(add_or_replace)})

  def pop(self, key: K) -> tuple[FrozenDict[K, V], V]:
    """The rest and the value of a key."""
    value = self[key]
    rest = {k: v for k, v in self._dict.items() if k != key}
    return _wrapped(rest), value

  def unfreeze(self) -> dict[K, V]:
    """A dict of the caller's own, nested ones too."""
    return unfreeze(self)

  def tree_flatten_with_keys(self) -> tuple[tuple[Any, ...], Hashable]:
    keys = sorted(self._dict)
    return tuple((jax.tree_util.DictKey(k), self._dict[k]) for k in keys), tuple(keys)

  def tree_flatten(self) -> tuple[tuple[Any, ...], Hashable]:
    keys = sorted(self._dict)
    return tuple(self._dict[k] for k in keys), tuple(keys)

  @classmethod
  def tree_unflatten(cls, keys: Any, values: Any) -> FrozenDict[Any, Any]:
    return _wrapped({k: v._dict if isinstance(v, FrozenDict) else v for k, v in zip(keys, values)})


FrozenVariableDict = FrozenDict[str, Mapping[str, Any]]


class _Keys(KeysView[K]):
  def __repr__(self) -> str:
    return f"frozen_dict_keys({list(self)!r})"


class _Values(ValuesView[V]):
  def __repr__(self) -> str:
    return f"frozen_dict_values({list(self)!r})"


def _wrapped(tree: dict[Any, Any]) -> FrozenDict[Any, Any]:
  """A FrozenDict of a dict that nobody else changes."""
  frozen = FrozenDict.__new__(FrozenDict)
  frozen._dict = tree
  frozen._hash = None
  return frozen


also_frozen: set[type[Any]] = set()
"""Classes of other libraries that are taken for a FrozenDict: Flax's, where it was imported."""


def _is_tree(x: Any) -> bool:
  return isinstance(x, (dict, FrozenDict)) or type(x) in also_frozen


def _copied(tree: Mapping[Any, Any]) -> dict[Any, Any]:
  """A dict of the same tree, down to values that are no dicts."""
  return {k: _copied(v) if _is_tree(v) else v for k, v in tree.items()}


def freeze(xs: Mapping[Any, Any]) -> FrozenDict[Any, Any]:
  """A FrozenDict of a nested dict; later changes of the dict don't show in it."""
  return xs if isinstance(xs, FrozenDict) else FrozenDict(xs)


def unfreeze(x: Any) -> dict[Any, Any]:
  """A nested dict of the caller's own, from a FrozenDict or a dict of them."""
  if isinstance(x, FrozenDict):
    return _copied(x._dict)
  return _copied(x) if _is_tree(x) else x


def copy(
  x: Mapping[Any, Any], add_or_replace: Mapping[Any, Any] = types.MappingProxyType({})
) -> Mapping[Any, Any]:
  """A copy of a dict or FrozenDict, of its own kind, with entries added or replaced.

  Raises:
    NotADictError: if `x` is neither.
  """
  if isinstance(x, FrozenDict):
    return x.copy(add_or_replace)
  if isinstance(x, dict):
    return {**jax.tree.map(lambda leaf: leaf, x), **add_or_replace}
  raise errors.NotADictError(x, "copy")


def pop(x: Mapping[Any, Any], key: Any) -> tuple[Mapping[Any, Any], Any]:
  """The rest and the value of a key, of a dict or FrozenDict.

  >>> pop({"params": 1, "cache": 2}, "params")
  ({'cache': 2}, 1)

  Raises:
    NotADictError: if `x` is neither.
  """
  if isinstance(x, FrozenDict):
    return x.pop(key)
  if isinstance(x, dict):
    rest = jax.tree.map(lambda leaf: leaf, x)
    return rest, rest.pop(key)
  raise errors.NotADictError(x, "pop")


def pretty_repr(x: Any, num_spaces: int = 4) -> str:
  """A dict or FrozenDict as text, a line for each entry; anything else by its repr."""
  if isinstance(x, FrozenDict):
    return x.pretty_repr(num_spaces)
  return pretty_repr_body(x, num_spaces) if isinstance(x, dict) else repr(x)


def pretty_repr_body(tree: Any, num_spaces: int) -> str:
  """The braces of a nested dict, indented by `num_spaces` a level."""
  if not isinstance(tree, (dict, FrozenDict)):
    return repr(tree)
  lines = []
  for key, value in tree.items():
    inner = pretty_repr_body(value, num_spaces).replace("\n", "\n" + " " * num_spaces)
    lines.append(f"{' ' * num_spaces}{key}: {inner},\n")
  return "{\n" + "".join(lines) + "}" if lines else "{}"
