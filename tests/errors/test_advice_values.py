"""The advice about numbers: sizes that are none, and values that JAX traces where Python asks for a number."""

from __future__ import annotations

import pytest
from situations import Advice

from minilinen import errors

pytestmark = pytest.mark.grid

SIZE, TRACED = errors.SizeError, errors.TracedValueWarning
FLAG = """
class Net(nn.Module):
  @nn.compact
  def __call__(self, x, train):
    return nn.Dense(4)(x * 2 if train else x)
model = Net()
variables = model.init(key, x, True)
"""
PRINTING = """
class Net(nn.Module):
  @nn.compact
  def __call__(self, x):
    y = nn.Dense(3)(x)
    {line}
    return y
jax.jit(Net().init)(key, x)
"""
WRONG_SIZES = ("traces", "x.shape", "number behind")
NO_SIZE = ("size", "x.shape")

ADVICE = [
  # Sizes.
  Advice(
    SIZE,
    "nn.Dense(128 / 2).init(key, x)",
    ["Dense in '/' asks for the shape (3, 64.0)", "features=64.0 is none", "// an int"],
    WRONG_SIZES,
    "nn.Dense(128 // 2).init(key, x)",
  ),
  Advice(
    SIZE,
    "nn.Conv(32 * 0.5, (3, 3)).init(key, jnp.ones((1, 8, 8, 3)))",
    ["features=16.0 is none", "int(...)"],
    WRONG_SIZES,
    "nn.Conv(int(32 * 0.5), (3, 3)).init(key, jnp.ones((1, 8, 8, 3)))",
  ),
  Advice(
    SIZE,
    "nn.Dense('3').init(key, x)",
    ["features='3' is none", "mend write it without quotation marks."],
    (*WRONG_SIZES, "//"),
    "nn.Dense(3).init(key, x)",
  ),
  Advice(
    SIZE,
    "nn.Dense(None).init(key, x)",
    ["asks for the shape (3, None): a size is an int, and None is none."],
    (*WRONG_SIZES, "mend", "features="),
  ),
  Advice(
    SIZE,
    """
    class Net(nn.Module):
      n: int = 4,
      @nn.compact
      def __call__(self, x):
        return nn.Dense(self.n)(x)
    Net().init(key, x)
    """,
    ["Dense in '/Dense_0'", "features=(4,) is none", "write 4 alone: a comma after it"],
    (*WRONG_SIZES, "//"),
    """
    class Net(nn.Module):
      n: int = 4
      @nn.compact
      def __call__(self, x):
        return nn.Dense(self.n)(x)
    Net().init(key, x)
    """,
  ),
  Advice(
    SIZE,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x.reshape(x.shape[0], x.shape[1] / 1)
    Net().init(key, x)
    """,
    ["Net in '/' asks for the shape (2, 3.0): a size is an int, and 3.0 is none.", "// an int"],
    (*WRONG_SIZES, "=3.0"),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x.reshape(x.shape[0], x.shape[1] // 1)
    Net().init(key, x)
    """,
  ),
  # Numbers that JAX has not yet, and what they were for.
  Advice(
    TRACED,
    PRINTING.format(line="print(float(y.mean()))"),
    ["Net in '/' asks for the number", "mend keep the array", "jax.debug.print('{x}', x=...)"],
    NO_SIZE,
    PRINTING.format(line="jax.debug.print('{x}', x=y.mean())"),
  ),
  Advice(
    TRACED,
    PRINTING.format(line="self.sow('log', 'loss', y.mean().item())"),
    ["mend keep the array", "sow"],
    NO_SIZE,
    PRINTING.format(line="self.sow('log', 'loss', y.mean())"),
  ),
  Advice(
    TRACED,
    PRINTING.format(line="print(f'{y.mean():.2f}')"),
    ["Net in '/' asks for the number", "print with jax.debug.print('{x:.2f}', x=...)"],
    NO_SIZE,
    PRINTING.format(line="jax.debug.print('{x:.2f}', x=y.mean())"),
  ),
  Advice(
    TRACED,
    PRINTING.format(line="jnp.zeros(int(y.sum()))"),
    ["a size must be a number of Python's"],
    ("keep the array", "jax.debug"),
  ),
  Advice(
    TRACED,
    PRINTING.format(line="assert jnp.all(jnp.isfinite(y)), 'not finite'"),
    ["assert what Python knows, such as x.shape", "jax.experimental.checkify"],
    ("jnp.where", "static_arg"),
    PRINTING.format(line="assert y.shape == (2, 3)"),
  ),
  Advice(
    TRACED,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        while jnp.abs(x).max() > 1e-3:
          x = x * 0.1
        return x
    jax.jit(Net().init)(key, x)
    """,
    ["mend nn.while_loop(condition, body, self, x)"],
    ("jnp.where", "static_arg"),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.while_loop(lambda self, x: jnp.abs(x).max() > 1e-3, lambda self, x: x * 0.1, self, x)
    jax.jit(Net().init)(key, x)
    """,
  ),
  Advice(
    TRACED,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, i):
        layers = [nn.Dense(3), nn.Dense(3)]
        return layers[i](x)
    jax.jit(Net().init)(key, x, 1)
    """,
    ["a list and x.shape are asked by a number of Python's", "nn.switch(i, (f, g), self, x)"],
    ("size", "jnp.where"),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, i):
        layers = [nn.Dense(3), nn.Dense(3)]
        if self.is_initializing():
          [layer(x) for layer in layers]
        return nn.switch(i, [lambda self, x, n=n: layers[n](x) for n in (0, 1)], self, x)
    jax.jit(Net().init)(key, x, 1)
    """,
  ),
  # A flag that was passed to a jitted apply: apply knows no argument of that name.
  Advice(
    TRACED,
    FLAG + "jax.jit(model.apply)(variables, x, True)",
    [
      "right jax.jit(model.apply, static_argnums=2)(variables, ...)",
      "static_argnames='train')(variables, ...",
    ],
    ("static_argnums of nn.jit",),
    FLAG + "jax.jit(model.apply, static_argnums=2)(variables, x, True)",
  ),
  Advice(
    TRACED,
    FLAG + "jax.jit(model.apply, static_argnames='train')(variables, x, True)",
    ["static_argnums=2", "or pass it by name"],
    ("static_argnums of nn.jit",),
    FLAG + "jax.jit(model.apply, static_argnames='train')(variables, x, train=True)",
  ),
  Advice(
    TRACED,
    FLAG + "jax.jit(model.init)(key, x, True)",
    ["right jax.jit(model.init, static_argnums=2)(key, ...)"],
    ("static_argnums of nn.jit", "variables"),
    FLAG + "jax.jit(model.init, static_argnums=2)(key, x, True)",
  ),
  Advice(
    TRACED,
    """
    class Net(nn.Module):
      def __call__(self, x):
        return x if x.sum() > 0 else -x
    jax.jit(Net().apply)({}, x)
    """,
    ["choose with jnp.where"],
    ("static_argnums=", "or pass it by name"),
  ),
]


@pytest.mark.parametrize("advice", ADVICE, ids=str)
def test_the_advice_is_right_for_what_this_user_did(advice: Advice) -> None:
  advice.holds()
