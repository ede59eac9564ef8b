"""What `devices` prints."""

from __future__ import annotations

from cxr_edge.reporting.terminal.tables import machine_line, show, show_table
from cxr_edge.runtimes.discovery import Device, Devices


def show_devices(devices: Devices) -> None:
    """A line per runtime and provider."""
    show(machine_line(devices.machine))
    show_table(
        "What artifacts can be run on here",
        ["--runtime", "reads", "version", "state"],
        [[row.option, ", ".join(row.formats), row.version or "-", _state(row)] for row in devices.runtimes],
        texts=4,
    )


def _state(row: Device) -> str:
    if row.missing is not None:
        return row.missing
    if row.in_software:
        return f"software only: {row.gpu} computes on the CPU, good for checking results but not speed"
    return "ready" if row.gpu is None else f"ready: {row.gpu}"
