"""Lifted transforms for modules, each a line over the one of the same name in `core.lift`."""

from minilinen.module.profile import named_call as named_call
from minilinen.transforms.direct import cond as cond
from minilinen.transforms.direct import custom_vjp as custom_vjp
from minilinen.transforms.direct import grad as grad
from minilinen.transforms.direct import jvp as jvp
from minilinen.transforms.direct import switch as switch
from minilinen.transforms.direct import value_and_grad as value_and_grad
from minilinen.transforms.direct import vjp as vjp
from minilinen.transforms.direct import while_loop as while_loop
from minilinen.transforms.targets import add_metadata_axis as add_metadata_axis
from minilinen.transforms.targets import checkpoint as checkpoint
from minilinen.transforms.targets import fold_rngs as fold_rngs
from minilinen.transforms.targets import jit as jit
from minilinen.transforms.targets import map_variables as map_variables
from minilinen.transforms.targets import remat as remat
from minilinen.transforms.targets import remat_scan as remat_scan
from minilinen.transforms.targets import scan as scan
from minilinen.transforms.targets import vmap as vmap
