"""Files that are cut off, foreign, damaged or made to do harm: an error says what is wrong, soon, in little memory."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import random
import re
import struct
import subprocess
import sys
import time
import unittest.mock
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import msgpack
import numpy as np
import orbax.checkpoint
import pytest

import minilinen as nn
from minilinen.checkpoints import load, save, tree
from minilinen.errors import CheckpointError, MissingPackageError, PickleError

pytestmark = pytest.mark.grid

VARIABLES = {
  "params": {"Dense_0": {"kernel": np.ones((3, 4), np.float32), "bias": np.zeros(4, "bfloat16")}},
  "step": 3,
}
SUFFIXES = [".safetensors", ".msgpack", ".npz"]


def safetensors_of(header: Any, data: bytes = b"\0" * 8, length: int | None = None) -> bytes:
  """A file of safetensors with any header."""
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(**entry: Any) -> dict[str, Any]:
  """A header with one array of 8 bytes, and what is odd of it."""
  return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **entry}}


def array_of(*parts: Any) -> bytes:
  """Flax's msgpack of one array, whose parts are these."""
  return msgpack.packb({"w": msgpack.ExtType(1, msgpack.packb([*parts]))})


def npz_of(name: str = "w.npy", data: bytes | None = None, **entry: Any) -> bytes:
  """An npz with one member, and what is odd of it."""
  whole, array = io.BytesIO(), io.BytesIO()
  np.save(array, np.ones(2))
  with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as members:
    members.writestr(name, array.getvalue() if data is None else data)
    for key, value in entry.items():
      setattr(members.infolist()[0], key, value)
  return whole.getvalue()


def header_of_numpy(text: str, data: bytes = b"") -> bytes:
  """An array of numpy's with any header."""
  return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n" + data


BAD = {
  "empty": (b"", "it is empty"),
  "text": (b"hello, world", "neither Flax's msgpack nor safetensors, npz or a folder of orbax"),
  "json": (b'{"params": {}}', "it is JSON"),
  "keras": (b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "it is HDF5"),
  "gzip": (b"\x1f\x8b" + b"\0" * 100, "compressed by gzip"),
  "longer than the file": (safetensors_of(one(), length=99_999), "its header has 99,999 bytes, and 69 are there"),
  "header of 10^15 bytes": (safetensors_of(one(), length=10**14), "at most 100,000,000 are allowed"),
  "header that is no JSON": (safetensors_of(b'{"w": '), "its header is no JSON"),
  "deep header": (safetensors_of(b'{"a":' * 100_000), "its header is no JSON"),
  "name twice": (safetensors_of(b'{"w":{"dtype":"F32"},"w":{}}'), "has a name twice"),
  "no offsets": (safetensors_of({"w": {"dtype": "F32", "shape": [2]}}), "lacks a dtype, a shape or two offsets"),
  "entry is a list": (safetensors_of({"w": [1]}), "lacks a dtype, a shape or two offsets"),
  "unknown dtype": (safetensors_of(one(dtype="F33")), "unknown dtype 'F33'"),
  "dtype is a list": (safetensors_of(one(dtype=["F32"])), "w' "),
  "negative size": (safetensors_of(one(shape=[-2])), r"impossible shape \[-2\]"),
  "10^30 elements": (safetensors_of(one(shape=[10**10] * 3)), "impossible shape"),
  "other length": (safetensors_of(one(shape=[3])), "'w' has 12 bytes, and its offsets 8"),
  "overlapping": (safetensors_of(one() | {"v": one()["w"]}, b"\0" * 16), "overlaps another"),
  "hole": (safetensors_of(one(data_offsets=[8, 16]), b"\0" * 16), "behind a hole"),
  "cut off": (safetensors_of(one(), b"\0" * 7), "it is cut off: 7 bytes of arrays of 8"),
  "too long": (safetensors_of(one(), b"\0" * 9), "9 bytes are there for arrays of 8"),
  "10^9 entries in a map": (b"\xdf" + struct.pack(">I", 10**9), "it speaks of 1,000,000,000 more values"),
  "10^9 entries in a list": (b"\x81\xa1w\xdd" + struct.pack(">I", 10**9), "it speaks of 1,000,000,000 more values"),
  "4 GB of text": (b"\x81\xdb" + struct.pack(">I", 2**32 - 1), "it speaks of 4,294,967,295 more"),
  "100,000 maps in each other": (b"\x81\xa1a" * 100_000 + b"\x80", "nested too deep to be read, at byte"),
  "something behind the map": (msgpack.packb({"a": 1}) + b"\x01", "its value ends at byte 4, and there are 5"),
  "no msgpack": (b"\x81\xa1a\xc1", "0xc1 begins no value"),
  "name that is no text": (b"\x81\xa1\xff\x01", "a name is no text"),
  "name that is a list": (b"\x81\x90\x01", r"\[\] is no name"),
  "msgpack with a name twice": (b"\x82\xa1a\x01\xa1a\x02", "'a' is no name, or there twice"),
  "unknown extension": (msgpack.packb({"a": msgpack.ExtType(9, b"x")}), "unknown extension 9"),
  "array of fewer bytes": (array_of([2], "float32", b"1234"), r"has 4 bytes, and its header says float32\[2\]"),
  "array without bytes": (array_of([2], "float32", 3), "has no bytes"),
  "array of two parts": (array_of([2], "float32"), "lacks a shape, a dtype or bytes"),
  "array of objects": (array_of([1], "object", b"12345678"), "unknown dtype 'object'"),
  "array of a negative size": (array_of([-2], "float32", b""), "impossible shape"),
  "array in no pieces": (msgpack.packb({"w": {"__msgpack_chunked_array__": True}}), "has none"),
  "complex number of texts": (msgpack.packb({"w": msgpack.ExtType(2, msgpack.packb(["a", "b"]))}), "no complex number"),
  "zip that is cut off": (npz_of()[:-10], "it is no whole zip"),
  "member that is no array": (npz_of(data=b"hello"), "has a header that is none"),
  "header of numpy that calls": (
    npz_of(data=header_of_numpy("__import__('os').system('touch /tmp/owned')")), "has a header that is none"
  ),
  "array of numpy of fewer bytes": (
    npz_of(data=header_of_numpy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", b"1234")), "has 4 bytes"
  ),
  "10^18 elements of numpy": (
    npz_of(data=header_of_numpy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000000,)}")), "bytes,"
  ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_it_is_said_what_is_wrong(tmp_path: Path, what: str):
  content, says = BAD[what]
  (tmp_path / "v.bin").write_bytes(content)
  start = time.monotonic()
  with pytest.raises(CheckpointError) as caught:
    tree(tmp_path / "v.bin")
  assert re.search(rf"v\.bin: .*{says}", caught.value.message), caught.value.message
  assert time.monotonic() - start < 10 and not isinstance(caught.value, PickleError)


def overlapping() -> bytes:
  """A zip whose list names the same bytes many times (a bomb of D. Fifield's kind)."""
  whole = bytearray(npz_of())
  at = whole.index(b"PK\x01\x02")
  end = whole.index(b"PK\x05\x06")
  entry = whole[at:end]
  other = entry.replace(b"w.npy", b"v.npy")
  directory = entry + other
  tail = bytearray(whole[end:])
  struct.pack_into("<HHII", tail, 8, 2, 2, len(directory), at)
  return bytes(whole[:at] + directory + tail)


def test_bombs_are_refused(tmp_path: Path):
  (tmp_path / "a.npz").write_bytes(overlapping())
  with pytest.raises(CheckpointError, match="overlaps another"):
    tree(tmp_path / "a.npz")
  lies = bytearray(npz_of())
  for mark, offset in ((b"PK\x01\x02", 24),):
    struct.pack_into("<I", lies, lies.index(mark) + offset, 2**31)
  (tmp_path / "b.npz").write_bytes(bytes(lies))
  with pytest.raises(CheckpointError, match=r"cannot grow from \d+ to 2,147,483,648 bytes"):
    tree(tmp_path / "b.npz")


class Harm:
  """Writes a file when it is unpickled."""

  def __reduce__(self) -> Any:
    return Path.write_text, (Path("owned"), "x")


PICKLES: dict[str, Callable[[], bytes]] = {
  **{
    f"protocol {n}": (lambda n=n: pickle.dumps({"params": Harm()}, n))
    for n in range(pickle.HIGHEST_PROTOCOL + 1)
  },
  "npz of objects": lambda: npz_of(data=saved(np.array([Harm()], object))),
  "pytorch": lambda: npz_of("archive/data.pkl", pickle.dumps(Harm())),
}


def saved(array: np.ndarray) -> bytes:
  """An array as numpy saves it."""
  whole = io.BytesIO()
  np.save(whole, array, allow_pickle=True)
  return whole.getvalue()


@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("suffix", [*SUFFIXES, ".pkl"])
def test_a_pickle_is_refused_by_what_it_is(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / f"v{suffix}").write_bytes(PICKLES[kind]())
  for read in (tree, load):
    with pytest.raises(PickleError, match="is a pickle"):
      read(tmp_path / f"v{suffix}")
  assert not (tmp_path / "owned").exists()


def test_a_pickle_is_read_if_it_is_asked_for(tmp_path: Path):
  (tmp_path / "v.pkl").write_bytes(pickle.dumps(VARIABLES))
  found = load(tmp_path / "v.pkl", allow_pickle=True)
  assert found["step"] == 3 and found["params"]["Dense_0"]["kernel"].shape == (3, 4)


def files(folder: Path) -> dict[str, bytes]:
  """A good file of each kind."""
  for suffix in SUFFIXES:
    save(folder / f"v{suffix}", VARIABLES)
  (folder / "flax.msgpack").write_bytes(flax.serialization.to_bytes(VARIABLES))
  np.savez_compressed(folder / "numpy.npz", **{"a/b": np.ones(5), "c": np.ones(3)})
  return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_wherever_a_file_is_cut_off_it_is_said(tmp_path: Path):
  for name, content in files(tmp_path).items():
    for end in range(len(content)):
      (tmp_path / name).write_bytes(content[:end])
      with pytest.raises(CheckpointError):
        tree(tmp_path / name)


def test_a_damaged_file_is_refused_or_read(tmp_path: Path):
  draw = random.Random(0)
  refused = 0
  for name, content in files(tmp_path).items():
    for _ in range(300):
      damaged = bytearray(content)
      for _ in range(draw.choice((1, 1, 3, 20))):
        damaged[draw.randrange(len(damaged))] = draw.randrange(256)
      (tmp_path / name).write_bytes(bytes(damaged))
      try:
        load(tmp_path / name)
      except CheckpointError:
        refused += 1
  assert refused > 500


def test_damaged_folders_of_orbax_are_refused_or_read(tmp_path: Path):
  orbax.checkpoint.PyTreeCheckpointer().save(tmp_path / "v", VARIABLES)
  draw = random.Random(0)
  for file in sorted(path for path in (tmp_path / "v").rglob("*") if path.is_file()):
    content = file.read_bytes()
    for damaged in (
      b"",
      b"{}",
      b"[" * 100_000,
      content[: len(content) // 2],
      bytes(draw.randbytes(len(content))),
    ):
      file.write_bytes(damaged)
      with contextlib.suppress(CheckpointError):
        load(tmp_path / "v")
    file.write_bytes(content)
  assert load(tmp_path / "v")["params"]["Dense_0"]["kernel"].shape == (3, 4)


def test_names_that_lead_out_of_a_folder_are_names(tmp_path: Path):
  (tmp_path / "v.safetensors").write_bytes(safetensors_of({"../../etc/passwd": one()["w"]}))
  assert load(tmp_path / "v.safetensors")[".."][".."]["etc"]["passwd"].shape == (2,)


def test_a_folder_or_a_file_that_is_not_there(tmp_path: Path):
  save(tmp_path / "model.npz", VARIABLES)
  with pytest.raises(
    CheckpointError, match=r"(?s)there\s+is\s+no\s+such\s+file.\s+Did\s+you\s+mean\s+.*model.npz"
  ):
    tree(tmp_path / "modle.npz")
  with pytest.raises(CheckpointError, match="a folder without a checkpoint of orbax"):
    tree(tmp_path)
  with pytest.raises(CheckpointError, match=r"its suffix is none of .safetensors, .msgpack, .npz"):
    save(tmp_path / "model.h5", VARIABLES)
  with pytest.raises(CheckpointError, match="int is no tree of variables"):
    save(tmp_path / "model.npz", 3)
  with pytest.raises(CheckpointError, match="cannot be written"):
    save(tmp_path / "no" / "model.npz", VARIABLES)


@pytest.mark.parametrize("package", ["msgpack", "tensorstore"])
def test_a_package_that_is_missing_is_named_with_the_command(tmp_path: Path, package: str):
  orbax.checkpoint.PyTreeCheckpointer().save(tmp_path / "v", VARIABLES)
  with (
    unittest.mock.patch.dict(sys.modules, {package: None}),
    pytest.raises(
      MissingPackageError, match=rf"(?s)package {package} is needed.*pip install 'minilinen\[files\]'"
    ),
  ):
    save(tmp_path / "v.msgpack", VARIABLES) if package == "msgpack" else tree(tmp_path / "v")


BIG = """
import resource, sys
from minilinen import checkpoints
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = checkpoints.tree(sys.argv[1])
assert len(found["model"]) == 1000
assert found["model"]["layers_999"]["kernel"].read()[-1] == 0 and found["model"]["layers_0"]["kernel"].size > 2**21
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_of_ten_gigabytes_only_the_header_is_read(tmp_path: Path):
  each = 10 * 2**30 // 1000 // 4
  header = {
    f"model/layers_{n}/kernel": {
      "dtype": "F32",
      "shape": [each],
      "data_offsets": [n * each * 4, (n + 1) * each * 4],
    }
    for n in range(1000)
  }
  with open(tmp_path / "big.safetensors", "wb") as file:
    file.write(safetensors_of(header, b""))
    file.truncate(file.tell() + each * 4 * 1000)  # It takes no room on the disk.
  command = [sys.executable, "-c", BIG, str(tmp_path / "big.safetensors")]
  megabytes = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
  assert megabytes < 150


def test_the_command_line_shows_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
  from minilinen.cli import main

  for name in files(tmp_path):
    assert main(["tree", str(tmp_path / name)]) == 0
    assert "Total" in capsys.readouterr().out
  assert (
    main(["tree", str(tmp_path / "v.npz"), "--pattern", "**/kernel", "-o", str(tmp_path / "t.json")]) == 0
  )
  assert "f32[3,4]" in (tmp_path / "t.json").read_text() or "float32" in (tmp_path / "t.json").read_text()
  assert main(["tree", str(tmp_path / "no.npz")]) == 2
  assert "there is no such file" in capsys.readouterr().err
  assert main(["tabulate", str(tmp_path / "v.npz")]) == 2
  assert "holds variables and no model: minilinen tree" in capsys.readouterr().err
  (tmp_path / "v.pkl").write_bytes(pickle.dumps(VARIABLES))
  assert main(["tree", str(tmp_path / "v.pkl")]) == 2
  assert "is a pickle" in capsys.readouterr().err
  assert main(["tree", str(tmp_path / "v.pkl"), "--allow-pickle"]) == 0


def test_loaded_variables_run(tmp_path: Path):
  x = np.ones((2, 3), np.float32)
  variables = nn.Dense(4).init(jax.random.key(0), x)
  save(tmp_path / "v.safetensors", variables)
  assert np.array_equal(
    nn.Dense(4).apply(load(tmp_path / "v.safetensors"), x), nn.Dense(4).apply(variables, x)
  )
