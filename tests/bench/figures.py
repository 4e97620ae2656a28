"""How figures are printed: minimum, median and maximum, since one figure of a shared machine says little."""

import os
import platform
import statistics
from collections.abc import Sequence


def spread(values: Sequence[float], unit: str = "", digits: int = 2) -> str:
    """``1.20 / 1.31 / 1.50 s``: minimum, median, maximum."""
    three = (min(values), statistics.median(values), max(values))
    return " / ".join(f"{value:.{digits}f}" for value in three) + (f" {unit}" if unit else "")


def ratios(ours: Sequence[float], peers: Sequence[float]) -> list[float]:
    """Round by round, so that a machine that was slow for a while was so for both."""
    return [our / peer for our, peer in zip(ours, peers, strict=True)]


def heading(title: str) -> None:
    print(f"\n## {title}\n   minimum / median / maximum")


def line(what: str, figures: str) -> None:
    print(f"   {what:<58} {figures}", flush=True)


def machine() -> str:
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {platform.machine()}, Python {platform.python_version()}"
