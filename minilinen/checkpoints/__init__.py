"""Variables in files: what a file holds without reading its values, and all or a part of it on demand.

`tree` reads headers only and gives nested dicts with a `StoredArray` in the place of each array, which `viz.tree` draws
as it draws variables; `load` reads values, all or those that a pattern fits; `save` writes. What a file is, its first
bytes say, not its suffix: Flax's msgpack (`flax.serialization`, `flax.training.checkpoints`), folders of orbax,
safetensors, npz. A file of each kind is one file here.

>>> import numpy as np, os, tempfile
>>> file = os.path.join(tempfile.mkdtemp(), "model.safetensors")
>>> save(file, {"params": {"Dense_0": {"kernel": np.ones((3, 4), np.float32), "bias": np.ones(4, np.float32)}}})
>>> tree(file)["params"]["Dense_0"]["kernel"]
StoredArray(shape=(3, 4), dtype='float32')
>>> load(file, "**/bias")["params"]["Dense_0"]["bias"]
array([1., 1., 1., 1.], dtype=float32)
"""

from minilinen.checkpoints.files import load as load
from minilinen.checkpoints.files import save as save
from minilinen.checkpoints.files import tree as tree
from minilinen.checkpoints.stored import StoredArray as StoredArray
