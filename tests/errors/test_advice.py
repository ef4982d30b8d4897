"""The advice of every error is right for what this user did: a program, what must be said of it, and what must not.

The programs of `test_every_error` and of the traps show whole messages; here and in the files beside it stand the
situations in which one class must say different things, and `test_situations` counts them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from situations import Advice

import minilinen as nn
from minilinen import errors
from minilinen.tracing.told import Told

UNBOUND = errors.CallCompactUnboundModuleError

ADVICE = [
  # A module without variables: a model, or one that is no part of the module that calls it.
  Advice(
    UNBOUND,
    "nn.Dense(4)(x)",
    ["right model.apply(variables, x)"],
    mended="m = nn.Dense(4); m.apply(m.init(key, x), x)",
  ),
  Advice(
    UNBOUND,
    """
    class Net(nn.Module):
      layer = nn.Dense(4)
      def __call__(self, x):
        return self.layer(x)
    Net().init(key, x)
    """,
    ["this Dense is no part of Net", "right layer: nn.Module = nn.Dense(...)", "annotated"],
    ("model.apply", "wrong"),
    """
    class Net(nn.Module):
      layer: nn.Module = nn.Dense(4)
      def __call__(self, x):
        return self.layer(x)
    Net().init(key, x)
    """,
  ),
  Advice(
    UNBOUND,
    """
    outside = nn.Dense(4)
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return outside(x)
    Net().init(key, x)
    """,
    ["this Dense is no part of Net", "make it a field of Net, or make it in setup, or in the compact method"],
    ("model.apply", "annotated"),
  ),
  Advice(
    UNBOUND,
    """
    class Net(nn.Module):
      layer: nn.Module
      def __call__(self, x):
        return self.layer(x)
    model = Net(nn.Dense(4))
    model.apply(model.init(key, x), x, method=model.layer)
    """,
    ["method= was given a module, Dense", "right method=lambda model, x: model.layer(x)"],
    ("right model.apply(variables, x)",),
    """
    class Net(nn.Module):
      layer: nn.Module
      def __call__(self, x):
        return self.layer(x)
    model = Net(nn.Dense(4))
    model.apply(model.init(key, x), x, method=lambda model, x: model.layer(x))
    """,
  ),
  Advice(
    UNBOUND,
    """
    class Net(nn.Module):
      def __post_init__(self):
        self.layer = nn.Dense(4)
        super().__post_init__()
      def __call__(self, x):
        return self.layer(x)
    Net().init(key, x)
    """,
    ["this Dense is no part of Net", "make it in setup"],
    ("model.apply",),
    """
    class Net(nn.Module):
      def setup(self):
        self.layer = nn.Dense(4)
      def __call__(self, x):
        return self.layer(x)
    Net().init(key, x)
    """,
  ),
  # Keys.
  Advice(
    errors.InvalidRngError,
    "m = nn.Dense(3); m.init(m.init(key, x), x)",
    ["init of Dense needs a random key", "but got variables", "model.apply(variables, x)"],
    ("Spec(", "rngs="),
    "m = nn.Dense(3); m.apply(m.init(key, x), x)",
  ),
  Advice(
    errors.InvalidRngError,
    "m = nn.Dense(3); m.tabulate(m.init(key, x), x)",
    [
      "tabulate of Dense needs a random key",
      "but got variables",
      "right model.tabulate(jax.random.key(0), x)",
    ],
    ("Spec(", "rngs=", "model.init"),
    "nn.Dense(3).tabulate(key, x)",
  ),
  Advice(
    errors.InvalidRngError,
    "nn.Dense(3).tabulate(x)",
    ["tabulate of Dense needs a random key or a dict of them, but got f32[2,3]", "model.tabulate("],
    ("model.init",),
    "nn.Dense(3).tabulate(key, x)",
  ),
  Advice(
    errors.InvalidRngError,
    "nn.Dense(3).apply({}, x, rngs={'params': {'kernel': x}})",
    ["'params' is a dict with the keys kernel"],
    ("Spec(", "variables"),
  ),
  Advice(
    errors.InvalidRngError,
    "nn.Dropout(0.5, deterministic=False).apply({}, x, rngs={'noise': key})",
    ['right model.apply(variables, x, rngs={"noise": ..., "dropout": key})'],
    ("model.init",),
    "nn.Dropout(0.5, deterministic=False).apply({}, x, rngs={'noise': key, 'dropout': key})",
  ),
  Advice(
    errors.InvalidRngError,
    "nn.Dropout(0.5, deterministic=False).apply({}, x, rngs={'dropuot': key})",
    ["Is 'dropuot' misspelt?", 'rngs={"dropout": key}'],
    ('"dropuot"',),
    "nn.Dropout(0.5, deterministic=False).apply({}, x, rngs={'dropout': key})",
  ),
  Advice(
    errors.InvalidRngError,
    "nn.Dropout(0.5, deterministic=False).bind({})(x)",
    ["model.bind(variables, rngs=...)"],
    mended="nn.Dropout(0.5, deterministic=False).bind({}, rngs={'dropout': key})(x)",
  ),
  # Variables as a whole.
  Advice(
    errors.ApplyScopeInvalidVariablesTypeError,
    "nn.Dense(4).apply({'kernel': jnp.ones((3, 4)), 'bias': jnp.ones(4)}, x)",
    ['right model.apply({"params": params}, x)'],
    mended="nn.Dense(4).apply({'params': {'kernel': jnp.ones((3, 4)), 'bias': jnp.ones(4)}}, x)",
  ),
  Advice(
    errors.ApplyScopeInvalidVariablesTypeError,
    "nn.Dense(4).apply({'params': x}, x)",
    ["the collection 'params' is f32[2,3]"],
    ('right model.apply({"params": params}, x)',),
  ),
  Advice(
    errors.ApplyScopeInvalidVariablesTypeError,
    "nn.Dense(4).apply(x, nn.Dense(4).init(key, x))",
    ["but got f32[2,3]", "right variables = model.init(key, x); model.apply(variables, x)"],
    ('{"params": params}',),
  ),
  Advice(
    errors.ApplyScopeInvalidVariablesTypeError,
    "nn.Dense(4).apply(nn.Dense(4).init_with_output(key, x), x)",
    ["variables = model.init(key, x)"],
    ('{"params": params}',),
  ),
  Advice(
    errors.ScopeCollectionNotFound,
    "m = nn.BatchNorm(use_running_average=True); m.apply({'params': m.init(key, x)['params']}, x)",
    [
      '"batch_stats": variables["batch_stats"]',
      "or while training, where mean 0 and variance 1 are a beginning",
    ],
    ("let it be created",),
    "m = nn.BatchNorm(use_running_average=True); m.apply(m.init(key, x), x)",
  ),
  Advice(
    errors.ScopeCollectionNotFound,
    "nn.Dense(4).apply({}, x)",
    ['right model.apply({"params": variables["params"]}, x)'],
    ("mutable", "..."),
  ),
  Advice(
    errors.ScopeCollectionNotFound,
    "nn.Dense(4).apply({'params': {}}, x)",
    ["It was passed with nothing in it."],
    ("misspelt", "mutable"),
  ),
  Advice(
    errors.ScopeCollectionNotFound,
    "nn.BatchNorm(use_running_average=False).init(key, x, mutable=['params'])",
    ["This init does not let it be created.", "right model.init(key, x, mutable=['params', 'batch_stats'])"],
    ("model.apply",),
    "nn.BatchNorm(use_running_average=False).init(key, x, mutable=['params', 'batch_stats'])",
  ),
  Advice(
    errors.ScopeCollectionNotFound,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x + self.variable("state", "n").value
    Net().init(key, x)
    """,
    ["to let it be created, give its first value"],
    ("mutable", "right"),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x + self.variable("state", "n", lambda: 1).value
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.ScopeVariableNotFoundError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x + self.variable("state", "n", lambda: 1).value
    Net().apply({"state": {"m": 1}}, x)
    """,
    ["let it be created: mutable=['state']"],
    ("first value",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x + self.variable("state", "n", lambda: 1).value
    Net().apply({"state": {"m": 1}}, x, mutable=['state'])
    """,
  ),
  Advice(
    errors.ScopeVariableNotFoundError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x + self.variable("state", "n").value
    Net().apply({"state": {"m": 1}}, x)
    """,
    ["There: m.", "give its first value"],
    ("mutable",),
  ),
  Advice(
    errors.InvalidRngError,
    "nn.Dense(4).init({'dropout': key}, x)",
    ['right model.init({"dropout": ..., "params": key}, x)'],
    ("model.apply", "bind"),
    "nn.Dense(4).init({'dropout': key, 'params': key}, x)",
  ),
  # Parameters.
  Advice(
    errors.ScopeParamNotFoundError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4)(x)
    variables = Net().init(key, x)
    nn.Dense(4).apply(variables, x)
    """,
    ["'Dense_0', which was passed, has one", 'right layer.apply({"params": params["Dense_0"]}, x)'],
    ("init again",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4)(x)
    params = Net().init(key, x)["params"]
    nn.Dense(4).apply({"params": params["Dense_0"]}, x)
    """,
  ),
  Advice(
    errors.ScopeParamShapeError,
    "nn.Dense(4).apply(nn.Dense(5).init(key, x), x)",
    ["make the layers, of the sizes that the parameters were made for"],
  ),
  Advice(
    errors.ScopeParamShapeError,
    """
    many = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, axis_size=5)
    nn.Dense(4).apply(many(4).init(key, x), x)
    """,
    ["It has an axis more", "pass one entry of that axis"],
    ("init again",),
    """
    many = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, axis_size=5)
    nn.Dense(4).apply(jax.tree.map(lambda p: p[0], many(4).init(key, x)), x)
    """,
  ),
  # Names, attributes, places of submodules.
  Advice(
    errors.ScopeNameTypeError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return self.param(nn.initializers.ones, (3,))
    Net().init(key, x)
    """,
    ["got the function ones", 'a name comes first, or by keyword: self.param("scale", init_fn, shape)'],
    ("0x", "name='"),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return self.param("scale", nn.initializers.ones, (3,))
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.AssignSubModuleError,
    """
    class Net(nn.Module):
      def encode(self, x):
        return nn.Dense(4)(x)
    Net().init(key, x, method="encode")
    """,
    ["right @nn.compact def encode(self, x): return nn.Dense(...)(x)"],
    ("__call__(self",),
    """
    class Net(nn.Module):
      @nn.compact
      def encode(self, x):
        return nn.Dense(4)(x)
    Net().init(key, x, method="encode")
    """,
  ),
  Advice(
    errors.SetAttributeFrozenModuleError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        self.layer = nn.Dense(4)
        return self.layer(x)
    Net().init(key, x)
    """,
    ["wrong self.layer = ...", "right layer = ...", "a compact method needs no attribute for a module"],
    ("clone",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        layer = nn.Dense(4)
        return layer(x)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.SetAttributeFrozenModuleError,
    """
    class Net(nn.Module):
      size: int = 3
      def __call__(self, x):
        self.size = 4
        return x
    Net().init(key, x)
    """,
    ["right size = ...", "a field is a setting"],
    ("clone", "self.variable"),
  ),
  Advice(
    errors.SetAttributeFrozenModuleError,
    """
    class Net(nn.Module):
      def __call__(self, x):
        self.count = 4
        return x
    Net().init(key, x)
    """,
    ["right count = ...", "self.variable(...)"],
    ("clone",),
  ),
  Advice(
    errors.SetAttributeFrozenModuleError,
    "nn.Dense(4).bind({}).features = 3",
    ["right other = module.clone(features=...)"],
    ("local",),
    "nn.Dense(4).bind({}).clone(features=3)",
  ),
  Advice(
    errors.SetAttributeFrozenModuleError,
    "nn.Dense(4).bind({}).width = 3",
    ["declare it as a field of Dense"],
    ("local", "right"),
  ),
  Advice(
    errors.AppendAfterSetupError,
    """
    class Net(nn.Module):
      def setup(self):
        self.layers = [nn.Dense(4)]
        self.layers.extend([nn.Dense(4)])
      def __call__(self, x):
        return x
    Net().init(key, x)
    """,
    ["right layers = [...]; layers.extend(...); self.layers = layers"],
    ("append",),
    """
    class Net(nn.Module):
      def setup(self):
        layers = [nn.Dense(4)]
        layers.extend([nn.Dense(4)])
        self.layers = layers
      def __call__(self, x):
        return x
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.InvalidInstanceModuleError,
    "nn.Dense.apply({}, x)",
    ["wrong Model.apply(...)", "right Model().apply(...)"],
    ("init(key",),
  ),
  Advice(
    errors.ApplyModuleInvalidMethodError,
    "nn.Dense(4).apply({}, x, method=3)",
    ["lambda model, x: ..."],
    ("encode",),
  ),
  # Python's stack: modules that nest, and functions that call themselves.
  Advice(
    errors.NestingTooDeepError,
    """
    class Net(nn.Module):
      depth: int
      def setup(self):
        self.inner = Net(self.depth - 1) if self.depth else None
      def __call__(self, x):
        return self.inner(x) if self.depth else x
    Net(500).init(key, x)
    """,
    ["nested deeper than Python can call", "sys.setrecursionlimit"],
  ),
  Advice(
    RecursionError,
    """
    def count(n):
      return count(n + 1)
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(count(0))(x)
    Net().init(key, x)
    """,
    ["count calls itself without end", "at <program>:3"],
    ("nested", "setrecursionlimit"),
  ),
  Advice(
    RecursionError,
    """
    class Net(nn.Module):
      def encode(self, x):
        return self.decode(x)
      def decode(self, x):
        return self.encode(x)
    Net().init(key, x, method="encode")
    """,
    ["code calls itself without end"],
    ("nested", "setrecursionlimit"),
  ),
  # Where Python would speak.
  Advice(
    errors.ArgumentsError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, *, train):
        return nn.Dense(2)(x)
    Net().init(key, x, True)
    """,
    [
      "expects Net.__call__(x, *, train)",
      "right model.init(key, ..., train=True)",
      "behind * is passed by name",
    ],
    ("away", "let Net"),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, *, train):
        return nn.Dense(2)(x)
    Net().init(key, x, train=True)
    """,
  ),
  Advice(
    errors.ArgumentsError,
    "nn.MultiHeadDotProductAttention(2).init(key, *[jnp.ones((2, 5, 8))] * 3, jnp.ones((2, 1, 5, 5)))",
    ["inputs_v=None, *, inputs_kv=None", "take f32[2,1,5,5] away; what stands behind * is passed by name."],
    ("right",),
    "nn.MultiHeadDotProductAttention(2).init(key, *[jnp.ones((2, 5, 8))] * 3, mask=jnp.ones((2, 1, 5, 5)))",
  ),
  Advice(
    errors.ArgumentsError,
    "nn.LSTMCell(4).init(key, x)",
    ["right model.init(key, carry, inputs)", "the carry comes first", "cell.initialize_carry(key, x.shape)"],
    ("inputs=",),
    "cell = nn.LSTMCell(4); cell.init(key, cell.initialize_carry(key, x.shape), x)",
  ),
  Advice(
    errors.ArgumentsError,
    "nn.BatchNorm().tabulate(key)",
    ["right model.tabulate(key, x=...)"],
    ("model.init",),
  ),
  Advice(
    errors.ArgumentsError,
    """
    class Inner(nn.Module):
      features: int
      @nn.compact
      def __call__(self, x):
        return nn.Dense(self.features)(x)
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return Inner()(x)
    Net().init(key, x)
    """,
    [
      "Inner.__init__() missing 1 required positional argument: 'features'",
      "<program>:10 in Net",
      "right Inner(features=...)",
    ],
  ),
  Advice(
    errors.ArgumentsError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4, use_biass=False)(x)
    Net().init(key, x)
    """,
    ["Did you mean 'use_bias'?", "right use_bias=...", "expects Dense(features, use_bias=True,"],
    mended="""
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4, use_bias=False)(x)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.ArgumentsError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, train):
        return x
    Net().init(key, x)
    """,
    ["missing 1 required positional argument: 'train'", "right model.init(key, ..., train=...)"],
    ("model.apply",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, train):
        return x
    Net().init(key, x, train=True)
    """,
  ),
  Advice(
    errors.ArgumentsError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dropout(0.5)(x, determinstic=True)
    Net().apply({}, x)
    """,
    ["module /Dropout_0", "Did you mean 'deterministic'?", "<program>:5 in Net.__call__"],
    ("take it away",),
  ),
  Advice(
    errors.ArgumentsError,
    """
    class Net(nn.Module):
      def __call__(self, x):
        return x
    Net().apply({}, x, train=True)
    """,
    ["take it away, or let Net.__call__ take it"],
    ("Did you mean", "right"),
  ),
  Advice(
    errors.ArgumentsError,
    """
    class Net(nn.Module):
      def __init__(self, size):
        self.size = size
      def __call__(self, x):
        return x
    Net(3).init(key, x)
    """,
    ["Net has a constructor of its own", "as fields (size: ...)"],
    ("take it away",),
    """
    class Net(nn.Module):
      size: int
      def __call__(self, x):
        return x
    Net(3).init(key, x)
    """,
  ),
  # A constructor, outside of all modules.
  Advice(
    errors.ArgumentsError,
    "nn.Dense(4, feature=3)",
    ["'features' is given already, as 4.", "line <program>:1 in <module>", "mend take feature away."],
    ("Did you mean", "right"),
    "nn.Dense(4)",
  ),
  Advice(
    errors.ArgumentsError,
    "nn.Dense(4, use_biass=False)",
    ["Did you mean 'use_bias'?", "right use_bias=..."],
    mended="nn.Dense(4, use_bias=False)",
  ),
  Advice(errors.ArgumentsError, "nn.Conv(4)", ["right Conv(..., kernel_size=...)"], ("right Conv(kernel",)),
  Advice(
    errors.ArgumentsError,
    "nn.Dense(4, features=3)",
    ["4 by position, 3 by name", "mend pass it once."],
    ("right", "away"),
    "nn.Dense(4)",
  ),
  Advice(
    errors.ArgumentsError,
    """
    class Base(nn.Module):
      size: int
    class Net(Base):
      def __init__(self, n):
        super().__init__()
    Net(4)
    """,
    ["right super().__init__(size=...)", "<program>:6 in Net.__init__"],
    ("right Base(",),
  ),
  Advice(
    errors.UnhashableFieldError,
    "class Net(nn.Module):\n  sizes: list\nhash(Net([4]))",
    ["'sizes' is [4]", "write it as a tuple"],
  ),
  Advice(
    errors.UnhashableFieldError,
    "class Net(nn.Module):\n  table: object\nhash(Net(x))",
    ["'table' is f32[2,3]", "argument of the method"],
    ("tuple",),
  ),
  Advice(
    errors.UnhashableFieldError,
    "class Net(nn.Module):\n  tables: object\nhash(Net([x, x]))",
    ["'tables' is an instance of list", "argument of the method"],
    ("tuple",),
  ),
  Advice(
    errors.UnhashableFieldError,
    """
    class Net(nn.Module):
      sizes: dict
      @nn.compact
      def __call__(self, x):
        return nn.Dense(self.sizes["out"])(x)
    hash(Net({"out": 4}))
    """,
    ["'sizes' is a dict with the keys out", "write it as nn.FrozenDict(sizes)"],
    ("write it as a tuple:",),
    """
    class Net(nn.Module):
      sizes: nn.FrozenDict
      @nn.compact
      def __call__(self, x):
        return nn.Dense(self.sizes["out"])(x)
    model = Net(nn.FrozenDict({"out": 4}))
    jax.jit(lambda model, key, x: model.init(key, x), static_argnums=0)(model, key, x)
    """,
  ),
  Advice(
    ValueError,
    "class Net(nn.Module):\n  table: object\njax.jit(lambda m, x: m.apply({}, x), static_argnums=0)(Net(x), x)",
    ["Net cannot be hashed, which JAX does with what is static: its field 'table' is f32[2,3]"],
  ),
  Advice(
    errors.AxisNameError,
    """
    model = nn.BatchNorm(use_running_average=False, axis_name="batch")
    model.apply(model.init(key, x), x, mutable=["batch_stats"])
    """,
    ["BatchNorm in '/' works across the axis 'batch'", 'axis_name="batch")(x)'],
    mended="""
    model = nn.BatchNorm(use_running_average=False, axis_name="batch")
    variables = model.init(key, x)
    jax.vmap(lambda x: model.apply(variables, x, mutable=["batch_stats"]), axis_name="batch")(x)
    """,
  ),
  # Where JAX speaks: a note below.
  Advice(
    jax.errors.TracerBoolConversionError,
    """
    class Net(nn.Module):
      def __call__(self, x):
        return x if x.sum() > 0 else -x
    jax.jit(Net().apply)({}, x)
    """,
    ["Net in '/' asks for the number", "<program>:4 in Net.__call__", "jnp.where(condition, a, b)"],
  ),
  Advice(
    jax.errors.TracerBoolConversionError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, train):
        return x if train else -x
    nn.jit(Net)().apply({}, x, True)
    """,
    ["right nn.jit(Net, static_argnums=(2,))"],
    mended="""
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, train):
        return x if train else -x
    nn.jit(Net, static_argnums=(2,))().apply({}, x, True)
    """,
  ),
  Advice(
    jax.errors.TracerIntegerConversionError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, times):
        for _ in range(times):
          x = x + 1
        return x
    nn.remat(Net)().apply({}, x, 3)
    """,
    ["'times' is 3, and not static", "right nn.remat(Net, static_argnums=(2,))"],
    mended="""
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, times):
        for _ in range(times):
          x = x + 1
        return x
    nn.remat(Net, static_argnums=(2,))().apply({}, x, 3)
    """,
  ),
  Advice(
    TypeError,
    "class Net(nn.Module):\n  def __call__(self, x, n):\n    return jnp.ones((n,))\njax.jit(Net().apply)({}, x, 3)",
    ["a size must be a number of Python's"],
    ("jnp.where",),
  ),
  # Lifted transforms: the one that was used.
  Advice(
    errors.TransformTargetError,
    "nn.jit(nn.Dense(4))",
    ["right nn.jit(Dense, ...)(...)"],
    ("vmap",),
    "nn.jit(nn.Dense)(4)",
  ),
  Advice(
    errors.TransformTargetError, "nn.remat(None)", ["got None", "right nn.remat(lambda"], ("vmap", "wrong")
  ),
  Advice(
    errors.LiftedFunctionError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        dense = nn.Dense(4)
        return nn.remat(lambda x: dense(x))(x)
    Net().init(key, x)
    """,
    ["got f32[2,3]", "right nn.remat(lambda model, x: model.layer(x), ...)(self, x)"],
    ("jit", "layers"),
  ),
  Advice(
    errors.LiftedFunctionError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.remat(lambda layers, x: layers[0](x))([nn.Dense(4)], x)
    Net().init(key, x)
    """,
    ["wrong nn.remat(lambda layers, x: ...)"],
    ("jit",),
  ),
]


@pytest.mark.parametrize("advice", ADVICE, ids=str)
def test_advice(advice: Advice) -> None:
  advice.holds()


def _no_answer(self: Any, *args: Any) -> Any:
  raise ZeroDivisionError("nobody asks an exception of mine")


@pytest.mark.parametrize(
  "base", [Exception, TypeError, ValueError, NameError, AttributeError, RecursionError]
)
@pytest.mark.parametrize(
  ("around", "method"),
  [(around, "__str__") for around in ("", "nn.jit", "nn.remat", "scan")]
  + [("", "__getattr__"), ("", "add_note")],
)
def test_an_exception_that_cannot_be_asked_arrives_as_it_is(base: Any, around: str, method: str) -> None:
  """Recorded or not. Where JAX traces, it adds a note to what it lets through, which only `__str__` has no part in."""
  kind = type("Odd", (base,), {method: _no_answer})

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any, _: Any = None) -> Any:
      raise kind()

  lifted: Any = {"": Net, "nn.jit": nn.jit(Net), "nn.remat": nn.remat(Net), "scan": nn.scan(Net)}[around]

  class Outer(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return lifted()(x, x)

  def recorded(key: Any, x: Any) -> Any:
    with nn.record():
      return Outer().init(key, x)

  ways = [Outer().init, recorded, *([nn.trace(Outer().init)] if method == "__str__" else [])]
  for way in ways:
    arrived: Any = None
    try:
      way(jax.random.key(0), jnp.ones((2, 3)))
    except Exception as error:
      arrived = type(error)
    assert arrived is kind


@pytest.mark.parametrize("method", ["__str__", "__getattr__"])
def test_a_finding_tells_of_an_exception_that_cannot_be_asked(method: str) -> None:
  kind = type("Odd", (Exception,), {method: _no_answer})

  class Net(nn.Module):
    def __call__(self, x: Any) -> Any:
      raise kind("what it says")

  with pytest.raises(kind) as raised:
    Net().apply({}, jnp.ones((2, 3)))
  found = [Told.of(raised.value)]
  if method == "__str__":  # JAX asks for more than the text
    found += nn.check(Net(), {}, jnp.ones((2, 3)))
  for told in found:
    assert (told.kind, told.message) == ("Odd", "" if method == "__str__" else "what it says")
    assert told.source is not None and "Net.__call__" in told.source.function
