"""The advice about first values: an initializer that is none, makes one, or takes other arguments."""

from __future__ import annotations

import pytest
from situations import Advice

from minilinen import errors

pytestmark = pytest.mark.grid


def _param(arguments: str, run: str = "Net().init(key, x)") -> str:
  return f"""
class Net(nn.Module):
  @nn.compact
  def __call__(self, x):
    return x * self.param("w", {arguments})
{run}
"""


def _variable(arguments: str) -> str:
  return f"""
class Net(nn.Module):
  @nn.compact
  def __call__(self, x):
    return x * self.variable("state", "mean", {arguments}).value
Net().init(key, x)
"""


def _advice(program: str, says: list[str], mended: str, *never: str) -> Advice:
  return Advice(errors.InitializerError, program, ["module /", *says], never, mended)


ADVICE = [
  # No function.
  _advice(
    _param("jnp.ones(3)"),
    ["'w' in '/' gets its first value from f32[3], which is no function", "right lambda key: value"],
    _param("lambda key: jnp.ones(3)"),
  ),
  _advice(
    _variable("jnp.ones(3)"),
    ["'mean' in '/'", "right lambda: value"],
    _variable("lambda: jnp.ones(3)"),
    "key",
  ),
  _advice(
    _param("(3,), nn.initializers.ones"),
    ["from (3,), a tuple", "right self.param('w', init_fn, shape)"],
    _param("nn.initializers.ones, (3,)"),
  ),
  _advice(
    "nn.Dense(4, bias_init=0.0).init(key, x)",
    ["'bias' in '/'", "right nn.initializers.constant(0.0)"],
    "nn.Dense(4, bias_init=nn.initializers.constant(0.0)).init(key, x)",
  ),
  _advice(
    "nn.Dense(4, bias_init=0.0).apply({'params': {'kernel': jnp.ones((3, 4)), 'bias': jnp.ones(4)}}, x)",
    ["'bias' in '/'", "right nn.initializers.constant(0.0)"],
    "",
  ),
  _advice(
    "nn.Dense(4, kernel_init='lecun_normal').init(key, x)",
    ["right nn.initializers.lecun_normal()"],
    "nn.Dense(4, kernel_init=nn.initializers.lecun_normal()).init(key, x)",
  ),
  _advice(
    "nn.Dense(4, kernel_init='zeros').init(key, x)",
    ["right nn.initializers.zeros"],
    "nn.Dense(4, kernel_init=nn.initializers.zeros).init(key, x)",
    "zeros()",
  ),
  # What makes an initializer.
  _advice(
    "nn.Dense(4, kernel_init=nn.initializers.normal).init(key, x)",
    ["nn.initializers.normal itself", "right nn.initializers.normal()"],
    "nn.Dense(4, kernel_init=nn.initializers.normal()).init(key, x)",
  ),
  _advice(
    "nn.vmap(nn.Dense, variable_axes={'params': 0}, split_rngs={'params': False})(\n"
    "  4, kernel_init=nn.initializers.normal).init(key, x)",
    ["nn.initializers.normal itself", "right nn.initializers.normal()"],
    "",
  ),
  Advice(
    errors.UncalledInitializerWarning,
    _param("nn.initializers.constant"),
    ["right nn.initializers.constant(...)"],
    mended=_param("nn.initializers.constant(1.0), (3,)"),
  ),
  *(
    Advice(
      errors.UncalledInitializerWarning,
      program,
      [
        "given nn.initializers.lecun_normal itself",
        "is a function now",
        "right nn.initializers.lecun_normal()",
      ],
      mended=program.replace("lecun_normal", "lecun_normal()").replace("x * ", "x @ "),
    )
    for program in (
      _param("nn.initializers.lecun_normal, (3, 4)"),
      _param("nn.initializers.lecun_normal, (3, 3), jnp.float32"),
      "nn.Dense(4, kernel_init=nn.initializers.lecun_normal).init(key, x)",
    )
  ),
  # Another call.
  _advice(
    _param("nn.initializers.ones"),
    ["the function ones, which takes (key, shape", "right self.param('w', nn.initializers.ones, shape)"],
    _param("nn.initializers.ones, (3,)"),
  ),
  _advice(
    _param("nn.initializers.normal()"),
    ["right self.param('w', init_fn, shape)"],
    _param("nn.initializers.normal(), (3,)"),
  ),
  _advice(
    _param("lambda: jnp.ones(3)"),
    ["from a lambda, which takes ()", "right lambda key: ..."],
    _param("lambda key: jnp.ones(3)"),
  ),
  _advice(
    _param("jnp.ones, (3,)"),
    ["right nn.initializers.ones"],
    _param("nn.initializers.ones, (3,)"),
  ),
  _advice(
    _variable("nn.initializers.ones, (3,)"),
    ['right lambda: init_fn(self.make_rng("params"), ...)'],
    _variable("lambda: nn.initializers.ones(self.make_rng('params'), (3,))"),
  ),
  # What JAX's initializers don't do.
  _advice(
    _param("nn.initializers.lecun_normal(), (3,)"),
    ["Can't compute input and output sizes", "nn.initializers.normal()"],
    _param("nn.initializers.normal(), (3,)"),
  ),
  _advice(
    "nn.Dense(4, param_dtype=jnp.int32).init(key, x)",
    ["must be a float dtype", "param_dtype=jnp.float32"],
    "nn.Dense(4, param_dtype=jnp.float32).init(key, x)",
  ),
  # Names of types.
  Advice(
    errors.DTypeNameError,
    "nn.Dense(4, dtype='float33').init(key, x)",
    ["Dense in '/'", "Did you mean 'float32'?"],
    mended="nn.Dense(4, dtype='float32').init(key, x)",
  ),
  Advice(errors.DTypeNameError, "nn.Dense(4, param_dtype='half_float').init(key, x)", ["jnp.bfloat16"]),
  Advice(
    errors.DTypeNameError,
    "class Net(nn.Module):\n  def __call__(self, x):\n    return x.astype('flaot32')\nNet().init(key, x)",
    ["line <program>:3 in Net.__call__", "Did you mean 'float32'?"],
  ),
]


@pytest.mark.parametrize("advice", ADVICE, ids=str)
def test_advice(advice: Advice) -> None:
  advice.holds()


@pytest.mark.parametrize("failure", [KeyError("a"), TypeError("mine"), ValueError("mine")], ids=repr)
@pytest.mark.parametrize("program", [_param, _variable])
def test_what_a_users_initializer_raises_is_the_users(failure: Exception, program: object) -> None:
  import jax
  import jax.numpy as jnp

  import minilinen as nn

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      if program is _param:
        return self.param("w", self.first)
      return self.variable("state", "w", self.first)

    @nn.nowrap
    def first(self, *key):
      raise failure

  with pytest.raises(type(failure)) as caught:
    Net().init(jax.random.key(0), jnp.ones(3))
  assert caught.value is failure
