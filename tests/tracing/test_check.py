"""What `Trace.check` finds, as a whole text each; and that it finds nothing where nothing is wrong."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import viz_traces
from check_models import KEY, MLP, TRAINS, Mlp, Trains, X
from mistakes import Case, findings_text, raises
from trace_models import MODELS

import minilinen as nn
from minilinen import errors
from minilinen.examples import digits, lstm, resnet, transformer
from minilinen.tracing import Trace
from minilinen.tracing.checks import Findings

CASES: list[Case] = []
finds = functools.partial(raises, CASES)


# `Trace.check`: what the records show.


@finds(
  errors.UnusedVariableHint,
  """\
Hints, of what may be meant:

UnusedVariableHint: Parameters 'head' are passed to Mlp, and no apply in this
  trace reads them.
  module  /
  line    `return nn.trace(Mlp().apply)(variables, X).check()`
  expects a run that reads all parameters that it is given
  found   head
  mend    take them out of the tree, or pass the parameters of this very model;
          nothing, if other arguments, fields or methods of it need them""",
)
def parameters_never_read() -> Any:
  variables = {"params": {**MLP["params"], "head": {"kernel": X, "bias": X}}}
  return nn.trace(Mlp().apply)(variables, X).check()


@finds(
  errors.UnusedVariableHint,
  """\
Hints, of what may be meant:

UnusedVariableHint: Parameters 'lost' are read, but what is computed from them
  never reaches the output.
  module  /lost
  line    `nn.Dense(7, name="lost")(x)`
  expects a result that depends on all parameters
  found   variables/params/lost/bias
  mend    use what the module returns, or take the module out""",
)
def parameters_read_for_nothing() -> Any:
  class Wasteful(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      nn.Dense(7, name="lost")(x)
      return nn.Dense(2, name="kept")(x)

  return nn.check(Wasteful(), Wasteful().init(KEY, X), X)


@finds(
  errors.UncalledModuleHint,
  """\
Hints, of what may be meant:

UncalledModuleHint: Mlp '/unused' is declared in setup, and nothing in this
  trace calls it or reads its variables.
  module  /unused
  line    `self.unused = Mlp()`
  expects a call of every submodule
  found   none
  mend    call it where it belongs, or delete it from setup; nothing, if another
          method or other fields of the model call it""",
)
def module_never_called() -> Any:
  class Net(nn.Module):
    def setup(self) -> None:
      self.used = nn.Dense(2)
      self.unused = Mlp()

    def __call__(self, x: Any) -> Any:
      return self.used(x)

  return nn.trace(Net().init)(KEY, X).check()


@finds(
  errors.KeyCollisionWarning,
  """\
KeyCollisionWarning: '/a/bc' and '/ab/c' draw the same key of the stream
  'params': their names run together to one text.
  module  /a/bc
  line    `return nn.Dense(3, name=self.inner, use_bias=False)(x)`
  expects a key of its own for each
  found   ('a', 'bc', 1) and ('ab', 'c', 1)
  mend    nn.config.update("fix_rng_separator", True)""",
)
def names_that_run_together() -> Any:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      class Outer(nn.Module):
        inner: str

        @nn.compact
        def __call__(self, x: Any) -> Any:
          return nn.Dense(3, name=self.inner, use_bias=False)(x)

      return Outer("c", name="ab")(x) + Outer("bc", name="a")(x)

  return nn.trace(Net().init)(KEY, X).check()


@finds(
  errors.RetracedWarning,
  """\
RetracedWarning: apply of Mlp is traced 3 times from one line, for the same
  inputs.
  module  /
  line    `jax.jit(lambda v, x: model.apply(v, x))(MLP, X)`
  expects one compiled function that is called many times
  found   a new function for each call
  mend    call jax.jit once, outside of the loop""",
)
def jitted_anew_in_a_loop() -> Any:
  model = Mlp()
  with nn.record() as trace:
    for _ in range(3):
      jax.jit(lambda v, x: model.apply(v, x))(MLP, X)
  return trace.check()


@finds(
  errors.RetracedWarning,
  """\
RetracedWarning: apply of Mlp is traced 4 times from one line, for 4 different
  inputs.
  module  /
  line    `model, run = Mlp(), jax.jit(lambda v, x: Mlp().apply(v, x))`
  expects one compiled function that is called many times
  found   (f32[1,3]), (f32[2,3]), (f32[3,3]), (f32[4,3])
  mend    pad the inputs to one shape, or to a few""",
)
def inputs_of_many_shapes() -> Any:
  model, run = Mlp(), jax.jit(lambda v, x: Mlp().apply(v, x))
  with nn.record() as trace:
    for rows in range(1, 5):
      run(MLP, X[:rows])
  return model and trace.check()


@finds(
  errors.LeakedTracerWarning,
  """\
LeakedTracerWarning: Variable 'kernel' of collection 'params' in '/Dense_0' is
  written inside jax.jit: the value cannot leave the transform, and is a tracer
  afterwards.
  module  /Dense_0
  line    `return jax.jit(nn.Dense(2, use_bias=False))(x)`
  expects a lifted transform, which hands variables out
  found   jax.jit around a call of the module
  mend    nn.jit(nn.Dense)(4)(x)""",
)
def warning_is_in_the_trace() -> Any:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return jax.jit(nn.Dense(2, use_bias=False))(x)

  with warnings.catch_warnings(), nn.record() as trace:
    warnings.simplefilter("ignore")
    Net().init(KEY, X)
  return trace.check()


@finds(
  errors.StackedKeyWarning,
  """\
StackedKeyWarning: Parameter 'kernel' in '/Dense_0' has one entry for each
  element of nn.scan of Cell, and all were made with one key: they are equal.
  module  /Dense_0
  line    `return nn.Dense(3)(x), None`
  expects split_rngs={"params": True}
  found   "params" on an axis of its own, and its stream not split
  mend    nn.scan(Cell, split_rngs={..., "params": True}, ...)""",
)
def warning_in_a_first_pass() -> Any:
  class Cell(nn.Module):
    @nn.compact
    def __call__(self, x: Any, _: Any) -> Any:
      return nn.Dense(3)(x), None

  Loop = nn.scan(Cell, variable_axes={"params": 0}, split_rngs={"params": False}, length=2)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    return nn.trace(Loop().init)(KEY, X, None).check()


@finds(
  errors.HiddenMethodWarning,
  """\
HiddenMethodWarning: The field 'param' of Net hides the method Module.param:
  whoever calls it gets the field.
  module  /
  line    `return nn.trace(Net().init)(KEY, X).check()`
  expects a name that no method has
  found   Net.param
  mend    param_: ...""",
)
def field_hides_a_method() -> Any:
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")

    class Net(nn.Module):
      param: int = 1  # type: ignore[override]

      def __call__(self, x: Any) -> Any:
        return x * self.param

  return nn.trace(Net().init)(KEY, X).check()


@finds(
  errors.ScopeParamNotFoundError,
  """\
ScopeParamNotFoundError: Could not find parameter 'kernel' in '/Dense_2'.
There are no parameters for 'Dense_2'.
There: Dense_0, Dense_1.
  module  /Dense_2
  line    `x = nn.Dense(size)(x)`""",
)
def run_that_failed() -> Any:
  with pytest.raises(errors.ScopeParamNotFoundError) as caught:
    nn.trace(Mlp((5, 2, 4)).apply)(MLP, X)
  return caught.value.trace.check()  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2].__name__)
def test_findings(case: tuple[type[Warning], str, Callable[[], Any]]) -> None:
  kind, text, program = case
  findings = program()
  assert findings[0].kind == kind.__name__
  assert findings_text(findings) == text


def test_hints_stand_apart_from_warnings() -> None:
  """What is unused may be kept for another task; what draws the key of another is wrong."""

  class Net(nn.Module):
    def setup(self) -> None:
      self.encoder, self.decoder = nn.Dense(2), nn.Dense(3)

    def __call__(self, x: Any) -> Any:
      return jax.jit(lambda x: self.encoder(x))(x)

  with warnings.catch_warnings(), nn.record() as trace:
    warnings.simplefilter("ignore")
    Net().init(KEY, X)
  found = trace.check()
  assert {f.kind for f in found.warnings} == {"LeakedTracerWarning"}
  assert [f.kind for f in found.hints] == ["UncalledModuleHint"]
  assert [*found] == [*found.warnings, *found.hints] and found.without("LeakedTracerWarning") == found.hints
  assert [row["severity"] for row in found.to_rows()] == [f.severity for f in found]
  told, hinted = str(found).split("\n\nHints, of what may be meant:\n\n")
  assert told == str(found.warnings) and hinted == str(found[-1])
  for finding in found:
    kind = getattr(errors, finding.kind)
    assert issubclass(kind, errors.MinilinenHint) == (finding.severity == "hint")


def test_findings_are_in_a_saved_trace() -> None:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return jax.jit(nn.Dense(2, use_bias=False))(x)

  with warnings.catch_warnings(), nn.record() as trace:
    warnings.simplefilter("ignore")
    Net().init(KEY, X)
  assert Trace.from_json(trace.to_json()).check() == trace.check() != Findings()


# No false alarm.

# Some of these share a key or a stream on purpose, and one has a module that it never calls.
ON_PURPOSE = {
  "setup": {"UncalledModuleHint"},
  "vmap of vmap": {"StackedKeyWarning", "ServedByParamsWarning"},
  "scan of vmap": {"StackedKeyWarning", "ServedByParamsWarning"},
  "broadcast": {"ServedByParamsWarning"},
}


@pytest.mark.filterwarnings("ignore::minilinen.errors.MinilinenWarning")
@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_found_in_models_of_the_trace(name: str) -> None:
  module, rngs, args = MODELS[name]()
  found = nn.trace(module.init)(rngs, *args).check()
  variables = jax.eval_shape(module.init, rngs, *args)
  found = [*found, *nn.check(module, variables, *args, rngs=rngs, mutable=True)]
  assert {f.kind for f in found} == ON_PURPOSE.get(name, set()), Findings(found)


BIG: dict[str, tuple[nn.Module, tuple[Any, ...]]] = {
  "resnet": (resnet.ResNet(), ("f32[2,64,64,3]", True)),
  "transformer": (
    transformer.Transformer(layers=2, features=16, heads=2, vocabulary=50),
    ("i32[2,8]", False),
  ),
  "scanned": (
    transformer.Transformer(layers=2, features=16, heads=2, vocabulary=50, scanned=True),
    ("i32[2,8]", False),
  ),
  "lstm": (lstm.TextModel(features=8), ("i32[2,8]",)),
  "digits": (digits.CNN(), ("f32[2,8,8,1]", True)),
}


@pytest.mark.parametrize("name", BIG)
def test_nothing_is_found_in_the_examples(name: str) -> None:
  model, args = BIG[name]
  rngs = {"params": KEY, "dropout": KEY}
  trace = nn.trace(model.init)(rngs, *args)
  assert not trace.check()
  variables = jax.tree.map(
    lambda leaf: str(leaf), trace.runs[0].result, is_leaf=lambda x: isinstance(x, nn.Spec)
  )
  assert not nn.check(model, variables, *args, rngs={"dropout": KEY}, mutable="batch_stats")


@pytest.mark.parametrize("make", [viz_traces.resnet50, viz_traces.transformer, viz_traces.lstm])
def test_nothing_is_found_in_traces_made_by_hand(make: Callable[[], Trace]) -> None:
  assert not make().check()


def test_parameters_that_only_a_compiled_body_reads_are_read() -> None:
  """With `jit_folds_rngs` equal layers share a compilation, and nothing inside the second is seen."""
  nn.config.update("jit_folds_rngs", True)

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      for _ in range(3):
        x = nn.jit(nn.Dense)(3)(x)
      return x

  model = Net()
  with nn.record() as trace:
    model.apply(model.init(KEY, X), X)
  assert not trace.check()


def test_parameters_with_other_names_inside_are_read() -> None:
  """A tree from elsewhere says "weight", and the layer that reads it "kernel"."""

  def renamed(old: str, new: str) -> Any:
    return lambda given: {
      col: {new if name == old else name: leaf for name, leaf in tree.items()} for col, tree in given.items()
    }

  Renamed = nn.map_variables(
    nn.Dense, "params", renamed("weight", "kernel"), renamed("kernel", "weight"), init=True
  )

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return Renamed(3, name="layer")(x)

  variables = Net().init(KEY, X)
  assert variables["params"]["layer"].keys() == {"weight", "bias"}
  assert not nn.trace(Net().apply)(variables, X).check()


def test_two_models_may_draw_the_same_key() -> None:
  """Two runs start from one key: that their layers get equal ones is said by no name of either."""

  class Inner(nn.Module):
    inner: str

    @nn.compact
    def __call__(self, x: Any) -> Any:
      return nn.Dense(3, name=self.inner, use_bias=False)(x)

  class Net(nn.Module):
    outer: str
    inner: str

    @nn.compact
    def __call__(self, x: Any) -> Any:
      return Inner(self.inner, name=self.outer)(x)

  with nn.record() as trace:
    one, other = Net("ab", "c").init(KEY, X), Net("a", "bc").init(KEY, X)
  assert (one["params"]["ab"]["c"]["kernel"] == other["params"]["a"]["bc"]["kernel"]).all()
  assert not trace.check()


def test_branches_of_a_switch_are_no_retracing() -> None:
  model = Mlp()
  with nn.record() as trace:
    branches = [lambda x, n=n: model.apply(MLP, x) * n for n in range(4)]
    jax.jit(lambda i, x: jax.lax.switch(i, branches, x))(1, X)
  assert not trace.check()


def test_a_training_step_has_nothing_to_find() -> None:
  model = Trains()

  def step(variables: Any, key: Any, x: Any) -> Any:
    def loss(params: Any) -> Any:
      y, updates = model.apply(
        {**variables, "params": params}, x, rngs={"dropout": key}, mutable=["batch_stats"]
      )
      return (y**2).mean(), updates

    gradient, updates = jax.grad(loss, has_aux=True)(variables["params"])
    return jax.tree.map(jnp.subtract, variables["params"], gradient), updates

  assert not nn.trace(step)(TRAINS, KEY, X).check()
  with nn.record() as trace:
    jitted = jax.jit(step)
    for number in range(4):
      jitted(TRAINS, jax.random.fold_in(KEY, number), X)
  assert not trace.check()


def test_findings_say_which_of_several_models_is_meant():
  class Net(nn.Module):
    idle: bool = False

    @nn.compact
    def __call__(self, x):
      if self.idle:
        nn.Dense(4, name="idle")(x)
      return nn.Dense(2)(x)

  right, wrong, x = Net(), Net(idle=True), jnp.ones((2, 3))
  given = [jax.eval_shape(net.init, jax.random.key(0), x) for net in (right, wrong)]
  trace = nn.trace(lambda one, other, x: right.apply(one, x) + wrong.apply(other, x))(*given, x)
  (finding,) = trace.check()
  assert finding.tree == 1 and finding.to_row()["tree"] == 1
  assert "trace.models[1]" in str(finding)
  (alone,) = nn.trace(wrong.apply)(given[1], x).check()
  assert alone.tree is None and "trace.models" not in str(alone)
