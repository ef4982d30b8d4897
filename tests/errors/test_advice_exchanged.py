"""What is said where `flax.linen` is minilinen, and where what both have made is mixed, read as a user would."""

from __future__ import annotations

import pytest
from situations import Advice

from minilinen import errors

pytestmark = pytest.mark.grid

INSTALLED = """
import minilinen.compat as compat
with compat.installed(set_aside=True):
  """


def _mixed(outer: str, body: str, setup: str = "pass", part: str = "nn") -> str:
  return f"""
import flax.linen as linen
class Part({part}.Module):
  def setup(self):
    self.dense = {part}.Dense(2)
  def __call__(self, x):
    return self.dense(x)
class Net({outer}.Module):
  def setup(self):
    {setup}
  @{outer}.compact
  def __call__(self, x):
    {body}
Net().init(key, x)
"""


ADVICE = [
  Advice(
    errors.FlaxImportedError,
    "import flax.linen\nimport minilinen.compat as compat\ncompat.install()",
    ["flax.linen was imported already, before compat.install()", "above all other imports", "set_aside=True"],
    (),
    "import minilinen.compat as compat\ncompat.install(set_aside=True)\ncompat.uninstall()",
  ),
  Advice(
    errors.FlaxImportedError,
    "import flax.core\nimport minilinen.compat as compat\nwith compat.installed():\n  import flax",
    ["before compat.install()", "python -m minilinen run script.py"],
    (),
    "import minilinen.compat as compat\nwith compat.installed(set_aside=True):\n  import flax",
  ),
  Advice(
    errors.FlaxImportedError,
    """
    import sys, types
    project = sys.modules["their_project"] = types.ModuleType("their_project")
    exec("from flax.linen import Dense", vars(project))
    import minilinen.compat as compat
    try:
      compat.install()
    finally:
      del sys.modules["their_project"]
    """,
    ["before compat.install(): ", " have it."],
  ),
  Advice(
    errors.NoFlaxNameError,
    f"{INSTALLED}import flax.linen as linen\n  linen.Dens(3)",
    ["flax.linen has no 'Dens' under minilinen.compat. Did you mean 'Dense'?"],
    ("inside",),
    f"{INSTALLED}import flax.linen as linen\n  linen.Dense(3)",
  ),
  Advice(
    errors.NoFlaxNameError,
    f"{INSTALLED}import flax.linen as linen\n  linen.module.capture_call_intermediates",
    ["flax.linen.module has no 'capture_call_intermediates'", "capture_intermediates=True to apply"],
    ("Did you mean",),
  ),
  Advice(
    errors.NoFlaxNameError,
    f"{INSTALLED}import flax.core as flax_core\n  flax_core.spmd.get_mesh()",
    ["flax.core.spmd has no 'get_mesh' under minilinen.compat: ", "NNX", "nn.get_sharding"],
    ("Did you mean",),
  ),
  Advice(
    errors.NoFlaxImportError,
    f"{INSTALLED}from flax.linen import Dens",
    ["flax.linen has no 'Dens' under minilinen.compat. Did you mean 'Dense'?"],
    (),
    f"{INSTALLED}from flax.linen import Dense",
  ),
  Advice(
    errors.NoFlaxImportError,
    f"{INSTALLED}from flax.linen.module import _use_named_call",
    ["flax.linen.module has no '_use_named_call' under minilinen.compat: it is private to Flax"],
    ("Did you mean",),
  ),
  Advice(
    errors.NoFlaxImportError,
    f"{INSTALLED}from flax.linen.transforms import module_class_lift_transform",
    ["has no 'module_class_lift_transform'", "nn.transforms.lift_transform lifts a class"],
    ("Did you mean",),
  ),
  Advice(
    errors.NoFlaxModuleError,
    f"{INSTALLED}import flax.linen.linaer",
    ["No module named 'flax.linen.linaer' under minilinen.compat. Did you mean 'flax.linen.linear'?"],
    (),
    f"{INSTALLED}import flax.linen.linear",
  ),
  Advice(
    errors.NoFlaxModuleError,
    f"{INSTALLED}import flax.core.nn.atention",
    ["No module named 'flax.core.nn.atention'", "'flax.core.nn.attention'"],
  ),
  Advice(
    errors.NoFlaxModuleError,
    f"{INSTALLED}from flax.linen.experimental.zzz import layers_with_named_axes",
    ["No module named 'flax.linen.experimental' under minilinen.compat."],
    ("Did you mean",),
  ),
  Advice(
    errors.MixedModulesError,
    _mixed("nn", "return Part()(x)", part="linen"),
    ["Part is a module of Flax's, and Net, in which it runs, one of minilinen's", "compat.install()"],
    ("setup",),
    _mixed("nn", "return Part()(x)"),
  ),
  Advice(
    errors.MixedModulesError,
    _mixed("nn", "return self.layer(x)", "self.layer = linen.Dense(2)"),
    ["Dense is a module of Flax's, and Net", "module /"],
    (),
    _mixed("nn", "return self.layer(x)", "self.layer = nn.Dense(2)"),
  ),
  Advice(
    errors.MixedModulesError,
    _mixed("linen", "return Part()(x)"),
    [
      "Part is a module of minilinen's, and Net, in which it runs, one of Flax's",
      "derive Net from minilinen's nn.Module",
    ],
    ("model.bind", "compat"),
    _mixed("nn", "return Part()(x)"),
  ),
  Advice(
    errors.MixedModulesError,
    "import flax.linen\nflax.linen.Sequential([nn.Dense(2)]).init(key, x)",
    ["Dense is a module of minilinen's, and Sequential", "take minilinen's nn.Sequential"],
    ("derive",),
    "nn.Sequential([nn.Dense(2)]).init(key, x)",
  ),
]


@pytest.mark.parametrize("advice", ADVICE, ids=str)
def test_advice(advice: Advice) -> None:
  advice.holds()


def test_a_model_of_flax_that_is_run_by_itself_is_no_mistake() -> None:
  """A teacher of Flax's, with variables of its own, inside of a model of minilinen's; and the other way round."""
  import flax.linen as linen
  import jax
  import jax.numpy as jnp

  import minilinen as nn

  key, x = jax.random.key(0), jnp.ones((2, 3))
  for outer, inner in ((nn, linen), (linen, nn)):
    teacher = inner.Dense(2)
    variables = teacher.init(key, x)

    class Student(outer.Module):
      @outer.compact
      def __call__(self, x):
        return outer.Dense(2)(x) - teacher.apply(variables, x)  # noqa: B023

    assert Student().init_with_output(key, x)[0].shape == (2, 2)
    with pytest.raises(Exception, match="params") as caught:
      teacher.apply({}, x)
    assert not isinstance(caught.value, errors.MixedModulesError)
