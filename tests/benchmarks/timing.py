"""Times several variants of one thing side by side, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable

Variants = dict[str, Callable[[], object]]


def medians(variants: Variants, rounds: int, repeats: int = 1) -> dict[str, float]:
  """The median time of each variant, in seconds.

  Every round runs each variant once, in turn, and the order is reversed from round to round. One round
  more goes before, unmeasured, to fill the caches.

  Args:
    variants: name -> what to time.
    rounds: how often each is timed.
    repeats: how often it runs each time, for what is too short to be timed alone.
  """
  times: dict[str, list[float]] = {name: [] for name in variants}
  for number in range(rounds + 1):
    order = list(variants) if number % 2 else list(reversed(variants))
    for name in order:
      seconds = _seconds(variants[name], repeats)
      if number:
        times[name].append(seconds)
  return {name: statistics.median(found) for name, found in times.items()}


def _seconds(run: Callable[[], object], repeats: int) -> float:
  """The time of one run. The garbage collector sees what it makes, not what others left alive in this process."""
  gc.collect()
  gc.freeze()
  try:
    start = time.perf_counter()
    for _ in range(repeats):
      run()
    return (time.perf_counter() - start) / repeats
  finally:
    gc.unfreeze()


def without_collection(run: Callable[[], object]) -> Callable[[], object]:
  """The same, while Python's garbage collector rests."""

  def under() -> None:
    gc.disable()
    try:
      run()
    finally:
      gc.enable()

  return under


def geometric_mean(ratios: Iterable[float]) -> float:
  """The mean of ratios, in which twice and half cancel out.

  >>> round(geometric_mean([2.0, 0.5]), 3)
  1.0
  """
  logs = [math.log(ratio) for ratio in ratios]
  return math.exp(sum(logs) / len(logs))
