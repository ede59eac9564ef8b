"""How long a command takes from its start to its answer, compared with the minimum that Python needs.

    python -m benchmarks.start_up --bundle BUNDLE [--repeats N] [--json FILE]

`cxr-edge --help` beside an empty typer app with as many commands, and `cxr-edge predict` of one 1024 px PNG, int8 ONNX,
beside `examples/classify_onnx.py`; in turn, the file cache warm. CPU time is that of all threads, user and system: on a
machine with other work it is steadier than wall-clock time. Run it with only a device's packages
installed: a workstation's others slow down Python's imports, and OpenVINO, if `predict` uses it, is slower to start.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from cxr_edge.artifacts.bundle import read_checked_artifact
from cxr_edge.cli.commands import NAMES
from cxr_edge.errors import CxrEdgeError
from cxr_edge.files import write_json
from cxr_edge.machine import describe_machine
from cxr_edge.phantoms.drawing import draw_phantom
from cxr_edge.records import to_json

EXAMPLE = Path(__file__).parents[1] / "examples" / "classify_onnx.py"
EMPTY_APP = """
import typer
app = typer.Typer()
for name in {names!r}:
    app.command(name)(lambda: None)
app()
"""


class Seconds(NamedTuple):
    """What one start took: by the clock, and of the processors."""

    clock: float
    cpu: float


def measured(command: list[str]) -> Seconds:
    """One start. Raises SystemExit with what the command printed if it fails."""
    with tempfile.TemporaryFile() as printed:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=printed)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = Seconds(time.perf_counter() - start, usage.ru_utime + usage.ru_stime)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            printed.seek(0)
            sys.exit(f"{' '.join(command)}: status {process.returncode}\n{printed.read().decode(errors='replace')}")
    return seconds


def commands_in(folder: Path, artifact: Path) -> dict[str, list[str]]:
    """What is measured, each with its files in a folder."""
    ours = [sys.executable, "-m", "cxr_edge"]
    image, empty = folder / "x-ray.png", folder / "empty.py"
    Image.fromarray(draw_phantom("Normal", 0, 1024).pixels).save(image)
    empty.write_text(EMPTY_APP.format(names=NAMES), encoding="utf-8")
    return {
        "cxr-edge --help": [*ours, "--help"],
        "empty typer app --help": [sys.executable, str(empty), "--help"],
        "cxr-edge predict": [*ours, "predict", str(image), "--artifact", str(artifact)],
        "classify_onnx.py": [sys.executable, str(EXAMPLE), str(artifact), str(image)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    artifact = arguments.bundle / "xception-int8.onnx"
    try:
        read_checked_artifact(artifact)
    except CxrEdgeError as error:
        sys.exit(
            f"error: {error}\nint8 ONNX is what is measured: cxr-edge export --format onnx --quantize int8 writes it"
        )
    seconds: dict[str, list[Seconds]] = {}
    with tempfile.TemporaryDirectory() as folder:
        commands = commands_in(Path(folder), artifact)
        for number in range(arguments.repeats + 1):
            for name, command in commands.items():
                own = measured(command)
                # The first writes byte-code and measures which runtime is fastest.
                if number:
                    seconds.setdefault(name, []).append(own)
    rows = []
    for name, beside in (("cxr-edge --help", "empty typer app --help"), ("cxr-edge predict", "classify_onnx.py")):
        ours, least = np.array(seconds[name]), np.array(seconds[beside])
        (clock, cpu), (clock_ratio, cpu_ratio) = np.median(ours, axis=0), np.median(ours / least, axis=0)
        rows.append(
            {
                "command": name,
                "seconds": float(clock),
                "beside": beside,
                "ratio": float(clock_ratio),
                "cpu_seconds": float(cpu),
                "cpu_ratio": float(cpu_ratio),
            }
        )
        print(f"{name}: {clock:.3f} s, {clock_ratio:.2f} times {beside}; CPU time {cpu:.3f} s, {cpu_ratio:.2f} times")
    if arguments.json:
        write_json(arguments.json, {"machine": to_json(describe_machine()), "repeats": arguments.repeats, "rows": rows})


if __name__ == "__main__":
    main()
