"""The folder of a training run: its layout, its records, and how commands find it."""

from cxr_edge.runs.run import RUNS, Run, find_run, latest_run, latest_started, new_run, run_named

__all__ = ["RUNS", "Run", "find_run", "latest_run", "latest_started", "new_run", "run_named"]
