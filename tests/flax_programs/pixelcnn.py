"""Pixel after pixel: masked and shifted convolutions under weight norm, gated blocks, a mixture of logistics."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

import minilinen as nn


class ConvWeightNorm(nn.Module):
  """A convolution whose kernel has a length of its own."""

  features: int
  kernel_size: tuple[int, int] = (1, 1)

  @nn.compact
  def __call__(self, inputs):
    conv = nn.Conv(self.features, self.kernel_size, padding="VALID", kernel_init=nn.initializers.normal(0.05))
    return nn.WeightNorm(conv, variable_filter={"kernel"})(inputs)


def shifted(conv, pads):
  """Pads so that a pixel sees only those above it, or left of it."""
  return lambda x: conv(jnp.pad(x, ((0, 0), *pads, (0, 0))))


class ConvDown(nn.Module):
  features: int

  @nn.compact
  def __call__(self, x):
    return shifted(ConvWeightNorm(self.features, (2, 3)), ((1, 0), (1, 1)))(x)


class ConvDownRight(nn.Module):
  features: int

  @nn.compact
  def __call__(self, x):
    return shifted(ConvWeightNorm(self.features, (2, 2)), ((1, 0), (1, 0)))(x)


class GatedResnet(nn.Module):
  """A gated block with an input from the side."""

  conv_module: type
  dropout_p: float = 0.0

  @nn.compact
  def __call__(self, inputs, aux=None, train=False):
    c = inputs.shape[-1]
    y = self.conv_module(c)(concat_elu(inputs))
    if aux is not None:
      y += ConvWeightNorm(c, name="aux")(concat_elu(aux))
    y = nn.Dropout(rate=self.dropout_p, broadcast_dims=(1, 2), deterministic=not train)(concat_elu(y))
    y = self.conv_module(2 * c)(y)
    a, b = jnp.split(y, 2, axis=-1)
    return inputs + a * nn.sigmoid(b)


def concat_elu(x):
  return nn.elu(jnp.concatenate((x, -x), -1))


class PixelCNN(nn.Module):
  """Two streams, downward and to the right, and the parameters of a mixture."""

  depth: int = 1
  features: int = 4
  components: int = 2

  @nn.compact
  def __call__(self, images, train=False):
    x = jnp.pad(images, ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=1)
    down = ConvDown(self.features)(jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1])
    right = ConvDownRight(self.features)(jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1])
    masked = nn.Conv(self.features, (3, 3), mask=causal_mask(2, self.features), name="masked")(x)
    right = right + masked
    block = partial(GatedResnet, dropout_p=0.3)
    for i in range(self.depth):
      down = block(ConvDown, name=f"down_{i}")(down, train=train)
      right = block(ConvDownRight, name=f"right_{i}")(right, aux=down, train=train)
    return ConvWeightNorm(3 * self.components)(nn.elu(right))


def causal_mask(n_in, n_out):
  mask = jnp.ones((3, 3, n_in, n_out))
  return mask.at[1, 1:].set(0).at[2].set(0)


def nll(images, out):
  logits, means, scales = jnp.split(out, 3, -1)
  z = (images - means) * jnp.exp(-scales)
  log_prob = nn.log_softmax(logits) - z - scales - 2 * nn.softplus(-z)
  return -nn.logsumexp(log_prob, axis=-1).mean()


def run():
  key = jax.random.key(0)
  images = jax.random.uniform(key, (2, 4, 4, 1))
  model = PixelCNN()
  variables = model.init({"params": key, "dropout": key}, images, train=False)
  params = variables["params"]
  tx = optax.adam(1e-2)
  state = tx.init(params)

  @jax.jit
  def step(params, state, key):
    def loss_fn(params):
      return nll(images, model.apply({"params": params}, images, train=True, rngs={"dropout": key}))

    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, state = tx.update(grads, state)
    return optax.apply_updates(params, updates), state, loss, grads

  losses = []
  for i in range(2):
    params, state, loss, grads = step(params, state, jax.random.fold_in(key, i))
    losses.append(loss)
  return {"variables": variables, "params": params, "losses": losses, "grads": grads}
