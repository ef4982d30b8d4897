"""Mistakes that show only when a run is over, by name: `Trace.check` and `nn.check` find them.

What they say is made where they are found, from a trace (`minilinen.tracing.checks`). The classes are here so that each
kind of finding can be warned of, and turned off, like any other.
"""

from __future__ import annotations

from minilinen.errors.base import MinilinenHint, MinilinenWarning


class ExtraVariableHint(MinilinenHint):
  """A variable was passed that `init` of the model does not make for these arguments.

  It may be meant: others, or another method, may need it.

  Example:
    params = nn.Dense(4).init(key, x)["params"]
    nn.check(nn.Dense(4), {"params": {**params, "scale": jnp.ones(4)}}, x)
  """


class UnusedVariableHint(MinilinenHint):
  """A variable was passed, and nothing in the run read it, or what was computed from it never reached the output.

  It may be meant: a pooler that this head does not ask, a parameter that only decoding or a backward pass needs. What
  the trace knows of the cause is said; it does not know what other arguments or methods of the model read.

  Example:
    class Unused(nn.Module):
      @nn.compact
      def __call__(self, x):
        self.param("scale", nn.initializers.ones, (3,))
        return x
    nn.trace(Unused().apply)(Unused().init(key, x), x).check()
  """


class MovedNameWarning(MinilinenWarning):
  """Parameters fit under other automatic names: a layer was put in or taken out before them.

  Example:
    class Mlp(nn.Module):
      sizes: tuple
      @nn.compact
      def __call__(self, x):
        for size in self.sizes:
          x = nn.Dense(size)(x)
        return x
    nn.check(Mlp((3, 4, 2)), Mlp((4, 2)).init(key, x), x)
  """


class UncalledModuleHint(MinilinenHint):
  """A module was declared in setup and never called. It may be meant: a decoder that is kept for another task.

  Example:
    class Uncalled(nn.Module):
      def setup(self):
        self.used, self.unused = nn.Dense(4), nn.Dense(4)
      def __call__(self, x):
        return self.used(x)
    nn.trace(Uncalled().init)(key, x).check()
  """


class KeyCollisionWarning(MinilinenWarning):
  """Two places drew the same key: their paths run together to one text.

  Example:
    class Inner(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(3, name="b")(x)
    class Odd(nn.Module):
      @nn.compact
      def __call__(self, x):
        return Inner(name="a")(nn.Dense(3, name="ab")(x))
    nn.trace(Odd().init)(key, x).check()
  """


class SameKeyHint(MinilinenHint):
  """Several runs of one model drew the same key, or one in every step of a loop: the same random numbers in each.

  It may be meant. Of a run in `jax.lax.scan`, `fori_loop`, `while_loop` or `jax.vmap` it is told where its key comes
  from outside as it is: not of a key that the body of a loop computes anew in each step, and not in a branch.

  Example:
    model = nn.Dropout(0.5, deterministic=False)
    with nn.record() as trace:
      for step in range(2):
        model.apply({}, x, rngs={"dropout": key})
    trace.check()
  """


class RetracedWarning(MinilinenWarning):
  """JAX traced a run of the same module from the same line several times.

  Example:
    with nn.record() as trace:
      for size in (1, 2, 3):
        jax.jit(nn.Dense(4).init)(key, jnp.ones((size, 3)))
    trace.check()
  """
