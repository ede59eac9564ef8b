"""How long a command takes from its start to its answer, beside the least that Python can do.

    python benchmarks/start_up.py --bundle BUNDLE [--repeats N] [--json FILE]

`cxr-edge --help` beside an empty typer app with as many commands, and `cxr-edge predict` of one 1024 px PNG, int8 ONNX,
beside `examples/classify_onnx.py`; in turn, the file cache warm. Run it where a device's packages are installed: what a
workstation has besides, Python finds more slowly through.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from cxr_edge.cli import app
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    artifact = str(arguments.bundle / "xception-int8.onnx")
    ours = [sys.executable, "-m", "cxr_edge"]
    names = [command.name for command in app.registered_commands]
    with tempfile.TemporaryDirectory() as folder:
        image, empty = Path(folder) / "x-ray.png", Path(folder) / "empty.py"
        Image.fromarray(draw_phantom("Normal", 0, 1024).pixels).save(image)
        empty.write_text(EMPTY_APP.format(names=names), encoding="utf-8")
        commands = {
            "cxr-edge --help": [*ours, "--help"],
            "empty typer app --help": [sys.executable, str(empty), "--help"],
            "cxr-edge predict": [*ours, "predict", str(image), "--artifact", artifact],
            "classify_onnx.py": [sys.executable, str(EXAMPLE), artifact, str(image)],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(arguments.repeats + 1):
            for name, command in commands.items():
                start = time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                # The first writes byte-code and measures which runtime is fastest.
                if number:
                    seconds[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    rows = []
    for name, beside in (("cxr-edge --help", "empty typer app --help"), ("cxr-edge predict", "classify_onnx.py")):
        ratio = float(np.median(np.array(seconds[name]) / np.array(seconds[beside])))
        rows.append({"command": name, "seconds": medians[name], "beside": beside, "ratio": ratio})
        print(f"{name}: {medians[name]:.3f} s, {ratio:.2f} times {beside} ({medians[beside]:.3f} s)")
    if arguments.json:
        write_json(arguments.json, {"machine": to_json(describe_machine()), "repeats": arguments.repeats, "rows": rows})


if __name__ == "__main__":
    main()
