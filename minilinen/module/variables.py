"""What a method of a module says about variables and keys: `param`, `variable`, `sow`, `make_rng` ...

Each is a question to the module's scope, after a look whether the module may ask it here and whether the name is
free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from minilinen import errors
from minilinen.core import sown
from minilinen.core.run_span import within
from minilinen.core.scope import Variable
from minilinen.module import mistakes
from minilinen.module.life import ModuleLife
from minilinen.tracing import events
from minilinen.tracing.paths import Path
from minilinen.tracing.recorder import current
from minilinen.tracing.spec import describe

T = TypeVar("T")


def _append(xs: Any, x: Any) -> Any:
  return (*xs, x)


class ModuleVariables(ModuleLife):
  """The methods of a module that speak of variables and keys."""

  def param(
    self, name: str, init_fn: Callable[..., Any], *init_args: Any, unbox: bool = True, **init_kwargs: Any
  ) -> Any:
    """Declares a parameter and gives its value.

    Args:
      name: its name in the module.
      init_fn: called as `init_fn(key, *init_args, **init_kwargs)` for the first value.
      unbox: whether to give what is inside, if the parameter comes in a box.

    Raises:
      PlainMethodError: outside setup and compact methods.
      NameInUseError: if the name is taken.
      ScopeParamShapeError: if the parameter passed has another shape than `init_fn` gives.
      ScopeParamNotFoundError: if it was not passed.
    """
    self._may_declare("Parameters", "params", name)
    self._check_free("param", name, "params")
    value = self._bound("access parameters").param(name, init_fn, *init_args, unbox=unbox, **init_kwargs)
    return value

  def variable(
    self,
    col: str,
    name: str,
    init_fn: Callable[..., Any] | None = None,
    *init_args: Any,
    unbox: bool = True,
    **init_kwargs: Any,
  ) -> Variable[Any]:
    """Declares a variable of a collection and gives a reference to it.

    Args:
      col: the collection.
      name: its name in the module.
      init_fn: called as `init_fn(*init_args, **init_kwargs)` for the first value; it draws its own keys
        with `make_rng` if it needs any.
      unbox: whether `value` speaks of what is inside a box.

    Raises:
      PlainMethodError: outside setup and compact methods.
      NameInUseError: if the name is taken.
      ScopeVariableNotFoundError: if it was not passed and may not be created.
    """
    self._may_declare("Variables", col, name)
    self._check_free("variable", name, col)
    variable = self._bound("access variables").variable(
      col, name, init_fn, *init_args, unbox=unbox, **init_kwargs
    )
    return variable

  def _may_declare(self, what: str, col: str, name: str) -> None:
    if not self._initialization_allowed:
      raise mistakes.declared_in_a_plain_method(self, what, col, name)
    if self.scope is None:
      raise mistakes.unbound(self, "param" if what == "Parameters" else "variable")

  def has_variable(self, col: str, name: str) -> bool:
    """Whether a variable of this module exists."""
    return self._bound("query variables").has_variable(col, name)

  def get_variable(self, col: str, name: str, default: Any = None) -> Any:
    """The value of a variable of this module, `default` if it doesn't exist."""
    return self._bound("access variables").get_variable(col, name, default)

  def put_variable(self, col: str, name: str, value: Any) -> None:
    """Sets the value of a variable of this module.

    Raises:
      ModifyScopeVariableError: if the collection is not mutable.
    """
    self._bound("access variables").put_variable(col, name, value)

  @property
  def variables(self) -> Mapping[str, Any]:
    """All variables of this module and its submodules, by collection."""
    return self._bound("access variables").variables()

  @property
  def path(self) -> Path:
    """The names from the root module to this one."""
    return self._bound("access the path").path

  def is_mutable_collection(self, col: str) -> bool:
    """Whether a collection may be written."""
    return self._bound("check mutability").is_mutable_collection(col)

  def is_initializing(self) -> bool:
    """Whether the module runs under `init`."""
    return self._bound("check if running under init").get_flag("initializing", False)

  def has_rng(self, name: str) -> bool:
    """Whether a random stream of this name was passed."""
    return self._bound("query for RNGs").has_rng(name)

  def make_rng(self, name: str = "params") -> Any:
    """Draws a new random key from a stream; "params" serves for a stream that was not passed.

    Raises:
      InvalidRngError: if neither was passed.
    """
    return self._bound("use RNGs").make_rng(name)

  def sow(
    self,
    col: str,
    name: str,
    value: Any,
    reduce_fn: Callable[[Any, Any], Any] = _append,
    init_fn: Callable[[], Any] = tuple,
  ) -> bool:
    """Stores a value in a collection, if that is mutable; by default the values of all calls in a tuple.

    Args:
      col: the collection, as a rule "intermediates".
      name: the variable's name.
      value: what to store.
      reduce_fn: from what is stored and the value to what shall be stored.
      init_fn: gives what is stored before the first value.

    Returns:
      Whether the value was stored.
    """
    scope = self._bound("store variables")
    accepted = scope.is_mutable_collection(col)
    if (recorder := current()) is not None:
      within(recorder, scope.tree).event(
        events.Sow, scope.path, collection=col, name=name, value=describe(value), accepted=accepted
      )
    if not accepted:
      sown.refused(scope.tree, scope.path, col, name)
    if accepted:
      if scope.has_variable(col, name):
        stored = scope.get_variable(col, name)
      else:
        scope.reserve(name, col)
        stored = init_fn()
      sown.note(scope.tree, scope.path, col, name, stored if reduce_fn is _append else None)
      scope.put_variable(col, name, reduce_fn(stored, value))
    return accepted

  def perturb(self, name: str, value: T, collection: str = "perturbations") -> T:
    """Adds a zero variable to a value, so that a gradient by the variable is one by the value.

    Args:
      name: the variable's name.
      value: an array, or a pytree of them.
      collection: where the zeros live: made under `init`, passed to `apply` by whoever wants gradients.

    Returns:
      The value, with the variable added if it was passed.

    Raises:
      PerturbationError: if the collection was passed without this variable.
    """
    scope = self._bound("store variables")
    if scope.is_mutable_collection(collection) and not scope.has_variable(collection, name):
      scope.reserve(name, collection)
      scope.put_variable(collection, name, jax.tree.map(jnp.zeros_like, value))
    accepted = collection in scope.tree.variables
    if (recorder := current()) is not None:
      within(recorder, scope.tree).event(
        events.Perturb, scope.path, collection=collection, name=name, value=describe(value), accepted=accepted
      )
    if not accepted:
      sown.not_passed(scope.tree, scope.path, collection, name)
      return value
    if not scope.has_variable(collection, name):
      there = scope.tree.read(collection, scope.path)
      raise errors.PerturbationError(collection, name, scope.path_text, there)
    return jax.tree.map(jnp.add, value, scope.get_variable(collection, name))
