"""`SpectralNorm` and `WeightNorm` against Flax."""

import jax
import jax.numpy as jnp
import pytest
from oracle import KEY, KEY2, same, same_error, same_model

import minilinen
from minilinen import errors

pytestmark = pytest.mark.grid

X = jax.random.normal(KEY, (2, 4))
SEQ = jax.random.normal(KEY, (2, 5, 4))
BF16 = jnp.bfloat16
NORMAL = jax.nn.initializers.normal()


def mlp(nn, train=True):
  class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
      x = nn.Dense(3)(x)
      x = nn.BatchNorm(use_running_average=not train)(x)
      self.sow("intermediates", "h", x)
      return nn.Dense(2, name="out")(x)

  return MLP()


SPECTRAL = [
  dict(),
  dict(n_steps=2, epsilon=1e-3),
  dict(n_steps=0),
  dict(dtype=BF16),
  dict(param_dtype=BF16),
  dict(collection_name="spectral"),
]


@pytest.mark.parametrize("update", [False, True])
@pytest.mark.parametrize("kwargs", SPECTRAL, ids=str)
def test_spectral_norm(kwargs, update):
  same_model(
    lambda nn: nn.SpectralNorm(nn.Dense(3), **kwargs),
    X,
    update_stats=update,
    mutable=["batch_stats", "spectral"],
  )


@pytest.mark.parametrize("mutable", [["batch_stats", "intermediates"], True], ids=str)
def test_spectral_norm_of_a_layer_of_layers(mutable):
  same_model(lambda nn: nn.SpectralNorm(mlp(nn)), X, mutable=mutable, update_stats=True)


def test_weight_norm_of_a_layer_of_layers_keeps_no_statistics():
  same_model(lambda nn: nn.WeightNorm(mlp(nn, train=False)), X)
  found = same_error(
    lambda nn: nn.WeightNorm(mlp(nn)).apply(nn.WeightNorm(mlp(nn)).init(KEY, X), X, mutable=["batch_stats"]),
    "ModifyScopeVariableError",
  )
  assert "'batch_stats' is immutable behind nn.map_variables" in str(found)
  model = minilinen.WeightNorm(mlp(minilinen, train=False))
  with pytest.warns(errors.DroppedValueWarning, match="sows 'h'"):
    model.apply(model.init(KEY, X), X, mutable=["intermediates"])


def test_spectral_norm_of_more_axes():
  same_model(lambda nn: nn.SpectralNorm(nn.Conv(3, (2,))), SEQ, update_stats=True, mutable=["batch_stats"])
  strict = same_error(
    lambda nn: nn.SpectralNorm(nn.Conv(3, (2,)), error_on_non_matrix=True).init(KEY, SEQ, update_stats=True),
    "ValueError",
  )
  assert "layer_instance/kernel has shape (2, 4, 3)" in str(strict)


def test_spectral_norm_needs_its_collection():
  def frozen(nn):
    model = nn.SpectralNorm(nn.Dense(3))
    return model.apply(model.init(KEY, X, update_stats=False), X, update_stats=True)

  assert "batch_stats" in str(same_error(frozen, "ModifyScopeVariableError"))

  model = minilinen.SpectralNorm(minilinen.Dense(3))
  params = model.init(KEY, X, update_stats=False)["params"]
  with pytest.raises(errors.ScopeCollectionNotFound, match=r"variables\[.batch_stats.\]"):
    model.apply({"params": params}, X, update_stats=False)
  same_error(lambda nn: nn.SpectralNorm(nn.Dense(3)).init(KEY, X), "TypeError")


def test_spectral_norm_of_complex_numbers_and_zeros():
  same_model(
    lambda nn: nn.SpectralNorm(nn.Dense(3, param_dtype=jnp.complex64)),
    X,
    update_stats=True,
    mutable=["batch_stats"],
    grad=False,
  )
  same_model(
    lambda nn: nn.SpectralNorm(nn.Dense(3, kernel_init=nn.initializers.zeros)),
    X,
    update_stats=True,
    mutable=["batch_stats"],
  )


WEIGHT = [
  dict(),
  dict(use_scale=False, epsilon=1e-2),
  dict(scale_init=NORMAL, param_dtype=BF16),
  dict(dtype=BF16),
  dict(feature_axes=None),
  dict(feature_axes=(0, 1)),
  dict(feature_axes=0),
  dict(variable_filter=None),
  dict(variable_filter=None, feature_axes=None),
  dict(variable_filter=[]),
  dict(variable_filter={"bias"}),
  dict(variable_filter=("ker", "nothing")),
  dict(variable_filter={"params"}),
]


@pytest.mark.parametrize("kwargs", WEIGHT, ids=range(len(WEIGHT)))
def test_weight_norm(kwargs):
  same_model(lambda nn: nn.WeightNorm(nn.Dense(3), **kwargs), X)


def test_weight_norm_of_a_convolution():
  same_model(lambda nn: nn.WeightNorm(nn.Conv(3, (2,)), feature_axes=(-1, -2)), SEQ)


@pytest.mark.parametrize("filter", [None, {"out"}, {"out/kernel"}, "kernel"], ids=str)
def test_what_a_filter_finds_in_a_layer_of_layers(filter):
  same_model(lambda nn: nn.WeightNorm(mlp(nn, train=False), variable_filter=filter), X)


def test_names_of_layers_from_elsewhere():
  def build(nn):
    class Net(nn.Module):
      def setup(self):
        self.inner = nn.Dense(4)
        self.normed = nn.WeightNorm(self.inner)
        self.stack = [nn.SpectralNorm(nn.Dense(4)), nn.Dense(2)]

      @nn.compact
      def __call__(self, x):
        x = nn.WeightNorm(nn.Dense(4))(self.normed(x)) + self.inner(x)
        x = nn.SpectralNorm(nn.Dense(3, name="mine"), name="sn")(x, update_stats=True)
        x = self.stack[1](self.stack[0](x, update_stats=False))
        return nn.SpectralNorm(nn.WeightNorm(nn.Dense(4)))(x, update_stats=True)

    return Net()

  same_model(build, X, mutable=["batch_stats"])


def test_training_of_a_spectral_norm():
  def program(nn):
    model = nn.SpectralNorm(nn.Dense(3))
    variables = model.init({"params": KEY, "other": KEY2}, X, update_stats=False)
    params, stats, steps = variables["params"], variables["batch_stats"], []
    for _ in range(3):
      y, updates = model.apply(
        {"params": params, "batch_stats": stats}, X, update_stats=True, mutable=["batch_stats"]
      )
      stats = updates["batch_stats"]
      steps.append((y, stats))
    return steps

  same(program)
