"""Does a bundle compute on 64-bit Arm what it computes on x86?

    python -m benchmarks.aarch64 --bundle DIR [--work DIR] [--cpu NAME ...] [--json FILE]

Runs `verify` on the bundle's reference inputs, `predict` on phantoms and a short `bench`, artifact by artifact, as a
program for Arm CPUs under emulation, and the same with the same package versions on this x86 machine, and compares the
outputs. The first run fetches QEMU and an Arm Python from Debian, by apt-get with settings of its own, and the packages
in requirements/device.txt by pip: a gigabyte, kept in the work folder. No administrator's rights, nothing installed.

An emulator shows what is computed, not how fast an Arm CPU is. Exit status 3 when a comparison failed, or a command
crashed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.aarch64.apt import SetupError
from benchmarks.aarch64.commands import Outcome, describe, run_command
from benchmarks.aarch64.compare import COMMANDS, PASSED, compare
from benchmarks.aarch64.environment import Environment, Machine, check_here, emulator_title
from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import REFERENCES, listed_artifacts, read_bundle, write_manifest
from cxr_edge.artifacts.cascade import Cascade
from cxr_edge.errors import CxrEdgeError
from cxr_edge.evaluation.reference_images import reference_inputs
from cxr_edge.files import write_json
from cxr_edge.records import JsonObject
from cxr_edge.reporting.terminal.tables import show, show_table

#: Without dot products (Raspberry Pi 4), with (Raspberry Pi 5), with int8 matrix products (phones), and all of QEMU's.
CPUS = ("cortex-a72", "cortex-a76", "cortex-a710", "max")
RUNTIMES = {"tflite": "litert", "onnx": "onnx"}
TIMING = "Under emulation: what is computed, not how long an Arm CPU takes. No latency is recorded."


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.aarch64",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="of a small image size: this is slow")
    parser.add_argument(
        "--work", type=Path, default=Path(".aarch64"), metavar="DIR", help="what is fetched (default: %(default)s)"
    )
    parser.add_argument(
        "--cpu", action="append", metavar="NAME", help=f"QEMU's name of it; repeatable (default: {', '.join(CPUS)})"
    )
    parser.add_argument("--artifact", action="append", metavar="NAME", help="repeatable (default: all of the bundle)")
    parser.add_argument(
        "--emulator", type=Path, metavar="FILE", help="a qemu-aarch64 (default: 10.0 or later on PATH, or Debian's)"
    )
    parser.add_argument("--mirror", metavar="URL", help="of Debian (default: this system's)")
    parser.add_argument("--timeout", type=float, default=900, metavar="SECONDS", help="of one command (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="artifacts at a time (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record here")
    return parser


def single_bundle(bundle: Path, artifact: Artifact, folder: Path) -> Path:
    """A bundle that lists one artifact of another, by links: what crashes in it takes no other artifact along."""
    single = folder / artifact.name.replace(".", "-")
    single.mkdir()
    for name in (artifact.name, REFERENCES):
        (single / name).symlink_to((bundle / name).resolve())
    write_manifest(single, artifact.metadata.shared, [artifact])
    return single


def run_all(
    machine: Machine, bundle: Path, artifact: Artifact, images: list[Path], timeout: float
) -> dict[str, Outcome]:
    """Each command on one artifact; the outcomes by command."""
    choice = ["--bundle", str(bundle), "--runtime", RUNTIMES[artifact.format]]
    predict = ["predict", *map(str, images), *choice]
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "verify": ["verify", *choice],
            "predict": [*predict, "--heatmap", folder] if artifact.has_heatmap else predict,
            "bench": ["bench", *choice, "--queries", "5", "--seconds", "0"],
        }
        return {name: run_command(machine, commands[name], timeout) for name in COMMANDS}


def phantoms(machine: Machine, folder: Path) -> list[Path]:
    """One image file per class."""
    command = [*machine.python, "-m", "cxr_edge", "phantom", str(folder), "--images", "1"]
    subprocess.run(command, env=machine.environment, capture_output=True, check=True)
    return sorted(folder.rglob("*.png"))


def described(machine: Machine) -> JsonObject:
    """The machine as a program on it sees it. Raises SetupError where no program runs."""
    try:
        return describe(machine)
    except subprocess.CalledProcessError as error:
        words = (error.stderr or "").strip().splitlines()
        raise SetupError(f"{machine.name}: no Python runs there ({words[-1] if words else error})") from None


def measure(options: argparse.Namespace) -> JsonObject:
    """All of it; the record. Raises CxrEdgeError."""
    check_here()
    if isinstance(listed_artifacts(options.bundle)[0], Cascade):
        raise SetupError(f"{options.bundle}: a cascade; each file is measured by itself, in the bundle of its own run")
    artifacts = [
        artifact
        for artifact in read_bundle(options.bundle)
        if not options.artifact or artifact.name in options.artifact
    ]
    if not artifacts:
        raise SetupError(f"{options.bundle}: holds none of {', '.join(options.artifact)}")
    reference_inputs(artifacts[0])
    environment = Environment(options.work, options.mirror, options.emulator)
    x86 = environment.x86()
    arms = [environment.arm(cpu) for cpu in options.cpu or CPUS]
    machines = {machine.name: described(machine) for machine in (x86, *arms)}
    record: JsonObject = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "timing": TIMING,
        "emulator": emulator_title(environment.emulator),
        "image_size": artifacts[0].image_size,
        "threads": 1,
        "x86": machines["x86_64"],
        "arm": [],
    }
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.jobs) as pool:
        folder = Path(name)
        images = phantoms(x86, folder / "phantoms")
        singles = [single_bundle(options.bundle, artifact, folder) for artifact in artifacts]

        def outcomes(machine: Machine) -> list[dict[str, Outcome]]:
            def outcome(single: Path, artifact: Artifact) -> dict[str, Outcome]:
                row = run_all(machine, single, artifact, images, options.timeout)
                show(f"{machine.name}: {artifact.name} done")
                return row

            return list(pool.map(outcome, singles, artifacts))

        native = outcomes(x86)
        for machine in arms:
            rows = [
                {"artifact": artifact.name, "sha256": artifact.sha256, **compare(arm, here)}
                for artifact, arm, here in zip(artifacts, outcomes(machine), native, strict=True)
            ]
            record["arm"].append({"cpu": machine.name, "machine": machines[machine.name], "rows": rows})
            if options.json:
                # After each CPU: a run can take an hour.
                write_json(options.json, record)
    return record


def show_record(record: JsonObject) -> None:
    """One row per artifact and CPU, and one line per command that failed."""
    table, failures = [], []
    for arm in record["arm"]:
        for row in arm["rows"]:
            verify, predict = row["verify"], row["predict"]
            figures = [verify.get("from_recording"), verify.get("from_x86"), predict.get("from_x86")]
            table.append(
                [
                    arm["cpu"],
                    row["artifact"],
                    *("-" if figure is None else f"{figure:.5f}" for figure in figures),
                    f"{verify['same_top_as_x86']} of {verify['images']}" if "same_top_as_x86" in verify else "-",
                    row["bench"],
                    row["verdict"],
                ]
            )
            failures += [f"{row['artifact']}, {arm['cpu']}: {name}: {why}" for name, why in row["failures"].items()]
    columns = ["emulated CPU", "artifact", "recorded", "x86", "predict", "same top", "bench", "verdict"]
    show_table(f"64-bit Arm against x86, {record['image_size']} px: largest difference", columns, table, texts=2)
    for failure in failures:
        show(failure)
    show("recorded: from the outputs in the bundle; x86: from x86 here; predict: from x86 here, on image files")
    show(record["timing"])


def main() -> None:
    options = parser().parse_args()
    try:
        record = measure(options)
    except CxrEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    show_record(record)
    if any(row["verdict"] != PASSED for arm in record["arm"] for row in arm["rows"]):
        sys.exit(3)


if __name__ == "__main__":
    main()
