"""Tables of the documentation, each from a record in `benchmarks/results`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_edge.artifacts.parity_result import ALL_PARTS, ALL_SHIFTS
from cxr_edge.auditing.record import Audit
from cxr_edge.benchmarking.record import Row, read_record
from cxr_edge.evaluation.cascade_fit import CascadeFigures, summed
from cxr_edge.evaluation.operating import shown
from cxr_edge.evaluation.pooled_parity import PooledCascades, PooledParity
from cxr_edge.evaluation.run_metrics import CrossValidation, RunMetrics, read_run_metrics
from cxr_edge.evaluation.verified_artifact import VerifiedArtifact
from cxr_edge.intervals import Interval, wilson_interval
from cxr_edge.records import from_json
from cxr_edge.reporting.terminal.audit import class_rows, shortcut_rows
from cxr_edge.reporting.terminal.tables import markdown_table, percent

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
SMALL, LARGE = RESULTS / "radiography-128px", RESULTS / "radiography-299px"
STUDENT, STUDENTS = RESULTS / "student-128px", RESULTS / "students-80px"


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _bounds(figure: Interval) -> str:
    return f"{percent(figure.low)} to {percent(figure.high)}"


def _with_bounds(figure: Interval) -> str:
    return f"{percent(figure.value)} % ({_bounds(figure)})"


def _verified(path: Path) -> list[VerifiedArtifact]:
    # Flipped images, which early records hold in another form, are in no table.
    return [from_json(VerifiedArtifact, {**row, "flipped": []}) for row in _json(path)]


def _trained() -> RunMetrics:
    return read_run_metrics(SMALL / "train.json")


def accuracy() -> str:
    metrics = _trained().metrics
    rows = [
        [
            label.label,
            percent(label.precision.value),
            percent(label.recall.value),
            _bounds(label.recall),
            str(label.support),
            *(str(count) for count in counts),
        ]
        for label, counts in zip(metrics.classes, metrics.confusion_matrix, strict=True)
    ]
    columns = ["class", "precision %", "recall %", "95 % interval", "images"]
    table = markdown_table([*columns, *(f"as {label.label}" for label in metrics.classes)], rows)
    return (
        f"{table}\n{metrics.images} test images: accuracy {_with_bounds(metrics.accuracy)}, balanced accuracy "
        f"{_with_bounds(metrics.balanced_accuracy)}, macro AUC {metrics.macro_auc:.4f}.\n"
    )


def _name(artifact: str) -> str:
    """Early versions called float32 none."""
    return f"`{artifact.replace('-none.', '-float32.')}`"


def _drop(artifact: VerifiedArtifact) -> str:
    drop = artifact.parity.intervals.accuracy_difference
    # Subtracting from 0.0, instead of negating, avoids -0.0.
    value, low, high = (0.0 - 100 * (figure or 0.0) for figure in (drop.value, drop.high, drop.low))
    return f"{value:.2f} ({low:.1f} to {high:.1f})"


def parity() -> str:
    rows = []
    for artifact in _verified(SMALL / "verify.json"):
        result = artifact.parity
        accuracy = [percent(result.accuracy), _bounds(result.intervals.accuracy), _drop(artifact)]
        shares = [*accuracy, percent(result.agreement)]
        difference = f"{result.largest_difference:.4f}"
        rows.append([_name(artifact.artifact), f"{artifact.bytes / 1e6:.1f}", *shares, difference, str(result.verdict)])
    columns = ["artifact", "MB", "accuracy %", "95 % interval", "drop, points", "same class %", "largest difference"]
    return markdown_table([*columns, "verdict"], rows)


def shifted() -> str:
    """int8 TFLite files on images nobody tuned on, by `benchmarks.int8_shift`."""
    records = [_json(path) for path in sorted((RESULTS / "int8-shift").glob("*.json"))]
    rows = [(trained_as(record), row) for record in records for row in _without_equals(record)]
    return _shift_table([(model, row) for model, row in rows if row["file"].endswith("tflite")])


def _without_equals(record: Any) -> list[Any]:
    """The rows by images, int8-ptq only where it is another file than int8: where that was fine-tuned."""
    rows = _by_images(record)
    figures = [{**row, "file": row["file"].replace("-ptq", "")} for row in rows]
    return [row for row in rows if "int8-ptq" not in row["file"] or figures.count(figures[rows.index(row)]) == 1]


def peers_shifted() -> str:
    """Other tools' files of the same models on new images, by `benchmarks.int8_shift`.

    Without tf2onnx's conversion of the Keras model, which computes something else here (half of its answers are right).
    """
    records = [_json(path) for path in sorted((RESULTS / "int8-shift-peers").glob("*.json"))]
    rows = [
        (trained_as(record), row)
        for record in records
        for row in record["rows"]
        if row["images_of"] == "second_release" and row["file"] != "tf2onnx.from_keras QAT"
    ]
    return _shift_table(rows)


def generalization() -> str:
    return _two_trainings(RESULTS / "generalization", ("before", "now"))


def frozen_blocks() -> str:
    return _two_trainings(RESULTS / "frozen-blocks", ("all blocks", "frozen"))


def image_sizes() -> str:
    return _two_trainings(RESULTS / "image-size", ("80 px", "160 px"))


def frozen_norms() -> str:
    return _two_trainings(RESULTS / "frozen-norms", ("before", "now"))


def _two_trainings(folder: Path, titles: tuple[str, str]) -> str:
    """Two trainings on the same images, by `benchmarks.generalization`."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        record = _json(path)
        first, second = record["training"]
        by_run = {
            name: {row["images_of"]: row for row in record["rows"] if row["run"] == name} for name in (first, second)
        }
        seed = record["training"][second]["seed"]
        for images, row in by_run[second].items():
            accuracies = [percent(by_run[name][images]["accuracy"]["value"]) for name in by_run]
            recalls = [percent(by_run[name][images]["recall"].get("COVID-19", {}).get("value")) for name in by_run]
            difference = [f"{100 * row['difference'][bound]:+.1f}" for bound in ("value", "low", "high")]
            rows.append(
                [
                    images,
                    str(seed),
                    str(row["images"]),
                    *accuracies,
                    f"{difference[0]} ({difference[1]} to {difference[2]})",
                    *recalls,
                ]
            )
    columns = ["images", "seed", "number", f"{titles[0]} %", f"{titles[1]} %", "difference, points (95 %)"]
    return markdown_table([*columns, f"COVID-19 {titles[0]} %", f"{titles[1]} %"], rows)


def students() -> str:
    return _two_trainings(STUDENTS / "generalization", ("teachers", "students"))


def trained_as(record: Any) -> str:
    training = record["training"]
    fold = f", fold {training['fold']}" if training.get("fold") else ""
    return f"{training['image_size']} px, seed {training['seed']}{fold}"


def _by_images(record: Any) -> list[Any]:
    return sorted(record["rows"], key=lambda row: row["images_of"])


def _shift_table(named_rows: list[tuple[str, Any]]) -> str:
    rows = []
    for model, row in named_rows:
        recalls = [row[name].get("COVID-19", 0.0) for name in ("float_sensitivity", "sensitivity")]
        rows.append(
            [
                model,
                f"{row['images_of']} ({row['images']})",
                f"{row['file']}, {row['runtime']}",
                " / ".join(percent(value) for value in (row["float_accuracy"], row["accuracy"])),
                " / ".join(percent(value) for value in recalls),
                f"{percent(row['agreement'])} ({row['lost']} / {row['won']})",
                f"{row['signal_to_noise_db']:.1f}",
                f"{row['log_odds_error_mean']:+.2f}, {row['log_odds_error_sd']:.2f}",
            ]
        )
    columns = ["model", "images", "file", "accuracy %, float / int8", "COVID-19 sensitivity %, float / int8"]
    columns += ["same class % (lost / won)", "logits, dB", "log-odds error, mean, sd"]
    return markdown_table(columns, rows)


def student_speed() -> str:
    return _student_speed(STUDENTS)


def student_speed_vnni() -> str:
    return _student_speed(STUDENT)


def _student_speed(folder: Path) -> str:
    """A student's int8 files beside its teacher's, interleaved, by `cxr-edge bench`."""
    records = [read_record(folder / f"latency-{name}.json") for name in ("litert", "onnx")]
    rows = [row for record in records for row in record.rows]
    return _interleaved(sorted(rows, key=lambda row: (row.runtime, row.threads, row.artifact)))


def cascade_speed() -> str:
    """A cascade beside its full model on X-rays, interleaved, by `cxr-edge bench`."""
    return _interleaved(read_record(STUDENTS / "cascade.json").rows)


def _cascades() -> PooledCascades:
    """A cascade of each fold and its student, by `cxr-edge cascade --json`."""
    return from_json(PooledCascades, _json(STUDENTS / "cascades.json"))


def cascades() -> str:
    """The cascades of all folds against their full models on the test parts, and the verdict on all of them."""
    record = _cascades()
    named = [(f"fold {number}", shown(fit.threshold), fit.test) for number, fit in enumerate(record.fits, 1)]
    named.append(("all", "-", summed([fit.test for fit in record.fits])))
    rows = [[images_of, threshold, str(figures.images), *_shares(figures)] for images_of, threshold, figures in named]
    table = markdown_table(["test part of", "threshold %", "images", *_SHARES], rows)
    (pooled,), difference = record.parity.rows, record.accuracy_less_full
    assert difference is not None
    value, low, high = (100 * (bound or 0.0) for bound in (difference.value, difference.low, difference.high))
    gain = f"{value:+.2f} points ({low:+.2f} to {high:+.2f})"
    same = _with_bounds(pooled.parity.intervals.agreement)
    return (
        f"{table}\nAccuracy less the full int8 models': {gain}. Compared with the Keras models: same class {same}, "
        f"drop in accuracy {_drop(pooled)} points, {pooled.parity.verdict}.\n"
    )


_SHARES = ("to the full model %", "the full model's class %", "accuracy %", "full model's accuracy %")


def _shares(figures: CascadeFigures) -> list[str]:
    counts = (figures.escalated, figures.images - figures.differing, figures.right, figures.full_right)
    return [percent(count / figures.images) for count in counts]


def cascade_fit() -> str:
    """How the threshold of fold 1's cascade was fitted, and what it does."""
    fit = _cascades().fits[0]
    named = [
        ("validation", fit.unshifted_threshold, fit.validation),
        *((f"validation, {shifted.shift}", shifted.threshold, shifted.figures) for shifted in fit.shifts),
        ("test", None, fit.test),
    ]
    rows = [
        [
            f"{images_of} ({figures.images})",
            "-" if threshold is None else f"{100 * threshold:.1f}",
            *_shares(figures),
        ]
        for images_of, threshold, figures in named
    ]
    return markdown_table(["images", "needs a threshold of %", *_SHARES], rows)


def _interleaved(rows: Iterable[Row]) -> str:
    lines = []
    for row in rows:
        ratio = (
            "1" if row.ratio_interval is None else "{:.2f} ({:.2f} to {:.2f})".format(row.ratio, *row.ratio_interval)
        )
        escalated = "-" if row.escalated is None else percent(row.escalated)
        times = [f"{value:.2f}" for value in (row.p50_ms, row.mean_ms, row.p99_ms)]
        size = f"{row.bytes / 1e6:.1f}"
        lines.append([f"`{row.artifact}`", row.runtime, str(row.threads), size, *times, ratio, escalated])
    columns = ["file", "runtime", "threads", "MB", "p50 ms", "mean ms", "p99 ms", "of the full model's time"]
    return markdown_table([*columns, "to the full model %"], lines)


def latency() -> str:
    rows = [
        [
            _name(row.artifact) + (" (fastest)" if row.winner else ""),
            row.runtime,
            *(f"{value:.2f}" for value in (row.p50_ms, row.p90_ms, row.p99_ms)),
            _speed(row),
            "-" if row.startup is None else f"{row.startup.start_ms:.0f}",
            _mebibytes(row),
            "-" if row.throughput is None else f"{row.throughput.images_per_second:.0f}",
        ]
        for row in read_record(SMALL / "bench.json").rows
    ]
    columns = ["artifact", "runtime", "p50 ms", "p90 ms", "p99 ms", "times Keras' speed"]
    return markdown_table([*columns, "start to answer, ms", "peak MiB", "images/s"], rows)


def _mebibytes(row: Row) -> str:
    peak = None if row.startup is None else row.startup.peak_memory_bytes
    return "-" if peak is None else f"{peak / 2**20:.0f}"


def _speed(row: Row) -> str:
    if row.speed_interval is None:
        return f"{row.speed_up:.2f}"
    low, high = row.speed_interval
    return f"{row.speed_up:.2f} ({low:.2f} to {high:.2f})"


def from_files() -> str:
    rows = []
    named = (("128 px, originals", SMALL / "bench.json"), ("299 px, originals", LARGE / "bench-originals.json"))
    for title, path in (*named, ("299 px, database's files", LARGE / "bench-database-files.json")):
        times = read_record(path).from_files
        stages = [f"{stage.p50_ms:.1f}" for stage in times.stages]
        rows.append([title, *stages, f"{times.folder.images_per_second:.1f}", percent(times.folder.share)])
    columns = ["model and files", "decode ms", "resize ms", "inference ms", "whole ms", "a folder, images/s"]
    return markdown_table([*columns, "of inference alone %"], rows)


def peers() -> str:
    record = _json(LARGE / "peers.json")
    names = {"litert": "LiteRT", "onnx": "ONNX Runtime", "openvino": "OpenVINO", "keras": "Keras"}
    rows = []
    for row in record["rows"]:
        runtime = names[row["runtime"].removesuffix("_runtime")]
        shares = [percent(row["accuracy"]), percent(row["agreement"])]
        cells = [row["title"], runtime, f"{row['bytes'] / 1e6:.1f}", *shares]
        for threads in map(str, record["threads"]):
            latency = row["latency"][threads]
            cells += [f"{latency['p50_ms']:.1f}", f"{latency['ratio_to_best_peer']:.2f}"]
        rows.append(cells)
    columns = ["file", "runtime", "MB", "accuracy %", "same class %"]
    for threads in record["threads"]:
        columns += [f"{threads} thread{'s' if threads > 1 else ''}, p50 ms", "of the best peer's"]
    return markdown_table(columns, rows)


def peer_targets() -> str:
    rows = []
    for target in _json(LARGE / "peers.json")["targets"]:
        verdict, interval = "reached" if target["reached"] else "missed", ""
        if target.get("low") is not None:
            interval = f"{target['low']:.3f} to {target['high']:.3f}"
            verdict += ", within the noise" if target["low"] <= target["limit"] < target["high"] else ""
        threads, limit = str(target["threads"] or ""), f"{target['limit']:.2f}"
        rows.append([target["title"], threads, limit, f"{target['ratio']:.3f}", interval, verdict])
    return markdown_table(["ratio", "threads", "target, at most", "measured", "95 % interval", "verdict"], rows)


def _cross_validated() -> CrossValidation:
    return CrossValidation.from_json(_json(RESULTS / "radiography-80px-folds.json"))


def folds() -> str:
    record = _cross_validated()
    metrics = record.metrics
    rows = [[label.label, _with_bounds(label.precision), _with_bounds(label.recall)] for label in metrics.classes]
    by_fold = ", ".join(percent(accuracy) for accuracy in record.fold_accuracy)
    table = markdown_table(["class", "precision", "recall"], rows)
    return (
        f"{table}\nAll {metrics.images} images, each by the model that never saw it: accuracy "
        f"{_with_bounds(metrics.accuracy)}, balanced accuracy "
        f"{_with_bounds(metrics.balanced_accuracy)}; by fold {by_fold} %.\n"
    )


def folds_parity() -> str:
    """int8 over all folds of a cross-validation, by `verify --json`."""
    return _pooled(_folds_parity())


def students_parity() -> str:
    """The same of the folds' students."""
    return _pooled(from_json(PooledParity, _json(STUDENTS / "parity.json")))


def _pooled(record: PooledParity) -> str:
    rows = []
    for artifact in record.rows:
        result = artifact.parity
        shifted = result.condition(ALL_PARTS, ALL_SHIFTS)
        unshifted = result.condition(ALL_PARTS)
        assert shifted is not None and unshifted is not None
        covid = next(label for label in result.classes if label.label == "COVID-19").sensitivity
        rows.append(
            [
                _name(artifact.artifact),
                f"{percent(result.reference_accuracy)} / {percent(result.accuracy)}",
                _drop(artifact),
                f"{percent(covid.reference.value)} / {percent(covid.artifact.value)}",
                _with_bounds(result.intervals.agreement),
                _with_bounds(shifted.agreement),
                f"{unshifted.signal_to_noise_db:.1f}",
                str(result.verdict),
            ]
        )
    columns = [
        "artifact",
        "accuracy %, Keras / artifact",
        "drop, points",
        "COVID-19 sensitivity %, Keras / artifact",
        "same class",
    ]
    return markdown_table([*columns, "same class under shift", "dB, unshifted", "verdict"], rows)


def _folds_parity() -> PooledParity:
    return from_json(PooledParity, _json(RESULTS / "radiography-80px-folds-parity.json"))


def learning_curve() -> str:
    """Of each run, by `benchmarks.learning_curve`: the fewest training images first."""
    rows = []
    for path in sorted((RESULTS / "learning-curve").glob("*.json")):
        for point in _json(path)["points"]:
            trained = [f"{percent(point['share'], 0)} %", str(point["training_images"]), str(point["training_covid"])]
            shares = [_with_bounds(from_json(Interval, point[name])) for name in ("accuracy", "recall")]
            rows.append([point["images_of"], str(point["images"]), *trained, *shares])
    columns = ["images", "number", "share", "trained on", "of COVID-19", "accuracy", "COVID-19 sensitivity"]
    sets = list(dict.fromkeys(row[0] for row in rows))
    return markdown_table(columns, sorted(rows, key=lambda row: sets.index(row[0])))


def _audited() -> Audit:
    return Audit.from_json(_json(RESULTS / "radiography-audit.json"))


def audited_classes() -> str:
    columns = ["class", "images", "unreadable", "size", "mode", "type", "grey mean", "grey std", "border %", "marks %"]
    return markdown_table(columns, class_rows(_audited()))


def shortcuts() -> str:
    columns = ["test", "balanced accuracy %", "95 % interval", "chance %", "verdict"]
    return markdown_table(columns, shortcut_rows(_audited()))


def heatmap() -> str:
    record = _json(RESULTS / "heatmap-160px.json")
    rows = []
    for row in record["latency"]:
        places = [place for place in record["places"] if place["artifact"] == row["artifact"]]
        follows, patients = (sum(place[key] for place in places) for key in ("follows", "patients"))
        density = sum(place["density"] for place in places) / len(places)
        name = row["artifact"].replace("none.", "float32.")
        rows.append([f"`{name}`", f"{row['ratio']:.3f}", f"{follows} of {patients}", f"{density:.2f}"])
    columns = ["artifact", "latency with the map / without", "follows the disease to the other lung"]
    return markdown_table([*columns, "density on the opacities, times chance"], rows)


def arm() -> str:
    rows: dict[str, list[dict[str, Any]]] = {}
    cpus = []
    for machine in _json(RESULTS / "aarch64-71px.json")["arm"]:
        cpus.append(machine["cpu"])
        for row in machine["rows"]:
            rows.setdefault(row["artifact"], []).append(row)
    lines = []
    for name, of_cpus in rows.items():
        largest = [max(row[part]["from_x86"] for row in of_cpus) for part in ("verify", "predict")]
        same = min(row["verify"]["same_top_as_x86"] for row in of_cpus)
        heatmap_difference = max(row["predict"]["heatmap_from_x86"] for row in of_cpus)
        height = of_cpus[0]["predict"]["heatmap_largest"]
        images = of_cpus[0]["verify"]["images"]
        differences = [f"{max(largest):.1g}", f"{same} of {images}", f"{heatmap_difference:.2g} of {height:.1f}"]
        lines.append([f"`{name}`", *differences])
    columns = ["artifact", "largest difference of a probability", "same class", "largest difference of a heat map"]
    return f"{markdown_table(columns, lines)}\nOn {', '.join(cpus)}.\n"


def commands_cost() -> str:
    rows = [
        [f"`{row['command']}`", f"{row['seconds']:.2f}", row["beside"], f"{row['ratio']:.2f}"]
        for row in _json(RESULTS / "start_up.json")["rows"]
    ]
    return markdown_table(["command", "seconds", "beside", "ratio"], rows)


def input_pipeline() -> str:
    record = _json(RESULTS / "input_pipeline_128px.json")
    columns = ["model", "of a step spent waiting for images %"]
    return markdown_table(columns, [["128 px", percent(record["waiting"]["waiting_share"], 2)]])


def training_step() -> str:
    rows = []
    for row in _json(RESULTS / "training_step.json")["rows"]:
        first = [f"{row['first_step_s'][name]:.1f}" for name in ("keras", "ours", "frozen")]
        steps = [f"{row['step_s'][name]:.2f}" for name in ("keras", "ours", "frozen")]
        ratios = [f"{row['ratio'][name]:.2f}" for name in ("ours", "frozen")]
        rows.append([f"{row['image_size']} px", *first, *steps, *ratios])
    columns = [
        *("model", "first step, Keras's own, s", "ours, s", "4 blocks frozen, s"),
        *("each other step, Keras's own, s", "ours, s", "4 blocks frozen, s", "ratio, ours", "ratio, frozen"),
    ]
    return markdown_table(columns, rows)


def web_speed() -> str:
    """Latency of the model and the student in a browser, by `benchmarks.web_speed`."""
    records = [(path, read_record(path)) for path in (RESULTS / "web").glob("*.json")]
    rows = []
    for path, record in sorted(records, key=lambda item: (item[1].image_size, item[0].name)):
        by_threads = sorted(record.rows, key=lambda row: row.threads)
        times = [f"{value:.1f}" for row in by_threads for value in (row.p50_ms, row.p90_ms)]
        model = "student" if path.name.startswith("student-") else "Xception"
        rows.append([f"{record.image_size} px", model, *times])
    columns = ["images", "model", "1 thread, p50 ms", "p90 ms", "2 threads, p50 ms", "p90 ms"]
    return markdown_table(columns, rows)


def web_answers() -> str:
    """The page's answers beside the package's, for the same files and the same model, by `benchmarks.web_answers`."""
    rows = []
    for path in sorted((RESULTS / "web" / "answers").glob("*.json")):
        record = _json(path)
        for row in record["rows"]:
            margin = row["margin_where_top_differs"]
            rows.append(
                [
                    f"`{record['artifact']}`",
                    f"{row['files']} ({row['images']})",
                    str(row["same_decoded"]),
                    str(row["same_resized"]),
                    f"{row['same_top']}{'' if margin is None else f' (others: margin up to {margin:.2f})'}",
                    str(row["same_decision"]),
                    f"{row['largest_difference']:.4f}" if row["largest_difference"] >= 5e-5 else "under 0.0001",
                ]
            )
    columns = ["model", "files", "same pixels decoded", "same model input", "same class", "same decision"]
    return markdown_table([*columns, "largest difference of a probability"], rows)


def browser_decoders() -> str:
    """How far a browser's own decoder is from the page's and the package's pixels, by `benchmarks.web_answers`."""
    record = _json(RESULTS / "web" / "answers" / "int8-128px.json")
    rows = [
        [
            f"{row['files']} ({row['images']})",
            str(row["browser_decoder_same"]),
            str(row["browser_decoder_largest"]),
            f"{row['browser_decoder_mean']:.1f}",
        ]
        for row in record["rows"]
    ]
    columns = [f"files, decoded by {record['browser']}", "same pixels", "largest difference, grey values"]
    return markdown_table([*columns, "mean, of the other files"], rows)


def cuda_nodes() -> str:
    """Which nodes ONNX Runtime's CUDA provider computes, by `benchmarks.cuda_nodes`."""
    rows = []
    for row in _json(RESULTS / "cuda_nodes.json")["rows"]:
        on_cuda, on_cpu = (row["nodes"].get(f"{name}ExecutionProvider", {}) for name in ("CUDA", "CPU"))
        parts = ", ".join(f"{count} {operator}" for operator, count in on_cpu.items()) or "none"
        rows.append([f"`{row['artifact']}`", str(on_cuda["Conv"]), str(sum(on_cuda.values())), parts])
    return markdown_table(["file", "convolutions on CUDA", "nodes on CUDA", "nodes on the CPU"], rows)


def same_integers() -> str:
    rows = [
        [f"`{row['quantization']}`", row["runtime"], percent(row["agreement"]), f"{row['largest_difference']:.3f}"]
        for row in _json(SMALL / "same_integers.json")["rows"]
    ]
    columns = ["artifacts", "ONNX file on", "same class as the TFLite file on LiteRT %", "largest difference"]
    return markdown_table(columns, rows)


@dataclass(frozen=True)
class HeadlineFigures:
    """Formatted figures of the 128 px model; `speed` is Keras' time divided by the fastest artifact's."""

    images: int
    accuracy: str
    float_mb: str
    int8_mb: str
    drop: str
    p50_ms: str
    speed: str


def _int8_over_folds() -> VerifiedArtifact:
    return next(row for row in _folds_parity().rows if row.artifact == "xception-int8.tflite")


def _int8_and_float() -> tuple[VerifiedArtifact, VerifiedArtifact]:
    artifacts = {artifact.artifact: artifact for artifact in _verified(SMALL / "verify.json")}
    return artifacts["xception-int8.tflite"], artifacts["xception-none.tflite"]


def headline_figures() -> HeadlineFigures:
    """The figures in the picture of the pipeline."""
    int8, floating = _int8_and_float()
    fastest = read_record(SMALL / "bench.json").winner
    return HeadlineFigures(
        images=_audited().images,
        accuracy=percent(_trained().metrics.accuracy.value),
        float_mb=f"{floating.bytes / 1e6:.1f}",
        int8_mb=f"{int8.bytes / 1e6:.1f}",
        drop=_drop(_int8_over_folds()).partition(" ")[0],
        p50_ms=f"{fastest.p50_ms:.1f}",
        speed=f"{fastest.speed_up:.1f}",
    )


def headline() -> str:
    """The figures that the README shows."""
    int8, floating = _int8_and_float()
    targets = {(target["title"], target["threads"]): target for target in _json(LARGE / "peers.json")["targets"]}
    nncf = targets["our fastest int8 / NNCF", 1]
    static = targets["our int8 ONNX / quantize_static", 1]
    fastest = read_record(SMALL / "bench.json").winner
    folds = _cross_validated().metrics
    covid = next(label for label in folds.classes if label.label == "COVID-19")
    pooled = _int8_over_folds()
    agreement, tested = pooled.parity.intervals.agreement, f"{pooled.parity.images} images"
    rows = [
        [f"accuracy over five folds, {folds.images} images, 80 px", _with_bounds(folds.accuracy), _FOLDS],
        [f"sensitivity to COVID-19 over five folds, {covid.support} images, 80 px", _with_bounds(covid.recall), _FOLDS],
        _first_fold_at_160_px(),
        ["accuracy on one test part, 128 px", _with_bounds(_trained().metrics.accuracy), _TRAINED],
        [f"int8 TFLite: drop in accuracy over the folds, points, {tested}", _drop(pooled), _VERIFY_FOLDS],
        [f"int8 TFLite: Keras's class over the folds, {tested}", _with_bounds(agreement), _VERIFY_FOLDS],
        ["int8 TFLite: 600 new images with the float model's class, per model", _on_new_images(), _INT8_SHIFT],
        ["int8 TFLite: size", f"{int8.bytes / 1e6:.1f} MB of {floating.bytes / 1e6:.1f}", "`cxr-edge export`"],
        ["int8 TFLite: one image, 2 threads", _faster(fastest), "`cxr-edge bench`"],
        [
            "student, a quarter of the arithmetic: accuracy less its teacher's over the folds, points",
            *_student_gain(),
        ],
        ["student, int8 TFLite, 80 px, 1 thread: latency / its teacher's", *_student_latency()],
        [f"cascade of both, int8: the full model's class over the folds, {tested}", _cascade_agreement(), _CASCADE],
        ["299 px, 1 thread: our fastest int8 / NNCF's", _ratio(nncf), "`python -m benchmarks.peers`"],
        ["299 px, 1 thread: our int8 ONNX / `quantize_static`'s", _ratio(static), "`python -m benchmarks.peers`"],
    ]
    return markdown_table(["figure", "measured, with 95 % interval", "by"], rows)


_FOLDS = "`cxr-edge train --image-size 80 --folds 5`"


def _first_fold_at_160_px() -> list[str]:
    (path,) = (RESULTS / "image-size").glob("*.json")
    row = next(row for row in _json(path)["rows"] if (row["run"], row["images_of"]) == ("160px", "test part"))
    accuracy = _with_bounds(from_json(Interval, row["accuracy"]))
    command = "`cxr-edge train --folds 5 --fold 1`"
    return [f"accuracy on the first fold alone, {row['images']} images, 160 px, the default", accuracy, command]


_CASCADE = "`cxr-edge cascade --small STUDENTS --full FOLDS`"
_TRAINED = "[`cxr-edge train`](docs/results.md#accuracy-128-px)"
_VERIFY_FOLDS = "`cxr-edge verify --run FOLDS`"
_INT8_SHIFT = "`python -m benchmarks.int8_shift`"


def _on_new_images() -> str:
    """Agreement with the float model on the database's later release, which was not used in training."""
    shares = []
    for path in sorted((RESULTS / "int8-shift").glob("*.json")):
        for row in _json(path)["rows"]:
            if row["images_of"] == "second_release" and row["file"] == "ours: int8 tflite":
                interval = wilson_interval(round(row["agreement"] * row["images"]), row["images"])
                shares.append(_with_bounds(interval))
    return ", ".join(shares)


def _student_gain() -> tuple[str, str]:
    (path,) = (STUDENTS / "generalization").glob("*.json")
    of_test = [row for row in _json(path)["rows"] if row["images_of"] == "test part"]
    value, low, high = (100 * of_test[-1]["difference"][bound] for bound in ("value", "low", "high"))
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})", "`python -m benchmarks.generalization`"


def _cascade_agreement() -> str:
    figures = summed([fit.test for fit in _cascades().fits])
    return _with_bounds(wilson_interval(figures.images - figures.differing, figures.images))


def _student_latency() -> tuple[str, str]:
    rows = read_record(STUDENTS / "latency-litert.json").rows
    student = next(row for row in rows if row.ratio_interval is not None and row.threads == 1)
    low, high = student.ratio_interval or (0.0, 0.0)
    return f"{student.ratio:.2f} ({low:.2f} to {high:.2f})", "`cxr-edge bench`"


def _faster(row: Row) -> str:
    low, high = row.speed_interval or (0.0, 0.0)
    return f"{row.p50_ms:.1f} ms, {row.speed_up:.2f} times as fast as Keras ({low:.2f} to {high:.2f})"


def _ratio(target: dict[str, Any]) -> str:
    return f"{target['ratio']:.2f} of the time ({target['low']:.2f} to {target['high']:.2f})"


TABLES: dict[str, Callable[[], str]] = {
    "accuracy": accuracy,
    "arm": arm,
    "audited-classes": audited_classes,
    "browser-decoders": browser_decoders,
    "cascade-fit": cascade_fit,
    "cascade-speed": cascade_speed,
    "cascades": cascades,
    "commands-cost": commands_cost,
    "cuda-nodes": cuda_nodes,
    "folds": folds,
    "folds-parity": folds_parity,
    "from-files": from_files,
    "headline": headline,
    "heatmap": heatmap,
    "frozen-blocks": frozen_blocks,
    "frozen-norms": frozen_norms,
    "generalization": generalization,
    "image-sizes": image_sizes,
    "input-pipeline": input_pipeline,
    "learning-curve": learning_curve,
    "latency": latency,
    "parity": parity,
    "peer-targets": peer_targets,
    "peers": peers,
    "peers-shifted": peers_shifted,
    "same-integers": same_integers,
    "shifted": shifted,
    "shortcuts": shortcuts,
    "student-speed": student_speed,
    "student-speed-vnni": student_speed_vnni,
    "students": students,
    "students-parity": students_parity,
    "training-step": training_step,
    "web-answers": web_answers,
    "web-speed": web_speed,
}
