"""`nn.partitioning`: axes beside the variables, against Flax."""

from __future__ import annotations

import functools

import flax.linen.partitioning  # noqa: F401 - nothing else of Flax imports it
import jax
import jax.numpy as jnp
import pytest
from oracle import KEY, X, equations, raises_as_flax, same, same_error, shown
from test_logical_axes import RULES, mesh_of_one

import minilinen
from minilinen import errors


def named(tree):
  """The axes in a collection as tuples, which both libraries have."""
  return jax.tree.map(lambda box: list(box.names), tree, is_leaf=lambda box: hasattr(box, "names"))


def dense_of(nn, axes=("embed", "mlp")):
  class Dense(nn.Module):
    @nn.compact
    def __call__(self, x):
      kernel = nn.partitioning.param_with_axes(
        "kernel", nn.initializers.normal(), (x.shape[-1], 4), axes=axes
      )
      count = nn.partitioning.variable_with_axes(
        "cache", "count", jnp.zeros, (2,), axes=("embed",), module=self
      )
      if not self.is_initializing():
        count.value = count.value + 1
      return x @ kernel + count.value.sum()

  return Dense


def step_of(nn):
  class Step(nn.Module):
    @nn.compact
    def __call__(self, carry, _):
      return dense_of(nn)()(carry), None

  return Step


def outcome(nn, model, x=X):
  """Variables, axes, output, mutations and equations of a model."""
  variables = model.init(KEY, x)
  plain = {col: tree for col, tree in variables.items() if not col.endswith("_axes")}
  axes = {col: named(tree) for col, tree in variables.items() if col.endswith("_axes")}

  def apply(plain):
    y, changed = model.apply({**variables, **plain}, x, mutable=["cache"])
    return y, changed

  y, changed = model.apply(variables, x, mutable=["cache", "params_axes"])
  names = {col: named(tree) for col, tree in changed.items() if col.endswith("_axes")}
  return plain, axes, y, names, apply(plain), equations(jax.make_jaxpr(apply)(plain))


@pytest.mark.parametrize("mesh", [False, True], ids=["", "mesh"])
@pytest.mark.parametrize("axes", [("embed", "mlp"), None], ids=str)
def test_variables_with_axes(mesh, axes):
  def program(nn):
    if not mesh:
      return outcome(nn, dense_of(nn, axes)())
    with nn.partitioning.axis_rules(RULES), jax.set_mesh(mesh_of_one()):
      model = dense_of(nn, axes)()
      variables = jax.jit(model.init)(KEY, X)
      jaxpr = jax.make_jaxpr(lambda v, x: model.apply(v, x, mutable=["cache"]))(variables, X)
      return equations(jaxpr), equations(jax.make_jaxpr(model.init)(KEY, X))

  same(program)


SCANS = [
  {"variable_axes": {"params": 0, "cache": 0}},
  {"variable_axes": {"params": 1, "cache": 0}, "axis_name": "stack"},
  {"variable_axes": {"params": 0, "cache": 0}, "axes_collections": ("params", "cache")},
  {"variable_axes": {"cache": 0}, "variable_broadcast": "params", "split_rngs": {"params": False}},
]


@pytest.mark.parametrize("options", SCANS, ids=str)
def test_scan_with_axes(options):
  def program(nn):
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        options_ = {"split_rngs": {"params": True}, **options}
        return nn.partitioning.scan_with_axes(step_of(nn), length=3, **options_)(name="s")(x, None)[0]

    return outcome(nn, Net())

  same(program)


VMAPS = [{"params": "stack"}, {"params": "stack", "cache": "other"}, {"nowhere": "stack"}]


@pytest.mark.filterwarnings("ignore::minilinen.errors.DroppedValueWarning")
@pytest.mark.parametrize("names", VMAPS, ids=str)
def test_vmap_with_axes(names):
  def program(nn):
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        mapped = nn.partitioning.vmap_with_axes(
          dense_of(nn), {"params": 1, "cache": 0}, split_rngs={"params": True}, partitioning_axis_names=names
        )
        return mapped()(x)

    return outcome(nn, Net(), jnp.stack([X, X + 1]))

  same(program)


@pytest.mark.parametrize("static", [(1,), ()], ids=str)
def test_remat_counts_without_the_module(static):
  def program(nn):
    class Block(nn.Module):
      @nn.compact
      def __call__(self, x, train):
        return nn.Dense(4)(x) * (2 if train else 3)

    model = nn.partitioning.remat(Block, static_argnums=static)()
    variables = model.init(KEY, X, True)
    return variables, equations(jax.make_jaxpr(lambda v, x: model.apply(v, x, False))(variables, X))

  if static:
    assert shown(same(program)[0]) == {"params": {"Dense_0": {"kernel": (4, 4), "bias": (4,)}}}
  else:
    same_error(program, "TracerBoolConversionError")


@pytest.mark.parametrize("static", [(), (1,), (7,), (-1,), (1, -2)], ids=str)
def test_positions_that_remat_takes_for_static(static):
  def program(nn):
    class Block(nn.Module):
      @nn.compact
      def __call__(self, x, t, u=1):
        return nn.Dense(4)(x) * (2 if isinstance(t, int) else 3) * (5 if isinstance(u, int) else 7)

    model = nn.partitioning.remat(Block, static_argnums=static)()
    variables = model.init(KEY, X, 1)
    apply = functools.partial(model.apply, variables, X, 2)
    return variables, apply(2), equations(jax.make_jaxpr(lambda v: model.apply(v, X, 2, 2))(variables))

  same(program)


def test_remat_passes_on_arguments_by_name():
  """Flax's leaves them out with a warning, and its `nn.remat` does not."""

  class Scale(minilinen.Module):
    @minilinen.compact
    def __call__(self, x, by=1):
      return x * by

  assert jnp.array_equal(minilinen.partitioning.remat(Scale)().apply({}, X, by=5), X * 5)


@raises_as_flax("ValueError")
def test_scanned_by_another_name(nn):
  def scanned(name):
    axes = {"params": 0, "cache": 0}
    return nn.partitioning.scan_with_axes(
      step_of(nn), variable_axes=axes, split_rngs={"params": True}, length=2, axis_name=name
    )()

  return scanned("stack").apply(scanned("layers").init(KEY, X, None), X, None)


def test_axis_names():
  def program(nn):
    variables = dense_of(nn)().init(KEY, X)
    names = nn.partitioning.get_axis_names(variables["params_axes"])
    return type(names).__name__, list(names["kernel"])

  same(program)


def test_only_names_of_variables_lose_their_suffix():
  def program(nn):
    box = nn.partitioning.AxisMetadata(("a", None))
    tree = {"x_axes": {"k_axes": box, "plain": box}, "k_axes_axes": box, "empty": {}}
    return nn.partitioning.get_axis_names(tree).unfreeze()

  same(program)


@raises_as_flax("AttributeError")
def test_no_names_in_there(nn):
  """An array where the names of its axes should be."""
  return nn.partitioning.get_axis_names({"kernel": X})


@raises_as_flax("AssertionError")
def test_outside_of_modules(nn):
  return nn.partitioning.param_with_axes("kernel", jnp.ones, (2,), axes=("embed",))


@raises_as_flax("ValueError")
def test_other_axes_than_before(nn):
  variables = dense_of(nn)().init(KEY, X)
  return dense_of(nn, ("mlp", "embed"))().apply(variables, X, mutable=["params_axes", "cache"])


def test_other_axes_are_told():
  variables = dense_of(minilinen)().init(KEY, X)
  with pytest.raises(errors.LogicalAxisError, match=r"axes of 'kernel' are \('mlp', 'embed'\) now"):
    dense_of(minilinen, ("mlp", "embed"))().apply(variables, X, mutable=["params_axes", "cache"])


def test_in_the_trace():
  trace = minilinen.trace(dense_of(minilinen)().init)(KEY, X)
  assert jax.tree.map(str, trace.variables()["params"]) == {"kernel": "f32[4,4]"}
  assert minilinen.Trace.from_json(trace.to_json()) == trace
