"""What is going on in this thread: which modules are being called, and who listens.

The innermost module called is the parent of a module that is constructed now; interceptors and capture
filters see every call. All else that changes while a model runs lives in scopes.
"""

from __future__ import annotations

import threading
from typing import Any


class _Context(threading.local):
  """One thread's stacks, innermost last.

  Attributes:
    modules: the modules whose methods are running; None where there is no parent.
    interceptors: functions around every call (`intercept_methods`).
    captures: filters of the results to sow (`capture_intermediates`).
  """

  def __init__(self) -> None:
    self.modules: list[Any] = [None]
    self.interceptors: list[Any] = []
    self.captures: list[Any] = []


context = _Context()
