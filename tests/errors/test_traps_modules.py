"""Traps in how modules are written: names, fields and lists; and what is passed to apply."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import mistakes
import pytest
from mistakes import Case, run

import minilinen as nn
from minilinen import errors

KEY = jax.random.key(0)
X = jnp.ones((4, 3))
CASES: list[Case] = []
raises = warns = functools.partial(mistakes.raises, CASES)


@warns(
  errors.HiddenMethodWarning,
  """\
The field 'param' of Net hides the method Module.param: whoever calls it gets
  the field.
  line    `class Net(nn.Module):`
  expects a name that no method has
  found   Net.param
  right   param_: ...""",
)
def field_hides_a_method_of_module() -> Any:
  class Net(nn.Module):
    param: int = 1  # type: ignore[override]

    def __call__(self, x: Any) -> Any:
      return x * self.param

  return Net().init(KEY, X)


@warns(
  errors.HiddenMethodWarning,
  """\
The field 'encode' of Net hides the method Net.encode: whoever calls it gets the
  field.
  line    `class Net(nn.Module):`
  expects a name that no method has
  found   Net.encode
  right   encode_: ...""",
)
def field_hides_a_method_of_the_class() -> Any:
  class Net(nn.Module):
    encode: int  # type: ignore[no-redef]

    def encode(self, x: Any) -> Any:
      return x

    def __call__(self, x: Any) -> Any:
      return x

  return Net(3).init(KEY, X)


@warns(
  errors.HiddenMethodWarning,
  """\
The attribute 'encode' of Net hides the method Net.encode: whoever calls it gets
  the attribute.
  module  /
  line    `self.encode = nn.Dense(2)`
  expects a name that no method has
  found   Net.encode
  right   self.encode_ = ...""",
)
def attribute_hides_a_method() -> Any:
  class Net(nn.Module):
    def setup(self) -> None:
      self.encode = nn.Dense(2)

    def encode(self, x: Any) -> Any:
      return x

    def __call__(self, x: Any) -> Any:
      return self.encode(x)

  return Net().init(KEY, X)


@raises(
  errors.AppendAfterSetupError,
  """\
'tuple' object has no attribute 'append': 'layers' of Net became a tuple when it
  was assigned, for then its modules got their names.
  module  /
  line    `self.layers.append(nn.Dense(2))`
  wrong   self.layers = [...]; self.layers.append(...)
  right   layers = [...]; layers.append(...); self.layers = layers
in module / (Net.setup), called with ()""",
)
def layer_appended_in_setup() -> Any:
  class Net(nn.Module):
    def setup(self) -> None:
      self.layers = []
      self.layers.append(nn.Dense(2))

    def __call__(self, x: Any) -> Any:
      return self.layers[0](x)

  return Net().init(KEY, X)


@raises(
  errors.AppendAfterSetupError,
  """\
'tuple' object has no attribute 'append': 'layers' of Net became a tuple when it
  was assigned, for then its modules got their names.
  module  /
  line    `self.layers.append(nn.Dense(3))`
  wrong   self.layers = [...]; self.layers.append(...)
  right   layers = [...]; layers.append(...); self.layers = layers
in module / (Net.__call__), called with (f32[4,3])""",
)
def layer_appended_in_a_call() -> Any:
  class Net(nn.Module):
    def setup(self) -> None:
      self.layers = [nn.Dense(2)]

    def __call__(self, x: Any) -> Any:
      self.layers.append(nn.Dense(3))
      return self.layers[0](x)

  return Net().init(KEY, X)


@raises(
  errors.NameInUseError,
  """\
Could not create param "scale" in Module Net: Name in use by a variable of
  'params'.
  module  /
  line    `return x + self.param("scale", nn.initializers.zeros, ())`
  mend    give one of the two another name (submodules, variables, fields and
          methods share one namespace).
in module / (Net.__call__), called with (f32[4,3])""",
)
def parameter_twice() -> Any:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      x = x * self.param("scale", nn.initializers.ones, ())
      return x + self.param("scale", nn.initializers.zeros, ())

  return Net().init(KEY, X)


@raises(
  errors.NameInUseError,
  """\
Could not create submodule "encode" in Module Net: Name in use by a submodule.
  module  /
  line    `return nn.Dense(2, name="encode")(self.encode(x))`
  mend    give one of the two another name (submodules, variables, fields and
          methods share one namespace).
in module / (Net.__call__), called with (f32[4,3])""",
)
def name_in_setup_and_in_a_call() -> Any:
  class Net(nn.Module):
    def setup(self) -> None:
      self.encode = nn.Dense(3)

    @nn.compact
    def __call__(self, x: Any) -> Any:
      return nn.Dense(2, name="encode")(self.encode(x))

  return Net().init(KEY, X)


@raises(
  errors.NameInUseError,
  """\
Could not create submodule "Dense_0" in Module Net: Name in use by a submodule.
  module  /
  line    `return nn.Dense(2)(x)`
  mend    give one of the two another name (submodules, variables, fields and
          methods share one namespace).
in module / (Net.__call__), called with (f32[4,3])""",
)
def automatic_name_twice() -> Any:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      x = nn.Dense(2, name="Dense_0")(x)
      return nn.Dense(2)(x)

  return Net().init(KEY, X)


@raises(
  errors.NameInUseError,
  """\
Could not create submodule "layer" in Module Net: Name in use by a submodule.
  module  /
  line    `x = nn.Dense(2, name="layer")(x)`
  right   name=f"layer_{i}"
  mend    in a loop over i each has a name of its own; what shall be one is made
          once, before the loop.
in module / (Net.__call__), called with (f32[4,3])""",
)
def name_twice_in_a_loop() -> Any:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      for _ in range(2):
        x = nn.Dense(2, name="layer")(x)
      return x

  return Net().init(KEY, X)


class Deeper(nn.Module):
  """`Shallow` with a layer put in between."""

  sizes: tuple[int, ...] = (3, 5, 2)

  @nn.compact
  def __call__(self, x: Any) -> Any:
    for size in self.sizes:
      x = nn.Dense(size)(x)
    return x


@raises(
  errors.ScopeParamShapeError,
  """\
Parameter 'kernel' in '/Dense_1' has another shape than its initializer gives,
  for inputs (f32[4,5]).
That of 'Dense_2' beside it has this shape: names may have moved.
  module  /Dense_1
  line    `x = nn.Dense(size)(x)`
  expects (5, 2)
  found   (5, 5)
  mend    automatic names are counted, and a layer was taken out before this
          one: name the layers (name=...).
in module /Dense_1 (Dense.__call__), called with (f32[4,5])""",
)
def layer_taken_out() -> Any:
  return Deeper((5, 2)).apply(Deeper((5, 5, 2)).init(KEY, X), X)


@raises(
  errors.ScopeParamShapeError,
  """\
Parameter 'kernel' in '/Dense_0' has another shape than its initializer gives,
  for inputs (f32[4,3]).
  module  /Dense_0
  line    `x = nn.Dense(size)(x)`
  expects (3, 3)
  found   (3, 5)
  mend    pass an input, and make the layers, of the sizes that the parameters
          were made for, or init again for these.
          If a layer was put in before '/Dense_0', the automatic names have
          moved: name the layers.
in module /Dense_0 (Dense.__call__), called with (f32[4,3])""",
)
def layer_put_in_between() -> Any:
  old = Deeper((5, 2, 7)).init(KEY, X)
  return Deeper((3, 5, 2, 7)).apply(old, X)


@raises(
  errors.ScopeParamNotFoundError,
  """\
Could not find parameter 'kernel' in '/Dense_2'.
There are no parameters for 'Dense_2'.
There: Dense_0, Dense_1.
  module  /Dense_2
  line    `x = nn.Dense(size)(x)`
  mend    pass the parameters of this very model, as its init returns them; if a
          layer was added or renamed, init again.
in module /Dense_2 (Dense.__call__), called with (f32[4,5])""",
)
def layer_added_at_the_end() -> Any:
  return Deeper((3, 5, 2)).apply(Deeper((3, 5)).init(KEY, X), X)


@raises(
  errors.ModifyScopeVariableError,
  """\
Cannot update variable 'mean' in '/BatchNorm_0': collection 'batch_stats' is
  immutable.
  module  /BatchNorm_0
  line    `return nn.BatchNorm(use_running_average=False)(x)`
  right   y, updates = model.apply(variables, x, mutable=['intermediates',
          'batch_stats'])
in module /BatchNorm_0 (BatchNorm.__call__), called with (f32[4,3])""",
)
def one_of_two_collections_is_mutable() -> Any:
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      self.sow("intermediates", "x", x)
      return nn.BatchNorm(use_running_average=False)(x)

  model = Net()
  return model.apply(model.init(KEY, X), X, mutable=["intermediates"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2].__name__)
def test_message(case: Case) -> None:
  run(case)


def test_fields_with_functions_hide_nothing(recwarn: pytest.WarningsRecorder) -> None:
  class Base(nn.Module):
    act: Any = nn.relu

    def __call__(self, x: Any) -> Any:
      return self.act(x)

  class Net(Base):
    act: Any = nn.tanh
    norm: Any = lambda x: x

  Net().init(KEY, X)
  assert not [w for w in recwarn if issubclass(w.category, errors.MinilinenWarning)]


def test_fields_in_the_place_of_properties_hide_nothing(recwarn: pytest.WarningsRecorder) -> None:
  class Base(nn.Module):
    @property
    def size(self) -> int:
      raise NotImplementedError

  class Net(Base):
    size: int = 3  # type: ignore[override]

    def __call__(self, x: Any) -> Any:
      return x * self.size

  Net().init(KEY, X)
  assert not [w for w in recwarn if issubclass(w.category, errors.MinilinenWarning)]
