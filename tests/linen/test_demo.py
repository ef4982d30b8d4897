"""The demo, its data, and its models against the same models on Flax."""

import io
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import equal, flax_settings
from rich.console import Console
from sklearn.datasets import load_digits as scikit_digits
from twins import flax_twin

import minilinen as nn
from minilinen import demo
from minilinen.examples import digits, lstm, resnet, transformer
from minilinen.tracing import Trace

pytestmark = pytest.mark.grid

KEY = jax.random.PRNGKey(0)


def count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def abstract(model, *args):
  return jax.eval_shape(model.init, KEY, *args)


def test_the_digits_are_those_of_scikit_learn():
  ours, theirs = digits.load_digits(test=0), scikit_digits()
  order = np.random.default_rng(0).permutation(len(theirs.target))
  np.testing.assert_array_equal(ours.train_images[..., 0] * 16, theirs.images[order])
  np.testing.assert_array_equal(ours.train_labels, theirs.target[order])
  split = digits.load_digits()
  assert split.train_images.shape == (1437, 8, 8, 1) and split.test_images.shape == (360, 8, 8, 1)


def test_resnet50_has_the_parameters_that_the_paper_gives_it():
  variables = abstract(resnet.ResNet(), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32))
  assert count(variables["params"]) == 25_557_032
  assert count(variables["batch_stats"]) == 53_120


@pytest.mark.parametrize("scanned", [False, True])
def test_the_transformer_has_the_parameters_of_gpt2(scanned):
  variables = abstract(transformer.Transformer(scanned=scanned), jax.ShapeDtypeStruct((1, 16), jnp.int32))
  assert count(variables["params"]) == 124_439_808


TOKENS = jnp.arange(12).reshape(2, 6)
SMALL = {
  "resnet": ("ResNet", dict(blocks=(1, 2), classes=5, width=4), jnp.ones((2, 32, 32, 3)).at[0].mul(2)),
  "transformer": ("Transformer", dict(layers=2, features=8, heads=2, vocabulary=20, length=6), TOKENS),
  "scanned": (
    "Transformer",
    dict(layers=2, features=8, heads=2, vocabulary=20, length=6, scanned=True),
    TOKENS,
  ),
  "lstm": ("TextModel", dict(characters=20, features=4), TOKENS),
  "digits": ("CNN", dict(features=4), jnp.linspace(0, 1, 128).reshape(2, 8, 8, 1)),
}


@pytest.mark.parametrize("name", SMALL)
def test_the_examples_are_bit_for_bit_what_flax_makes_of_them(name):
  place = "transformer" if name == "scanned" else name
  model, settings, x = SMALL[name]
  ours = getattr({"resnet": resnet, "transformer": transformer, "lstm": lstm, "digits": digits}[place], model)
  theirs = getattr(flax_twin(f"minilinen.examples.{place}"), model)
  with flax_settings():
    y, variables = ours(**settings).init_with_output(KEY, x)
    flax_y, flax_variables = theirs(**settings).init_with_output(KEY, x)
  assert jax.tree.structure(variables) == jax.tree.structure(flax_variables)
  equal(flax_variables, variables)
  equal(flax_y, y)


def test_training_is_bit_for_bit_that_of_flax():
  flax_digits = flax_twin("minilinen.examples.digits")
  data = digits.load_digits()
  few = data._replace(train_images=data.train_images[:128], train_labels=data.train_labels[:128])
  with flax_settings():
    ours = list(digits.train(digits.CNN(4), few, epochs=2))
    theirs = list(flax_digits.train(flax_digits.CNN(4), few, epochs=2))
  assert [epoch[:3] for epoch in ours] == [epoch[:3] for epoch in theirs]
  equal(theirs[-1].state.params, ours[-1].state.params)


def test_the_trace_of_the_jitted_step_sees_the_model_and_changes_nothing():
  model, data = digits.CNN(4), digits.load_digits()
  state = digits.new_state(model, jax.random.key(0))
  batch = data.train_images[:8], data.train_labels[:8]
  before, loss = digits.train_step(model, state, *batch)
  trace = nn.trace(digits.train_step)(model, state, *batch)
  with nn.record() as recorded:
    after, same_loss = digits.train_step(model, state, *batch)
  assert [call.path for call in trace.calls()] == [call.path for call in recorded.calls()]
  assert trace["Conv_0"] and trace["Dense_1"]
  assert loss == same_loss
  equal(before.params, after.params)


def test_the_demo_shows_trains_and_writes_its_files(tmp_path):
  out = io.StringIO()
  last = demo.run(tmp_path / "out", Console(file=out, width=80))
  told = out.getvalue()
  assert last.accuracy > 0.95
  assert "25,557,032" in told and "scan ×12" in told and "epoch 8" in told and "Bottleneck_1…2 ×2" in told
  assert max(map(len, told.partition("Files")[0].splitlines())) <= 80
  names = {
    f"{name}.{suffix}"
    for name in ("resnet50", "transformer_unrolled", "transformer_scanned", "digits_step", "digits_step_in_order",
                 "digits_variables")
    for suffix in ("txt", "svg", "html", "json")
  }  # fmt: skip
  drawn = ("dot", "svg", "png") if shutil.which("dot") else ("dot",)
  graphs = {
    f"{name}_graph.{suffix}"
    for name in ("resnet50", "transformer_unrolled", "transformer_scanned")
    for suffix in drawn
  }
  assert {file.name for file in (tmp_path / "out").iterdir()} == {*names, *graphs, "digits_step.trace.json"}
  assert all(name.partition(".")[0] in told for name in names)
  assert Trace.load(tmp_path / "out" / "digits_step.trace.json").name == "train_step"
