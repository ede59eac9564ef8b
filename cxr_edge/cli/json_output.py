"""`--json -`: the result on standard output, and all other output of a command on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import typer


def json_target(context: typer.Context, path: Path | None) -> Path | None:
    """The file to write to. For `-` it is a temporary one, which goes to standard output when the command ends."""
    if path is None or str(path) != "-" or context.resilient_parsing:
        return path
    return context.with_resource(_standard_output())


@contextlib.contextmanager
def _standard_output() -> Iterator[Path]:
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="cxr-edge-"))
    result, stdout = folder / "result.json", sys.stdout
    stdout.flush()
    kept = os.dup(1)
    # Both the file descriptor, which native libraries and child processes use, and Python's stream.
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield result
    finally:
        sys.stdout = stdout
        os.dup2(kept, 1)
        os.close(kept)
        if result.is_file():
            # JSON is UTF-8, whatever the terminal's encoding.
            stdout.buffer.write(result.read_bytes())
            stdout.flush()
        shutil.rmtree(folder, ignore_errors=True)
