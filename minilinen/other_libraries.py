"""May be skipped: minilinen's dicts and boxes in the hands of Flax's, and Flax's in those of minilinen.

`flax.serialization` asks for the types that it can write, and `flax.traverse_util` whether something is a FrozenDict of
Flax's. Both are told by what is there for that, as soon as somebody imports them: Flax's register of what can be
written, and Python's of virtual subclasses. So `TrainState`, checkpoints and masks work on what `init` gives. A
FrozenDict or a box that Flax has made is taken for one of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from minilinen.after_import import after_import
from minilinen.core import frozen_dict
from minilinen.core.frozen_dict import FrozenDict, freeze
from minilinen.core.meta import AxisMetadata, Partitioned
from minilinen.core.spmd import LogicallyPartitioned

_BOXES = (Partitioned, LogicallyPartitioned)


def _dicts(theirs: ModuleType) -> None:
  if theirs.FrozenDict is not FrozenDict:
    theirs.FrozenDict.register(FrozenDict)
    frozen_dict.also_frozen.add(theirs.FrozenDict)


def _boxes(theirs: ModuleType) -> None:
  if theirs.AxisMetadata is not AxisMetadata:
    AxisMetadata.register(theirs.AxisMetadata)
    for box in _BOXES:
      theirs.AxisMetadata.register(box)


def _states(serialization: ModuleType) -> None:
  """Tells how each is written: as Flax writes its own, so that either reads what the other wrote."""

  def of_dict(tree: FrozenDict[str, Any]) -> dict[str, Any]:
    return {key: serialization.to_state_dict(value) for key, value in tree.items()}

  def to_dict(tree: FrozenDict[str, Any], state: Mapping[str, Any]) -> FrozenDict[str, Any]:
    read = serialization.from_state_dict
    for key in tree.keys() - state.keys():
      where = serialization.current_path()
      raise ValueError(
        f"{key!r} is not in what was read, which has {', '.join(state) or 'nothing'}, at {where}."
      )
    return freeze({key: read(value, state[key], name=key) for key, value in tree.items()})

  def of_box(box: Any) -> dict[str, Any]:
    return {"value": serialization.to_state_dict(box.value)}

  def to_box(box: Any, state: Mapping[str, Any]) -> AxisMetadata[Any]:
    return box.replace_boxed(serialization.from_state_dict(box.value, state["value"], name="value"))

  serialization.register_serialization_state(FrozenDict, of_dict, to_dict, override=True)
  for box in _BOXES:
    serialization.register_serialization_state(box, of_box, to_box, override=True)


after_import("flax.core.frozen_dict", _dicts)
after_import("flax.core.meta", _boxes)
after_import("flax.serialization", _states)
