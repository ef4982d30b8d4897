"""The advice at boundaries: of lifted functions, methods and classes, of derivatives, branches, loops, keys."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import pytest
from situations import Advice

import minilinen as nn
from minilinen import errors

pytestmark = pytest.mark.grid

ADVICE = [
  # What leaves a lifted function.
  # What the body of a scan returns.
  Advice(
    errors.CarryError,
    """
    class Body(nn.Module):
      @nn.compact
      def __call__(self, x, _):
        return nn.Dense(3)(x)
    scanned = nn.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=4)
    scanned().init(key, jnp.ones((2, 3)), None)
    """,
    ["must return a pair", "but it returns f32[2,3]", "right return x, None"],
    ("changes", "goes in"),
    """
    class Body(nn.Module):
      @nn.compact
      def __call__(self, x, _):
        return nn.Dense(3)(x), None
    scanned = nn.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=4)
    scanned().init(key, jnp.ones((2, 3)), None)
    """,
  ),
  Advice(
    errors.CarryError,
    """
    class Body(nn.Module):
      @nn.compact
      def __call__(self, x, _):
        return nn.Dense(3)(x)
    scanned = nn.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=4)
    scanned().init(key, jnp.ones((4, 3)), None)
    """,
    ["must return a pair", "but it returns f32[4,3]", "right return x, None"],
    ("unpack",),
    """
    class Body(nn.Module):
      @nn.compact
      def __call__(self, x, _):
        return nn.Dense(3)(x), None
    scanned = nn.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=4)
    scanned().init(key, jnp.ones((4, 3)), None)
    """,
  ),
  Advice(
    errors.CarryError,
    """
    class Body(nn.Module):
      @nn.compact
      def __call__(self, x, _):
        return nn.Dense(3)(x), x, x
    scanned = nn.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=4)
    scanned().init(key, jnp.ones((2, 3)), None)
    """,
    [
      "must return a pair",
      "but it returns (f32[2,3], f32[2,3], f32[2,3])",
      "right return x, y",
      "return carry, (y, z)",
    ],
    ("unpack", "None stands"),
    """
    class Body(nn.Module):
      @nn.compact
      def __call__(self, x, _):
        return nn.Dense(3)(x), (x, x)
    scanned = nn.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=4)
    scanned().init(key, jnp.ones((2, 3)), None)
    """,
  ),
  Advice(
    errors.CarryError,
    """
    class Body(nn.Module):
      @nn.compact
      def __call__(self, x, _):
        nn.Dense(3)(x)
    scanned = nn.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=4)
    scanned().init(key, jnp.ones((2, 3)), None)
    """,
    ["must return a pair", "but it returns", "right return x, None"],
    ("unpack", "iterable"),
    """
    class Body(nn.Module):
      @nn.compact
      def __call__(self, x, _):
        return nn.Dense(3)(x), None
    scanned = nn.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=4)
    scanned().init(key, jnp.ones((2, 3)), None)
    """,
  ),
  Advice(
    errors.TransformedMethodReturnValueError,
    """
    class Net(nn.Module):
      @nn.jit
      @nn.compact
      def __call__(self, x):
        return self.variable("state", "n", lambda: 1)
    Net().init(key, x)
    """,
    ["found Variable", "mend return what it holds: variable.value."],
    ("call the module",),
    """
    class Net(nn.Module):
      @nn.jit
      @nn.compact
      def __call__(self, x):
        return self.variable("state", "n", lambda: 1).value
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.TransformedMethodReturnValueError,
    """
    class Net(nn.Module):
      def setup(self):
        self.dense = nn.Dense(3)
      @nn.remat
      def layer(self):
        return self.dense
      def __call__(self, x):
        return self.layer()(x)
    Net().init(key, x)
    """,
    ["module method layer", "found Dense", "call the module inside", "line <program>:9 in Net.__call__"],
    ("variable.value",),
    """
    class Net(nn.Module):
      def setup(self):
        self.dense = nn.Dense(3)
      @nn.remat
      def layer(self, x):
        return self.dense(x)
      def __call__(self, x):
        return self.layer(x)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.TransformedMethodReturnValueError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        layer, x = nn.remat(lambda model, x: (nn.Dense(4), x))(self, x)
        return layer(x)
    Net().init(key, x)
    """,
    ["found Dense", "make it outside of what is lifted"],
    mended="""
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        layer, x = nn.Dense(4), nn.remat(lambda model, x: x)(self, x)
        return layer(x)
    Net().init(key, x)
    """,
  ),
  # Gradients of several scopes.
  Advice(
    errors.MultiScopeError,
    """
    class Net(nn.Module):
      def setup(self):
        self.a, self.b = nn.Dense(3), nn.Dense(3)
      def __call__(self, x):
        y, pull = nn.vjp(lambda a, b, x: a(b(x)), self.a, self.b, x)
        return y
    Net().init(key, x)
    """,
    ["/b, /a", "multi_scope=True", "nn.vjp(lambda model, x: model.layer(x), self, x)"],
    ("inner",),
    """
    class Net(nn.Module):
      def setup(self):
        self.a, self.b = nn.Dense(3), nn.Dense(3)
      def __call__(self, x):
        y, pull = nn.vjp(lambda model, x: model.a(model.b(x)), self, x)
        assert isinstance(pull(y)[0], dict)
        return y
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.MultiScopeError,
    """
    class Inner(nn.Module):
      other: nn.Module
      @nn.compact
      def __call__(self, x):
        return nn.vjp(lambda self, x: self.other(x), self, x)[0]
    class Outer(nn.Module):
      @nn.compact
      def __call__(self, x):
        return Inner(nn.Dense(4))(x)
    Outer().init(key, x)
    """,
    ["line <program>:6 in Inner.__call__", "multi_scope=True", "a list, one tree for each scope"],
    ("lift over",),
    """
    class Inner(nn.Module):
      other: nn.Module
      @nn.compact
      def __call__(self, x):
        y, pull = nn.vjp(lambda self, x: self.other(x), self, x, multi_scope=True)
        assert isinstance(pull(y)[0], list) and len(pull(y)[0]) == 2
        return y
    class Outer(nn.Module):
      @nn.compact
      def __call__(self, x):
        return Inner(nn.Dense(4))(x)
    Outer().init(key, x)
    """,
  ),
  Advice(
    errors.MultiScopeError,
    """
    class Net(nn.Module):
      def setup(self):
        self.a, self.b = nn.Dense(3), nn.Dense(3)
      def __call__(self, x):
        def run(a, b, x):
          return a(b(x))
        def forward(a, b, x):
          return nn.vjp(run, a, b, x)
        return nn.custom_vjp(run, forward, lambda pull, y_t: pull(y_t))(self.a, self.b, x)
    model = Net()
    variables = model.init(key, x)
    jax.grad(lambda x: model.apply(variables, x).sum())(x)
    """,
    ["line <program>:9 in Net.__call__.<locals>.forward", "y, pull = nn.vjp(..., multi_scope=True)"],
    mended="""
    class Net(nn.Module):
      def setup(self):
        self.a, self.b = nn.Dense(3), nn.Dense(3)
      def __call__(self, x):
        def run(a, b, x):
          return a(b(x))
        def forward(a, b, x):
          return nn.vjp(run, a, b, x, multi_scope=True)
        return nn.custom_vjp(run, forward, lambda pull, y_t: pull(y_t))(self.a, self.b, x)
    model = Net()
    variables = model.init(key, x)
    jax.grad(lambda x: model.apply(variables, x).sum())(x)
    """,
  ),
  # Derivatives.
  Advice(
    errors.DerivativeError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        def run(layer, x):
          return layer(x)
        def forward(layer, x):
          return (*nn.vjp(run, layer, x), x)
        return nn.custom_vjp(run, forward, lambda pull, y_t: pull(y_t))(nn.Dense(3), x)
    model = Net()
    variables = model.init(key, x)
    jax.grad(lambda x: model.apply(variables, x).sum())(x)
    """,
    ["forward function of nn.custom_vjp must give a pair", "found (f32[2,3], Partial, f32[2,3])"],
    ("Opaque", "gradients of the variables"),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        def run(layer, x):
          return layer(x)
        def forward(layer, x):
          return nn.vjp(run, layer, x)
        return nn.custom_vjp(run, forward, lambda pull, y_t: pull(y_t))(nn.Dense(3), x)
    model = Net()
    variables = model.init(key, x)
    jax.grad(lambda x: model.apply(variables, x).sum())(x)
    """,
  ),
  Advice(
    errors.DerivativeError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        def run(layer, x):
          return layer(x)
        def backward(pull, y_t):
          variables_t, x_t = pull(y_t)
          return variables_t["params"], x_t
        return nn.custom_vjp(run, lambda layer, x: nn.vjp(run, layer, x), backward)(nn.Dense(3), x)
    model = Net()
    variables = model.init(key, x)
    jax.grad(lambda x: model.apply(variables, x).sum())(x)
    """,
    [
      "must first give the gradients of the variables",
      "expects params/bias, params/kernel",
      "found bias, kernel",
    ],
    ("pair",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        def run(layer, x):
          return layer(x)
        def backward(pull, y_t):
          variables_t, x_t = pull(y_t)
          return variables_t, x_t
        return nn.custom_vjp(run, lambda layer, x: nn.vjp(run, layer, x), backward)(nn.Dense(3), x)
    model = Net()
    variables = model.init(key, x)
    jax.grad(lambda x: model.apply(variables, x).sum())(x)
    """,
  ),
  Advice(
    errors.DerivativeError,
    """
    class Net(nn.Module):
      def setup(self):
        self.layer = nn.Dense(3)
      def __call__(self, x):
        tangents = self.layer.variables["params"]
        return nn.jvp(lambda layer, x: layer(x), self.layer, (x,), (x,), tangents)
    model = Net()
    variables = nn.Dense(3).init(key, x)["params"]
    model.apply({"params": {"layer": variables}}, x)
    """,
    ["found {'kernel': f32[3,3], 'bias': f32[3]}", 'right {"params": ...} in its place'],
    ("custom_vjp", "none at all"),
    """
    class Net(nn.Module):
      def setup(self):
        self.layer = nn.Dense(3)
      def __call__(self, x):
        tangents = {"params": self.layer.variables["params"]}
        return nn.jvp(lambda layer, x: layer(x), self.layer, (x,), (x,), tangents)
    model = Net()
    variables = nn.Dense(3).init(key, x)["params"]
    model.apply({"params": {"layer": variables}}, x)
    """,
  ),
  # Branches.
  Advice(
    errors.BranchesDifferError,
    """
    class Net(nn.Module):
      def setup(self):
        self.layer = nn.Dense(3)
      def __call__(self, x):
        return nn.cond(x.sum() > 0, lambda self, x: self.layer(x), lambda self, x: x, self, x)
    Net().init(key, x)
    """,
    [
      "'params/layer/bias' is there in branch 0 and not there in branch 1",
      "if self.is_initializing(): self.layer(x)",
    ],
    ("structure, shapes and dtypes", "sets a variable"),
    """
    class Net(nn.Module):
      def setup(self):
        self.layer = nn.Dense(3)
      def __call__(self, x):
        if self.is_initializing():
          self.layer(x)
        return nn.cond(x.sum() > 0, lambda self, x: self.layer(x), lambda self, x: x, self, x)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.BranchesDifferError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        branches = [lambda self, x: (x, x), lambda self, x: [x]]
        return nn.switch(0, branches, self, x)
    Net().init(key, x)
    """,
    [
      "the result is (f32[2,3], f32[2,3]) in branch 0 and [f32[2,3]] in branch 1",
      "structure, shapes and dtypes",
    ],
    ("Spec(", "is_initializing", "create"),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        branches = [lambda self, x: (x, x), lambda self, x: (x, x)]
        return nn.switch(0, branches, self, x)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.BranchesDifferError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        def keep(self, x):
          self.sow("intermediates", "h", x)
          return x
        return nn.cond(True, keep, lambda self, x: x, self, x)
    Net().apply({}, x, mutable=["intermediates"])
    """,
    ["'intermediates/h'", "let every branch create it, or create it before nn.cond"],
    ("is_initializing", "shapes"),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        self.sow("intermediates", "h", x)
        return nn.cond(True, lambda self, x: x, lambda self, x: x, self, x)
    Net().apply({}, x, mutable=["intermediates"])
    """,
  ),
  Advice(
    errors.BranchesDifferError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        last = self.variable("state", "last", lambda: jnp.zeros(()))
        def store(self, x):
          self.put_variable("state", "last", x)
          return x
        return nn.cond(True, store, lambda self, x: x, self, x)
    Net().init(key, x)
    """,
    ["'state/last' is f32[2,3] in branch 0 and f32[] in branch 1", "keep its shape and dtype"],
    ("is_initializing", "create"),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        last = self.variable("state", "last", lambda: jnp.zeros(()))
        def store(self, x):
          self.put_variable("state", "last", x.sum())
          return x
        return nn.cond(True, store, lambda self, x: x, self, x)
    Net().init(key, x)
    """,
  ),
  # Collections that are carried.
  Advice(
    errors.CarriedCollectionError,
    """
    class Step(nn.Module):
      @nn.compact
      def __call__(self, carry, _):
        return nn.BatchNorm(use_running_average=False)(carry), None
    Loop = nn.scan(
      Step, variable_broadcast="params", variable_carry="batch_stats", split_rngs={"params": False}, length=2
    )
    Loop().init(key, x, None)
    """,
    ["'BatchNorm_0/mean', 'BatchNorm_0/var'", 'variable_axes={"batch_stats": 0} instead of variable_carry'],
    ("while_loop",),
    """
    class Step(nn.Module):
      @nn.compact
      def __call__(self, carry, _):
        return nn.BatchNorm(use_running_average=False)(carry), None
    Loop = nn.scan(
      Step, variable_broadcast="params", variable_axes={"batch_stats": 0}, split_rngs={"params": False}, length=2
    )
    Loop().init(key, x, None)
    """,
  ),
  Advice(
    errors.CarriedCollectionError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        def body(self, x):
          n = self.variable("state", "n", lambda: jnp.zeros(()))
          n.value += 1
          return x + 1
        return nn.while_loop(lambda self, x: x.sum() < 10, body, self, x, carry_variables="state")
    Net().init(key, x)
    """,
    ["create the variables before the while_loop"],
    ("variable_axes", "each step"),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        self.variable("state", "n", lambda: jnp.zeros(()))
        def body(self, x):
          self.put_variable("state", "n", self.get_variable("state", "n") + 1)
          return x + 1
        return nn.while_loop(lambda self, x: x.sum() < 10, body, self, x, carry_variables="state")
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.CarriedCollectionError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        def body(self, c, _):
          self.sow("log", "c", c)
          return c, None
        return nn.scan(body, variable_carry="log", length=2)(self, x, None)
    Net().apply({}, x, mutable=["log"])
    """,
    ["the body creates 'c' in it", 'variable_axes={"log": 0}'],
    mended="""
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        def body(self, c, _):
          self.sow("log", "c", c)
          return c, None
        return nn.scan(body, variable_axes={"log": 0}, length=2)(self, x, None)
    Net().apply({}, x, mutable=["log"])
    """,
  ),
  # Static arguments.
  Advice(
    errors.StaticArgumentWarning,
    """
    class Net(nn.Module):
      @nn.jit
      def __call__(self, x, train):
        return x if train else -x
    Net().apply({}, x, True)
    """,
    ["lifted <program>:3 in Net", "right @functools.partial(nn.jit, static_argnums=(2,))"],
    ("nn.jit(Net",),
    """
    import functools
    class Net(nn.Module):
      @functools.partial(nn.jit, static_argnums=(2,))
      def __call__(self, x, train):
        return x if train else -x
    Net().apply({}, x, True)
    """,
  ),
  Advice(
    errors.StaticArgumentWarning,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.remat(lambda self, x, flag: x if flag else -x)(self, x, True)
    Net().apply({}, x)
    """,
    ["'flag' is True, and not static", "0 self, 1 x, 2 flag", "right nn.remat(f, static_argnums=(2,))"],
    ("jit",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.remat(lambda self, x, flag: x if flag else -x, static_argnums=(2,))(self, x, True)
    Net().apply({}, x)
    """,
  ),
  Advice(
    errors.StaticArgumentWarning,
    """
    class Net(nn.Module):
      def __call__(self, x, train):
        return x if train else -x
    nn.jit(Net, static_argnums=(0,))().apply({}, x, True)
    """,
    ["number 0 is the module", "right nn.jit(Net, static_argnums=(2,))"],
    mended="""
    class Net(nn.Module):
      def __call__(self, x, train):
        return x if train else -x
    nn.jit(Net, static_argnums=(2,))().apply({}, x, True)
    """,
  ),
  # Keys.
  Advice(
    errors.StackedKeyWarning,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        def one(self, x):
          return nn.Dense(2)(x)
        return nn.vmap(one, variable_axes={"params": 0}, split_rngs={"params": False})(self, x)
    Net().init(key, x)
    """,
    ["'kernel' in '/Dense_0'", "right nn.vmap(one, "],
    ("nn.scan",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        def one(self, x):
          return nn.Dense(2)(x)
        return nn.vmap(one, variable_axes={"params": 0}, split_rngs={"params": True})(self, x)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.StackedKeyWarning,
    "nn.remat_scan(nn.Dense, lengths=(2,), split_rngs={'params': False})(3).init(key, x)",
    ['right nn.remat_scan(Dense, split_rngs={..., "params": True}, ...)'],
    ("nn.scan(", "nn.vmap("),
    "nn.remat_scan(nn.Dense, lengths=(2,), split_rngs={'params': True})(3).init(key, x)",
  ),
  Advice(
    errors.StackedKeyWarning,
    """
    class Step(nn.Module):
      @nn.compact
      def __call__(self, carry, _):
        Heads = nn.vmap(nn.Dense, {"params": 0}, {"params": False}, in_axes=None, axis_size=2)
        return Heads(3)(carry).mean(0), None
    nn.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)().init(key, x, None)
    """,
    ["lifted <program>:5 in Step.__call__", "right nn.vmap(Dense"],
    ("nn.scan(",),
    """
    class Step(nn.Module):
      @nn.compact
      def __call__(self, carry, _):
        Heads = nn.vmap(nn.Dense, {"params": 0}, {"params": True}, in_axes=None, axis_size=2)
        return Heads(3)(carry).mean(0), None
    nn.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)().init(key, x, None)
    """,
  ),
  Advice(
    errors.ServedByParamsWarning,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x + jax.random.normal(self.make_rng("noise"), x.shape)
    Net().init({"params": key, "noises": key}, x)
    """,
    ["Is 'noises' misspelt?", 'right rngs={"noise": key, ...}'],
    ("stops at",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x + jax.random.normal(self.make_rng("noise"), x.shape)
    Net().init({"params": key, "noise": key}, x)
    """,
  ),
  Advice(
    errors.ServedByParamsWarning,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.jit(nn.Dropout, rngs="params")(0.5, deterministic=False)(x)
    Net().init({"params": key, "dropout": key}, x)
    """,
    ["which stops at nn.jit of Dropout", "right nn.jit(Dropout, rngs=True, ...)"],
    ("misspelt", "split_rngs"),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.jit(nn.Dropout, rngs=True)(0.5, deterministic=False)(x)
    Net().init({"params": key, "dropout": key}, x)
    """,
  ),
  Advice(
    errors.ServedByParamsWarning,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.vmap(nn.Dropout, split_rngs={"params": True})(0.5, deterministic=False)(x)
    Net().apply({}, x, rngs={"params": key, "dropout": key})
    """,
    ['right nn.vmap(Dropout, split_rngs={..., "dropout": True}, ...)', "<program>:5 in Net.__call__"],
    ("rngs=True",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.vmap(nn.Dropout, split_rngs={"params": True, "dropout": True})(0.5, deterministic=False)(x)
    Net().apply({}, x, rngs={"params": key, "dropout": key})
    """,
  ),
]


@pytest.mark.parametrize("advice", ADVICE, ids=str)
def test_advice(advice: Advice) -> None:
  advice.holds()


def test_the_line_is_told_in_which_a_function_was_lifted():
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      def inner(module, x):
        module.make_rng("noise")
        return nn.Dense(2)(x)

      lifted = nn.vmap(inner, variable_axes={"params": 0}, split_rngs={"params": True})
      return lifted(self, x)

  key = jax.random.key(0)
  with pytest.warns(errors.ServedByParamsWarning) as caught:
    Net().init({"params": key, "noise": key}, jnp.ones((2, 3, 4)))
  line = inspect.unwrap(Net.__call__).__code__.co_firstlineno + 6
  assert f"test_advice_lifts.py:{line} in" in caught[0].message.plain
