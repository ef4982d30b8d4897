"""Random programs, two and three models in one trace: each is told as it is told alone, and nothing is counted twice.

The programs are those of `fuzz_programs`. `FUZZ_EXAMPLES=500` in the environment asks for more of them.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
from fuzz_programs import INPUT, KEYS, MUTABLE, build, programs
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import minilinen as nn
from minilinen import errors
from minilinen.tracing import Trace
from minilinen.tracing.equations.work import Work
from minilinen.tracing.events import Call

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "4"))


def initialized(model: nn.Module, number: int) -> Any:
  """A model's variables, of other numbers for each of several models; a program that is wrong is passed over."""
  keys = {stream: jax.random.fold_in(key, number) for stream, key in KEYS.items()}
  try:
    variables = model.init(keys, INPUT)
    model.apply(variables, INPUT, rngs=KEYS, mutable=MUTABLE)
  except Exception:
    assume(False)
  return variables


def alone(model: nn.Module, variables: Any) -> Trace:
  return nn.trace(lambda v, x: model.apply(v, x, rngs=KEYS, mutable=MUTABLE))(variables, INPUT)


def told(trace: Trace) -> Counter[str]:
  """Every variable that a trace counts, as text."""
  trees = {tree.number: tree for tree in trace.trees}
  return Counter(str(f) for f in trace.find() if f.tree not in trees or trees[f.tree].counts(f.place))


def mistakes(trace: Trace) -> set[tuple[str, str]]:
  """What is found, but for hints: two models without variables that have one key have the same masks."""
  return {(finding.kind, finding.message) for finding in trace.check().warnings}


@settings(
  max_examples=EXAMPLES, deadline=None, derandomize="FUZZ_EXAMPLES" not in os.environ,
  suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(nodes=st.lists(programs, min_size=1, max_size=2), twin=st.booleans(), again=st.booleans())
def test_models_in_one_trace_are_told_as_alone(nodes: list[tuple], twin: bool, again: bool):
  nodes = [*nodes, nodes[0]] if twin or len(nodes) == 1 else nodes
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", errors.MinilinenWarning)
    models = [build(nn, node) for node in nodes]
    variables = [initialized(model, number) for number, model in enumerate(models)]
    apart = [alone(model, v) for model, v in zip(models, variables)]

    def together(variables: list[Any], x: Any) -> Any:
      results = [m.apply(v, x, rngs=KEYS, mutable=MUTABLE) for m, v in zip(models, variables)]
      return (results, models[0].apply(variables[0], x, rngs=KEYS, mutable=MUTABLE)) if again else results

    trace = nn.trace(together)(variables, INPUT)
  with_leaves = [v for v in variables if jax.tree.leaves(v.get("params", {}))]
  if len(with_leaves) == len(models):
    assert len(trace.trees) == len(models)
  assert told(trace) == sum((told(one) for one in apart), Counter())
  params = sum(leaf.size for v in variables for leaf in jax.tree.leaves(v.get("params", {})))
  assert trace.cost().total.parameters == params
  flops = sum(one.cost().flops for one in apart) + (apart[0].cost().flops if again else 0)
  assert trace.cost().flops == flops
  assert mistakes(trace) == set().union(*map(mistakes, apart))
  assert Trace.from_json(trace.to_json()) == trace


@settings(
  max_examples=EXAMPLES * 3, deadline=None, derandomize="FUZZ_EXAMPLES" not in os.environ,
  suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(node=programs, backward=st.booleans())
def test_the_costs_of_the_parts_add_up(node: tuple, backward: bool):
  """For modules, calls and lines alike; every equation has one of each, or stands outside of all modules."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", errors.MinilinenWarning)
    model = build(nn, node)
    variables = initialized(model, 0)

    def run(variables: Any, x: Any) -> Any:
      return model.apply(variables, x, rngs=KEYS, mutable=MUTABLE)

    def loss(params: Any, x: Any) -> Any:
      return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(run({**variables, "params": params}, x)[0]))

    is_backward = backward and "params" in variables
    trace = (
      nn.trace(jax.grad(loss))(variables["params"], INPUT) if is_backward else nn.trace(run)(variables, INPUT)
    )
  equations, whole = trace.equations(), trace.cost().total.work
  assert sum((e.total for e in equations), Work()) == whole
  assert sum((cost.own.work for _, cost in trace.cost().walk()), Work()) == whole
  by_call = [sum((e.total for e in equations if e.call == call.order), Work()) for call in trace.calls()]
  assert sum(by_call, sum((e.total for e in equations if e.call == -1), Work())) == whole
  for equation in equations:
    chain = [trace.records[order] for order in equation.calls]
    assert all(isinstance(record, Call) and record.holds for record in chain)
    assert not chain or equation.source is not None
