"""Variables that are written and read again are the same to the bit, and Flax, orbax and safetensors agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flax.serialization
import flax.training.checkpoints
import flax.training.train_state
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import orbax.checkpoint
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

import minilinen as nn
import viz
from minilinen.checkpoints import load, save, tree
from minilinen.checkpoints.notes import plain
from minilinen.checkpoints.stored import raw
from minilinen.errors import CheckpointError

pytestmark = pytest.mark.grid

SUFFIXES = [".safetensors", ".msgpack", ".npz"]
FLOATS = [name for name in vars(ml_dtypes) if name.startswith(("float", "bfloat"))]
DTYPES = [np.dtype(kind).name for kind in "?bhilBHILefdFD"] + ["int4", "uint4", "int2", "uint2", *FLOATS]
VARIABLES = nn.Dense(4).init(jax.random.key(0), jnp.ones((2, 3)))


def same(a: Any, b: Any) -> bool:
  """Whether two trees have the same names in the same order, and the same values to the bit."""
  if isinstance(a, dict):
    return isinstance(b, dict) and [*a] == [*b] and all(same(a[name], b[name]) for name in a)
  if hasattr(a, "dtype") and hasattr(b, "dtype"):
    (x, x_dtype), (y, y_dtype) = raw(a), raw(b)
    return x_dtype == y_dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
  return type(a) is type(b) and (a == b or a != a)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_dtype_of_jax(tmp_path: Path, suffix: str):
  values = np.random.default_rng(0).integers(0, 2, (2, 3, 4))
  variables = {"params": {dtype: values.astype(dtype) for dtype in DTYPES}}
  variables["scalars"] = {dtype: np.ones((), dtype) for dtype in DTYPES}
  variables["empty"] = {dtype: np.ones((0, 3), dtype) for dtype in DTYPES}
  save(tmp_path / f"v{suffix}", variables)
  assert same(load(tmp_path / f"v{suffix}"), variables)
  found = tree(tmp_path / f"v{suffix}")["params"]
  assert {name: (array.dtype, array.shape) for name, array in found.items()} == {
    d: (d, (2, 3, 4)) for d in DTYPES
  }


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_random_keys(tmp_path: Path, suffix: str, impl: str):
  key = jax.random.key(3, impl=impl)
  variables = {"rng": key, "rngs": jax.random.split(key, (2, 3))}
  save(tmp_path / f"v{suffix}", variables)
  back = load(tmp_path / f"v{suffix}")
  assert same(back, variables) and back["rng"].dtype == key.dtype
  assert viz.tree(tree(tmp_path / f"v{suffix}")).to_rows() == viz.tree(variables).to_rows()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_array_and_names_that_are_odd(tmp_path: Path, suffix: str):
  variables = {
    "params": {
      "a/b": {"c.d": np.ones(2)},
      "a": {"b": {"c.d": np.zeros(2)}},
      "": np.ones(1),
      "a/b#0": np.ones(1),
    },
    "minilinen": np.ones(1),
    "empty": {},
    "step": 3,
    "rate": float("inf"),
    "done": True,
    "none": None,
    "name": "../../etc\n\x1b[31m",
    "complex": 1 + 2j,
    "ünï": {"层": np.ones(3, np.int8)},
    "\0": {"a\0b": np.ones(3)},
  }
  save(tmp_path / f"v{suffix}", variables)
  assert (
    same(dict(sorted(load(tmp_path / f"v{suffix}").items())), dict(sorted(variables.items())))
    or suffix != ".msgpack"
  )
  back = load(tmp_path / f"v{suffix}")
  assert sorted(back) == sorted(variables) and all(
    same(ordered(back[n]), ordered(variables[n])) for n in back
  )
  assert [*tmp_path.iterdir()] == [tmp_path / f"v{suffix}"]


def ordered(value: Any) -> Any:
  """Dicts with their names sorted: formats of named arrays put what is no array at the end."""
  return {name: ordered(part) for name, part in sorted(value.items())} if isinstance(value, dict) else value


names = st.text(max_size=4)
values = st.one_of(
  st.integers(-(2**60), 2**60), st.booleans(), st.none(), st.text(max_size=3), st.floats(),
  st.integers(0, 3).map(np.ones), st.just({}),
)  # fmt: skip
trees = st.dictionaries(
  names, st.recursive(values, lambda inner: st.dictionaries(names, inner, max_size=3)), max_size=4
)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(variables=trees)
def test_any_tree(tmp_path_factory: pytest.TempPathFactory, suffix: str, variables: dict[str, Any]):
  file = tmp_path_factory.mktemp("any") / f"v{suffix}"
  save(file, variables)
  assert same(ordered(load(file)), ordered(variables))


def test_lists_named_tuples_boxes_and_a_train_state_are_named_as_flax_names_them():
  params = {
    "kernel": nn.Partitioned(jnp.ones((2, 3)), (None, "x")),
    "layers": [jnp.ones(1), (jnp.ones(2), None)],
  }
  state = flax.training.train_state.TrainState.create(
    apply_fn=None, params=plain(VARIABLES)["params"], tx=optax.adam(0.1)
  )
  assert same(plain(state), flax.serialization.to_state_dict(state))
  assert same(plain(params["layers"]), flax.serialization.to_state_dict(params["layers"]))
  assert same(plain(params)["kernel"], {"value": jnp.ones((2, 3))})


def test_flax_reads_what_is_written_here_and_the_other_way_round(tmp_path: Path):
  variables = {
    "params": {"kernel": np.ones((3, 4), "bfloat16"), "empty": {}},
    "step": 3,
    "rate": 0.5,
    "c": 1 + 2j,
  }
  variables |= {
    "none": None,
    "bytes": b"x",
    "scalar": np.float32(3),
    "list": [1, 2],
    "big": 2**40,
    "negative": -(2**40),
  }
  (tmp_path / "flax.msgpack").write_bytes(flax.serialization.msgpack_serialize(variables))
  assert same(
    load(tmp_path / "flax.msgpack"),
    flax.serialization.msgpack_restore((tmp_path / "flax.msgpack").read_bytes()),
  )
  save(tmp_path / "ours.msgpack", variables)
  back = flax.serialization.msgpack_restore((tmp_path / "ours.msgpack").read_bytes())
  assert same(back, flax.serialization.to_state_dict(variables))
  flax.training.checkpoints.save_checkpoint(tmp_path / "dir", VARIABLES, step=5, orbax_checkpointer=None)
  assert same(ordered(load(tmp_path / "dir")), ordered(plain(VARIABLES)))


def test_arrays_in_pieces_as_flax_writes_large_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 16)
  monkeypatch.setattr("minilinen.checkpoints.msgpack._PIECE", 16)
  variables = {"params": {"kernel": np.arange(10.0).reshape(2, 5), "bias": np.ones(2)}}
  (tmp_path / "flax.msgpack").write_bytes(flax.serialization.to_bytes(variables))
  save(tmp_path / "ours.msgpack", variables)
  for file in ("flax.msgpack", "ours.msgpack"):
    assert same(load(tmp_path / file), ordered(variables)) or same(load(tmp_path / file), variables)
    assert tree(tmp_path / file)["params"]["kernel"].shape == (2, 5)
  back = flax.serialization.from_bytes(variables, (tmp_path / "ours.msgpack").read_bytes())
  assert same(back, variables)


def test_the_package_safetensors_reads_what_is_written_here_and_the_other_way_round(tmp_path: Path):
  flat = {
    "params.Dense_0.kernel": np.ones((3, 4), np.float32),
    "params.Dense_0.bias": np.zeros(4, np.float16),
  }
  safetensors.numpy.save_file(flat, tmp_path / "theirs.safetensors", metadata={"format": "flax"})
  assert sorted(load(tmp_path / "theirs.safetensors")["params"]["Dense_0"]) == ["bias", "kernel"]
  save(tmp_path / "ours.safetensors", {"params": {"Dense_0": {"kernel": np.ones((3, 4), np.float32)}}})
  back = safetensors.numpy.load_file(tmp_path / "ours.safetensors")
  assert same(back, {"params/Dense_0/kernel": np.ones((3, 4), np.float32)})


def test_numpy_reads_what_is_written_here_and_the_other_way_round(tmp_path: Path):
  np.savez(
    tmp_path / "theirs.npz",
    **{"encoder/kernel": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "bias": np.ones(2)},
  )
  back = load(tmp_path / "theirs.npz")
  assert same(back, {"encoder": {"kernel": np.arange(6.0).reshape(2, 3)}, "bias": np.ones(2)})
  np.savez_compressed(tmp_path / "packed.npz", a=np.ones((5, 5)), b=np.ones(2, "bfloat16"))
  assert same(load(tmp_path / "packed.npz", "a"), {"a": np.ones((5, 5))})
  assert tree(tmp_path / "packed.npz")["b"].dtype == "V2"  # numpy wrote bytes, and nobody knows of what
  save(tmp_path / "ours.npz", {"params": {"kernel": np.ones((2, 3))}})
  with np.load(tmp_path / "ours.npz") as found:
    assert same(dict(found), {"params/kernel": np.ones((2, 3))})


ORBAX = {
  "params": {"Dense_0": {"kernel": jnp.arange(12.0).reshape(3, 4).astype("bfloat16"), "bias": jnp.zeros(4)}},
  "list": [jnp.ones(2), None], "empty": {}, "name": "text", "a.b": jnp.ones(1), "c/d": jnp.ones(1),
  "rng": jax.random.key(3), "eight": jnp.ones(2, "float8_e4m3fn"), "four": jnp.ones(3, "int4"),
}  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"use_ocdbt": False}, {"use_zarr3": True}], ids=str)
def test_folders_of_orbax(tmp_path: Path, options: dict[str, bool]):
  variables = {k: v for k, v in ORBAX.items() if options != {"use_zarr3": True} or k != "four"}
  orbax.checkpoint.PyTreeCheckpointer(**options).save(tmp_path / "saved", variables)
  back = load(tmp_path / "saved")
  assert same(ordered(back), ordered(plain(variables)))
  assert viz.tree(tree(tmp_path / "saved")).to_rows() == viz.tree(plain(variables)).to_rows()
  assert same(
    load(tmp_path / "saved", "**/kernel"),
    {"params": {"Dense_0": {"kernel": back["params"]["Dense_0"]["kernel"]}}},
  )


def test_of_a_manager_of_orbax_the_newest_step_is_read(tmp_path: Path):
  with orbax.checkpoint.CheckpointManager(tmp_path) as manager:
    for step in (2, 10):
      items = (
        orbax.checkpoint.args.StandardSave({"w": jnp.full(2, step)}),
        orbax.checkpoint.args.StandardSave({"m": jnp.ones(1)}),
      )
      manager.save(step, args=orbax.checkpoint.args.Composite(params=items[0], state=items[1]))
  assert same(load(tmp_path), {"params": {"w": jnp.full(2, 10)}, "state": {"m": jnp.ones(1)}})
  assert same(load(tmp_path / "2", "params"), {"params": {"w": jnp.full(2, 2)}})


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_part_is_loaded_on_demand(tmp_path: Path, suffix: str):
  file = tmp_path / f"v{suffix}"
  save(file, {"params": {"a": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}}, "step": 3})
  assert same(load(file, "params/*/bias"), {"params": {"a": {"bias": np.zeros(3)}}})
  assert same(load(file, "params"), load(file, "params/**"))
  assert np.asarray(tree(file)["params"]["a"]["kernel"]).sum() == 6
  with pytest.raises(CheckpointError, match=r"nothing in it fits the pattern 'params/\*/kernl'"):
    load(file, "params/*/kernl")


def test_what_a_file_is_its_bytes_say_and_not_its_suffix(tmp_path: Path):
  for suffix in SUFFIXES:
    save(tmp_path / f"v{suffix}", VARIABLES)
    odd = (tmp_path / f"v{suffix}").rename(tmp_path / f"odd_{suffix[1:]}.bin")
    assert same(ordered(load(odd)), ordered(plain(VARIABLES)))


def test_a_file_stays_as_it_was_until_the_new_one_is_whole(tmp_path: Path):
  for suffix in SUFFIXES:
    file = tmp_path / f"v{suffix}"
    save(file, VARIABLES)
    before = file.read_bytes()
    with pytest.raises(CheckpointError, match="cannot be written"):
      save(file, {"params": {"a": np.ones(3), "b": object()}})
    assert file.read_bytes() == before and [*tmp_path.glob("*.part")] == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_number_with_a_dtype_keeps_it(tmp_path: Path, suffix: str):
  variables = {"a": np.float64(2.5), "b": np.complex128(1j), "c": np.bool_(True), "d": 2.5, "e": True}
  save(tmp_path / f"v{suffix}", variables)
  back = load(tmp_path / f"v{suffix}")
  assert (
    same(ordered(back), variables)
    and [hasattr(v, "dtype") for v in ordered(back).values()] == [True] * 3 + [False] * 2
  )


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, suffix: str):
  with pytest.raises(CheckpointError, match=r"(?s)cannot be written:.*unknown dtype"):
    save(tmp_path / f"v{suffix}", {"params": {"names": np.array(["a", "b"])}})
  assert [*tmp_path.iterdir()] == []
