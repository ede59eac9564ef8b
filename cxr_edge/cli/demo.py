"""`cxr-edge demo`: the whole workflow on phantoms, ending in a table, a heat map and a report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cxr_edge.cli.export import export_and_show
from cxr_edge.cli.options import NewRunOption
from cxr_edge.cli.report import write_report

if TYPE_CHECKING:
    from cxr_edge.runs import Run
    from cxr_edge.runs.network import Network

#: Enough for a model that tells the classes apart, within a few minutes on two cores.
_TRAINING = {"phantoms": 140, "epochs": 9}
#: Middle blocks of Xception that the demo's network leaves out, and the share of the channels that it keeps: the time
#: for training, calibration and verification is proportional to its multiply-accumulates.
_LEFT_OUT, _WIDTH = range(7, 13), 0.75
#: Fine-tunes whether it is needed or not, as part of the show.
_QAT_STEPS = 16


def command(run: NewRunOption = None) -> None:
    """Train, export, verify and bench on phantoms, draw a heat map and write a report, in a few minutes."""
    from cxr_edge.cli.front_page import next_command
    from cxr_edge.cli.train import how_to_resume
    from cxr_edge.console import interruptible
    from cxr_edge.runs import new_run

    target = new_run(run)

    def explain() -> str:
        if target.model_file.is_file():
            return f"interrupted; next: {next_command(target)}"
        return how_to_resume(target.folder)

    with interruptible(explain):
        _demo(target)


def _demo(run: Run) -> None:
    from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
    from cxr_edge.benchmarking.bench import bench
    from cxr_edge.benchmarking.options import BenchOptions
    from cxr_edge.console import stage
    from cxr_edge.errors import GateError
    from cxr_edge.exporting.export import ExportOptions
    from cxr_edge.exporting.recipe import Recipe
    from cxr_edge.files import write_json
    from cxr_edge.records import to_json
    from cxr_edge.reporting.card.card import update_card
    from cxr_edge.reporting.terminal.bench import show_bench, speed_cell
    from cxr_edge.reporting.terminal.tables import PHANTOM_NOTE, percent, show, show_table
    from cxr_edge.runtimes.selection import artifacts_of_bundle

    start = time.monotonic()
    trained = _trained(run)
    recipe = Recipe(tuple(ArtifactFormat), (Quantization.FLOAT32, Quantization.INT8))
    failure: GateError | None = None
    try:
        export_and_show(trained, ExportOptions(recipe, qat_steps=_QAT_STEPS))
    except GateError as error:
        # Continue all the same: with so few phantoms, a gate can fail by chance.
        failure = error
    options = BenchOptions(
        queries=25, seconds=0.25, starts=1, throughput_seconds=0.0, file_rounds=1, folder_seconds=1.0
    )
    record = bench(artifacts_of_bundle(trained.bundle), options, stage)
    show_bench(record)
    # For the run's report and the model card.
    write_json(trained.bench_file, to_json(record))
    update_card(trained.bundle)
    show_table(
        "Demo on phantoms",
        ["artifact", "runtime", "MB", "accuracy %", "agreement with Keras %", "p50 ms", "speed-up"],
        [
            [
                row.artifact,
                row.runtime,
                f"{row.bytes / 1e6:.1f}",
                percent(row.accuracy),
                percent(row.agreement),
                f"{row.p50_ms:.2f}",
                speed_cell(row),
            ]
            for row in record.rows
        ],
        texts=2,
    )
    show(PHANTOM_NOTE)
    _draw_heat_map(trained)
    write_report(trained.bundle)
    show(f"{(time.monotonic() - start) / 60:.1f} minutes; next: cxr-edge train --data DIR on your own images")
    if failure is not None:
        raise failure


def _trained(run: Run) -> Run:
    from cxr_edge.reporting.html.plots import draw_run_plots
    from cxr_edge.reporting.terminal.training import TrainingDisplay
    from cxr_edge.train_options import completed
    from cxr_edge.training.jobs import train_new

    return train_new(run, completed(_TRAINING), TrainingDisplay(draw_run_plots), _network()).run


def _network() -> Network:
    from cxr_edge.runs.network import XCEPTION

    network = XCEPTION.without(_LEFT_OUT)
    # Integer kernels compute eight channels at a time or more.
    return network.with_widths({group: int(width * _WIDTH) // 8 * 8 for group, width in network.widths().items()})


def _draw_heat_map(run: Run) -> None:
    """Draw a heat map over the first COVID-19 phantom of the test split."""
    from cxr_edge.data.split import run_split
    from cxr_edge.prediction.classifier import Classifier
    from cxr_edge.prediction.predict import predict_files
    from cxr_edge.reporting.terminal.tables import show

    split = run_split(run)
    image = split.root / next(item.path for item in split.part("test") if item.label == "COVID-19")
    drawn = run.folder / "heatmap.png"
    list(predict_files(Classifier.open(run.bundle / "xception-int8.tflite", "litert"), [image], drawn))
    show(f"heat map: {drawn}, over {image}")
