"""The Flax models of `transformers` on minilinen and on Flax, compared to the last bit: what `make test-clients` runs.

Of each family one model and one that writes texts (`--all`: all that there are), from small configurations and without
a download: the parameters that its own initialization makes, its outputs, the gradients of them, and a text that is
written with caches. Each library runs in a process of its own, and tells a digest of every array.

  python tests/clients/transformers_bits.py [--all] [part of a model's name ...]

It prints the table of `docs/clients.md`, and ends with 1 if something differs.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tracing"))

from check_transformers import DECODERS, WRITERS, Case, cases, mend_jax

PARTS = ("parameters", "outputs", "gradients", "text")


def digest(tree: Any) -> str:
  """A digest of names, shapes, dtypes and every bit of a tree's arrays."""
  found = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    array = np.asarray(leaf)
    found.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode() + array.tobytes())
  return found.hexdigest()[:16]


def told(case: Case) -> Iterator[tuple[str, str]]:
  """Digests of what one model does."""
  model = case.make()
  params = dict(jax.jit(lambda key: model.init_weights(key, model.input_shape))(jax.random.PRNGKey(0)))
  yield "parameters", digest(params)

  def loss(params: Any) -> tuple[Any, Any]:
    outputs = jax.tree.leaves(model(**case.inputs, params=params))
    floats = [leaf for leaf in outputs if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return sum(jnp.sum(jnp.square(jnp.where(jnp.isfinite(leaf), leaf, 0))) for leaf in floats), outputs

  (_, outputs), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
  yield "outputs", digest(outputs)
  yield "gradients", digest(gradients)
  if case.name.endswith(WRITERS) and (case.family in DECODERS or "decoder_input_ids" in case.inputs):
    asked = [value for name, value in case.inputs.items() if name != "decoder_input_ids"]
    how = dict(max_length=12, do_sample=False, pad_token_id=0, eos_token_id=2)
    yield "text", digest(model.generate(*asked, params=params, **how).sequences)


def chosen(arguments: list[str]) -> Iterator[Case]:
  """The models that are asked for."""
  wanted = [argument for argument in arguments if not argument.startswith("-")]
  for _, family in itertools.groupby(
    cases(), key=lambda case: case.family if case.family != "pairs" else case.name
  ):
    found = [*family]
    if "--all" not in arguments:
      plain = [case for case in found if case.name.endswith("Model") and not case.name.endswith(WRITERS)]
      found = [*(plain or found)[:1], *[case for case in found if case.name.endswith(WRITERS)][:1]]
    yield from (case for case in found if not wanted or any(part in case.name for part in wanted))


def one_side(library: str, arguments: list[str]) -> None:
  """Prints a line of JSON for each model."""
  warnings.simplefilter("ignore")
  if library == "minilinen":
    import minilinen.compat as compat

    compat.install()
  mend_jax()
  for case in chosen(arguments):
    said: dict[str, str] = {}
    try:
      said.update(told(case))
    except Exception as error:
      said["failed"] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    print(json.dumps([case.family, case.name, said]), flush=True)


def main(arguments: list[str]) -> int:
  if arguments[:1] == ["--side"]:
    one_side(arguments[1], arguments[2:])
    return 0
  sides = [
    subprocess.Popen([sys.executable, __file__, "--side", library, *arguments], stdout=subprocess.PIPE, text=True,
                     stderr=subprocess.DEVNULL, env={"XLA_FLAGS": "--xla_backend_optimization_level=0", **os.environ})
    for library in ("minilinen", "flax")
  ]  # fmt: skip
  print(f"| model | {' | '.join(PARTS)} |\n|{' --- |' * (1 + len(PARTS))}")
  number, bad = 0, 0
  for lines in itertools.zip_longest(
    *(side.stdout or [] for side in sides), fillvalue='["", "", {"failed": "ended"}]'
  ):
    (_, name, ours), (_, _, theirs) = map(json.loads, lines)
    cells = [
      "" if part not in theirs else "equal" if ours.get(part) == theirs[part] else "DIFFERENT"
      for part in PARTS
    ]
    sides_told = {"minilinen": ours, "Flax": theirs}
    failed = [f"{library}: {side['failed']}" for library, side in sides_told.items() if "failed" in side]
    number, bad = number + 1, bad + ("DIFFERENT" in cells or ("failed" in ours and "failed" not in theirs))
    print(f"| {name} | {' | '.join(cells)} |{'; '.join(failed)}", flush=True)
  print(f"\n{number} models, {bad} bad")
  return int(bool(bad) or any(side.wait() for side in sides))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
