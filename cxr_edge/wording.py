"""Words for numbers."""

from __future__ import annotations


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """`1 image`, `2 images`; `plural` if it is irregular."""
    return f"{count} {singular if count == 1 else plural or f'{singular}s'}"


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `1.5 h`: a time to wait."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"
