"""May be skipped: minilinen's settings follow `flax.config`, and so the environment (`FLAX_PROFILE=0`)."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from minilinen.configurations import config

FLAX_TODAY = {
  "return_frozendict": False,
  "jit_folds_rngs": True,
  "fix_rng_separator": False,
  "preserve_adopted_names": False,
  "profile": True,
  "always_shard_variable": True,
}
"""What Flax does if nobody changes a setting; `jit_folds_rngs` is none of its settings."""


def follow(configurations: ModuleType) -> None:
  """Lets our settings be those of `flax.config`, now and whenever it is updated."""
  theirs: Any = configurations.config
  shared = [name for name in FLAX_TODAY if hasattr(theirs, f"flax_{name}")]

  class Followed(type(theirs)):
    def update(self, name_or_holder: Any, value: Any, /) -> None:
      before = _values(self, shared)
      super().update(name_or_holder, value)
      for name, now in _values(self, shared).items():
        if now != before[name]:
          config.update(name, now)

  theirs.__class__ = Followed
  for name, value in _values(theirs, shared).items():
    config.update(name, value)


def _values(theirs: Any, shared: list[str]) -> dict[str, bool]:
  return {name: getattr(theirs, f"flax_{name}") for name in shared}
