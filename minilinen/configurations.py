"""May be skipped: the settings: one object, read everywhere, changed by name.

A change holds for the whole process, one for the length of a `with` block for the task that
stands in it. The defaults follow Linen's first
document where it and today's Flax differ (`return_frozendict`, `jit_folds_rngs`) and Flax elsewhere. An
environment variable `MINILINEN_RETURN_FROZENDICT=0` sets the start value of the setting it names.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from minilinen.in_force import InForce
from minilinen.spelling import did_you_mean


class UnknownSettingError(AttributeError):
  """A setting was named that does not exist."""

  def __init__(self, name: str, known: list[str]):
    super().__init__(
      f"there is no setting {name!r}.{did_you_mean(name, known)} The settings are: {', '.join(known)}."
    )


_DEFAULTS = {
  "return_frozendict": True,
  "jit_folds_rngs": False,
  "fix_rng_separator": False,
  "preserve_adopted_names": False,
  "profile": True,
  "always_shard_variable": False,
}


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

  return_frozendict: bool
  jit_folds_rngs: bool
  fix_rng_separator: bool
  preserve_adopted_names: bool
  profile: bool
  always_shard_variable: bool
  _values: dict[str, bool]
  _flips: InForce[dict[str, bool]]

  def __init__(self) -> None:
    values = dict(_DEFAULTS)
    for name in values:
      text = os.environ.get(f"MINILINEN_{name.upper()}")
      if text is not None:
        values[name] = text.lower() not in ("", "0", "false", "off")
    vars(self).update(_values=values, _flips=InForce("settings"))

  def __getattr__(self, name: str) -> bool:
    values: dict[str, bool] = vars(self).get("_values", {})
    if name not in values:
      raise UnknownSettingError(name, sorted(values))
    if self._flips.frame() is not None:
      for flips in self._flips:
        if name in flips:
          return flips[name]
    return values[name]

  def __setattr__(self, name: str, value: bool) -> None:
    self.update(name, value)

  def update(self, name: str, value: bool) -> None:
    """Changes a setting, by its name here or in Flax ("flax_return_frozendict").

    Where a `with` block has flipped the setting, it is changed until the block is left.

    Raises:
      UnknownSettingError: if there is no such setting.
    """
    short = self._known(name)
    innermost = self._flips.innermost()
    if innermost is not None and any(short in flips for flips in self._flips):
      self._flips.set({**innermost, short: value})
    else:
      self._values[short] = value

  @contextlib.contextmanager
  def temp_flip_flag(self, name: str, value: bool) -> Iterator[None]:
    """Changes a setting for the length of a `with` block, in this task."""
    with self._flips.within({self._known(name): value}):
      yield

  def as_dict(self) -> dict[str, bool]:
    """Every setting and its value."""
    return {name: getattr(self, name) for name in self._values}

  def _known(self, name: str) -> str:
    short = name.removeprefix("flax_")
    if short not in self._values:
      raise UnknownSettingError(name, sorted(self._values))
    return short

  def __repr__(self) -> str:
    return "\n".join(f"{name} = {value}" for name, value in self.as_dict().items())


config = Config()
update = config.update
temp_flip_flag = config.temp_flip_flag
