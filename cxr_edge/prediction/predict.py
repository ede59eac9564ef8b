"""Files and folders in, answers out as they come: what `cxr-edge predict` computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cxr_edge.choices import OnBadImage, choice_of
from cxr_edge.errors import DataError, ImageError, OptionError, unusable
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.prediction.prediction import Prediction, SkippedImage


def image_paths(images: Sequence[Path]) -> list[Path]:
    """Files as they are named, and the image files of folders and of those inside them, sorted.

    Raises:
        DataError: a folder that cannot be read, or has no images.
    """
    paths: list[Path] = []
    for image in images:
        if not image.is_dir():
            paths.append(image)
            continue
        # Not for the shortest command there is, of one file.
        from cxr_edge.data.layouts import image_files

        inside = image_files(image)
        if not inside:
            raise DataError(f"{image}: no images in this folder")
        paths += inside
    return paths


def predict_files(
    classifier: Classifier, paths: Sequence[Path], heatmap: Path | None = None, on_bad_image: str = "skip"
) -> Iterator[Prediction | SkippedImage]:
    """Classify files, one answer at a time.

    Args:
        classifier: with what.
        paths: of `image_paths`.
        heatmap: where to draw what speaks for the top class: a file, or for several images a folder.
        on_bad_image: `skip`, which says so of a file that cannot be read, or `fail`.

    Raises:
        ImageError: a file cannot be read, with `fail`; or, the last of all, none can.
        OptionError: an option's value is not known, or the heat maps cannot be drawn there; before the first answer.
    """
    skip = choice_of(OnBadImage, on_bad_image, "--on-bad-image") is OnBadImage.SKIP
    overlays = [None] * len(paths) if heatmap is None else overlay_paths(paths, heatmap)
    answers = classifier.stream(list(paths), heatmap is not None)
    return _drawn(classifier, answers, paths, overlays, not skip)


def _drawn(
    classifier: Classifier,
    answers: Iterator[Prediction | SkippedImage],
    paths: Sequence[Path],
    overlays: Sequence[Path | None],
    fail: bool,
) -> Iterator[Prediction | SkippedImage]:
    reasons = []
    for answer, path, overlay in zip(answers, paths, overlays, strict=True):
        if isinstance(answer, SkippedImage):
            if fail:
                raise ImageError(answer.reason)
            reasons.append(answer.reason)
        elif overlay is not None and answer.heatmap is not None:
            top = classifier.labels.index(answer.label)
            own, probability = answer.heatmap[..., top], answer.probabilities[top]
            # What draws is imported where something is drawn.
            from cxr_edge.prediction.overlay import write_overlay

            write_overlay(path, own, answer.label, probability, classifier.artifact, overlay)
            answer = replace(answer, overlay=str(overlay))
        if len(reasons) < len(paths):
            yield answer
    if len(reasons) == len(paths):
        raise ImageError(reasons[0]) if len(reasons) == 1 else unusable(reasons, len(paths))


def overlay_paths(images: Sequence[Path], target: Path) -> list[Path]:
    """The file of each image's overlay. Raises OptionError where two would be one, or none can be."""
    if len(images) == 1 and not target.is_dir():
        if target.suffix.lower() != ".png":
            raise OptionError(f"--heatmap {target}: the name must end in .png, or be that of a folder")
        return [target]
    if not target.is_dir():
        raise OptionError(f"--heatmap {target}: for {len(images)} images, name a folder that exists")
    overlays = [target / f"{path.stem}-heatmap.png" for path in images]
    seen: set[Path] = set()
    for path in overlays:
        if path in seen:
            raise OptionError(f"--heatmap {target}: several images would be drawn to {path.name}; draw them one by one")
        seen.add(path)
    return overlays
