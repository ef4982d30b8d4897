"""What a format of named arrays lacks: nested dicts, other values, JAX's rarer dtypes. safetensors and npz use it.

These know arrays by names, so a path becomes a name: "params/Dense_0/kernel". What a name and an array cannot say
stands in a note beside them, a JSON object which is left out where it would be empty:

    {"paths": {"a/b#0": ["a/b"]},                  # names that are not simply the path's
     "dtypes": {"params/kernel": "int4"},          # arrays whose raw bytes or key data are kept
     "values": [[["step"], 3], [["empty"], {}]],   # what is no array
     "separator": "/"}
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from minilinen.checkpoints.stored import Damaged, Names, StoredArray, dtype_of, put, raw, stored
from minilinen.tracing.rebuilt import leaves
from minilinen.tracing.spec import KEYS

KEY = "minilinen"
"""The name of the note in a file."""


def named_arrays(tree: Any, native: Callable[[str], bool]) -> tuple[dict[str, np.ndarray], str]:
  """The arrays of a tree by name, and the note, "" if none is needed.

  Args:
    tree: nested dicts.
    native: whether a format has a dtype; arrays of others are kept as bytes.
  """
  arrays: dict[str, np.ndarray] = {}
  note: dict[str, Any] = {"paths": {}, "dtypes": {}, "values": []}
  for path, leaf in leaves(tree):
    if _is_plain(leaf):
      said = {"complex": [leaf.real, leaf.imag]} if isinstance(leaf, complex) else leaf
      note["values"].append([path, said])
      continue
    array, dtype = raw(leaf)
    if dtype not in KEYS:
      dtype_of(dtype, f"the array {'/'.join(path)!r:.200}")  # or nobody could read it back
    name = "/".join(path)
    if name.split("/") != [*path] or not all(path) or name in arrays or name == KEY or "\0" in name:
      name = name.replace("\0", "")
      name = next(odd for n in itertools.count() if (odd := f"{name}#{n}") not in arrays)
      note["paths"][name] = path
    if not native(dtype):
      note["dtypes"][name] = dtype
      array = array if dtype in KEYS else np.asarray(array, order="C")[..., None].view(np.uint8)
    arrays[name] = array
  kept = {part: said for part, said in note.items() if said}
  if kept or any(_splits(arrays)(name) != tuple(name.split("/")) for name in arrays):
    kept["separator"] = "/"
  return arrays, json.dumps(kept) if kept else ""


def _is_plain(leaf: Any) -> bool:
  """Whether a leaf is no array: a number with a dtype is one."""
  return isinstance(leaf, (str, dict, type(None))) or (
    isinstance(leaf, (bool, int, float, complex)) and not hasattr(leaf, "dtype")
  )


def read_note(text: str) -> dict[str, Any]:
  """A note as it stands in a file.

  Raises:
    Damaged: if it is none.
  """
  try:
    note = json.loads(text)
    paths, dtypes, values = note.get("paths", {}), note.get("dtypes", {}), note.get("values", [])
    names = [*paths.values(), *(path for path, _ in values)]
    right = all(
      isinstance(path, list) and path and all(isinstance(name, str) for name in path) for path in names
    )
    right = right and all(isinstance(dtype, str) for dtype in dtypes.values())
    note = {"paths": paths, "dtypes": dtypes, "values": values, "separator": note.get("separator")}
  except (ValueError, TypeError, AttributeError, RecursionError):
    note, right = {}, False
  if not right:
    raise Damaged("its note of what is no array is damaged")
  return note


def nested(arrays: Mapping[str, StoredArray], note: Mapping[str, Any]) -> dict[str, Any]:
  """Nested dicts of named arrays. Names of others are split at slashes if there are any, else at dots."""
  tree: dict[str, Any] = {}
  split = (lambda name: tuple(name.split("/"))) if note["separator"] == "/" else _splits(arrays)
  for name, array in arrays.items():
    path = tuple(note["paths"].get(name) or split(name))
    put(tree, path, _seen_as(array, note["dtypes"].get(name), name))
  for path, value in note["values"]:
    put(tree, tuple(path), _value(value))
  return tree


def _value(value: Any) -> Any:
  if not isinstance(value, dict) or not value:
    return value
  parts = value.get("complex")
  if not isinstance(parts, list) or [*map(type, parts)] != [float, float]:
    raise Damaged("its note of what is no array is damaged")
  return complex(*parts)


def _splits(names: Mapping[str, Any]) -> Callable[[str], Names]:
  sign = "/" if any("/" in name for name in names) else "."
  paths = [tuple(name.split(sign)) for name in names]
  above = {path[:end] for path in paths for end in range(1, len(path))}
  if above & {*paths}:  # One is an array and holds others: these names are no paths.
    return lambda name: (name,)
  return lambda name: tuple(name.split(sign))


def _seen_as(array: StoredArray, dtype: str | None, name: str) -> StoredArray:
  """An array of whose dtype the format has only the bytes."""
  if dtype is None:
    return array
  width = None if dtype in KEYS else dtype_of(dtype, name)
  if array.dtype != ("uint32" if width is None else "uint8") or not array.shape:
    raise Damaged(f"its note says that {name!r:.200} is of {dtype}, which its bytes are not")
  if width is None:
    return stored(array.shape[:-1], dtype, array.read, name)
  return stored(array.shape[:-1], dtype, lambda: array.read().view(width)[..., 0], name)


def plain(value: Any) -> Any:
  """Any pytree as nested dicts, with the names that Flax gives its parts: "0", "1" of lists, fields of named tuples.

  Raises:
    Damaged: if two parts would have the same name.
  """
  if isinstance(value, Mapping):
    parts = {str(name): part for name, part in value.items()}
    if len(parts) != len(value):
      raise Damaged(f"two of its names are the same as text: {sorted(map(str, value))!r:.200}")
  elif isinstance(value, tuple) and hasattr(value, "_fields"):
    parts = dict(zip(value._fields, value))  # type: ignore[attr-defined]
  elif isinstance(value, (list, tuple)):
    parts = {str(n): part for n, part in enumerate(value)}
  else:
    children = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda x: x is not value)[0]
    if value is None or not children or not children[0][0]:
      return value
    parts = {_name(path): part for path, part in children}
  return {name: plain(part) for name, part in parts.items()}


def _name(path: Any) -> str:
  return jax.tree_util.keystr(path, simple=True, separator="/")
