"""The output of `cxr-edge` without a command: the steps from images to a device, and the state of the latest run."""

from __future__ import annotations

from cxr_edge import __version__
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.errors import RunError
from cxr_edge.reporting.terminal.tables import show
from cxr_edge.runs import RUNS, Run, latest_run

STEPS = (
    ("cxr-edge train --data DIR", "a folder of chest X-rays, one folder per class, to a model"),
    ("cxr-edge export", "the model to int8 TFLite and ONNX, verified"),
    ("cxr-edge verify", "every artifact against the model, with intervals"),
    ("cxr-edge bench", "how fast each artifact is on this machine"),
    ("cxr-edge predict IMAGE", "images to answers, here or on a device"),
)


def show_front_page() -> None:
    """Show the steps, the latest run under `runs/`, and where to read more."""
    lines = [f"cxr-edge {__version__}: chest X-ray classifiers, from a folder of images to a small device", ""]
    lines += [f"  {typed:<27}{purpose}" for typed, purpose in STEPS]
    lines += ["", *_latest_run(), ""]
    lines += ["cxr-edge --help lists all commands, cxr-edge COMMAND --help their options, with examples", NOTICE]
    for line in lines:
        show(line)


def _latest_run() -> list[str]:
    try:
        run = latest_run()
        return [f"latest run: {run.folder} ({_state(run)})", f"next: {next_command(run)}"]
    except RunError as error:
        if any(RUNS.glob("*/run.json")):
            return [f"latest run: {error}"]
        return ["no run in this folder yet; cxr-edge demo runs the whole pipeline on synthetic images, in minutes"]


def _state(run: Run) -> str:
    config = run.config()
    images = f"{sum(config.images.values())} {'phantoms' if config.phantoms else 'images'}"
    if not run.model_file.is_file():
        return f"{images}, training not finished"
    exported = ", exported" if (run.latest_bundle() / "manifest.json").is_file() else ""
    return f"{images}, trained{exported}{', measured' if run.bench_file.is_file() else ''}"


def next_command(run: Run) -> str:
    """The command to use next on a run."""
    if not run.model_file.is_file():
        return f"cxr-edge train --run {run.folder} --resume"
    if not (run.latest_bundle() / "manifest.json").is_file():
        return f"cxr-edge export --run {run.folder}"
    if not run.bench_file.is_file():
        return f"cxr-edge bench --run {run.folder}"
    return f"cxr-edge report --run {run.folder}"
