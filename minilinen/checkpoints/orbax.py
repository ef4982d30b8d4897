"""orbax: a folder with a list of what it holds and a store of arrays, in zarr; read through the package tensorstore.

`_METADATA` names the leaves of the tree. The store is OCDBT, a database in files, or a folder for each array; there
`.zarray` (or `zarr.json`) says shape and dtype of one. A folder of a manager has one folder for each step, of which the
newest is read, and a step may hold several items.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from minilinen.checkpoints.stored import Damaged, Names, put, stored
from minilinen.tracing.spec import KEYS

_LIST, _HEADERS = "_METADATA", {".zarray": "zarr", "zarr.json": "zarr3"}
_IMPLEMENTATIONS = {impl: dtype for dtype, impl in KEYS.items()}


def read(folder: str) -> dict[str, Any]:
  """What a folder holds.

  Raises:
    Damaged: if it holds no checkpoint, or something impossible.
    ImportError: if tensorstore is not installed.
  """
  if _is_one(folder):
    return _read(folder)
  if items := _items(folder):
    trees = {item: _read(os.path.join(folder, item)) for item in items}
    return trees["default"] if [*trees] == ["default"] else trees
  if steps := _steps(folder):
    return read(os.path.join(folder, steps[-1]))
  raise Damaged("it is a folder without a checkpoint of orbax")


def _is_one(folder: str) -> bool:
  return any(os.path.exists(os.path.join(folder, name)) for name in (_LIST, "manifest.ocdbt"))


def _folders(folder: str) -> list[str]:
  return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())


def _items(folder: str) -> list[str]:
  return (
    [name for name in _folders(folder) if _is_one(os.path.join(folder, name))] if not _steps(folder) else []
  )


def _steps(folder: str) -> list[str]:
  """Folders of steps ("12", "checkpoint_12"), the newest last."""
  steps = {name: name.rpartition("_")[2] for name in _folders(folder)}
  found = [name for name, number in steps.items() if number.isdecimal()]
  found = [
    name for name in found if _is_one(os.path.join(folder, name)) or _items(os.path.join(folder, name))
  ]
  return sorted(found, key=lambda name: int(steps[name]))


def _read(folder: str) -> dict[str, Any]:
  import tensorstore

  where = f"file://{os.path.abspath(folder)}/"
  ocdbt = os.path.exists(os.path.join(folder, "manifest.ocdbt"))
  store = (
    {"driver": "ocdbt", "base": where} if ocdbt else {"driver": "file", "path": where.removeprefix("file://")}
  )
  try:
    values = tensorstore.KvStore.open(store).result()
    names = [name.decode() for name in values.list().result()]
    headers = {
      name.removesuffix(f"/{end}"): (driver, json.loads(values.read(name).result().value))
      for end, driver in _HEADERS.items() for name in names if name.endswith(f"/{end}")
    }  # fmt: skip
  except ValueError as error:
    raise Damaged(f"its store cannot be read ({str(error).splitlines()[0]:.120})") from None
  keys = _keys(folder)
  tree: dict[str, Any] = {}
  for path, said in _leaves(folder, headers).items():
    name = ".".join(path)
    put(
      tree,
      path,
      _leaf(store, headers, name, keys.get(name)) if name in headers else _other(folder, name, said),
    )
  return tree


def _leaves(folder: str, headers: Mapping[str, Any]) -> dict[Names, dict[str, Any]]:
  """The path of each leaf, and what the list says of it. Without a list, names of arrays are split at dots."""
  listed = _json(os.path.join(folder, _LIST))
  if listed is None:
    return {tuple(name.split(".")): {} for name in headers}
  try:
    return {
      tuple(str(key["key"]) for key in leaf["key_metadata"]): leaf["value_metadata"]
      for leaf in listed["tree_metadata"].values()
    }
  except (KeyError, TypeError, AttributeError):
    raise Damaged(f"its {_LIST} lists no tree") from None


def _leaf(store: dict[str, Any], headers: Mapping[str, Any], name: str, key: str | None) -> Any:
  driver, header = headers[name]
  where = f"its array {name!r:.200}"
  spec = {"driver": driver, "kvstore": {**store, "path": f"{store.get('path', '')}{name}/"}}

  def values() -> Any:
    import tensorstore

    return tensorstore.open(spec).result().read().result()

  try:
    shape, dtype = header["shape"], header.get("dtype") or header.get("data_type")
  except (TypeError, KeyError, AttributeError):
    raise Damaged(f"{where} has no shape or dtype") from None
  if key is not None:
    return stored(shape[:-1], _IMPLEMENTATIONS.get(key, f"key<{key}>"), values, where)
  return stored(shape, dtype, values, where)


def _other(folder: str, name: str, said: Mapping[str, Any]) -> Any:
  """What is no array: nothing, an empty dict, a text."""
  kind = said.get("value_type")
  if kind in ("None", "Dict", "List"):
    return None if kind == "None" else {}
  if kind == "string":
    return (_json(os.path.join(folder, "_strings.json")) or {}).get(name)
  raise Damaged(f"its array {name!r:.200} is listed and not there")


def _keys(folder: str) -> dict[str, str]:
  """Which arrays are random keys, and of which implementation."""
  found: dict[str, str] = {}
  about = os.path.join(folder, "array_metadatas")
  for file in sorted(os.listdir(about)) if os.path.isdir(about) else ():
    for entry in (_json(os.path.join(about, file)) or {}).get("array_metadatas", ()):
      array = entry.get("array_metadata", {})
      if (array.get("ext_metadata") or {}).get("random_key_impl"):
        found[array["param_name"]] = array["ext_metadata"]["random_key_impl"]
  return found


def _json(file: str) -> Any:
  if not os.path.exists(file):
    return None
  try:
    with open(file, encoding="utf-8") as source:
      return json.load(source)
  except (ValueError, RecursionError) as error:
    raise Damaged(f"its {os.path.basename(file)} is no JSON ({error!s:.80})") from None
