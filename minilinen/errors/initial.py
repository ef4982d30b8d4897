"""Mistakes in what gives a parameter or a variable its first value."""

from __future__ import annotations

from typing import Any

from minilinen.errors.base import MinilinenError, MinilinenWarning

_UNCALLED = (
  "{name!r} in {path!r} is given {function} itself, which is no initializer but makes one when it is called."
)


class InitializerError(MinilinenError, TypeError, ValueError):
  """What should give a first value is no function, or is called with other arguments than it takes.

  Example:
    nn.Dense(4, bias_init=0.0).init(key, x)
  """

  takes = ("name", "path")
  says = "{name!r} in {path!r} gets its first value from {given:words}, which is no function."
  expected = "a function, to be called as {call}"

  uncalled = _UNCALLED
  other = "{name!r} in {path!r} gets its first value from {function}, which takes ({signature})."
  failed = "{name!r} in {path!r} has no first value: {python}"


class UncalledInitializerWarning(MinilinenWarning):
  """A parameter is a function, since what makes an initializer was taken for one.

  Example:
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        self.param("kernel", nn.initializers.lecun_normal, (3, 4))
        return x
    Net().init(key, x)
  """

  says = _UNCALLED + " The value is a function now, and no array."
  expected = "a function, to be called as {call}"

  def __init__(self, name: str, path: str, **case: Any):
    super().__init__(name=name, path=path, **case)
