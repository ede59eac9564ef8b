"""What `install` and `rollback` print."""

from __future__ import annotations

from pathlib import Path

from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.reporting.terminal.tables import show
from cxr_edge.updates.install import Installed


def show_active(installed: Installed, into: Path) -> None:
    """Print which bundle is active now, and how to return to the previous one."""
    show(f"active: {installed.release or 'an unreleased bundle'}, {installed.folder}")
    if installed.previous is not None:
        show(f"previous: {installed.previous}; cxr-edge rollback {into} returns to it")
    show(NOTICE)
