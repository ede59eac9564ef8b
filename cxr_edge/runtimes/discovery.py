"""What can run artifacts here: each runtime with each of its providers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cxr_edge.errors import CxrEdgeError, first_line
from cxr_edge.machine import Machine, describe_machine
from cxr_edge.runtimes.accelerators import accelerator_states
from cxr_edge.runtimes.base import CPU, Runtime, all_runtimes

SCHEMA = 1


@dataclass(frozen=True)
class Device:
    """A runtime with a provider: `option` names it for --runtime, `formats` are the formats it reads, `version` is None
    if it is not installed, and `missing` says why it cannot be used (None if no obstacle is known).

    `gpu` is the adapter that it computes on, if the runtime names one. If `in_software`, that adapter computes on the
    CPU: it shows whether results are right, but not how fast a GPU is.
    """

    option: str
    title: str
    formats: tuple[str, ...]
    version: str | None
    missing: str | None
    gpu: str | None = None
    in_software: bool = False


@dataclass(frozen=True, kw_only=True)
class Devices:
    """The record of `devices --json`."""

    schema: int = SCHEMA
    machine: Machine
    runtimes: tuple[Device, ...]


def devices() -> Devices:
    """Check every runtime; accelerators in a separate process, where their drivers can do no harm."""
    rows: dict[str, Device] = {}
    accelerators: list[Runtime] = []
    for runtime in all_runtimes():
        try:
            runtime.prepare()
            version, reason = runtime.adapter.version(), runtime.adapter.missing(CPU)
            accelerators += [each for each in runtime.each_provider() if each.provider != CPU]
        except CxrEdgeError as error:
            version, reason = None, str(error)
        except Exception as error:
            # Installed, but its libraries do not load.
            version, reason = None, f"cannot be imported ({first_line(error)})"
        for each in runtime.each_provider():
            rows[each.option] = Device(each.option, each.title, each.formats, version, reason)
    for option, state in accelerator_states(accelerators).items():
        rows[option] = replace(rows[option], missing=state.missing)
        if state.gpu is not None:
            rows[option] = replace(rows[option], gpu=state.gpu.name, in_software=state.gpu.is_software)
    return Devices(machine=describe_machine(), runtimes=tuple(rows.values()))
