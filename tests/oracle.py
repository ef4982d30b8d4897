"""Flax as the oracle: a program is a function of the `nn` namespace, run with Flax and with minilinen.

    def program(nn):
      class Net(nn.Module): ...
      return Net().init(key, x)

`same(program)` runs both under Flax's settings and compares what they return to the last bit, and
`same_error(program, "Name")` the class names of what they raise. As decorators of tests they are `as_flax(tree)` and
`raises_as_flax("Name")`; `tree` says what minilinen gave, as `shown` writes it, to a reader who has no Flax.
`same_model` compares a whole model: its variable tree, outputs, gradients, mutated variables and the equations of its
jaxpr.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
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
  found = agree(*run_both(program, *args))
  assert not isinstance(found, Exception), f"both raise {found!r}"
  return found


def same_or_error(program: Callable[..., Any], *args: Any, ours: str = "") -> Any:
  """As `same`, of programs of which some raise: then both do, and it returns minilinen's error; `ours` as there."""
  theirs, found = run_both(program, *args)
  return agree(theirs, found, ours if isinstance(theirs, AssertionError) else "")


def same_error(program: Callable[..., Any], name: str, ours: str = "") -> Exception:
  """Asserts that both raise an error of this class name, and returns minilinen's.

  Args:
    program: from the namespace to what raises.
    name: of the class that Flax raises, and minilinen too or a subclass of it.
    ours: of the class that minilinen raises where that is another on purpose: where Flax only asserts, or stumbles,
      minilinen says what is wrong.
  """
  theirs, found = run_both(program)
  assert type(theirs).__name__ == name, f"Flax gives {theirs!r}"
  return agree(theirs, found, ours)


def agree(theirs: Any, ours: Any, instead: str = "") -> Any:
  """Asserts that what both gave is the same to the last bit, or that both raised the same, and returns ours.

  Args:
    theirs: what Flax returned or raised.
    ours: what minilinen returned or raised.
    instead: name of the class of minilinen's error where it is none of Flax's.
  """
  if isinstance(theirs, Exception) or isinstance(ours, Exception):
    if isinstance(ours, Exception) and not isinstance(theirs, Exception):
      raise AssertionError(f"minilinen raises, Flax returns {theirs!r}") from ours
    assert isinstance(ours, Exception), f"Flax raises {theirs!r}, minilinen returns {ours!r}"
    names = [c.__name__ for c in type(ours).__mro__]
    assert (instead or type(theirs).__name__) in names, f"Flax raises {theirs!r}, minilinen {ours!r}"
    assert not instead or type(theirs).__name__ not in names, f"{ours!r} needs no other name"
    return ours
  equal(theirs, ours)
  return ours


def as_flax(tree: Any) -> Callable[[Callable[..., Any]], Callable[[], None]]:
  """Makes a program a test: minilinen returns what Flax returns, and `shown` that is this tree."""

  def decorate(program: Callable[..., Any]) -> Callable[[], None]:
    def test() -> None:
      assert shown(same(program)) == tree

    return _named(test, program)

  return decorate


def raises_as_flax(name: str, ours: str = "") -> Callable[[Callable[..., Any]], Callable[[], None]]:
  """Makes a program a test: both libraries raise an error of this class name; see `same_error`."""

  def decorate(program: Callable[..., Any]) -> Callable[[], None]:
    def test() -> None:
      same_error(program, name, ours)

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


def shown(value: Any) -> Any:
  """What a program returned, as a reader wants to see it in a test: a literal that needs no Flax.

  Of an array that is its shape; of one number that is whole, and of a few signed or truth values, the numbers, for
  they count steps or say which. A jaxpr's `equations` are how many of each primitive. All else is itself.

  >>> shown({"w": np.ones((4, 3)), "step": np.float32(2), "mask": np.array([True, False]), "loss": np.float32(0.3)})
  {'w': (4, 3), 'step': 2, 'mask': [True, False], 'loss': ()}
  >>> shown(minilinen.Partitioned(jnp.ones((2, 3)), ("in", "out")))
  {'box': 'Partitioned', 'value': (2, 3), 'names': ('in', 'out')}
  >>> shown(equations(jax.make_jaxpr(lambda x: jnp.sin(x) + jnp.sin(2 * x))(1.0)))
  {'add': 1, 'mul': 1, 'sin': 2}
  """
  value = _plain(value)
  if isinstance(value, dict):
    return {k: shown(v) for k, v in value.items()}
  if isinstance(value, list) and str(value[-1:]).startswith("[\"('out', "):
    return dict(sorted(Counter(equation.split("'")[1] for equation in value[:-1]).items()))
  if isinstance(value, (list, tuple)):
    return type(value)(*map(shown, value)) if hasattr(value, "_fields") else type(value)(map(shown, value))
  if not hasattr(value, "dtype") or not hasattr(value, "shape"):
    return value
  if isinstance(value, jax.ShapeDtypeStruct) or jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
    return value.shape
  numbers = np.asarray(value)
  if numbers.ndim == 0 and (numbers.dtype.kind in "bi" or numbers == np.round(numbers)):
    return numbers.item() if numbers.dtype.kind in "bi" else int(numbers)
  return (
    numbers.tolist()
    if numbers.ndim == 1 and numbers.dtype.kind in "bi" and numbers.size <= 8
    else value.shape
  )


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


# Names, and functions that stand for what an equation's jaxpr says or its derivative will.
_NAMES = {"jvp_jaxpr_fun", "jvp_jaxpr_thunk", "fwd_jaxpr_thunk", "bwd", "out_trees"}


def function(value: Any) -> Any:
  """What a function is, as plain data: where it is written and what it does, and so whatever it was made of.

  The policy of a remat is one; a name alone would be the same of all that `save_from_both_policies` returns.
  """
  if isinstance(value, FunctionType):
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    known = [value.__code__, cells, value.__defaults__, value.__kwdefaults__]
    return [f"{value.__module__}.{value.__qualname__}", *map(function, known)]
  if isinstance(value, CodeType):
    return [value.co_firstlineno, value.co_names, value.co_code, function(value.co_consts)]
  if isinstance(value, MethodType):
    return [function(value.__self__), function(value.__func__)]
  if isinstance(value, functools.partial):
    return [function(value.func), function(value.args), function(value.keywords)]
  if isinstance(value, dict):
    return [[function(k), function(v)] for k, v in value.items()]
  if isinstance(value, (tuple, list)):
    return [function(v) for v in value]
  if isinstance(value, (set, frozenset)):
    return sorted(map(repr, map(function, value)))
  if isinstance(value, ModuleType):
    return "module"
  if type(value).__repr__ is object.__repr__:
    return [type(value).__name__, function(vars(value) if hasattr(value, "__dict__") else None)]
  return str(value)


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
    return function(value)

  for v in [*jaxpr.constvars, *jaxpr.invars]:
    atom(v)
  out = []
  for eqn in live(jaxpr):
    left_out = _NAMES | {"name"} if {"jaxpr", "call_jaxpr"} & set(eqn.params) else _NAMES
    params = {k: param(v) for k, v in eqn.params.items() if k not in left_out}
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
