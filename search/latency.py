"""How long a forward pass takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from nisqkit.search.metric import Metric


def seconds_of(run: Callable[[], object], runs: int) -> list[float]:
    """Seconds of each of some runs, after a fifth as many (at least one) to warm up.

    Raises:
        ValueError: Less than 3 runs, of which there are no quartiles.
    """
    if runs < 3:
        raise ValueError(f"latency_runs is {runs}: give 3 or more, such as 20, or 0 for none")
    for _ in range(max(1, runs // 5)):
        run()
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return found


def latency_metric(seconds: Sequence[float]) -> Metric:
    """The median, with the interquartile range as its spread.

    Example:
        >>> latency_metric([1.0, 2.0, 3.0, 4.0, 50.0])
        Metric(value=3.0, unit='s', aggregate='sum', source='measured', spread=2.0, date=None)
    """
    low, middle, high = np.percentile(seconds, (25, 50, 75)).tolist()
    return Metric(middle, "s", source="measured", spread=high - low)


@contextmanager
def torch_threads(threads: int | None) -> Iterator[int]:
    """Set the number of torch's threads for a while; yields what it is.

    Raises:
        ValueError: Less than one.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}: give 1 or more")
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield threads or before
    finally:
        torch.set_num_threads(before)
