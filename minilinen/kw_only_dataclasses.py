"""May be skipped: dataclasses with fields that are passed by name, under the names that Linen has for them.

Linen is older than `kw_only` in Python's dataclasses and brought its own. Here they are Python's, so a field that is
marked is passed by name only, where Linen takes it by position too, after all others:

>>> @dataclass
... class Base:
...   seed: int = field(default=0, kw_only=True)
>>> @dataclass
... class Model(Base):
...   features: int
>>> Model(3, seed=1)
Model(seed=1, features=3)
"""

from __future__ import annotations

import dataclasses
from dataclasses import KW_ONLY as KW_ONLY
from typing import Any


def field(*, metadata: Any = None, kw_only: Any = dataclasses.MISSING, **kwargs: Any) -> Any:
  """`dataclasses.field`."""
  return dataclasses.field(metadata=metadata, kw_only=kw_only, **kwargs)


def dataclass(cls: Any = None, extra_fields: list[tuple[str, Any, Any]] | None = None, **kwargs: Any) -> Any:
  """`dataclasses.dataclass`, and fields from outside.

  Args:
    cls: the class; without it the result is a decorator.
    extra_fields: name, type and `field(...)` of each further field.
    **kwargs: of `dataclasses.dataclass`.
  """

  def make(cls: Any) -> Any:
    cls.__annotations__ = {
      **cls.__dict__.get("__annotations__", {}),
      **{n: t for n, t, _ in extra_fields or ()},
    }
    for name, _, value in extra_fields or ():
      setattr(cls, name, value)
    return dataclasses.dataclass(**kwargs)(cls)

  return make if cls is None else make(cls)
