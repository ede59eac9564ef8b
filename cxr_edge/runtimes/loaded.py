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
            # Not into the runtime's own array, which the next inference may reuse.
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


#: A loaded artifact: only a cascade has no heat maps of one size.
LoadedArtifact: TypeAlias = ArtifactSession | CascadeSession


class MemberSession:
    """The full model of a cascade by itself, on the cascade's images."""

    def __init__(self, cascade: Cascade, session: LoadedArtifact) -> None:
        self.ran_on, self._session = session.ran_on, session
        self._sizes = (cascade.small.image_size, cascade.full.image_size)

    def run(self, images: Pixels) -> NDArray[np.float32]:
        return self._session.run(parted(images, self._sizes)[1])


def load_artifact(artifact: Artifact, runtime: Runtime, threads: int, apart: bool = True) -> LoadedArtifact:
    """Load an artifact whose files are known to be those of its hashes.

    Args:
        artifact: a file, or a cascade.
        runtime: what to run it on.
        threads: per inference.
        apart: whether an accelerator, or a file new to this machine, gets a process of its own first.

    Raises:
        ProviderError: a cascade was to run on an accelerator, or as `Runtime.load`.
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
    """What a session takes, from the same pictures at the size of each of an artifact's files, uint8 `[N, S, S, 1]`."""
    if len(pictures) == 1:
        return pictures[0]
    return np.concatenate([own.reshape(len(own), -1) for own in pictures], axis=1)


def parted(images: Pixels, sizes: Sequence[int]) -> list[Pixels]:
    """The inverse of `joined`, for several sizes."""
    ends = np.cumsum([size * size for size in sizes])
    rows = np.split(images, ends[:-1], axis=1)
    return [
        np.ascontiguousarray(own).reshape(len(images), size, size, 1) for own, size in zip(rows, sizes, strict=True)
    ]


def pixels_for(artifact: Artifact, read: Callable[[Artifact], Pixels]) -> Pixels:
    """What a session of an artifact takes; `read` gives the pictures uint8 `[N, S, S, 1]` for one of its files."""
    return joined([read(file) for file in artifact.members])


def picture_for(artifact: Artifact, grey: Image.Image) -> Pixels:
    """One picture as a session of an artifact takes it."""
    return pixels_for(artifact, lambda file: resized(grey, file.image_size, file.resize)[None, :, :, None])
