"""Dicts and keywords reach a model in the user's order, whether it runs or is traced."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import minilinen as nn
from minilinen.tracing.inputs import abstract, separate
from minilinen.tracing.spec import is_array

KEY = jax.random.key(0)
TEXT, IMAGE = jnp.ones((2, 4)), jnp.ones((2, 7))


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Batch:
  inputs: Any
  weight: float = dataclasses.field(metadata={"static": True}, default=1.0)


class Pair(collections.namedtuple("Pair", "inputs number")):
  pass


class Towers(nn.Module):
  """A layer for each input, in the order in which a loop over them comes by."""

  @nn.compact
  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    return [nn.Dense(2)(x) for x in self.flat((*args, kwargs))]

  def flat(self, value: Any) -> list[Any]:
    if isinstance(value, Batch):
      return self.flat(value.inputs)
    if hasattr(value, "items"):
      value = tuple(value.values())
    return [x for part in value for x in self.flat(part)] if isinstance(value, tuple | list) else [value]


def entries(value: Any = None) -> dict[str, Any]:
  return {"text": value if value is not None else TEXT, "image": IMAGE}


DEFAULT = collections.defaultdict(list, entries())
CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
  "a dict": ((entries(),), {}),
  "nested dicts": (({"outer": entries(), "inner": entries()},), {}),
  "an OrderedDict": ((collections.OrderedDict(entries()),), {}),
  "a defaultdict": ((DEFAULT,), {}),
  "a FrozenDict": ((nn.FrozenDict(entries()),), {}),
  "a FrozenDict in a list": (([nn.FrozenDict({"a": entries()})],), {}),
  "a dataclass": ((Batch(entries()),), {}),
  "a named tuple": ((Pair(entries(), IMAGE),), {}),
  "keywords": ((), entries()),
  "dicts by keyword": ((), {"z": entries(), "a": (entries(),)}),
}


def kernels(variables: Any) -> dict[str, Any]:
  return {name: variables["params"][name]["kernel"].shape for name in variables["params"]}


def told(trace: nn.Trace) -> dict[str, Any]:
  return {found.place[1]: found.value.shape for found in trace.find("params/**/kernel")}


@pytest.mark.parametrize("name", CALLS)
def test_a_model_is_traced_as_it_runs(name: str) -> None:
  args, kwargs = CALLS[name]
  model = Towers()
  variables = model.init(KEY, *args, **kwargs)
  assert kernels(variables)["Dense_0"] == (4, 2)
  assert told(model.trace(KEY, *args, **kwargs)) == kernels(variables)
  assert told(nn.trace(model.init)(KEY, *args, **kwargs)) == kernels(variables)
  assert told(nn.trace(model.apply)(variables, *args, **kwargs)) == kernels(variables)
  assert not list(nn.check(model, variables, *args, **kwargs))


def test_the_table_names_the_kernels_that_init_makes() -> None:
  table = Towers().tabulate(KEY, entries(), console_kwargs={"width": 120, "force_terminal": False})
  first = table[table.index("Dense_0") : table.index("Dense_1")]
  assert "f32[4,2]" in first and "f32[7,2]" not in first
  derivatives = Towers().tabulate(KEY, entries(), compute_vjp_flops=True, console_kwargs={"width": 140})
  assert "f32[4,2]" in derivatives[derivatives.index("Dense_0") : derivatives.index("Dense_1")]


def test_arguments_of_the_jaxpr_come_in_jaxs_order() -> None:
  args, kwargs = (KEY, {"b": TEXT, "a": IMAGE}), {"z": TEXT, "c": IMAGE}
  trace = nn.trace(lambda key, x, **more: (x["a"], more["z"]))(*args, **kwargs)
  plain = jax.make_jaxpr(lambda key, x, **more: (x["a"], more["z"]))(*args, **kwargs)
  assert str(trace.jaxpr) == str(plain.jaxpr)


def test_variables_come_in_the_users_order() -> None:
  variables = nn.FrozenDict({"params": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)}})
  (run,) = nn.trace(nn.Dense(2).apply)(variables, TEXT).runs
  assert list(run.given["params"]) == ["kernel", "bias"]


def test_containers_stay_what_they_are() -> None:
  for call in CALLS.values():
    leaves, fill = separate(call, is_array)
    for made in (abstract(call), fill(leaves)):
      assert jax.tree.structure(made) == jax.tree.structure(call)
  (made,), _ = abstract(((DEFAULT,), {}))
  assert made.default_factory is list and list(made) == ["text", "image"]
  assert list(DEFAULT) == ["text", "image"] and DEFAULT["text"] is TEXT


class Registered(collections.abc.Mapping):  # type: ignore[type-arg]
  """A mapping of a user's that can't be called with a dict."""

  def __init__(self, first: Any, second: Any):
    self.parts = {"z": first, "a": second}

  def __getitem__(self, key: str) -> Any:
    return self.parts[key]

  def __iter__(self) -> Any:
    return iter(self.parts)

  def __len__(self) -> int:
    return 2


jax.tree_util.register_pytree_node(
  Registered, lambda m: (tuple(m.parts.values()), None), lambda _, parts: Registered(*parts)
)


def test_a_mapping_of_the_users_own_arrives() -> None:
  trace = nn.trace(lambda m: m["z"] * 2)(Registered(TEXT, IMAGE))
  assert trace.result.shape == (2, 4)
