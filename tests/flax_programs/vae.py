"""A variational autoencoder: submodules in setup, several methods, a random stream for the latents."""

import jax
import jax.numpy as jnp
import optax

import minilinen as nn


class Encoder(nn.Module):
  """Images to the mean and the log of the variance of their latents."""

  latents: int

  @nn.compact
  def __call__(self, x):
    x = nn.Dense(16, name="fc1")(x)
    x = nn.relu(x)
    mean_x = nn.Dense(self.latents, name="fc2_mean")(x)
    logvar_x = nn.Dense(self.latents, name="fc2_logvar")(x)
    return mean_x, logvar_x


class Decoder(nn.Module):
  """Latents to logits of pixels."""

  @nn.compact
  def __call__(self, z):
    z = nn.Dense(16, name="fc1")(z)
    z = nn.relu(z)
    return nn.Dense(24, name="fc2")(z)


class VAE(nn.Module):
  """Both."""

  latents: int = 4

  def setup(self):
    self.encoder = Encoder(self.latents)
    self.decoder = Decoder()

  def __call__(self, x):
    mean, logvar = self.encoder(x)
    z = reparameterize(self.make_rng("latents"), mean, logvar)
    return self.decoder(z), mean, logvar

  def generate(self, z):
    return nn.sigmoid(self.decoder(z))

  def encode(self, x):
    return self.encoder(x)[0]


def reparameterize(rng, mean, logvar):
  std = jnp.exp(0.5 * logvar)
  return mean + jax.random.normal(rng, logvar.shape) * std


def loss_of(logits, labels, mean, logvar):
  logits = nn.log_sigmoid(logits)
  bce = -jnp.sum(labels * logits + (1.0 - labels) * jnp.log(-jnp.expm1(logits)), axis=-1)
  kld = -0.5 * jnp.sum(1 + logvar - jnp.square(mean) - jnp.exp(logvar), axis=-1)
  return jnp.mean(bce + kld)


def run():
  model = VAE(latents=4)
  key = jax.random.PRNGKey(0)
  x = jax.random.bernoulli(key, 0.3, (6, 24)).astype(jnp.float32)
  variables = model.init({"params": key, "latents": jax.random.PRNGKey(1)}, x)
  params = variables["params"]
  tx = optax.adam(1e-2)
  state = tx.init(params)

  @jax.jit
  def step(params, state, rng):
    def loss_fn(params):
      return loss_of(*spread(model.apply({"params": params}, x, rngs={"latents": rng})))

    def spread(out):
      logits, mean, logvar = out
      return logits, x, mean, logvar

    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, state = tx.update(grads, state)
    return optax.apply_updates(params, updates), state, loss

  losses = []
  for i in range(3):
    params, state, loss = step(params, state, jax.random.fold_in(key, i))
    losses.append(loss)
  z = jax.random.normal(key, (2, 4))
  bound = model.bind({"params": params})
  return {
    "variables": variables,
    "params": params,
    "losses": losses,
    "generated": model.apply({"params": params}, z, method=model.generate),
    "encoded": model.apply({"params": params}, x, method="encode"),
    "by class": model.apply({"params": params}, z, method=VAE.generate),
    "bound": bound.generate(z),
    "decoder alone": bound.decoder.clone().apply({"params": params["decoder"]}, z),
    "without latents": model.init(key, z, method="generate"),
  }
