"""What Python and JAX say of a mistake, said with the module, the user's line and the mend.

Each is of the class that Python raises, so whoever catches that catches it. JAX's own errors stay as they are: what
`TracedValueWarning` says stands in a note below them. `minilinen.module.foreign` finds out the facts.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from minilinen.errors.base import MinilinenError, MinilinenWarning, nearest


def _case(**texts: str) -> dict[str, str]:
  """Texts for one kind of a class's mistakes, in place of those that stand in the class."""
  return texts


class ArgumentsError(MinilinenError, TypeError):
  """A module, or a method of it, was called with other arguments than it takes.

  Example:
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4, use_baias=False)(x)
    Net().init(key, x)
  """

  says = "{python}."
  expected = "{called}({arguments})"

  too_much = _case(mend="take {what} away.")
  own = _case(mend="take {what} away, or let {called} take it.")
  meant = _case(says="{python}. Did you mean {near!r}?", right="{near}=...")
  given = _case(says="{python}. {near!r} is given already, as {value:words}.", mend="take {name} away.")
  counted = _case(says="{python}, the module itself among them.")
  twice = _case(says="{python}: {first:words} by position, {second:words} by name.", mend="pass it once.")
  by_name = "what stands behind * is passed by name."
  carry = (
    "the carry comes first; a cell gives the first one: carry = cell.initialize_carry(key, x.shape), "
    "for the x of one step."
  )
  constructor = _case(
    mend="{module} has a constructor of its own, and minilinen makes modules anew from their fields: declare the "
    "settings as fields ({fields}), and compute what follows from them in setup."
  )


class UnhashableFieldError(MinilinenError, TypeError):
  """A module with a field that cannot be hashed is hashed, as JAX does with what is static.

  Example:
    class Net(nn.Module):
      sizes: list
    hash(Net([4, 5]))
  """

  says = (
    "{module} cannot be hashed, which JAX does with what is static: its field {field!r} is {value:words}."
  )
  mend = "{mend_it}."

  def __init__(self, module: str, field: str, value: Any):
    mend = "pass an array as an argument of the method, or keep it in a variable"
    if isinstance(value, (list, set)) and all(isinstance(part, Hashable) for part in value):
      mend = f"write it as a tuple: {field}=(...)"
    elif isinstance(value, dict):
      mend = f"write it as nn.FrozenDict({field}), or as a tuple of pairs"
    super().__init__(module=module, field=field, value=value, mend_it=mend)


class AxisNameError(MinilinenError, NameError):
  """A module works across an axis by its name, and no map around it has one of that name.

  Example:
    model = nn.BatchNorm(use_running_average=False, axis_name="batch")
    model.apply(model.init(key, x), x, mutable=["batch_stats"])
  """

  takes = ("axis", "module", "path", "source")
  says = (
    "unbound axis name: {axis}. {module} in {path!r} works across the axis {axis!r}, and no map around it has an axis "
    "of that name."
  )
  right = 'jax.vmap(lambda x: model.apply(variables, x), axis_name="{axis}")(x)'
  mend = "jax.pmap and jax.shard_map name axes too. Where nothing is mapped, leave out the name of the axis."


class DTypeNameError(MinilinenError, TypeError):
  """A type of numbers has a name that NumPy and JAX don't know.

  Example:
    nn.Dense(4, dtype="float33").init(key, x)
  """

  takes = ("name", "module", "path", "source")
  says = "data type {name!r} not understood: {module} in {path!r} is given it as a type of numbers.{hint}"
  mend = "jnp.float32, jnp.bfloat16, jnp.int32 and so on have no misspelt names."

  def __init__(self, name: str, module: str, path: str, source: Any):
    hint = nearest(name, ("float64", "float32", "float16", "bfloat16", "int32", "int8", "uint32", "bool"))
    super().__init__(name, module, path, source, hint=hint)


class SizeError(MinilinenError, TypeError):
  """A shape has a size that is no int, and nothing is traced.

  Example:
    nn.Dense(128 / 2).init(key, x)
  """

  takes = ("module", "path", "shape", "source")
  says = "{module} in {path!r} asks for the shape {shape}: a size is an int{wrong_one}."

  mends = {  # noqa: RUF012
    float: "/ gives a float, and // an int; int(...) makes an int of what was rounded.",
    str: "write it without quotation marks.",
    tuple: "write {first} alone: a comma after it, or brackets around it, make a tuple.",
  }

  def __init__(self, module: str, path: str, shape: str, source: Any, field: str = "", size: Any = ...):
    wrong_one = "" if size is ... else f", and {field and field + '='}{size!r} is none"
    known = isinstance(size, float) or (isinstance(size, str) and size.isdigit())
    if isinstance(size, tuple) and len(size) == 1:
      known = type(size[0]) is int
    mend = self.mends.get(type(size), "") if known else ""
    first = size[0] if known and isinstance(size, tuple) else ""
    super().__init__(module, path, shape, source, wrong_one=wrong_one, mend=mend, first=first)


class TracedValueWarning(MinilinenWarning):
  """A module asks for the number behind a value that JAX is tracing. It stands in a note below JAX's error.

  Example:
    class Net(nn.Module):
      def __call__(self, x):
        return x if x.sum() > 0 else -x
    jax.jit(Net().apply)({}, x)
  """

  takes = ("module", "path", "source")
  says = "{module} in {path!r} asks for the number behind a value that JAX traces here: there is none yet."

  mends = {  # noqa: RUF012
    "TracerBoolConversionError": (
      "choose with jnp.where(condition, a, b) or nn.cond(condition, f, g, self, x). A flag must be static where JAX "
      "traces: jax.jit(f, static_argnames=...), or static_argnums of nn.jit and nn.remat."
    ),
    "TracerArrayConversionError": "compute with jax.numpy instead of numpy; print with jax.debug.print.",
    "NonConcreteBooleanIndexError": "keep the shape: jnp.where(mask, x, 0) instead of x[mask].",
    "float": "keep the array: sow, losses and metrics take it as it is. To see it: jax.debug.print('{x}', x=...).",
    "format": "print with jax.debug.print('{x:.2f}', x=...), which waits for the number.",
    "list": (
      "a list and x.shape are asked by a number of Python's, such as a static argument. While JAX traces, "
      "nn.switch(i, (f, g), self, x) chooses among functions, and jnp.asarray(table)[i] among numbers."
    ),
    "while": "nn.while_loop(condition, body, self, x) repeats while a condition holds that depends on arrays.",
    "assert": "assert what Python knows, such as x.shape; jax.experimental.checkify checks the numbers of an array.",
    "": "a size must be a number of Python's: a field of the module, x.shape, or an argument that is static.",
  }
  setting = (
    "or pass it by name: jax.jit(model.{run}, static_argnames={name!r})({first}, ..., {name}=...). What "
    "depends on arrays is chosen with jnp.where or nn.cond."
  )

  def __init__(self, module: str, path: str, source: Any, kind: str = "", **case: Any):
    super().__init__(module, path, source, **dict(mend=self.mends.get(kind, self.mends[""])) | case)

  @classmethod
  def of_setting(cls, module: str, path: str, source: Any, run: str, number: int, name: str) -> Any:
    """For a flag or a count that was passed by position to `jax.jit(model.apply)`, or to that of `init`."""
    first = "key" if run == "init" else "variables"
    right = "jax.jit(model.{run}, static_argnums={number})({first}, ...)"
    case: dict[str, Any] = dict(
      right=right, mend=cls.setting if name else "", run=run, first=first, number=number, name=name
    )
    return cls(module, path, source, **case)
