"""Migrate records of earlier schemas: the only place that knows those schemas.

Schema 2, up to November 2026: warnings were lines of text, the speed against the baseline was a figure without a
verdict, and float32 was called "none". Schema 1 was never released; its rows have no rounds to compare.
"""

from __future__ import annotations

from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.benchmarking.ratios import Speed, judge_speed
from cxr_edge.records import JsonObject

_CURRENT, _BEFORE = 3, 2


def current_record(record: JsonObject) -> JsonObject:
    """A record of any schema, in today's schema. Raises KeyError, TypeError, ValueError for anything else."""
    schema = record["schema"]
    if schema == _CURRENT:
        return record
    if schema != _BEFORE:
        raise ValueError(f"of schema {schema}, this version of cxr-edge reads {_BEFORE} and {_CURRENT}; bench again")
    medians = {(row["id"], row["threads"]): row["p50_ms"] for row in record["rows"]}
    return {
        **{name: value for name, value in record.items() if name != "notes"},
        "schema": _CURRENT,
        "rows": [_row(row, medians[row["baseline"], row["threads"]]) for row in record["rows"]],
        "warnings": [{"kind": "other", "subject": "", "text": text} for text in record["notes"]],
    }


def _row(row: JsonObject, baseline_ms: float) -> JsonObject:
    interval = row["ratio_interval"]
    if row["id"] == row["baseline"]:
        speed = Speed.BASELINE
    else:
        speed = judge_speed(row["p50_ms"] / baseline_ms, None if interval is None else tuple(interval))
    return {
        "agreement": None,
        "verdict": None,
        "winner": False,
        **row,
        "quantization": str(Quantization(row["quantization"])),
        "speed": str(speed),
    }
