"""The advice of findings in a trace, of questions to one, and of what stands below JAX's own errors."""

from __future__ import annotations

import pytest
from situations import Advice

from minilinen import errors

pytestmark = pytest.mark.grid

MLP = """
class Mlp(nn.Module):
  sizes: tuple
  @nn.compact
  def __call__(self, x):
    for size in self.sizes:
      x = nn.Dense(size)(x)
    return x
"""
ENC = """
class Net(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.Dense(4, name="enc")(x)
"""
INNER = """
class Inner(nn.Module):
  layer: type
  settings: dict
  @nn.compact
  def __call__(self, x):
    return self.layer(**self.settings, name="b")(x)
class Odd(nn.Module):
  layer: type
  settings: dict
  @nn.compact
  def __call__(self, x):
    return Inner(self.layer, self.settings, name="a")(self.layer(**self.settings, name="ab")(x))
"""
KEYS = """
import dataclasses
drawn = next(record for record in nn.trace(nn.Dense(4).init)(key, x) if hasattr(record, "served"))
"""
LOOP = """
class Loop(nn.Module):
  @nn.compact
  def __call__(self, x):
    def body(module, i):
      module.make_rng("noise")
      return i + 1
    return nn.while_loop(lambda module, i: i < 3, body, self, 0, split_rngs={"noise": True})
trace = nn.trace(Loop().apply)({}, x, rngs={"noise": key})
drawn = next(record for record in trace if hasattr(record, "served"))
"""
LOOPS = """
class Loop(nn.Module):
  @nn.compact
  def __call__(self, x):
    def body(module, i):
      module.make_rng("noise")
      return i + 1
    def twice(module, i):
      return nn.while_loop(lambda module, i: i < 3, body, module, i, split_rngs={"noise": True})
    return nn.while_loop(lambda module, i: i < 3, twice, self, 0, split_rngs={"noise": True})
trace = nn.trace(Loop().apply)({}, x, rngs={"noise": key})
drawn = next(record for record in trace if hasattr(record, "served"))
"""

ADVICE = [
  # Variables that are not the model's, or that nothing needs.
  Advice(
    errors.ExtraVariableHint,
    """
    params = nn.Dense(4).init(key, x)["params"]
    found = nn.check(nn.Dense(4), {"params": {"kernel": params["kernel"], "bais": params["bias"]}}, x)
    """,
    ["'bais' are none that the model makes for these arguments. Did you mean 'bias'?"],
    mended="""
    params = nn.Dense(4).init(key, x)["params"]
    found = nn.check(nn.Dense(4), {"params": {"kernel": params["kernel"], "bias": params["bias"]}}, x)
    """,
  ),
  Advice(
    errors.ExtraVariableHint,
    ENC
    + """
params = Net().init(key, x)["params"]
found = nn.check(Net(), {"params": {**params, "head": params["enc"]}}, x)
""",
    [
      "'head' are none that the model makes",
      "nothing reads them",
      "expects enc",
      "take them out of the tree",
    ],
    ("Did you mean", "'head/kernel'"),
    ENC + "found = nn.check(Net(), Net().init(key, x), x)",
  ),
  Advice(
    errors.ExtraVariableHint,
    ENC
    + """
params = Net().init(key, x)["params"]
found = nn.check(Net(), {"params": {"enc": {**params["enc"], "scale": jnp.ones(4)}}}, x)
""",
    ["'enc/scale' are none that the model makes", "module /enc", "expects kernel, bias"],
  ),
  Advice(
    errors.UnusedVariableHint,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        self.param("scale", nn.initializers.ones, (3,))
        return x
    found = nn.trace(Net().apply)(Net().init(key, x), x).check()
    """,
    ["'scale' are read", "use it in what the module returns, or take it out of the module"],
    ("take the module out",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x * self.param("scale", nn.initializers.ones, (3,))
    found = nn.trace(Net().apply)(Net().init(key, x), x).check()
    """,
  ),
  Advice(
    errors.UnusedVariableHint,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        nn.Dense(3, name="lost")(x)
        return nn.Dense(3)(x)
    found = nn.trace(Net().apply)(Net().init(key, x), x).check()
    """,
    [
      "'lost' are read",
      "use what the module returns, or take the module out",
      "line <program>:5 in Net.__call__",
    ],
    ("out of the module",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(3)(nn.Dense(3, name="lost")(x))
    found = nn.trace(Net().apply)(Net().init(key, x), x).check()
    """,
  ),
  Advice(
    errors.UnusedVariableHint,
    "found = nn.trace(nn.Dense(4, use_bias=False).apply)(nn.Dense(4).init(key, x), x).check()",
    [
      "'bias' are passed to Dense, and no apply in this trace reads them",
      "pass the parameters of this very model",
    ],
    ("returns",),
    "found = nn.trace(nn.Dense(4).apply)(nn.Dense(4).init(key, x), x).check()",
  ),
  # Names that moved.
  Advice(
    errors.MovedNameWarning,
    MLP + "found = nn.check(Mlp((4, 2)), Mlp((3, 4, 2)).init(key, x), x)",
    [
      "'Dense_0' was taken out",
      '"Dense_0": params["Dense_1"], "Dense_1": params["Dense_2"]} without "Dense_2"',
    ],
    ("put in", "init["),
    MLP
    + """
params = Mlp((3, 4, 2)).init(key, x)["params"]
params = {"Dense_0": params["Dense_1"], "Dense_1": params["Dense_2"]}
found = nn.check(Mlp((4, 2)), {"params": params}, x)
""",
  ),
  Advice(
    errors.MovedNameWarning,
    MLP + "found = nn.check(Mlp((4, 4, 2)), Mlp((4, 2)).init(key, x), x)",
    ['{**params, "Dense_2": params["Dense_1"], "Dense_1": init["Dense_1"]}'],
    ("taken out", "without"),
    MLP
    + """
params, init = Mlp((4, 2)).init(key, x)["params"], Mlp((4, 4, 2)).init(key, x)["params"]
params = {**params, "Dense_2": params["Dense_1"], "Dense_1": init["Dense_1"]}
found = nn.check(Mlp((4, 4, 2)), {"params": params}, x)
""",
  ),
  Advice(
    errors.MovedNameWarning,
    MLP
    + """
class Net(nn.Module):
  sizes: tuple
  @nn.compact
  def __call__(self, x):
    return Mlp(self.sizes, name="mlp")(x)
found = nn.check(Net((3, 4, 2)), Net((4, 2)).init(key, x), x)
""",
    ["of Dense in '/mlp'", "'Dense_0' was put in", "line <program>:7 in Mlp.__call__"],
  ),
  # Modules that nobody calls.
  Advice(
    errors.UncalledModuleHint,
    """
    class Net(nn.Module):
      def setup(self):
        self.layers = [nn.Dense(3) for _ in range(2)]
      def __call__(self, x):
        return self.layers[0](x)
    found = nn.trace(Net().init)(key, x).check()
    """,
    ["Dense '/layers_1' is declared in setup", "call it where it belongs, or delete it from setup"],
    ("self.layers_1",),
    """
    class Net(nn.Module):
      def setup(self):
        self.layers = [nn.Dense(3) for _ in range(2)]
      def __call__(self, x):
        return self.layers[1](self.layers[0](x))
    found = nn.trace(Net().init)(key, x).check()
    """,
  ),
  Advice(
    errors.UncalledModuleHint,
    """
    class Inner(nn.Module):
      def setup(self):
        self.a, self.b = nn.Dense(3), nn.Dense(3)
      def __call__(self, x):
        return self.a(x)
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return Inner(name="inner")(x)
    found = nn.trace(Net().init)(key, x).check()
    """,
    ["Dense '/inner/b'", "line <program>:4 in Inner.setup"],
  ),
  Advice(
    errors.UncalledModuleHint,
    """
    class Net(nn.Module):
      def setup(self):
        self.a, self.b = nn.Dense(3), nn.Dense(3)
      def __call__(self, x):
        return self.a(x)
      def both(self, x):
        return self.a(x) + self.b(x)
    variables = Net().init(key, x, method="both")
    found = nn.trace(Net().apply)(variables, x).check()
    """,
    ["Dense '/b' is declared in setup, and nothing in this trace calls it"],
    ("has no parameters",),
  ),
  # Keys that are the same.
  Advice(
    errors.KeyCollisionWarning,
    INNER + "found = nn.trace(Odd(nn.Dense, {'features': 3}).init)(key, x).check()",
    ["'/a/b' and '/ab' draw the same key of the stream 'params'"],
    ("dropout",),
  ),
  Advice(
    errors.KeyCollisionWarning,
    INNER
    + """
settings = {"rate": 0.5, "deterministic": False}
found = nn.trace(Odd(nn.Dropout, settings).apply)({}, x, rngs={"dropout": key}).check()
""",
    ["of the stream 'dropout'", 'mend nn.config.update("fix_rng_separator", True)'],
    ("params",),
    INNER
    + """
settings = {"rate": 0.5, "deterministic": False}
nn.config.update("fix_rng_separator", True)
try:
  found = nn.trace(Odd(nn.Dropout, settings).apply)({}, x, rngs={"dropout": key}).check()
finally:
  nn.config.update("fix_rng_separator", False)
""",
  ),
  Advice(
    errors.KeyCollisionWarning,
    """
    class Leaf(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x * self.param("c", nn.initializers.normal(), (3,))
    class Inner(nn.Module):
      @nn.compact
      def __call__(self, x):
        return Leaf(name="bc")(x)
    class Odd(nn.Module):
      @nn.compact
      def __call__(self, x):
        return Inner(name="a")(x) + Leaf(name="abc")(x)
    found = nn.trace(Odd().init)(key, x).check()
    """,
    ["'/abc' and '/a/bc'"],
  ),
  # Traced again and again.
  Advice(
    errors.RetracedWarning,
    """
    variables = nn.Dense(4).init(key, x)
    step = jax.jit(nn.Dense(4).apply)
    with nn.record() as trace:
      for size in (1, 2, 3):
        step(variables, jnp.ones((size, 3)))
    found = trace.check()
    """,
    ["apply of Dense is traced 3 times", "pad the inputs to one shape, or to a few"],
    ("outside of the loop",),
    """
    variables = nn.Dense(4).init(key, x)
    step = jax.jit(nn.Dense(4).apply)
    with nn.record() as trace:
      for size in (1, 2, 3):
        step(variables, jnp.ones((3, 3)).at[:size].set(0))
    found = trace.check()
    """,
  ),
  Advice(
    errors.RetracedWarning,
    """
    model = nn.Dense(4)
    variables = model.init(key, x)
    with nn.record() as trace:
      for _ in range(3):
        jax.jit(lambda variables, x: model.apply(variables, x))(variables, x)
    found = trace.check()
    """,
    ["for the same inputs", "call jax.jit once, outside of the loop", "<program>:6 in <lambda>"],
    ("pad",),
    """
    model = nn.Dense(4)
    variables = model.init(key, x)
    step = jax.jit(lambda variables, x: model.apply(variables, x))
    with nn.record() as trace:
      for _ in range(3):
        step(variables, x)
    found = trace.check()
    """,
  ),
  Advice(
    errors.RetracedWarning,
    """
    variables = nn.Dense(4).init(key, x)
    step = jax.jit(lambda variables, x, scale: nn.Dense(4).apply(variables, x) * scale, static_argnums=2)
    with nn.record() as trace:
      for scale in range(3):
        step(variables, x, scale)
    found = trace.check()
    """,
    ["traced 3 times", "one jitted function", "static ones", "pass as arrays of one shape"],
    ("new function", "outside of the loop"),
    """
    variables = nn.Dense(4).init(key, x)
    step = jax.jit(lambda variables, x, scale: nn.Dense(4).apply(variables, x) * scale)
    with nn.record() as trace:
      for scale in range(3):
        step(variables, x, scale)
    found = trace.check()
    """,
  ),
  Advice(
    errors.RetracedWarning,
    """
    with nn.record() as trace:
      for size in (1, 2, 3):
        jax.jit(nn.Dense(4).init)(key, jnp.ones((size, 3)))
    found = trace.check()
    """,
    ["init of Dense is traced 3 times from one line, for 3 different inputs"],
  ),
  # Questions to a trace.
  Advice(
    errors.NoEquationsError,
    "with nn.record() as trace:\n  nn.Dense(4).init(key, x)\ntrace.cost()",
    ["its code really ran", "record it with minilinen.trace(function)(...)"],
    mended="nn.trace(nn.Dense(4).init)(key, x).cost()",
  ),
  Advice(
    errors.NoEquationsError,
    """
    with nn.record() as trace:
      try:
        nn.Dense(4).apply({}, x)
      except nn.errors.ScopeCollectionNotFound:
        pass
    trace.equations()
    """,
    ["or ended in an exception"],
  ),
  Advice(
    errors.NoEquationsError,
    """
    trace = nn.trace(nn.Dense(4).init)(key, x)
    from minilinen.tracing import Trace
    with nn.record() as recorded:
      nn.Dense(4).init(key, x)
    Trace.from_json(recorded.to_json()).owner(trace.jaxpr.eqns[0])
    """,
    ["this trace has no equations"],
  ),
  Advice(
    errors.UnknownEquationError,
    "one, two = (nn.trace(nn.Dense(4).init)(key, x) for _ in range(2))\ntwo.owner(one.jaxpr.eqns[0])",
    ["is no equation of this trace", "trace.equations() lists those that are"],
    mended="one = nn.trace(nn.Dense(4).init)(key, x)\none.owner(one.jaxpr.eqns[0])",
  ),
  Advice(
    errors.UnknownEquationError,
    "nn.trace(nn.Dense(4).init)(key, x).owner(jax.make_jaxpr(jnp.sin)(1.0).eqns[0])",
    ["this sin is no equation of this trace"],
  ),
  Advice(
    errors.UnknownEquationError, "nn.trace(nn.Dense(4).init)(key, x).owner(3)", ["this 3 is no equation"]
  ),
  Advice(
    errors.SharedEquationError,
    """
    class Two(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4, name="a")(x) + nn.Dense(4, name="b")(x)
    trace = nn.trace(Two().init)(key, x)
    bodies = [e.params["jaxpr"].jaxpr for e in trace.jaxpr.eqns if "jaxpr" in e.params]
    [trace.owner(inner) for body in bodies for inner in body.eqns]
    """,
    ["traced once for several modules: a, b"],
    mended="""
    class Two(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4, name="a")(x) + nn.Dense(4, name="b")(x)
    [equation.owner for equation in nn.trace(Two().init)(key, x).equations()]
    """,
  ),
  Advice(
    errors.SharedEquationError,
    """
    @jax.jit
    def wave(x):
      return jnp.sin(x)
    class Layer(nn.Module):
      def __call__(self, x):
        return wave(x)
    class Two(nn.Module):
      @nn.compact
      def __call__(self, x):
        return Layer(name="first")(Layer(name="second")(x))
    trace = nn.trace(Two().apply)({}, x)
    [trace.owner(inner) for e in trace.jaxpr.eqns for inner in e.params["jaxpr"].jaxpr.eqns]
    """,
    ["this sin stands in a function", "first, second"],
  ),
  Advice(
    errors.SharedEquationError,
    """
    class Two(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Sequential([nn.relu, nn.Dense(3, name="one"), nn.relu])(x) + Relu(name="two")(x)
    class Relu(nn.Module):
      def __call__(self, x):
        return nn.relu(x)
    trace = nn.trace(Two().apply)(Two().init(key, x), x)
    from jax.extend.core import jaxpr_as_fun
    def all_of(jaxpr):
      for e in jaxpr.eqns:
        yield e
        for inner in (p for p in e.params.values() if hasattr(p, "eqns") or hasattr(p, "jaxpr")):
          yield from all_of(getattr(inner, "jaxpr", inner))
    [trace.owner(e) for e in all_of(trace.jaxpr)]
    """,
    ["traced once for several modules"],
  ),
  Advice(
    errors.NoSuchPathError,
    ENC + "nn.trace(Net().init)(key, x)['enk']",
    ["no module was called at 'enk'", "The nearest are 'enc'"],
    ("trace.paths",),
    ENC + "nn.trace(Net().init)(key, x)['enc']",
  ),
  Advice(
    errors.NoSuchPathError,
    ENC + "nn.trace(Net().init)(key, x)['enc/kernel']",
    ["at 'enc/kernel'", "`trace.paths` lists what there is"],
    mended=ENC + "nn.trace(Net().init)(key, x).paths",
  ),
  Advice(
    errors.NoSuchPathError, "nn.trace(nn.Dense(4).init)(key, x)['Dense_0']", ["`trace.paths`"], ("nearest",)
  ),
  Advice(
    errors.NoSuchModuleError,
    ENC + "nn.trace(Net().init)(key, x).models[0]['enk']",
    ["no module at 'enk' in this model", "The nearest are 'enc'"],
    ("model.paths",),
    ENC + "nn.trace(Net().init)(key, x).models[0]['enc']",
  ),
  Advice(
    errors.NoSuchModuleError,
    ENC + "nn.trace(Net().init)(key, x).models[0]['enc/Dense_0']",
    ["`model.paths` lists what there is"],
    mended=ENC + "nn.trace(Net().init)(key, x).models[0].paths",
  ),
  Advice(
    errors.NoSuchModuleError,
    "nn.trace(nn.Dense(4).init)(key, x).models[0]['params']",
    ["no module at 'params'"],
    ("nearest",),
  ),
  Advice(
    errors.NoSuchCostError,
    ENC + "nn.trace(Net().init)(key, x).cost()['enk']",
    ["took part in this cost", "The nearest are 'enc'"],
    ("cost.walk",),
    ENC + "nn.trace(Net().init)(key, x).cost()['enc']",
  ),
  Advice(
    errors.NoSuchCostError,
    ENC + "nn.trace(Net().init)(key, x).cost()['enc/kernel']",
    ["`cost.walk()` lists all modules"],
    mended=ENC + "list(nn.trace(Net().init)(key, x).cost().walk())",
  ),
  Advice(
    errors.NoSuchCostError,
    """
    class Net(nn.Module):
      def setup(self):
        self.used, self.idle = nn.Dense(3), nn.Dense(3)
      def __call__(self, x):
        return self.used(x)
    nn.trace(Net().init)(key, x).cost()["idle"]
    """,
    ["no module at 'idle' took part in this cost"],
  ),
  Advice(
    errors.DimensionMissingError,
    'nn.trace(nn.Dense(4).init)(key, "f32[batch,3]").at(bacth=8)',
    ["You gave 'bacth'.", "Write .at(batch=8, ...)"],
    mended='nn.trace(nn.Dense(4).init)(key, "f32[batch,3]").at(batch=8)',
  ),
  Advice(
    errors.DimensionMissingError,
    'nn.trace(nn.Dense(4).init)(key, "f32[b,t,3]").at(b=8)',
    ["the dimension 't'", "Write .at(t=8, ...)"],
    ("You gave 'b'", "dimension 'b'"),
    'nn.trace(nn.Dense(4).init)(key, "f32[b,t,3]").at(b=8, t=8)',
  ),
  Advice(
    errors.DimensionMissingError,
    'nn.trace(nn.Dense(4).init)(key, "f32[b,3]").at(c=8)',
    ["the dimension 'b'", "Write .at(b=8, ...)"],
  ),
  Advice(
    errors.SpecError,
    'nn.trace(nn.Dense(4).init)(key, "f33[8,3]")',
    ["'f33' is no dtype, the nearest is 'f32'"],
    mended='nn.trace(nn.Dense(4).init)(key, "f32[8,3]")',
  ),
  Advice(
    errors.SpecError,
    'nn.trace(nn.Dense(4).init)(key, "f32[8,,3]")',
    ["a dimension between two commas is empty"],
    ("is no dtype",),
    'nn.trace(nn.Dense(4).init)(key, "f32[8,1,3]")',
  ),
  Advice(
    errors.SpecError,
    'nn.trace(nn.Dense(4).init)(key, "f32[8,-3]")',
    ["'f32[8,-3]' is no array spec"],
    ("is no dtype",),
  ),
  Advice(
    errors.TraceFileError,
    "from minilinen.tracing import Trace\nTrace.from_json('hello')",
    ["it is not JSON", "Give a file that `trace.save(file)` wrote"],
  ),
  Advice(
    errors.TraceFileError,
    """
    import json
    from minilinen.tracing import Trace
    saved = json.loads(nn.trace(nn.Dense(4).init)(key, x).to_json())
    Trace.from_json(json.dumps({**saved, "version": 99}))
    """,
    ["it is of version 99", "Record the trace again"],
    ("not JSON",),
    """
    from minilinen.tracing import Trace
    Trace.from_json(nn.trace(nn.Dense(4).init)(key, x).to_json())
    """,
  ),
  Advice(
    errors.TraceFileError,
    "from minilinen.tracing import Trace\nTrace.load('/dev/null')",
    ["/dev/null: it is empty", "Record the trace again"],
    ("not JSON",),
  ),
  # Keys that are drawn again.
  Advice(
    errors.NotTraceableError,
    "nn.trace(nn.Dense(4).init(key, x))",
    ["nn.trace(model.init)(key, x)"],
    mended="nn.trace(nn.Dense(4).init)(key, x)",
  ),
  Advice(
    errors.NotTraceableError,
    "nn.trace(nn.Dense(4).init_with_output(key, x))",
    ["nn.trace takes a function that runs modules", "an instance of tuple"],
    mended="nn.trace(nn.Dense(4).init_with_output)(key, x)",
  ),
  Advice(
    errors.NotTraceableError, "nn.trace('init')(key, x)", ["Give it the function, and the arguments to"]
  ),
  Advice(
    errors.NoSuchRootKeyError,
    KEYS + "nn.replay_key(drawn, {'dropout': key})",
    ["is not among those given: 'dropout'", "replay_key(event, {'params': key})"],
    mended=KEYS + "nn.replay_key(drawn, {'params': key})",
  ),
  Advice(
    errors.NoSuchRootKeyError,
    KEYS + "nn.replay_key(drawn, {})",
    ["not among those given: none"],
    ("dropout",),
  ),
  Advice(
    errors.NoSuchRootKeyError,
    """
    trace = nn.trace(nn.Dropout(0.5, deterministic=False).init)(key, x)
    (drawn,) = (record for record in trace if hasattr(record, "served"))
    nn.replay_key(drawn, {"dropout": key})
    """,
    ["the root key of the stream 'params'", "replay_key(event, {'params': key})"],
    mended="""
    trace = nn.trace(nn.Dropout(0.5, deterministic=False).init)(key, x)
    (drawn,) = (record for record in trace if hasattr(record, "served"))
    nn.replay_key(drawn, {"params": key})
    """,
  ),
  Advice(
    errors.LoopStepMissingError,
    LOOP + "nn.replay_key(drawn, key)",
    ["in every step of a while_loop", "given for none of them", "steps=(0,)"],
    ("loops",),
    LOOP + "nn.replay_key(drawn, key, steps=(0,))",
  ),
  Advice(
    errors.LoopStepMissingError,
    LOOP + "nn.replay_key(drawn, {'noise': key}, steps=[])",
    ["<program>:6 in Loop.__call__.<locals>.body"],
    mended=LOOP + "nn.replay_key(drawn, {'noise': key}, steps=[2])",
  ),
  Advice(
    errors.LoopStepMissingError,
    LOOPS + "nn.replay_key(drawn, key, steps=(1,))",
    ["in every step of 2 loops", "given for 1 of them", "steps=(1, 0)"],
    ("a while_loop",),
    LOOPS + "nn.replay_key(drawn, key, steps=(1, 0))",
  ),
  Advice(
    errors.UnknownKeyStepError,
    KEYS + "nn.replay_key(dataclasses.replace(drawn, steps=(('turn', 3),)), key)",
    ["('turn', 3), by which", "Take the record as the trace has it."],
    mended=KEYS + "nn.replay_key(drawn, key)",
  ),
  Advice(
    errors.UnknownKeyStepError,
    KEYS + "nn.replay_key(dataclasses.replace(drawn, steps=(('split', '3'),)), key)",
    ["('split', '3'), by which"],
  ),
  Advice(
    errors.UnknownKeyStepError,
    KEYS + "nn.replay_key(dataclasses.replace(drawn, steps=(*drawn.steps, ('split',))), key)",
    ["('split',), by which"],
  ),
  # Below JAX's errors.
  Advice(
    errors.TracedValueWarning,
    """
    import numpy as np
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return np.sin(nn.Dense(3)(x))
    jax.jit(Net().init)(key, x)
    """,
    [
      "Net in '/' asks for the number",
      "compute with jax.numpy instead of numpy",
      "<program>:6 in Net.__call__",
    ],
    ("jnp.where", "a size must be"),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return jnp.sin(nn.Dense(3)(x))
    jax.jit(Net().init)(key, x)
    """,
  ),
  Advice(
    errors.TracedValueWarning,
    """
    class Mask(nn.Module):
      def __call__(self, x):
        return x[x > 0]
    class Net(nn.Module):
      def setup(self):
        self.mask = Mask()
      def __call__(self, x):
        return self.mask(x)
    jax.jit(Net().apply)({}, x)
    """,
    ["Mask in '/mask' asks", "jnp.where(mask, x, 0) instead of x[mask]"],
    ("numpy", "nn.cond"),
    """
    class Mask(nn.Module):
      def __call__(self, x):
        return jnp.where(x > 0, x, 0)
    class Net(nn.Module):
      def setup(self):
        self.mask = Mask()
      def __call__(self, x):
        return self.mask(x)
    jax.jit(Net().apply)({}, x)
    """,
  ),
  Advice(
    errors.TracedValueWarning,
    """
    class Net(nn.Module):
      def __call__(self, x):
        return x if x.sum() > 0 else -x
    jax.vmap(lambda x: Net().apply({}, x))(x)
    """,
    ["<program>:4 in Net.__call__", "jnp.where(condition, a, b)"],
    ("jax.numpy instead",),
    """
    class Net(nn.Module):
      def __call__(self, x):
        return jnp.where(x.sum() > 0, x, -x)
    jax.vmap(lambda x: Net().apply({}, x))(x)
    """,
  ),
]


@pytest.mark.parametrize("advice", ADVICE, ids=str)
def test_advice(advice: Advice) -> None:
  advice.holds()
