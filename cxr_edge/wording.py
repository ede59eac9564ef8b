"""Words for numbers."""

from __future__ import annotations


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """`1 image`, `2 images`; `plural` if it is irregular."""
    return f"{count} {singular if count == 1 else plural or f'{singular}s'}"
