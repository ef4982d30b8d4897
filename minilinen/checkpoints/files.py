"""What a file of variables is, by its first bytes, and the three things that are done with one."""

from __future__ import annotations

import os
import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from typing import Any

from minilinen.checkpoints import msgpack, npz, orbax, safetensors
from minilinen.checkpoints.notes import plain
from minilinen.checkpoints.stored import Damaged, StoredArray, put
from minilinen.errors.checkpoints import CheckpointError, MissingPackageError, PickleError
from minilinen.spelling import did_you_mean
from minilinen.tracing.globs import matches
from minilinen.tracing.paths import Path
from minilinen.tracing.rebuilt import leaves

_WRITERS = {".safetensors": safetensors.write, ".msgpack": msgpack.write, ".npz": npz.write}
_FOREIGN = {
  b"\x89HDF": "HDF5, as Keras writes", b"\x1f\x8b": "compressed by gzip", b"\x93NUMPY": "one array of numpy's (.npy)",
  b"\x28\xb5\x2f\xfd": "compressed by zstd", b"<": "a page or XML", b"{": "JSON", b"[": "JSON",
}  # fmt: skip


def tree(file: str | os.PathLike[str], *, allow_pickle: bool = False) -> dict[str, Any]:
  """What a file holds, from its headers: nested dicts with a `StoredArray` for each array, other values as they are.

  Args:
    file: Flax's msgpack, safetensors or npz, or a folder of orbax; of a folder of steps the newest is read.
    allow_pickle: whether a pickle is read too, which runs code of whoever wrote it.

  Raises:
    CheckpointError: if it is none of these, is damaged or cut off.
    PickleError: if it is a pickle.
    MissingPackageError: if a package is needed that is not installed.
  """
  file = os.fspath(file)
  if not os.path.exists(file):
    folder = os.path.dirname(file)
    near = (
      [os.path.join(folder, name) for name in os.listdir(folder or ".")]
      if os.path.isdir(folder or ".")
      else []
    )
    raise CheckpointError(file, f"there is no such file.{did_you_mean(file, near)}")
  try:
    if os.path.isdir(file):
      return orbax.read(file)
    return _file(file, allow_pickle)
  except Damaged as error:
    raise CheckpointError(file, f"{error}.") from None
  except npz.HasPickle:
    raise PickleError(file) from None
  except OSError as error:
    raise CheckpointError(file, f"it cannot be read ({error.strerror or error}).") from None
  except ImportError as error:
    raise MissingPackageError(file, error.name) from None


def _file(file: str, allow_pickle: bool) -> dict[str, Any]:
  size = os.path.getsize(file)
  with open(file, "rb") as source:
    start = source.read(16)
    source.seek(max(size - 1, 0))
    end = source.read()
  if not size:
    raise Damaged("it is empty")
  if zipfile.is_zipfile(file) or start.startswith(b"PK\x03\x04"):
    return npz.read(file)
  if safetensors.looks_like(start):
    return safetensors.read(file)
  if end == b"." and _is_pickle(file):
    return _unpickled(file, allow_pickle)
  if foreign := next((what for mark, what in _FOREIGN.items() if start.startswith(mark)), None):
    raise Damaged(f"it is {foreign}, and holds no variables that could be read here")
  if msgpack.looks_like(start):
    return msgpack.read(file)
  raise Damaged("it is neither Flax's msgpack nor safetensors, npz or a folder of orbax")


def _is_pickle(file: str) -> bool:
  """Whether a file is a pickle, by its first operations; nothing of it is run."""
  with open(file, "rb") as source:
    try:
      for count, _ in enumerate(pickletools.genops(source)):
        if count > 20:
          break
    except Exception:
      return False
  return True


def _unpickled(file: str, allow_pickle: bool) -> dict[str, Any]:
  if not allow_pickle:
    raise PickleError(file)
  with open(file, "rb") as source:
    found = plain(pickle.load(source))
  if not isinstance(found, dict):
    raise Damaged(f"its pickle holds no dict but {type(found).__name__}")
  return found


def load(file: str | os.PathLike[str], pattern: str = "**", *, allow_pickle: bool = False) -> dict[str, Any]:
  """The values in a file, as nested dicts of numpy arrays and random keys.

  Args:
    file: as for `tree`.
    pattern: which are read, as collection/path/name: "params/**/kernel"; of others nothing is read.
    allow_pickle: as for `tree`.

  Raises:
    CheckpointError: as for `tree`; also if the pattern fits nothing.
  """
  found = [*leaves(tree(file, allow_pickle=allow_pickle))]
  wanted = Path.of(pattern)
  values: dict[str, Any] = {}
  for path, leaf in found:
    if any(matches(wanted, path[:end]) for end in range(len(path) + 1)):
      try:
        put(values, path, leaf.value() if isinstance(leaf, StoredArray) else leaf)
      except (Damaged, OSError, ValueError) as error:
        raise CheckpointError(os.fspath(file), f"{Path(path).bare}: {error}.") from None
  if not values and found:
    near = did_you_mean(pattern, [Path(path).bare for path, _ in found])
    raise CheckpointError(os.fspath(file), f"nothing in it fits the pattern {pattern!r}.{near}")
  return values


def save(file: str | os.PathLike[str], variables: Mapping[str, Any] | Any) -> None:
  """Writes variables, or any other pytree of arrays, to a file; what was there stays until the new file is whole.

  Args:
    file: as its suffix says: .safetensors, .msgpack (as Flax writes, and reads) or .npz.
    variables: boxes, lists, named tuples and a `TrainState` become nested dicts, as in Flax's state dicts.

  Raises:
    CheckpointError: if the suffix is another, or a leaf cannot be written.
    MissingPackageError: if a package is needed that is not installed.
  """
  file = os.fspath(file)
  write = _WRITERS.get(os.path.splitext(file)[1])
  if write is None:
    raise CheckpointError(file, f"its suffix is none of {', '.join(_WRITERS)}.")
  part = f"{file}.part"
  try:
    nested = plain(variables)
    if not isinstance(nested, dict):
      raise Damaged(f"{type(variables).__name__} is no tree of variables")
    write(part, nested)
    os.replace(part, file)
  except ImportError as error:
    raise MissingPackageError(file, error.name) from None
  except OSError as error:
    raise CheckpointError(file, f"it cannot be written ({error.strerror or error}).") from None
  except (Damaged, TypeError, ValueError, OverflowError) as error:
    raise CheckpointError(file, f"it cannot be written: {error}.") from None
  finally:
    if os.path.exists(part):
      os.remove(part)
