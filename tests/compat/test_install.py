"""`compat.install`, in processes of their own: the parts of Flax that stay, its settings, and how all is put back."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from minilinen import compat, errors

pytestmark = pytest.mark.grid

ROOT = Path(__file__).parents[2]


def run(program: str, *flags: str, **env: str) -> str:
  """What a program prints, in a process of its own; what it says of a failure, if it fails."""
  done = subprocess.run(
    [sys.executable, *flags, "-c", textwrap.dedent(program)], cwd=ROOT, capture_output=True, text=True, timeout=300,
    env={**os.environ, **env},
  )  # fmt: skip
  return done.stdout if done.returncode == 0 else done.stderr


TRAINING = """
import jax, jax.numpy as jnp, optax, tempfile
import flax.linen as nn
from flax import serialization, struct, traverse_util
from flax.core import freeze, unfreeze
from flax.training import checkpoints, train_state

class State(train_state.TrainState):
  batch_stats: dict

class Net(nn.Module):
  @nn.compact
  def __call__(self, x, train):
    x = nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(x))
    x = nn.Dropout(0.5, deterministic=not train)(nn.relu(x))
    return nn.jit(nn.Dense)(1)(x)

@struct.dataclass
class Batch:
  x: jax.Array
  size: int = struct.field(pytree_node=False)

model, batch = Net(), Batch(jax.random.normal(jax.random.key(1), (4, 3)), 4)
variables = model.init(jax.random.key(0), batch.x, train=False)
labels = traverse_util.path_aware_map(lambda path, _: "slow" if "bias" in path else "fast", variables["params"])
tx = optax.multi_transform({"slow": optax.sgd(0.1), "fast": optax.adam(0.1)}, labels)
state = State.create(apply_fn=model.apply, params=variables["params"], tx=tx, batch_stats=variables["batch_stats"])

@jax.jit
def step(state, batch, key):
  def loss(params):
    y, updates = state.apply_fn({"params": params, "batch_stats": state.batch_stats}, batch.x, train=True,
      rngs={"dropout": key}, mutable=["batch_stats"])
    return (y ** 2).sum() / batch.size, updates
  (value, updates), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
  return state.apply_gradients(grads=grads, batch_stats=updates["batch_stats"]), value

for key in jax.random.split(jax.random.key(2), 4):
  state, value = step(state, batch, key)
  print(float(value).hex())
with tempfile.TemporaryDirectory() as folder:
  checkpoints.save_checkpoint(folder, state, 4)
  back = checkpoints.restore_checkpoint(folder, state)
written = serialization.to_bytes(state)
same = serialization.to_bytes(back) == written == serialization.to_bytes(serialization.from_bytes(state, written))
print(type(variables), jax.tree.structure(state.params), same, sorted(traverse_util.flatten_dict(freeze(state.params))))
print(unfreeze(jax.tree.map(lambda x: float(x.sum()).hex(), state.params)))
"""


def test_a_training_program_prints_the_same():
  """Losses, parameters, checkpoints: the text of the program is that of a user of Flax."""
  theirs = run(TRAINING)
  assert theirs.count("0x") > 8
  assert run("import minilinen.compat as compat; compat.install()" + TRAINING) == theirs


def test_the_rest_of_flax():
  """Every part of the installed Flax that needs nothing which is not installed can be imported."""
  parts = """configurations cursor ids io jax_utils serialization struct traceback_util training.checkpoints
    training.common_utils training.dynamic_scale training.early_stopping training.lr_schedule training.orbax_utils
    training.prefetch_iterator training.train_state traverse_util typing version"""
  program = f"""
    import importlib
    import minilinen.compat as compat
    compat.install()
    import flax
    for part in {parts!r}.split():
      importlib.import_module(f"flax.{{part}}")
    from flax.cursor import cursor
    c = cursor(flax.core.freeze({{"a": {{"b": 1}}}}))
    print(type(c["a"]["b"].set(2)).__module__)
    try:
      c.find(lambda path, value: False)
    except flax.errors.CursorFindError as error:
      print(type(error).__module__, error.message)
    print([name for name in vars(flax) if name in ("core", "linen", "errors")], flax.linen.Dense.__module__)
  """
  assert run(program).splitlines() == [
    "minilinen.core.frozen_dict",
    "minilinen.compat.other_errors the condition of Cursor.find fits nothing.",
    "['core', 'linen', 'errors'] minilinen.layers.linear",
  ]


def test_settings_follow_those_of_flax():
  program = """
    import sys
    import minilinen as nn
    import minilinen.compat as compat
    before = nn.config.as_dict()
    compat.install()
    today = nn.config.as_dict()
    import flax
    import minilinen.compat.settings as settings
    assert today == settings.FLAX_TODAY
    assert all(getattr(flax.config, f"flax_{name}") is today[name] for name in today if name != "jit_folds_rngs")
    flax.config.update("flax_return_frozendict", True)
    assert nn.config.return_frozendict
    with flax.config.temp_flip_flag("fix_rng_separator", True):
      assert nn.config.fix_rng_separator
    assert not nn.config.fix_rng_separator
    flax.config.update(sys.modules["flax.configurations"].flax_profile, False)
    assert not nn.config.profile
    nn.config.update("preserve_adopted_names", True)
    flax.config.update("flax_max_repr_depth", 3)
    assert nn.config.preserve_adopted_names
    compat.uninstall()
    assert nn.config.as_dict() == before
    print("done")
  """
  assert run(program) == "done\n"


def test_settings_of_the_environment():
  program = """
    import minilinen.compat as compat
    compat.install()
    import flax.linen, minilinen
    print(minilinen.config.return_frozendict, minilinen.config.profile)
  """
  assert run(program, FLAX_RETURN_FROZENDICT="1", FLAX_PROFILE="0") == "True False\n"


def test_all_is_put_back():
  program = """
    import sys
    import minilinen.compat as compat
    from minilinen import config

    def there():
      finders = [finder for finder in sys.meta_path if "compat" in type(finder).__module__]
      return finders, {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "flax"}, config.as_dict()

    def used():
      import flax.linen as nn, flax.serialization, flax.training.train_state
      return nn.Dense.__module__, flax.linen is sys.modules["flax.linen"], flax.core.FrozenDict.__module__

    ours = ("minilinen.layers.linear", True, "minilinen.core.frozen_dict")
    theirs = ("flax.linen.linear", True, "flax.core.frozen_dict")
    before = there()
    compat.install(); compat.install()
    assert compat.is_installed() and used() == ours
    compat.uninstall(); compat.uninstall()
    assert there() == before and not compat.is_installed()
    with compat.installed():
      assert used() == ours
      with compat.installed():
        pass
      assert used() == ours
    assert there() == before
    assert used() == theirs
    import flax
    before, attributes = there(), dict(vars(flax))
    try:
      compat.install()
    except ImportError as error:
      assert there() == before and "before compat.install()" in str(error)
    with compat.installed(set_aside=True):
      assert used() == ours
    assert there() == before and vars(flax) == attributes and used() == theirs
    print("done")
  """
  assert run(program) == "done\n"


def test_who_has_imported_flax_is_named():
  import oracle  # noqa: F401

  with pytest.raises(errors.FlaxImportedError, match=r"imported already.*: .*oracle") as caught:
    compat.install()
  assert "python -m minilinen run" in caught.value.plain
  assert not compat.is_installed()


def test_nothing_of_flax_is_imported_unless_asked_for():
  program = """
    import sys
    import minilinen.compat as compat
    compat.install()
    print([name for name in sys.modules if name.startswith("flax")])
  """
  assert run(program) == "[]\n"


def test_pickles_of_flax_are_read():
  """Whoever saved variables of Flax's with pickle gets minilinen's."""
  write = """
    import pickle, sys
    from flax.core import freeze
    sys.stdout.write(pickle.dumps(freeze({"a": {"b": 1}})).hex())
  """
  read = """
    import pickle, sys
    import minilinen.compat as compat
    compat.install()
    tree = pickle.loads(bytes.fromhex(WRITTEN))
    print(type(tree).__module__, tree["a"]["b"])
  """.replace("WRITTEN", repr(run(write)))
  assert run(read) == "minilinen.core.frozen_dict 1\n"


MIXED = """
import jax, jax.numpy as jnp
import flax.linen
import minilinen as nn

def program(outer, inner):
  class Part(inner.Module):
    def setup(self):
      self.dense = inner.Dense(2)
    def __call__(self, x):
      return self.dense(x)
  class Net(outer.Module):
    @outer.compact
    def __call__(self, x):
      return Part()(x)
  return Net()

for outer, inner in ((nn, flax.linen), (flax.linen, nn)):
  try:
    program(outer, inner).init(jax.random.key(0), jnp.ones((2, 3)))
  except nn.errors.MixedModulesError as error:
    print(error.message)
"""


def test_modules_of_both_are_not_mixed():
  assert run(MIXED).splitlines() == [
    "Part is a module of Flax's, and Net, in which it runs, one of minilinen's.",
    "Part is a module of minilinen's, and Net, in which it runs, one of Flax's.",
  ]
