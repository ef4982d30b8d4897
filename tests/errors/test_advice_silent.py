"""The advice about what raises nothing: values sown again, full caches, ids, kernels of one number, layers returned."""

from __future__ import annotations

import pytest
from situations import Advice

from minilinen import errors

pytestmark = pytest.mark.grid

SOWER = """
class Net(nn.Module):
  @nn.compact
  def __call__(self, x):
    self.sow("intermediates", "h", x{how})
    return x
"""
KEPT = ", reduce_fn=lambda old, new: new, init_fn=lambda: None"
STEPS = """
variables = {}
for _ in range(2):
  _, variables = Net().apply(variables, x, mutable=["intermediates"])
"""
DECODER = """
model = nn.MultiHeadDotProductAttention(num_heads=1, decode=True)
variables = model.init(key, jnp.ones((1, 2, 4)))
cache = model.init(key, jnp.ones((1, {places}, 4)))["cache"]
for _ in range(3):
  _, updates = model.apply({{"params": variables["params"], "cache": cache}}, jnp.ones((1, 1, 4)), mutable=["cache"])
  cache = updates["cache"]
"""
MASKED = """
model = nn.Embed({size}, 4)
ids = jnp.array([[1, 2, 3]])
model.apply(model.init(key, jnp.array([[0]])), ids)
"""
ROOT = """
class Net(nn.Module):
  @nn.compact
  def __call__(self, x):
    return {returned}
Net().init(key, x)
"""
SOWN = SOWER.format(how="") + "Net().apply({{}}, x, mutable={mutable})"

ADVICE = [
  # Sown onto what was passed in.
  Advice(
    errors.FedBackWarning,
    SOWER.format(how="") + STEPS,
    ["sows 'h' onto what was passed in", "found 1 value in 'h'", "reduce_fn=lambda old, new: new"],
    ("2 values",),
    SOWER.format(how=KEPT) + STEPS,
  ),
  Advice(
    errors.FedBackWarning,
    SOWER.format(how="")
    + """
_, variables = Net().apply({}, x, mutable=["intermediates"])
Net().apply(variables, x, mutable=["intermediates"])
""",
    ['right {k: v for k, v in variables.items() if k != "intermediates"}'],
    (),
    SOWER.format(how="")
    + """
_, variables = Net().apply({}, x, mutable=["intermediates"])
variables = {k: v for k, v in variables.items() if k != "intermediates"}
Net().apply(variables, x, mutable=["intermediates"])
""",
  ),
  Advice(
    errors.FedBackWarning,
    """
    model = nn.Sequential([nn.Dense(3), nn.Dense(3)])
    variables = model.init(key, x)
    for _ in range(2):
      _, updates = model.apply(variables, x, capture_intermediates=True)
      variables = {**variables, **updates}
    """,
    ["'/layers_0' sows '__call__' onto what was passed in"],
    (),
    """
    model = nn.Sequential([nn.Dense(3), nn.Dense(3)])
    variables = model.init(key, x)
    for _ in range(2):
      _, updates = model.apply(variables, x, capture_intermediates=True)
      variables = {k: v for k, v in {**variables, **updates}.items() if k != "intermediates"}
    """,
  ),
  # Decoded past the end.
  Advice(
    errors.FullCacheWarning,
    DECODER.format(places=2),
    ["decodes position 2, counted from 0", "has 2 places", "as long as what is decoded"],
    ("entry(",),
    DECODER.format(places=3),
  ),
  # Ids outside.
  Advice(
    errors.IdsOutsideWarning,
    MASKED.format(size=3),
    ["number 3, and has vectors for 0 to 2", "it gives NaN", "num_embeddings=4 or more"],
    ("padding",),
    MASKED.format(size=4),
  ),
  Advice(
    errors.IdsOutsideWarning,
    "nn.Embed(1, 4).init(key, jnp.array([1]))",
    ["it gives its only vector"],
    ("NaN",),
    "nn.Embed(2, 4).init(key, jnp.array([1]))",
  ),
  # A kernel of one number.
  Advice(
    errors.KernelSizeWarning,
    "nn.Conv(8, kernel_size=3).init(key, jnp.ones((1, 9, 8, 3)))",
    ["kernel_size=3 is (3,)", "right kernel_size=(3, 3)", "a kernel of the shape (3, 3, 8)"],
    (),
    "nn.Conv(8, kernel_size=(3, 3)).init(key, jnp.ones((1, 9, 8, 3)))",
  ),
  Advice(
    errors.KernelSizeWarning,
    "nn.ConvTranspose(8, 4).init(key, jnp.ones((1, 5, 9, 8, 3)))",
    ["ConvTranspose in '/'", "right kernel_size=(4, 4, 4)", "write (4,)"],
    (),
    "nn.ConvTranspose(8, (4,)).init(key, jnp.ones((1, 5, 9, 8, 3)))",
  ),
  # A layer in the place of its output.
  Advice(
    errors.DeprecatedWarning,
    "nn.SelfAttention(1).init(key, x)",
    ["SelfAttention will be deprecated", "nn.MultiHeadDotProductAttention(...)(x)"],
    mended="nn.MultiHeadDotProductAttention(1).init(key, x)",
  ),
  Advice(
    errors.DeprecatedWarning,
    "nn.MultiHeadDotProductAttention(1).init(key, x, inputs_kv=x)",
    ["inputs_kv of MultiHeadDotProductAttention", "inputs_k=..."],
    mended="nn.MultiHeadDotProductAttention(1).init(key, x, inputs_k=x)",
  ),
  Advice(
    errors.DeprecatedWarning,
    "nn.Dense(3, dot_general_cls=nn.Fp8DotGeneralOp).init(key, x)",
    ["Fp8DotGeneralOp will be deprecated", "nn.Fp8DirectDotGeneralOp"],
    mended="nn.Dense(3, dot_general_cls=nn.Fp8DirectDotGeneralOp).init(key, x)",
  ),
  Advice(
    errors.ReturnedLayerWarning,
    ROOT.format(returned="nn.Dense(4)"),
    ["Net.__call__ returns the layer Dense itself", "right return nn.Dense(...)(x)"],
    (),
    ROOT.format(returned="nn.Dense(4)(x)"),
  ),
  Advice(
    errors.ReturnedLayerWarning,
    "class Head(nn.Module):\n  @nn.compact\n  def __call__(self, x):\n    return nn.Dense(4)(x)\n"
    + ROOT.format(returned="Head(name='head')"),
    ["returns the layer Head itself", "right return Head(...)(x)"],
    ("nn.Head",),
    "class Head(nn.Module):\n  @nn.compact\n  def __call__(self, x):\n    return nn.Dense(4)(x)\n"
    + ROOT.format(returned="Head(name='head')(x)"),
  ),
  # A collection that is misspelt.
  Advice(
    errors.MisspeltCollectionWarning,
    SOWN.format(mutable="['intermidiates']"),
    ["is 'intermediates' meant?", "Something was sown into that, and is not kept."],
    (),
    SOWN.format(mutable="['intermediates']"),
  ),
  # Keys that several runs draw.
  Advice(
    errors.SameKeyHint,
    """
    model = nn.Dropout(0.5, deterministic=False)
    with nn.record() as trace:
      for step in range(2):
        model.apply({}, x, rngs={"dropout": key})
    found = trace.check()
    """,
    ["2 runs of Dropout draw the same keys of the stream 'dropout'", "jax.random.fold_in(key, step)"],
    (),
    """
    model = nn.Dropout(0.5, deterministic=False)
    with nn.record() as trace:
      for step in range(2):
        model.apply({}, x, rngs={"dropout": jax.random.fold_in(key, step)})
    found = trace.check()
    """,
  ),
  Advice(
    errors.SameKeyHint,
    """
    class Noisy(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x + jax.random.normal(self.make_rng("noise"), x.shape)
    found = nn.trace(lambda key: Noisy().apply({}, Noisy().apply({}, x, rngs=key), rngs=key))(key).check()
    """,
    ["of the stream 'noise'", 'rngs={"params": jax.random.fold_in(key, step)}'],
    ("dropout'",),
  ),
  Advice(
    errors.SameKeyHint,
    """
    model = nn.Dropout(0.5, deterministic=False)
    run = jax.jit(lambda key: model.apply({}, x, rngs={"dropout": key}))
    with nn.record() as trace:
      for step in range(3):
        run(key)
    found = trace.check()
    """,
    ["3 runs of Dropout draw the same keys"],
  ),
]


@pytest.mark.parametrize("advice", ADVICE, ids=str)
def test_the_advice_is_right_for_what_this_user_did(advice: Advice) -> None:
  advice.holds()
