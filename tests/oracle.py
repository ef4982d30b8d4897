"""Flax as the oracle: a program is a function of the `nn` namespace, run with Flax and with minilinen.

    def program(nn):
      class Net(nn.Module): ...
      return Net().init(key, x)

`same(program)` runs both under Flax's settings and compares what they return to the last bit, or the class names of
what they raise. `same_model` compares a whole model: its variable tree, outputs, gradients, mutated variables and the
equations of its jaxpr.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import flax
import flax.core
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np

import minilinen
import minilinen.core

KEY = jax.random.PRNGKey(0)
KEY2 = jax.random.PRNGKey(7)
X = jax.random.normal(KEY, (3, 4))
FLAX_SETTINGS = {"return_frozendict": False, "jit_folds_rngs": True}


@contextlib.contextmanager
def flax_settings() -> Iterator[None]:
  """minilinen as Flax is today."""
  with contextlib.ExitStack() as stack:
    for name, value in FLAX_SETTINGS.items():
      stack.enter_context(minilinen.config.temp_flip_flag(name, value))
    yield


def run_both(program: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
  """What the program returns, or the exception it raises, with Flax and with minilinen."""
  with flax_settings():
    return _outcome(program, flax.linen, *args), _outcome(program, minilinen, *args)


def _outcome(program: Callable[..., Any], nn: Any, *args: Any) -> Any:
  try:
    return program(nn, *args)
  except Exception as error:
    return error


def same(program: Callable[..., Any], *args: Any) -> Any:
  """Asserts that both give the same to the last bit, and returns what minilinen gave."""
  return agree(*run_both(program, *args))


def agree(theirs: Any, ours: Any) -> Any:
  """Asserts that what both gave is the same to the last bit, or that both raised the same, and returns ours."""
  if isinstance(theirs, Exception) or isinstance(ours, Exception):
    if isinstance(ours, Exception) and not isinstance(theirs, Exception):
      raise AssertionError(f"minilinen raises, Flax returns {theirs!r}") from ours
    assert isinstance(ours, Exception), f"Flax raises {theirs!r}, minilinen returns {ours!r}"
    # Where Flax only asserts, or stumbles over an axis that isn't there, ours says what is wrong.
    is_told = isinstance(ours, (minilinen.errors.MinilinenError, ValueError, TypeError))
    if is_told and (type(theirs) is AssertionError or str(theirs) == "tuple index out of range"):
      return ours
    names = {c.__name__ for c in type(ours).__mro__}
    assert type(theirs).__name__ in names, f"Flax raises {theirs!r}, minilinen {ours!r}"
    return ours
  equal(theirs, ours)
  return ours


def as_flax(program: Callable[..., Any]) -> Callable[[], None]:
  """Makes a program a test: minilinen returns what Flax returns."""

  def test() -> None:
    result = same(program)
    assert not isinstance(result, Exception), f"both raise {result!r}"

  return _named(test, program)


def raises_as_flax(name: str) -> Callable[[Callable[..., Any]], Callable[[], None]]:
  """Makes a program a test: both libraries raise an error of this class name."""

  def decorate(program: Callable[..., Any]) -> Callable[[], None]:
    def test() -> None:
      theirs, _ = run_both(program)
      assert type(theirs).__name__ == name
      same(program)

    return _named(test, program)

  return decorate


def _named(test: Any, program: Any) -> Any:
  test.__name__, test.__qualname__, test.__module__ = (
    program.__name__,
    program.__qualname__,
    program.__module__,
  )
  return test


def core(nn: Any) -> Any:
  """The functional core that a namespace stands on."""
  return minilinen.core if nn is minilinen else flax.core


def equal(theirs: Any, ours: Any) -> None:
  """Asserts that two pytrees have the same structure and the same bits."""
  theirs, ours = _plain(theirs), _plain(ours)
  flat_theirs, tree_theirs = jax.tree_util.tree_flatten_with_path(theirs)
  flat_ours, tree_ours = jax.tree_util.tree_flatten_with_path(ours)
  assert tree_theirs == tree_ours, (
    f"trees differ:\n  Flax      {_shapes(theirs)}\n  minilinen {_shapes(ours)}"
  )
  for (path, a), (_, b) in zip(flat_theirs, flat_ours):
    where = jax.tree_util.keystr(path)
    if hasattr(a, "dtype"):
      assert a.dtype == b.dtype and a.shape == b.shape, (
        f"{where}: Flax {a.dtype}{a.shape}, ours {b.dtype}{b.shape}"
      )
      assert _bits(a) == _bits(b), f"{where}: Flax {a}, ours {b}"
    else:
      assert type(a) is type(b) and a == b, f"{where}: Flax {a!r}, ours {b!r}"


def _plain(tree: Any) -> Any:
  """FrozenDicts as dicts, paths as tuples; boxes of either library as a pair of value and names."""
  if isinstance(tree, (flax.core.FrozenDict, minilinen.FrozenDict)):
    tree = tree.unfreeze()
  if isinstance(tree, dict):
    return {k: _plain(v) for k, v in tree.items()}
  if isinstance(tree, (list, tuple)) and not hasattr(tree, "_fields"):
    return (list if isinstance(tree, list) else tuple)(_plain(v) for v in tree)
  if type(tree).__name__ in ("Partitioned", "LogicallyPartitioned"):
    return {"box": type(tree).__name__, "value": tree.value, "names": tree.names}
  return tree


def _shapes(tree: Any) -> Any:
  return jax.tree.map(lambda x: getattr(x, "shape", x), tree)


def _bits(x: Any) -> bytes:
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    x = jax.random.key_data(x)
  return np.asarray(x).tobytes()


def same_model(
  build: Callable[[Any], Any],
  *args: Any,
  streams: tuple[str, ...] = ("params",),
  mutable: Any = False,
  method: str | None = None,
  grad: bool = True,
  **kwargs: Any,
) -> Any:
  """Asserts that a model is the same in every respect, and returns what minilinen gave, or the error of both.

  Args:
    build: from the namespace to the model.
    *args, **kwargs: of the call.
    streams: random streams to pass, to init and to apply.
    mutable: for apply.
    grad: whether the equations of the gradient by the parameters are compared.
  """
  keys = {s: jax.random.fold_in(KEY, i) for i, s in enumerate(streams)}

  def program(nn: Any) -> Any:
    model = build(nn)
    y, variables = model.init_with_output(keys, *args, method=method, **kwargs)

    def apply(variables: Any, *args: Any) -> Any:
      return model.apply(variables, *args, rngs=keys, mutable=mutable, method=method, **kwargs)

    result = {"variables": variables, "init": y, "apply": apply(variables, *args)}
    result["jaxpr"] = equations(jax.make_jaxpr(apply)(variables, *args))
    if grad and "params" in variables:

      def loss(params: Any) -> Any:
        leaves = jax.tree.leaves(apply({**variables, "params": params}, *args))
        return sum(jnp.sum(jnp.real(x) ** 2) for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact))

      result["grad"] = equations(
        jax.make_jaxpr(jax.grad(loss))(variables["params"])
      )  # quicker than its numbers
    return result

  found = same(program)
  assert not isinstance(found, Exception), f"both raise {found!r}"
  return found


_NAMES = {"name", "metadata", "debug", "source_info", "jvp_jaxpr_fun", "jvp_jaxpr_thunk", "fwd_jaxpr_thunk", "bwd", "num_consts", "out_trees", "call", "symbolic_zeros"}  # fmt: skip  # noqa: E501


def equations(closed: Any) -> list[Any]:
  """The equations of a jaxpr as plain data: primitives, parameters, shapes; without names, dead ones left out."""
  jaxpr = getattr(closed, "jaxpr", closed)
  numbers: dict[Any, int] = {}

  def atom(v: Any) -> Any:
    if hasattr(v, "val"):
      return (
        "literal",
        str(v.aval),
        np.asarray(v.val).tolist() if not hasattr(v.val, "dtype") or v.val.dtype != jax.dtypes.float0 else 0,
      )
    return (numbers.setdefault(v, len(numbers)), str(v.aval))

  def param(value: Any) -> Any:
    if type(value).__name__ in ("Jaxpr", "ClosedJaxpr"):
      return equations(value)
    if isinstance(value, (tuple, list)):
      return [param(v) for v in value]
    if callable(value) and not isinstance(value, type):
      return getattr(value, "__name__", type(value).__name__)
    return str(value)

  for v in [*jaxpr.constvars, *jaxpr.invars]:
    atom(v)
  out = []
  for eqn in live(jaxpr):
    params = {k: param(v) for k, v in eqn.params.items() if k not in _NAMES}
    out.append(
      (eqn.primitive.name, [atom(v) for v in eqn.invars], params, [str(v.aval) for v in eqn.outvars])
    )
    for v in eqn.outvars:
      atom(v)
  out.append(("out", [atom(v) for v in jaxpr.outvars]))
  return [repr(e) for e in out]


def live(jaxpr: Any) -> list[Any]:
  """The equations that an output needs, in order."""
  needed = {v for v in jaxpr.outvars if not hasattr(v, "val")}
  kept = []
  for eqn in reversed(jaxpr.eqns):
    if eqn.effects or any(v in needed for v in eqn.outvars):
      kept.append(eqn)
      needed.update(v for v in eqn.invars if not hasattr(v, "val"))
  return kept[::-1]
