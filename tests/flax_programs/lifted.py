"""Layers under every kind of lift: experts side by side, a loop that counts, branches by task, inner gradients."""

import jax
import jax.numpy as jnp
import optax

import minilinen as nn


class Expert(nn.Module):
  """One of several networks that share nothing."""

  features: int

  @nn.compact
  def __call__(self, x, scale):
    x = nn.BatchNorm(use_running_average=False, momentum=0.9)(nn.Dense(self.features)(x))
    return nn.Dropout(0.2, deterministic=False)(jnp.tanh(x)) * scale


class Mixture(nn.Module):
  """Experts in a vmap, weighed by a gate."""

  experts: int = 3

  @nn.compact
  def __call__(self, x):
    gates = nn.softmax(nn.Dense(self.experts, name="gate")(x))
    experts = nn.vmap(
      Expert,
      in_axes=(None, 0),
      out_axes=1,
      axis_size=self.experts,
      variable_axes={"params": 0, "batch_stats": 0},
      split_rngs={"params": True, "dropout": True},
    )
    y = experts(features=x.shape[-1], name="experts")(x, jnp.arange(1.0, self.experts + 1))
    return jnp.einsum("be,bef->bf", gates, y)


class Counting(nn.Module):
  """A cell that runs in a loop and counts, except in training: such loops have no gradient."""

  training: bool

  def setup(self):
    self.cell = nn.Dense(4)
    self.steps = self.variable("counts", "steps", jnp.zeros, (), jnp.int32)

  def __call__(self, x):
    def cond_fn(mdl, c):
      return c[0] < 3

    def body_fn(mdl, c):
      mdl.steps.value += 1
      return c[0] + 1, jnp.tanh(mdl.cell(c[1])) + c[1]

    if self.training or self.is_initializing():
      return self.cell(x)
    return nn.while_loop(
      cond_fn, body_fn, self, (0, x), carry_variables="counts", broadcast_variables="params"
    )[1]


class Heads(nn.Module):
  """A head per task, and a branch that may be skipped."""

  def setup(self):
    self.heads = [nn.Dense(2) for _ in range(3)]
    self.extra = nn.Dense(2)

  def __call__(self, x, task, wide):
    def head(i):
      return lambda mdl, x: mdl.heads[i](x)

    def without(mdl, x):
      return jnp.zeros((*x.shape[:-1], 2))

    if self.is_initializing():
      return sum(h(x) for h in self.heads) + self.extra(x)
    y = nn.switch(task, [head(i) for i in range(3)], self, x)
    return y + nn.cond(wide, lambda mdl, x: mdl.extra(x), without, self, x)


class Potential(nn.Module):
  """A scalar per example."""

  @nn.compact
  def __call__(self, x):
    return nn.Dense(1)(nn.softplus(nn.Dense(5)(x)))


class Energy(nn.Module):
  """The slope of a network by its input, and of a stiffness that it has."""

  @nn.compact
  def __call__(self, x):
    net = Potential()
    energy, force = nn.value_and_grad(lambda mdl, x: mdl(x).sum(), net, x)
    out, tangent = nn.jvp(lambda mdl, x: mdl(x), net, (x,), (jnp.ones_like(x),), {})
    y, bwd = nn.vjp(lambda mdl, x: mdl(x), net, x)
    params_t, input_t = bwd(jnp.ones_like(y))
    return energy, force, out, tangent, input_t, jax.tree.map(jnp.sum, params_t["params"])


class StraightThrough(nn.Module):
  """Rounds, and passes the gradient as if it did not."""

  @nn.compact
  def __call__(self, x):
    def forward(mdl, x):
      return jnp.round(mdl(x))

    def fwd(mdl, x):
      y, vjp_fn = nn.vjp(lambda mdl, x: mdl(x), mdl, x)
      return jnp.round(y), vjp_fn

    def bwd(vjp_fn, y_t):
      params_t, *inputs_t = vjp_fn(y_t)
      return (jax.tree.map(jnp.sign, params_t), *inputs_t)

    return nn.custom_vjp(forward, forward_fn=fwd, backward_fn=bwd)(nn.Dense(4), x)


class Deep(nn.Module):
  """All of it, and a stack that is rematerialized in chunks."""

  training: bool = True

  @nn.compact
  def __call__(self, x, task=0, wide=True):
    x = nn.jit(Mixture)(name="mixture")(x)
    x = Counting(self.training, name="counting")(x)
    stack = nn.remat_scan(nn.Dense, lengths=(2, 2))
    x = x + stack(x.shape[-1], name="stack")(x)
    x = StraightThrough()(x) + x
    energies = nn.remat(Energy)()(x)
    tied = nn.map_variables(
      nn.Dense, "params", lambda v: jax.tree.map(lambda p: p / 2, v), init=self.is_initializing()
    )
    x = tied(x.shape[-1], use_bias=False, name="halved")(x)
    return Heads()(x, task, wide), energies


def run():
  key = jax.random.key(0)
  x = jax.random.normal(key, (5, 4))
  model = Deep()
  rngs = {"params": key, "dropout": jax.random.key(1)}
  variables = model.init(rngs, x)
  params, rest = variables["params"], {k: v for k, v in variables.items() if k != "params"}
  tx = optax.adam(1e-2)
  state = tx.init(params)

  @jax.jit
  def step(params, rest, state, key, task, wide):
    def loss_fn(params):
      (y, energies), new = model.apply(
        {"params": params, **rest}, x, task, wide, rngs={"dropout": key}, mutable=["batch_stats", "counts"]
      )
      return jnp.mean(y**2) + 1e-3 * sum(jnp.sum(e) for e in jax.tree.leaves(energies)), new

    (loss, new), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    updates, state = tx.update(grads, state)
    return optax.apply_updates(params, updates), {**rest, **new}, state, loss

  losses = []
  for i in range(3):
    params, rest, state, loss = step(params, rest, state, jax.random.fold_in(key, i), i, i % 2 == 0)
    losses.append(loss)
  out = Deep(training=False).apply(
    {"params": params, **rest}, x, 1, False, rngs=rngs, mutable=["batch_stats", "counts"]
  )
  return {"variables": variables, "params": params, "rest": rest, "losses": losses, "out": out}
