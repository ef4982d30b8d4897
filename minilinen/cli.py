"""The command `minilinen`: pictures of the user's own model, without writing a script.

`main` reads the command line, finds the model that it names, traces `init` with the inputs it gives, draws the trace
with `viz`, and prints or saves the picture. Nothing is computed: an input is a shape. The picture is what the function
of the same name draws (`viz.tabulate` and so on). Like `demo.py`, this is a program on top of the two packages, and
nothing imports it.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import importlib.metadata
import inspect
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import jax
from rich.console import Console

import minilinen as nn
from minilinen import checkpoints, compat, demo
from minilinen.core.filters import CollectionFilter
from minilinen.errors import CheckpointError, MinilinenError, MissingPackageError
from minilinen.module.backward import traces_with_vjp
from minilinen.pictures import pictures
from minilinen.target import TargetError, load_model
from minilinen.tracing import Call, SpecError, Trace, TraceFileError
from minilinen.tracing.inputs import looks_like_spec, parse_spec
from minilinen.tracing.source import source_of

if TYPE_CHECKING:
  import viz
else:
  viz = pictures()

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

DESCRIPTION = """\
Shows what a model does, from a trace of its init. Nothing is computed: inputs are given as shapes.
"""

EXAMPLES = """\
examples:
  minilinen demo
  minilinen tabulate 'minilinen.examples.resnet:ResNet()' -i "f32[8,224,224,3]"
  minilinen tabulate 'model.py:Net(features=32)' -i "f32[b,28,28,1]" -k train=False --depth 2
  minilinen tree     model.py:net -i "i32[8,128]" --pattern "params/**/kernel" -o kernels.svg
  minilinen tabulate model.py:net -i "i32[8,128]" --flops --sort flops --where "**/query"
  minilinen tree     checkpoint.safetensors --pattern "**/kernel"
  minilinen graph    model.py:net -i "i32[8,128]" -o net.svg
  minilinen trace    'package.model:Net()' -i "f32[8,16]" --rngs params,dropout --mutable params,cache
  minilinen tabulate flax_model.py:net -i "f32[8,16]" --flax
  minilinen run      train_with_flax.py --epochs 3

exit codes:
  0  done
  1  the model failed: its code raised an error
  2  the command line was not understood, or names something that is not there
"""

MODEL_HELP = """\
the model: package.module:expression or file.py:expression, where the expression gives a module ("Net(features=32)",
"net"), in quotes for the shell; or a trace that was saved (trace.json); tree also shows a file of variables
(.safetensors, .msgpack, .npz, a folder of orbax), from its headers"""

INPUT_HELP = """\
inputs of the model, in order: a dtype with a shape ("f32[8,28,28,1]", "i32[b,128]" with a size left open), or a Python
literal (None, 3, "['f32[2]', 'f32[3]']")"""


class UsageError(Exception):
  """Something on the command line is wrong."""


class Parser(argparse.ArgumentParser):
  """A parser whose errors take one line."""

  def error(self, message: str) -> NoReturn:
    """Ends the program with what is wrong and where help is."""
    self.exit(USAGE, f"minilinen: {message} ({self.prog} --help shows how)\n")


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command.

  Args:
    arguments: the words of the command line; those of this process by default.

  Returns:
    The exit code: 0 if all went well, 1 if the model failed, 2 if the command line was wrong.
  """
  parser = _parser()
  options = parser.parse_args(arguments)
  try:
    code = options.run(options)
    sys.stdout.flush()
    return code or OK
  except KeyboardInterrupt:
    return INTERRUPTED
  except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK
  except Exception as error:
    if options.debug:
      traceback.print_exc()
    print(f"minilinen: {_one_line(error)}", file=sys.stderr)
    return USAGE if isinstance(error, _USAGE_ERRORS) else FAILED


_USAGE_ERRORS = (
  UsageError, compat.NoScriptError, TargetError, SpecError, TraceFileError, CheckpointError, MissingPackageError,
  viz.SuffixError, viz.NoMatchError, viz.UnknownColumnError, viz.CostsMissingError, viz.GraphMissingError,
)  # fmt: skip


def _parser() -> Parser:
  form = argparse.RawDescriptionHelpFormatter
  parser = Parser("minilinen", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=form)
  parser.add_argument("--version", action="version", version=f"minilinen {_version()}")
  commands = parser.add_subparsers(metavar="command", required=True)
  for name, (summary, _) in PICTURES.items():
    command = commands.add_parser(
      name, help=summary, description=summary, epilog=EXAMPLES, formatter_class=form
    )
    _add_model_arguments(command)
    _add_picture_arguments(command, name)
    command.set_defaults(run=_flaxs_picture, picture=name)
  command = commands.add_parser("demo", help="ResNet-50, transformers and a training run in your terminal")
  command.add_argument("--out", default="out", metavar="DIR", help="the folder for its files (%(default)s)")
  command.add_argument("--debug", action="store_true", help="show the stack of an error")
  command.set_defaults(run=_demo)
  _add_run(commands.add_parser("run", help="a program that imports flax.linen, on minilinen instead"))
  return parser


def _add_run(command: argparse.ArgumentParser) -> None:
  rest: Any = dict(nargs=argparse.REMAINDER, default=[])
  command.add_argument("script", nargs="?", help="a Python file; what follows are its arguments")
  command.add_argument("arguments", **rest)
  command.add_argument("-m", dest="module", metavar="MODULE ...", help="a module, and its arguments", **rest)
  command.set_defaults(run=_run, debug=False)


def _run(options: argparse.Namespace) -> int:
  words = options.module or [options.script, *options.arguments]
  if not words[0]:
    raise UsageError("run: say which program, run script.py or run -m package.module")
  return compat.run_script(words[0], words[1:], is_module=bool(options.module))


def _demo(options: argparse.Namespace) -> None:
  demo.run(options.out)


def _version() -> str:
  try:
    return importlib.metadata.version("minilinen")
  except importlib.metadata.PackageNotFoundError:
    return "that is not installed"


def _add_model_arguments(command: argparse.ArgumentParser) -> None:
  add = command.add_argument
  add("model", help=MODEL_HELP)
  add("-i", "--input", action="extend", nargs="+", default=[], metavar="SPEC", help=INPUT_HELP)
  add(
    "-k",
    "--keyword",
    action="extend",
    nargs="+",
    default=[],
    metavar="NAME=VALUE",
    help="keyword inputs, alike",
  )
  add("--rngs", default="params", metavar="NAMES", help="the random streams that init gets (%(default)s)")
  add("--seed", type=int, default=0, help="of their keys (%(default)s)")
  add("--flax", action="store_true", help="the model imports flax.linen, and gets minilinen for that")
  add("--method", metavar="NAME", help="the method to trace (__call__)")
  add(
    "--mutable",
    metavar="NAMES",
    help='collections that are created: "params,cache" or "all" (all but intermediates)',
  )


def _add_picture_arguments(command: argparse.ArgumentParser, picture: str) -> None:
  add = command.add_argument
  add("--depth", type=functools.partial(_number, least=0), metavar="N", help="how many levels to show (all)")
  add("--no-fold", action="store_true", help="give every one of many equal blocks its rows")
  if picture == "tree":
    add("--allow-pickle", action="store_true", help="read a pickle too, which runs code of whoever wrote it")
    add("--pattern", help='the variables to show, as collection/path/name: "params/**/kernel"')
  if picture == "tabulate":
    add("--flops", action="store_true", help="a column with the FLOPs of the forward pass")
    add("--vjp-flops", action="store_true", help="one with those of the forward and the backward pass")
    add("--sort", metavar="COLUMN", help="the largest first: flops, vjp_flops, params ...")
    add("--where", metavar="PATTERN", help='only these modules: a path pattern ("**/query") or a class')
    add("--columns", metavar="NAMES", help='only these columns: "module,flops,params"')
  saved = {
    "trace": ".txt, .svg, .html or .json; .json is the whole trace",
    "graph": ".dot, .svg, .png, .txt, .html or .json",
  }.get(picture, ".txt, .svg, .html or .json")
  add("-o", "--output", metavar="FILE", help=f"write to a file, as its suffix says: {saved}")
  add(
    "--width",
    type=functools.partial(_number, least=20),
    metavar="N",
    help="characters per line (the terminal's; 120 in a file)",
  )
  add("--debug", action="store_true", help="show the stack of an error")


def _number(text: str, least: int) -> int:
  if not text.strip().lstrip("-").isdigit() or int(text) < least:
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} up")
  return int(text)


# Pictures.


def _tabulate(trace: Trace, options: argparse.Namespace) -> viz.View:
  return viz.tabulate(
    trace,
    depth=options.depth,
    fold=not options.no_fold,
    compute_flops=options.flops,
    compute_vjp_flops=options.vjp_flops,
    vjp_trace=getattr(options, "vjp_trace", None),
    sort=options.sort,
    where=options.where,
    columns=None if options.columns is None else _names(options.columns),
  )


def _tree(trace: Trace | dict[str, Any], options: argparse.Namespace) -> viz.View:
  return viz.tree(trace, options.pattern, depth=options.depth, fold=not options.no_fold)


def _graph(trace: Trace, options: argparse.Namespace) -> viz.View:
  return viz.graph(trace, options.depth, fold=not options.no_fold)


def _timeline(trace: Trace, options: argparse.Namespace) -> viz.View:
  return viz.render(trace, "trace", depth=options.depth, fold=not options.no_fold)


PICTURES = {
  "tabulate": ("one row per module: inputs, outputs, parameters", _tabulate),
  "tree": ("one row per variable: shape, dtype, bytes", _tree),
  "graph": ("boxes and arrows: which module hands its output to which", _graph),
  "trace": ("everything that happened, in order", _timeline),
}


def _flaxs_picture(options: argparse.Namespace) -> None:
  with compat.installed() if options.flax else contextlib.nullcontext():
    _picture(options)


def _picture(options: argparse.Namespace) -> None:
  """Draws what the options ask for, and prints or saves it."""
  subject = _variables(options) if _is_checkpoint(options.model) else _trace(options)
  if isinstance(subject, Trace) and options.picture == "trace" and str(options.output).endswith(".json"):
    save = subject.save
  else:
    view = PICTURES[options.picture][1](subject, options)
    save = functools.partial(view.save, **({} if options.width is None else {"width": options.width}))
    if options.output is None:
      Console(width=options.width).print(view)
      return
  try:
    save(options.output)
  except OSError as error:
    raise UsageError(f"cannot write {options.output}: {error.strerror}") from error


# The trace, or the variables in a file.


def _is_checkpoint(model: str) -> bool:
  """Whether the command line names a file of variables, or a folder of them, and no model and no trace."""
  known = model.endswith((".safetensors", ".msgpack", ".npz"))
  return known or (os.path.exists(model) and not model.endswith((".py", ".json")))


def _variables(options: argparse.Namespace) -> dict[str, Any]:
  """What a file of variables holds, from its headers."""
  if options.picture != "tree":
    raise UsageError(
      f"{options.model} holds variables and no model: minilinen tree {options.model} shows them"
    )
  return checkpoints.tree(options.model, allow_pickle=options.allow_pickle)


def _trace(options: argparse.Namespace) -> Trace:
  """Traces the model's init, or reads the trace from a file."""
  if options.model.endswith(".json"):
    try:
      return Trace.load(options.model)
    except OSError as error:
      raise UsageError(f"cannot read the trace {options.model}: {error.strerror}") from error
  inputs = [_value(text, "-i") for text in options.input]
  keywords = dict(_keyword(text) for text in options.keyword)
  model = load_model(options.model)
  method = _method(model, options.method)
  _check_inputs(model, method or "__call__", inputs, keywords)
  rngs, mutable = _rngs(options.rngs, options.seed), _mutable(options.mutable)
  if getattr(options, "vjp_flops", False):
    trace, options.vjp_trace = traces_with_vjp(model, rngs, tuple(inputs), keywords, method, mutable)
    return trace
  init = functools.partial(model.init_with_output, method=method, mutable=mutable)
  return nn.trace(init)(rngs, *inputs, **keywords)


def _check_inputs(model: nn.Module, method: str, inputs: list[Any], keywords: dict[str, Any]) -> None:
  """Compares the inputs with what the method takes, as Python would when it is called."""
  signature = inspect.signature(getattr(type(model), method))
  try:
    signature.bind(model, *inputs, **keywords)
  except TypeError as error:
    own = ", ".join(map(str, list(signature.parameters.values())[1:]))
    raise UsageError(
      f"{type(model).__name__}.{method}({own}): {error} (inputs: -i SPEC, -k NAME=VALUE)"
    ) from None


def _value(text: str, option: str) -> Any:
  """An input: a spec as it is, anything else as a Python literal."""
  if looks_like_spec(text):
    parse_spec(text)
    return text
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    raise UsageError(
      f'{option} {text!r} is neither a dtype with a shape, as "f32[8,28,28,1]", nor a Python literal, as 3, None'
      f" or \"'a text'\""
    ) from None


def _keyword(text: str) -> tuple[str, Any]:
  name, equals, value = text.partition("=")
  if not equals or not name.isidentifier():
    raise UsageError(f'-k {text!r} is no keyword input: it is written NAME=VALUE, as in "-k train=False"')
  return name, _value(value, f"-k {name}=")


def _names(text: str) -> list[str]:
  return [name.strip() for name in text.split(",") if name.strip()]


def _rngs(text: str, seed: int) -> dict[str, jax.Array]:
  names = _names(text)
  return dict(zip(names, jax.random.split(jax.random.key(seed), len(names)))) if names else {}


def _mutable(text: str | None) -> CollectionFilter:
  if text is None:
    return nn.DenyList("intermediates")
  return True if text == "all" else _names(text)


def _method(model: nn.Module, name: str | None) -> str | None:
  cls = type(model)
  own = {n: f for c in cls.__mro__ if not issubclass(nn.Module, c) for n, f in vars(c).items() if callable(f)}
  methods = ", ".join(sorted(n for n in own if not n.startswith("_") and n != "setup"))
  if name is None and "__call__" not in own:
    raise UsageError(
      f"{cls.__name__} has no __call__: say which method, --method NAME. There: {methods or 'none'}"
    )
  if name is not None and name not in own and not callable(getattr(cls, name, None)):
    raise UsageError(f"--method {name}: {cls.__name__} has no such method. There: {methods or 'none'}")
  return name


# Errors.

_LABEL = re.compile(r"  ([a-z]+  +|expects )")  # how a labelled part of a message begins; other lines go on


def _one_line(error: Exception) -> str:
  """An error as one line: its class, what it says, and where in the model it happened."""
  told = ""
  for line in filter(str.strip, getattr(error, "plain", str(error)).splitlines()):
    is_part = not isinstance(error, MinilinenError) or _LABEL.match(line)
    told += ("; " if told and is_part and told[-1] not in ".?!" else " ") + " ".join(line.split())
  told = told.strip()
  if isinstance(error, _USAGE_ERRORS):
    return told
  told = f"{type(error).__name__}: {told}"
  if isinstance(error, MinilinenError):
    return told
  path, source = _failed_path(getattr(error, "trace", None)), source_of(error)
  where = [f"module {path}" if path else "", str(source) if source else ""]
  return f"{told} ({', '.join(filter(None, where))})" if any(where) else told


def _failed_path(trace: Trace | None) -> str:
  """The path of the innermost module that an error left."""
  failed = [] if trace is None else [call for call in trace.events(Call) if call.error is not None]
  return failed[-1].path.bare if failed else ""
