"""Leftovers of killed processes in a run's folder."""

from __future__ import annotations

import shutil

from cxr_edge.files import remove_partial_files
from cxr_edge.runs.run import Run


def remove_leftovers(run: Run) -> None:
    """Remove temporary files, and what a finished training needs no more. Call it only while holding the run."""
    for folder in (run.folder, run.checkpoints, run.quantized, *run.folder.glob("bundle*/")):
        remove_partial_files(folder)
    if run.model_file.is_file():
        shutil.rmtree(run.checkpoints, ignore_errors=True)
        run.start_weights.unlink(missing_ok=True)
