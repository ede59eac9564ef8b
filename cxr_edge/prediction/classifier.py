"""The public way to use an artifact: images in, answers out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import bundle_in, checked, read_checked_artifact
from cxr_edge.artifacts.cascade import Cascade
from cxr_edge.artifacts.contract import Contract
from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.errors import ImageError, OptionError
from cxr_edge.evaluation.operating import REFER, OperatingPoint, operating_point_of
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.imaging.prefetch import read_ahead
from cxr_edge.prediction.fastest import fastest
from cxr_edge.prediction.guard import answer_to
from cxr_edge.prediction.images import ImageSource, ReadImage, each_image, name_of, read_image
from cxr_edge.prediction.prediction import Answering, Prediction, SkippedImage
from cxr_edge.processors import usable_cores
from cxr_edge.runtimes.base import Runtime, require_possible_threads, runtime_named
from cxr_edge.runtimes.loaded import load_artifact
from cxr_edge.runtimes.selection import best_artifacts, warnings_about_answers

if TYPE_CHECKING:
    from cxr_edge.evaluation.replay import ReplayResult

#: The runtime name that selects the fastest runtime whose outputs match those recorded at export.
AUTO = "auto"


class Classifier:
    """An artifact, loaded once; the two models of a cascade count as one.

    `artifact` is the file, or the cascade, and `runtime` runs it; `selection_note` says how they were selected, None if
    there was no choice. Create one with `open`.
    """

    def __init__(self, artifact: Artifact, runtime: Runtime, threads: int, selection_note: str | None = None) -> None:
        self.artifact, self.runtime, self.selection_note = artifact, runtime, selection_note
        self._session = load_artifact(artifact, runtime, threads)
        self._warnings = tuple(str(warning) for warning in warnings_about_answers(artifact))

    @classmethod
    def open(cls, bundle_or_file: str | PathLike[str], runtime: str = AUTO, threads: int | None = None) -> Classifier:
        """Load an artifact.

        Args:
            bundle_or_file: a .tflite or .onnx file, or a bundle, whose best artifact is used; in a folder that
                `cxr-edge install` manages, the active bundle.
            runtime: its name, such as `litert` or `onnx:cuda`; `auto` for the fastest here that computes what was
                validated, which is measured once and remembered.
            threads: per inference; None for all usable cores.

        Raises:
            ArtifactError: the file is missing or damaged, or nothing in the bundle can be read here.
            GateError: no runtime here computes what was recorded at export.
            MissingDependencyError, OptionError, ProviderError: the runtime is not installed, unknown, or unavailable.
        """
        path, count = bundle_in(Path(bundle_or_file)), usable_cores() if threads is None else threads
        require_possible_threads(count)
        selected_runtime = None if runtime == AUTO else runtime_named(runtime)
        is_file = not path.is_dir() and path.suffix.lower().lstrip(".") in set(ArtifactFormat)
        artifacts = [read_checked_artifact(path)] if is_file else best_artifacts(path, selected_runtime)
        if selected_runtime is None:
            artifact, selected_runtime, selection_note = fastest(artifacts, count)
        else:
            artifact, selection_note = artifacts[0], None
        if artifact.format not in selected_runtime.formats:
            raise OptionError(f"{selected_runtime.title} does not read .{artifact.format} files ({artifact.name})")
        return cls(artifact if is_file else checked(artifact), selected_runtime, count, selection_note)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.artifact.labels

    @property
    def contract(self) -> Contract:
        """Names, types and shapes of the inputs and outputs; those of a cascade's full model."""
        return self.artifact.metadata.contract

    @property
    def operating_point(self) -> OperatingPoint | None:
        """The decision rule; None if the artifact has none."""
        return operating_point_of(self.artifact.metadata.operating_point)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about every answer, one line each: the model was trained on phantoms, or failed its gate."""
        return self._warnings

    @property
    def answering(self) -> Answering:
        """The artifact and its runtime, for the record of its answers."""
        return Answering(
            artifact=self.artifact.name,
            sha256=self.artifact.sha256,
            runtime=self.runtime.title,
            ran_on=self._session.ran_on,
            selection_note=self.selection_note,
            labels=self.labels,
            operating_point=self.operating_point,
            trained_on=self.artifact.metadata.training.data,
            teacher_sha256=self.artifact.metadata.training.teacher_sha256,
            warnings=self.warnings,
            small_from=self.artifact.threshold if isinstance(self.artifact, Cascade) else None,
        )

    def predict(self, images: ImageSource | Sequence[ImageSource], heatmap: bool = False) -> list[Prediction]:
        """Classify images.

        Args:
            images: one or several; files, or arrays of grey values, uint8 `[H, W]`, of any size.
            heatmap: whether to add the evidence for each class at each position.

        Raises:
            ImageError: an image cannot be read, or cannot be a chest X-ray. `stream` skips it.
            ArtifactError: the artifact fails, or its answers are not probabilities.
            OptionError: the artifact has no heat map.
        """
        predictions = []
        for answer in self.stream(images, heatmap):
            if isinstance(answer, SkippedImage):
                raise ImageError(answer.reason)
            predictions.append(answer)
        return predictions

    def stream(
        self, images: ImageSource | Sequence[ImageSource], heatmap: bool = False
    ) -> Iterator[Prediction | SkippedImage]:
        """Like `predict`, one answer at a time, while the next images are read. A bad image is a `SkippedImage`."""
        if heatmap and not self.artifact.has_heatmap:
            raise OptionError(f"{self.artifact.path}: has no heat map; export it again, without --no-heatmap")
        return self._answers(each_image(images), heatmap)

    def score(self, pixels: NDArray[np.uint8], on_image: Callable[[], None] | None = None) -> NDArray[np.float32]:
        """Probabilities float32 `[N, K]` of images already at the artifact's size, uint8 `[N, S, S, 1]`.

        For a cascade, each image is at both sizes: see `cxr_edge.runtimes.loaded.joined`.
        """
        return score_images(self._session, pixels, on_image, self.artifact.path)

    def verify(self) -> ReplayResult:
        """Run the reference inputs, and compare the outputs with those recorded at export; see `evaluation.replay`.

        Raises:
            ArtifactError: the artifact has no reference outputs, or its inputs are unavailable.
        """
        # Imported here, because it needs the phantoms' code, and prediction does not.
        from cxr_edge.evaluation.replay import replay_artifact

        return replay_artifact(self.artifact, self.score, self.runtime.title)

    def _answers(self, images: list[ImageSource], heatmap: bool) -> Iterator[Prediction | SkippedImage]:
        def read(image: ImageSource) -> ReadImage | SkippedImage:
            try:
                return read_image(self.artifact, image)
            except ImageError as error:
                return SkippedImage(name_of(image) or "an array", str(error))

        for image in read_ahead(read, images, usable_cores()):
            yield image if isinstance(image, SkippedImage) else self._answer(image, heatmap)

    def _answer(self, image: ReadImage, heatmap: bool) -> Prediction:
        probabilities, maps, file = answer_to(self._session, self.artifact, image, heatmap)
        decision, point = None, self.operating_point
        if point is not None:
            (called,), (referred,) = point.decide(probabilities, self.labels)
            decision = REFER if referred else self.labels[called]
        return Prediction(
            file=image.file,
            label=self.labels[int(probabilities[0].argmax())],
            decision=decision,
            probabilities=tuple(probabilities[0].tolist()),
            warnings=(*self.warnings, *image.warnings),
            dicom=image.dicom,
            heatmap=None if maps is None else maps[0],
            answered_by=self.artifact.member_named(file) if isinstance(self.artifact, Cascade) else None,
        )
