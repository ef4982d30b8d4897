"""Flax's msgpack (`flax.serialization`): nested maps, in which an array is an extension of its own.

An array is a msgpack inside of the msgpack, [shape, dtype, bytes], under the extension 1, a numpy scalar under 3; a
complex number is [real, imaginary] under 2. An array of more than 1 GB is a map of its shape and of pieces. To find
where arrays are without reading them, this walks over the file as it lies on the disk; the package `msgpack`, which
would read all of it, writes. Source: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

import mmap
import struct
from typing import Any

import numpy as np

from minilinen.checkpoints.stored import Damaged, StoredArray, raw, stored, stored_at
from minilinen.tracing.spec import KEYS

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_PIECES = "__msgpack_chunked_array__"
_PIECE = 2**30
_KEY = "__minilinen_key__"
_NUMBERS = dict(zip(range(0xCA, 0xD4), (">f", ">d", ">B", ">H", ">I", ">Q", ">b", ">h", ">i", ">q")))
_SIZED = {
  0xC4: ("bin", 1), 0xC5: ("bin", 2), 0xC6: ("bin", 4), 0xC7: ("ext", 1), 0xC8: ("ext", 2), 0xC9: ("ext", 4),
  0xD9: ("str", 1), 0xDA: ("str", 2), 0xDB: ("str", 4), 0xDC: ("list", 2), 0xDD: ("list", 4),
  0xDE: ("map", 2), 0xDF: ("map", 4),
}  # fmt: skip
"""What begins with a mark, and in how many bytes it says its length."""


def looks_like(start: bytes) -> bool:
  """Whether a file that begins so is one whose outermost value is a map."""
  return bool(start) and (0x80 <= start[0] <= 0x8F or start[0] in (0xDE, 0xDF))


def read(file: str) -> dict[str, Any]:
  """What a file holds, by walking over it.

  Raises:
    Damaged: if it holds something impossible.
  """
  with open(file, "rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
    walk = _Walk(file, data, 0, len(data))
    try:
      tree = walk.value()
    except RecursionError:
      raise Damaged(f"its maps are nested too deep to be read, at byte {walk.at:,}") from None
    if walk.at != len(data):
      raise Damaged(f"its value ends at byte {walk.at:,}, and there are {len(data):,}")
  if not isinstance(tree, dict):
    raise Damaged("its outermost value is no map")
  return tree


class _Walk:
  """Goes over one msgpack value after another; `at` is the byte that comes next."""

  def __init__(self, file: str, data: mmap.mmap, at: int, end: int):
    self.file, self.data, self.at, self.end = file, data, at, end

  def value(self) -> Any:
    """The next value; of the bytes of arrays only the place."""
    mark = self.take(1)[0]
    if mark < 0x80 or mark >= 0xE0:
      return mark if mark < 0x80 else mark - 0x100
    if mark in (0xC0, 0xC2, 0xC3):
      return {0xC0: None, 0xC2: False, 0xC3: True}[mark]
    if mark in _NUMBERS:
      return struct.unpack(_NUMBERS[mark], self.take(struct.calcsize(_NUMBERS[mark])))[0]
    if mark < 0xC0:
      kind, length = (
        ("map", mark & 15) if mark < 0x90 else ("list", mark & 15) if mark < 0xA0 else ("str", mark & 31)
      )
    elif 0xD4 <= mark <= 0xD8:
      kind, length = "ext", 1 << (mark - 0xD4)
    elif mark in _SIZED:
      kind, width = _SIZED[mark]
      length = int.from_bytes(self.take(width), "big")
    else:
      raise Damaged(f"it is damaged at byte {self.at - 1:,}: {mark:#x} begins no value")
    return getattr(self, f"_{kind}")(length)

  def take(self, length: int) -> bytes:
    """The next bytes."""
    start = self.skip(length)
    return self.data[start : self.at]

  def skip(self, length: int) -> int:
    """Passes over bytes, and says where they begin."""
    if length > self.end - self.at:
      raise Damaged(f"it is cut off: at byte {self.at:,} of {self.end:,} it speaks of {length:,} more")
    self.at += length
    return self.at - length

  def _str(self, length: int) -> str:
    try:
      return self.take(length).decode()
    except UnicodeDecodeError:
      raise Damaged(f"it is damaged at byte {self.at - length:,}: a name is no text") from None

  def _bin(self, length: int) -> bytes:
    return self.take(length)

  def _list(self, length: int) -> list[Any]:
    self._has(length, 1)
    return [self.value() for _ in range(length)]

  def _map(self, length: int) -> Any:
    self._has(length, 2)
    found: dict[str, Any] = {}
    for _ in range(length):
      name = self.value()
      if not isinstance(name, (str, int)) or str(name) in found:
        raise Damaged(f"it is damaged before byte {self.at:,}: {name!r:.80} is no name, or there twice")
      found[str(name)] = self.value()
    if _PIECES in found:
      return self._joined(found)
    if _KEY in found and isinstance(data := found.get("data"), StoredArray) and found[_KEY] in KEYS:
      return stored(data.shape[:-1], found[_KEY], data.read, f"a key before byte {self.at:,}")
    return found

  def _has(self, length: int, least: int) -> None:
    if length * least > self.end - self.at:
      raise Damaged(f"it is cut off: at byte {self.at:,} of {self.end:,} it speaks of {length:,} more values")

  def _ext(self, length: int) -> Any:
    kind = self.take(1)[0]
    inner = _Walk(self.file, self.data, self.skip(length), self.at)
    where = f"the array at byte {inner.at:,}"
    if kind == _COMPLEX:
      return complex(*_checked(inner.value(), [float, float], where))
    if kind not in (_ARRAY, _SCALAR):
      raise Damaged(f"it has a value of the unknown extension {kind} at byte {inner.at:,}")
    if inner.take(1) != b"\x93":
      raise Damaged(f"{where} lacks a shape, a dtype or bytes")
    shape, dtype = inner.value(), inner.value()
    mark = inner.take(1)[0]
    if mark not in (0xC4, 0xC5, 0xC6):
      raise Damaged(f"{where} has no bytes")
    size = int.from_bytes(inner.take(_SIZED[mark][1]), "big")
    start = inner.skip(size)
    array = stored_at(self.file, start, shape, dtype, where)
    if array.nbytes != size or inner.at != inner.end:
      raise Damaged(f"{where} has {size:,} bytes, and its header says {dtype}{shape}")
    return array

  def _joined(self, found: dict[str, Any]) -> StoredArray:
    where = f"the array in pieces before byte {self.at:,}"
    shape, pieces = (_listed(found.get(part)) for part in ("shape", "chunks"))
    if not pieces or not all(isinstance(piece, StoredArray) for piece in pieces):
      raise Damaged(f"{where} has none")
    array = stored(
      shape, pieces[0].dtype, lambda: np.concatenate([p.read() for p in pieces]).reshape(shape), where
    )
    if sum(piece.size for piece in pieces) != array.size or len({piece.dtype for piece in pieces}) > 1:
      raise Damaged(f"{where} has other elements than its shape {shape} says")
    return array


def _listed(part: Any) -> list[Any]:
  return [*part.values()] if isinstance(part, dict) else []


def _checked(values: Any, kinds: list[type], where: str) -> Any:
  if not isinstance(values, list) or [*map(type, values)] != kinds:
    raise Damaged(f"{where} is no complex number")
  return values


def write(file: str, tree: dict[str, Any]) -> None:
  """Writes nested dicts as `flax.serialization.msgpack_restore` reads them; random keys as a map of their data."""
  import msgpack

  def extension(value: Any) -> Any:
    if isinstance(value, complex) and not hasattr(value, "dtype"):
      return msgpack.ExtType(_COMPLEX, msgpack.packb([value.real, value.imag]))
    array, dtype = raw(value)
    if dtype in KEYS:
      return {_KEY: dtype, "data": array}
    if array.nbytes > _PIECE:
      step = _PIECE // array.dtype.itemsize
      flat = array.reshape(-1)
      pieces = {str(n): flat[at : at + step] for n, at in enumerate(range(0, flat.size, step))}
      return {_PIECES: True, "shape": {str(n): size for n, size in enumerate(array.shape)}, "chunks": pieces}
    kind = _SCALAR if isinstance(value, np.generic) else _ARRAY
    return msgpack.ExtType(kind, msgpack.packb([[*array.shape], dtype, array.tobytes()]))

  text = msgpack.packb(tree, default=extension, strict_types=True)
  with open(file, "wb") as target:
    target.write(text or b"")
