"""`remat_scan`, `fold_rngs`, `add_metadata_axis`, and lifts inside each other, against Flax to the bit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from oracle import KEY, KEY2, X, as_flax, core, raises_as_flax, same, same_model, shown

import minilinen
from minilinen.tracing import Passing

pytestmark = pytest.mark.grid

STREAMS = ("params", "dropout")


@pytest.mark.parametrize("lengths", [(2,), (2, 3), (2, 1, 2)])
def test_remat_scan(lengths):
  found = same_model(lambda nn: nn.remat_scan(nn.Dense, lengths=lengths)(4), X)
  assert shown(found["variables"]) == {"params": {"kernel": (*lengths, 4, 4), "bias": (*lengths, 4)}}


def test_remat_scan_design():
  Deep = minilinen.remat_scan(minilinen.Dense, lengths=(2, 3))
  variables = Deep(4).init(KEY, X)
  assert jax.tree.map(jnp.shape, variables.unfreeze()) == {
    "params": {"kernel": (2, 3, 4, 4), "bias": (2, 3, 4)}
  }
  trace = minilinen.trace(Deep(4).apply)(variables, X)
  assert [(lift.kind, lift.length) for lift in trace.lifts] == [("scan", 2), ("remat", None), ("scan", 3)]


OPTIONS = [
  {"policy": jax.checkpoint_policies.everything_saveable},
  {"variable_broadcast": "params", "variable_axes": {}, "split_rngs": {"params": False, "dropout": True}},
  {"variable_axes": {"params": 1}, "split_rngs": {"params": True, "dropout": False}},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options)))
def test_remat_scan_options(options):
  def build(nn):
    class Block(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dropout(0.5, deterministic=False)(nn.Dense(4)(x))

    return nn.remat_scan(Block, lengths=(2, 2), **options)()

  found = same_model(build, X, streams=STREAMS)
  kernel = {"policy": (2, 2, 4, 4), "variable_broadcast": (4, 4), "variable_axes": (4, 2, 2, 4)}
  assert found["variables"]["params"]["Dense_0"]["kernel"].shape == kernel[next(iter(options))]


@as_flax(((3, 4), {"state": {"count": 6}}))
def test_remat_scan_carries(nn):
  class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
      count = self.variable("state", "count", lambda: jnp.zeros(()))
      count.value = count.value + 1
      return nn.Dense(4)(x)

  deep = nn.remat_scan(Block, lengths=(2, 3), variable_carry="state", variable_axes={"params": 0})()
  params = {"Dense_0": {"kernel": jnp.ones((2, 3, 4, 4)), "bias": jnp.zeros((2, 3, 4))}}
  return deep.apply({"params": params, "state": {"count": jnp.zeros(())}}, X, mutable=["state"])


def test_no_lengths():
  with pytest.raises(ValueError, match="remat_scan of Dense needs at least one length"):
    minilinen.remat_scan(minilinen.Dense)(4).init(KEY, X)


def noisy(nn):
  class Noisy(nn.Module):
    @nn.compact
    def __call__(self, x):
      x = nn.Dense(4)(x)
      return x + jax.random.normal(self.make_rng("dropout"), x.shape)

  return Noisy


@pytest.mark.parametrize("options", [{}, {"rngs": ["params", "dropout"]}, {"variables": "params"}], ids=str)
def test_fold_rngs(options):
  def build(nn):
    Folded = nn.fold_rngs(noisy(nn), **options)

    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return Folded()(Folded()(x)) + jax.random.normal(self.make_rng("dropout"), (4,))

    return Net()

  layer = {"Dense_0": {"kernel": (4, 4), "bias": (4,)}}
  found = same_model(build, X, streams=STREAMS)
  assert shown(found["variables"]) == {"params": {"Fold_rngsNoisy_0": layer, "Fold_rngsNoisy_1": layer}}


def test_folded_keys_are_replayed():
  net = minilinen.fold_rngs(noisy(minilinen))()
  keys = {"params": KEY, "dropout": KEY2}
  with minilinen.record() as trace:
    net.init(keys, X)
  (lift,) = trace.lifts
  assert lift.kind == "fold_rngs" and lift.streams == (Passing(all_but=True, kind="folded"),)
  drawn = [minilinen.replay_key(event, keys) for event in trace.events(minilinen.events.Key)]
  assert len({tuple(map(int, key)) for key in drawn}) == len(drawn)


AXES = [
  ({"params": 0}, (("layers", "in", "out"), ("a", "b"))),
  ({"params": 1}, (("in", "layers", "out"), ("a", "b"))),
  ({"params": 0, "state": 1}, (("layers", "in", "out"), ("a", "layers", "b"))),
]


@pytest.mark.parametrize("axes, names", AXES, ids=[str(axes) for axes, _ in AXES])
def test_add_metadata_axis(axes, names):
  def build(nn):
    class Boxed(nn.Module):
      @nn.compact
      def __call__(self, x):
        init = nn.with_partitioning(nn.initializers.lecun_normal(), ("in", "out"))
        self.variable("state", "s", nn.with_partitioning(jnp.ones, ("a", "b")), (2, 2))
        return nn.Dense(4, kernel_init=init)(x)

    return nn.add_metadata_axis(Boxed, variable_axes=axes, metadata_params={nn.PARTITION_NAME: "layers"})()

  def program(nn):
    model = build(nn)
    variables = model.init(KEY, X)
    return variables, model.apply(variables, X), model.apply(variables, X, mutable=["state"])

  variables = same(program)[0]
  kernel, state = variables["params"]["Dense_0"]["kernel"], variables["state"]["s"]
  assert (kernel.names, state.names) == names


@as_flax(((3, 4), {"params": {"deep": {"layer": {"w": (2, 2, 4, 4)}}}}))
def test_remat_scan_of_the_core(nn):
  def block(scope, x):
    return scope.child(lambda s, x: x @ s.param("w", jax.nn.initializers.normal(), (4, 4)), "layer")(x)

  def f(scope, x):
    return scope.child(core(nn).lift.remat_scan(block, (2, 2)), "deep")(x)

  return core(nn).init(f)(KEY, X)


def test_fold_rngs_of_the_core():
  def draw(scope):
    return scope.make_rng("params")

  def f(scope):
    return scope.child(draw, "a")(), scope.child(minilinen.core.lift.fold_rngs(draw), "a2")()

  plain, folded = minilinen.core.apply(f)({}, rngs={"params": KEY})
  assert (plain != folded).any()


@as_flax(((2.0, 1.0), {"one": {"n": 1.0}, "two": {"n": 7.0}}))
def test_swap_collection_of_the_core(nn):
  """Both names are another's inside: what is read, and what is written."""

  def f(scope):
    seen = scope.get_variable("one", "n"), scope.get_variable("two", "n")
    scope.put_variable("one", "n", 7.0)
    return seen

  lib = core(nn)
  swapped = lib.apply(lib.lift.swap_collection(f, "one", "two"), mutable=["one", "two"])
  return swapped({"one": {"n": 1.0}, "two": {"n": 2.0}})


def mixed(nn, order):
  """A layer lifted by several transforms, one around the other."""

  class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
      x = nn.Dropout(0.5, deterministic=False)(nn.Dense(4)(x))
      if not self.is_initializing():
        x = nn.cond(x.sum() > 0, lambda net, x: net.scaled(x), lambda net, x: 2.0 * net.scaled(x), self, x)
      else:
        x = self.scaled(x)
      return nn.grad(lambda net, x: jnp.sum(jnp.sin(net.scaled(x))), self, x)[0]

    def scaled(self, x):
      return x * self.get_variable("params", "Dense_0")["bias"].sum() + x

  lifted = Block
  for kind in order:
    lifted = {
      "remat": lambda b: nn.remat(b),
      "jit": lambda b: nn.jit(b),
      "fold_rngs": lambda b: nn.fold_rngs(b),
      "remat_scan": lambda b: nn.remat_scan(b, lengths=(2,)),
      "vmap": lambda b: nn.vmap(b, variable_axes={"params": 0}, split_rngs={"params": True, "dropout": True}),
    }[kind](lifted)
  return lifted()


# Lifts, from the inside out, and the axes that they give a parameter.
ORDERS = {
  ("remat", "remat_scan"): (2,),
  ("jit", "vmap"): (3,),
  ("fold_rngs", "remat"): (),
  ("vmap", "remat_scan"): (2, 3),
  ("remat_scan", "jit"): (2,),
}


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_lifts_in_lifts(order):
  found = same_model(lambda nn: mixed(nn, order), X, streams=STREAMS)
  axes = ORDERS[order]
  assert shown(found["variables"]) == {"params": {"Dense_0": {"kernel": (*axes, 4, 4), "bias": (*axes, 4)}}}


def scopes_of(fn, *args):
  return [(e.primitive.name, str(e.source_info.name_stack)) for e in jax.make_jaxpr(fn)(*args).eqns]


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("force", [True, False])
def test_named_call(on, force):
  def program(nn):
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return self.part(nn.Dense(2)(x))

      def part(self, x):
        return jnp.sin(x)

      part = nn.named_call(part, force=force)

    variables = Net().init(KEY, X)
    with nn.override_named_call(on):
      return scopes_of(Net().apply, variables, X)

  found = same(program)
  layer = "Net/Dense_0" if on else ""
  part = "Net/Net.part/Net.part" if on else "Net.part" if force else ""
  assert found == [("dot_general", layer), ("reshape", layer), ("add", layer), ("sin", part)]


@raises_as_flax("NotImplementedError")
def test_remat_is_never_concrete(nn):
  return nn.remat(nn.Dense, concrete=True)(3).init(KEY, X)
