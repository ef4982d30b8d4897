"""The table's columns of costs, and choosing, sorting and filtering its rows."""

from __future__ import annotations

import flax.linen
import jax
import jax.numpy as jnp
import pytest

import minilinen as nn
import viz
from minilinen.examples.resnet import ResNet
from minilinen.examples.transformer import Transformer

KEY = jax.random.key(0)
X = jnp.ones((8, 5))


class Small(nn.Module):
  """Two layers, one of them called twice."""

  @nn.compact
  def __call__(self, x):
    twice = nn.Dense(3, use_bias=False)
    return twice(twice(nn.Dense(3, use_bias=False)(x)))


class Stack(nn.Module):
  """Scanned blocks, each computed again in the backward pass."""

  @nn.compact
  def __call__(self, x):
    block = nn.scan(nn.remat(Block), variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
    return block()(x, None)[0]


class Block(nn.Module):
  """A layer as the step of a scan."""

  @nn.compact
  def __call__(self, x, _):
    return nn.Dense(5, use_bias=False)(x), None


def table(model, *args, flops=True, vjp=False, **options):
  return viz.tabulate(nn.trace(model.init)(KEY, *args), compute_flops=flops, compute_vjp_flops=vjp, **options)


def flops(view):
  return {row["path"]: row["flops"] for row in view.to_rows()}


def test_flops_of_a_module_are_those_of_everything_in_it():
  assert flops(table(Small(), X)) == {"": 528, "Dense_0": 2 * 144, "Dense_1": 240}


class Scaled(nn.Module):
  """Its parameter is weakly typed, so that the step keeps the type of what it scales: a scan asks for that."""

  @nn.compact
  def __call__(self, x):
    scale = self.param("scale", lambda key: jnp.asarray(2.0))
    return jax.lax.scan(lambda c, _: (c * scale, None), x, None, length=4)[0]


def test_the_backward_pass_has_parameters_of_the_types_that_init_gave_them():
  x = jnp.ones((2, 3), jnp.bfloat16)
  told = Scaled().tabulate(KEY, x, compute_flops=True, compute_vjp_flops=True)
  assert told == Scaled().tabulate(KEY, "bf16[2,3]", compute_flops=True, compute_vjp_flops=True)
  (row,) = table(Scaled(), x).to_rows()
  assert row["flops"] == 4 * 6


def test_the_flops_are_those_that_flax_shows_where_it_shows_them():
  class Theirs(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, x):
      twice = flax.linen.Dense(3, use_bias=False)
      return twice(twice(flax.linen.Dense(3, use_bias=False)(x)))

  wide = {"width": 150, "force_terminal": False}
  theirs = Theirs().tabulate(KEY, X, compute_flops=True, compute_vjp_flops=True, console_kwargs=wide)
  ours = Small().tabulate(KEY, X, compute_flops=True, compute_vjp_flops=True)
  their_root = next(line for line in theirs.splitlines() if "│ Theirs" in line).split("│")
  assert their_root[5].strip() == "528"
  # Three times the forward pass, and the two gradients of the kernel that is used twice are added.
  both = 3 * 528 + 3 * 3
  assert int(their_root[6]) == pytest.approx(both, rel=0.03)
  assert "528" in ours and f"{both:,}" in ours


def test_initializers_are_not_counted():
  """A table of init and one of apply show the same."""
  variables = Small().init(KEY, X)
  applied = viz.tabulate(nn.trace(Small().apply)(variables, X), compute_flops=True)
  assert flops(applied) == flops(table(Small(), X))


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize(
  "model, x",
  [(ResNet(), "f32[1,224,224,3]"), (Transformer(scanned=True), "i32[1,1024]")],
  ids=["resnet", "transformer"],
)
def test_real_models_at_all_widths(model, x, width):
  text = model.tabulate(KEY, x, compute_flops=True, console_kwargs={"width": width})
  assert max(map(len, text.splitlines())) <= width
  assert "flops" in text and "params" in text
  total = "7.98G 7,980,134,120" if isinstance(model, ResNet) else "293G 292,9"
  assert any(number in text for number in total.split())
  assert "100.0%" in text or "share." in text  # left out at this width
  assert "█" in text or width < 120 or not isinstance(model, ResNet)


def test_forward_and_backward_of_scan_and_remat_with_repeats():
  text = Stack().tabulate(KEY, X, compute_flops=True, compute_vjp_flops=True, show_repeated=True)
  forward = 3 * 2 * 8 * 5 * 5
  assert f"{forward:,}" in text
  # Twice as much backward, and the forward pass is not needed again for a product.
  assert f"{3 * forward:,}" in text


def test_symbolic_costs_stand_as_formulas():
  text = table(nn.Dense(3, use_bias=False), "f32[b,t,5]").text(width=120)
  assert "30*b*t" in text
  text = table(nn.Dense(3), "f32[b,5]").text(width=200)
  assert "33*b" in text


def test_sorted_by_a_column():
  rows = table(Small(), X, sort="flops").to_rows()
  assert [row["path"] for row in rows] == ["", "Dense_0", "Dense_1"]
  rows = table(Small(), X, sort="params").to_rows()
  assert [row["path"] for row in rows] == ["", "Dense_1", "Dense_0"]


def test_only_some_modules():
  view = table(Transformer(2, 16, 2, 32, 8), jnp.ones((1, 4), int), where="**/query", fold=False)
  assert [row["path"] for row in view.to_rows()] == [
    f"Block_{i}/MultiHeadDotProductAttention_0/query" for i in range(2)
  ]
  assert "Block_1/MultiHeadDotProductAttention_0/query" in view.text(width=120)
  by_class = table(Transformer(2, 16, 2, 32, 8), jnp.ones((1, 4), int), where="LayerNorm", fold=False)
  assert len(by_class.to_rows()) == 5


def test_only_some_columns():
  text = table(Small(), X, columns=["flops", "params", "module"]).text(width=120)
  heading = text.splitlines()[1].split()
  assert heading == ["path", "flops", "params", "module"]


def test_mistakes():
  with pytest.raises(viz.UnknownColumnError, match=r"(?s)no column 'flop'.*Did you mean 'flops'"):
    table(Small(), X, sort="flop")
  with pytest.raises(viz.UnknownColumnError, match=r"(?s)no column 'parms'.*Did you mean 'params'"):
    table(Small(), X, columns=["parms"])
  with pytest.raises(viz.NoMatchError, match=r"(?s)No module fits the pattern 'Dense_7'"):
    table(Small(), X, where="Dense_7")
  with pytest.raises(viz.CostsMissingError, match=r"(?s)no backward pass in\s+it.*compute_vjp_flops=True"):
    table(Small(), X, vjp=True)
  with nn.record() as found:
    Small().init(KEY, X)
  with pytest.raises(viz.CostsMissingError, match=r"(?s)its code really ran"):
    viz.tabulate(found, compute_flops=True)


def test_what_the_numbers_leave_out_is_said():
  class Loops(nn.Module):
    @nn.compact
    def __call__(self, x):
      x = jax.lax.while_loop(lambda x: (x < 3).all(), lambda x: x + 1, x)
      return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

  text = table(Loops(), X).text(width=120)
  assert "one iteration of each while loop" in text
  assert "do not count pure_callback ×1" in text
