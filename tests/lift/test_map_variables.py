"""map_variables: shared transposed parameters, stored in another form."""

from __future__ import annotations

import jax
from oracle import KEY, X, as_flax


@as_flax
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
  return (v, m.apply(v, X))
