"""npz: a zip of arrays, each with a header of its own (`numpy.savez`).

numpy knows JAX's dtypes by their bytes only, so these stand in a note (`notes`), a member of the zip of its own. A file
of numpy's that lacks it shows a bfloat16 as the two bytes ("V2") that numpy wrote.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from typing import Any

import numpy as np

from minilinen.checkpoints.notes import KEY, named_arrays, nested, read_note
from minilinen.checkpoints.stored import Damaged, StoredArray, stored

_MOST = 1_032
"""Deflate makes at most so many bytes of one."""


class HasPickle(Exception):
  """A member holds Python objects."""


def read(file: str) -> dict[str, Any]:
  """What a file holds, from its list of members and their headers.

  Raises:
    Damaged: if it holds something impossible.
    HasPickle: if it holds Python objects.
  """
  try:
    with zipfile.ZipFile(file) as members:
      infos = members.infolist()
      _check(infos)
      note = _note(infos)
      text = members.read(note).decode() if note else "{}"
      infos = [info for info in infos if info is not note]
      arrays = {info.filename.removesuffix(".npy"): _array(file, members, info) for info in infos}
  except (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    UnicodeDecodeError,
    OSError,
  ) as error:
    raise Damaged(f"it is no whole zip ({error})") from None
  if len(arrays) != len(infos):
    raise Damaged("it has a name twice")
  return nested(arrays, read_note(text))


def _note(infos: list[zipfile.ZipInfo]) -> zipfile.ZipInfo | None:
  return next((info for info in infos if info.filename == KEY and info.file_size < 100_000_000), None)


def _check(infos: list[zipfile.ZipInfo]) -> None:
  last = 0
  for info in sorted(infos, key=lambda info: info.header_offset):
    where = f"its member {info.filename!r:.200}"
    if info.filename.endswith("data.pkl"):
      raise HasPickle()
    if info.flag_bits & 1:
      raise Damaged(f"{where} is encrypted")
    if info.header_offset < last:
      raise Damaged(f"{where} overlaps another")
    if info.file_size > _MOST * info.compress_size:
      raise Damaged(f"{where} cannot grow from {info.compress_size:,} to {info.file_size:,} bytes")
    last = info.header_offset + 30 + info.compress_size


def _array(file: str, members: zipfile.ZipFile, info: zipfile.ZipInfo) -> StoredArray:
  where = f"its array {info.filename.removesuffix('.npy')!r:.200}"
  with members.open(info) as source:
    shape, fortran, dtype = _header(source, where)
    start = source.tell()
  if dtype.hasobject:
    raise HasPickle()

  def values() -> np.ndarray:
    try:
      with zipfile.ZipFile(file) as members, members.open(info) as source:
        source.read(start)
        flat = np.frombuffer(source.read(), dtype).astype(dtype.newbyteorder("="), copy=False)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
      raise Damaged(f"{where} cannot be unpacked ({error})") from None
    return flat.reshape(shape, order="F" if fortran else "C")

  if math.prod(shape) * dtype.itemsize != info.file_size - start:
    raise Damaged(f"{where} has {info.file_size - start:,} bytes, and its header says {dtype}{[*shape]}")
  return stored(shape, dtype, values, where)


def _header(source: Any, where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
  try:
    version = np.lib.format.read_magic(source)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(source)
  except (ValueError, SyntaxError, TypeError) as error:
    raise Damaged(f"{where} has a header that is none ({error!s:.80})") from None


def write(file: str, tree: dict[str, Any]) -> None:
  """Writes nested dicts."""
  arrays, note = named_arrays(tree, _NATIVE.__contains__)
  with zipfile.ZipFile(file, "w") as members:
    for name, array in arrays.items():
      with members.open(f"{name}.npy", "w", force_zip64=True) as target:
        np.lib.format.write_array(target, np.asanyarray(array), allow_pickle=False)
    if note:
      members.writestr(KEY, note)


_NATIVE = {np.dtype(kind).name for kind in "?bhilBHILefdFD"}
