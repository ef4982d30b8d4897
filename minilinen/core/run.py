"""Running functions of a scope: `init`, `apply`, `bind` and `lazy_init`.

This is where a variable tree enters and leaves. `apply` makes a root scope of the variables that the
user passes, runs the function in it, and hands back the collections that were mutable; `init` is
`apply` on an empty tree with everything mutable. Modules run through the same four functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from minilinen import errors
from minilinen.core import mistakes, sown
from minilinen.core.filters import CollectionFilter, in_filter
from minilinen.core.frozen_dict import unfreeze
from minilinen.core.rng import LazyRng, is_key
from minilinen.core.run_span import RunSpan
from minilinen.core.scope import Scope
from minilinen.jax_internals import DependsOnInput, known_outputs
from minilinen.tracing.tracebacks import entry


def bind(
  variables: Mapping[str, Any],
  rngs: Any = None,
  mutable: CollectionFilter = False,
  flags: Mapping[str, Any] | None = None,
) -> Scope:
  """A root scope of a variable tree.

  Args:
    variables: collection -> nested dict of variables. Mutable collections are copied, so the
      caller's tree never changes.
    rngs: stream -> key, or one key, which is then the stream "params".
    mutable: filter of the collections that may be written.
    flags: settings of the run.

  Raises:
    ApplyScopeInvalidVariablesTypeError: if `variables` is no dict of dicts.
    ApplyScopeInvalidVariablesStructureError: if it has "params" inside "params".
    InvalidRngError: if a stream has no valid key.
  """
  return _root(variables, _streams(rngs), mutable, flags)


def _root(
  variables: Mapping[str, Any],
  streams: Mapping[str, Any],
  mutable: CollectionFilter,
  flags: Mapping[str, Any] | None,
) -> Scope:
  _check_variables(variables)
  tree = {col: unfreeze(v) if in_filter(mutable, col) else v for col, v in variables.items()}
  return Scope(tree, streams, mutable=mutable, flags=flags)


def apply(
  fn: Callable[..., Any], mutable: CollectionFilter = False, flags: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
  """Makes a function of a scope into a function of a variable tree.

  Args:
    fn: called with a scope and the arguments.
    mutable: filter of the collections that may be written.
    flags: settings of the run.

  Returns:
    A function `(variables, *args, rngs=None, **kwargs)` that gives the result of `fn`, or if
    `mutable` is not False the result and the mutable collections.
  """

  @entry
  def run(variables: Mapping[str, Any], *args: Any, rngs: Any = None, **kwargs: Any) -> Any:
    with RunSpan(fn, variables, rngs, mutable, flags) as record:
      streams = _streams(rngs, fn, needed="initializing" in (flags or {}))
      with _root(variables, streams, mutable, flags).temporary() as root:
        record.on(root.tree)
        y = _called(fn, root, args, kwargs)
      if mutable is False:
        return y
      mutated = root.mutable_variables()
      sown.warn_of_misspelt(root.tree, mutated)
      record.gave(y, mutated)
      return y, mutated

  return run


def _called(fn: Callable[..., Any], root: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
  try:
    return fn(root, *args, **kwargs)
  except RecursionError as error:
    if (deep := mistakes.too_deep(error)) is not None:
      raise deep from error
    raise


def init(
  fn: Callable[..., Any], mutable: CollectionFilter = True, flags: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
  """Makes a function of a scope into one that creates its variables.

  Returns:
    A function `(rngs, *args, **kwargs)` that gives the result of `fn` and the variables; `rngs`
    is a key for the stream "params" or a dict of streams.
  """
  run = apply(fn, mutable=mutable, flags={"initializing": True, **(flags or {})})

  @entry
  def run_init(rngs: Any, *args: Any, **kwargs: Any) -> Any:
    return run({}, *args, rngs=rngs, **kwargs)

  return run_init


def lazy_init(
  fn: Callable[..., Any], mutable: CollectionFilter = True, flags: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
  """As `init`, for arguments of which only the shape is known (`jax.ShapeDtypeStruct`).

  Nothing that depends on an argument's value is computed: the function gives the variables only.

  Raises:
    LazyInitError: if a variable depends on the value of such an argument.
  """
  run = init(fn, mutable=mutable, flags=flags)

  @entry
  def run_lazy_init(rngs: Any, *args: Any, **kwargs: Any) -> Any:
    leaves, treedef = jax.tree.flatten((args, kwargs))
    unknown = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, jax.ShapeDtypeStruct)}

    def variables_of(values: dict[int, Any]) -> Any:
      filled = [values.get(i, leaf) for i, leaf in enumerate(leaves)]
      filled_args, filled_kwargs = jax.tree.unflatten(treedef, filled)
      return run(rngs, *filled_args, **filled_kwargs)[1]

    try:
      return known_outputs(variables_of, unknown)
    except DependsOnInput as error:
      raise errors.LazyInitError(error.leaf, error.path) from None

  return run_lazy_init


def _check_variables(variables: Any) -> None:
  if not isinstance(variables, Mapping) or not all(
    isinstance(col, str) and isinstance(tree, Mapping) for col, tree in variables.items()
  ):
    raise errors.ApplyScopeInvalidVariablesTypeError(variables)
  params = variables.get("params")
  if isinstance(params, Mapping) and isinstance(params.get("params"), Mapping):
    raise errors.ApplyScopeInvalidVariablesStructureError(variables)


def _streams(rngs: Any, fn: Any = None, needed: bool = False) -> Mapping[str, Any]:
  """The random streams that a run is given; one key is the stream "params".

  What is passed is checked here; that a stream is missing shows when a key is drawn (`Scope.draw`).

  Args:
    rngs: a key, or stream -> key, or None.
    fn: what runs, for messages.
    needed: whether there must be a key, as for `init`.

  Raises:
    InvalidRngError: if a key is missing or none.
  """
  if not isinstance(rngs, Mapping):
    if needed and not is_key(rngs):
      raise mistakes.no_key(rngs, getattr(fn, "module_name", ""))
    rngs = {} if rngs is None else {"params": rngs}
  for name, key in rngs.items():
    if not isinstance(name, str) or not (isinstance(key, LazyRng) or is_key(key)):
      raise mistakes.no_key_of(name, key, getattr(fn, "module_name", "") if needed else "")
  return rngs
