"""How far apart the logits of two classifiers are, even where their top classes agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact

#: The smallest probability distinguished from 0. Logits are recovered from a softmax as logarithms, whose differences
#: are exact as long as nothing underflowed: float32 reaches 1e-38, a gap of 87 between two logits. Here gaps of up to
#: 69 count, more than any classifier has shown. The usual 1e-7 would stop at 16, where the confident images are: their
#: errors would vanish and the ratio would look better than it is (int8 at 128 px on the test part: 18.6 dB instead of
#: 17.1).
FLOOR = 1e-30
#: The same for int8 probabilities, whose step is 1/256: half a step, a gap of 6. There is nothing to compare below it.
INT8_FLOOR = 1 / 512
#: The precision of float32, 24 bits: reported for two equal classifiers instead of infinity.
EXACT_DB = 144.0


def floor_of(artifact: Artifact) -> float:
    """The smallest probability of an artifact that is distinguished from 0."""
    return INT8_FLOOR if artifact.metadata.contract.probabilities.type == "int8" else FLOOR


def centred_logits(probabilities: NDArray[np.floating], floor: float = FLOOR) -> NDArray[np.float64]:
    """Logits `[N, K]` minus each image's mean, which a softmax does not preserve, from probabilities `[N, K]`."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), floor))
    return np.asarray(logits - logits.mean(axis=1, keepdims=True))


def signal_to_noise(
    reference: NDArray[np.floating], candidate: NDArray[np.floating], floor: float = FLOOR
) -> float | None:
    """Ratio of the power of the reference's centred logits to that of the candidate's error, in dB.

    A temperature shared by both cancels out.

    Args:
        reference, candidate: probabilities `[N, K]`.
        floor: smaller probabilities are raised to this.

    Returns:
        At most `EXACT_DB`; None if the candidate has non-finite values, or the reference has no signal.
    """
    signal = centred_logits(reference, floor)
    noise = centred_logits(candidate, floor) - signal
    power, error = float(np.square(signal).sum()), float(np.square(noise).sum())
    if not np.isfinite(error) or power == 0:
        return None
    return EXACT_DB if error == 0 else min(EXACT_DB, 10 * float(np.log10(power / error)))
