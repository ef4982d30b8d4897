"""The advice about what a module is asked for: attributes, variables and settings where there are none."""

from __future__ import annotations

import jax
import pytest
from situations import Advice

import minilinen as nn
from minilinen import errors

ADVICE = [
  # Modules without variables.
  Advice(
    errors.UnboundModuleError,
    "nn.Dense(4).variables",
    ["this Dense has no variables", "right variables = model.init(key, x)", "a module keeps none"],
    (".variables",),
  ),
  Advice(
    errors.UnboundModuleError,
    "nn.Dense(4).make_rng('noise')",
    ["Can't use RNGs on unbound modules", 'right model.bind(variables, rngs={"dropout": key}).make_rng(...)'],
    mended="nn.Dense(4).bind({}, rngs={'noise': key}).make_rng('noise')",
  ),
  Advice(
    errors.UnboundModuleError,
    "nn.Dense(4).get_variable('params', 'kernel')",
    ["right model.bind(variables).get_variable(...)", "or ask in setup or in a method"],
    ("rngs=", "__post_init__"),
    "m = nn.Dense(4); m.bind(m.init(key, x)).get_variable('params', 'kernel')",
  ),
  Advice(
    errors.UnboundModuleError,
    """
    class Net(nn.Module):
      def setup(self):
        layer = nn.Dense(4)
        self.where = str(layer.path)
        self.layer = layer
      def __call__(self, x):
        return self.layer(x)
    Net().init(key, x)
    """,
    ["this Dense has no variables", "assign it to an attribute of self first", "<program>:5 in Net.setup"],
    ("model.bind", "no part of"),
    """
    class Net(nn.Module):
      def setup(self):
        self.layer = nn.Dense(4)
        self.where = str(self.layer.path)
      def __call__(self, x):
        return self.layer(x)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.UnboundModuleError,
    """
    outside = nn.Dense(4)
    class Net(nn.Module):
      def __call__(self, x):
        return outside.variables
    Net().init(key, x)
    """,
    ["it is no part of Net: make it a field of Net"],
    ("model.bind", "init gives them"),
    """
    class Net(nn.Module):
      outside: nn.Module
      def __call__(self, x):
        return self.outside.variables
    Net(nn.Dense(4)).init(key, x)
    """,
  ),
  Advice(
    errors.UnboundModuleError,
    """
    class Net(nn.Module):
      def __post_init__(self):
        self.first = self.is_initializing()
        super().__post_init__()
      def __call__(self, x):
        return x
    Net().init(key, x)
    """,
    ["in __post_init__ no module has variables yet"],
    ("model.bind",),
    """
    class Net(nn.Module):
      def setup(self):
        self.first = self.is_initializing()
      def __call__(self, x):
        return x
    Net().init(key, x)
    """,
  ),
  # Attributes.
  Advice(
    errors.NoSuchAttributeError,
    """
    class Base(nn.Module):
      def setup(self):
        self.layer = nn.Dense(4)
      def __call__(self, x):
        return self.layer(x)
    class Net(Base):
      def setup(self):
        self.last = nn.Dense(2)
      def __call__(self, x):
        return self.last(super().__call__(x))
    Net().init(key, x)
    """,
    ["Base.setup sets it, and Net.setup replaces that", "right def setup(self): super().setup(); ..."],
    ("did not set it", "None"),
    """
    class Base(nn.Module):
      def setup(self):
        self.layer = nn.Dense(4)
      def __call__(self, x):
        return self.layer(x)
    class Net(Base):
      def setup(self):
        super().setup()
        self.last = nn.Dense(2)
      def __call__(self, x):
        return self.last(super().__call__(x))
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.NoSuchAttributeError,
    """
    class Base(nn.Module):
      size: int = 0
      def setup(self):
        if self.size:
          self.layer = nn.Dense(self.size)
    class Net(Base):
      def setup(self):
        super().setup()
        self.last = nn.Dense(2)
      def __call__(self, x):
        return self.last(self.layer(x))
    Net().init(key, x)
    """,
    ["setup() mentions it, and did not set it"],
    ("replaces",),
  ),
  Advice(
    errors.NoSuchAttributeError,
    """
    class Net(nn.Module):
      width: int = 4
      @nn.compact
      def __call__(self, x):
        return nn.Dense(self.widht)(x)
    Net().init(key, x)
    """,
    ["has no attribute \"widht\". Did you mean 'width'? There: width.", "give Net a field of it"],
    ("setup() makes it", "what init makes"),
    """
    class Net(nn.Module):
      width: int = 4
      @nn.compact
      def __call__(self, x):
        return nn.Dense(self.width)(x)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.NoSuchAttributeError,
    "nn.Dense(4).aplly({}, x)",
    ["Did you mean 'apply'?", "<program>:1"],
    ("module /",),
  ),
  Advice(
    errors.NoSuchAttributeError,
    "model = nn.Dense(4); variables = model.init(key, x); model.weight",
    ["correct the name; what init makes is in its result, variables['params']"],
    ("Did you mean", "setup"),
    "model = nn.Dense(4); variables = model.init(key, x); variables['params']['kernel']",
  ),
  Advice(
    errors.NoSuchAttributeError,
    """
    class Net(nn.Module):
      def setup(self):
        self.encoder = nn.Dense(4)
      def __call__(self, x):
        return self.encoder(x)
    Net().encoder
    """,
    ["setup() makes it, which runs only where there are variables", "right model.bind(variables).encoder"],
    ("Did you mean", "field"),
    """
    class Net(nn.Module):
      def setup(self):
        self.encoder = nn.Dense(4)
      def __call__(self, x):
        return self.encoder(x)
    Net().bind(Net().init(key, x)).encoder
    """,
  ),
  Advice(
    errors.NoSuchAttributeError,
    """
    class Net(nn.Module):
      def setup(self):
        self.twice = lambda x: self.layer(self.layer(x))
        self.width = self.layer.features
        self.layer = nn.Dense(3)
      def __call__(self, x):
        return self.twice(x)
    Net().init(key, x)
    """,
    ["setup() makes it, and has not yet.", "set it before it is asked for", "<program>:5 in Net.setup"],
    ("Did you mean", "bind"),
    """
    class Net(nn.Module):
      def setup(self):
        self.twice = lambda x: self.layer(self.layer(x))
        self.layer = nn.Dense(3)
        self.width = self.layer.features
      def __call__(self, x):
        return self.twice(x)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.NoSuchAttributeError,
    """
    class Net(nn.Module):
      def setup(self):
        self.encoder = nn.Dense(4)
        self.decoder = nn.Dense(self.widht)
      def __call__(self, x):
        return self.decoder(self.encoder(x))
    Net().init(key, x)
    """,
    ['has no attribute "widht".', "set it in setup"],
    ("has not yet",),
  ),
  Advice(
    errors.NoSuchAttributeError,
    """
    class Net(nn.Module):
      noisy: bool = False
      def setup(self):
        if self.noisy:
          self.dropout = nn.Dropout(0.5, deterministic=True)
      def __call__(self, x):
        return self.dropout(x) if self.dropout else x
    Net().init(key, x)
    """,
    ["setup() mentions it, and did not set it.", "to None where there is nothing"],
    ("has not yet", "bind"),
    """
    class Net(nn.Module):
      noisy: bool = False
      def setup(self):
        self.dropout = nn.Dropout(0.5, deterministic=True) if self.noisy else None
      def __call__(self, x):
        return self.dropout(x) if self.dropout else x
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.NoSuchAttributeError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4)(x)
    Net().bind(Net().init(key, x)).Dense_0
    """,
    ["it is the name of a submodule", "make it in setup, self.Dense_0 = ...", "is in variables['params']"],
    ("Did you mean", "get_variable"),
  ),
  Advice(
    errors.NoSuchAttributeError,
    "model = nn.Dense(4); model.bind(model.init(key, x)).kernel",
    ["it is the name of a variable", "right module.get_variable('params', 'kernel')"],
    ("Did you mean", "submodule"),
    "model = nn.Dense(4); model.bind(model.init(key, x)).get_variable('params', 'kernel')",
  ),
  # Which method.
  Advice(
    errors.NoCallMethodError,
    """
    class Net(nn.Module):
      @nn.compact
      def forward(self, x):
        return nn.Dense(4)(x)
    Net().init(key, x)
    """,
    ["right model.init(key, x, method='forward')", "def __call__(self, ...), instead of forward"],
    ("write what it computes",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4)(x)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.NoCallMethodError,
    """
    class Autoencoder(nn.Module):
      def encode(self, x):
        return x
      def decode(self, x):
        return x
    Autoencoder().apply({}, x)
    """,
    ["There: encode, decode.", "method='encode'), and so with apply"],
    ("instead of",),
    """
    class Autoencoder(nn.Module):
      def encode(self, x):
        return x
      def decode(self, x):
        return x
    Autoencoder().apply({}, x, method="decode")
    """,
  ),
  Advice(
    errors.NoCallMethodError,
    """
    class Net(nn.Module):
      width: int
    Net(3).init(key, x)
    """,
    ["mend write what it computes as a method: def __call__(self, x)."],
    ("There", "method='"),
  ),
  # Variables in a plain method.
  Advice(
    errors.PlainMethodError,
    """
    class Scale(nn.Module):
      def __call__(self, x):
        return x * self.param("scale", nn.initializers.ones, (3,))
    Scale().init(key, x)
    """,
    ["'scale' of Scale is declared in __call__", "right @nn.compact def __call__(self, ...)"],
    ("from outside", "self.variable"),
    """
    class Scale(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x * self.param("scale", nn.initializers.ones, (3,))
    Scale().init(key, x)
    """,
  ),
  Advice(
    errors.PlainMethodError,
    """
    class Counter(nn.Module):
      @nn.nowrap
      def counter(self):
        return self.variable("state", "n", lambda: 0)
      def count(self, x):
        return self.counter().value
    Counter().init(key, x, method="count")
    """,
    [
      "Variables must be",
      "'n' of Counter is declared in count.",
      "self.n = self.variable('state', 'n', ...)",
    ],
    ("self.param", "in counter"),
    """
    class Counter(nn.Module):
      def setup(self):
        self.n = self.variable("state", "n", lambda: 0)
      def count(self, x):
        return self.n.value
    Counter().init(key, x, method="count")
    """,
  ),
  Advice(
    errors.PlainMethodError,
    "m = nn.Dense(4); m.bind(m.init(key, x)).param('kernel', nn.initializers.ones, (3, 4))",
    ["'kernel' of Dense is asked for from outside", "right module.get_variable('params', 'kernel')"],
    ("@nn.compact", "wrong"),
    "m = nn.Dense(4); m.bind(m.init(key, x)).get_variable('params', 'kernel')",
  ),
  Advice(
    errors.CallCompactUnboundModuleError,
    "nn.Dense(4).param('kernel', nn.initializers.ones, (3, 4))",
    ["no variables to call Dense.param with"],
  ),
  # Perturbations.
  Advice(
    errors.PerturbationError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return self.perturb("hidden", x)
    Net().apply({"perturbations": {"hiden": x}}, x)
    """,
    ["Did you mean 'hiden'?", 'right model.apply({..., "perturbations": variables["perturbations"]}, x)'],
    mended="""
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return self.perturb("hidden", x)
    variables = Net().init(key, x)
    Net().apply({"perturbations": variables["perturbations"]}, x)
    """,
  ),
  Advice(
    errors.PerturbationError,
    """
    class Inner(nn.Module):
      @nn.compact
      def __call__(self, x):
        return self.perturb("hidden", x)
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return Inner(name="inner")(x)
    Net().apply({"perturbations": {"hidden": x}}, x)
    """,
    ["variable 'hidden' at /inner.", "There: nothing.", "module /inner"],
    ("Did you mean",),
  ),
  Advice(
    errors.PerturbationError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return self.perturb("hidden", x, collection="noise")
    Net().apply({"noise": {}}, x)
    """,
    ["Perturbation collection 'noise'", '{..., "noise": variables["noise"]}', "or leave it away"],
    ('"perturbations"',),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return self.perturb("hidden", x, collection="noise")
    Net().apply({}, x)
    """,
  ),
  # Settings.
  Advice(
    errors.MergeParamError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, train=False):
        return nn.BatchNorm()(x)
    Net().init(key, x)
    """,
    ["right BatchNorm(...)(x, use_running_average=not train)", "module /BatchNorm_0", "5 in Net.__call__"],
    ("just once",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, train=False):
        return nn.BatchNorm()(x, use_running_average=not train)
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.MergeParamError,
    "nn.Dropout(0.5, deterministic=True).apply({}, x, deterministic=False, rngs={'dropout': key})",
    ["just once: it is True there and False here", "belongs to the call alone"],
    ("not train",),
    "nn.Dropout(0.5).apply({}, x, deterministic=False, rngs={'dropout': key})",
  ),
  Advice(
    errors.MergeParamError,
    "nn.Einsum((3, 4)).init(key, x)",
    ['"einsum_str" must be passed', "right Einsum(...)(x, einsum_str=...)"],
    ("train",),
    "nn.Einsum((3, 4)).init(key, x, einsum_str='bi,ij->bj')",
  ),
  # Parents.
  Advice(
    errors.ParentError,
    "nn.Dense(4, parent='encoder')",
    ["that of Dense is 'encoder', a str", "right Dense(..., name='encoder')"],
    ("self",),
    "nn.Dense(4, name='encoder')",
  ),
  Advice(
    errors.ParentError,
    "nn.Dense(4, parent=nn.Dense(4).init(key, x))",
    ["right Dense(...).bind(variables)"],
    ("name=", "take parent= away"),
    "nn.Dense(4).bind(nn.Dense(4).init(key, x))",
  ),
  Advice(
    errors.ParentError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4, parent=Net)(x)
    Net().init(key, x)
    """,
    ["that of Dense is the class Net", "an instance", "take parent= away", "5 in Net.__call__"],
    ("bind",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4)(x)
    Net().init(key, x)
    """,
  ),
]


@pytest.mark.parametrize("advice", ADVICE, ids=str)
def test_advice(advice: Advice) -> None:
  advice.holds()


def test_pythons_base_classes_are_kept() -> None:
  for cls, base in {
    errors.UnboundModuleError: ValueError,
    errors.NoSuchAttributeError: AttributeError,
    errors.NoCallMethodError: AttributeError,
    errors.PlainMethodError: ValueError,
    errors.PerturbationError: ValueError,
    errors.MergeParamError: ValueError,
    errors.ParentError: ValueError,
  }.items():
    assert issubclass(cls, base)


def test_a_missing_attribute_is_one_for_python() -> None:
  """`hasattr` and `getattr` see that there is none, and the error knows the name and the module."""
  layer = nn.Dense(4)
  assert not hasattr(layer, "widht") and getattr(layer, "widht", 3) == 3
  with pytest.raises(AttributeError) as caught:
    layer.widht  # type: ignore[attr-defined]  # noqa: B018
  assert (caught.value.name, caught.value.obj) == ("widht", layer)
  with pytest.raises(AttributeError) as caught:
    layer.__widht__  # type: ignore[attr-defined]  # noqa: B018
  assert type(caught.value) is AttributeError


def test_a_module_in_the_place_of_an_array_is_the_layers_affair() -> None:
  with pytest.raises(errors.LayerInputError, match="its input is an"):
    nn.Dense(4).init(jax.random.key(0), nn.Dense(3))
