"""Create a run with a smaller network, distilled from another run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_edge import __version__
from cxr_edge.choices import Strategy
from cxr_edge.data.cache import decoded
from cxr_edge.data.layouts import PARTS
from cxr_edge.data.split import Split, run_split
from cxr_edge.data.unlabelled import files_in, unlabelled_images, unlabelled_sha256
from cxr_edge.evaluation.conditions import VALIDATION
from cxr_edge.files import replacing, sha256_of, write_json
from cxr_edge.records import to_json
from cxr_edge.runs import Run
from cxr_edge.runs.config import RunConfig, Student
from cxr_edge.runs.leftovers import remove_leftovers
from cxr_edge.runs.progress import SILENT, Progress
from cxr_edge.shrink_options import ShrinkOptions
from cxr_edge.training.jobs import train_started
from cxr_edge.training.result import TrainingResult
from cxr_edge.training.start import starting

if TYPE_CHECKING:
    from cxr_edge.shrinking.plan import Plan


def shrink(teacher: Run, run: Run, options: ShrinkOptions, progress: Progress = SILENT) -> TrainingResult:
    """Make a student of a trained run, on the same split, and train it.

    Once started, it can be resumed like any other run: `cxr_edge.training.jobs.resume`.

    Args:
        teacher: trained.
        run: the student's, which does not exist yet.
        options: how small it becomes, and how it is trained.
        progress: receives reports.

    Raises:
        OptionError, DataError, GateError, RunError: nothing is left of the run if no epoch was finished.
    """
    teacher.require_model()
    options.check(teacher.config().options)
    with starting(run):
        remove_leftovers(run)
        _start(teacher, run, options, progress)
        return train_started(run, progress)


def _start(teacher: Run, run: Run, options: ShrinkOptions, progress: Progress) -> None:
    """Choose the student's network, and write the run."""
    config, split = teacher.config(), run_split(teacher)
    teacher_size = config.options.image_size
    for size in dict.fromkeys((teacher_size, *options.image_sizes(config.options))):
        # Training decodes what else it needs, once the size is known.
        parts = PARTS if size == teacher_size else (VALIDATION,)
        with progress.stage("decoding", sum(len(split.part(part)) for part in parts)) as tick:
            for part in parts:
                decoded(split, part, size, partial(tick, ""))
    digests = _decode_unlabelled(options, split, teacher_size, progress)
    with progress.working("starting TensorFlow"):
        # Takes seconds, so only after the options and the images are checked.
        from cxr_edge.shrinking.plan import plan
        from cxr_edge.training.classifier import load_classifier

        model = load_classifier(teacher)
    planned = plan(config, model, split, options, progress)
    student = Student(
        teacher=str(teacher.folder.resolve()),
        teacher_sha256=sha256_of(teacher.model_file),
        teacher_macs=planned.teacher_macs,
        macs=planned.network.macs(planned.image_size),
        block_sensitivity={str(number): value for number, value in planned.block_sensitivity.items()},
        candidates=planned.candidates,
        unlabelled=options.unlabelled,
        unlabelled_images=len(digests),
        unlabelled_sha256=unlabelled_sha256(digests) if digests else None,
        latency=planned.latency,
        macs_budget=options.macs_budget,
        stated_image_size=options.image_size,
    )
    _write(teacher, run, replace(config, network=planned.network, student=student), options, planned)


def _decode_unlabelled(options: ShrinkOptions, split: Split, size: int, progress: Progress) -> tuple[str, ...]:
    folders = [Path(folder) for folder in options.unlabelled]
    if not folders:
        return ()
    with progress.stage("decoding unlabelled images", len(files_in(folders))) as tick:
        return unlabelled_images(folders, split, size, partial(tick, ""))


def _write(teacher: Run, run: Run, config: RunConfig, options: ShrinkOptions, planned: Plan) -> None:
    """Write a student's split, its start weights and, last, its `run.json`, after which it can be resumed."""
    if config.phantoms:
        shutil.copytree(teacher.phantoms_folder, run.phantoms_folder, dirs_exist_ok=True)
    shutil.copyfile(teacher.split_file, run.split_file)
    with replacing(run.start_weights) as temporary:
        planned.model.save_weights(str(temporary), save_format="h5")
    training = replace(
        config.options,
        image_size=planned.image_size,
        head_epochs=0,
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        strategy=Strategy.NONE,
        tensorboard=False,
        mlflow=False,
    )
    started = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(run.config_file, to_json(replace(config, started=started, cxr_edge=__version__, options=training)))
