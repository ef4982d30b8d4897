"""Mistakes with JAX's transforms and the lifted ones."""

from __future__ import annotations

from typing import Any

from minilinen.errors.base import MinilinenError, short


class JaxTransformError(MinilinenError):
  """A raw JAX transform was used where a lifted one is needed.

  For user code that raises it or catches it by Flax's name. Like Flax today, minilinen lets raw transforms pass.
  """

  def __init__(self) -> None:
    super().__init__(
      "A JAX transform and a module's variables are mixed.",
      wrong="jax.vmap(self.layer)(x)",
      right='nn.vmap(nn.Dense, variable_axes={"params": None}, split_rngs={"params": False})(4)(x)',
    )


class TransformedMethodReturnValueError(MinilinenError):
  """A lifted method gave back a module or a variable."""

  def __init__(self, name: str):
    super().__init__(
      f"Transformed module method {name} cannot return Modules or Variables.",
      mend="return arrays; make the submodule outside the lifted method.",
    )


class TransformTargetError(MinilinenError):
  """A lifted transform was given an instance instead of a class or a function."""

  def __init__(self, target: Any):
    super().__init__(
      f"Linen transformations must be applied to Module classes or functions taking a Module, got {short(target)}.",
      wrong="nn.vmap(nn.Dense(3), ...)",
      right="nn.vmap(nn.Dense, ...)(3)",
    )


class PartitioningUnspecifiedError(MinilinenError):
  """A box was lifted and nobody said what its new axis is called."""

  def __init__(self, target: Any):
    super().__init__(
      f"Trying to transform a Partitioned variable but metadata_params['partition_name'] is not specified: "
      f"{short(target)} with the axes {getattr(target, 'names', ())}.",
      right='nn.scan(..., metadata_params={nn.PARTITION_NAME: "layers"})',
    )


class TraceContextError(MinilinenError):
  """A value was touched in another trace than the one it belongs to.

  For user code that raises it or catches it by Flax's name; minilinen leaves the check to JAX.
  """

  def __init__(self, message: str):
    super().__init__(message)
