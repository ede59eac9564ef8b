"""How this package starts other processes."""

from __future__ import annotations

import sys


def command_of(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package in another Python process.

    With -P, which keeps the working folder out of the search path: a bundle may contain somebody's `numpy.py`.
    """
    return [sys.executable, "-P", "-m", module, *arguments]
