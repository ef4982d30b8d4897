"""Diffusion: a U-Net with time embeddings, group norm, attention and skips, trained to tell the noise, then sampled."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

import minilinen as nn


def timestep_embedding(t, dim):
  half = dim // 2
  freqs = jnp.exp(-jnp.log(10000.0) * jnp.arange(half) / half)
  args = t[:, None].astype(jnp.float32) * freqs[None]
  return jnp.concatenate([jnp.cos(args), jnp.sin(args)], -1)


class ResBlock(nn.Module):
  """Two convolutions that know the time."""

  features: int
  dropout: float = 0.1

  @nn.compact
  def __call__(self, x, emb, train: bool):
    h = nn.swish(nn.GroupNorm(num_groups=2)(x))
    h = nn.Conv(self.features, (3, 3))(h)
    scale, shift = jnp.split(nn.Dense(2 * self.features)(nn.swish(emb))[:, None, None], 2, -1)
    h = nn.GroupNorm(num_groups=2)(h) * (1 + scale) + shift
    h = nn.Dropout(self.dropout, deterministic=not train)(nn.swish(h))
    h = nn.Conv(self.features, (3, 3), kernel_init=nn.initializers.zeros)(h)
    if x.shape[-1] != self.features:
      x = nn.Conv(self.features, (1, 1), name="skip")(x)
    return x + h


class AttnBlock(nn.Module):
  """Attention over all places."""

  @nn.compact
  def __call__(self, x):
    b, h, w, c = x.shape
    y = nn.GroupNorm(num_groups=2)(x).reshape(b, h * w, c)
    y = nn.MultiHeadDotProductAttention(num_heads=2, normalize_qk=True)(y)
    return x + y.reshape(b, h, w, c)


class UNet(nn.Module):
  """Down, through, and up again."""

  widths: Sequence[int] = (4, 8)
  out_channels: int = 1

  @nn.compact
  def __call__(self, x, t, *, train: bool = False):
    emb = timestep_embedding(t, 8)
    emb = nn.Dense(8)(nn.swish(nn.Dense(8)(emb)))
    h = nn.Conv(self.widths[0], (3, 3))(x)
    skips = [h]
    remat_block = nn.remat(ResBlock, static_argnums=(3,))
    for level, width in enumerate(self.widths):
      h = remat_block(width, name=f"down_{level}")(h, emb, train)
      skips.append(h)
      if level < len(self.widths) - 1:
        h = nn.avg_pool(h, (2, 2), (2, 2))
    h = AttnBlock()(ResBlock(self.widths[-1])(h, emb, train))
    for level, width in reversed(list(enumerate(self.widths))):
      h = jnp.concatenate([h, skips.pop()], -1)
      h = ResBlock(width, name=f"up_{level}")(h, emb, train)
      if level > 0:
        b, y, x_, c = h.shape
        h = jax.image.resize(h, (b, y * 2, x_ * 2, c), "nearest")
        h = nn.ConvTranspose(c, (3, 3))(h)
    return nn.Conv(self.out_channels, (3, 3), name="out")(nn.swish(nn.GroupNorm(num_groups=2)(h)))


def run():
  key = jax.random.key(0)
  images = jax.random.normal(key, (2, 4, 4, 1))
  alphas = jnp.cumprod(1 - jnp.linspace(1e-2, 0.3, 5))
  model = UNet()
  variables = model.init(key, images, jnp.zeros(2, jnp.int32))
  params = ema = variables["params"]
  tx = optax.adam(1e-2)
  state = tx.init(params)

  @jax.jit
  def step(params, ema, state, key):
    k1, k2, k3 = jax.random.split(key, 3)
    t = jax.random.randint(k1, (2,), 0, 5)
    noise = jax.random.normal(k2, images.shape)
    a = alphas[t][:, None, None, None]
    noisy = jnp.sqrt(a) * images + jnp.sqrt(1 - a) * noise

    def loss_fn(params):
      told = model.apply({"params": params}, noisy, t, train=True, rngs={"dropout": k3})
      return jnp.mean((told - noise) ** 2)

    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, state = tx.update(grads, state)
    params = optax.apply_updates(params, updates)
    return params, optax.incremental_update(params, ema, 0.1), state, loss

  losses = []
  for i in range(2):
    params, ema, state, loss = step(params, ema, state, jax.random.fold_in(key, i))
    losses.append(loss)

  @jax.jit
  def sample(ema, x):
    def back(x, t):
      told = model.apply({"params": ema}, x, jnp.full((x.shape[0],), t))
      a = alphas[t]
      return (x - (1 - a) * told) / jnp.sqrt(a), None

    return jax.lax.scan(back, x, jnp.arange(5)[::-1])[0]

  return {
    "variables": variables,
    "params": params,
    "ema": ema,
    "losses": losses,
    "sample": sample(ema, images),
  }
