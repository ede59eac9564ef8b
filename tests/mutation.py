"""Seeded damage of files: bytes flipped, cut out, repeated, and numbers replaced by extreme ones."""

from __future__ import annotations

import random

_NUMBERS = (
    b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x01\x00\x00\x00",
    b"\x7f\xff\xff\xff", b"\x00\x00\xff\xff",
)  # fmt: skip


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A file's content with one to four damages; most of them small, so that much is still read."""
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        if not damaged:
            break
        at, kind = rng.randrange(len(damaged)), rng.random()
        if rng.random() < 0.5:
            # Headers are where the numbers are.
            at %= 256
        if kind < 0.4:
            damaged[at % len(damaged)] ^= 1 << rng.randrange(8)
        elif kind < 0.7:
            number = rng.choice(_NUMBERS)
            damaged[at : at + 4] = number
        elif kind < 0.8:
            del damaged[at : at + rng.randint(1, 64)]
        elif kind < 0.9:
            damaged[at:at] = damaged[at : at + rng.randint(1, 64)]
        elif kind < 0.95:
            del damaged[at:]
        else:
            damaged[at : at + 16] = rng.randbytes(16)
    return bytes(damaged)
