"""May be skipped: a module's forward and backward pass on shapes, for `tabulate(compute_vjp_flops=True)`.

`Module.trace` follows `init`, which has no backward pass. Here `init` is traced too, of which the table is; and then,
with variables of the shapes that it gave, `apply` together with its gradients by everything that has some.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from minilinen.core.filters import CollectionFilter
from minilinen.module.runs import ModuleRuns
from minilinen.tracing import Trace, abstract
from minilinen.tracing.inputs import separate
from minilinen.tracing.recording import trace
from minilinen.tracing.spec import is_array


def traces_with_vjp(
  module: ModuleRuns,
  rngs: Any,
  args: tuple[Any, ...],
  kwargs: dict[str, Any],
  method: Callable[..., Any] | str | None,
  mutable: CollectionFilter,
) -> tuple[Trace, Trace]:
  """The trace of `init`, and that of a call with variables and its vector-Jacobian product by them and the arguments.

  Args:
    module: the module.
    rngs: a key or stream -> key.
    args, kwargs: of the method; arrays may be given as "f32[8,28,28,1]".
    method, mutable: as for `init` and `apply`.
  """
  rngs = rngs if isinstance(rngs, Mapping) else {"params": rngs}
  inputs = abstract((args, kwargs))
  made: list[Any] = []

  def init(rngs: Any, *args: Any, **kwargs: Any) -> Any:
    y, variables = module.init_with_output(rngs, *args, method=method, mutable=mutable, **kwargs)
    made.append(jax.tree.map(_shape, variables))
    return y, variables

  first = trace(init)(rngs, *args, **kwargs)

  def vjp(variables: Any, rngs: Any, inputs: Any) -> Any:
    numbers, fill = separate((variables, inputs), _has_gradient)

    def run(numbers: list[Any]) -> list[Any]:
      variables, (args, kwargs) = fill(numbers)
      y = module.apply(variables, *args, rngs=rngs, method=method, mutable=mutable, **kwargs)
      return separate(y[0] if mutable is not False else y, _has_gradient)[0]

    results, backward = jax.vjp(run, numbers)
    return results, backward([jnp.ones_like(result) for result in results])

  return first, trace(vjp)(made[-1], rngs, inputs)


def _shape(value: Any) -> Any:
  if not is_array(value):
    return value
  return jax.ShapeDtypeStruct(value.shape, value.dtype, weak_type=getattr(value, "weak_type", False))


def _has_gradient(value: Any) -> bool:
  return is_array(value) and jnp.issubdtype(value.dtype, jnp.inexact)
