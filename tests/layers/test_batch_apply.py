"""`BatchApply` against Flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import KEY, equations, same, same_error, same_model

import minilinen

X = jax.random.normal(KEY, (2, 3, 4))


@pytest.mark.parametrize(
  "call",
  [
    lambda B: B(lambda x: x * 2)(X),
    lambda B: B(lambda x, y: (x + y, {"y": x - y}))(X, 2.0),
    lambda B: B(lambda x, y=0: x + y)(X, y=jnp.ones((2, 3, 1))),
    lambda B: B(lambda x, y: x[:, None] * y, 3)(X, jnp.ones(4)),
    lambda B: B(lambda x: x, num_dims=1)(X),
    lambda B: B(lambda x: x)(np.ones((2, 3))),
    lambda B: B(lambda tree: tree["a"] @ tree["b"][0])({"a": X, "b": (jnp.ones(4),)}),
    lambda B: B(lambda x, n: x)(X, None),
  ],
)
def test_values_and_equations(call):
  same(lambda nn: (call(nn.BatchApply), equations(jax.make_jaxpr(lambda: call(nn.BatchApply))())))


@pytest.mark.parametrize(
  "call",
  [
    lambda B: B(lambda x: x)(jnp.ones(3)),
    lambda B: B(lambda: 1)(),
    lambda B: B(lambda *x: x)(jnp.ones(3), 1.0),
  ],
)
def test_nothing_with_axes_to_merge(call):
  assert "ndim >= 2" in str(same_error(lambda nn: call(nn.BatchApply), "ValueError"))


def test_mistakes():
  same_error(lambda nn: nn.BatchApply(lambda x: x.sum())(X), "TypeError")
  told = same_error(lambda nn: nn.BatchApply(lambda *x: x)(jnp.ones(3), 1.0), "ValueError")
  assert "ndim >= 2: the shapes are (3,), ()" in str(told)


def test_of_modules():
  def build(nn):
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        x = nn.BatchApply(nn.Dense(3))(x)
        return nn.BatchApply(nn.Conv(2, (2,)))(x[:, None])

    return Net()

  same_model(build, X)


def test_the_functions_it_is_made_of():
  def program(nn):
    functions = nn.batch_apply
    return (
      functions.merge_leading_dims(X, 2),
      functions.merge_leading_dims(3.0, 2),
      functions.split_leading_dim(jnp.ones((6, 2)), (2, 3)),
      functions.ndim_at_least(X, 3),
      functions.ndim_at_least(1.0, 1),
      functions.arbitrary_mergeable_leaf(2, (jnp.ones(2), X), {}),
      functions.arbitrary_mergeable_leaf(2, (1.0,), {}) is None,
    )

  same(program)
  assert minilinen.batch_apply.BatchApply is minilinen.BatchApply
