"""What `devices` prints."""

from __future__ import annotations

from cxr_edge.reporting.terminal.tables import machine_line, show, show_table
from cxr_edge.runtimes.discovery import Devices


def show_devices(devices: Devices) -> None:
    """A line per runtime and provider."""
    show(machine_line(devices.machine))
    show_table(
        "What artifacts can be run on here",
        ["--runtime", "reads", "version", "state"],
        [[row.option, ", ".join(row.formats), row.version or "-", row.missing or "ready"] for row in devices.runtimes],
        texts=4,
    )
