"""What is going on in this task: which modules are being called, and who listens.

The innermost module called is the parent of a module that is constructed now; interceptors and capture filters see
every call of a method but `setup`, and of a lifted method its body. What belongs to one instance is its `ModuleState`,
and what belongs to a run is in scopes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from minilinen.in_force import InForce
from minilinen.module.base import ModuleBase
from minilinen.tracing.tracebacks import hide_frames

running: ContextVar[ModuleBase | None] = ContextVar("minilinen.running", default=None)
"""The module whose method is running, None where there is no parent."""

interceptors: InForce[Callable[..., Any]] = InForce("interceptors")
"""Functions around every call (`intercept_methods`)."""

captures: InForce[Callable[..., bool]] = InForce("captures")
"""Filters of the results to sow (`capture_intermediates`); the innermost counts."""


def hide_frames_outside(error: Exception) -> None:
  """Takes our frames out of the traceback of what a call from outside of all modules raises."""
  if running.get() is None:
    hide_frames(error)
