"""`cxr-edge export`: artifacts of a run, verified against its Keras model, in its bundle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge import __version__
from cxr_edge.artifacts.bundle import MANIFEST, NOTICE, Artifact, contract, read_artifact, read_manifest, write_manifest
from cxr_edge.console import progress_bar, quiet, working
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.errors import ArtifactError, GateError, OptionError
from cxr_edge.evaluation.operating import USUAL_LABEL, fit_operating_point, operating_figures
from cxr_edge.evaluation.replay import reference_images, write_reference_images
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.evaluation.temperature import fit_temperature, tempered
from cxr_edge.exporting.metadata import with_metadata
from cxr_edge.exporting.recipe import Recipe, check_recipe, described
from cxr_edge.files import replacing, sha256_of
from cxr_edge.imaging.rule import rule_of
from cxr_edge.inspection.operators import computation_of
from cxr_edge.machine import package_versions, usable_cores
from cxr_edge.quantization.build import on_grid
from cxr_edge.quantization.finetune import FineTuneOptions
from cxr_edge.quantization.graph import Graph, fold, with_heatmap, with_temperature
from cxr_edge.quantization.quantized_run import QuantizedRun, Variant
from cxr_edge.reporting.terminal.tables import show
from cxr_edge.runs import Run
from cxr_edge.runtimes.base import Runtime, Session, runtimes_for
from cxr_edge.statistics.parity import parity
from cxr_edge.training.train import compiled, load_classifier, predict_probabilities

#: Stem of every artifact's file name.
NAME = "xception"


@dataclass(frozen=True)
class ExportOptions:
    """What to write and how the int8 fine-tuning is done."""

    recipe: Recipe
    fine_tuning: FineTuneOptions
    #: Class not to be missed, None for `USUAL_LABEL` where there is one, and the share of it to be called.
    sensitive_class: str | None = None
    sensitivity: float = 0.95

    def check(self) -> None:
        """Raises OptionError for an unknown name, or a number out of range."""
        check_recipe(self.recipe)
        if not 0 < self.sensitivity <= 1:
            raise OptionError(f"--sensitivity {self.sensitivity}: a share above 0 and up to 1 is needed")
        if self.fine_tuning.epochs < 1 or not 0 < self.fine_tuning.learning_rate < 1:
            raise OptionError("--qat-epochs takes 1 and more, --qat-learning-rate a number above 0 and below 1")


class Exporter:
    """Makes a run's artifacts; what several of them need is made once."""

    def __init__(self, run: Run, options: ExportOptions) -> None:
        self.run, self.recipe = run, options.recipe
        self.bundle = run.bundle_of(self.recipe.name)
        self.config = run.config()
        self.image_size = int(self.config["options"]["image_size"])
        self.split = run_split(run)
        self.model = load_classifier(run)
        self.graph = fold(self.model)
        variant = Variant(self.recipe.keep_float, self.recipe.dense_weights == "per-tensor", self.recipe.symmetric)
        self.quantized = QuantizedRun(run, self.graph, variant, options.fine_tuning)
        self.batch = 1 if self.recipe.batch == "one" else None
        self.sensitive_class, self.sensitivity = options.sensitive_class, options.sensitivity
        self._float: bytes | None = None
        self._int8: dict[str, bytes] = {}

    @cached_property
    def temperature(self) -> float:
        """What the Keras model's logits are divided by in every artifact, fitted on the validation split."""
        return fit_temperature(self._validation, self.split.targets("validation"))

    @cached_property
    def _validation(self) -> NDArray[np.float32]:
        return predict_probabilities(
            compiled(self.model), np.asarray(decoded(self.split, "validation", self.image_size))
        )

    def operating_point(self) -> dict[str, Any] | None:
        """From the validation split, with what it does there, JSON-ready; None where the class is not among the labels.

        Raises:
            OptionError: a class that was asked for is not.
        """
        labels, targets = self.split.labels, self.split.targets("validation")
        label = self.sensitive_class or USUAL_LABEL
        if label not in labels:
            if self.sensitive_class is None:
                return None
            raise OptionError(f"--sensitive-class {label}: choose one of {', '.join(labels)}")
        probabilities = tempered(self._validation, self.temperature)
        point = fit_operating_point(probabilities, targets, labels, label, self.sensitivity)
        return {**operating_figures(point, probabilities, targets, labels), "wanted_sensitivity": self.sensitivity}

    def float32_tflite(self) -> bytes:
        from cxr_edge.exporting.tflite import float_tflite

        if self._float is None:
            with _step("converting none to TFLite"):
                self._float = float_tflite(self.scaled_graph(), self.batch)
        return self._float

    def scaled_graph(self) -> Graph:
        """The float graph with the temperature in it, and the heat map if it is wanted."""
        return self._with_heatmap(with_temperature(self.graph, self.temperature)[0])

    def _with_heatmap(self, graph: Graph) -> Graph:
        return with_heatmap(graph) if self.recipe.heatmap else graph

    def int8_tflite(self, quantization: str) -> bytes:
        from cxr_edge.exporting.tflite import int8_tflite

        if quantization not in self._int8:
            temperature, ranges = self.temperature, self.quantized.ranges()
            graph, logits = with_temperature(self.quantized.graph(quantization == "int8"), temperature)
            # Kernel, bias and range shrink alike: the integers are those that were fine-tuned.
            low, high = ranges[logits]
            ranges = {**ranges, logits: (low / temperature, high / temperature)}
            with _step(f"converting {quantization} to TFLite"):
                whole = self._with_heatmap(on_grid(graph))
                integer_output = self.recipe.output_type == "int8"
                self._int8[quantization] = int8_tflite(whole, ranges, self.batch, integer_output)
        return self._int8[quantization]

    def model_bytes(self, kind: str, quantization: str) -> bytes:
        """The content of an artifact, without its metadata."""
        from cxr_edge.exporting.lowering import lower_to_onnx
        from cxr_edge.exporting.onnx_float import float_onnx
        from cxr_edge.exporting.tflite import float_tflite

        int8, half = quantization.startswith("int8"), quantization == "fp16"
        if kind == "tflite":
            if int8:
                return self.int8_tflite(quantization)
            if not half:
                return self.float32_tflite()
            with _step("converting fp16 to TFLite"):
                return float_tflite(self.scaled_graph(), self.batch, half=True)
        tflite = self.int8_tflite(quantization) if int8 else self.float32_tflite()
        with _step(f"converting {quantization} to ONNX"):
            opset, flavour = self.recipe.opset, self.recipe.integer_flavour
            if int8:
                model = lower_to_onnx(tflite, flavour, opset, self.batch)
            else:
                model = float_onnx(tflite, half, opset, self.batch)
            return bytes(model.SerializeToString())

    def shared_metadata(self) -> dict[str, Any]:
        """What the metadata of all artifacts of this run have in common. No date: equal exports are equal bytes."""
        config = self.config
        labels = list(self.split.labels)
        return {
            "notice": NOTICE,
            "cxr_edge": __version__,
            **({"recipe": described(self.recipe)} if self.recipe.name else {}),
            "labels": labels,
            "contract": contract(
                self.image_size, len(labels), self.recipe.output_type, self.batch, heatmap=self.recipe.heatmap
            ),
            "imaging": rule_of(self.split.resize),
            "temperature": self.temperature,
            "operating_point": self.operating_point(),
            "training": {
                "data": "phantoms" if config["options"]["data"] is None else "images",
                "images": config["images"],
                "data_sha256": config["data_sha256"],
                "model_sha256": self.quantized.model_hash,
                "started": config["started"],
            },
        }

    def export(self) -> list[Artifact]:
        """Write and verify every wanted artifact.

        Returns:
            The artifacts written now; a failed gate is in their `parity`, and raises nothing here.

        Raises:
            MissingDependencyError: no runtime to verify a format with.
        """
        runtimes = {kind: runtimes_for(kind)[0] for kind in self.recipe.formats}
        images = np.asarray(decoded(self.split, "test", self.image_size))
        targets = self.split.targets("test")
        temperature = self.temperature
        reference = tempered(predict_probabilities(compiled(self.model), images), temperature)
        inputs = reference_images(self.image_size)
        keras_outputs = tempered(predict_probabilities(compiled(self.model), inputs), temperature).tolist()
        shared = {**self.shared_metadata(), "reference_sha256": write_reference_images(self.bundle, inputs)}
        written = []
        for quantization in self.recipe.quantize:
            for kind in self.recipe.formats:
                content = self.model_bytes(kind, quantization)
                label = self.recipe.label(quantization)
                path = self.bundle / f"{NAME}-{label}.{kind}"
                with replacing(path) as temporary:
                    temporary.write_bytes(content)
                    if label.startswith("int8"):
                        _require_integers(temporary, kind, path.name)
                    session = self._session(runtimes[kind], temporary)
                    with progress_bar(f"verifying {path.name}", len(images)) as bar:
                        found = score_images(session, images, bar.tick)
                    outputs = score_images(session, inputs).tolist()
                    del session
                    verdict = {
                        "runtime": runtimes[kind].title,
                        "part": "test",
                        **parity(reference, found, targets, self.split.labels, self.recipe.parity, temperature),
                    }
                    own = {
                        "format": kind,
                        "quantization": label,
                        "calibration": self.quantized.described(quantization),
                        "packages": package_versions(),
                        "parity": verdict,
                        "reference_outputs": {
                            "runtime": runtimes[kind].title,
                            "probabilities": outputs,
                            "keras": keras_outputs,
                        },
                    }
                    temporary.write_bytes(with_metadata(kind, content, {**shared, **own}))
                artifact = read_artifact(path)
                written.append(artifact)
                self._list(artifact, shared)
        return written

    def _session(self, runtime: Runtime, path: Path) -> Session:
        if runtime.name == "onnx_runtime" and self.recipe.integer_flavour.startswith("int8"):
            from cxr_edge.runtimes.onnx_runtime import ONNXRuntimeSession

            return ONNXRuntimeSession(path, usable_cores(), as_on_arm=True)
        return runtime.load(path, usable_cores())

    def _list(self, artifact: Artifact, shared: dict[str, Any]) -> None:
        """Add an artifact to the manifest; those of another model, version or recipe leave it, and the bundle."""
        folder = self.bundle
        others: list[Artifact] = []
        if (folder / MANIFEST).is_file():
            try:
                manifest = read_manifest(folder)
                current = manifest["shared"] == shared
                hashes = {entry["file"]: entry["sha256"] for entry in manifest["artifacts"]}
                names = [name for name in hashes if name != artifact.name]
                if current:
                    for name in names:
                        path = folder / name
                        if path.is_file() and sha256_of(path) == hashes[name]:
                            others.append(read_artifact(path))
                        else:
                            show(f"{path}: missing or changed since its export; no longer listed, export it again")
                else:
                    show(f"{folder}: {', '.join(names)} descended from another model, version or recipe; removed")
                    for name in names:
                        (folder / Path(name).name).unlink(missing_ok=True)
            except ArtifactError:
                # A damaged manifest is replaced; what it listed can be exported again.
                others = []
        write_manifest(folder, shared, [*others, artifact])


def _require_integers(path: Path, kind: str, name: str) -> None:
    """Raises GateError for a file that would be int8 in name only."""
    counts = computation_of(path, kind)
    if counts.verdict("int8") != "int8":
        raise GateError(
            f"{name}: only {100 * counts.integer_share:.1f} % of its multiply-accumulates would be in integers; "
            f"in float: {', '.join(counts.float_operators[:5])}"
        )


@contextmanager
def _step(title: str) -> Iterator[None]:
    """Say that a conversion runs, and how long it took; the converters' own chatter is held back."""
    with working(title), quiet():
        yield
