"""How often Python runs the body of a jitted module: never more often than in Flax, whatever stands around it."""

from __future__ import annotations

from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
import pytest

import minilinen

pytestmark = pytest.mark.grid

X = jnp.ones((2, 3))
BROADCAST: Any = {
  "variable_broadcast": "params",
  "split_rngs": {"params": False, "dropout": True},
  "length": 3,
}
STACKED: Any = {"variable_axes": {"params": 0}, "split_rngs": {"params": True, "dropout": True}, "length": 3}
MAPPED: Any = {
  "variable_axes": {"params": 0},
  "split_rngs": {"params": True, "dropout": True},
  "axis_size": 3,
}


def programs(nn: Any, runs: list[str], rate: float) -> dict[str, Any]:
  """Modules that run a jitted one, by name; each run of its body is noted in `runs`."""

  class Block(nn.Module):
    @nn.compact
    def __call__(self, x: Any, _: Any = None) -> Any:
      runs.append("block")
      x = nn.Dense(3)(x)
      if rate:
        x = nn.Dropout(rate, deterministic=False)(x)
      return x, None

  def net(body: Any) -> Any:
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x: Any) -> Any:
        return body(self, x)

    return Net()

  def chain(*layers: Any) -> Any:
    return lambda self, x: [x := layer()(x, None)[0] for layer in layers][-1]

  def shared(lifted: Any, times: int = 3) -> Any:
    def body(self: Any, x: Any) -> Any:
      layer = lifted()
      for _ in range(times):
        x = layer(x, None)[0]
      return x

    return body

  jitted = nn.jit(Block)
  return {
    "one": net(chain(jitted)),
    "three": net(chain(jitted, jitted, jitted)),
    "one shared": net(shared(jitted)),
    "jit of jit": net(chain(nn.jit(jitted))),
    "jit of scan": net(chain(nn.jit(nn.scan(Block, **BROADCAST)))),
    "jit of stacked scan": net(chain(nn.jit(nn.scan(Block, **STACKED)))),
    "scan of jit": net(chain(nn.scan(jitted, **BROADCAST))),
    "stacked scan of jit": net(chain(nn.scan(jitted, **STACKED))),
    "shared jit of scan": net(shared(nn.jit(nn.scan(Block, **BROADCAST)))),
    "shared scan of jit": net(shared(nn.scan(jitted, **BROADCAST))),
    "vmap of jit": net(chain(nn.vmap(jitted, in_axes=(None, None), **MAPPED))),
    "jit of vmap": net(chain(nn.jit(nn.vmap(Block, in_axes=(None, None), **MAPPED)))),
    "remat of jit": net(chain(nn.remat(jitted))),
    "jit of remat": net(shared(nn.jit(nn.remat(Block)))),
    "jit of the whole": nn.jit(type(net(shared(Block))))(),
  }


NAMES = list(programs(minilinen, [], 0.0))
AROUND = ["init", "apply three times", "grad"]


def counted(nn: Any, name: str, around: str, rate: float) -> int:
  runs: list[str] = []
  module = programs(nn, runs, rate)[name]
  keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
  variables = module.init(keys, X)
  if around == "init":
    return len(runs)
  runs.clear()

  def f(v: Any) -> Any:
    return module.apply(v, X, rngs={"dropout": keys["dropout"]} if rate else None).sum()

  if around == "grad":
    jax.grad(f)(variables)
  else:
    for _ in range(3):
      f(variables)
  return len(runs)


@pytest.mark.parametrize("rate", [0.0, 0.5])
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("name", NAMES)
def test_bodies_run_no_more_often_than_in_flax(name: str, around: str, rate: float) -> None:
  # Random numbers are those without jit, so equal modules that draw have each a body of its own; where keys are folded
  # at the boundary, as Flax does, they share one.
  folds = name == "three" and (around == "init" or rate > 0)
  with minilinen.config.temp_flip_flag("jit_folds_rngs", folds):
    ours = counted(minilinen, name, around, rate)
  theirs = counted(flax.linen, name, around, rate)
  assert 0 < ours <= theirs or ours == theirs == 0
