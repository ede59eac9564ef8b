"""What a gate says of an artifact."""

from __future__ import annotations

PASSED, FAILED, UNDECIDED = "passed", "failed", "not enough images"
