"""The advice about classes and their methods: setup, properties, constructors, scopes, and what is passed to a run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from situations import Advice

import minilinen as nn
from minilinen import errors

ADVICE = [
  # Submodules in a plain method: the method that must be compact.
  Advice(
    errors.AssignSubModuleError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return self.head(nn.Dense(3)(x))
      def head(self, x):
        return nn.Dense(2)(x)
    model = Net()
    model.apply(model.init(key, x), x, method="head")
    """,
    ["make it in setup, and call it here: self.head_layer = nn.Dense(...)", "a name of its own"],
    ("right", "@nn.compact"),
    """
    class Net(nn.Module):
      def setup(self):
        self.layer, self.head_layer = nn.Dense(3), nn.Dense(2)
      def __call__(self, x):
        return self.head(self.layer(x))
      def head(self, x):
        return self.head_layer(x)
    model = Net()
    model.apply(model.init(key, x), x, method="head")
    """,
  ),
  Advice(
    errors.AssignSubModuleError,
    """
    class Net(nn.Module):
      @nn.nowrap
      def make(self):
        return nn.Dense(3)
      def encode(self, x):
        return self.make()(x)
    Net().init(key, x, method="encode")
    """,
    ["line <program>:5 in Net.make", "right @nn.compact def encode(self, x)"],
    ("def make", "__call__(self"),
    """
    class Net(nn.Module):
      @nn.nowrap
      def make(self):
        return nn.Dense(3)
      @nn.compact
      def encode(self, x):
        return self.make()(x)
    Net().init(key, x, method="encode")
    """,
  ),
  Advice(
    errors.AssignSubModuleError,
    """
    class Net(nn.Module):
      def __call__(self, x):
        return nn.jit(lambda self, x: nn.Dense(3)(x))(self, x)
    Net().init(key, x)
    """,
    ["right @nn.compact def __call__(self, x): return nn.Dense(...)(x)"],
    ("<lambda>(self",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.jit(lambda self, x: nn.Dense(3)(x))(self, x)
    Net().init(key, x)
    """,
  ),
  # setup by hand.
  Advice(
    errors.CallSetupUnboundModuleError,
    """
    class Net(nn.Module):
      def __post_init__(self):
        super().__post_init__()
        self.setup()
      def setup(self):
        self.layer = nn.Dense(3)
      def __call__(self, x):
        return self.layer(x)
    Net().init(key, x)
    """,
    ["line <program>:5 in Net.__post_init__", "take the call away"],
    ("right",),
    """
    class Net(nn.Module):
      def __post_init__(self):
        super().__post_init__()
      def setup(self):
        self.layer = nn.Dense(3)
      def __call__(self, x):
        return self.layer(x)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.CallSetupUnboundModuleError,
    """
    class Net(nn.Module):
      def setup(self):
        self.layer = nn.Dense(3)
      def __call__(self, x):
        return self.layer(x)
    model = Net()
    variables = model.init(key, x)
    model.setup()
    model.layer
    """,
    ["An attribute that setup makes is there in init and apply, and in model.bind(variables)."],
    mended="""
    class Net(nn.Module):
      def setup(self):
        self.layer = nn.Dense(3)
      def __call__(self, x):
        return self.layer(x)
    model = Net()
    variables = model.init(key, x)
    model.bind(variables).layer
    """,
  ),
  Advice(
    errors.CallSetupUnboundModuleError,
    """
    embed = nn.Embed(5, 4)
    class Net(nn.Module):
      layer: nn.Module
      def __call__(self, x):
        embed.setup()
        return self.layer(x)
    Net(embed).init(key, jnp.ones(3, int))
    """,
    ["line <program>:6 in Net.__call__", "take the call away"],
    mended="""
    embed = nn.Embed(5, 4)
    class Net(nn.Module):
      layer: nn.Module
      def __call__(self, x):
        return self.layer(x)
    Net(embed).init(key, jnp.ones(3, int))
    """,
  ),
  # Without variables.
  Advice(
    errors.CallUnbindOnUnboundModuleError,
    "nn.Dense(4).unbind()",
    ["right module, variables = model.bind(variables).unbind()"],
    mended="module, variables = nn.Dense(4).bind({}).unbind()",
  ),
  Advice(
    errors.CallUnbindOnUnboundModuleError,
    """
    class Net(nn.Module):
      layer: nn.Module
      def __call__(self, x):
        return self.layer(x)
    model = Net(nn.Dense(3))
    variables = model.init(key, x)
    layer, params = model.layer.unbind()
    """,
    ["of a submodule: model.bind(variables).layer.unbind()"],
    mended="""
    class Net(nn.Module):
      layer: nn.Module
      def __call__(self, x):
        return self.layer(x)
    model = Net(nn.Dense(3))
    variables = model.init(key, x)
    layer, params = model.bind(variables).layer.unbind()
    layer.apply(params, x)
    """,
  ),
  Advice(
    errors.CallUnbindOnUnboundModuleError,
    """
    class Net(nn.Module):
      def taken(self):
        return nn.Dense(3, parent=None).unbind()
    Net().apply({}, method="taken")
    """,
    ["line <program>:4 in Net.taken"],
  ),
  Advice(
    errors.CallShareScopeOnUnboundModuleError,
    """
    outside = nn.Dense(4)
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        nn.share_scope(self, outside)
        return outside(x)
    Net().init(key, x)
    """,
    ["Dense has no variables here", "make Dense in Net", "or take it as a field"],
    ("call it in",),
    """
    class Net(nn.Module):
      layer: nn.Module
      @nn.compact
      def __call__(self, x):
        nn.share_scope(self, self.layer)
        return self.layer(x)
    Net(nn.Dense(4)).init(key, x)
    """,
  ),
  Advice(
    errors.CallShareScopeOnUnboundModuleError,
    """
    class Net(nn.Module):
      layer: nn.Module
      def __post_init__(self):
        super().__post_init__()
        nn.share_scope(self, self.layer)
      def __call__(self, x):
        return self.layer(x)
    Net(nn.Dense(3)).init(key, x)
    """,
    ["Net has no variables here", "call it in setup or in a compact method"],
    ("make Net",),
    """
    class Net(nn.Module):
      layer: nn.Module
      def setup(self):
        nn.share_scope(self, self.layer)
      def __call__(self, x):
        return self.layer(x)
    Net(nn.Dense(3)).init(key, x)
    """,
  ),
  # Properties.
  Advice(
    errors.DescriptorAttributeError,
    """
    class Net(nn.Module):
      features: int = 4
      @property
      def width(self):
        return 2 * self.feature
      @nn.compact
      def __call__(self, x):
        return nn.Dense(self.width)(x)
    Net().init(key, x)
    """,
    ["line <program>:6 in Net.width", "correct the attribute's name in the property, or set it in setup."],
    ("bind",),
    """
    class Net(nn.Module):
      features: int = 4
      @property
      def width(self):
        return 2 * self.features
      @nn.compact
      def __call__(self, x):
        return nn.Dense(self.width)(x)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.DescriptorAttributeError,
    """
    class Net(nn.Module):
      config: object = None
      @property
      def width(self):
        return self.config.width
      @nn.compact
      def __call__(self, x):
        return nn.Dense(self.width)(x)
    Net().init(key, x)
    """,
    ["'NoneType' object has no attribute 'width'", "give the module something that has it"],
    ("setup", "bind"),
  ),
  Advice(
    errors.DescriptorAttributeError,
    """
    class Net(nn.Module):
      def setup(self):
        self.layer = nn.Dense(3)
      @property
      def width(self):
        return self.layer.features
      def __call__(self, x):
        return self.layer(x)
    Net().width
    """,
    ["line <program>:7 in Net.width", "model.bind(variables).width"],
    ("set it in setup",),
    """
    class Net(nn.Module):
      def setup(self):
        self.layer = nn.Dense(3)
      @property
      def width(self):
        return self.layer.features
      def __call__(self, x):
        return self.layer(x)
    model = Net()
    model.bind(model.init(key, x)).width
    """,
  ),
  # A __post_init__ that forgets the one above.
  Advice(
    errors.IncorrectPostInitOverrideError,
    """
    class Net(nn.Module):
      def __init__(self, n):
        self.n = n
      def __call__(self, x):
        return x * self.n
    Net(4)(x)
    """,
    ["Net has a constructor of its own", "declare the settings as fields (n: ...)", "in setup"],
    ("ModuleLife", "post_init"),
    """
    class Net(nn.Module):
      n: int
      def __call__(self, x):
        return x * self.n
    Net(4)(x)
    """,
  ),
  Advice(
    errors.IncorrectPostInitOverrideError,
    """
    class Net(nn.Module):
      size: int = 3
      def __post_init__(self):
        self.width = 2 * self.size
      @nn.compact
      def __call__(self, x):
        return nn.Dense(self.width)(x)
    Net().init(key, x)
    """,
    ["Net does", "right def __post_init__(self): ...; super().__post_init__()"],
    mended="""
    class Net(nn.Module):
      size: int = 3
      def __post_init__(self):
        self.width = 2 * self.size
        super().__post_init__()
      @nn.compact
      def __call__(self, x):
        return nn.Dense(self.width)(x)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.IncorrectPostInitOverrideError,
    """
    class Inner(nn.Module):
      def __post_init__(self):
        pass
      def __call__(self, x):
        return x
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return Inner()(x)
    Net().init(key, x)
    """,
    ["Inner does", "line <program>:10 in Net.__call__"],
    ("Net does",),
  ),
  Advice(
    errors.IncorrectPostInitOverrideError,
    """
    class Base(nn.Module):
      def __post_init__(self):
        pass
    class Net(Base):
      def __call__(self, x):
        return x
    Net().init(key, x)
    """,
    ["Base does"],
    ("Net does",),
  ),
  # Fields.
  Advice(
    errors.SetAttributeInModuleSetupError,
    """
    class Net(nn.Module):
      size: int | None = None
      def setup(self):
        self.size = self.size or 4
        self.layer = nn.Dense(self.size)
      def __call__(self, x):
        return self.layer(x)
    Net().init(key, x)
    """,
    ["line <program>:5 in Net.setup", "right self.size_in_use = ..."],
    mended="""
    class Net(nn.Module):
      size: int | None = None
      def setup(self):
        self.size_in_use = self.size or 4
        self.layer = nn.Dense(self.size_in_use)
      def __call__(self, x):
        return self.layer(x)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.SetAttributeInModuleSetupError,
    """
    class Net(nn.Module):
      size: int = 3
      def setup(self):
        self.fill()
      def fill(self):
        self.size = 4
      def __call__(self, x):
        return x
    Net().init(key, x)
    """,
    ["line <program>:7 in Net.fill", "wrong self.size = ..."],
    ("def setup",),
  ),
  Advice(
    errors.SetAttributeInModuleSetupError,
    """
    class Net(nn.Module):
      def setup(self):
        self.name = "net"
      def __call__(self, x):
        return x
    Net().init(key, x)
    """,
    ["every module has a name, which the constructor takes: Model(name=...)"],
    ("name_in_use",),
    """
    class Net(nn.Module):
      def __call__(self, x):
        return x
    Net(name="net").init(key, x)
    """,
  ),
  Advice(
    errors.ReservedModuleAttributeError,
    "class Net(nn.Module):\n  parent: object = None",
    ["{'parent': 'object'}", "line <program>:1", "name the field something else"],
    mended="class Net(nn.Module):\n  above: object = None",
  ),
  Advice(
    errors.ReservedModuleAttributeError,
    "class Base(nn.Module):\n  size: int = 4\nclass Net(Base):\n  name: str = 'net'",
    ["'name': 'str'", "line <program>:3", "every module has these two"],
    mended="class Base(nn.Module):\n  size: int = 4\nclass Net(Base):\n  pass\nNet(name='net')",
  ),
  Advice(
    errors.ReservedModuleAttributeError,
    "def model():\n  class Net(nn.Module):\n    size: int\n    name: str\n  return Net(3, 'net')\nmodel()",
    ["'name': 'str'", "line <program>:2 in model"],
  ),
  # Scopes.
  Advice(
    errors.ScopeNameInUseError,
    "core.init(lambda scope: (scope.push('a'), scope.param('a', nn.initializers.ones, (3,))))(key)",
    ["\"a\" in '/'", "another name"],
    mended="core.init(lambda scope: (scope.push('a'), scope.param('b', nn.initializers.ones, (3,))))(key)",
  ),
  Advice(
    errors.ScopeNameInUseError,
    "core.init(lambda scope: (scope.variable('state', 'a', lambda: 1), scope.push('a')))(key)",
    ["\"a\" in '/'"],
    mended="core.init(lambda scope: (scope.variable('state', 'a', lambda: 1), scope.push('b')))(key)",
  ),
  Advice(
    errors.ScopeNameInUseError,
    """
    def inner(scope):
      scope.push("a")
      scope.push("a")
    core.init(lambda scope: scope.child(inner, "in")())(key)
    """,
    ["\"a\" in '/in'", "line <program>:4 in inner"],
  ),
  Advice(
    errors.ScopeNameTypeError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(3, name=4)(x)
    Net().init(key, x)
    """,
    ["got 4, an int", "right '4' in its place"],
    ("comes first",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(3, name='4')(x)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.InvalidScopeError,
    """
    kept = []
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        kept.append(nn.Dense(3))
        return kept[0](x)
    Net().init(key, x)
    kept[0](x)
    """,
    ["The scope '/Dense_0' is no longer valid", "line <program>:9", "use model.bind"],
  ),
  Advice(
    errors.InvalidScopeError,
    """
    kept = []
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        kept.append(self.variable("state", "n", lambda: 1))
        return x
    Net().init(key, x)
    kept[0].value = 4
    """,
    ["don't keep a bound module or a Variable"],
  ),
  Advice(
    errors.InvalidScopeError,
    """
    kept = []
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        def inner(self, x):
          kept.append(self)
          return x
        x = nn.jit(inner)(self, x)
        return x * kept[0].param("w", nn.initializers.ones, (3,))
    Net().init(key, x)
    """,
    ["its init, apply or lifted transform is over", "line <program>:10 in Net.__call__"],
    ("after apply",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        x = nn.jit(lambda self, x: x)(self, x)
        return x * self.param("w", nn.initializers.ones, (3,))
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.InvalidFilterError,
    "nn.Dense(4).apply({}, x, mutable=None)",
    ["Invalid filter: None", "True lets all of them through, False none"],
  ),
  Advice(
    errors.InvalidFilterError,
    "nn.vmap(nn.Dense, variable_axes={3: 0}, split_rngs={'params': True})(4).init(key, x)",
    ["Invalid filter: 3", "a name stands for a collection or a stream"],
    ("mutable",),
    "nn.vmap(nn.Dense, variable_axes={'params': 0}, split_rngs={'params': True})(4).init(key, x)",
  ),
  Advice(
    errors.InvalidFilterError,
    "nn.jit(nn.Dense, variables=3.5)(4).init(key, x)",
    ["Invalid filter: 3.5", "A filter is True, False, a name, a list of names"],
    ("mutable",),
    "nn.jit(nn.Dense, variables='params')(4).init(key, x)",
  ),
  # What is passed to a run.
  Advice(
    errors.ApplyScopeInvalidVariablesStructureError,
    "m = nn.Dense(4); v = m.init(key, x); m.apply({'params': v}, x)",
    ['mend pass what init returned as it is, without {"params": ...} around'],
    ('["params"] in', "wrong"),
    "m = nn.Dense(4); v = m.init(key, x); m.apply(v, x)",
  ),
  Advice(
    errors.ApplyScopeInvalidVariablesStructureError,
    """
    model = nn.BatchNorm(use_running_average=True)
    variables = model.init(key, x)
    model.apply({"params": variables, "batch_stats": variables["batch_stats"]}, x)
    """,
    ["keys ['batch_stats', 'params']", 'pass what init returned as it is, without {"params": ...} around'],
    ("wrong", "model.apply"),
    """
    model = nn.BatchNorm(use_running_average=True)
    variables = model.init(key, x)
    model.apply(variables, x)
    """,
  ),
  Advice(
    errors.ApplyScopeInvalidVariablesStructureError,
    "nn.Dense(4).bind({'params': nn.Dense(4).init(key, x)})(x)",
    ["keys ['params']", 'pass what init returned as it is, without {"params": ...} around'],
    ("apply",),
    "nn.Dense(4).bind(nn.Dense(4).init(key, x))(x)",
  ),
  Advice(
    errors.InvalidInstanceModuleError,
    "nn.Dense.tabulate(key, x)",
    ["call tabulate on", "the first argument is key<fry>[]", "right Model().tabulate(...)"],
    mended="nn.Dense(3).tabulate(key, x)",
  ),
  Advice(
    errors.InvalidInstanceModuleError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(3)(x)
    Net.init_with_output(key, x)
    """,
    ["call init_with_output on", "the first argument is key<fry>[]", "right Model().init_with_output(...)"],
    ("apply(",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(3)(x)
    Net().init_with_output(key, x)
    """,
  ),
  Advice(
    errors.ApplyModuleInvalidMethodError,
    """
    class Net(nn.Module):
      size: int = 3
      def __call__(self, x):
        return x
    Net().apply({}, x, method="size")
    """,
    ["'size' is not a valid function, or no method"],
    ("Did you mean", "right"),
  ),
  Advice(
    errors.LayerInputError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, batch):
        return nn.Dense(4)(batch)
    Net().init(key, {"image": x})
    """,
    [
      "a dict with the keys image",
      "such as batch['image']",
      "module /Dense_0",
      "<program>:5 in Net.__call__",
    ],
    ("jnp.ones",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, batch):
        return nn.Dense(4)(batch["image"])
    Net().init(key, {"image": x})
    """,
  ),
  Advice(
    errors.LayerInputError,
    'nn.trace(nn.Dense(4).init)(key, "f32(8,3)")',
    ['as nn.trace and model.tabulate take it, is written "f32[8,3]"'],
    mended='nn.trace(nn.Dense(4).init)(key, "f32[8,3]")',
  ),
  Advice(
    errors.LayerInputError,
    "nn.Dense(4).init(key, 3.0)",
    ["its input is 3.0", "pass an array"],
    ("A shape alone",),
    "nn.Dense(4).init(key, jnp.ones((8, 3)))",
  ),
  Advice(
    errors.LazyInitError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x - self.variable("stats", "mean", lambda: x.mean(0)).value
    Net().lazy_init(key, jax.ShapeDtypeStruct((2, 3), jnp.float32))
    """,
    ["cannot make the variable 'stats/mean' of f32[3]"],
    mended="""
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x - self.variable("stats", "mean", lambda: jnp.zeros(x.shape[1:])).value
    Net().lazy_init(key, jax.ShapeDtypeStruct((2, 3), jnp.float32))
    """,
  ),
  Advice(
    errors.LazyInitError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, scale):
        return x * self.param("scale", lambda key: scale * jnp.ones(3))
    Net().lazy_init(key, x, jax.ShapeDtypeStruct((), jnp.float32))
    """,
    ["pass that argument as an array"],
    mended="""
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, scale):
        return x * self.param("scale", lambda key: scale * jnp.ones(3))
    Net().lazy_init(key, jax.ShapeDtypeStruct((2, 3), jnp.float32), jnp.ones(()))
    """,
  ),
  Advice(
    errors.SymbolicParamError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4)(x.reshape(8, -1))
    nn.trace(Net().init)(key, "f32[8,h,w]")
    """,
    ["the dimensions 'h' and 'w', which have no number", "give a number to the dimensions 'h' and 'w'"],
    ("dimension 'h'",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4)(x.reshape(8, -1))
    nn.trace(Net().init)(key, "f32[8,5,5]")
    """,
  ),
  Advice(
    errors.SymbolicParamError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x + self.param("positions", nn.initializers.zeros, (1, x.shape[1], 3))
    nn.trace(Net().init)(key, "f32[b,t,3]")
    """,
    ["'positions' in '/'", "the dimension 't', which has no number", "(1, t, 3)"],
    ("'b'",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x + self.param("positions", nn.initializers.zeros, (1, x.shape[1], 3))
    nn.trace(Net().init)(key, "f32[b,7,3]")
    """,
  ),
  Advice(
    errors.SymbolicParamError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Conv(4, (3, 3), name="conv")(x)
    nn.trace(Net().init)(key, "f32[b,8,8,c]")
    """,
    ["'kernel' in '/conv'", "'c', which has no number"],
    ("'b'",),
  ),
  Advice(
    errors.NestingTooDeepError,
    """
    class Deep(nn.Module):
      @nn.compact
      def __call__(self, x):
        return Deep()(x)
    Deep().init(key, x)
    """,
    ["If nothing ends the nesting, no limit is enough."],
  ),
]


@pytest.mark.parametrize("advice", ADVICE, ids=str)
def test_advice(advice: Advice) -> None:
  advice.holds()


def test_names_moved_only_among_layers_of_one_kind():
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.LayerNorm()(nn.Dense(4)(x))

  x = jnp.ones((2, 3))
  params = dict(Net().init(jax.random.key(0), x)["params"])
  params["Dense_0"] = {"kernel": jnp.ones((5, 5)), "bias": jnp.ones(5)}
  with pytest.raises(errors.ScopeParamShapeError) as caught:
    Net().apply({"params": params}, x)
  assert "automatic names" not in str(caught.value)
