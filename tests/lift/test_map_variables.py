"""map_variables: shared transposed parameters, stored in another form."""

from __future__ import annotations

import jax
from oracle import KEY, X, as_flax


@as_flax(
  {
    "params": {
      "Dense_0": {"kernel": (4, 4), "bias": (4,)},
      "Map_variablesDense_0": {"kernel": (4, 3), "bias": (3,)},
    },
    "outputs": ((3, 4), (3, 4), (3, 3)),
  }
)
def test_transposed_and_scaled(nn):

  class T(nn.Module):
    @nn.compact
    def __call__(self, x):
      d = nn.Dense(4)
      y = d(x)

      def tr(v):
        return jax.tree.map(lambda a: a.T if a.ndim == 2 else a, v)

      f = nn.map_variables(lambda m, x: m(x), "params", trans_in_fn=tr)
      z = f(d, x)
      D = nn.map_variables(
        nn.Dense,
        "params",
        lambda v: jax.tree.map(lambda a: a * 2, v),
        lambda v: jax.tree.map(lambda a: a / 2, v),
        init=True,
      )
      return (y, z, D(3)(x))

  m = T()
  v = m.init(KEY, X)
  return {**v, "outputs": m.apply(v, X)}
