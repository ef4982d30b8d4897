"""What `nn.check` finds, as a whole text each: variables against the model that they are passed to."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import check_models
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

ExtraVariableWarning: Parameters 'encoder' are not the model's.
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
  errors.ExtraVariableWarning,
  """\
ExtraVariableWarning: Parameters 'head' are not the model's.
  module  /
  expects Dense_0, Dense_1
  found   head
  mend    take them out of the tree, or pass the parameters of this very model""",
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
