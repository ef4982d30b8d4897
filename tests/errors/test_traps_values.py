"""Traps of values: sown onto what was passed in, decoded past the cache, looked up outside of a table, misspelt.

Each mistake is warned of, with the line and a mend that ends the warning; programs that look like it and are right
are not, under `jit`, `vmap` and `scan` either.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mistakes
import numpy as np
import pytest
from mistakes import Case, run

import minilinen as nn
from minilinen import core, errors

KEY = jax.random.key(0)
X = jnp.ones((2, 3))
IMAGE = jnp.ones((2, 8, 6, 3))
CASES: list[Case] = []
SILENT: list[Callable[[], Any]] = []
warns = functools.partial(mistakes.raises, CASES)


def silent(program: Callable[[], Any]) -> Callable[[], Any]:
  """Registers a program in which nothing is wrong."""
  SILENT.append(program)
  return program


# What an earlier run sowed is passed in again.


class Sower(nn.Module):
  col: str = "intermediates"

  @nn.compact
  def __call__(self, x: Any) -> Any:
    self.sow(self.col, "h", x)
    return x


SAYS = """\
'/' sows 'h' onto what was passed in: the tuple of collection 'intermediates'
  grows with every run that gets the one before, and jax.jit compiles each anew.
  module  /
  line    `self.sow(self.col, "h", x)`
  expects variables without 'intermediates'
  found   1 value in 'h' when the run began
  right   {k: v for k, v in variables.items() if k != "intermediates"}
  mend    or sow so that one value is kept: reduce_fn=lambda old, new: new,
          init_fn=lambda: None."""


@warns(errors.FedBackWarning, SAYS)
def sown_and_passed_in_again() -> Any:
  _, variables = Sower().apply({}, X, mutable=["intermediates"])
  Sower().apply(variables, X, mutable=["intermediates"])


@warns(errors.FedBackWarning, SAYS)
def sown_and_passed_in_again_under_jit() -> Any:
  step = jax.jit(lambda variables: Sower().apply(variables, X, mutable=["intermediates"])[1])
  step(step({}))


@warns(
  errors.FedBackWarning,
  """\
'/' sows 'h' onto what was passed in: the tuple of collection 'losses' grows
  with every run that gets the one before, and jax.jit compiles each anew.
"""
  + SAYS.replace("intermediates", "losses").split("anew.\n")[1],
)
def what_init_sowed_is_passed_to_apply() -> Any:
  variables = Sower("losses").init(KEY, X)
  Sower("losses").apply(variables, X, mutable=["losses"])


@warns(
  errors.FedBackWarning,
  """\
'/Loop/cell' sows 'h' onto what was passed in: the tuple of collection
  'intermediates' grows with every run that gets the one before, and jax.jit
  compiles each anew.
  module  /Loop/cell
"""
  + SAYS.split("module  /\n")[1],
)
def sown_in_a_scan() -> Any:
  class Cell(nn.Module):
    @nn.compact
    def __call__(self, x: Any, _: Any) -> Any:
      return Sower(name="cell")(x), None

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return nn.scan(Cell, variable_axes={"intermediates": 0}, length=2)(name="Loop")(x, None)

  _, variables = Net().apply({}, X, mutable=["intermediates"])
  Net().apply(variables, X, mutable=["intermediates"])


@silent
def sown_and_left_out() -> Any:
  variables: Any = {"params": {}}
  for _ in range(3):
    _, updates = Sower().apply(variables, X, mutable=["intermediates"])
    variables = {k: v for k, v in {**variables, **updates}.items() if k != "intermediates"}


@silent
def sown_so_that_one_value_is_kept() -> Any:
  class Keeps(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      self.sow("intermediates", "h", x, reduce_fn=lambda old, new: new, init_fn=lambda: None)
      return x

  variables: Any = {}
  for _ in range(3):
    _, variables = Keeps().apply(variables, X, mutable=["intermediates"])
  assert variables["intermediates"]["h"].shape == X.shape


@silent
def sown_to_be_added_up_over_runs() -> Any:
  class Counts(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      self.sow("counts", "n", 1, reduce_fn=lambda old, new: old + new, init_fn=lambda: 0)
      return x

  variables: Any = {}
  for _ in range(3):
    _, variables = Counts().apply(variables, X, mutable=["counts"])
  assert variables["counts"]["n"] == 3


@silent
def sown_by_several_calls_of_one_run() -> Any:
  class Net(nn.Module):
    def setup(self) -> None:
      self.sower = Sower()

    def __call__(self, x: Any) -> Any:
      return self.sower(self.sower(x))

  for transform in (lambda run: run, jax.jit, jax.vmap, nn.jit):
    if transform is nn.jit:
      _, out = nn.jit(Net)().apply({}, X, mutable=["intermediates"])
    else:
      _, out = transform(lambda x: Net().apply({"intermediates": {}}, x, mutable=["intermediates"]))(X)
    assert len(out["intermediates"]["sower"]["h"]) == 2


@silent
def sown_by_a_bound_module_that_is_called_twice() -> Any:
  bound = Sower().bind({}, mutable=["intermediates"])
  bound(X)
  bound(X)
  assert len(bound.variables["intermediates"]["h"]) == 2


@silent
def sown_variables_that_may_not_be_written() -> Any:
  _, variables = Sower().apply({}, X, mutable=["intermediates"])
  Sower().apply(variables, X)
  Sower().apply(variables, X, mutable=["batch_stats"])


@silent
def sown_in_all_steps_of_a_scan() -> Any:
  class Cell(nn.Module):
    @nn.compact
    def __call__(self, x: Any, _: Any) -> Any:
      return Sower(name="cell")(Sower(name="first")(x)), None

  loop = nn.scan(Cell, variable_axes={"intermediates": 0}, length=2)()
  for _ in range(2):
    loop.apply({}, X, None, mutable=["intermediates"])


# Positions past the end of a cache.


@warns(
  errors.FullCacheWarning,
  """\
MultiHeadDotProductAttention in '/' decodes position 2, counted from 0, and its
  cache has 2 places: one that is taken is overwritten, and the result is wrong.
  module  /
  line    `_, updates = model.apply({**variables, **cache}, x[:, :1], mutable=["cache"])`
  expects at most 2 positions
  right   cache = model.init(key, x)["cache"]
  mend    for an x as long as what is decoded: init makes the cache of its
          length.
          Such a cache also begins anew.""",
)
def decoded_past_the_end() -> Any:
  decode(places=2, steps=3)


def decode(places: int, steps: int, how: Callable[..., Any] = lambda step: step) -> Any:
  """Decodes some steps with a cache of some places, with each step as `how` runs it."""
  model = nn.MultiHeadDotProductAttention(num_heads=2, decode=True)
  x = jax.random.normal(KEY, (1, places, 4))
  variables = model.init(KEY, x)
  cache = {"cache": variables["cache"]}

  def step(cache: Any, x: Any) -> Any:
    _, updates = model.apply({**variables, **cache}, x[:, :1], mutable=["cache"])
    return updates

  step = how(step)
  for _ in range(steps):
    cache = step(cache, x)
  return cache


@warns(
  errors.FullCacheWarning,
  """\
attention in '/' decodes position 2, counted from 0, and its cache has 2 places:
  one that is taken is overwritten, and the result is wrong.
  module  /
  line    `return core.nn.multi_head_dot_product_attention(scope, x, x, num_heads=2, causal_mask=True, cache=True)`
  expects at most 2 positions
  mend    make the cache longer; to begin anew, make it again: entry((batch,
          length)) for each entry of init.""",
)
def decoded_past_the_end_by_a_function() -> Any:
  decode_by_function(3)


def decode_by_function(steps: int) -> None:
  x = jax.random.normal(KEY, (1, 2, 4))

  def attend(scope: core.Scope, x: Any) -> Any:
    return core.nn.multi_head_dot_product_attention(scope, x, x, num_heads=2, causal_mask=True, cache=True)

  _, variables = core.init(attend)(KEY, x)
  cache = {"cache": jax.tree.map(lambda entry: entry((1, 2)), variables["cache"])}
  for _ in range(steps):
    _, updates = core.apply(attend, mutable=["cache"])({**variables, **cache}, x[:, :1])
    cache = updates


@silent
def decoded_to_the_end() -> Any:
  assert decode(places=3, steps=3)["cache"]["cache_index"] == 3
  decode_by_function(2)


@silent
def decoded_where_jax_traces_and_nobody_knows_the_position() -> Any:
  decode(places=2, steps=2, how=jax.jit)
  jax.eval_shape(lambda: decode(places=2, steps=4))


@silent
def a_full_cache_is_only_handed_on() -> Any:
  """What is not decoded any more is not past the end."""
  cache = decode(places=2, steps=2)
  assert cache["cache"]["cache_index"] == 2
  decode(places=2, steps=1)


@silent
def decoded_in_a_scan_and_for_each_element() -> Any:
  model = nn.MultiHeadDotProductAttention(num_heads=2, decode=True)
  x = jax.random.normal(KEY, (1, 3, 4))
  variables = model.init(KEY, x)

  def step(cache: Any, x: Any) -> Any:
    y, updates = model.apply({**variables, "cache": cache}, x[:, None], mutable=["cache"])
    return updates["cache"], y

  jax.lax.scan(step, variables["cache"], x.swapaxes(0, 1))
  jax.vmap(lambda x: jax.lax.scan(step, variables["cache"], x.swapaxes(0, 1)))(x[None])


# Numbers outside of an embedding.


@warns(
  errors.IdsOutsideWarning,
  """\
Embed in '/' is asked for number 5, and has vectors for 0 to 4: it gives NaN.
  module  /
  line    `return nn.Embed(5, 3).init(KEY, jnp.array([0, 5]))`
  expects numbers from 0 to 4
  right   num_embeddings=6 or more
  mend    or look up ids that the table has: the largest that occurs is one less
          than num_embeddings.""",
)
def ids_from_one() -> Any:
  return nn.Embed(5, 3).init(KEY, jnp.array([0, 5]))


@warns(
  errors.IdsOutsideWarning,
  """\
Embed in '/words' is asked for number -100, and has vectors for 0 to 4: it gives
  NaN.
  module  /words
  line    `return nn.Embed(5, 3, name="words")(np.array([[1, -100]]))`
  expects numbers from 0 to 4
  mend    negative numbers count from the end.
          Look up ids that the table has, and mask what comes of padding.""",
)
def constant_ids_of_a_function_that_is_traced() -> Any:
  class Net(nn.Module):
    @nn.compact
    def __call__(self) -> Any:
      return nn.Embed(5, 3, name="words")(np.array([[1, -100]]))

  return jax.jit(Net().init)(KEY)


@warns(
  errors.IdsOutsideWarning,
  """\
an Embedding is asked for number 3, and has vectors for 0 to 2: it gives the
  vector at the nearer end.
  line    `return core.init(lambda scope: core.nn.embedding(scope, 3, 4).lookup(jnp.array(3)))(KEY)`
  expects numbers from 0 to 2
  right   num_embeddings=4 or more
  mend    or look up ids that the table has: the largest that occurs is one less
          than num_embeddings.""",
)
def ids_of_a_function() -> Any:
  return core.init(lambda scope: core.nn.embedding(scope, 3, 4).lookup(jnp.array(3)))(KEY)


@silent
def ids_that_the_table_has() -> Any:
  model = nn.Embed(5, 3)
  variables = model.init(KEY, jnp.array([0, 4]))
  model.apply(variables, jnp.arange(5, dtype=jnp.uint8))
  model.apply(variables, jnp.array([[4], [0]]))
  model.apply(variables, jnp.zeros((0,), "int32"))


@silent
def ids_counted_from_the_end() -> Any:
  nn.Embed(5, 3).init(KEY, jnp.array([-1, -5]))


@silent
def ids_that_nobody_knows_yet() -> Any:
  model = nn.Embed(5, 3)
  variables = model.init(KEY, jnp.array([0]))
  jax.jit(model.apply)(variables, jnp.array([4]))
  jax.lax.scan(lambda c, i: (c, model.apply(variables, i)), 0, jnp.arange(5))
  jax.vmap(lambda i: model.apply(variables, i))(jnp.arange(5))


# One number for the size of a kernel.


@pytest.mark.parametrize("layer", ["Conv", "ConvTranspose", "ConvLocal"])
def test_a_kernel_of_one_number_on_an_image(layer: str) -> None:
  with pytest.warns(errors.KernelSizeWarning) as caught:
    getattr(nn, layer)(4, 3).init(KEY, IMAGE)
  said = caught[0].message
  assert isinstance(said, errors.KernelSizeWarning)
  assert said.message.startswith(
    f"{layer} in '/' slides over the axis before the last alone: kernel_size=3 is (3,)"
  )
  assert "(2, 8, 6, 3)" in said.message and "kernel_size=(3, 3)" in said.mend


@warns(
  errors.KernelSizeWarning,
  """\
Conv in '/' slides over the axis before the last alone: kernel_size=3 is (3,),
  and in the input (2, 8, 6, 3) the axes before are batch axes.
  module  /
  line    `return nn.Conv(4, 3).init(KEY, IMAGE)`
  expects a size for each axis that the kernel slides over
  found   kernel_size=3, so a kernel of the shape (3, 3, 4)
  right   kernel_size=(3, 3)
  mend    for a kernel that slides over one axis, as here, write (3,).""",
)
def a_kernel_of_one_number() -> Any:
  return nn.Conv(4, 3).init(KEY, IMAGE)


@silent
def kernels_with_a_number_for_each_axis() -> Any:
  nn.Conv(4, (3, 3)).init(KEY, IMAGE)
  nn.Conv(4, [3, 3]).init(KEY, IMAGE)
  nn.ConvTranspose(4, (3, 3)).init(KEY, IMAGE)


@silent
def kernels_that_slide_over_one_axis() -> Any:
  nn.Conv(4, 3).init(KEY, jnp.ones((2, 8, 3)))
  nn.Conv(4, 3).init(KEY, jnp.ones((8, 3)))
  nn.Conv(4, (3,)).init(KEY, IMAGE)
  nn.Conv(4, (3,)).init(KEY, jnp.ones((2, 2, 8, 6, 3)))


@silent
def kernels_under_transforms() -> Any:
  variables = nn.Conv(4, 3).init(KEY, jnp.ones((2, 8, 3)))
  jax.jit(nn.Conv(4, 3).apply)(variables, jnp.ones((2, 8, 3)))
  jax.vmap(lambda x: nn.Conv(4, 3).apply(variables, x))(IMAGE)
  nn.vmap(nn.Conv, variable_axes={"params": None}, split_rngs={"params": False})(4, 3).init(KEY, IMAGE)


# A layer in the place of what it computes.


@warns(
  errors.ReturnedLayerWarning,
  """\
Net.__call__ returns the layer Dense itself, and not what it computes.
  line    `return Net().init(KEY, X)`
  expects a result of arrays
  found   Dense, which was not called
  wrong   return nn.Dense(...)
  right   return nn.Dense(...)(x)
  mend    a method of another name may give a submodule:
          model.bind(variables).encoder.""",
)
def a_layer_is_returned() -> Any:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return nn.Dense(4)

  return Net().init(KEY, X)


@silent
def layers_that_other_methods_give() -> Any:
  class Net(nn.Module):
    def setup(self) -> None:
      self.encoder = nn.Dense(3)

    def layer(self) -> nn.Module:
      return self.encoder

    def __call__(self, x: Any) -> Any:
      return self.layer()(x)

  variables = Net().init(KEY, X)
  Net().apply(variables, method="layer")
  Net().apply(variables, method=lambda net: net.encoder)
  Net().bind(variables).layer()(X)


@silent
def layers_that_a_submodule_gives_to_be_called() -> Any:
  class Chooses(nn.Module):
    def __call__(self, x: Any) -> nn.Module:
      return nn.Dense(3, parent=None)

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return Chooses()(x).clone(parent=self)(x)

  Net().init(KEY, X)


@silent
def layers_that_are_called() -> Any:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return nn.Sequential([nn.Dense(4), nn.relu])(x)

  jax.jit(Net().init)(KEY, X)
  nn.vmap(Net, variable_axes={"params": None}, split_rngs={"params": False})().init(KEY, X)


# A collection that is misspelt.


@warns(
  errors.MisspeltCollectionWarning,
  """\
mutable= names the collection 'intermediate', in which there is nothing: is
  'intermediates' meant?
Something was sown into that, and is not kept.
  line    `return Sower().apply({}, X, mutable=["intermediate", "cache"])`
  expects a collection of the model's
  found   'intermediate'
  right   mutable=['cache', 'intermediates']""",
)
def a_misspelt_collection_is_sown_into() -> Any:
  return Sower().apply({}, X, mutable=["intermediate", "cache"])


@warns(
  errors.MisspeltCollectionWarning,
  """\
mutable= names the collection 'batch_stat', in which there is nothing: is
  'batch_stats' meant?
  line    `return jax.jit(lambda v: model.apply(v, X, mutable="batch_stat"))(variables)`
  expects a collection of the model's
  found   'batch_stat'
  right   mutable=['batch_stats']""",
)
def a_misspelt_collection_that_is_passed() -> Any:
  model = nn.BatchNorm(use_running_average=True)
  variables = model.init(KEY, X)
  return jax.jit(lambda v: model.apply(v, X, mutable="batch_stat"))(variables)


@silent
def collections_that_a_model_may_not_have() -> Any:
  for mutable in (["batch_stats", "intermediates", "cache"], True, nn.DenyList("params"), "losses"):
    Sower().apply({}, X, mutable=mutable)


@silent
def collections_with_names_that_are_alike() -> Any:
  for col, mutable in (
    ("losses", ["losses_2"]),
    ("losses_2", ["losses", "losses_2"]),
    ("stats", ["batch_stats"]),
  ):
    variables: Any = {"losses_2": {"h": X}, "stats": {"h": X}}
    Sower(col).apply({c: v for c, v in variables.items() if c != col}, X, mutable=mutable)


@silent
def collections_behind_boundaries() -> Any:
  net = nn.vmap(Sower, variable_axes={"intermediates": 0})()
  _, out = jax.jit(lambda x: net.apply({}, x, mutable=["intermediates"]))(X)
  assert out["intermediates"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2].__name__)
def test_message(case: Case) -> None:
  run(case)


@pytest.mark.parametrize("program", SILENT, ids=lambda program: program.__name__)
def test_harmless(program: Callable[[], Any]) -> None:
  with warnings.catch_warnings():
    warnings.simplefilter("error", errors.MinilinenWarning)
    program()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2].__name__)
def test_a_trace_has_what_was_warned_of(case: Case) -> None:
  """And it is a warning there, not a hint."""
  with warnings.catch_warnings(), nn.record() as trace:
    warnings.simplefilter("ignore")
    case[2]()
  assert {finding.kind for finding in trace.check().warnings} == {case[0].__name__}
