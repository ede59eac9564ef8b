"""What `bench` measures, and for how long."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from cxr_edge.benchmarking.ratios import LEAST_ROUNDS
from cxr_edge.errors import OptionError
from cxr_edge.processors import usable_cores

#: The runtime name of the Keras model's row.
KERAS = "keras"


@dataclass(frozen=True)
class BenchOptions:
    """What to measure, and for how long.

    `runtimes` are names as on the command line, including `keras`; None for all installed ones, on the CPU. `threads`
    are numbers of threads per inference, each measured in a separate pass. `queries` and `seconds` are minimums for
    each row. `baseline` is the row that the others are compared with, ARTIFACT or ARTIFACT@RUNTIME; None for Keras, or
    a float artifact. `starts` is how often each candidate is started in a separate process, 0 for never;
    `throughput_seconds` likewise sets how long throughput is measured; `file_rounds` is how often each file is read,
    and `folder_seconds` the minimum duration of the folder run. `quick` leaves out Keras, and all of a bundle's
    artifacts except the preferred quantization and float32.
    """

    runtimes: tuple[str, ...] | None = None
    images: tuple[Path, ...] = ()
    threads: tuple[int, ...] = ()
    queries: int = 50
    seconds: float = 2.0
    baseline: str | None = None
    starts: int = 3
    throughput_seconds: float = 1.0
    file_rounds: int = 5
    folder_seconds: float = 4.0
    rounds: int | None = None
    quick: bool = False

    def quickly(self) -> BenchOptions:
        """The options for a run of under 20 seconds, without start-up and throughput."""
        return replace(
            self,
            queries=LEAST_ROUNDS,
            rounds=LEAST_ROUNDS,
            seconds=0.25,
            starts=0,
            throughput_seconds=0.0,
            file_rounds=1,
            folder_seconds=1.0,
            quick=True,
        )


def parse_threads(text: str | None) -> tuple[int, ...]:
    """`1,2,4,all` as numbers; an empty tuple for None. Raises OptionError for anything else."""
    threads = []
    for word in (text or "").split(","):
        if word.strip().lower() == "all":
            threads.append(usable_cores())
        elif re.fullmatch("[1-9][0-9]{0,5}", word.strip()):
            threads.append(int(word))
        elif text is not None:
            raise OptionError(f"--threads {text}: numbers of at least 1, or all, separated by commas")
    return tuple(dict.fromkeys(threads))
