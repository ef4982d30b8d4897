"""Digits: a small convolutional network, trained with momentum."""

import jax
import jax.numpy as jnp
import optax

import minilinen as nn


class CNN(nn.Module):
  """Two convolutions and two dense layers."""

  @nn.compact
  def __call__(self, x):
    x = nn.Conv(features=4, kernel_size=(3, 3))(x)
    x = nn.relu(x)
    x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
    x = nn.Conv(features=8, kernel_size=(3, 3))(x)
    x = nn.relu(x)
    x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
    x = x.reshape((x.shape[0], -1))
    x = nn.Dense(features=16)(x)
    x = nn.relu(x)
    x = nn.Dense(features=10)(x)
    return x


def batches(steps):
  for i in range(steps):
    key = jax.random.key(i)
    yield jax.random.uniform(key, (8, 8, 8, 1)), jax.random.randint(key, (8,), 0, 10)


def run():
  model = CNN()
  params = model.init(jax.random.key(0), jnp.ones([1, 8, 8, 1]))["params"]
  tx = optax.sgd(0.1, momentum=0.9)
  opt_state = tx.init(params)
  start = params

  @jax.jit
  def train_step(params, opt_state, images, labels):
    def loss_fn(params):
      logits = model.apply({"params": params}, images)
      one_hot = nn.one_hot(labels, 10)
      loss = jnp.mean(optax.softmax_cross_entropy(logits=logits, labels=one_hot))
      return loss, logits

    (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    accuracy = jnp.mean(jnp.argmax(logits, -1) == labels)
    return optax.apply_updates(params, updates), opt_state, grads, loss, accuracy

  metrics = []
  for images, labels in batches(3):
    params, opt_state, grads, loss, accuracy = train_step(params, opt_state, images, labels)
    metrics.append((loss, accuracy))
  return {"start": start, "params": params, "grads": grads, "metrics": metrics}
