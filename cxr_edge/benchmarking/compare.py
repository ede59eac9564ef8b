"""Has anything become slower since an earlier record of the same machine?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.benchmarking.bench import SCHEMA
from cxr_edge.benchmarking.ratios import ratio_interval
from cxr_edge.errors import DataError, OptionError

#: Slower than by this share is a regression, where the interval leaves no doubt.
TOLERANCE = 0.05


def read_record(path: Path) -> dict[str, Any]:
    """A record that `bench --json` wrote. Raises DataError for another file or schema."""
    try:
        # Records of before November 2026 call float32 none.
        text = path.read_text(encoding="utf-8").replace("xception-none.", "xception-float32.")
        record: dict[str, Any] = json.loads(text)
        schema = record["schema"]
        for row in record["rows"]:
            row["quantization"] = str(Quantization(row["quantization"]))
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a record of cxr-edge bench ({error})") from None
    if schema != SCHEMA:
        raise DataError(f"{path}: of schema {schema}, this version of cxr-edge compares {SCHEMA}; bench again")
    return record


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of two records side by side.

    The rounds of the two were not measured in turn, so what a machine did in between shows as well: a row is a
    regression only where the whole interval of its ratio lies past `1 + TOLERANCE`.

    Returns:
        JSON-ready rows: `id`, `threads`, `old_ms`, `new_ms`, `ratio`, `interval`, `verdict`: slower, faster, same,
        "cannot tell" (the interval holds both), or gone (not in the new record).

    Raises:
        OptionError: the records are of different machines or image sizes.
    """
    for name in ("cpu", "cores", "architecture"):
        if old["machine"][name] != new["machine"][name]:
            raise OptionError(
                f"--compare: the old record is of another machine ({name} {old['machine'][name]}, here "
                f"{new['machine'][name]}); latencies of two machines say nothing about a regression"
            )
    if old["image_size"] != new["image_size"]:
        raise OptionError(f"--compare: the old record is of {old['image_size']} px images, this is {new['image_size']}")
    now = {(row["id"], row["threads"]): row for row in new["rows"]}
    rows = []
    for before in old["rows"]:
        key = {"id": before["id"], "threads": before["threads"], "old_ms": before["p50_ms"]}
        after = now.get((before["id"], before["threads"]))
        if after is None:
            rows.append({**key, "new_ms": None, "ratio": None, "interval": None, "verdict": "gone"})
            continue
        ratio = after["p50_ms"] / before["p50_ms"]
        interval = ratio_interval(after["rounds_ms"], before["rounds_ms"], paired=False)
        low, high = interval or (ratio, ratio)
        if low > 1 + TOLERANCE:
            verdict = "slower"
        elif high < 1 - TOLERANCE:
            verdict = "faster"
        elif low >= 1 - TOLERANCE and high <= 1 + TOLERANCE:
            verdict = "same"
        else:
            verdict = "cannot tell"
        rows.append({**key, "new_ms": after["p50_ms"], "ratio": ratio, "interval": [low, high], "verdict": verdict})
    return rows
