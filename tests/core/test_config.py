"""Settings: their defaults, names, environment variables, and that a block's changes end with it."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import minilinen as nn
from minilinen.configurations import Config, UnknownSettingError, config

DEFAULTS = {
  "return_frozendict": True,
  "jit_folds_rngs": False,
  "fix_rng_separator": False,
  "preserve_adopted_names": False,
  "profile": True,
  "always_shard_variable": False,
}


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
  for name in DEFAULTS:
    monkeypatch.delenv(f"MINILINEN_{name.upper()}", raising=False)
  assert Config().as_dict() == DEFAULTS
  assert repr(Config()).splitlines()[0] == "return_frozendict = True"


@pytest.mark.parametrize("name", DEFAULTS)
def test_update_by_both_names(name: str) -> None:
  before = getattr(config, name)
  config.update(name, not before)
  assert getattr(config, name) is not before
  config.update(f"flax_{name}", before)
  assert getattr(config, name) is before


def test_an_unknown_setting() -> None:
  with pytest.raises(UnknownSettingError) as caught:
    config.update("return_frozen_dict", True)
  assert str(caught.value) == (
    "there is no setting 'return_frozen_dict'. Did you mean 'return_frozendict'? The settings are:"
    " always_shard_variable, fix_rng_separator, jit_folds_rngs, preserve_adopted_names, profile, return_frozendict."
  )
  assert isinstance(caught.value, AttributeError) and not hasattr(config, "return_frozen_dict")
  with (
    pytest.raises(UnknownSettingError, match=r"no setting 'colour'\. The settings are"),
    config.temp_flip_flag("colour", True),
  ):
    pass


def test_a_block_ends_its_change() -> None:
  with config.temp_flip_flag("jit_folds_rngs", True):
    assert config.jit_folds_rngs
    with config.temp_flip_flag("flax_jit_folds_rngs", False):
      assert not config.jit_folds_rngs
    assert config.jit_folds_rngs
  assert not config.jit_folds_rngs
  with pytest.raises(ZeroDivisionError), config.temp_flip_flag("profile", False):
    raise ZeroDivisionError
  assert config.profile


@pytest.mark.parametrize(
  ("text", "value"),
  [("0", False), ("false", False), ("OFF", False), ("", False), ("1", True), ("true", True)],
)
def test_environment_variables(text: str, value: bool, monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setenv("MINILINEN_RETURN_FROZENDICT", text)
  monkeypatch.setenv("MINILINEN_FIX_RNG_SEPARATOR", text)
  assert Config().return_frozendict is value and Config().fix_rng_separator is value
  assert Config().profile is True


def test_environment_variables_hold_from_the_import_on() -> None:
  code = "import minilinen; print(minilinen.config.jit_folds_rngs)"
  done = subprocess.run(
    [sys.executable, "-c", code],
    env={"MINILINEN_JIT_FOLDS_RNGS": "1", "JAX_PLATFORMS": "cpu", "PYTHONPATH": ":".join(sys.path)},
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout == "True\n"


def test_what_settings_do() -> None:
  x, key = jnp.ones((1, 2)), jax.random.key(0)
  assert type(nn.Dense(2).init(key, x)) is nn.FrozenDict
  with config.temp_flip_flag("return_frozendict", False):
    assert type(nn.Dense(2).init(key, x)) is dict
  kernel = nn.Dense(2).init(key, x)["params"]["kernel"]
  with config.temp_flip_flag("fix_rng_separator", True):
    assert (nn.Dense(2).init(key, x)["params"]["kernel"] != kernel).any()
  with config.temp_flip_flag("jit_folds_rngs", True):
    assert (nn.jit(nn.Dense)(2).init(key, x)["params"]["kernel"] != kernel).any()
  assert (nn.jit(nn.Dense)(2).init(key, x)["params"]["kernel"] == kernel).all()
  for profile in (True, False):
    with config.temp_flip_flag("profile", profile):
      closed = jax.make_jaxpr(nn.Dense(2, name="enc").apply)(nn.Dense(2).init(key, x), x)
      assert ("enc" in str(closed.eqns[0].source_info.name_stack)) is profile
      assert "__call__" not in str(closed.eqns[0].source_info.name_stack)
