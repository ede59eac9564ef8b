"""Leftovers of killed processes in a run's folder."""

from __future__ import annotations

import shutil

from cxr_edge.files import remove_partial_files
from cxr_edge.runs.run import Run


def remove_leftovers(run: Run) -> None:
    """Remove temporary files, and files that a finished run no longer needs. The caller must hold the run's lock."""
    for folder in (run.folder, run.checkpoints, run.quantized, *run.folder.glob("bundle*/")):
        remove_partial_files(folder)
    if run.model_file.is_file():
        shutil.rmtree(run.checkpoints, ignore_errors=True)
        run.start_weights.unlink(missing_ok=True)
