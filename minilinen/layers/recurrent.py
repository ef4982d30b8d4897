"""Recurrent networks: `RNN` takes a cell through a sequence by a scan, `Bidirectional` does it from both ends.

The cells themselves stand in `layers.cells` and `layers.lstm`; all names are here too, as `nn.recurrent`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from minilinen.core.frozen_dict import FrozenDict
from minilinen.layers.cells import Carry as Carry
from minilinen.layers.cells import GRUCell as GRUCell
from minilinen.layers.cells import MGUCell as MGUCell
from minilinen.layers.cells import RNNCellBase as RNNCellBase
from minilinen.layers.cells import SimpleCell as SimpleCell
from minilinen.layers.dtypes import Array
from minilinen.layers.lstm import ConvLSTMCell as ConvLSTMCell
from minilinen.layers.lstm import DenseParams as DenseParams
from minilinen.layers.lstm import LSTMCell as LSTMCell
from minilinen.layers.lstm import OptimizedLSTMCell as OptimizedLSTMCell
from minilinen.module import Module, compact
from minilinen.transforms import scan


@runtime_checkable
class RNNBase(Protocol):
  """What `Bidirectional` takes: a layer that is called as `RNN` is."""

  def __call__(
    self,
    inputs: Array,
    *,
    initial_carry: Carry | None = None,
    init_key: Any = None,
    seq_lengths: Array | None = None,
    return_carry: bool | None = None,
    time_major: bool | None = None,
    reverse: bool | None = None,
    keep_order: bool | None = None,
  ) -> Any: ...


class RNN(Module):
  """Calls a cell on each step of a sequence, with the carry of the step before.

  Attributes:
    cell: the cell; its parameters are at "cell".
    time_major: whether time is the first axis, instead of standing between batch and features.
    return_carry: whether the last carry is returned too.
    reverse: whether the sequence is read from its end; outputs come in the order of reading.
    keep_order: whether outputs of a reversed sequence come in the order of the input.
    unroll: how many steps one turn of the loop does.
    variable_axes, variable_broadcast, variable_carry, split_rngs: what happens to the cell's variables and streams
      from step to step, see `nn.scan`. A cell with `Dropout` needs `split_rngs={"params": False, "dropout": True}`.

  >>> import jax, jax.numpy as jnp, minilinen as nn
  >>> y, variables = nn.RNN(nn.GRUCell(8)).init_with_output(jax.random.key(0), jnp.ones((3, 10, 4)))
  >>> y.shape, list(variables["params"]["cell"])
  ((3, 10, 8), ['hn', 'hr', 'hz', 'in', 'ir', 'iz'])
  """

  cell: RNNCellBase
  time_major: bool = False
  return_carry: bool = False
  reverse: bool = False
  keep_order: bool = False
  unroll: int = 1
  variable_axes: Mapping[Any, Any] = FrozenDict()
  variable_broadcast: Any = "params"
  variable_carry: Any = False
  split_rngs: Mapping[Any, bool] = FrozenDict({"params": False})

  def __call__(
    self,
    inputs: Array,
    *,
    initial_carry: Carry | None = None,
    init_key: Any = None,
    seq_lengths: Array | None = None,
    return_carry: bool | None = None,
    time_major: bool | None = None,
    reverse: bool | None = None,
    keep_order: bool | None = None,
  ) -> Any:
    """Reads a batch of sequences.

    Args:
      inputs: [batch..., time, features...], with `time_major` [time, batch..., features...].
      initial_carry: the carry to begin with; by default the cell's own.
      init_key: the key for that, by default always the same one.
      seq_lengths: [batch...], how long each sequence is; what comes after is read, but neither is the returned carry
        from there, nor does a reversed sequence begin there.
      return_carry, time_major, reverse, keep_order: in the place of the attributes.

    Returns:
      Outputs [batch..., time, ...], or [time, batch..., ...]; with `return_carry` (carry, outputs).

    Raises:
      ValueError: if inputs have too few axes, or lengths don't fit the batch.
    """
    return_carry = self.return_carry if return_carry is None else return_carry
    time_major = self.time_major if time_major is None else time_major
    reverse = self.reverse if reverse is None else reverse
    keep_order = self.keep_order if keep_order is None else keep_order
    num_batch = _check_inputs(self.cell, inputs) - 1
    num_features = self.cell.num_feature_axes
    time_axis = 0 if time_major else num_batch
    step_shape = inputs.shape[:time_axis] + inputs.shape[time_axis + 1 :]
    _check_lengths(seq_lengths, step_shape[:num_batch])

    def flipped(x: Array) -> Array:
      return flip_sequences(x, seq_lengths, num_batch_dims=num_batch, time_major=time_major)

    if reverse:
      inputs = flipped(inputs)
    if initial_carry is None:
      init_key = jax.random.key(0) if init_key is None else init_key
      initial_carry = self.cell.initialize_carry(
        init_key, step_shape[:num_batch] + step_shape[-num_features:]
      )
    keep_carries = return_carry and seq_lengths is not None

    def step(cell: RNNCellBase, carry: Carry, x: Array) -> tuple[Carry, Any]:
      carry, y = cell(carry, x)  # type: ignore[operator]
      return carry, (carry, y) if keep_carries else y

    loop = scan(
      step,
      in_axes=time_axis,
      out_axes=(0, time_axis) if keep_carries else time_axis,
      unroll=self.unroll,
      variable_axes=self.variable_axes,
      variable_broadcast=self.variable_broadcast,
      variable_carry=self.variable_carry,
      split_rngs=self.split_rngs,
    )
    carry, outputs = loop(self.cell, initial_carry, inputs)
    if keep_carries:
      carries, outputs = outputs
      carry = _at_the_end(carries, seq_lengths)  # type: ignore[arg-type]
    if reverse and keep_order:
      outputs = jax.tree.map(flipped, outputs)
    return (carry, outputs) if return_carry else outputs


def _check_inputs(cell: RNNCellBase, inputs: Array) -> int:
  """The number of axes of batch and time together."""
  if isinstance(cell, type) or not hasattr(cell, "num_feature_axes"):
    raise TypeError(
      f"An RNN takes a cell, one with initialize_carry and num_feature_axes, but got {cell!r}: write"
      " nn.RNN(nn.GRUCell(features))."
    )
  number = inputs.ndim - cell.num_feature_axes
  if number < 1:
    raise ValueError(
      f"An RNN of {type(cell).__name__} takes inputs [batch..., time, {cell.num_feature_axes} axes of features], but"
      f" got shape {inputs.shape}."
    )
  return number


def _check_lengths(seq_lengths: Any, batch: tuple[int, ...]) -> None:
  if seq_lengths is None:
    return
  if isinstance(seq_lengths, (list, tuple)) or not jnp.issubdtype(jnp.result_type(seq_lengths), jnp.integer):
    raise TypeError(f"seq_lengths is an array of whole numbers, one for each sequence: got {seq_lengths!r}.")
  shape = jnp.shape(seq_lengths)
  if len(shape) > len(batch) or any(n not in (1, m) for n, m in zip(shape[::-1], batch[::-1])):
    raise ValueError(
      f"seq_lengths has shape {shape}, but the batch of the inputs has {batch}: it says how long each sequence is."
    )


def _at_the_end(carries: Carry, seq_lengths: Array) -> Carry:
  """From the carries after every step [time, batch..., ...] those after the last step of each sequence."""
  last = seq_lengths - 1

  def pick(x: Array) -> Array:
    grid = [jnp.arange(size) for size in x.shape[1 : 1 + max(jnp.ndim(last), 1)]]
    return x[(last, *(grid if len(grid) == 1 else jnp.ix_(*grid)))]

  return jax.tree.map(pick, carries)


def flip_sequences(inputs: Array, seq_lengths: Array | None, num_batch_dims: int, time_major: bool) -> Array:
  """Sequences from end to beginning; the padding after each stays behind it.

  Args:
    inputs: [batch..., time, ...], with `time_major` [time, batch..., ...].
    seq_lengths: [batch...], how long each sequence is; all fill the time axis if None.
    num_batch_dims: the number of batch axes.
    time_major: whether time is the first axis.

  Returns:
    The same shape. The padding comes in reverse too.

  >>> flip_sequences(jnp.array([[1, 2, 3, 0, 0]]), jnp.array([3]), num_batch_dims=1, time_major=False).tolist()
  [[3, 2, 1, 0, 0]]
  """
  time_axis = 0 if time_major else num_batch_dims
  if seq_lengths is None:
    return jnp.flip(inputs, axis=time_axis)
  length = inputs.shape[time_axis]
  lengths = jnp.expand_dims(seq_lengths, axis=time_axis)
  steps = jnp.arange(length - 1, -1, -1)
  steps = jnp.reshape(steps, [length if axis == time_axis else 1 for axis in range(num_batch_dims + 1)])
  steps = (steps + lengths) % length
  steps = steps.reshape(steps.shape + (1,) * (inputs.ndim - steps.ndim))
  return jnp.take_along_axis(inputs, steps, axis=time_axis)


def _concatenate(a: Array, b: Array) -> Array:
  """Both outputs side by side."""
  return jnp.concatenate([a, b], axis=-1)


class Bidirectional(Module):
  """Reads sequences from both ends (Schuster & Paliwal 1997) and puts both outputs together.

  Attributes:
    forward_rnn, backward_rnn: the two layers, as `RNN`.
    merge_fn: from one output of each to the common one; side by side by default.
    time_major, return_carry: as for `RNN`.

  >>> import jax, jax.numpy as jnp, minilinen as nn
  >>> layer = nn.Bidirectional(nn.RNN(nn.GRUCell(8)), nn.RNN(nn.GRUCell(8)))
  >>> layer.init_with_output(jax.random.key(0), jnp.ones((3, 10, 4)))[0].shape
  (3, 10, 16)
  """

  forward_rnn: RNNBase
  backward_rnn: RNNBase
  merge_fn: Callable[[Array, Array], Array] = _concatenate
  time_major: bool = False
  return_carry: bool = False

  @compact
  def __call__(
    self,
    inputs: Array,
    *,
    initial_carry: Carry | None = None,
    init_key: Any = None,
    seq_lengths: Array | None = None,
    return_carry: bool | None = None,
    time_major: bool | None = None,
    reverse: bool | None = None,
    keep_order: bool | None = None,
  ) -> Any:
    """Reads a batch of sequences.

    Args:
      inputs, seq_lengths, return_carry, time_major: as for `RNN`.
      initial_carry: a pair, for the way there and the way back.
      init_key: is split into keys for the two; by default both begin with the same one.
      reverse, keep_order: change nothing; there so that it can stand where an `RNN` does.

    Returns:
      The merged outputs, with `return_carry` after the pair of carries.
    """
    time_major = self.time_major if time_major is None else time_major
    return_carry = self.return_carry if return_carry is None else return_carry
    keys = (None, None) if init_key is None else tuple(jax.random.split(init_key))
    carries = (None, None) if initial_carry is None else initial_carry
    ways = ((self.forward_rnn, False), (self.backward_rnn, True))
    ends = [
      rnn(
        inputs, initial_carry=carry, init_key=key, seq_lengths=seq_lengths, return_carry=True, time_major=time_major,
        reverse=back, keep_order=back,
      )
      for (rnn, back), carry, key in zip(ways, carries, keys)
    ]  # fmt: skip
    (forward_carry, forward), (backward_carry, backward) = ends
    outputs = jax.tree.map(self.merge_fn, forward, backward)
    return ((forward_carry, backward_carry), outputs) if return_carry else outputs
