"""What `cxr-edge train` does around the training itself: options, run folder, and what is shown at the end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cxr_edge.data.layouts import DataSet
from cxr_edge.data.split import run_split
from cxr_edge.errors import CxrEdgeError, OptionError, RunError
from cxr_edge.files import write_json
from cxr_edge.reporting.terminal.tables import show, show_metrics, show_skipped
from cxr_edge.runs import RUNS, Run, latest_run
from cxr_edge.training.train import TrainOptions, default_options, find_images, start_run, train


def start_training(folder: Path | None, given: dict[str, Any], json: Path | None) -> Run:
    """Train a new run with the given options, defaults for the rest. Raises OptionError, DataError, RunError."""
    if "phantoms" in given and "data" in given:
        raise OptionError("--phantoms has no meaning together with --data")
    options = replace(default_options(given.get("data"), given.get("weights")), **given)
    run = Run(folder or RUNS / datetime.now().strftime("%Y%m%d-%H%M%S"))
    with _nothing_half_written(run):
        data = find_images(run, options)
        if options.data is not None:
            _show_classes(data)
        start_run(run, options, data)
        show_skipped(run.config()["skipped"], "run.json lists them all")
        return _train(run, json)


def _show_classes(data: DataSet) -> None:
    """What is about to be read as what, before the first image is."""
    for label, count in data.counts().items():
        show(f"  {data.folders[label]} -> {label}, {count} images")
    if data.left_out:
        show(f"  left out: {', '.join(data.left_out)}")
    if parts := data.parts():
        show(f"  given parts: {', '.join(f'{count} {part}' for part, count in parts.items())}")


@contextmanager
def _nothing_half_written(run: Run) -> Iterator[None]:
    """Take a new run's files away again when its input turns out to be bad before an epoch was finished."""
    held = {path.name for path in run.folder.iterdir()} if run.folder.is_dir() else None
    try:
        yield
    except (CxrEdgeError, OSError, KeyboardInterrupt):
        # A finished run has no checkpoints either: what fails after it, such as a closed pipe, must not take it away.
        if run.folder.is_dir() and not run.checkpoints.exists() and not run.model_file.exists():
            for path in list(run.folder.iterdir()):
                if path.name not in (held or ()):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            if held is None:
                run.folder.rmdir()
        raise


def options_of(run: Run, given: dict[str, Any]) -> dict[str, Any]:
    """The options that a run was started with. Raises OptionError where those given now are others."""
    # Through TrainOptions, for a run of before there were some of the options.
    stored = asdict(TrainOptions(**run.config()["options"]))
    for name, value in given.items():
        if stored[name] != value:
            raise OptionError(
                f"{run.folder} was started with --{name.replace('_', '-')} {stored[name]}, not {value}; "
                "leave the option out to go on with it"
            )
    return stored


def resume_training(folder: Path | None, given: dict[str, Any], json: Path | None) -> Run:
    """Go on with an interrupted run; options given must be those it was started with."""
    run = latest_run() if folder is None else Run(folder)
    options_of(run, given)
    if run.model_file.is_file():
        raise RunError(f"{run.folder}: its training is finished; nothing to resume")
    return _train(run, json)


def _train(run: Run, json: Path | None) -> Run:
    config = run.config()
    split = run_split(run)
    counts = ", ".join(f"{label} {count}" for label, count in config["images"].items())
    parts = ", ".join(f"{len(split.part(part))} {part}" for part in ("train", "validation", "test"))
    show(f"run {run.folder}: {counts} ({parts})")
    known = config["images_with_patient"]
    if known:
        show(f"  the patients of {known} images are known; each stays on one side of the split")
    elif config["options"]["data"] is not None:
        show("  no patients are named: images of one patient may lie on both sides of the split")
    # Runs of early versions do not say.
    if doubt := config.get("patients_doubt"):
        show(f"warning: {doubt}")
    for warning, count in config.get("dicom_warnings", {}).items():
        show(f"warning: {count} DICOM image{'s' if count > 1 else ''}: {warning}")
    if found := config.get("leaks"):
        named = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        show(f"warning: the parts that the data came in are not apart, {len(found)} lie in several: {named}")
    if repeated := config.get("repeated"):
        sides = "" if config["given_parts"] else "; copies stay on one side of the split"
        show(f"  {repeated} picture{'s are' if repeated > 1 else ' is'} there more than once{sides}")
    if labels := config.get("sources_apart"):
        show(
            f"  warning: no image of {', '.join(labels)} shares its source with another class: whatever tells the "
            "source tells the class; see cxr-edge audit"
        )
    if doubt := config.get("doubt"):
        show(f"  warning: {doubt}")
    metrics = train(run)
    show_metrics(metrics, "Keras float32, test split")
    show(f"model: {run.model_file}")
    if json is not None:
        write_json(json, metrics)
    return run
