"""Lifted jit and remat."""

from __future__ import annotations

import jax
from oracle import KEY, KEY2, X, as_flax, same, shown

DENSE = {"kernel": (4, 4), "bias": (4,)}
BLOCKS = {
  "CheckpointB_0": {"Dense_0": DENSE},
  "CheckpointB_1": {"Dense_0": DENSE},
  "VmapVmapDense_0": {"kernel": (3, 2, 4, 4), "bias": (3, 2, 4)},
}


@as_flax({"params": BLOCKS, "loss": (), "gradient": BLOCKS})
def test_remat_around_vmap_in_vmap(nn):

  class B(nn.Module):
    n: int = 4

    @nn.compact
    def __call__(self, x, train):
      x = nn.Dense(self.n)(x)
      return nn.Dropout(0.5, deterministic=not train)(x)

  class N(nn.Module):
    @nn.compact
    def __call__(self, x):
      for _ in range(2):
        x = nn.remat(B, static_argnums=(2,), policy=jax.checkpoint_policies.dots_saveable)()(x, True)
      x = nn.vmap(
        nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True}),
        variable_axes={"params": 1},
        split_rngs={"params": True},
        in_axes=1,
        out_axes=1,
      )(4)(x[:, None].repeat(2, 1))
      return x

  m = N()
  v = m.init({"params": KEY, "dropout": KEY2}, X)

  def f(p):
    return (m.apply({"params": p}, X, rngs={"dropout": KEY}) ** 2).sum()

  loss, gradient = jax.value_and_grad(f)(v["params"])
  return {**v, "loss": loss, "gradient": gradient}


@as_flax(
  {
    "params": {"N_0": {"Dense_0": DENSE}, "JitDense_0": DENSE},
    "twice": [((3, 4), (2,)), ((3, 4), (2,))],
  }
)
def test_jit_called_twice_with_dropout(nn):

  class N(nn.Module):
    @nn.jit
    @nn.compact
    def __call__(self, x):
      return nn.Dropout(0.5, deterministic=False)(nn.Dense(4)(x))

  class M(nn.Module):
    @nn.compact
    def __call__(self, x):
      m = N()
      return (m(m(x)) + nn.jit(nn.Dense)(4)(x), self.make_rng("dropout"))

  m = M()
  v = m.init({"params": KEY, "dropout": KEY2}, X)
  return {**v, "twice": [m.apply(v, X, rngs={"dropout": KEY}) for _ in range(2)]}


def test_jit_of_two_modules_with_folded_keys():
  """Of several modules Flax folds the keys of the last, and forgets the path of the others."""

  def program(nn):
    class Twice(nn.Module):
      @nn.compact
      def __call__(self, x):
        first, second = nn.Dense(4, name="first"), nn.Dense(4, name="second")
        return nn.jit(lambda first, x, second: second(first(x)))(first, x, second)

    return Twice().init_with_output(KEY, X)

  assert shown(same(program)) == ((3, 4), {"params": {"first": DENSE, "second": DENSE}})
