"""Copies of one image: near duplicates by perceptual hash, confirmed on small thumbnails; altered ones by `altered`.

All frontal chest X-rays look alike to a 64-bit hash: 1,665 of the 3.6 million pairs of the COVID-19 Radiography
Database (2,680 images) and 2 % of all pairs of phantoms are within `MAX_DISTANCE`. So the hash only proposes
candidates, and the correlation of their local structure (`structure.structure`) decides. Measured on the same pairs:

| | correlation |
|---|---|
| pairs of 2,680 radiographs | two of 0.98 and 0.95, each by eye one X-ray saved twice; others 0.78 and less |
| 2.2 million pairs of 2,100 phantoms, no two of one seed | 0.88 and less |
| a copy as JPEG of quality 50 or 20, halved, doubled, stretched, blurred, with noise (1st percentile) | 0.96 |
| a copy with different brightness, contrast, or gamma (0.7, 1.5; 1st percentile) | 0.98 |
| a copy with its histogram equalized (1st and 10th percentile) | 0.89, 0.93 |
| a copy shifted by 2 %, cropped by 2 % per side, or rotated by 2 degrees (median) | 0.70, 0.80, 0.84 |

With both thresholds, 83 % of the equalized copies and at least 99 % of the others listed above them are found (298
radiographs copied in each way). Shifted, cropped, rotated and mirrored copies are not: a threshold low enough for them
would match phantoms of different seeds. Those pairs must be aligned first, which `cxr_edge.copies.altered` does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cxr_edge.copies.altered import altered_pairs
from cxr_edge.copies.structure import structure
from cxr_edge.data.fingerprint import THUMBNAIL, Fingerprint, Unreadable

#: Maximum Hamming distance between perceptual hashes of near duplicates, and minimum correlation of their structure.
MAX_DISTANCE = 8
MIN_CORRELATION = 0.92

SAVED_AGAIN = "saved again"

_HASH_BLOCK = 2048
_PAIR_BLOCK = 1024


@dataclass(frozen=True)
class NearPairs:
    """Pairs of near duplicates: int64 `[P]` indices with `first < second`, and float32 `[P]` correlations."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    correlation: NDArray[np.float32]


def near_pairs(hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8]) -> NearPairs:
    """Pairs of images that are one picture: re-encoded, scaled, or changed in brightness or contrast.

    Every pair of hashes is compared, in blocks, by exclusive-or and bit count: 20,000 images take seconds.

    Args:
        hashes: uint64 `[N]`, perceptual hashes.
        thumbnails: uint8 `[N, S, S]`.
    """
    blocks: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
    details: NDArray[np.float32] | None = None
    for top in range(0, len(hashes), _HASH_BLOCK):
        for left in range(top, len(hashes), _HASH_BLOCK):
            rows, columns = hashes[top : top + _HASH_BLOCK], hashes[left : left + _HASH_BLOCK]
            first, second = np.nonzero(np.bitwise_count(rows[:, None] ^ columns[None, :]) <= MAX_DISTANCE)
            first, second = first + top, second + left
            apart = first < second
            first, second = first[apart], second[apart]
            for start in range(0, len(first), _PAIR_BLOCK):
                some = slice(start, start + _PAIR_BLOCK)
                if details is None:
                    details = _unit_structure(thumbnails)
                alike = np.einsum("ij,ij->i", details[first[some]], details[second[some]])
                near = alike >= MIN_CORRELATION
                if near.any():
                    blocks.append((first[some][near], second[some][near], alike[near]))
    if not blocks:
        none = np.empty(0, dtype=np.int64)
        return NearPairs(none, none, np.empty(0, dtype=np.float32))
    parts = [np.concatenate(part) for part in zip(*blocks, strict=True)]
    order = np.lexsort((parts[1], parts[0]))
    return NearPairs(*(part[order] for part in parts))


def _unit_structure(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 `[N, S * S]` of zero mean and unit norm, so that a dot product is Pearson's correlation."""
    details = np.empty((len(thumbnails), thumbnails[0].size), dtype=np.float32)
    for start in range(0, len(thumbnails), _PAIR_BLOCK):
        detail = structure(thumbnails[start : start + _PAIR_BLOCK]).reshape(-1, details.shape[1])
        detail -= detail.mean(axis=1, keepdims=True)
        details[start : start + _PAIR_BLOCK] = detail / np.maximum(np.linalg.norm(detail, axis=1, keepdims=True), 1e-6)
    return details


def clusters(count: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int32]:
    """Cluster pairs transitively.

    Args:
        count: number of items.
        first, second: int64 `[P]`, the pairs.

    Returns:
        int32 `[count]`: the cluster of each item.
    """
    graph = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(count, count))
    names: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return names


class NearCopy(NamedTuple):
    """Two files that hold one picture in different bytes: their indices, their correlation, and how one was altered.

    `how` is "saved again", or text from `cxr_edge.copies.altered.what_was_done`, such as "mirrored, shifted".
    """

    first: int
    second: int
    correlation: float
    how: str


@dataclass(frozen=True)
class Copies:
    """Copies of one image among N files.

    `exact` holds groups of files with the same bytes. `near` holds pairs, in which one file represents all its exact
    copies; a picture altered in many ways has just enough pairs to join all its copies. `cluster` is int32 `[N]`: files
    with the same number are the same picture, joined transitively; an unusable file is on its own.
    """

    exact: tuple[tuple[int, ...], ...]
    near: tuple[NearCopy, ...]
    cluster: NDArray[np.int32]


def find_copies(files: Sequence[Fingerprint | Unreadable]) -> Copies:
    """Exact and near duplicates among files, by their fingerprints."""
    same_bytes: dict[str, list[int]] = defaultdict(list)
    same_picture: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for index, file in enumerate(files):
        if isinstance(file, Fingerprint):
            same_bytes[file.sha256].append(index)
            if len(same_bytes[file.sha256]) == 1:
                # Re-saved losslessly, or blank: only one of them enters the search, however many there are.
                same_picture[file.phash, file.thumbnail.tobytes()].append(index)
    leaders = [group[0] for group in same_picture.values()]
    seen = [file for index in leaders if isinstance(file := files[index], Fingerprint)]
    thumbnails = np.array([file.thumbnail for file in seen], dtype=np.uint8).reshape(len(seen), THUMBNAIL, THUMBNAIL)
    pairs = near_pairs(np.array([file.phash for file in seen], dtype=np.uint64), thumbnails)
    # The slower search covers what the fast one left separate.
    apart = np.sort(np.unique(clusters(len(seen), pairs.first, pairs.second), return_index=True)[1])
    altered = altered_pairs(thumbnails[apart])
    exact = tuple(tuple(group) for group in same_bytes.values() if len(group) > 1)
    near = [NearCopy(group[0], other, 1.0, SAVED_AGAIN) for group in same_picture.values() for other in group[1:]]
    near += [
        NearCopy(leaders[first], leaders[second], min(1.0, float(alike)), SAVED_AGAIN)
        for first, second, alike in zip(pairs.first, pairs.second, pairs.correlation, strict=True)
    ]
    near += [
        NearCopy(leaders[apart[first]], leaders[apart[second]], min(1.0, float(alike)), how)
        for first, second, alike, how in zip(
            altered.first, altered.second, altered.correlation, altered.how, strict=True
        )
    ]
    links = [(group[0], other) for group in exact for other in group[1:]] + [pair[:2] for pair in near]
    ends = np.array(links, dtype=np.int64).reshape(-1, 2)
    return Copies(exact, tuple(sorted(near)), clusters(len(files), ends[:, 0], ends[:, 1]))


def kept_together(patients: Sequence[str], cluster: NDArray[np.int32]) -> NDArray[np.int32]:
    """Number the groups of images that must stay together: of one patient, or copies of one another, transitively.

    Args:
        patients: of N images; an empty name means no known patient.
        cluster: int32 `[N]`, from `Copies`.

    Returns:
        int32 `[N]`.
    """
    first_of_cluster: dict[int, int] = {}
    first_of_patient: dict[str, int] = {}
    links = [(index, first_of_cluster.setdefault(number, index)) for index, number in enumerate(cluster.tolist())]
    links += [(index, first_of_patient.setdefault(name, index)) for index, name in enumerate(patients) if name]
    ends = np.array(links, dtype=np.int64).reshape(-1, 2)
    return clusters(len(patients), ends[:, 0], ends[:, 1])
