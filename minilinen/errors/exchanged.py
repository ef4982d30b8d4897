"""Mistakes of projects whose `flax.linen` is minilinen, and of programs that mix what either library has made."""

from __future__ import annotations

from collections.abc import Iterable

from minilinen.errors.base import MinilinenError
from minilinen.spelling import did_you_mean, near


class FlaxImportedError(MinilinenError, ImportError):  # pyright: ignore[reportIncompatibleVariableOverride]
  """Flax Linen was imported before minilinen could take its place.

  Example:
    import flax.linen
    from minilinen import compat
    compat.install()
  """

  takes = ("names",)
  says = "flax.linen was imported already, before compat.install(){holders}."
  right = "import minilinen.compat as compat; compat.install()"
  mend = (
    "write that above all other imports, or start the program by `python -m minilinen run script.py`. In a notebook, "
    "restart the kernel first. compat.install(set_aside=True) goes on: who has imported Flax keeps it, who imports it "
    "from now on gets minilinen."
  )

  def __init__(self, names: Iterable[str] = ()):
    names = sorted(names)
    shown = ", ".join(names[:4]) + ", ..." * (len(names) > 4)
    super().__init__(names, holders=f": {shown} {'have' if len(names) > 1 else 'has'} it" if names else "")


_LACKS = "{module} has no {name!r} under minilinen.compat{hint}"


class NoFlaxNameError(MinilinenError, AttributeError):
  """A module that takes the place of one of Flax's was asked for a name that it lacks.

  Example:
    import minilinen.compat as compat
    with compat.installed(set_aside=True):
      import flax.linen as linen
      linen.Dens(4)
  """

  takes = ("module", "name", "use", "others")
  says = _LACKS

  def __init__(self, module: str, name: str, use: str = "", others: Iterable[str] = ()):
    super().__init__(module, name, use, hint=f": {use}" if use else f".{did_you_mean(name, others)}")
    self.name = name


class NoFlaxImportError(MinilinenError, ImportError):  # pyright: ignore[reportIncompatibleVariableOverride]
  """A name was imported from a module that takes the place of one of Flax's, and lacks it.

  Example:
    import minilinen.compat as compat
    with compat.installed(set_aside=True):
      from flax.linen import Dens
  """

  takes = ("module", "name", "use", "others")
  says = _LACKS

  def __init__(self, module: str, name: str, use: str = "", others: Iterable[str] = ()):
    super().__init__(module, name, use, hint=f": {use}" if use else f".{did_you_mean(name, others)}")
    self.name = module


class NoFlaxModuleError(MinilinenError, ModuleNotFoundError):  # pyright: ignore[reportIncompatibleVariableOverride]
  """A module of Flax's was imported that minilinen has none for.

  Example:
    import minilinen.compat as compat
    with compat.installed(set_aside=True):
      import flax.linen.layers
  """

  takes = ("module", "use", "others")
  says = "No module named {module!r} under minilinen.compat{hint}"

  def __init__(self, module: str, use: str = "", others: Iterable[str] = ()):
    above, _, last = module.rpartition(".")
    beside = [other.removeprefix(f"{above}.") for other in others if other.startswith(f"{above}.")]
    meant = [f" Did you mean '{above}.{name}'?" for name in near(last, beside)]
    super().__init__(module, use, hint=f": {use}" if use else f".{''.join(meant)}")
    self.name = module


class MixedModulesError(MinilinenError, AttributeError):
  """A module of Flax's is used inside of one of minilinen's, or the other way round.

  Example:
    import flax.linen
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return flax.linen.Dense(4)(x)
    Net().init(key, x)
  """

  takes = ("inner", "outer", "path")
  says = "{inner} is a module of Flax's, and {outer}, in which it runs, one of minilinen's."
  mend = (
    "make it of minilinen's classes too. A project that imports flax.linen does by itself, if `import minilinen.compat "
    "as compat; compat.install()` stands above its imports."
  )

  @classmethod
  def inside_of_flax(cls, inner: str, outer: str, is_flaxs_own: bool) -> MixedModulesError:
    """For a module of minilinen's in one of Flax's."""
    says = "{inner} is a module of minilinen's, and {outer}, in which it runs, one of Flax's."
    own = "take minilinen's nn.{outer}, or Flax's modules for what is in it."
    users = "derive {outer} from minilinen's nn.Module, or make what is in it of Flax's modules."
    return cls(inner, outer, says=says, mend=own if is_flaxs_own else users)
