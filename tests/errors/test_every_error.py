"""Every error class of minilinen, raised by a program such as users write, and its message read as a whole.

Where a message names a line, the test shows the code of that line in its place.
"""

from __future__ import annotations

import functools
import pickle
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mistakes
import numpy as np
import pytest
from mistakes import Case, run

import minilinen as nn
import viz
from minilinen import core, errors
from minilinen.module.context import captures, interceptors, running
from minilinen.tracing import SpecError, current

KEY = jax.random.key(0)
X = jnp.ones((2, 3))

CASES: list[Case] = []
raises = functools.partial(mistakes.raises, CASES)


class Net(nn.Module):
  @nn.compact
  def __call__(self, x: Any, train: bool = False) -> Any:
    x = nn.Dense(4, name="enc")(x)
    x = nn.BatchNorm(use_running_average=not train)(x)
    x = nn.Dropout(0.5, deterministic=not train)(x)
    return nn.Dense(2)(x)


NET = Net().init(KEY, X)


def changed(change: Callable[[Any], Any]) -> Any:
  """The variables of `Net` after a change."""
  variables = core.unfreeze(NET)
  change(variables["params"])
  return variables


# What is passed to init and apply.


@raises(
  errors.ScopeCollectionNotFound,
  """\
Tried to access 'kernel' from collection 'params' in '/enc', but the collection
  is empty.
The dict passed has the keys BatchNorm_0, Dense_0, enc: it looks like the params
  themselves.
  module  /enc
  line    `x = nn.Dense(4, name="enc")(x)`
  wrong   model.apply(params, x)
  right   model.apply({"params": params}, x)
in module /enc (Dense.__call__), called with (f32[2,3])""",
)
def params_for_variables() -> Any:
  return Net().apply(NET["params"], X)


@raises(
  errors.ApplyScopeInvalidVariablesStructureError,
  """\
The variables have "params" inside "params": variables["params"] has the keys
  ['batch_stats', 'params'].
  line    `return Net().apply({"params": NET}, X)`
  mend    pass what init returned as it is, without {"params": ...} around: it
          has the collections.""",
)
def variables_for_params() -> Any:
  return Net().apply({"params": NET}, X)


@raises(
  errors.ScopeCollectionNotFound,
  """\
Tried to access 'mean' from collection 'batch_stats' in '/BatchNorm_0', but the
  collection is empty.
Collections passed: params.
  module  /BatchNorm_0
  line    `x = nn.BatchNorm(use_running_average=not train)(x)`
  right   model.apply({..., "batch_stats": variables["batch_stats"]}, x)
  mend    or while training, where mean 0 and variance 1 are a beginning:
          mutable=['batch_stats'].
in module /BatchNorm_0 (BatchNorm.__call__), called with (f32[2,4])""",
)
def collection_missing() -> Any:
  return Net().apply({"params": NET["params"]}, X)


@raises(
  errors.ScopeCollectionNotFound,
  """\
Tried to access 'mean' from collection 'batch_stats' in '/BatchNorm_0', but the
  collection is empty.
Is 'batch_stat' misspelt?
Collections passed: batch_stat, params.
  module  /BatchNorm_0
  line    `x = nn.BatchNorm(use_running_average=not train)(x)`
  right   model.apply({..., "batch_stats": variables["batch_stats"]}, x)
  mend    or while training, where mean 0 and variance 1 are a beginning:
          mutable=['batch_stats'].
in module /BatchNorm_0 (BatchNorm.__call__), called with (f32[2,4])""",
)
def collection_misspelt() -> Any:
  return Net().apply({"params": NET["params"], "batch_stat": NET["batch_stats"]}, X)


@raises(
  errors.ApplyScopeInvalidVariablesTypeError,
  """\
apply needs variables as a dict: collection -> nested dict of arrays, but got
  [1], a list.
  line    `return Net().apply([1], X)  # type: ignore[arg-type]`
  right   variables = model.init(key, x); model.apply(variables, x)""",
)
def variables_no_dict() -> Any:
  return Net().apply([1], X)  # type: ignore[arg-type]


@raises(
  errors.ApplyScopeInvalidVariablesTypeError,
  """\
apply needs variables as a dict: collection -> nested dict of arrays, but got
  None.
  line    `return Net().apply(None, X)  # type: ignore[arg-type]`
  right   variables = model.init(key, x); model.apply(variables, x)""",
)
def variables_none() -> Any:
  return Net().apply(None, X)  # type: ignore[arg-type]


@raises(
  errors.ApplyScopeInvalidVariablesTypeError,
  """\
apply needs variables as a dict: collection -> nested dict of arrays, but got a
  FrozenDict with the keys bias, kernel.
  line    `return nn.Dense(4).apply(NET["params"]["enc"], X)`
  wrong   model.apply(params, x)
  right   model.apply({"params": params}, x)""",
)
def parameters_of_one_layer() -> Any:
  return nn.Dense(4).apply(NET["params"]["enc"], X)


@raises(
  errors.InvalidRngError,
  """\
init of Net needs a random key or a dict of them, but got f32[2,3].
  line    `return Net().init(X)`
  right   model.init(jax.random.key(0), x) or model.init({"params": key,
          "dropout": key2}, x)""",
)
def key_missing() -> Any:
  return Net().init(X)


@raises(
  errors.InvalidRngError,
  """\
init of Net needs a random key or a dict of them, but got 0.
  line    `return Net().init(0, X)`
  right   model.init(jax.random.key(0), x) or model.init({"params": key,
          "dropout": key2}, x)""",
)
def key_is_a_number() -> Any:
  return Net().init(0, X)


@raises(
  errors.InvalidRngError,
  """\
init of Net needs a random key or a dict of them, but got key<fry>[3].
  line    `return Net().init(jax.random.split(KEY, 3), X)`
  right   model.init(jax.random.key(0), x) or model.init({"params": key,
          "dropout": key2}, x)""",
)
def several_keys() -> Any:
  return Net().init(jax.random.split(KEY, 3), X)


@raises(
  errors.InvalidRngError,
  """\
rngs should be a dictionary of stream names and keys, but 'dropout' is 3.
  line    `return Net().apply(NET, X, rngs={"dropout": 3})`
  right   rngs={"dropout": jax.random.key(1)}""",
)
def stream_is_a_number() -> Any:
  return Net().apply(NET, X, rngs={"dropout": 3})


@raises(
  errors.InvalidRngError,
  """\
/Dropout_0 needs PRNG for "dropout", but the streams passed are: none.
  module  /Dropout_0
  line    `x = nn.Dropout(0.5, deterministic=not train)(x)`
  right   model.apply(variables, x, rngs={"dropout": key})
  mend    a bound module is given them by bind: model.bind(variables, rngs=...).
in module /Dropout_0 (Dropout.__call__), called with (f32[2,4])""",
)
def stream_missing() -> Any:
  return Net().apply(NET, X, train=True, mutable=["batch_stats"])


@raises(
  errors.InvalidRngError,
  """\
/Dropout_0 needs PRNG for "dropout", but the streams passed are: dropuot.
Is 'dropuot' misspelt?
  module  /Dropout_0
  line    `x = nn.Dropout(0.5, deterministic=not train)(x)`
  right   model.apply(variables, x, rngs={"dropout": key})
  mend    a bound module is given them by bind: model.bind(variables, rngs=...).
in module /Dropout_0 (Dropout.__call__), called with (f32[2,4])""",
)
def stream_misspelt() -> Any:
  return Net().apply(NET, X, train=True, mutable=["batch_stats"], rngs={"dropuot": KEY})


@raises(
  errors.ModifyScopeVariableError,
  """\
Cannot update variable 'mean' in '/BatchNorm_0': collection 'batch_stats' is
  immutable.
  module  /BatchNorm_0
  line    `x = nn.BatchNorm(use_running_average=not train)(x)`
  right   y, updates = model.apply(variables, x, mutable=['batch_stats'])
in module /BatchNorm_0 (BatchNorm.__call__), called with (f32[2,4])""",
)
def collection_immutable() -> Any:
  return Net().apply(NET, X, train=True)


@raises(
  errors.InvalidFilterError,
  """\
Invalid filter: 3.
A filter is True, False, a name, a list of names, or DenyList(...).
  line    `return Net().apply(NET, X, mutable=3)  # type: ignore[arg-type]`
  mend    a name stands for a collection or a stream; True lets all of them
          through, False none.""",
)
def mutable_is_a_number() -> Any:
  return Net().apply(NET, X, mutable=3)  # type: ignore[arg-type]


@raises(
  errors.ScopeParamShapeError,
  """\
Parameter 'kernel' in '/enc' has another shape than its initializer gives, for
  inputs (f32[2,5]).
  module  /enc
  line    `x = nn.Dense(4, name="enc")(x)`
  expects (5, 4)
  found   (3, 4)
  mend    pass an input, and make the layers, of the sizes that the parameters
          were made for, or init again for these.
in module /enc (Dense.__call__), called with (f32[2,5])""",
)
def input_of_another_size() -> Any:
  return Net().apply(NET, jnp.ones((2, 5)))


@raises(
  errors.SymbolicParamError,
  """\
Parameter 'kernel' in '/enc' depends on the dimension 't', which has no number:
  its initializer gives (2*t, 4), for inputs (f32[b,2*t]).
  module  /enc
  line    `x = nn.Dense(4, name="enc")(x)`
  mend    a batch or a length may be left open, the size of a parameter may not:
          give a number to the dimension 't' in the input, as in "f32[b,128]".
in module /enc (Dense.__call__), called with (f32[b,2*t])""",
)
def input_of_an_open_size() -> Any:
  return nn.trace(Net().init)(KEY, "f32[b,2*t]")


@raises(
  errors.ScopeParamNotFoundError,
  """\
Could not find parameter 'kernel' in '/enc'.
There are no parameters for 'enc'.
Did you mean 'encoder'?
There: BatchNorm_0, Dense_0, encoder.
  module  /enc
  line    `x = nn.Dense(4, name="enc")(x)`
  mend    pass the parameters of this very model, as its init returns them; if a
          layer was added or renamed, init again.
in module /enc (Dense.__call__), called with (f32[2,3])""",
)
def layer_renamed() -> Any:
  return Net().apply(changed(lambda p: p.update(encoder=p.pop("enc"))), X)


@raises(
  errors.ScopeParamNotFoundError,
  """\
Could not find parameter 'kernel' in '/enc'.
Did you mean 'kernal'?
There: bias, kernal.
  module  /enc
  line    `x = nn.Dense(4, name="enc")(x)`
  mend    pass the parameters of this very model, as its init returns them; if a
          layer was added or renamed, init again.
in module /enc (Dense.__call__), called with (f32[2,3])""",
)
def parameter_misspelt() -> Any:
  return Net().apply(changed(lambda p: p["enc"].update(kernal=p["enc"].pop("kernel"))), X)


@raises(
  errors.ScopeParamNotFoundError,
  """\
Could not find parameter 'kernel' in '/enc'. '/enc' itself is there, but it is
  no dict of parameters.
  module  /enc
  line    `x = nn.Dense(4, name="enc")(x)`
  mend    pass the parameters of this very model, as its init returns them; if a
          layer was added or renamed, init again.
in module /enc (Dense.__call__), called with (f32[2,3])""",
)
def array_for_layer() -> Any:
  return Net().apply(changed(lambda p: p.update(enc=X)), X)


@raises(
  errors.ScopeParamTypeError,
  """\
Parameter 'kernel' in '/enc' is a dict with the keys a, but its initializer
  gives arrays of shape (3, 4).
  module  /enc
  line    `x = nn.Dense(4, name="enc")(x)`
  mend    pass the parameters as init returns them; a checkpoint may have lost
          or renamed a part of them.
in module /enc (Dense.__call__), called with (f32[2,3])""",
)
def dict_for_array() -> Any:
  return Net().apply(changed(lambda p: p["enc"].update(kernel={"a": jnp.ones((3, 4))})), X)


@raises(
  errors.ScopeParamTypeError,
  """\
Parameter 'kernel' in '/enc' is 'abc', a str, but its initializer gives arrays
  of shape (3, 4).
  module  /enc
  line    `x = nn.Dense(4, name="enc")(x)`
  mend    pass the parameters as init returns them; a checkpoint may have lost
          or renamed a part of them.
in module /enc (Dense.__call__), called with (f32[2,3])""",
)
def text_for_array() -> Any:
  return Net().apply(changed(lambda p: p["enc"].update(kernel="abc")), X)


@raises(
  errors.ScopeParamTypeError,
  """\
Parameter 'kernel' in '/enc' is None, but its initializer gives arrays of shape
  (3, 4).
  module  /enc
  line    `x = nn.Dense(4, name="enc")(x)`
  mend    pass the parameters as init returns them; a checkpoint may have lost
          or renamed a part of them.
in module /enc (Dense.__call__), called with (f32[2,3])""",
)
def none_for_array() -> Any:
  return Net().apply(changed(lambda p: p["enc"].update(kernel=None)), X)


@raises(
  errors.LayerInputError,
  """\
Dense in '/enc' works on an array of numbers that has axes, but its input is
  'hello', a str.
  module  /enc
  line    `x = nn.Dense(4, name="enc")(x)`
  mend    pass an array, such as jnp.ones((8, 3)).
          A shape alone, as nn.trace and model.tabulate take it, is written
          "f32[8,3]".
in module /enc (Dense.__call__), called with ('hello', a str and no array)""",
)
def text_for_input() -> Any:
  return Net().init(KEY, "hello")


@pytest.mark.parametrize(
  ("layer", "found", "text"),
  [
    (nn.Dense(3), jnp.ones(()), "f32[]"),
    (nn.Dense(3), None, "None"),
    (nn.Conv(3, (3,)), {"x": X}, "a dict with the keys x"),
    (nn.LayerNorm(), KEY, "key<fry>[]"),
    (nn.Embed(3, 2), np.array(["a"]), "<U1[1]"),
    (nn.Sequential([nn.Dense(3)]), nn.Dense(3), "an instance of Dense"),
  ],
)
def test_a_layer_says_that_its_input_is_no_array(layer: nn.Module, found: Any, text: str):
  with pytest.raises(errors.LayerInputError, match="works on an array") as caught:
    layer.init(KEY, found)
  assert f"its input is {text}." in caught.value.plain
  assert caught.value.source is not None and caught.value.source.file == __file__


@pytest.mark.parametrize("method", ["features", "__call__", "encoder"])
def test_a_method_that_is_none_is_refused_by_its_name(method: str):
  class Encoder(nn.Module):
    features: int = 3

    def setup(self) -> None:
      self.dense = nn.Dense(self.features)

    def encode(self, x: Any) -> Any:
      return self.dense(x)

  with pytest.raises((errors.ApplyModuleInvalidMethodError, AttributeError), match="'encode'") as caught:
    Encoder().init(KEY, X, method=method)
  assert method in str(caught.value)


@raises(
  errors.ApplyModuleInvalidMethodError,
  """\
Cannot call apply(): 'encod' is not a valid function, or no method of the
  module.
Did you mean 'encode'?
There: encode.
  line    `return Auto().apply({}, X, method="encod")`
  right   method='encode'
  mend    method= takes the name of a method, or a function of the module:
          lambda model, x: ...""",
)
def method_misspelt() -> Any:
  class Auto(nn.Module):
    def encode(self, x: Any) -> Any:
      return x

  return Auto().apply({}, X, method="encod")


@raises(
  errors.InvalidInstanceModuleError,
  """\
Can only call init on an instance of a Module, not on its class: the first
  argument is key<fry>[].
  line    `return Net.init(KEY, X)  # type: ignore[arg-type]`
  wrong   Model.init(...)
  right   Model().init(...)""",
)
def class_for_instance() -> Any:
  return Net.init(KEY, X)  # type: ignore[arg-type]


@raises(
  errors.LazyInitError,
  """\
lazy_init cannot make the variable 'params/mean' of f32[3]: its value depends on
  an argument that was passed as a jax.ShapeDtypeStruct.
  line    `return Offset().lazy_init(KEY, jax.ShapeDtypeStruct((2, 3), jnp.float32))`
  mend    pass that argument as an array, or make the variable from shapes only.""",
)
def parameter_of_the_input() -> Any:
  class Offset(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return self.param("mean", lambda key: x.mean(0))

  return Offset().lazy_init(KEY, jax.ShapeDtypeStruct((2, 3), jnp.float32))


# Variables and names.


@raises(
  errors.ScopeVariableNotFoundError,
  """\
No variable 'count' in collection 'state' of '/'.
Did you mean 'counts'?
There: counts.
  module  /
  line    `return x + self.variable("state", "count").value`
  mend    to let it be created, give its first value: self.variable(col, name,
          init_fn).
in module / (Counter.__call__), called with (f32[2,3])""",
)
def variable_misspelt() -> Any:
  class Counter(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return x + self.variable("state", "count").value

  return Counter().apply({"state": {"counts": 1}}, X)


@raises(
  errors.InvalidScopeError,
  """\
The scope '/' is no longer valid: its init, apply or lifted transform is over.
  line    `kept[0].value = 3`
  mend    don't keep a bound module or a Variable longer than that; return
          values, or use model.bind.""",
)
def variable_kept() -> Any:
  kept = []

  class Keeper(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      kept.append(self.variable("state", "count", lambda: 1))
      return x

  Keeper().init(KEY, X)
  kept[0].value = 3


@raises(
  errors.ScopeNameTypeError,
  """\
Names are strings, but got 3, an int.
  module  /
  line    `return nn.Dense(2, name=3)(x)  # type: ignore[arg-type]`
  right   '3' in its place
in module / (Numbered.__call__), called with (f32[2,3])""",
)
def name_is_a_number() -> Any:
  class Numbered(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return nn.Dense(2, name=3)(x)  # type: ignore[arg-type]

  return Numbered().init(KEY, X)


@raises(
  errors.ScopeNameInUseError,
  """\
Duplicate use of scope name: "a" in '/'.
  module  /
  line    `return core.init(lambda scope: (scope.push("a"), scope.push("a")))(KEY)`
  mend    give one of the two another name.""",
)
def scope_opened_twice() -> Any:
  return core.init(lambda scope: (scope.push("a"), scope.push("a")))(KEY)


@raises(
  errors.NameInUseError,
  """\
Could not create submodule "a" in Module Twice: Name in use by a submodule.
  module  /
  line    `return nn.Dense(2, name="a")(x)`
  mend    give one of the two another name (submodules, variables, fields and
          methods share one namespace).
in module / (Twice.__call__), called with (f32[2,3])""",
)
def name_used_twice() -> Any:
  class Twice(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      x = nn.Dense(2, name="a")(x)
      return nn.Dense(2, name="a")(x)

  return Twice().init(KEY, X)


@raises(
  errors.NameInUseError,
  """\
Could not create submodule "a" in Module Both: Name in use by a variable of
  'params'.
  module  /
  line    `return nn.Dense(2, name="a")(x)`
  mend    give one of the two another name (submodules, variables, fields and
          methods share one namespace).
in module / (Both.__call__), called with (f32[2,3])""",
)
def name_of_a_parameter() -> Any:
  class Both(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      x = x * self.param("a", nn.initializers.ones, ())
      return nn.Dense(2, name="a")(x)

  return Both().init(KEY, X)


@raises(
  errors.ScopeParamNotFoundError,
  """\
Could not find parameter 'kernel' in "/'a/b'".
There are no parameters for 'a/b'.
There: a.
  module  /'a/b'
  line    `return nn.Dense(2, name="a/b")(x)`
  mend    pass the parameters of this very model, as its init returns them; if a
          layer was added or renamed, init again.
in module /'a/b' (Dense.__call__), called with (f32[2,3])""",
)
def parameter_of_a_name_with_a_slash() -> Any:
  class Odd(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return nn.Dense(2, name="a/b")(x)

  return Odd().apply({"params": {"a": {"b": {"kernel": X}}}}, X)


# Modules.


@raises(
  errors.AssignSubModuleError,
  """\
Submodule Dense must be defined in `setup()` or in a method wrapped in
  `@compact`.
  line    `return nn.Dense(2)(x)`
  wrong   def __call__(self, x): return nn.Dense(...)(x)
  right   @nn.compact
          def __call__(self, x): return nn.Dense(...)(x)
in module / (Plain.__call__), called with (f32[2,3])""",
)
def submodule_in_a_plain_method() -> Any:
  class Plain(nn.Module):
    def __call__(self, x: Any) -> Any:
      return nn.Dense(2)(x)

  return Plain().init(KEY, X)


@raises(
  errors.SetAttributeInModuleSetupError,
  """\
Module field 'features' is set in setup(): fields are settings, and setup must
  not change them.
  line    `self.features = 3`
  wrong   self.features = ...
  right   self.features_in_use = ...   # any other name
in module / (Setter.setup), called with ()""",
)
def field_set_in_setup() -> Any:
  class Setter(nn.Module):
    features: int = 1

    def setup(self) -> None:
      self.features = 3

    def __call__(self, x: Any) -> Any:
      return x

  return Setter().init(KEY, X)


@raises(
  errors.SetAttributeFrozenModuleError,
  """\
Can't set features=3 for Module of type Dense: Module instance is frozen outside
  of setup method.
  line    `model.features = 3`
  right   other = module.clone(features=...)""",
)
def field_set_from_outside() -> Any:
  model = nn.Dense(4).bind({"params": NET["params"]["enc"]})
  model.features = 3


@raises(
  errors.ReservedModuleAttributeError,
  """\
properties `parent` and `name` are reserved: {'name': 'str'}
  line    `class Named(nn.Module):`
  mend    name the field something else: every module has these two.""",
)
def reserved_field() -> Any:
  class Named(nn.Module):
    name: str = "mine"


@raises(
  errors.CallCompactUnboundModuleError,
  """\
Can't call compact methods on unbound modules: there are no variables to call
  Dense.__call__ with.
  line    `return nn.Dense(2)(X)`
  wrong   model(x)
  right   model.apply(variables, x) or model.bind(variables)(x)""",
)
def called_without_variables() -> Any:
  return nn.Dense(2)(X)


@raises(
  errors.CallSetupUnboundModuleError,
  """\
Can't call `.setup()` directly: it runs when a bound module is first used.
  line    `return nn.Embed(3, 2).setup()`
  mend    take the call away.
          An attribute that setup makes is there in init and apply, and in
          model.bind(variables).""",
)
def setup_by_hand() -> Any:
  return nn.Embed(3, 2).setup()


@raises(
  errors.CallUnbindOnUnboundModuleError,
  """\
Can't call `.unbind()` on unbound modules.
  line    `return nn.Dense(2).unbind()`
  right   module, variables = model.bind(variables).unbind()
  mend    of a submodule: model.bind(variables).layer.unbind().""",
)
def unbind_of_unbound() -> Any:
  return nn.Dense(2).unbind()


@raises(
  errors.CallShareScopeOnUnboundModuleError,
  """\
Can't call `.share_scope()` on unbound modules: Dense has no variables here.
  line    `return nn.share_scope(nn.Dense(2), nn.Dense(3))`
  mend    call it in setup or in a compact method.""",
)
def share_of_unbound() -> Any:
  return nn.share_scope(nn.Dense(2), nn.Dense(3))


@raises(
  errors.IncorrectPostInitOverrideError,
  """\
Overrode `.__post_init__()` without calling `super().__post_init__()`: Forgetful
  does.
  line    `return Forgetful().init(KEY, X)`
  right   def __post_init__(self): ...; super().__post_init__()""",
)
def post_init_forgets_super() -> Any:
  class Forgetful(nn.Module):
    def __post_init__(self) -> None:
      pass

    def __call__(self, x: Any) -> Any:
      return x

  return Forgetful().init(KEY, X)


@raises(
  errors.DescriptorAttributeError,
  """\
Trying to access a property 'width' that is accessing a non-existent attribute:
  "Proper" object has no attribute "features".
There: width.
  line    `return self.features`
  mend    correct the attribute's name in the property, or set it in setup.
in module / (Proper.__call__), called with (f32[2,3])""",
)
def property_of_nothing() -> Any:
  class Proper(nn.Module):
    @property
    def width(self) -> int:
      return self.features

    def __call__(self, x: Any) -> Any:
      return x * self.width

  return Proper().init(KEY, X)


# Lifted transforms and boxes.


@raises(
  errors.LiftedFunctionError,
  """\
The lifted function 'two_layers' takes a module first, but got an instance of
  tuple.
  line    `return nn.jit(two_layers)((nn.Dense(2), nn.Dense(3)), x)`
  wrong   nn.jit(lambda layers, x: ...)((self.a, self.b), x)
  right   nn.jit(lambda model, x: model.b(model.a(x)), ...)(self, x)
  mend    other modules may follow as arguments of their own.
in module / (Two.__call__), called with (f32[2,3])""",
)
def lifted_function_of_a_tuple() -> Any:
  def two_layers(layers: Any, x: Any) -> Any:
    return layers[1](layers[0](x))

  class Two(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return nn.jit(two_layers)((nn.Dense(2), nn.Dense(3)), x)

  return Two().init(KEY, X)


@raises(
  errors.TransformTargetError,
  """\
Linen transformations must be applied to Module classes or functions taking a
  Module, got an instance of Dense.
  line    `return nn.vmap(nn.Dense(3))`
  wrong   nn.vmap(Dense(...), ...)
  right   nn.vmap(Dense, ...)(...)""",
)
def instance_lifted() -> Any:
  return nn.vmap(nn.Dense(3))


@raises(
  errors.TransformedMethodReturnValueError,
  """\
Transformed module method __call__ cannot return Modules or Variables.
  line    `return Maker().init(KEY, X)`
  found   Dense
  mend    return arrays, and call the module inside; or make it outside of what
          is lifted.
in module / (Maker.__call__), called with (f32[2,3])""",
)
def lifted_method_returns_a_module() -> Any:
  class Maker(nn.Module):
    @nn.jit
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return nn.Dense(2)

  return Maker().init(KEY, X)


@raises(
  errors.PartitioningUnspecifiedError,
  """\
Trying to transform a Partitioned variable but metadata_params['partition_name']
  is not specified: an instance of Partitioned with the axes ('in', 'out').
  line    `return stacked(2, kernel_init=nn.with_partitioning(nn.initializers.ones, ("in", "out"))).init(KEY, X)`
  lifted  `stacked = nn.vmap(nn.Dense, {"params": 0}, {"params": True})`
  right   nn.vmap(Dense, metadata_params={nn.PARTITION_NAME: "layers"}, ...)
in module / (VmapDense.__call__), called with (f32[2,3])""",
)
def box_stacked_without_a_name() -> Any:
  stacked = nn.vmap(nn.Dense, {"params": 0}, {"params": True})
  return stacked(2, kernel_init=nn.with_partitioning(nn.initializers.ones, ("in", "out"))).init(KEY, X)


@raises(
  errors.LogicalAxisError,
  """\
The axes ('batch', 'batch') have a name more than once: batch.
  line    `return nn.logical_to_mesh_axes(("batch", "batch"), [("batch", "data")])`
  mend    name each axis of an array once, with None for those that stay whole.""",
)
def logical_axis_twice() -> Any:
  return nn.logical_to_mesh_axes(("batch", "batch"), [("batch", "data")])


SPECS = 'A spec is a dtype and its dimensions, numbers or names: "f32[8,28,28,1]", "bf16[b,t,512]", "i32[]", "u32[2]".'


@raises(
  SpecError,
  "'f32[8,28' is no array spec: it has no dtype followed by [dimensions]. " + SPECS,
)
def spec_cut_off() -> Any:
  return nn.trace(Net().init)(KEY, "f32[8,28")


@raises(
  SpecError,
  "'float33[8,28]' is no array spec: 'float33' is no dtype, the nearest is 'float32' (short names are bf16, bool,"
  " c128, c64, f16, f32, f64, i16, i32, i4, i64, i8, key<fry>, key<rbg>, key<urbg>, u16, u32, u4, u64, u8). "
  + SPECS,
)
def spec_of_no_dtype() -> Any:
  return nn.trace(Net().init)(KEY, "float33[8,28]")


class Deep(nn.Module):
  depth: int

  @nn.compact
  def __call__(self, x: Any) -> Any:
    return Deep(self.depth - 1)(x) if self.depth else nn.Dense(2)(x)


@raises(
  errors.NestingTooDeepError,
  """\
The modules are nested deeper than Python can call: its limit is 1000 calls, and
  a module in a module takes about five.
  line    `return Deep(2000).init(KEY, X)`
  right   sys.setrecursionlimit(100_000) before init and apply
  mend    or build the depth with a loop, or with nn.scan, instead of modules in
          modules.
          If nothing ends the nesting, no limit is enough.""",
)
def two_thousand_nested() -> Any:
  return Deep(2000).init(KEY, X)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2].__name__)
def test_message(case: Case) -> None:
  run(case)
  assert running.get() is None and current() is None  # nothing is left behind
  assert Net().apply(NET, X).shape == (2, 2)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2].__name__)
def test_readable_at_80_columns(case: tuple[type[Exception], str, Callable[[], Any]]) -> None:
  if not issubclass(case[0], errors.MinilinenError):
    return
  for line in case[1].splitlines():
    assert len(line) <= 80 or line.startswith("  line"), line  # code stands there for a place


def test_errors_say_where_as_data() -> None:
  with pytest.raises(errors.ScopeParamShapeError) as caught:
    input_of_another_size()
  error = caught.value
  assert error.path == "/enc" and error.source is not None and error.source.file == __file__
  read_back = pickle.loads(pickle.dumps(error))
  assert type(read_back) is type(error) and str(read_back) == str(error)
  assert (read_back.path, read_back.source, read_back.plain) == (error.path, error.source, error.plain)
  assert error.plain.split() == str(error).split() and "\n  gives" not in error.plain


@pytest.mark.long
def test_deep_nesting_works_with_more_stack() -> None:
  found: list[Any] = []

  def run() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
      found.append(Deep(2000).init(KEY, X))
    finally:
      sys.setrecursionlimit(limit)

  before = threading.stack_size(512 * 1024 * 1024)
  try:
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
  finally:
    threading.stack_size(before)
  tree = found[0]["params"]
  for _ in range(2000):
    (tree,) = tree.values()
  assert list(tree) == ["Dense_0"]


def test_names_with_a_slash_are_told_apart() -> None:
  """Modules "a/b", and "b" inside "a": different variables, rows and calls."""

  class Inner(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return nn.Dense(2, name="b")(x)

  class Odd(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return Inner(name="a")(nn.Dense(4, name="a/b")(x))

  trace = nn.trace(Odd().init)(KEY, X)
  assert [call.path for call in trace.calls()] == [(), ("a/b",), ("a",), ("a", "b")]
  kernels = {found.path: found.value.shape for found in trace.find("params/**/kernel")}
  assert kernels == {("a/b",): (3, 4), ("a", "b"): (4, 2)}
  variables = Odd().init(KEY, X)
  assert {k: list(v) for k, v in core.unfreeze(variables)["params"].items()} == {
    "a/b": ["kernel", "bias"],
    "a": ["b"],
  }
  tree = viz.tree(variables).text()
  assert (
    len(re.findall(r"─ a/b ", tree)) == len(re.findall(r"─ a ", tree)) == len(re.findall(r"─ b ", tree)) == 1
  )
  with pytest.raises(errors.ScopeParamNotFoundError) as caught:
    Odd().apply({"params": {"a": variables["params"]["a"]}}, X)
  assert caught.value.path == "/'a/b'"


def test_odd_names_are_allowed() -> None:
  class Odd(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return nn.Dense(2, name="ä [x]\n*")(x)

  trace = nn.trace(Odd().init)(KEY, X)
  assert list(trace.variables()["params"]) == ["ä [x]\n*"]
  assert nn.Trace.from_json(trace.to_json()) == trace
  assert list(Odd().init(KEY, X)["params"]) == ["ä [x]\n*"]


def test_an_exception_in_the_middle_changes_nothing() -> None:
  """Of a half-done call neither the model nor the variables keep anything, recorded or not."""
  broken = [True]

  class Inner(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      count = self.variable("state", "count", lambda: jnp.zeros(()))
      count.value += 1
      if broken[0]:
        raise ZeroDivisionError("mine")
      return nn.Dense(2)(x)

  class Outer(nn.Module):
    def setup(self) -> None:
      self.inner = Inner()

    def __call__(self, x: Any) -> Any:
      return self.inner(x)

  model = Outer()
  broken[0] = False
  variables = model.init(KEY, X)
  expected = model.apply(variables, X, mutable=["state"])
  broken[0] = True
  with pytest.raises(ZeroDivisionError, match="mine") as caught:
    model.apply(variables, X, mutable=["state"])
  assert caught.value.__notes__ == ["in module /inner (Inner.__call__), called with (f32[2,3])"]
  with pytest.raises(ZeroDivisionError), nn.record() as trace:
    model.apply(variables, X, mutable=["state"])
  assert [call.path for call in trace.calls()] == [(), ("inner",)]
  assert running.get() is None and not [*interceptors] and not [*captures] and current() is None
  broken[0] = False
  again = model.apply(variables, X, mutable=["state"])
  assert jax.tree.all(
    jax.tree.map(lambda a, b: bool((a == b).all()), core.unfreeze(again[1]), core.unfreeze(expected[1]))
  )
  assert float(variables["state"]["inner"]["count"]) == 1.0


def test_raw_transforms_pass_as_in_flax() -> None:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      return jax.vmap(nn.Dense(2))(x)

  assert Net().init(KEY, X)["params"]["Dense_0"]["kernel"].shape == (3, 2)


@pytest.mark.parametrize(
  ("found", "text"),
  [
    ([KEY], "an instance of list"),
    ("0", "'0', a str"),
    (jax.random.split(KEY, 3), "key<fry>[3]"),
    (jnp.zeros(3, jnp.uint32), "u32[3]"),
  ],
)
def test_what_was_passed_for_a_key_is_named(found: Any, text: str):
  with pytest.raises(errors.InvalidRngError) as caught:
    nn.Dense(3).init(found, X)
  assert caught.value.message == f"init of Dense needs a random key or a dict of them, but got {text}."


def test_a_name_with_braces_is_told_as_it_is():
  model = Odd()
  with pytest.raises(errors.ScopeParamNotFoundError) as caught:
    model.apply({"params": {"other": jnp.ones(2)}}, jnp.ones(2))
  assert "'{path}'" in str(caught.value) and "'{path}'" in caught.value.message


class Odd(nn.Module):
  @nn.compact
  def __call__(self, x):
    return x + self.param("{path}", nn.initializers.zeros, (2,))
