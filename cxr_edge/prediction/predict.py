"""Classify files and folders, yielding answers as they come: what `cxr-edge predict` computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cxr_edge.choices import OnBadImage, choice_of
from cxr_edge.errors import DataError, ImageError, OptionError, unusable
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.prediction.prediction import Prediction, SkippedImage


def image_paths(images: Sequence[Path]) -> list[Path]:
    """The given files, and the image files of given folders and their subfolders, sorted.

    Raises:
        DataError: a folder cannot be read, or has no images.
    """
    paths: list[Path] = []
    for image in images:
        if not image.is_dir():
            paths.append(image)
            continue
        # Not imported for the shortest command, with a single file.
        from cxr_edge.data.layouts import image_files

        inside = image_files(image)
        if not inside:
            raise DataError(f"{image}: no images in this folder")
        paths += inside
    return paths


def require_result_file(option: str, target: Path, paths: Sequence[Path]) -> None:
    """Refuse to write a result over an image.

    For `--csv *.png`, the shell makes the first image the option's value, and `paths` lacks it: so its name and its
    content count too.

    Args:
        option: that names `target`.
        paths: from `image_paths`.

    Raises:
        OptionError: `target` is an image, or named as one.
    """
    from cxr_edge.data.layouts import IMAGE_SUFFIXES
    from cxr_edge.imaging.dicom_files import is_dicom

    is_input = target.is_file() and any(path.exists() and path.samefile(target) for path in paths)
    if is_input or target.suffix.lower() in IMAGE_SUFFIXES or is_dicom(target):
        raise OptionError(f"{option} {target}: would overwrite an image, or has an image's name; name another file")


def predict_files(
    classifier: Classifier, paths: Sequence[Path], heatmap: Path | None = None, on_bad_image: str = "skip"
) -> Iterator[Prediction | SkippedImage]:
    """Classify files, one answer at a time.

    Args:
        classifier: the classifier to use.
        paths: from `image_paths`.
        heatmap: where to draw the evidence for the top class: a file, or for several images a folder.
        on_bad_image: `skip`, which yields a `SkippedImage` for an unreadable file, or `fail`.

    Raises:
        ImageError: a file cannot be read, with `fail`; or, at the end, no file could be read.
        OptionError: before the first answer, if an option's value is unknown, or heat maps cannot be written there.
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
            class_map, probability = answer.heatmap[..., top], answer.probabilities[top]
            # Drawing code is imported only when something is drawn.
            from cxr_edge.prediction.overlay import write_overlay

            write_overlay(path, class_map, answer.label, probability, classifier.artifact, overlay)
            answer = replace(answer, overlay=str(overlay))
        if len(reasons) < len(paths):
            yield answer
    if len(reasons) == len(paths):
        raise ImageError(reasons[0]) if len(reasons) == 1 else unusable(reasons, len(paths))


def overlay_paths(images: Sequence[Path], target: Path) -> list[Path]:
    """The file of each image's overlay. Raises OptionError if two would collide, or one with an image, or none can be
    written.
    """
    overlays = _overlays(images, target)
    originals = {path.resolve() for path in images}
    for path in overlays:
        if path.resolve() in originals:
            raise OptionError(f"--heatmap {target}: would overwrite the image {path}; name another file or folder")
    return overlays


def _overlays(images: Sequence[Path], target: Path) -> list[Path]:
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
