"""What editors, type checkers and readers of annotations see: signatures outlive every decorator and transform."""

from __future__ import annotations

import typing

import pytest

import minilinen as nn

KEEP_WHAT_THEY_ARE_GIVEN = (
  "compact nowrap compact_name_scope named_call vmap scan jit remat checkpoint map_variables add_metadata_axis"
  " fold_rngs remat_scan"
)


@pytest.mark.parametrize("name", KEEP_WHAT_THEY_ARE_GIVEN.split())
def test_what_a_decorator_or_transform_gives_is_typed_as_what_it_was_given(name: str) -> None:
  hints = typing.get_type_hints(getattr(nn, name))
  first, *_, given = hints.values()
  assert isinstance(first, typing.TypeVar) and first is given
