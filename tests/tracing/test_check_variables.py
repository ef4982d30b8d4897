"""What `nn.check` finds, as a whole text each: variables against the model that they are passed to."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import check_models
import jax
import jax.numpy as jnp
import pytest
from check_models import KEY, MLP, TRAINS, Mlp, Trains, X
from mistakes import Case, findings_text, raises

import minilinen as nn
from minilinen import errors
from minilinen.tracing.checks import Findings

CASES: list[Case] = []
finds = functools.partial(raises, CASES)


# `nn.check`: variables against a model.


@finds(
  errors.ScopeParamNotFoundError,
  """\
ScopeParamNotFoundError: Parameters 'Dense_1' are missing.
  module  /
  line    `x = nn.Dense(size)(x)`
  expects Dense_1
  found   Dense_0
  mend    pass the parameters of this very model; if a layer was added or
          renamed, init again""",
)
def layer_missing() -> Any:
  return nn.check(Mlp(), {"params": {"Dense_0": MLP["params"]["Dense_0"]}}, X)


@finds(
  errors.ScopeParamNotFoundError,
  """\
ScopeParamNotFoundError: Parameters 'enc' are missing. Did you mean 'encoder'?
  module  /
  line    `x = nn.BatchNorm(use_running_average=not train)(nn.Dense(3, name="enc")(x))`
  expects enc
  found   encoder, BatchNorm_0
  mend    pass the parameters of this very model; if a layer was added or
          renamed, init again

Hints, of what may be meant:

ExtraVariableHint: Parameters 'encoder' are none that the model makes for these
  arguments.
Did you mean 'enc'?
  module  /
  expects enc, BatchNorm_0
  found   encoder
  mend    take them out of the tree, or pass the parameters of this very model""",
)
def layer_renamed() -> Any:
  params = {"encoder": TRAINS["params"]["enc"], "BatchNorm_0": TRAINS["params"]["BatchNorm_0"]}
  return nn.check(Trains(), {**TRAINS, "params": params}, X, False)


@finds(
  errors.ScopeParamShapeError,
  """\
ScopeParamShapeError: Variable 'params/Dense_0/kernel' is f32[3,5], and the
  model makes it f32[7,5], for inputs (f32[4,7]).
  module  /Dense_0
  line    `x = nn.Dense(size)(x)`
  expects f32[7,5]
  found   f32[3,5]
  mend    pass an input of the size that the variables were made for, or init
          again for this one""",
)
def input_of_another_size() -> Any:
  return nn.check(Mlp(), MLP, "f32[4,7]")


@finds(
  errors.ScopeParamShapeError,
  """\
ScopeParamShapeError: Variable 'batch_stats/BatchNorm_0/mean' is f32[7], and the
  model makes it f32[3], for inputs (f32[4,3]).
  module  /BatchNorm_0
  line    `x = nn.BatchNorm(use_running_average=not train)(nn.Dense(3, name="enc")(x))`
  expects f32[3]
  found   f32[7]
  mend    pass an input of the size that the variables were made for, or init
          again for this one""",
)
def statistics_of_another_size() -> Any:
  wrong = {"BatchNorm_0": {"mean": jnp.ones(7), "var": jnp.ones(3)}}
  return nn.check(Trains(), {**TRAINS, "batch_stats": wrong}, X, False)


@finds(
  errors.ScopeParamTypeError,
  """\
ScopeParamTypeError: Variable 'params/Dense_1/kernel' is 'abc', and the model
  makes it f32[5,2], for inputs (f32[4,5]).
  module  /Dense_1
  line    `x = nn.Dense(size)(x)`
  expects f32[5,2]
  found   'abc'
  mend    pass the variables as init returns them""",
)
def text_for_a_parameter() -> Any:
  params = {**MLP["params"], "Dense_1": {"kernel": "abc", "bias": jnp.ones(2)}}
  return nn.check(Mlp(), {"params": params}, X)


@finds(
  errors.ExtraVariableHint,
  """\
Hints, of what may be meant:

ExtraVariableHint: Parameters 'head' are none that the model makes for these
  arguments, and nothing reads them.
  module  /
  expects Dense_0, Dense_1
  found   head
  mend    take them out of the tree, or pass the parameters of this very model;
          nothing, if other arguments or another method need them""",
)
def layer_too_many() -> Any:
  return nn.check(Mlp(), {"params": {**MLP["params"], "head": {"kernel": X}}}, X)


@finds(
  errors.MovedNameWarning,
  """\
MovedNameWarning: The parameters of Dense in '/' fit under other numbers:
  'Dense_0' was put in, and the automatic names behind it moved.
  module  /
  line    `x = nn.Dense(size)(x)`
  expects Dense_0, Dense_1, Dense_2
  found   Dense_0, Dense_1
  mend    {**params, "Dense_1": params["Dense_0"], "Dense_2": params["Dense_1"],
          "Dense_0": init["Dense_0"]}, or give the layers names (name=...)""",
)
def layer_put_in() -> Any:
  return nn.check(Mlp((3, 5, 2)), MLP, X)


@finds(
  errors.MovedNameWarning,
  """\
MovedNameWarning: The parameters of Dense in '/' fit under other numbers:
  'Dense_1' was taken out, and the automatic names behind it moved.
  module  /
  line    `x = nn.Dense(size)(x)`
  expects Dense_0, Dense_1
  found   Dense_0, Dense_1, Dense_2
  mend    {**params, "Dense_1": params["Dense_2"]} without "Dense_2", or give
          the layers names (name=...)""",
)
def layer_taken_out() -> Any:
  return nn.check(Mlp((5, 2)), Mlp((5, 5, 2)).init(KEY, X), X)


@finds(
  errors.ScopeCollectionNotFound,
  """\
ScopeCollectionNotFound: Tried to access 'kernel' from collection 'params' in
  '/Dense_0', but the collection is empty.
The dict passed has the keys Dense_0, Dense_1: it looks like the params
  themselves.
  module  /Dense_0
  line    `x = nn.Dense(size)(x)`
  mend    model.apply({"params": params}, x)""",
)
def params_for_variables() -> Any:
  return nn.check(Mlp(), MLP["params"], X)


@finds(
  errors.ApplyScopeInvalidVariablesStructureError,
  """\
ApplyScopeInvalidVariablesStructureError: The variables have "params" inside
  "params": variables["params"] has the keys ['params'].
  line    `return nn.check(Mlp(), {"params": MLP}, X)`
  mend    pass what init returned as it is, without {"params": ...} around: it
          has the collections.""",
)
def variables_for_params() -> Any:
  return nn.check(Mlp(), {"params": MLP}, X)


@finds(
  errors.ApplyScopeInvalidVariablesTypeError,
  """\
ApplyScopeInvalidVariablesTypeError: apply needs variables as a dict: collection
  -> nested dict of arrays, but got [1], a list.
  line    `return nn.check(Mlp(), [1], X)`
  mend    variables = model.init(key, x); model.apply(variables, x)""",
)
def list_for_variables() -> Any:
  return nn.check(Mlp(), [1], X)


@finds(
  errors.ScopeCollectionNotFound,
  """\
ScopeCollectionNotFound: Tried to access 'mean' from collection 'batch_stats' in
  '/BatchNorm_0', but the collection is empty.
Collections passed: params.
  module  /BatchNorm_0
  line    `x = nn.BatchNorm(use_running_average=not train)(nn.Dense(3, name="enc")(x))`
  mend    model.apply({..., "batch_stats": variables["batch_stats"]}, x)""",
)
def collection_not_passed() -> Any:
  return nn.check(Trains(), {"params": TRAINS["params"]}, X, False)


@finds(
  errors.ModifyScopeVariableError,
  """\
ModifyScopeVariableError: Cannot update variable 'mean' in '/BatchNorm_0':
  collection 'batch_stats' is immutable.
  module  /BatchNorm_0
  line    `x = nn.BatchNorm(use_running_average=not train)(nn.Dense(3, name="enc")(x))`
  mend    y, updates = model.apply(variables, x, mutable=['batch_stats'])""",
)
def collection_not_mutable() -> Any:
  return nn.check(Trains(), TRAINS, X, rngs={"dropout": KEY})


@finds(
  errors.InvalidRngError,
  """\
InvalidRngError: /Dropout_0 needs PRNG for "dropout", but the streams passed
  are: none.
  module  /Dropout_0
  line    `return nn.Dropout(0.5, deterministic=not train)(x)`
  mend    model.apply(variables, x, rngs={"dropout": key})""",
)
def stream_missing() -> Any:
  return nn.check(Trains(), TRAINS, X, mutable="batch_stats")


@finds(
  errors.ServedByParamsWarning,
  """\
ServedByParamsWarning: '/Dropout_0' draws from the stream 'dropout', which was
  not passed: "params" serves for it.
Is 'dropuot' misspelt?
  module  /Dropout_0
  line    `return nn.Dropout(0.5, deterministic=not train)(x)`
  expects a key for 'dropout'
  found   params, dropuot
  mend    rngs={"dropout": key, ...}""",
)
def stream_misspelt() -> Any:
  return nn.check(Trains(), TRAINS, X, mutable="batch_stats", rngs={"params": KEY, "dropuot": KEY})


@finds(
  errors.ApplyModuleInvalidMethodError,
  """\
ApplyModuleInvalidMethodError: Cannot call apply(): 'encode' is not a valid
  function, or no method of the module.
  line    `return nn.check(Trains(), TRAINS, X, method="encode")`
  mend    method= takes the name of a method, or a function of the module:
          lambda model, x: ...""",
)
def method_misspelt() -> Any:
  return nn.check(Trains(), TRAINS, X, method="encode")


@finds(
  TypeError,
  """\
TypeError: not today
  module  /
  line    `raise TypeError("not today")`""",
)
def exception_of_the_users() -> Any:
  class Raises(nn.Module):
    def __call__(self, x: Any) -> Any:
      raise TypeError("not today")

  return nn.check(Raises(), {}, X)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2].__name__)
def test_findings(case: tuple[type[Warning], str, Callable[[], Any]]) -> None:
  kind, text, program = case
  findings = program()
  assert findings[0].kind == kind.__name__
  assert findings_text(findings) == text


def test_findings_as_data() -> None:
  findings = layer_missing()
  (row,) = findings.to_rows()
  assert json.loads(json.dumps(row)) == row
  assert row["kind"] == "ScopeParamNotFoundError" and row["file"] == check_models.__file__ and row["mend"]
  assert findings.of_kind("ScopeParamNotFoundError") == findings and not findings.without(
    "ScopeParamNotFoundError"
  )
  assert findings[:1] == findings and isinstance(findings[:1], Findings)
  assert str(Findings()) == "Nothing found."


def test_a_cache_may_be_longer_than_the_inputs() -> None:
  model = nn.MultiHeadDotProductAttention(num_heads=2, decode=True)
  variables = model.init(KEY, jnp.ones((1, 5, 4)))
  assert not nn.check(model, variables, "f32[1,1,4]", mutable="cache")


def test_a_method_may_leave_parameters_unread() -> None:
  class Coder(nn.Module):
    def setup(self) -> None:
      self.encoder, self.decoder = nn.Dense(2), nn.Dense(3)

    def encode(self, x: Any) -> Any:
      return self.encoder(x)

    def __call__(self, x: Any) -> Any:
      return self.decoder(self.encoder(x))

  variables = Coder().init(KEY, X)
  assert not nn.check(Coder(), variables, X, method="encode")
  assert not nn.trace(Coder().apply)(variables, X, method="encode").check()


# What is unused, by what the trace knows of the cause.


class Heads(nn.Module):
  task: str = "a"

  def setup(self) -> None:
    self.encoder, self.a, self.b = nn.Dense(8), nn.Dense(3), nn.Dense(4)

  def __call__(self, x: Any) -> Any:
    return (self.a if self.task == "a" else self.b)(self.encoder(x))

  def both(self, x: Any) -> Any:
    return self.a(self.encoder(x)), self.b(self.encoder(x))


HEADS = Heads().init(KEY, X, method="both")


def test_a_head_that_is_not_called_is_told_once() -> None:
  (found,) = nn.trace(Heads().apply)(HEADS, X).check()
  assert (found.kind, str(found.path)) == ("UncalledModuleHint", "/b")


def test_what_another_method_calls_in_the_same_trace_is_used() -> None:
  def heads_and_one(variables: Any, x: Any) -> Any:
    return Heads().apply(variables, x, method="both"), Heads().apply(variables, x)

  assert not nn.trace(heads_and_one)(HEADS, X).check()
  with nn.record() as trace:
    Heads().apply(Heads().init(KEY, X, method="both"), X)
  (found,) = trace.check()
  assert "'b' are passed to Heads, and no apply in this trace reads them" in found.message


class Normed(nn.Module):
  """Asks its layer to `apply` a kernel that it has made."""

  def setup(self) -> None:
    self.layer = nn.Dense(3)
    self.kernel = self.param("kernel", nn.initializers.ones, (3, 3))

  def __call__(self, x: Any) -> Any:
    made = {"kernel": self.kernel / 2, "bias": jnp.zeros(3)}
    return self.layer.apply({"params": made}, x)


def test_a_layer_that_is_applied_to_variables_made_for_it_is_called() -> None:
  variables = Normed().init(KEY, X)
  assert not nn.trace(Normed().apply)(variables, X).check()
  assert not nn.check(Normed(), variables, X)


class Decodes(nn.Module):
  @nn.compact
  def __call__(self, x: Any, decode: bool = False) -> Any:
    return nn.Dense(3, name="positions")(x) if decode else x


def test_what_other_arguments_need_is_a_hint() -> None:
  variables = Decodes().init(KEY, X, decode=True)
  (found,) = nn.check(Decodes(), variables, X)
  assert (found.kind, found.severity) == ("ExtraVariableHint", "hint")
  assert found.mend.endswith("; nothing, if other arguments or another method need them")
  (found,) = nn.trace(Decodes().apply)(variables, X).check()
  assert (found.kind, found.severity) == ("UnusedVariableHint", "hint")
  assert found.mend.endswith("; nothing, if other arguments, fields or methods of it need them")
  assert not nn.check(Decodes(), variables, X, decode=True)


class Rule(nn.Module):
  """The backward pass of a function reads a parameter that its forward pass does not."""

  @nn.compact
  def __call__(self, x: Any) -> Any:
    scale = self.param("scale", nn.initializers.ones, (3,))
    slope = self.param("slope", nn.initializers.ones, (3,))
    scaled = jax.custom_vjp(lambda x, scale, slope: x * scale)
    scaled.defvjp(
      lambda x, scale, slope: (x * scale, (x, slope)),
      lambda kept, g: (g * kept[1], (g * kept[0]).sum(0), jnp.zeros(3)),
    )
    return scaled(x, scale, slope)


def test_what_a_derivative_rule_is_given_is_said_to_be_so() -> None:
  variables = Rule().init(KEY, X)
  (found,) = nn.trace(Rule().apply)(variables, X).check()
  assert found.found == "variables/params/slope"
  assert "They go into a function with a derivative rule of its own" in found.message
  assert found.mend.endswith("; nothing, if that backward pass needs them")
  by_input = nn.trace(lambda v, x: jax.grad(lambda x: Rule().apply(v, x).sum())(x))(variables, X).check()
  assert [f.found for f in by_input] == ["v/params/scale"]


@pytest.mark.parametrize("rule", [nn.relu, jax.nn.softmax, jax.nn.silu])
def test_a_rule_that_uses_its_argument_is_no_cause(rule: Any) -> None:
  class Wasteful(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      rule(nn.Dense(7, name="lost")(x))
      return rule(nn.Dense(2, name="kept")(x))

  (found,) = nn.check(Wasteful(), Wasteful().init(KEY, X), X)
  assert (
    "derivative" not in found.message and found.mend == "use what the module returns, or take the module out"
  )


def test_what_gradients_do_not_depend_on_may_be_right() -> None:
  """A bias behind which all is linear has a gradient, which does not depend on it."""
  (found,) = nn.trace(jax.grad(lambda v: Mlp().apply(v, X).sum()))(MLP).check()
  assert found.found == "v/params/Dense_1/bias"
  assert found.mend.endswith("; nothing, if gradients alone are asked for, and do not depend on it")


def test_a_cache_alone_needs_no_query() -> None:
  model = nn.MultiHeadDotProductAttention(num_heads=2, decode=True)
  variables = model.init(KEY, jnp.ones((1, 5, 4)))

  def step(variables: Any, x: Any) -> Any:
    return model.apply(variables, x, mutable="cache")

  assert not nn.trace(step)(variables, "f32[1,1,4]").check()
  found = nn.trace(lambda v, x: step(v, x)[1])(variables, "f32[1,1,4]").check()
  assert [str(f.path) for f in found] == ["/out", "/query"]
  assert {f.mend for f in found} == {"use what the module returns, or take the module out"}
