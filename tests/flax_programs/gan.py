"""Two networks against each other: transposed convolutions with batch norm, and spectral norm in the critic."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

import minilinen as nn


class Generator(nn.Module):
  """Noise to images."""

  features: int = 4
  training: bool = True

  @nn.compact
  def __call__(self, z):
    norm = partial(nn.BatchNorm, use_running_average=not self.training, momentum=0.9, epsilon=1e-5)
    conv = partial(
      nn.ConvTranspose, use_bias=False, padding="VALID", kernel_init=nn.initializers.normal(0.02)
    )
    x = z.reshape((z.shape[0], 1, 1, -1))
    x = conv(self.features * 2, (2, 2), name="up1")(x)
    x = nn.relu(norm(scale_init=nn.initializers.normal(0.02))(x))
    x = conv(self.features, (2, 2), strides=(2, 2))(x)
    x = nn.relu(norm()(x))
    x = conv(1, (2, 2), strides=(2, 2))(x)
    return jnp.tanh(x)


class Discriminator(nn.Module):
  """Images to a score."""

  features: int = 4

  @nn.compact
  def __call__(self, x, train: bool = True):
    for i, features in enumerate((self.features, self.features * 2)):
      x = nn.SpectralNorm(nn.Conv(features, (3, 3), strides=(2, 2)), name=f"sn_{i}")(x, update_stats=train)
      x = nn.leaky_relu(x, 0.2)
    x = x.reshape((x.shape[0], -1))
    return nn.SpectralNorm(nn.Dense(1), n_steps=2)(x, update_stats=train)


def run():
  key = jax.random.key(0)
  real = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
  z = jax.random.normal(key, (4, 5))
  generator, critic = Generator(), Discriminator()
  g_vars = generator.init(key, z)
  d_vars = critic.init(key, real)
  g_tx, d_tx = optax.adam(2e-3, b1=0.5), optax.adam(2e-3, b1=0.5)
  g_state, d_state = g_tx.init(g_vars["params"]), d_tx.init(d_vars["params"])
  start = (g_vars, d_vars)

  @jax.jit
  def step(g_vars, d_vars, g_state, d_state, key):
    z = jax.random.normal(key, (4, 5))

    def scores(params, stats, x):
      return critic.apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])

    def d_loss(params):
      fake, _ = generator.apply(g_vars, z, mutable=["batch_stats"])
      on_real, new = scores(params, d_vars["batch_stats"], real)
      on_fake, new = scores(params, new["batch_stats"], fake)
      return jnp.mean(nn.softplus(-on_real) + nn.softplus(on_fake)), new["batch_stats"]

    def g_loss(params):
      variables = {"params": params, "batch_stats": g_vars["batch_stats"]}
      fake, new = generator.apply(variables, z, mutable=["batch_stats"])
      on_fake = critic.apply(d_vars, fake, train=False)
      return jnp.mean(nn.softplus(-on_fake)), new["batch_stats"]

    (dl, d_stats), d_grads = jax.value_and_grad(d_loss, has_aux=True)(d_vars["params"])
    (gl, g_stats), g_grads = jax.value_and_grad(g_loss, has_aux=True)(g_vars["params"])
    d_updates, d_state = d_tx.update(d_grads, d_state)
    g_updates, g_state = g_tx.update(g_grads, g_state)
    d_vars = {"params": optax.apply_updates(d_vars["params"], d_updates), "batch_stats": d_stats}
    g_vars = {"params": optax.apply_updates(g_vars["params"], g_updates), "batch_stats": g_stats}
    return g_vars, d_vars, g_state, d_state, (dl, gl)

  losses = []
  for i in range(3):
    g_vars, d_vars, g_state, d_state, loss = step(
      g_vars, d_vars, g_state, d_state, jax.random.fold_in(key, i)
    )
    losses.append(loss)
  sample = Generator(training=False).apply(g_vars, z)
  return {"start": start, "generator": g_vars, "critic": d_vars, "losses": losses, "sample": sample}
