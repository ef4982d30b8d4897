"""Specs: what is kept of an array, how any value is described, and what people may type."""

from __future__ import annotations

import dataclasses
import enum
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from minilinen.tracing.errors import SpecError
from minilinen.tracing.inputs import abstract, looks_like_spec, parse_spec
from minilinen.tracing.spec import Node, Opaque, Spec, describe, itemsize, short_dtype, spec_of


class Point(NamedTuple):
  x: Any
  y: Any


@dataclasses.dataclass
class Config:
  name: str
  inner: Any = None


class Color(enum.IntEnum):
  RED = 1


@jax.tree_util.register_pytree_with_keys_class
class Pair:
  def __init__(self, a: Any, b: Any):
    self.a, self.b = a, b

  def tree_flatten_with_keys(self) -> Any:
    key = jax.tree_util.GetAttrKey
    return ((key("a"), self.a), (key("b"), self.b)), None

  @classmethod
  def tree_unflatten(cls, _: Any, children: Any) -> Pair:
    return cls(*children)


def inside(fn: Any, *args: Any) -> Any:
  """What `fn` returns for tracers."""
  kept = []
  jax.make_jaxpr(lambda *a: kept.append(fn(*a)))(*args)
  return kept[0]


@pytest.mark.parametrize(
  ("array", "text"),
  [
    (jnp.ones((2, 3)), "f32[2,3]"),
    (np.zeros((), np.int8), "i8[]"),
    (np.float16(1), "f16[]"),
    (jax.random.key(0), "key<fry>[]"),
    (jax.random.PRNGKey(0), "u32[2]"),
    (jax.ShapeDtypeStruct((7,), jnp.bfloat16), "bf16[7]"),
  ],
)
def test_an_array_of_any_kind_has_a_spec(array: Any, text: str):
  assert str(spec_of(array)) == text
  assert describe(array) == spec_of(array)


def test_a_tracer_has_the_spec_of_its_array():
  array = jnp.ones((2, 3), jnp.bfloat16)
  assert inside(spec_of, array) == spec_of(array)
  assert inside(spec_of, 1.0).weak_type


def test_symbolic_sizes_are_formulas():
  spec = inside(lambda x: spec_of(x.reshape(-1, 2)), parse_spec("f32[b,2*t]"))
  assert spec.shape == ("b*t", 2)
  assert (str(spec.size), str(spec.nbytes), str(spec.size + Spec(("b",), "int8").size)) == (
    "2*b*t", "8*b*t", "2*b*t + b",
  )  # fmt: skip


def test_a_spec_knows_how_an_array_is_partitioned():
  mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  sharding = NamedSharding(mesh, PartitionSpec("data", None))
  assert spec_of(jax.ShapeDtypeStruct((4, 2), jnp.float32, sharding=sharding)).sharding == "P('data', None)"
  assert spec_of(jax.device_put(jnp.ones((4, 2)), sharding)).sharding == "P('data', None)"
  assert spec_of(jnp.ones((4, 2))).sharding == ""
  assert abstract(jax.device_put(jnp.ones((4, 2)), sharding)).sharding == sharding


def test_sizes_in_bytes():
  assert Spec((3, 4), "bfloat16").nbytes == 24
  assert Spec((2,), "key<fry>").nbytes == 16
  assert [itemsize(d) for d in ("bool", "float64", "complex64", "key<rbg>", "float8_e4m3fn")] == [
    1,
    8,
    8,
    16,
    1,
  ]
  assert short_dtype("float8_e4m3fn") == "float8_e4m3fn"


@pytest.mark.parametrize(
  ("value", "expected"),
  [
    (None, None),
    ((1, [2.5, "a", {"b": True}]), (1, [2.5, "a", {"b": True}])),
    (np.float64(1.5), Spec((), "float64")),
    (jnp.float32, Opaque("dtype", "float32")),
    (np.int8, Opaque("dtype", "int8")),
    (jnp.dtype("bfloat16"), Opaque("dtype", "bfloat16")),
    (jax.nn.relu, Opaque("custom_jvp", "relu")),
    (functools.partial(max, 3), Opaque("partial", "max")),
    (Config, Opaque("type", "Config")),
    (Color.RED, Opaque("Color", "<Color.RED: 1>")),
    ({"b", "a"}, Opaque("set", "{'a', 'b'}")),
    ({1: "x", "1": "y"}, {"1": "x", "'1'": "y"}),
    (Point(1, jnp.ones(2)), Node("Point", {"x": 1, "y": Spec((2,), "float32")})),
    (Config("c", [1]), Node("Config", {"name": "c", "inner": [1]})),
    (Pair(1, {"z": 2}), Node("Pair", {"a": 1, "b": {"z": 2}})),
    (object(), Opaque("object", "")),
  ],
)
def test_any_value_is_described(value: Any, expected: Any):
  assert describe(value) == expected


def test_a_number_that_jax_has_typed_is_an_array():
  number = jax.checkpoint(lambda x: (x, 3))(1.0)[1]
  assert describe(number) == describe(jnp.asarray(3)) or describe(number) == 3


def test_describing_never_raises_and_ends():
  class Angry:
    def __repr__(self) -> str:
      raise RuntimeError("no")

  circle: list[Any] = [1]
  circle.append(circle)
  pair: tuple[Any, ...] = (1, [])
  pair[1].append(pair)
  config = Config("c")
  config.inner = [config, config]
  assert describe(Angry()) == Opaque("Angry")
  assert describe(circle) == [1, Opaque("list", "itself")]
  assert describe(pair) == (1, [Opaque("tuple", "itself")])
  assert describe(config) == Node("Config", {"name": "c", "inner": [Opaque("Config", "itself")] * 2})


@pytest.mark.parametrize(
  ("text", "shape", "dtype"),
  [
    ("f32[8,28,28,1]", (8, 28, 28, 1), "float32"),
    (" int32 [ 3 ]", (3,), "int32"),
    ("bf16[]", (), "bfloat16"),
    ("u32[2]", (2,), "uint32"),
    ("bool[0]", (0,), "bool"),
    ("key<fry>[]", (), "key<fry>"),
    ("key<rbg>[4]", (4,), "key<rbg>"),
    ("float8_e4m3fn[2]", (2,), "float8_e4m3fn"),
  ],
)
def test_spec_strings_are_read(text: str, shape: tuple[int, ...], dtype: str):
  found = parse_spec(text)
  assert (found.shape, str(found.dtype)) == (shape, dtype)


@given(st.lists(st.integers(0, 10**6), max_size=5), st.sampled_from(["float32", "int8", "uint32", "bool"]))
def test_a_spec_in_words_reads_back(shape: list[int], dtype: str):
  spec = Spec(tuple(shape), dtype)
  assert spec_of(parse_spec(str(spec))) == spec


@pytest.mark.parametrize(
  ("text", "why"),
  [
    ("f32", "it has no dtype followed by [dimensions]"),
    ("f32[8,28", "it has no dtype followed by [dimensions]"),
    ("float31[8]", "'float31' is no dtype, the nearest is 'float32'"),
    ("f33[8]", "'f33' is no dtype"),
    ("f32[8,,1]", "a dimension between two commas is empty"),
    ("f32[-1]", "a dimension is negative"),
    ("f32[b+]", "its dimensions do not parse"),
    ("f32[1.5]", "its dimensions do not parse"),
  ],
)
def test_a_bad_spec_string_is_told_apart(text: str, why: str):
  with pytest.raises(SpecError) as caught:
    parse_spec(text)
  assert f"{text!r} is no array spec: {why}" in str(caught.value)
  assert '"f32[8,28,28,1]"' in str(caught.value)


def test_only_what_begins_as_a_spec_is_meant_as_one():
  assert looks_like_spec("f32[3]")
  assert looks_like_spec("f32[3")
  assert looks_like_spec("key<fry>[]")
  assert not any(map(looks_like_spec, ["relu", "[1, 2]", "a path [with] brackets", ""]))


def test_abstract_leaves_alone_what_is_no_array():
  def function() -> None: ...

  given = {
    "x": np.ones((2,), np.float64),
    "n": 3,
    "f": function,
    "s": "text",
    "none": None,
    "spec": "f32[b,b]",
  }
  found = abstract(given)
  assert found["x"] == jax.ShapeDtypeStruct((2,), jnp.float32)
  assert (found["n"], found["f"], found["s"], found["none"]) == (3, function, "text", None)
  assert found["spec"].shape[0] == found["spec"].shape[1]


def test_spec_strings_given_together_share_their_names():
  a, b = abstract(("f32[b,3]", "f32[b,4]"))
  assert inside(lambda x, y: jnp.concatenate([x, y], 1).shape[1], a, b) == 7


def test_weak_types_survive():
  assert abstract(jnp.asarray(1.0)).weak_type == jnp.asarray(1.0).weak_type
  assert spec_of(abstract(jax.jit(lambda: jnp.asarray(1.0) * 2.0)())) == spec_of(jnp.asarray(1.0) * 2.0)


def test_a_dtype_in_capitals_and_a_size_below_zero_are_told():
  with pytest.raises(SpecError, match="the nearest is 'f32'"):
    parse_spec("F32[2,3]")
  with pytest.raises(SpecError, match="a dimension is negative"):
    parse_spec("f32[3-5,2]")
