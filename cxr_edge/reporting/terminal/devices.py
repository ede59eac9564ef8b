"""What `devices` prints."""

from __future__ import annotations

from typing import Any

from cxr_edge.reporting.terminal.tables import machine_line, show, show_table


def show_devices(found: dict[str, Any]) -> None:
    """From the result of `cxr_edge.runtimes.discovery.devices`."""
    show(machine_line(found["machine"]))
    show_table(
        "What artifacts can be run on here",
        ["--runtime", "reads", "version", "state"],
        [
            [row["option"], ", ".join(row["formats"]), row["version"] or "-", row["missing"] or "ready"]
            for row in found["runtimes"]
        ],
        texts=4,
    )
