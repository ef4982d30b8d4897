"""May be skipped: `setup` of what `nn.jit` compiles under `jit_folds_rngs` runs before: what it makes goes in.

Flax compiles a method after it has set up its module and the modules in the fields: their parameters are made outside
of the compiled body, to the last bit as without it. Here it runs on copies, which are thrown away, the module's own
with the streams that the body gets; inside it runs again, and finds the variables.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from minilinen.core.lift.form import Way
from minilinen.core.lift.targets import Target
from minilinen.core.scope import Scope
from minilinen.core.tree import Tree
from minilinen.module.attributes import map_modules


def set_up(module: Any, target: Target, way: Way, streams: Mapping[str, Any]) -> None:
  """Sets up what is compiled: a copy of the module, then the modules in its fields.

  Not what another transform lifts too, which may decide what variables are: `nn.jit(nn.vmap(Layer))`.

  Args:
    module: the module.
    target: the function that is called there.
    way: to its scope from the one that crosses.
    streams: the random streams of that one.
  """
  if not _only_compiled([target.fn]):
    return
  tree = copy.copy(module.scope.tree)
  tree.rngs = dict(streams)
  _try(module, target.base or type(module), tree, way[1])
  done = {id(module)}

  def visit(suffix: str, inner: Any) -> Any:
    if inner.scope is not None and id(inner) not in done:
      done.add(id(inner))
      if _only_compiled(
        f for c in type(inner).__mro__ if "lifted_class" in vars(c) for f in vars(c).values()
      ):
        _try(inner, type(inner), inner.scope.tree, inner.scope.key_path)
      fields(inner)
    return inner

  def fields(of: Any) -> None:
    for name in of._fields():
      map_modules(visit, getattr(of, name))

  fields(module)


def _try(module: Any, cls: type[Any], tree: Tree, key_path: tuple[str, ...]) -> None:
  """Runs `setup` of a copy, if neither has run: on a scope of its own at the same place, in which no name is taken."""
  state = module._state
  if not (state.setup_done or state.in_setup or state.ahead):
    scope = Scope.at(tree, module.scope.path, module.scope.rng_counters)
    scope.key_path = key_path
    seen = object.__new__(cls)
    seen.__dict__.update(module.__dict__)
    seen.__dict__.update(scope=scope, _state=module._state.copy())
    seen._try_setup()
    state.ahead = True


def _only_compiled(functions: Iterable[Any]) -> bool:
  """Whether the transforms of functions leave variables as they are, so that they may be made outside."""
  return {kind for f in functions for kind in getattr(f, "lifted", ())} <= {"jit", "remat"}
