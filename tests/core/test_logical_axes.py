"""Logical axes, rules and constraints, against Flax: without a mesh, with one in force, and with one of their own."""

from __future__ import annotations

import contextlib
import functools
import threading

import flax.linen
import jax
import jax.numpy as jnp
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec
from oracle import KEY, X, equations, raises_as_flax, same, same_or_error

import minilinen
from minilinen import errors
from minilinen.tracing.spec import boxed, describe

RULES = (
  ("batch", "data"),
  ("embed", None),
  ("mlp", "model"),
  ("heads", "model"),
  ("both", ("data", "model")),
)
NAMES = ["batch", "embed", "mlp", "heads", "both", "unknown", None]


def mesh_of_one(kind="Auto"):
  """A mesh with two axes on the one device that tests have."""
  return jax.make_mesh((1, 1), ("data", "model"), axis_types=(jax.sharding.AxisType[kind],) * 2)


def equations_of(fn, *args):
  """The equations with their shardings, whose text names no library."""
  jaxpr = jax.make_jaxpr(fn)(*args)
  return equations(jaxpr), [str(e.params.get("sharding")) for e in jaxpr.eqns]


MESHES = {
  "none": contextlib.nullcontext,
  "set": lambda kind: jax.set_mesh(mesh_of_one(kind)),
  "with": lambda kind: mesh_of_one(kind),
  "abstract": lambda kind: jax.sharding.use_abstract_mesh(mesh_of_one(kind).abstract_mesh),
}
BOXES = [
  ("with_partitioning", ("data", "model"), {}),
  ("with_partitioning", (("data", "model"), None), {}),
  ("with_partitioning", ("model",), {"mesh": True}),
  ("with_partitioning", ("data", "nope"), {}),
  ("with_partitioning", ("data", "data"), {}),
  ("with_partitioning", ("data", None, None), {}),
  ("with_logical_partitioning", ("batch", "mlp"), {}),
  ("with_logical_partitioning", ("batch", "mlp"), {"rules": RULES}),
  ("with_logical_partitioning", ("both", "unknown"), {"rules": RULES, "mesh": True}),
  ("with_logical_partitioning", ("batch", "batch"), {}),
  ("with_logical_partitioning", ("batch", None, None), {}),
  ("with_logical_partitioning", (None, None), {}),
]


@pytest.mark.filterwarnings("ignore:`with mesh")
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("named, names, options", BOXES, ids=str)
def test_every_way_to_put_a_mesh_in_force(named, names, options, mesh, kind):
  """The same jaxprs as Flax's, or the same error, of parameters in boxes; and the same when somebody records."""

  def program(nn, watch=contextlib.nullcontext):
    own = {**options, "mesh": mesh_of_one()} if options.get("mesh") else options

    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        init = getattr(nn, named)(nn.initializers.ones, names, **own)
        return nn.with_logical_constraint(x @ self.param("kernel", init, (4, 4)), ("batch", "mlp"))

    variables = jax.eval_shape(Net().init, KEY, X)
    with MESHES[mesh](kind), nn.logical_axis_rules(RULES), watch():
      return equations_of(Net().init, KEY, X), equations_of(Net().apply, variables, X)

  found = same_or_error(program)
  watched = same_or_error(
    lambda nn: program(nn, minilinen.record if nn is minilinen else contextlib.nullcontext)
  )
  assert str(watched) == str(found)


@settings(max_examples=60, deadline=None)
@given(
  names=st.lists(st.sampled_from(NAMES), max_size=4),
  rules=st.permutations(RULES).map(tuple),
  more=st.lists(st.sampled_from([("batch", "model"), ("mlp", None), ("unknown", "data")]), max_size=2).map(
    tuple
  ),
)
def test_logical_to_mesh_axes(names, rules, more):
  def program(nn):
    spec = nn.logical_to_mesh_axes(tuple(names), (*more, *rules))
    assert isinstance(spec, PartitionSpec)
    return list(spec)

  same_or_error(program)


def test_rules_in_force():
  nn = minilinen
  assert nn.get_logical_axis_rules() == ()
  with nn.logical_axis_rules(RULES):
    assert nn.get_logical_axis_rules() == RULES
    assert nn.logical_to_mesh_axes(("batch", "mlp")) == PartitionSpec("data", "model")
    assert nn.logical_to_mesh_axes(("batch", "mlp"), [("batch", "other")]) == PartitionSpec("other", None)
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(nn.get_logical_axis_rules()))
    thread.start()
    thread.join()
    assert elsewhere == [()]
  assert nn.get_logical_axis_rules() == ()
  nn.set_logical_axis_rules(RULES)
  assert nn.spmd.get_logical_axis_rules() == nn.partitioning.get_axis_rules() == RULES
  nn.set_logical_axis_rules(())


def test_trees_of_specs():
  specs = {"a": PartitionSpec("batch", "mlp"), "b": PartitionSpec(), "c": PartitionSpec(None)}
  mesh = mesh_of_one()
  for nn in (flax.linen, minilinen):
    assert nn.logical_to_mesh(specs, RULES) == {**specs, "a": PartitionSpec("data", "model")}
    shardings = nn.logical_to_mesh_sharding(specs, mesh, RULES)
    assert shardings["a"] == NamedSharding(mesh, PartitionSpec("data", "model"))


def boxed_model(nn, **options):
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      init = nn.with_logical_partitioning(nn.initializers.lecun_normal(), ("embed", "mlp"), **options)
      x = nn.Dense(6, kernel_init=init)(x)
      return nn.with_logical_constraint(x, ("batch", "mlp"))

  return Net()


U = PartitionSpec.UNCONSTRAINED


@pytest.mark.parametrize(
  "rules",
  [
    RULES,
    [("batch", U), ("mlp", U)],
    [("batch", ["data"]), ("mlp", "data")],
    [("batch", PartitionSpec("data")), ("mlp", "data")],
    [("batch", None), ("batch", "data"), ("mlp", ("data", "model")), ("mlp", "model")],
    [("batch", ()), ("mlp", "model")],
  ],
  ids=str,
)
def test_what_is_no_name_stays(rules):
  """Axes left to XLA, mesh axes in tuples, and names of one letter in a string."""

  def program(nn):
    found = []
    for names in [
      ("batch", U), (U, U, "mlp"), ("batch", ("data",)), (("data", "model"), "batch"), ("mlp", "batch", ("model",)),
      (("mlp",), "mlp"), ("unknown", None), "xy", PartitionSpec("batch", U), ["batch", "mlp"], (),
    ]:  # fmt: skip
      found.append(str(nn.logical_to_mesh_axes(names, rules)))
      with settings_of(nn, False, True):
        for fallback in nn.spmd.RulesFallback:
          constrain = functools.partial(
            nn.with_logical_constraint, logical_axis_resources=names, rules=rules, fallback=fallback
          )
          try:
            found.append(equations_of(constrain, jnp.ones((2, 2, 2))))
          except ValueError:
            found.append("ValueError")
    return found

  same(program)


def test_places_of_an_optimizer():
  """Its state has named tuples, empty ones too, which are no names of axes."""

  def program(nn):
    def init(key):
      variables = boxed_model(nn).init(key, X)
      return variables, optax.adam(1e-3).init(variables)

    specs = nn.get_partition_spec(jax.eval_shape(init, KEY))
    places = nn.logical_to_mesh_sharding(specs, mesh_of_one(), RULES)
    state = jax.jit(init, out_shardings=places)(KEY)
    return str(specs), str(nn.logical_to_mesh(specs, RULES)), str(places), nn.unbox(state[0])

  same(program)


@contextlib.contextmanager
def settings_of(nn, rules, mesh):
  with contextlib.ExitStack() as stack:
    if rules:
      stack.enter_context(nn.logical_axis_rules(RULES))
    if mesh:
      stack.enter_context(jax.set_mesh(mesh_of_one()))
    yield


@pytest.mark.parametrize("rules", [False, True], ids=["", "rules"])
@pytest.mark.parametrize("mesh", [False, True], ids=["", "mesh"])
@pytest.mark.parametrize("own", [False, True], ids=["", "own"])
def test_boxes(rules, mesh, own):
  def program(nn):
    model = boxed_model(nn, **({"mesh": mesh_of_one(), "rules": RULES} if own else {}))
    with settings_of(nn, rules, mesh):
      variables = jax.jit(model.init)(KEY, X)
      apply = equations_of(model.apply, variables, X)
      # Of init the constraints: JAX 0.12 keeps an initializer that was traced before as one equation.
      init = [sharding for sharding in equations_of(model.init, KEY, X)[1] if sharding != "None"]
    box = variables["params"]["Dense_0"]["kernel"]
    assert type(box).__name__ == "LogicallyPartitioned"
    specs = [list(spec) for spec in jax.tree.leaves(nn.get_partition_spec(variables))]
    lifted = box.add_axis(0, {nn.PARTITION_NAME: "layers"})
    assert lifted.remove_axis(0, {nn.PARTITION_NAME: "layers"}).names == box.names
    return nn.unbox(variables), apply, init, specs, lifted.names, jnp.sum(box.unbox(apply_constraint=False))

  same(program)


FALLBACKS = ["AXIS_IS_UNSHARDED", "RAISE_ERROR", "NO_CONSTRAINT"]


@pytest.mark.parametrize("fallback", FALLBACKS)
@pytest.mark.parametrize(
  "names",
  [("batch", "mlp"), ("batch", "unknown"), ("mlp", "heads"), ("batch",), None, (None, "mlp"), ("both", None)],
  ids=str,
)
def test_constraints(names, fallback):
  def program(nn):
    found = []
    for rules in (False, True):
      for mesh in (False, True):
        with settings_of(nn, rules, mesh):
          constrain = functools.partial(
            nn.with_logical_constraint, logical_axis_resources=names, fallback=nn.spmd.RulesFallback[fallback]
          )
          try:
            found.append(equations_of(constrain, X))
          except ValueError as error:
            found.append(str(error)[:20])
    return found

  same(program)


def test_constraints_on_trees():
  def program(nn):
    with settings_of(nn, True, True):
      spec = PartitionSpec("batch", "mlp")
      one = equations_of(lambda x: nn.with_logical_constraint({"a": x, "b": [x]}, ("batch", "mlp")), X)
      each = equations_of(lambda x: nn.with_logical_constraint({"a": x, "b": x}, {"a": spec, "b": None}), X)
      own = equations_of(
        lambda x: nn.with_logical_constraint(x, spec, rules=[("batch", "model")], mesh=mesh_of_one()), X
      )
    return one, each, own

  same(program)


@raises_as_flax("ValueError")
def test_a_name_twice(nn):
  return nn.logical_to_mesh_axes(("batch", "batch"), RULES)


@raises_as_flax("ValueError")
def test_more_names_than_axes(nn):
  with settings_of(nn, True, True):
    return jax.make_jaxpr(lambda x: nn.with_logical_constraint(x, ("batch", "mlp", None)))(X)


@raises_as_flax("ValueError")
def test_an_axis_that_the_mesh_has_not(nn):
  with jax.set_mesh(mesh_of_one()):
    return jax.make_jaxpr(lambda x: nn.with_logical_constraint(x, ("batch",), rules=[("batch", "other")]))(X)


def test_errors_say_what():
  with jax.set_mesh(mesh_of_one()), pytest.raises(errors.LogicalAxisError, match=r"no axis 'other'"):
    jax.eval_shape(lambda x: minilinen.with_logical_constraint(x, ("batch",), rules=[("batch", "other")]), X)
  raising = minilinen.spmd.RulesFallback.RAISE_ERROR
  with pytest.raises(errors.LogicalAxisError, match=r"none left for\s+'unknown'"):
    minilinen.with_logical_constraint(X, ("batch", "unknown"), RULES, fallback=raising)


@pytest.mark.parametrize("mesh", [False, True], ids=["", "mesh"])
def test_the_trace_knows_the_axes(mesh):
  """Of variables that are made, read, written, and passed in, by a call and by its gradient."""
  model = boxed_model(minilinen)
  shapes = jax.eval_shape(model.init, KEY, X)

  def loss(variables, x):
    return jnp.sum(model.apply(variables, x, mutable="params")[0])

  with settings_of(minilinen, True, mesh):
    for fn, args in [(model.init, (KEY, X)), (model.apply, (shapes, X)), (jax.grad(loss), (shapes, X))]:
      trace = minilinen.trace(fn)(*args)
      (found,) = trace.find("params/**/kernel")
      assert found.axes == ("embed", "mlp")
      assert found.value.sharding == ("P(None, 'model')" if mesh else "")
      assert minilinen.Trace.from_json(trace.to_json()) == trace


def test_an_array_that_lies_somewhere_is_described_as_it_lies():
  """Whatever the rules would say."""
  box = boxed_model(minilinen).init(KEY, X)["params"]["Dense_0"]["kernel"]
  placed = jax.ShapeDtypeStruct(
    (4, 6), "float32", sharding=NamedSharding(mesh_of_one(), PartitionSpec("data"))
  )
  with settings_of(minilinen, True, True):
    assert boxed(describe(box))[0].sharding == ""
    assert boxed(describe(box.replace_boxed(placed)))[0].sharding == "P('data')"
