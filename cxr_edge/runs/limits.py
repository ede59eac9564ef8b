"""The limitations of a run's data set, as text."""

from __future__ import annotations

from cxr_edge.runs.config import RunConfig


def limits(config: RunConfig) -> list[str]:
    """Known limitations of the data set."""
    if config.phantoms:
        return ["Phantoms are drawn by rules: results on them say nothing about patients."]
    total = sum(config.images.values())
    known = []
    if config.images_with_patient < total:
        known.append(
            f"The patient is known for {config.images_with_patient} of {total} images. Other images of one patient may "
            "be on both sides of the split, which makes every figure here too optimistic."
        )
    if source := config.options.hold_out_source:
        text = f"All test images come from one source, {source}, that no training image is known to come from."
        if config.without_source:
            text += f" The source of {config.without_source} training and validation images is unknown."
        known.append(text)
    else:
        known.append(
            "Test images come from the same collection as training images. Other hospitals and devices were not tested."
        )
    if leaks := config.leaks:
        known.append(
            f"{len(leaks)} patients, or images with copies, are in several parts of the split (see run.json): figures "
            "on the test part are too optimistic."
        )
    if skipped := config.skipped:
        known.append(
            f"{len(skipped)} of {total + len(skipped)} images could not be decoded and are in no part of the split; "
            "run.json lists them."
        )
    if {"COVID-19", "Viral Pneumonia"} <= set(config.images):
        known.append(
            "In the COVID-19 Radiography Database, Viral Pneumonia comes from one paediatric site, the other classes "
            "from adults: a model can score by age or site. If this is that data, every accuracy is too optimistic."
        )
    return known
