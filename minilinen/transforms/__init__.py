"""Lifted transforms: those of `core.lift`, which take modules too once `carried` has told them how a module crosses."""

from minilinen.core.lift import add_metadata_axis as add_metadata_axis
from minilinen.core.lift import checkpoint as checkpoint
from minilinen.core.lift import cond as cond
from minilinen.core.lift import custom_vjp as custom_vjp
from minilinen.core.lift import fold_rngs as fold_rngs
from minilinen.core.lift import grad as grad
from minilinen.core.lift import jit as jit
from minilinen.core.lift import jvp as jvp
from minilinen.core.lift import map_variables as map_variables
from minilinen.core.lift import remat as remat
from minilinen.core.lift import remat_scan as remat_scan
from minilinen.core.lift import scan as scan
from minilinen.core.lift import switch as switch
from minilinen.core.lift import value_and_grad as value_and_grad
from minilinen.core.lift import vjp as vjp
from minilinen.core.lift import vmap as vmap
from minilinen.core.lift import while_loop as while_loop
from minilinen.module.lift_transform import lift_transform as lift_transform
from minilinen.module.profile import named_call as named_call
from minilinen.transforms import carried as carried
