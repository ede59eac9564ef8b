"""What a gate says of an artifact."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """Whether an artifact met a gate's demands; undecided where there are not enough images to tell."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "not enough images"


PASSED, FAILED, UNDECIDED = Verdict.PASSED, Verdict.FAILED, Verdict.UNDECIDED
