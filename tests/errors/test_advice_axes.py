"""The advice about names of axes: of boxes, of rules, of meshes, and of lifted transforms that add or take one."""

from __future__ import annotations

import pytest
from situations import Advice

from minilinen import errors

MANY = """
init = nn.with_partitioning(nn.initializers.ones, ("in", "out"))
def many(axis=0, **options):
  lifted = nn.vmap(nn.Dense, {"params": axis}, {"params": True}, in_axes=None, axis_size=2, **options)
  return lifted(4, kernel_init=init, bias_init=nn.with_partitioning(nn.initializers.zeros, ("out",)))
layers = many(metadata_params={nn.PARTITION_NAME: "layers"})
"""
SCALE = """
class Net(nn.Module):
  @nn.compact
  def __call__(self, x):
    return x * nn.partitioning.param_with_axes("w", nn.initializers.ones, (3,), axes=("in",))
"""

ADVICE = [
  # A box without a name for its new axis.
  Advice(
    errors.PartitioningUnspecifiedError,
    """
    class Net(nn.Module):
      def setup(self):
        self.layer = nn.Dense(3, kernel_init=nn.with_partitioning(nn.initializers.ones, ("in", "out")))
      def __call__(self, x):
        def step(self, x, _):
          return self.layer(x), None
        loop = nn.scan(step, {"params": 0}, split_rngs={"params": True}, length=2)
        return loop(self, x, None)
    Net().init(key, x)
    """,
    [
      "lifted <program>:8 in Net.__call__",
      'right nn.scan(step, metadata_params={nn.PARTITION_NAME: "layers"}, ...)',
    ],
    ("What was passed", "box."),
    """
    class Net(nn.Module):
      def setup(self):
        self.layer = nn.Dense(3, kernel_init=nn.with_partitioning(nn.initializers.ones, ("in", "out")))
      def __call__(self, x):
        def step(self, x, _):
          return self.layer(x), None
        loop = nn.scan(
          step, {"params": 0}, split_rngs={"params": True}, length=2, metadata_params={nn.PARTITION_NAME: "layers"}
        )
        return loop(self, x, None)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.PartitioningUnspecifiedError,
    MANY + "many(metadata_params={'name': 'layers'}).init(key, x)",
    ["What was passed has 'name' only.", "metadata_params={nn.PARTITION_NAME:"],
    ("nn.scan",),
    MANY + "layers.init(key, x)",
  ),
  Advice(
    errors.PartitioningUnspecifiedError,
    """
    class Block(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(3, kernel_init=nn.with_partitioning(nn.initializers.ones, ("in", "out")))(x)
    nn.remat_scan(Block, lengths=(2,))().init(key, x)
    """,
    ["nn.remat_scan takes no metadata_params", "make the parameters without boxes"],
    ("right",),
    """
    class Block(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(3)(x)
    nn.remat_scan(Block, lengths=(2,))().init(key, x)
    """,
  ),
  Advice(
    errors.PartitioningUnspecifiedError,
    "nn.Partitioned(x, ('in', 'out')).add_axis(0, {})",
    ['right box.add_axis(0, {nn.PARTITION_NAME: "layers"})'],
    ("What was passed", "metadata_params={"),
    "nn.Partitioned(x, ('in', 'out')).add_axis(0, {nn.PARTITION_NAME: 'layers'})",
  ),
  # An axis that is taken away.
  Advice(
    errors.RemovedAxisError,
    MANY + "many(metadata_params={nn.PARTITION_NAME: 'blocks'}).apply(layers.init(key, x), x)",
    ["stacked along 'layers', say so: metadata_params={nn.PARTITION_NAME: 'layers'}"],
    ("variable_axes", "no such axis"),
    MANY + "many(metadata_params={nn.PARTITION_NAME: 'layers'}).apply(layers.init(key, x), x)",
  ),
  Advice(
    errors.RemovedAxisError,
    MANY + "many(-1, metadata_params={nn.PARTITION_NAME: 'layers'}).apply(layers.init(key, x), x)",
    ["'layers' is axis 0 of them: let variable_axes say 0."],
    ("metadata_params", "init"),
    MANY + "many(0, metadata_params={nn.PARTITION_NAME: 'layers'}).apply(layers.init(key, x), x)",
  ),
  Advice(
    errors.RemovedAxisError,
    MANY + "layers.apply(nn.Dense(4, kernel_init=init).init(key, x), x)",
    ["the axes ('in', 'out')", "If they never were, make them by this model's init."],
    ("variable_axes",),
    MANY + "layers.apply(layers.init(key, x), x)",
  ),
  Advice(
    errors.RemovedAxisError,
    SCALE
    + """
def many(name):
  return nn.partitioning.vmap_with_axes(
    Net, {"params": 0, "params_axes": 0}, {"params": True}, partitioning_axis_names={"params": name}
  )()
many("blocks").apply(many("layers").init(key, x), x)
""",
    ["partitioning_axis_names={\"params\": 'layers'}"],
    ("metadata_params",),
    SCALE
    + """
def many(name):
  return nn.partitioning.vmap_with_axes(
    Net, {"params": 0, "params_axes": 0}, {"params": True}, partitioning_axis_names={"params": name}
  )()
many("layers").apply(many("layers").init(key, x), x)
""",
  ),
  # Over an axis of the mesh twice.
  Advice(
    errors.DuplicateSpecError,
    """
    mesh = jax.make_mesh((1, 1), ("data", "model"))
    nn.Partitioned(x, (("data", "model"), "data"), mesh=mesh).unbox()
    """,
    ["'data' stands there more than once", "put None in the place of all but one"],
    ("'model' stands",),
  ),
  Advice(
    errors.DuplicateSpecError,
    """
    mesh = jax.make_mesh((1,), ("data",))
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        init = nn.with_partitioning(nn.initializers.ones, ("data", "data"), mesh=mesh)
        return nn.Dense(4, kernel_init=init)(x)
    Net().init(key, x)
    """,
    ["line <program>:7 in Net.__call__", "in module /Dense_0"],
  ),
  Advice(
    errors.DuplicateSpecError,
    """
    mesh = jax.make_mesh((1,), ("data",))
    nn.Partitioned(x, ("data", "data"), mesh=mesh).unbox()
    """,
    ["An array cannot lie on ('data', 'data')"],
  ),
  # A collection of axes.
  Advice(
    errors.AxesCollectionError,
    SCALE + "nn.partitioning.get_axis_names(Net().init(key, x))",
    ["at 'params/w'", 'right nn.partitioning.get_axis_names(variables["params_axes"])'],
    ("box",),
    SCALE + "nn.partitioning.get_axis_names(Net().init(key, x)['params_axes'])",
  ),
  Advice(
    errors.AxesCollectionError,
    MANY + "nn.partitioning.get_axis_names(layers.init(key, x)['params'])",
    ["right nn.get_partition_spec(variables)", "the value is in a box"],
    ("params_axes",),
    MANY + "nn.get_partition_spec(layers.init(key, x))",
  ),
  Advice(
    errors.AxesCollectionError,
    "nn.partitioning.get_axis_names({'Dense_0': {'kernel_axes': ('in', 'out')}})",
    ["at 'Dense_0/kernel_axes'", "right nn.partitioning.AxisMetadata(('in', 'out'))"],
    ("params_axes",),
    "nn.partitioning.get_axis_names({'Dense_0': {'kernel_axes': nn.partitioning.AxisMetadata(('in', 'out'))}})",
  ),
  # Outside of all modules.
  Advice(
    errors.NoModuleCalledError,
    """
    def scale(x):
      return x * nn.partitioning.param_with_axes("w", nn.initializers.ones, (3,), axes=("in",))
    scale(x)
    """,
    ["param_with_axes makes a variable", "line <program>:3 in scale", "use it in a method of a module"],
    ("variable_with_axes",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x * nn.partitioning.param_with_axes("w", nn.initializers.ones, (3,), axes=("in",))
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.NoModuleCalledError,
    "jax.jit(lambda: nn.partitioning.variable_with_axes('cache', 'w', jnp.ones, (3,), axes=('in',)))()",
    ["variable_with_axes makes a variable", "<program>:1 in <lambda>"],
    ("param_with_axes",),
  ),
  Advice(
    errors.NoModuleCalledError,
    """
    class Net(nn.Module):
      w: object = nn.partitioning.param_with_axes("w", nn.initializers.ones, (3,), axes=("in",))
    """,
    ["line <program>:3 in Net", "use it in a method of a module"],
  ),
  # A name that no map has.
  Advice(
    errors.AxisNameError,
    """
    class Mean(nn.Module):
      def __call__(self, x):
        return jax.lax.pmean(x, "batch")
    Mean().apply({}, x)
    """,
    ["Mean in '/' works across the axis 'batch'", "<program>:4 in Mean.__call__"],
    mended="""
    class Mean(nn.Module):
      def __call__(self, x):
        return jax.lax.pmean(x, "batch")
    jax.vmap(lambda x: Mean().apply({}, x), axis_name="batch")(x)
    """,
  ),
  Advice(
    errors.AxisNameError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.BatchNorm(use_running_average=False, axis_name="devices")(x)
    variables = Net().init(key, x)
    jax.vmap(lambda x: Net().apply(variables, x, mutable=["batch_stats"]), axis_name="batch")(x)
    """,
    ["BatchNorm in '/BatchNorm_0' works across the axis 'devices'", 'axis_name="devices")(x)'],
    mended="""
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.BatchNorm(use_running_average=False, axis_name="devices")(x)
    variables = Net().init(key, x)
    jax.vmap(lambda x: Net().apply(variables, x, mutable=["batch_stats"]), axis_name="devices")(x)
    """,
  ),
]


@pytest.mark.parametrize("advice", ADVICE, ids=str)
def test_advice(advice: Advice) -> None:
  advice.holds()
