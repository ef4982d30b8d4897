"""Mistakes in files of variables: what cannot be read, written or loaded, and why."""

from __future__ import annotations

from minilinen.errors.base import MinilinenError


class CheckpointError(MinilinenError, ValueError):
  """A file of variables cannot be read or written.

  Example:
    nn.checkpoints.tree("no such.safetensors")
  """

  takes = ("file", "what")
  says = "{file}: {what}"


class PickleError(CheckpointError):
  """A file is a pickle, which runs code of whoever wrote it when it is read.

  Example:
    import pickle, tempfile
    with tempfile.NamedTemporaryFile("wb", buffering=0) as file:
      file.write(pickle.dumps({"params": {"bias": 1}}))
      nn.checkpoints.load(file.name)
  """

  takes = ("file",)
  says = "{file} is a pickle: to read it runs whatever code its writer put into it."
  right = 'nn.checkpoints.load("{file}", allow_pickle=True)'
  mend = "if you trust whoever wrote it. Save variables as .safetensors, .msgpack or .npz instead."


class MissingPackageError(MinilinenError, RuntimeError):
  """A kind of file is read or written by a package that is not installed.

  Example:
    import sys, unittest.mock
    with unittest.mock.patch.dict(sys.modules, msgpack=None):
      nn.checkpoints.save("model.msgpack", {"params": {"bias": x}})
  """

  takes = ("file", "package")
  says = "{file}: the package {package} is needed for it, and is not installed."
  mend = "pip install 'minilinen[files]'"
