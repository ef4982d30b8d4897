"""The settings: one object, read everywhere, changed by name.

Attributes are plain values, so reading one costs nothing. The defaults follow Linen's first
document where it and today's Flax differ (`return_frozendict`, `jit_folds_rngs`) and Flax elsewhere. An
environment variable `MINILINEN_RETURN_FROZENDICT=0` sets the start value of the setting it names.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from minilinen.spelling import did_you_mean


class UnknownSettingError(AttributeError):
  """A setting was named that does not exist."""

  def __init__(self, name: str, known: list[str]):
    super().__init__(
      f"there is no setting {name!r}.{did_you_mean(name, known)} The settings are: {', '.join(known)}."
    )


class Config:
  """The settings.

  Attributes:
    return_frozendict: whether `init` and `apply` give `FrozenDict`s; plain dicts otherwise.
    jit_folds_rngs: whether `nn.jit` folds keys at its boundary, as Flax does.
    fix_rng_separator: whether the parts folded into a key are kept apart in its hash.
    preserve_adopted_names: whether a module passed as a field keeps the name it has.
    profile: whether calls open a `jax.named_scope`.
    always_shard_variable: whether new boxed variables get a sharding constraint.
  """

  def __init__(self) -> None:
    self.return_frozendict = True
    self.jit_folds_rngs = False
    self.fix_rng_separator = False
    self.preserve_adopted_names = False
    self.profile = True
    self.always_shard_variable = False
    for name in vars(self):
      value = os.environ.get(f"MINILINEN_{name.upper()}")
      if value is not None:
        setattr(self, name, value.lower() not in ("", "0", "false", "off"))

  def update(self, name: str, value: bool) -> None:
    """Changes a setting, by its name here or in Flax ("flax_return_frozendict").

    Raises:
      UnknownSettingError: if there is no such setting.
    """
    short = name.removeprefix("flax_")
    if short not in vars(self):
      raise UnknownSettingError(name, sorted(vars(self)))
    setattr(self, short, value)

  @contextlib.contextmanager
  def temp_flip_flag(self, name: str, value: bool) -> Iterator[None]:
    """Changes a setting for the length of a `with` block."""
    before = vars(self).get(name.removeprefix("flax_"))
    self.update(name, value)
    try:
      yield
    finally:
      self.update(name, bool(before))

  def __repr__(self) -> str:
    return "\n".join(f"{name} = {value}" for name, value in vars(self).items())


config = Config()
update = config.update
temp_flip_flag = config.temp_flip_flag
