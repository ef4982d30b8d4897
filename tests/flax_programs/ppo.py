"""Playing: one network for policy and value, rollouts in a scan, and the clipped objective of PPO."""

import functools

import jax
import jax.numpy as jnp
import optax

import minilinen as nn


class ActorCritic(nn.Module):
  """Frames to log probabilities of actions, and the value."""

  num_outputs: int

  @nn.compact
  def __call__(self, x):
    dtype = jnp.float32
    x = x.astype(dtype) / 255.0
    x = nn.Conv(features=4, kernel_size=(4, 4), strides=(2, 2), name="conv1", dtype=dtype)(x)
    x = nn.relu(x)
    x = nn.Conv(features=8, kernel_size=(3, 3), strides=(1, 1), name="conv2", dtype=dtype)(x)
    x = nn.relu(x)
    x = x.reshape((x.shape[0], -1))
    x = nn.Dense(features=16, name="hidden", dtype=dtype)(x)
    x = nn.relu(x)
    logits = nn.Dense(features=self.num_outputs, name="logits", dtype=dtype)(x)
    policy_log_probabilities = nn.log_softmax(logits)
    value = nn.Dense(features=1, name="value", dtype=dtype)(x)
    return policy_log_probabilities, value


def play(model, params, frames, key, length):
  """Frames that drift with the action; a reward for the action that the frame's first pixel asks for."""

  def step(frames, key):
    log_probs, value = model.apply({"params": params}, frames)
    action = jax.random.categorical(key, log_probs)
    reward = (action == frames[:, 0, 0, 0] % 3).astype(jnp.float32)
    taken = jnp.take_along_axis(log_probs, action[:, None], 1)[:, 0]
    new = jnp.roll(frames, 1, axis=1) + action[:, None, None, None].astype(frames.dtype)
    return new, (frames, action, taken, value[:, 0], reward)

  _, played = jax.lax.scan(step, frames, jax.random.split(key, length))
  return played


@functools.partial(jax.vmap, in_axes=(1, 1), out_axes=1)
def gae(rewards, values):
  """Advantages, from the last step to the first."""

  def back(carry, x):
    advantage, next_value = carry
    reward, value = x
    advantage = reward + 0.99 * next_value - value + 0.99 * 0.95 * advantage
    return (advantage, value), advantage

  return jax.lax.scan(back, (0.0, 0.0), (rewards, values), reverse=True)[1]


def run():
  model = ActorCritic(num_outputs=3)
  key = jax.random.PRNGKey(0)
  frames = jax.random.randint(key, (4, 6, 6, 2), 0, 255)
  params = model.init(key, frames)["params"]
  start = params
  tx = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-2))
  state = tx.init(params)

  @jax.jit
  def iteration(params, state, key):
    seen, actions, old, values, rewards = play(model, params, frames, key, 5)
    advantages = gae(rewards, values)
    targets = advantages + values

    def loss_fn(params):
      log_probs, value = jax.vmap(lambda x: model.apply({"params": params}, x))(seen)
      taken = jnp.take_along_axis(log_probs, actions[..., None], -1)[..., 0]
      ratios = jnp.exp(taken - old)
      adv = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
      pg = -jnp.minimum(ratios * adv, jnp.clip(ratios, 0.9, 1.1) * adv).mean()
      entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, -1).mean()
      return pg + 0.5 * jnp.square(targets - value[..., 0]).mean() - 0.01 * entropy

    losses = []
    for _ in range(2):
      loss, grads = jax.value_and_grad(loss_fn)(params)
      updates, state = tx.update(grads, state)
      params = optax.apply_updates(params, updates)
      losses.append(loss)
    return params, state, losses

  losses = []
  for i in range(2):
    params, state, loss = iteration(params, state, jax.random.fold_in(key, i))
    losses.append(loss)
  return {
    "start": start,
    "params": params,
    "losses": losses,
    "policy": model.apply({"params": params}, frames),
  }
