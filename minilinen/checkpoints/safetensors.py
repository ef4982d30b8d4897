"""safetensors: the length of a header, the header in JSON, and the bytes of all arrays one after the other.

    8 bytes      how long the header is
    header       {"params/kernel": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}, "__metadata__": {...}}
    the rest     the arrays, to which the offsets point

Source: https://huggingface.co/docs/safetensors. What the reference refuses is refused: a header over 100 MB,
arrays that overlap or leave a hole. Dtypes that the format lacks are kept as bytes (`notes`).
"""

from __future__ import annotations

import json
import os
from typing import Any

from minilinen.checkpoints.notes import KEY, named_arrays, nested, read_note
from minilinen.checkpoints.stored import Damaged, StoredArray, stored_at

LONGEST = 100_000_000
DTYPES = {
  "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "C64": "complex64", "BOOL": "bool",
  "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
  "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
  "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
}  # fmt: skip
_SHORT = {long: short for short, long in DTYPES.items()}


def looks_like(start: bytes) -> bool:
  """Whether a file that begins so is one, be it damaged."""
  return len(start) > 8 and start[8:9] == b"{" and start[6:8] == b"\0\0"


def read(file: str) -> dict[str, Any]:
  """What a file holds, from its header.

  Raises:
    Damaged: if it holds something impossible.
  """
  with open(file, "rb") as source:
    size = os.fstat(source.fileno()).st_size
    length = int.from_bytes(source.read(8), "little")
    if length > LONGEST:
      raise Damaged(f"its header would have {length:,} bytes, and at most {LONGEST:,} are allowed")
    if length > size - 8:
      raise Damaged(f"it is cut off: its header has {length:,} bytes, and {max(size - 8, 0):,} are there")
    header = _header(source.read(length))
  note = header.pop("__metadata__", {})
  if not isinstance(note, dict):
    raise Damaged("its __metadata__ is no object")
  arrays = _arrays(header, file, 8 + length, size - 8 - length)
  return nested(arrays, read_note(note.get(KEY, "{}")))


def _header(text: bytes) -> dict[str, Any]:
  def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
      raise Damaged("its header has a name twice")
    return found

  try:
    header = json.loads(text, object_pairs_hook=once)
  except Damaged:
    raise
  except (ValueError, RecursionError) as error:
    raise Damaged(f"its header is no JSON ({error})") from None
  if not isinstance(header, dict):
    raise Damaged("its header is no object")
  return header


def _arrays(header: dict[str, Any], file: str, start: int, size: int) -> dict[str, StoredArray]:
  arrays, places = {}, []
  for name, entry in header.items():
    where = f"its array {name!r:.200}"
    dtype, shape, begin, end = _entry(entry, where)
    arrays[name] = array = stored_at(file, start + begin, shape, dtype, where)
    if end - begin != array.nbytes:
      raise Damaged(f"{where} has {array.nbytes:,} bytes, and its offsets {end - begin:,}")
    places.append((begin, end, name))
  last = 0
  for begin, end, name in sorted(places):
    if begin != last:
      raise Damaged(
        f"its array {name!r:.200} {'overlaps another' if begin < last else 'stands behind a hole'}"
      )
    last = end
  if last != size:
    what = f"it is cut off: {size:,} bytes of" if last > size else f"{size:,} bytes are there for"
    raise Damaged(f"{what} arrays of {last:,}")
  return arrays


def _entry(entry: Any, where: str) -> tuple[str, Any, int, int]:
  """Dtype, shape and offsets of an array."""
  try:
    short, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
  except (TypeError, KeyError, ValueError):
    short, shape, begin, end = "", (), None, None
  if type(begin) is not int or type(end) is not int:
    raise Damaged(f"{where} lacks a dtype, a shape or two offsets")
  if not isinstance(short, str) or short not in DTYPES:
    raise Damaged(f"{where} has the unknown dtype {short!r:.80}")
  return DTYPES[short], shape, begin, end


def write(file: str, tree: dict[str, Any]) -> None:
  """Writes nested dicts."""
  arrays, note = named_arrays(tree, _SHORT.__contains__)
  header: dict[str, Any] = {"__metadata__": {KEY: note}} if note else {}
  end = 0
  for name, array in arrays.items():
    begin, end = end, end + array.nbytes
    header[name] = {"dtype": _SHORT[array.dtype.name], "shape": array.shape, "data_offsets": [begin, end]}
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)  # so that arrays stand where they can be mapped into memory
  with open(file, "wb") as target:
    target.write(len(text).to_bytes(8, "little") + text)
    for array in arrays.values():
      array.tofile(target)
