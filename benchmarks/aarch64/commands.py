"""One command of cxr-edge on one machine, which may crash or hang there."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.aarch64.environment import Machine
from cxr_edge.records import JsonObject


@dataclass(frozen=True)
class Outcome:
    """What came of a command: its JSON, None where it wrote none, and why it did not end as it should."""

    result: Any
    failure: str | None


def failure_of(status: int, errors: str) -> str | None:
    """Why a command failed, in one line: its signal or exit status, and its last line of output; None if it did not.

    Status 3 is a gate of ours that failed: the command ran, and its JSON says so.
    """
    if status in (0, 3):
        return None
    words = [line.strip() for line in errors.splitlines() if line.strip()]
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return f"{how}: {words[-1][:200]}" if words else how


def run_command(machine: Machine, arguments: list[str], timeout: float) -> Outcome:
    """Run `cxr-edge ARGUMENTS --threads 1 --json FILE`, and read the file."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "result.json"
        command = [*machine.python, "-m", "cxr_edge", *arguments, "--threads", "1", "--json", str(written)]
        try:
            done = subprocess.run(
                command, env=machine.environment, cwd=folder, capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            return Outcome(None, f"not done after {timeout:g} s")
        failure = failure_of(done.returncode, done.stderr)
        result = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else None
    return Outcome(result, failure if result is not None or failure else "it wrote no JSON")


def describe(machine: Machine) -> JsonObject:
    """`cxr_edge.machine.describe_machine`, as seen on that machine. Raises subprocess.CalledProcessError."""
    program = (
        "import json; from cxr_edge.machine import describe_machine; from cxr_edge.records import to_json; "
        "print(json.dumps(to_json(describe_machine())))"
    )
    done = subprocess.run(
        [*machine.python, "-c", program], env=machine.environment, capture_output=True, text=True, check=True
    )
    description: JsonObject = json.loads(done.stdout)
    return description
