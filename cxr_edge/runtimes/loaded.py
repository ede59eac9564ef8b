"""Artifacts as loaded models: a file is one session; a cascade is two behind the interface of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.cascade import Cascade, is_unsure
from cxr_edge.errors import ProviderError
from cxr_edge.imaging.decode import resized
from cxr_edge.runtimes.base import CPU, ArtifactSession, Runtime
from cxr_edge.runtimes.trial import Trial

Pixels = NDArray[np.uint8]


class CascadeSession:
    """Both models of a cascade, as one session.

    Its images are rows uint8 `[N, s * s + S * S]`, from `joined`: a picture at the small model's size, then the same
    picture at the full one's.
    """

    def __init__(self, cascade: Cascade, load: Callable[[Artifact], ArtifactSession]) -> None:
        self.small, self.full = load(cascade.small), load(cascade.full)
        self.ran_on, self._threshold = self.small.ran_on, cascade.threshold
        self._sizes = (cascade.small.image_size, cascade.full.image_size)

    def run(self, images: Pixels) -> NDArray[np.float32]:
        small, full = self._parted(images)
        probabilities = self.small.run(small)
        unsure = is_unsure(probabilities, self._threshold)
        if unsure.any():
            # Copied because the runtime may reuse its array in the next inference.
            probabilities = probabilities.copy()
            probabilities[unsure] = self.full.run(np.ascontiguousarray(full[unsure]))
        return probabilities

    def escalated(self, images: Pixels) -> NDArray[np.bool_]:
        """A mask `[N]` of the images that the full model answers."""
        small, _ = self._parted(images)
        return is_unsure(
            np.concatenate([self.small.run(small[[index]]) for index in range(len(small))]), self._threshold
        )

    def _parted(self, images: Pixels) -> tuple[Pixels, Pixels]:
        small, full = parted(images, self._sizes)
        return small, full


#: A loaded artifact. A cascade has no `explain`: the heat maps of its two models differ in size.
LoadedArtifact: TypeAlias = ArtifactSession | CascadeSession


class MemberSession:
    """The full model of a cascade by itself, on the cascade's images."""

    def __init__(self, cascade: Cascade, session: LoadedArtifact) -> None:
        self.ran_on, self._session = session.ran_on, session
        self._sizes = (cascade.small.image_size, cascade.full.image_size)

    def run(self, images: Pixels) -> NDArray[np.float32]:
        return self._session.run(parted(images, self._sizes)[1])


def load_artifact(artifact: Artifact, runtime: Runtime, threads: int, apart: bool = True) -> LoadedArtifact:
    """Load an artifact whose files have been checked against their hashes.

    Args:
        artifact: a file, or a cascade.
        runtime: what to run it on.
        threads: per inference.
        apart: whether to run accelerators, and to try files new to this machine, in a separate process.

    Raises:
        ProviderError: a cascade was requested on an accelerator, or as `Runtime.load`.
        ArtifactError, MissingDependencyError, OptionError: as `Runtime.load`.
    """

    def load(file: Artifact) -> ArtifactSession:
        if apart:
            return runtime.load(file.path, threads, file.sha256)
        return runtime.load_here(file.path, threads)

    if not isinstance(artifact, Cascade):
        return load(artifact)
    if runtime.provider != CPU:
        raise ProviderError(f"{artifact.path}: a cascade runs on the CPU; {runtime.option} takes a file by itself")
    return CascadeSession(artifact, load)


def require_files_known(trial: Trial, artifact: Artifact, runtime: Runtime) -> None:
    """As `Trial.require_known`, for each file of an artifact."""
    for file in artifact.members:
        trial.require_known(file.path, runtime)


def joined(pictures: Sequence[Pixels]) -> Pixels:
    """A session's input, from the same pictures at the size of each of the artifact's files, uint8 `[N, S, S, 1]`."""
    if len(pictures) == 1:
        return pictures[0]
    return np.concatenate([batch.reshape(len(batch), -1) for batch in pictures], axis=1)


def parted(images: Pixels, sizes: Sequence[int]) -> list[Pixels]:
    """The inverse of `joined`, for several sizes."""
    ends = np.cumsum([size * size for size in sizes])
    parts = np.split(images, ends[:-1], axis=1)
    return [
        np.ascontiguousarray(part).reshape(len(images), size, size, 1) for part, size in zip(parts, sizes, strict=True)
    ]


def pixels_for(artifact: Artifact, read: Callable[[Artifact], Pixels]) -> Pixels:
    """The input of an artifact's session; `read` returns the pictures for one of its files, uint8 `[N, S, S, 1]`."""
    return joined([read(file) for file in artifact.members])


def picture_for(artifact: Artifact, grey: Image.Image) -> Pixels:
    """One picture as the input of an artifact's session."""
    return pixels_for(artifact, lambda file: resized(grey, file.image_size, file.resize)[None, :, :, None])
