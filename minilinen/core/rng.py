"""`LazyRng`: a key that is not computed yet: the root key of a stream, and what is to be folded into it.

The streams are the tree's, with nothing to fold in the tree of a run, and with the path outside in one behind a
boundary. `Scope.draw` gives one with the names of its place and a counter to fold, which costs a tuple; it is hashed
and folded only when somebody asks for the key (`as_jax_rng`), or an initializer does. A lifted transform changes the
root key where it splits a stream; one that folds (`fold_rngs`) does that early.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from minilinen import keys
from minilinen.configurations import config
from minilinen.keys import Step
from minilinen.tracing.recorder import current


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True, slots=True)
class LazyRng:
  """A key that is not computed yet: `rng`, the root key of its stream, and `suffix`, what is to be folded into it.

  As a pytree its only leaf is the root key. `steps` says how `rng` itself came from the
  key that the user passed; it is kept for the trace and is empty unless somebody records.
  """

  rng: Any
  suffix: Step = ()
  steps: tuple[Step, ...] = ()

  @staticmethod
  def create(rng: LazyRng | Any, *suffix: str | int) -> LazyRng:
    """A stream that folds `suffix` on top of what `rng` folds already."""
    if isinstance(rng, LazyRng):
      return LazyRng(rng.rng, rng.suffix + suffix, rng.steps)
    return LazyRng(rng, suffix)

  def as_jax_rng(self) -> Any:
    """The key itself."""
    return fold(self.rng, self.suffix)

  def number(self) -> np.uint32:
    """The number that is folded into the root key; there must be something to fold."""
    return keys.hashed(self.suffix, config.fix_rng_separator)

  def derivation(self) -> tuple[Step, ...]:
    """Every step from the user's key to `as_jax_rng()`, for the trace."""
    return (*self.steps, fold_step(self.suffix)) if self.suffix else self.steps

  def folded(self) -> LazyRng:
    """The same key with nothing left to fold: what a boundary passes on that folds."""
    return LazyRng(self.as_jax_rng(), (), _kept(self.derivation()))

  def split(self, n: int) -> LazyRng:
    """The stream with its root key split in `n` along a new leading axis."""
    rng = jax.random.split(jax.random.clone(self.rng), n)
    return LazyRng(rng, self.suffix, _kept((*self.steps, ("split", n))))

  def at_step(self, number: Any, sign: int) -> LazyRng:
    """The stream in one step of a loop: `sign` times its number folded into the root key."""
    rng = jax.random.fold_in(self.rng, number if sign > 0 else -number)
    return LazyRng(rng, self.suffix, _kept((*self.steps, ("step", sign))))

  def tree_flatten(self) -> tuple[tuple[Any], tuple[Step, tuple[Step, ...]]]:
    return (self.rng,), (self.suffix, self.steps)

  @classmethod
  def tree_unflatten(cls, static: tuple[Step, tuple[Step, ...]], children: tuple[Any]) -> LazyRng:
    return cls(children[0], *static)


def _kept(steps: tuple[Step, ...]) -> tuple[Step, ...]:
  """Steps are part of the pytree, so of every jit cache key: without a recorder, none are kept."""
  return steps if current() is not None else ()


def fold_step(parts: Step) -> Step:
  """The trace's name of the step that folds `parts` under the present settings."""
  return ("fold_sep" if config.fix_rng_separator else "fold", *parts)


def fold(key: Any, parts: Step) -> Any:
  """Folds names and numbers into a key, under the present settings.

  Without `fix_rng_separator` the parts run together in the hash: ("ab", "c") and
  ("a", "bc") give the same key.
  """
  return keys.fold(key, parts, config.fix_rng_separator)


def is_key(value: Any) -> bool:
  """Whether a value is one random key, typed or raw, of JAX's present default kind."""
  if not hasattr(value, "dtype") or not hasattr(value, "shape"):
    return False
  if jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
    return value.shape == ()
  return value.dtype == np.uint32 and value.shape == _raw_shape(getattr(jax.config, "jax_default_prng_impl"))  # noqa: B009


@functools.cache
def _raw_shape(kind: str) -> tuple[int, ...]:
  return jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0, impl=kind))).shape
