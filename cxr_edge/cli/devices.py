"""`cxr-edge devices`."""

from __future__ import annotations

from cxr_edge.cli.options import JsonOption


def command(json: JsonOption = None) -> None:
    """List the runtimes and what they can compute on here, what is missing, and what would bring it."""
    from cxr_edge.files import write_json
    from cxr_edge.records import to_json
    from cxr_edge.reporting.terminal.devices import show_devices
    from cxr_edge.runtimes.discovery import devices

    result = devices()
    show_devices(result)
    if json is not None:
        write_json(json, to_json(result))
