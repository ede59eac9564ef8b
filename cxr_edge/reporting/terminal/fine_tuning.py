"""The outcome of int8's fine-tuning, in a sentence: without one, int8 is int8-ptq under another name."""

from __future__ import annotations

from collections.abc import Iterable

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.metadata import ArtifactMetadata


def fine_tuning_sentence(metadata: ArtifactMetadata) -> str | None:
    """None without a record of it: for float and int8-ptq, and for artifacts from before November 2026."""
    tuned = (metadata.calibration or {}).get("fine_tuning")
    if not tuned or "kept_step" not in tuned:
        return None
    steps, kept = tuned["steps"], tuned["kept_step"]
    if steps == 0:
        closeness = f"at least {tuned['calibrated_signal_to_noise_db']:.1f} dB"
        return (
            f"calibration alone is close to the float model ({closeness} on validation images, as they are and under "
            f"shift), so it was not fine-tuned and equals {metadata.quantization}-ptq"
        )
    if kept == 0:
        return (
            f"none of {steps} fine-tuning steps brought it closer to the float model on validation images, so it "
            f"equals {metadata.quantization}-ptq"
        )
    return f"fine-tuned; step {kept} of {steps} kept, the closest to the float model on validation images"


def fine_tuning_lines(artifacts: Iterable[Artifact]) -> list[str]:
    """A line for each quantization with such a record."""
    sentences = {artifact.quantization: fine_tuning_sentence(artifact.metadata) for artifact in artifacts}
    return [f"{quantization}: {sentence}" for quantization, sentence in sentences.items() if sentence is not None]
