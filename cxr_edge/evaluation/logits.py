"""How far two classifiers are apart where the top class does not show it: in their logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact

#: The smallest probability that is told from 0. Logits come back from a softmax as logarithms, whose differences are
#: right as long as it did not underflow: float32 reaches 1e-38, a gap of 87 between two logits. Here a gap counts up to
#: 69, more than any classifier has shown. The usual 1e-7 would stop at 16, where the sure images are: their errors
#: would vanish and the ratio would look better than it is (int8 at 128 px on the test part: 18.6 dB for 17.1).
FLOOR = 1e-30
#: The same of int8 probabilities, whose step is 1/256: half a step, a gap of 6. Below it there is nothing to compare.
INT8_FLOOR = 1 / 512
#: As exact as float32 itself, 24 bits: what two equal classifiers get in place of infinity.
EXACT_DB = 144.0


def floor_of(artifact: Artifact) -> float:
    """Which probabilities of an artifact are too small to distinguish from 0."""
    return INT8_FLOOR if artifact.metadata.contract.probabilities.type == "int8" else FLOOR


def centred_logits(probabilities: NDArray[np.floating], floor: float = FLOOR) -> NDArray[np.float64]:
    """Logits `[N, K]` less the mean of each image, which a softmax does not keep, from probabilities `[N, K]`."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), floor))
    return np.asarray(logits - logits.mean(axis=1, keepdims=True))


def signal_to_noise(
    reference: NDArray[np.floating], candidate: NDArray[np.floating], floor: float = FLOOR
) -> float | None:
    """Power of the reference's centred logits over that of the candidate's error, in dB.

    A temperature that both have changes nothing.

    Args:
        reference, candidate: probabilities `[N, K]`.
        floor: smaller ones count as this.

    Returns:
        At most `EXACT_DB`; None where the candidate has values that are no numbers, or the reference no signal.
    """
    signal = centred_logits(reference, floor)
    noise = centred_logits(candidate, floor) - signal
    power, error = float(np.square(signal).sum()), float(np.square(noise).sum())
    if not np.isfinite(error) or power == 0:
        return None
    return EXACT_DB if error == 0 else min(EXACT_DB, 10 * float(np.log10(power / error)))
