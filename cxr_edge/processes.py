"""How this package starts processes of its own."""

from __future__ import annotations

import sys


def command_of(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package in another Python process.

    With -P, which keeps the working folder out of the search path: a bundle may hold a `numpy.py` of somebody else.
    """
    return [sys.executable, "-P", "-m", module, *arguments]
