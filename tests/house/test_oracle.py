"""What the tests against Flax rest on: the oracle itself, which must see what differs."""

from __future__ import annotations

import functools

import flax.linen
import jax
import jax.numpy as jnp
import pytest
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from oracle import X, agree, as_flax, equations, raises_as_flax, same, same_error

import minilinen

policies = jax.checkpoint_policies
# Made by one line of JAX, but with other arguments, or by one line of a user's.
POLICIES = {
  "everything": policies.everything_saveable,
  "nothing": policies.nothing_saveable,
  "products": policies.dots_saveable,
  "products without batches": policies.dots_with_no_batch_dims_saveable,
  "a": policies.save_only_these_names("a"),
  "b": policies.save_only_these_names("b"),
  "all but a": policies.save_any_names_but_these("a"),
  "products and a": policies.save_from_both_policies(
    policies.dots_saveable, policies.save_only_these_names("a")
  ),
  "products and b": policies.save_from_both_policies(
    policies.dots_saveable, policies.save_only_these_names("b")
  ),
  **{f"{answer} for all": lambda *_, answer=answer, **__: answer for answer in (True, False)},
  **{
    f"{answer} by part": functools.partial(lambda answer, *_, **__: answer, answer)
    for answer in (True, False)
  },
}


def saving(policy):
  return equations(jax.make_jaxpr(jax.checkpoint(jnp.sin, policy=policy))(1.0))


def test_what_a_remat_saves_is_compared():
  told = {name: str(saving(policy)) for name, policy in POLICIES.items()}
  assert len(set(told.values())) == len(told)
  assert not [text for text in told.values() if " at 0x" in text]


def test_a_policy_made_anew_is_the_same():
  """Each library's run of a program makes its own."""
  for make in (lambda: policies.save_only_these_names("a", "b"), lambda: lambda *_, **__: True):
    assert saving(make()) == saving(make())


def test_a_remat_that_saves_something_else_is_no_remat_of_flaxs():
  def program(nn):
    policy = policies.everything_saveable if nn is minilinen else policies.nothing_saveable
    model = nn.remat(nn.Dense, policy=policy)(2)
    return equations(jax.make_jaxpr(model.apply)(flax.linen.Dense(2).init(jax.random.key(0), X), X))

  with pytest.raises(AssertionError, match=r"Flax .*nothing_saveable.*, ours .*everything_saveable"):
    same(program)


def test_where_a_value_lies_is_compared():
  def placed(*axes, unreduced=False):
    mesh = jax.make_mesh((1, 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    place = NamedSharding(mesh, PartitionSpec(*axes))
    return str(equations(jax.make_jaxpr(lambda x: jax.lax.with_sharding_constraint(x, place))(X)))

  places = [(), ("data",), ("model",), (None, "data"), (("data", "model"),), (PartitionSpec.UNCONSTRAINED,)]
  assert len({placed(*place) for place in places}) == len(places)

  def program(nn):
    return placed("data" if nn is minilinen else "model")

  with pytest.raises(AssertionError, match=r"Flax .*model.*, ours .*data"):
    same(program)


def test_names_that_a_policy_asks_for_are_compared_and_those_of_functions_are_not():
  def named(name):
    return equations(jax.make_jaxpr(lambda x: checkpoint_name(x, name))(X))

  assert named("a") == named("a") != named("b")

  def f(x):
    return 2 * x

  def g(x):
    return 2 * x

  assert equations(jax.make_jaxpr(jax.jit(f))(X)) == equations(jax.make_jaxpr(jax.jit(g))(X))


def raising(theirs, ours):
  def program(nn):
    raise ours if nn is minilinen else theirs

  return program


@pytest.mark.parametrize(
  "theirs",
  [AssertionError("rank"), IndexError("tuple index out of range"), TypeError("no axis")],
  ids=lambda error: type(error).__name__,
)
def test_an_error_of_another_class_must_be_named(theirs):
  program, name = raising(theirs, ValueError("ours")), type(theirs).__name__
  with pytest.raises(AssertionError, match="minilinen ValueError"):
    agree(theirs, ValueError("ours"))
  with pytest.raises(AssertionError, match="minilinen ValueError"):
    raises_as_flax(name)(program)()
  assert str(same_error(program, name, "ValueError")) == "ours"
  with pytest.raises(AssertionError, match="minilinen ValueError"):
    same_error(program, name, "KeyError")


def test_a_name_for_an_error_that_is_flaxs_is_not_needed():
  with pytest.raises(AssertionError, match="needs no other name"):
    same_error(raising(ValueError("a"), ValueError("b")), "ValueError", "Exception")


def test_a_program_that_fails_in_both_is_not_the_same():
  """A slip of whoever wrote it, perhaps; an error that is meant has its name in the test."""
  with pytest.raises(AssertionError, match="both raise NameError"):
    same(raising(NameError("slip"), NameError("slip")))
  with pytest.raises(AssertionError, match="Flax gives KeyError"):
    same_error(raising(KeyError("a"), KeyError("a")), "ValueError")


def test_only_one_raises():
  def program(nn, which):
    if nn is which:
      raise ValueError("here")
    return 1

  with pytest.raises(AssertionError, match="minilinen raises, Flax returns 1"):
    same(program, minilinen)
  with pytest.raises(AssertionError, match=r"Flax raises ValueError\('here'\), minilinen returns 1"):
    same(program, flax.linen)


def test_a_literal_can_fail():
  def program(nn):
    return nn.Dense(2).init(jax.random.key(0), X)

  as_flax({"params": {"kernel": (4, 2), "bias": (2,)}})(program)()
  for wrong in ({"params": {"kernel": (2, 4), "bias": (2,)}}, {"params": {"kernel": (4, 2)}}, {}, None):
    with pytest.raises(AssertionError):
      as_flax(wrong)(program)()


@pytest.mark.parametrize(
  "theirs, ours",
  [
    (1.0, 1),
    ([1], (1,)),
    (jnp.zeros(2), -jnp.zeros(2)),
    ({"a": 1}, {"b": 1}),
    (jnp.ones(2), jnp.ones((2, 1))),
  ],
  ids=str,
)
def test_values_that_are_not_the_same(theirs, ours):
  agree(theirs, theirs)
  with pytest.raises(AssertionError):
    agree(theirs, ours)
