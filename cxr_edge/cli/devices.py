"""`cxr-edge devices`."""

from __future__ import annotations

from cxr_edge.cli.options import JsonOption


def command(json: JsonOption = None) -> None:
    """List the runtimes and providers that work here, what is missing, and how to get it."""
    from cxr_edge.files import write_json
    from cxr_edge.records import to_json
    from cxr_edge.reporting.terminal.devices import show_devices
    from cxr_edge.runtimes.discovery import devices

    result = devices()
    show_devices(result)
    if json is not None:
        write_json(json, to_json(result))
