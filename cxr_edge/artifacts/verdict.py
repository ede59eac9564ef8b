"""A gate's verdict on an artifact."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """Whether an artifact met a gate's demands; undecided if there were too few images."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "not enough images"


PASSED, FAILED, UNDECIDED = Verdict.PASSED, Verdict.FAILED, Verdict.UNDECIDED


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst verdict; passed if there are none."""
    known = set(verdicts)
    return next((verdict for verdict in (Verdict.FAILED, Verdict.UNDECIDED) if verdict in known), Verdict.PASSED)
