"""What an artifact computed on Arm against what it computed on x86."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.aarch64.commands import Outcome
from cxr_edge.records import JsonObject

COMMANDS = ("verify", "predict", "bench")
PASSED, FAILED, CRASHED = "passed", "failed", "crashed"


def _difference(first: Any, second: Any) -> float:
    """Largest of two arrays of one shape."""
    return float(np.abs(np.array(first) - np.array(second)).max())


def _replayed(arm: Outcome, x86: Outcome) -> JsonObject:
    """Of the reference inputs: against the recording in the bundle, and against x86 here."""
    if not arm.result:
        return {}
    (row,) = arm.result
    figures = {
        "images": row["images"],
        "tolerance": row["tolerance"],
        "from_recording": row["largest_difference"],
        "same_top_as_recording": row["same_top"],
    }
    if x86.result and row["probabilities"] and x86.result[0]["probabilities"]:
        ours, theirs = row["probabilities"], x86.result[0]["probabilities"]
        same = np.argmax(ours, axis=1) == np.argmax(theirs, axis=1)
        figures.update(from_x86=_difference(ours, theirs), same_top_as_x86=int(same.sum()))
    return figures


def _predicted(arm: Outcome, x86: Outcome) -> JsonObject:
    """Of image files: probabilities, labels, decisions and heat maps."""
    if not (arm.result and x86.result):
        return {}
    pairs = list(zip(arm.result["rows"], x86.result["rows"], strict=True))
    figures: JsonObject = {
        "images": len(pairs),
        "same_label": sum(ours["label"] == theirs["label"] for ours, theirs in pairs),
        "same_decision": sum(ours.get("decision") == theirs.get("decision") for ours, theirs in pairs),
        "from_x86": max(_difference(ours["probabilities"], theirs["probabilities"]) for ours, theirs in pairs),
    }
    if all("heatmap" in row for pair in pairs for row in pair):
        figures["heatmap_from_x86"] = max(_difference(ours["heatmap"], theirs["heatmap"]) for ours, theirs in pairs)
        figures["heatmap_largest"] = max(float(np.abs(theirs["heatmap"]).max()) for _, theirs in pairs)
    return figures


def judge(row: JsonObject) -> str:
    """`passed` if all commands ran and no probability differs by more than the artifact's tolerance."""
    if row["failures"]:
        return CRASHED
    verify, predict = row["verify"], row["predict"]
    differences = [verify.get("from_recording"), verify.get("from_x86"), predict.get("from_x86")]
    # A difference that is not there, such as that of a NaN, must not pass.
    if any(difference is None or not difference <= verify["tolerance"] for difference in differences):
        return FAILED
    return PASSED if predict["same_label"] == predict["images"] else FAILED


def compare(arm: dict[str, Outcome], x86: dict[str, Outcome]) -> JsonObject:
    """JSON-ready: an artifact's `verify` and `predict` on Arm beside x86, `failures` of commands, and a `verdict`.

    Args:
        arm, x86: outcomes by command.
    """
    failures = {f"{command} on Arm": arm[command].failure for command in COMMANDS if arm[command].failure}
    failures |= {f"{command} on x86": x86[command].failure for command in COMMANDS if x86[command].failure}
    row = {
        "verify": _replayed(arm["verify"], x86["verify"]),
        "predict": _predicted(arm["predict"], x86["predict"]),
        "bench": "ran" if arm["bench"].result else "did not run",
        "failures": failures,
    }
    return {**row, "verdict": judge(row)}
