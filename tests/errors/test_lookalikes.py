"""Right programs that look like traps of values: none is warned of, as it runs and under `jit`, `vmap` and `scan`.

Each takes an array. Beside them the traps themselves, by where they are spoken of: a warning that reads a number has
none where JAX only traces.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import minilinen as nn
from minilinen import errors

KEY = jax.random.key(0)
XS = jnp.stack([jnp.ones((2, 4)), jnp.zeros((2, 4))])
Program = Callable[[Any], Any]

HOW: dict[str, Callable[[Program], Any]] = {
  "plain": lambda program: program(XS[0]),
  "jit": lambda program: jax.jit(program)(XS[0]),
  "vmap": lambda program: jax.vmap(program)(XS),
  "scan": lambda program: lax.scan(lambda c, x: (c, program(x)), 0, XS),
}


class Sower(nn.Module):
  col: str = "intermediates"

  @nn.compact
  def __call__(self, x: Any) -> Any:
    self.sow(self.col, "h", x)
    return x


# Sown again.


def sown_and_taken_out(x: Any) -> Any:
  variables: Any = {}
  for _ in range(2):
    x, variables = Sower().apply(variables, x, mutable=["intermediates"])
    variables = {col: value for col, value in variables.items() if col != "intermediates"}
  return x


def sown_so_that_the_last_is_kept(x: Any) -> Any:
  class Keeps(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      self.sow("intermediates", "h", x, reduce_fn=lambda old, new: new, init_fn=lambda: None)
      return x

  variables: Any = {}
  for _ in range(2):
    x, variables = Keeps().apply(variables, x, mutable=["intermediates"])
  return x


def sown_twice_in_each_run(x: Any) -> Any:
  class Twice(nn.Module):
    def setup(self) -> None:
      self.sower = Sower()

    def __call__(self, x: Any) -> Any:
      return self.sower(self.sower(x))

  for _ in range(2):
    x, out = Twice().apply({}, x, mutable=["intermediates"])
    assert len(out["intermediates"]["sower"]["h"]) == 2
  return x


# A full cache.

DECODER = nn.MultiHeadDotProductAttention(num_heads=1, decode=True)
MADE = DECODER.init(KEY, jnp.ones((1, 2, 4)))


def decode(x: Any, cache: Any) -> tuple[Any, Any]:
  y, updates = DECODER.apply({**MADE, "cache": cache}, x[None, :1], mutable=["cache"])
  return y, updates["cache"]


def decoded_to_the_end_twice(x: Any) -> Any:
  for _ in range(2):
    cache = MADE["cache"]
    for _ in range(2):
      y, cache = decode(x, cache)
  return y


def a_full_cache_is_made_anew(x: Any) -> Any:
  _, cache = decode(x, decode(x, MADE["cache"])[1])
  return decode(x, jax.tree.map(jnp.zeros_like, cache))[0]


def a_full_cache_is_only_kept(x: Any) -> Any:
  _, cache = decode(x, decode(x, MADE["cache"])[1])
  model = nn.MultiHeadDotProductAttention(num_heads=1)
  return model.apply({"params": MADE["params"], "cache": cache}, x[None])


# One number for a kernel.


def image(x: Any) -> Any:
  return jnp.ones((1, 6, 5, 4)) * x.sum()


def kernel_of_two_numbers(x: Any) -> Any:
  return nn.Conv(3, (3, 3)).init_with_output(KEY, image(x))[0]


def kernel_of_one_number_for_one_axis(x: Any) -> Any:
  return (
    nn.Conv(3, 2).init_with_output(KEY, x[None])[0]
    + nn.Conv(3, (2,)).init_with_output(KEY, image(x))[0].sum()
  )


def each_point_for_itself(x: Any) -> Any:
  layers = [nn.Conv(3, 1), nn.Conv(3, 1, strides=None, padding="VALID"), nn.ConvTranspose(3, 1, strides=(1,))]
  return [layer.init_with_output(KEY, image(x))[0] for layer in layers]


# Ids of an embedding.

EMBED = nn.Embed(4, 3)
TABLE = EMBED.init(KEY, jnp.array([0]))


def first_and_last_id(x: Any) -> Any:
  return EMBED.apply(TABLE, x.astype(int) * 3) + EMBED.apply(TABLE, np.array([[0], [3]], np.uint8))


def ids_from_the_end(x: Any) -> Any:
  return EMBED.apply(TABLE, -x.astype(int)) + EMBED.apply(TABLE, jnp.array([[-4], [-1]]))


def padding_that_is_masked(x: Any) -> Any:
  ids = x.astype(int) * 101 - 100
  there = ids >= 0
  return jnp.where(there[..., None], EMBED.apply(TABLE, jnp.where(there, ids, 0)), 0)


# A layer that is returned.


class Gives(nn.Module):
  """Its methods give layers, and what it computes is no layer."""

  def setup(self) -> None:
    self.layer = nn.Dense(4)

  def given(self) -> nn.Module:
    return self.layer

  def __call__(self, x: Any) -> Any:
    return self.given()(x)


GIVES = Gives().init(KEY, XS[0])


def a_method_gives_a_layer(x: Any) -> Any:
  return Gives().bind(GIVES).given()(x) + Gives().apply(GIVES, x)


def a_function_makes_a_layer(x: Any) -> Any:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      def layer(size: int) -> nn.Module:
        return nn.Dense(size)

      return layer(4)(x)

  return Net().init_with_output(KEY, x)[0]


def a_submodule_chooses_a_layer(x: Any) -> Any:
  class Chooses(nn.Module):
    def __call__(self, x: Any) -> nn.Module:
      return nn.Dense(x.shape[-1], parent=None)

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return Chooses()(x).clone(parent=self)(x)

  return Net().init_with_output(KEY, x)[0]


# Names of collections.


def collections_that_are_not_there(x: Any) -> Any:
  return Sower().apply({}, x, mutable=["batch_stats", "cache", "intermediates", "losses"])[0]


def collections_of_a_row(x: Any) -> Any:
  for col, mutable in (
    ("aux_1", "aux_2"), ("head1", "head2"), ("stats_a", "stats_b"), ("losses", "losses_2"), ("ema_b", "ema"),
  ):  # fmt: skip
    x, _ = Sower(col).apply({}, x, mutable=[mutable])
  return x


def collections_that_are_unlike(x: Any) -> Any:
  x, _ = Sower("stats").apply({}, x, mutable=["batch_stats"])
  return Sower("losses").apply({}, x, mutable=["metrics"])[0]


# One key for two runs.


class Drops(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return nn.Dropout(0.5, deterministic=False)(x)


def a_key_for_each_run(x: Any) -> Any:
  for key in jax.random.split(KEY):
    x = Drops().apply({}, x, rngs={"dropout": jax.random.fold_in(key, x.sum().astype(int))})
  return x


def one_key_for_what_draws_none(x: Any) -> Any:
  for _ in range(2):
    x = nn.Dropout(0.5, deterministic=True).apply({}, x, rngs={"dropout": KEY})
  return x


def one_key_to_make_and_none_to_run(x: Any) -> Any:
  variables = nn.Dense(4).init({"params": KEY, "dropout": KEY}, x)
  return nn.Dense(4).apply(variables, nn.Dense(4).apply(variables, x))


RIGHT: list[Program] = [
  sown_and_taken_out, sown_so_that_the_last_is_kept, sown_twice_in_each_run,
  decoded_to_the_end_twice, a_full_cache_is_made_anew, a_full_cache_is_only_kept,
  kernel_of_two_numbers, kernel_of_one_number_for_one_axis, each_point_for_itself,
  first_and_last_id, ids_from_the_end, padding_that_is_masked,
  a_method_gives_a_layer, a_function_makes_a_layer, a_submodule_chooses_a_layer,
  collections_that_are_not_there, collections_of_a_row, collections_that_are_unlike,
  a_key_for_each_run, one_key_for_what_draws_none, one_key_to_make_and_none_to_run,
]  # fmt: skip


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("program", RIGHT, ids=lambda program: program.__name__)
def test_nothing_is_said(program: Program, how: str) -> None:
  with warnings.catch_warnings(), nn.record() as trace:
    warnings.simplefilter("error", errors.MinilinenWarning)
    HOW[how](program)
  found = trace.check()
  assert not found.warnings and not found.of_kind("SameKeyHint")


# The traps themselves, and where they are spoken of.


def sown_again(x: Any) -> Any:
  _, variables = Sower().apply({}, x, mutable=["intermediates"])
  return Sower().apply(variables, x, mutable=["intermediates"])[0]


def decoded_past_the_end(x: Any) -> Any:
  cache = MADE["cache"]
  for _ in range(3):
    y, cache = decode(x, cache)
  return y


def kernel_of_one_number(x: Any) -> Any:
  return nn.Conv(3, 3).init_with_output(KEY, image(x))[0]


def steps_of_one_number(x: Any) -> Any:
  return nn.Conv(3, 1, strides=2).init_with_output(KEY, image(x))[0]


def ids_outside(x: Any) -> Any:
  return EMBED.apply(TABLE, x.astype(int) + 4)


def ids_outside_of_numpy(x: Any) -> Any:
  return EMBED.apply(TABLE, np.array([4])) * x.sum()


def a_layer_is_returned(x: Any) -> Any:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return nn.Dense(4)

  Net().init(KEY, x)
  return x


def misspelt(x: Any) -> Any:
  return Sower().apply({}, x, mutable=["intermediate"])[0]


EVERYWHERE = ("plain", "jit", "vmap", "scan")
WRONG: list[tuple[Program, type[Warning], tuple[str, ...]]] = [
  (sown_again, errors.FedBackWarning, EVERYWHERE),
  (decoded_past_the_end, errors.FullCacheWarning, ("plain", "vmap")),
  (kernel_of_one_number, errors.KernelSizeWarning, EVERYWHERE),
  (steps_of_one_number, errors.KernelSizeWarning, EVERYWHERE),
  (ids_outside, errors.IdsOutsideWarning, ("plain", "vmap")),
  (ids_outside_of_numpy, errors.IdsOutsideWarning, EVERYWHERE),
  (a_layer_is_returned, errors.ReturnedLayerWarning, EVERYWHERE),
  (misspelt, errors.MisspeltCollectionWarning, EVERYWHERE),
]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("program, kind, spoken", WRONG, ids=[program.__name__ for program, _, _ in WRONG])
def test_where_it_is_said(program: Program, kind: type[Warning], spoken: tuple[str, ...], how: str) -> None:
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    HOW[how](program)
  ours = {w.category for w in caught if issubclass(w.category, errors.MinilinenWarning)}
  assert ours == ({kind} if how in spoken else set())
