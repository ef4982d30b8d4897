"""The advice about files of variables."""

from __future__ import annotations

import pytest
from situations import Advice

from minilinen import errors

pytestmark = pytest.mark.grid

FOLDER = """
import tempfile, pathlib, pickle, sys, unittest.mock
folder = pathlib.Path(tempfile.mkdtemp())
variables = nn.Dense(4).init(key, x)
"""

ADVICE = [
  Advice(
    errors.CheckpointError,
    FOLDER
    + """
nn.checkpoints.save(folder / "model.npz", variables)
nn.checkpoints.load(folder / "modle.npz")
""",
    ["modle.npz", "there is no such file.", "Did you mean", "model.npz"],
    mended=FOLDER
    + """
nn.checkpoints.save(folder / "model.npz", variables)
nn.checkpoints.load(folder / "model.npz")
""",
  ),
  Advice(
    errors.CheckpointError,
    FOLDER
    + """
nn.checkpoints.save(folder / "model.safetensors", variables)
whole = (folder / "model.safetensors").read_bytes()
(folder / "model.safetensors").write_bytes(whole[:-10])
nn.checkpoints.tree(folder / "model.safetensors")
""",
    ["model.safetensors", "it is cut off: 54 bytes of arrays of 64."],
  ),
  Advice(
    errors.CheckpointError,
    FOLDER
    + """
nn.checkpoints.save(folder / "model.h5", variables)
""",
    ["its suffix is none of .safetensors, .msgpack, .npz."],
    mended=FOLDER
    + """
nn.checkpoints.save(folder / "model.safetensors", variables)
""",
  ),
  Advice(
    errors.PickleError,
    FOLDER
    + """
(folder / "model.bin").write_bytes(pickle.dumps({"params": {"bias": 1}}))
nn.checkpoints.load(folder / "model.bin")
""",
    [
      "model.bin is a pickle: to read it runs whatever code",
      "allow_pickle=True",
      "if you trust whoever wrote it",
    ],
    mended=FOLDER
    + """
(folder / "model.bin").write_bytes(pickle.dumps({"params": {"bias": 1}}))
nn.checkpoints.load(folder / "model.bin", allow_pickle=True)
""",
  ),
  Advice(
    errors.PickleError,
    FOLDER
    + """
(folder / "model.safetensors").write_bytes(pickle.dumps({"params": {"bias": 1}}, 0))
nn.checkpoints.tree(folder / "model.safetensors")
""",
    ["model.safetensors is a pickle"],
  ),
  Advice(
    errors.PickleError,
    FOLDER
    + """
import numpy
numpy.savez(folder / "model.npz", bias=numpy.array([object()]))
nn.checkpoints.tree(folder / "model.npz")
""",
    ["model.npz is a pickle"],
  ),
  Advice(
    errors.MissingPackageError,
    FOLDER
    + """
with unittest.mock.patch.dict(sys.modules, msgpack=None):
  nn.checkpoints.save(folder / "model.msgpack", variables)
""",
    ["the package msgpack is needed for it, and is not installed.", "pip install 'minilinen[files]'"],
    mended=FOLDER
    + """
nn.checkpoints.save(folder / "model.msgpack", variables)
""",
  ),
  Advice(
    errors.MissingPackageError,
    FOLDER
    + """
import orbax.checkpoint
orbax.checkpoint.PyTreeCheckpointer().save(folder / "saved", dict(variables))
with unittest.mock.patch.dict(sys.modules, tensorstore=None):
  nn.checkpoints.tree(folder / "saved")
""",
    ["the package tensorstore is needed for it", "pip install 'minilinen[files]'"],
  ),
  Advice(
    errors.MissingPackageError,
    FOLDER
    + """
import orbax.checkpoint
orbax.checkpoint.PyTreeCheckpointer(use_ocdbt=False).save(folder / "7", dict(variables))
with unittest.mock.patch.dict(sys.modules, tensorstore=None):
  nn.checkpoints.load(folder)
""",
    ["the package tensorstore is needed for it", "pip install 'minilinen[files]'"],
  ),
]


@pytest.mark.parametrize("advice", ADVICE, ids=str)
def test_the_advice_is_given_and_helps(advice: Advice):
  advice.holds()
