"""May be skipped: the names of the functional core: variable trees, scopes, boxes and lifted transforms.

The core knows nothing of modules.
"""

import jax

from minilinen.core import axes_scan, frozen_dict, lift, meta, nn, scope, spmd, tracers, variables
from minilinen.core.axes_scan import broadcast
from minilinen.core.filters import (
  CollectionFilter,
  DenyList,
  filter_to_set,
  group_collections,
  in_filter,
  intersect_filters,
  is_filter_empty,
  subtract_filters,
  union_filters,
)
from minilinen.core.frozen_dict import FrozenDict, copy, freeze, pop, pretty_repr, unfreeze
from minilinen.core.lift import (
  custom_vjp,
  jit,
  jvp,
  map_variables,
  pack,
  remat,
  remat_scan,
  scan,
  vjp,
  vmap,
  while_loop,
)
from minilinen.core.meta import AxisMetadata, map_axis_meta, unbox
from minilinen.core.run import apply, bind, init, lazy_init
from minilinen.core.scope import Scope, Variable
from minilinen.core.tracers import check_trace_level, current_trace

Array = jax.Array

__all__ = [
  "Array", "AxisMetadata", "CollectionFilter", "DenyList", "FrozenDict", "Scope", "Variable", "apply",
  "axes_scan", "bind", "broadcast", "check_trace_level", "copy", "current_trace", "custom_vjp",
  "filter_to_set", "freeze", "frozen_dict", "group_collections", "in_filter", "init", "intersect_filters",
  "is_filter_empty", "jit", "jvp", "lazy_init", "lift", "map_axis_meta", "map_variables", "meta", "nn", "pack",
  "pop", "pretty_repr", "remat", "remat_scan", "scan", "scope", "spmd", "subtract_filters", "tracers", "unbox",
  "unfreeze", "union_filters", "variables", "vjp", "vmap", "while_loop",
]  # fmt: skip
