"""The command `minilinen`: what it draws, what it saves, and what it says when something is wrong."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minilinen.cli import main
from minilinen.tracing import Trace

MODEL = """
import minilinen as nn

class Net(nn.Module):
  features: int = 4

  @nn.compact
  def __call__(self, x, train: bool = True):
    x = nn.Dense(self.features)(x)
    x = nn.Dropout(0.5, deterministic=not train)(x)
    self.sow("intermediates", "hidden", x)
    return nn.Dense(2, name="out")(x)

  @nn.compact
  def encode(self, x):
    return nn.Dense(self.features, name="encoder")(x)

class Needs(nn.Module):
  features: int

class Wrong(nn.Module):
  @nn.compact
  def __call__(self, x):
    return Inner(name="inner")(x)

class Inner(nn.Module):
  @nn.compact
  def __call__(self, x):
    raise ValueError("this model is\\nnot finished")

net = Net(7)
not_a_model = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  (tmp_path / "model.py").write_text(MODEL)
  yield tmp_path
  sys.modules.pop("model", None)


@pytest.fixture
def run(capsys):
  """Runs a command line; gives exit code, output and errors."""

  def run(*words):
    try:
      code = main(words)
    except SystemExit as end:
      code = end.code
    told = capsys.readouterr()
    return code, told.out, told.err

  return run


def test_tabulate_prints_a_row_for_each_module(run):
  code, out, err = run("tabulate", "model.py:Net(features=8)", "-i", "f32[b,3]", "--width", "100")
  assert (code, err) == (0, "")
  assert "Dense_0" in out and "f32[b,8]" in out and "out" in out
  assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("model", ["model:Net(5)", "model.py:Net(5)", "./model.py:Net(5)"])
def test_a_model_is_named_by_module_or_by_file(run, model):
  code, out, _ = run("tree", model, "-i", "f32[2,3]")
  assert code == 0 and "f32[3,5]" in out


@pytest.mark.parametrize(
  ("expression", "shape"), [("net", "f32[3,7]"), ("Net", "f32[3,4]"), ("net.clone(features=9)", "f32[3,9]")]
)
def test_the_expression_may_be_an_instance_a_class_or_any_code(run, expression, shape):
  code, out, _ = run("tree", f"model:{expression}", "-i", "f32[2,3]")
  assert code == 0 and shape in out


def test_tree_shows_what_fits_a_pattern(run):
  code, out, _ = run("tree", "model.py:Net", "-i", "f32[2,3]", "--pattern", "params/**/bias")
  assert code == 0 and "bias" in out and "kernel" not in out


def test_trace_shows_what_happened_in_order(run):
  code, out, _ = run("trace", "model.py:Net", "-i", "f32[2,3]", "--width", "160")
  assert code == 0
  assert out.index("Dense_0") < out.index("dropout") < out.index("hidden")
  assert "model.py" in out


def test_inputs_may_be_several_or_literals(run):
  code, out, err = run("tabulate", "model.py:Net", "-i", "f32[2,3]", "False", "--width", "120")
  assert (code, err) == (0, "") and "f32[2,3], False" in out
  code, out, _ = run("tabulate", "model.py:Net", "-i", "f32[2,3]", "-i", "False", "--width", "120")
  assert code == 0 and "f32[2,3], False" in out


def test_keyword_inputs_reach_the_model(run):
  _, with_dropout, _ = run("trace", "model.py:Net", "-i", "f32[2,3]", "-k", "train=True")
  code, without, _ = run("trace", "model.py:Net", "-i", "f32[2,3]", "-k", "train=False")
  assert code == 0 and "dropout" in with_dropout and "key dropout" not in without


def test_streams_are_those_that_are_named(run):
  run("trace", "model.py:Net", "-i", "f32[2,3]", "-o", "served.json")
  run("trace", "model.py:Net", "-i", "f32[2,3]", "--rngs", "params,dropout", "-o", "own.json")
  assert Trace.load("served.json").runs[0].streams == ("params",)
  assert set(Trace.load("own.json").runs[0].streams) == {"params", "dropout"}


def test_another_method_may_be_traced(run):
  code, out, _ = run("tree", "model.py:Net", "-i", "f32[2,3]", "--method", "encode")
  assert code == 0 and "encoder" in out and "Dense_0" not in out


@pytest.mark.parametrize(
  ("mutable", "there"), [("intermediates,params", True), ("all", True), ("params", False)]
)
def test_mutable_says_which_collections_are_made(run, mutable, there):
  code, out, _ = run("tree", "model.py:Net", "-i", "f32[2,3]", "--mutable", mutable)
  assert code == 0 and ("intermediates" in out) is there


def test_depth_leaves_out_what_is_below(run):
  code, out, _ = run("tabulate", "model.py:Net", "-i", "f32[2,3]", "--depth", "0")
  assert code == 0 and "Dense_0" not in out and "Net" in out


@pytest.mark.parametrize("command", ["tabulate", "tree", "trace"])
@pytest.mark.parametrize(
  ("suffix", "begins"), [("txt", ""), ("svg", "<svg"), ("html", "<!DOCTYPE html>"), ("json", "{")]
)
def test_the_suffix_says_what_is_written(run, folder, command, suffix, begins):
  code, out, err = run(command, "model.py:Net", "-i", "f32[2,3]", "-o", f"picture.{suffix}")
  written = (folder / f"picture.{suffix}").read_text()
  assert (code, out, err) == (0, "", "")
  assert written.startswith(begins) and "Dense_0" in written


def test_width_holds_in_files(run, folder):
  run("tabulate", "model.py:Net", "-i", "f32[2,3]", "-o", "t.txt", "--width", "60")
  assert max(map(len, (folder / "t.txt").read_text().splitlines())) <= 60


def test_a_saved_trace_can_be_drawn_again(run, folder):
  run("trace", "model.py:Net", "-i", "f32[2,3]", "-o", "run.json")
  assert json.loads((folder / "run.json").read_text())["format"] == "minilinen.trace"
  _, direct, _ = run("tabulate", "model.py:Net", "-i", "f32[2,3]")
  code, again, _ = run("tabulate", "run.json")
  assert code == 0 and again == direct


USAGE = [
  (["tabulate", "model.py", "-i", "f32[3]"], "does not say which model: write 'model.py:Net()'"),
  (["tabulate", "model.py:Nett()", "-i", "f32[3]"], "model.py has no 'Nett'. Did you mean 'Net'?"),
  (["tabulate", "modell.py:Net()"], "there is no file 'modell.py'. Did you mean 'model.py'?"),
  (["tabulate", "modell:Net()"], "there is no module 'modell'"),
  (["tabulate", "model.sub:Net()"], "there is no module 'model.sub'"),
  (["tabulate", ":Net()"], "':Net()' does not say which model"),
  (["tabulate", "model.py:Net("], "'Net(' is no Python expression"),
  (["tabulate", "model.py:Needs", "-i", "f32[3]"], "Needs is a class that needs arguments: write Needs(...)"),
  (["tabulate", "model.py:not_a_model"], "not_a_model is no nn.Module but int"),
  (["tabulate", "model.py:Net", "-i", "f32[3,-1]"], "'f32[3,-1]' is no array spec: a dimension is negative"),
  (["tabulate", "model.py:Net", "-i", "f33[3]"], "'f33' is no dtype"),
  (["tabulate", "model.py:Net", "-i", "batch"], "'batch' is neither a dtype with a shape"),
  (["tabulate", "model.py:Net", "-i", "f32[2,3]", "-k", "train"], "it is written NAME=VALUE"),
  (
    ["tabulate", "model.py:Net", "-i", "f32[2,3]", "--method", "decode"],
    "Net has no such method. There: encode",
  ),
  (["tree", "model.py:Net", "-i", "f32[2,3]", "--pattern", "params/**/kernle"], "Did you mean"),
  (["tree", "model.py:Net", "-i", "f32[2,3]", "-o", "picture.pdf"], "Expected one of"),
  (["tabulate", "missing.json"], "cannot read the trace missing.json: No such file"),
  (["tabulate"], "the following arguments are required: model"),
  (["tabulat", "model.py:Net"], "invalid choice: 'tabulat'"),
  ([], "the following arguments are required: command"),
]


@pytest.mark.parametrize(("words", "told"), USAGE, ids=[" ".join(words) for words, _ in USAGE])
def test_a_wrong_command_line_is_told_in_one_line(run, words, told):
  code, out, err = run(*words)
  assert (code, out) == (2, "")
  assert err.startswith("minilinen: ") and err.count("\n") == 1 and "Traceback" not in err
  assert told in err


def test_a_trace_file_that_is_cut_off_is_told(run, folder):
  run("trace", "model.py:Net", "-i", "f32[2,3]", "-o", "run.json")
  whole = (folder / "run.json").read_text()
  (folder / "run.json").write_text(whole[: len(whole) // 2])
  code, _, err = run("tabulate", "run.json")
  assert code == 2 and "run.json" in err and err.count("\n") == 1


def test_a_module_of_flax_is_told(run, folder):
  (folder / "flaxen.py").write_text("import flax.linen as nn\nnet = nn.Dense(3)\n")
  code, _, err = run("tabulate", "flaxen.py:net", "-i", "f32[2,3]")
  assert code == 2 and "is a module of Flax; with --flax" in err


def test_a_model_that_fails_is_told_with_its_path_and_line(run):
  code, _, err = run("tabulate", "model.py:Wrong", "-i", "f32[2,3]")
  assert code == 1 and err.count("\n") == 1
  assert "ValueError: this model is; not finished" in err
  assert "module inner" in err and "model.py:" in err and "Inner.__call__" in err


def test_an_error_of_minilinen_is_told_in_one_line(run):
  code, _, err = run("tabulate", "model.py:Net", "-i", "f32[2,3]", "--rngs", "dropout")
  assert code == 1 and err.count("\n") == 1 and "InvalidRngError" in err and "params" in err


def test_an_error_while_the_file_is_loaded_is_the_models(run, folder):
  (folder / "broken.py").write_text("import minilinen as nn\n1 / 0\n")
  code, _, err = run("tabulate", "broken.py:net")
  assert code == 1 and "ZeroDivisionError" in err and "broken.py:2" in err


def test_debug_shows_the_stack(run):
  _, _, err = run("tabulate", "model.py:Wrong", "-i", "f32[2,3]", "--debug")
  assert "Traceback" in err and "minilinen: ValueError" in err


@pytest.mark.parametrize("words", [["--help"], ["tabulate", "--help"], ["tree", "-h"], ["trace", "-h"]])
def test_help_shows_examples_and_exit_codes(run, words):
  code, out, _ = run(*words)
  assert code == 0 and "examples:" in out and "exit codes:" in out and "f32[8,224,224,3]" in out


def test_version(run):
  code, out, _ = run("--version")
  assert code == 0 and out.startswith("minilinen ")


def test_it_runs_as_a_module_and_ends_quietly_when_no_one_reads():
  command = [sys.executable, "-m", "minilinen", "tabulate", "model.py:Net", "-i", "f32[2,3]"]
  done = subprocess.run(
    f"{' '.join(map(repr, command))} | head -n 1", shell=True, capture_output=True, text=True
  )
  assert done.stdout.startswith("Net Summary") and done.stderr == ""


@pytest.mark.parametrize(
  ("words", "told"),
  [
    (
      ["model.py:Net(feature=3)"],
      "ArgumentsError: Net.__init__() got an unexpected keyword argument 'feature'. Did you mean 'features'?",
    ),
    (["model.py:net.foo"], 'net.foo: NoSuchAttributeError: "Net" object has no attribute "foo". There: '),
    ([":Net"], "':Net' does not say which model: write 'model.py:Net()'"),
    (["folder.py:Net"], "'folder.py' is a folder"),
    (
      ["model.py:Net"],
      "Net.__call__(x, train: bool = True): missing a required argument: 'x' (inputs: -i SPEC",
    ),
    (["model.py:Net", "-i", "f32[2,3]", "-k", "foo=3"], "got an unexpected keyword argument 'foo'"),
    (
      ["model.py:Needs(3)", "-i", "f32[2,3]"],
      "Needs has no __call__: say which method, --method NAME. There: none",
    ),
    (
      ["model.py:Net", "-i", "f32[2,3]", "--depth", "-1"],
      "argument --depth: '-1' is no whole number from 0 up",
    ),
    (
      ["model.py:Net", "-i", "f32[2,3]", "--width", "0"],
      "argument --width: '0' is no whole number from 20 up",
    ),
    (
      ["model.py:Net", "-i", "f32[2,3]", "-o", "no/x.svg"],
      "cannot write no/x.svg: No such file or directory",
    ),
  ],
)
def test_a_slip_on_the_command_line_takes_one_line_and_exit_code_2(run, folder, words, told):
  (folder / "folder.py").mkdir()
  code, out, err = run("tabulate", *words)
  assert (code, out, err.count("\n")) == (2, "", 1)
  assert told in err


def test_an_input_that_is_no_array_is_named_with_the_line_of_the_model(run):
  code, _, err = run("tabulate", "model.py:Net", "-i", "'abc'")
  assert code == 1 and err.count("\n") == 1
  assert (
    "LayerInputError: Dense in '/Dense_0' works on an array" in err and "model.py:9 in Net.__call__" in err
  )


ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "tutorials").glob("*.md"))]


def shown_commands(capsys):
  """Every command line that a document or `--help` shows."""
  lines = []
  for document in DOCUMENTS:
    for language, code in re.findall(r"```(\w*)\n(.*?)```", document.read_text(), re.DOTALL):
      if language in ("", "sh", "bash", "console"):
        lines += [line.removeprefix("$ ") for line in code.splitlines() if line.strip()]
  for words in ([], ["tabulate"], ["demo"]):
    with pytest.raises(SystemExit):
      main([*words, "--help"])
    lines += [
      line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  minilinen ")
    ]
  return lines


def test_every_command_that_is_shown_can_be_pasted_into_a_shell(capsys):
  lines = shown_commands(capsys)
  ours = [line for line in lines if line.startswith("minilinen ")]
  assert len(ours) > 7 and any(line.startswith("make ") for line in lines)
  for shell in filter(shutil.which, ("bash", "zsh")):
    for line in lines:
      found = subprocess.run([shell, "-n"], input=line, text=True, capture_output=True)
      assert (found.returncode, found.stderr) == (0, ""), f"{shell} does not read: {line}"
  for line in lines:
    bare = re.sub(r"#.*|'[^']*'|\"[^\"]*\"", "", line)  # Outside of quotes zsh looks for files named so.
    assert not set("()[]{}*?~!$&|;<>`") & set(bare), f"needs quotes: {line}"


def test_every_command_that_is_shown_is_understood(capsys):
  from minilinen.cli import _parser

  for line in shown_commands(capsys):
    if line.startswith("minilinen ") and "--help" not in line:
      _parser().parse_args(shlex.split(line)[1:])


def test_the_demo_ends_well(monkeypatch, tmp_path):
  seen = []
  monkeypatch.setattr("minilinen.demo.run", lambda out: seen.append(out) or "what it learned")
  assert main(["demo", "--out", str(tmp_path)]) == 0 and seen == [str(tmp_path)]
