"""What this project's files are to reach beside the peers' in one interleaved run, and whether they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_edge.records import JsonObject

RESAMPLES = 1000
#: Of fewer rounds, an interval would look tighter than it is.
LEAST_ROUNDS = 10


@dataclass(frozen=True)
class Target:
    """The fastest of `ours`, divided by the fastest of `others` (both named by row), is to be at most `limit`."""

    title: str
    limit: float
    ours: tuple[str, ...]
    others: tuple[str, ...]


_INT8 = ("int8.tflite/litert", "int8.tflite/openvino_runtime", "int8.onnx/onnx_runtime", "int8.onnx/openvino_runtime")
_INT8_ONNX = ("int8.onnx/onnx_runtime",)
_NNCF = ("nncf_onnx", "nncf_tflite")
LATENCY_TARGETS = (
    Target("our fastest int8 / NNCF", 0.85, _INT8, _NNCF),
    Target("our int8 ONNX (ONNX Runtime) / NNCF", 1.00, _INT8_ONNX, _NNCF),
    Target("our int8 ONNX / quantize_static", 0.70, _INT8_ONNX, ("quantize_static",)),
    Target("our int8 ONNX / our float32 ONNX", 0.34, _INT8_ONNX, ("float32.onnx/onnx_runtime",)),
    Target("our int8 TFLite / our float32 TFLite", 0.55, _INT8[:1], ("float32.tflite/litert",)),
)
SIZE_LIMIT = 0.28


def _fastest(blocks: Mapping[str, NDArray[np.float64]], names: Sequence[str], rounds: NDArray[np.intp]) -> float:
    return min(float(np.median(blocks[name][rounds])) for name in names)


def judge_latency(target: Target, blocks: Mapping[str, NDArray[np.float64]], seed: int = 0) -> JsonObject:
    """The measured ratio of a target with its 95 % bootstrap interval.

    Whole rounds are resampled, the same for both sides: a machine that slows down does so for both in the same round.

    Args:
        target: one of `LATENCY_TARGETS`.
        blocks: by row, latencies `[rounds, queries]` in any unit, from one interleaved run; rows that could not be
            measured are absent.
        seed: of the resampling.

    Returns:
        JSON-ready `title`, `limit`, `ratio`, `low`, `high`, `reached`; the last four are None where a side is missing,
        the interval also where there are too few rounds for one.
    """
    described = {"title": target.title, "limit": target.limit}
    ours = [name for name in target.ours if name in blocks]
    others = [name for name in target.others if name in blocks]
    if not ours or not others:
        return {**described, "ratio": None, "low": None, "high": None, "reached": None}
    count = len(blocks[ours[0]])

    def ratio(rounds: NDArray[np.intp]) -> float:
        return _fastest(blocks, ours, rounds) / _fastest(blocks, others, rounds)

    measured = ratio(np.arange(count))
    low = high = None
    if count >= LEAST_ROUNDS:
        random = np.random.default_rng(seed)
        resampled = [ratio(random.integers(count, size=count)) for _ in range(RESAMPLES)]
        low, high = (float(bound) for bound in np.percentile(resampled, [2.5, 97.5]))
    return {**described, "ratio": measured, "low": low, "high": high, "reached": measured <= target.limit}


def judge_size(sizes: Mapping[str, int]) -> list[JsonObject]:
    """Our int8 file of each format against the float32 one, from bytes by row name; without an interval."""
    judged = []
    for title, runtime in (("TFLite", "tflite/litert"), ("ONNX", "onnx/onnx_runtime")):
        ours, other = sizes.get(f"int8.{runtime}"), sizes.get(f"float32.{runtime}")
        ratio = None if ours is None or other is None else ours / other
        judged.append(
            {
                "title": f"bytes of int8 {title} / float32 {title}",
                "limit": SIZE_LIMIT,
                "ratio": ratio,
                "reached": None if ratio is None else ratio <= SIZE_LIMIT,
            }
        )
    return judged
