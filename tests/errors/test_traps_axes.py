"""Mistakes with the names of axes: of arrays, of rules, and of meshes."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import mistakes
import pytest
from mistakes import Case, run

import minilinen as nn
from minilinen import errors

KEY = jax.random.key(0)
X = jnp.ones((2, 4))
RULES = (("batch", "data"), ("embed", None), ("mlp", "model"))
CASES: list[Case] = []
raises = functools.partial(mistakes.raises, CASES)


def mesh() -> Any:
  """A mesh with two axes on the one device that tests have, put in force."""
  kinds = (jax.sharding.AxisType.Auto,) * 2
  return jax.set_mesh(jax.make_mesh((1, 1), ("data", "model"), axis_types=kinds))


def dense(names: Any, named: Any = nn.with_logical_partitioning) -> Any:
  with mesh(), nn.logical_axis_rules(RULES):
    return nn.Dense(3, kernel_init=named(nn.initializers.ones, names)).init(KEY, X)


class Axes(nn.Module):
  """A parameter with axes beside it."""

  axes: Any = ("embed", "mlp")

  @nn.compact
  def __call__(self, x: Any) -> Any:
    return x @ nn.partitioning.param_with_axes("kernel", nn.initializers.ones, (4, 3), axes=self.axes)


@raises(
  errors.LogicalAxisError,
  """\
An array of shape (4, 3) cannot lie on (None, 'model', None): it has 2 axes.
  line    `return nn.Dense(3, kernel_init=named(nn.initializers.ones, names)).init(KEY, X)`
  mend    give one name for each axis of the array, None for those that stay
          whole.
in module / (Dense.__call__), called with (f32[2,4])""",
)
def a_name_for_each_of_three_axes() -> Any:
  return dense(("embed", "mlp", None))


@raises(
  errors.LogicalAxisError,
  """\
The mesh has no axis 'modle', which (None, 'modle') names.
Did you mean 'model'?
There: data, model.
  line    `return nn.Dense(3, kernel_init=named(nn.initializers.ones, names)).init(KEY, X)`
  mend    let the rule or the box name an axis that the mesh has.
in module / (Dense.__call__), called with (f32[2,4])""",
)
def no_such_axis_of_the_mesh() -> Any:
  return dense((None, "modle"), nn.with_partitioning)


@raises(
  errors.DuplicateSpecError,
  """\
An array cannot lie on ('model', 'model'): an axis of the mesh can split one
  axis of an array, and 'model' stands there more than once.
  line    `return nn.Dense(3, kernel_init=named(nn.initializers.ones, names)).init(KEY, X)`
  mend    put None in the place of all but one of them.
in module / (Dense.__call__), called with (f32[2,4])""",
)
def an_axis_of_the_mesh_twice() -> Any:
  return dense(("model", "model"), nn.with_partitioning)


@raises(
  errors.LogicalAxisError,
  """\
Axis names ('bach', 'embed') did not match a rule: there is none left for
  'bach'.
Did you mean 'batch'?
There: batch, embed, mlp.
  line    `return nn.with_logical_constraint(X, ("bach", "embed"), RULES, fallback=strict)`
  right   with nn.logical_axis_rules([("batch", "data"), ("mlp", "model")]): ...
  mend    name each axis of an array once, with None for those that stay whole,
          and give a rule for each name.""",
)
def a_name_that_no_rule_knows() -> Any:
  strict = nn.spmd.RulesFallback.RAISE_ERROR
  return nn.with_logical_constraint(X, ("bach", "embed"), RULES, fallback=strict)


@raises(
  errors.LogicalAxisError,
  """\
The names of an array's axes are a tuple of them or a PartitionSpec, and 'batch'
  is a string.
  line    `return nn.with_logical_constraint(X, "batch", RULES)`
  right   ('batch',)   # an array with one axis; ('batch', None) with two
  mend    give one name for each axis of the array.""",
)
def a_string_for_names() -> Any:
  return nn.with_logical_constraint(X, "batch", RULES)


@raises(
  errors.LogicalAxisError,
  """\
Axis rules are a list or tuple of pairs of a logical axis and a mesh axis, and
  these are not: ('batch', 'data'), a tuple.
  line    `return nn.logical_to_mesh_axes(("batch", None), ("batch", "data"))`
  right   with nn.logical_axis_rules([("batch", "data"), ("mlp", "model")]): ...
  mend    several mesh axes go in a tuple, None means that the axis stays whole.""",
)
def one_rule_for_a_list_of_them() -> Any:
  return nn.logical_to_mesh_axes(("batch", None), ("batch", "data"))


@raises(
  errors.LogicalAxisError,
  """\
Axis rules are a list or tuple of pairs of a logical axis and a mesh axis, and
  these are not: a dict with the keys batch.
  line    `return nn.logical_to_mesh_axes(("batch", None))`
  right   with nn.logical_axis_rules([("batch", "data"), ("mlp", "model")]): ...
  mend    several mesh axes go in a tuple, None means that the axis stays whole.""",
)
def rules_in_a_dict() -> Any:
  with nn.logical_axis_rules({"batch": "data"}):  # type: ignore[arg-type]
    return nn.logical_to_mesh_axes(("batch", None))


@raises(
  errors.RemovedAxisError,
  """\
Axis 0 of a variable with the axes ('layers', 'in', 'out') is to be taken away,
  and is not 'expert'.
  line    `return net("expert").apply(net("layers").init(KEY, X), X)`
  mend    if they were stacked along 'layers', say so:
          metadata_params={nn.PARTITION_NAME: 'layers'}.
          If they never were, make them by this model's init.
in module / (VmapDense.__call__), called with (f32[2,4])""",
)
def stacked_by_another_name() -> Any:
  def net(name: str) -> Any:
    named = nn.with_partitioning(nn.initializers.ones, ("in", "out"))
    return nn.vmap(
      nn.Dense,
      variable_axes={"params": 0},
      split_rngs={"params": True},
      metadata_params={nn.PARTITION_NAME: name},
    )(3, kernel_init=named)

  return net("expert").apply(net("layers").init(KEY, X), X)


@raises(
  errors.AxesCollectionError,
  """\
There are no names of axes at 'kernel'.
  line    `return nn.partitioning.get_axis_names(Axes().init(KEY, X)["params"])`
  expects nn.partitioning.AxisMetadata
  found   an instance of ArrayImpl
  right   nn.partitioning.get_axis_names(variables["params_axes"])""",
)
def names_of_axes_from_the_parameters() -> Any:
  return nn.partitioning.get_axis_names(Axes().init(KEY, X)["params"])


@raises(
  errors.NoModuleCalledError,
  """\
param_with_axes makes a variable of the module that is being called, and none
  is.
  line    `return nn.partitioning.param_with_axes("kernel", jnp.ones, (2,), axes=("embed",))`
  mend    use it in a method of a module, or pass module=self.""",
)
def a_parameter_outside_of_modules() -> Any:
  return nn.partitioning.param_with_axes("kernel", jnp.ones, (2,), axes=("embed",))


@raises(
  errors.LogicalAxisError,
  """\
The axes of 'kernel' are ('mlp', 'embed') now and were ('embed', 'mlp').
  line    `return x @ nn.partitioning.param_with_axes("kernel", nn.initializers.ones, (4, 3), axes=self.axes)`
  mend    give a variable the same axes wherever it is made.
in module / (Axes.__call__), called with (f32[2,4])""",
)
def other_axes_than_before() -> Any:
  variables = Axes().init(KEY, X)
  return Axes(("mlp", "embed")).apply(variables, X, mutable=["params_axes"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2].__name__)
def test_message(case: Case) -> None:
  run(case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2].__name__)
def test_looking_on_changes_nothing(case: Case) -> None:
  """A recorder describes boxes with wrong names too, and leaves it to the code to fail."""
  with nn.record() as trace:
    run(case)
  assert nn.Trace.from_json(trace.to_json()) == trace
