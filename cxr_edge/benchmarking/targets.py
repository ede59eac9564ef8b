"""What is measured, one per row: an artifact on a runtime, or the run's Keras model; and how to load it again."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.cascade import Cascade
from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.benchmarking.latency import Candidate
from cxr_edge.benchmarking.options import KERAS
from cxr_edge.benchmarking.record import Facts
from cxr_edge.benchmarking.startup import DidNotStart, StartUp, startup
from cxr_edge.benchmarking.throughput import Throughput, throughput
from cxr_edge.runs import Run
from cxr_edge.runtimes.accelerators import RemoteSession
from cxr_edge.runtimes.base import CPU, Runtime, Session
from cxr_edge.runtimes.loaded import CascadeSession, LoadedArtifact, MemberSession, load_artifact


class Source(Protocol):
    """Where a row's sessions come from."""

    def load(self, threads: int) -> Session: ...

    def started(self, threads: int, image: Path, starts: int) -> StartUp | DidNotStart:
        """Measure start-up in separate processes."""
        ...

    def throughput(self, images: NDArray[np.uint8], threads: int, seconds: float) -> Throughput | None:
        """Throughput on uint8 `[N, S, S, 1]`; None if it is not measured."""
        ...


@dataclass(frozen=True)
class ArtifactSource:
    """An artifact on a runtime; with `part_of`, the full model of that cascade by itself, on the cascade's images."""

    artifact: Artifact
    runtime: Runtime
    part_of: Cascade | None = None

    def load(self, threads: int) -> LoadedArtifact | MemberSession:
        session = load_artifact(self.artifact, self.runtime, threads)
        return session if self.part_of is None else MemberSession(self.part_of, session)

    def started(self, threads: int, image: Path, starts: int) -> StartUp | DidNotStart:
        return startup(self.artifact.path, self.runtime.option, threads, image, starts)

    def throughput(self, images: NDArray[np.uint8], threads: int, seconds: float) -> Throughput | None:
        batches = all(file.metadata.contract.takes_any_number for file in self.artifact.members)
        sessions = None if self.runtime.provider == CPU else 1
        return throughput(self.load, images, threads, seconds, batches, sessions)


@dataclass(frozen=True)
class KerasSource:
    """A run's Keras model, which is slow to load and so kept."""

    run: Run
    session: Session

    def load(self, threads: int) -> Session:
        return self.session

    def started(self, threads: int, image: Path, starts: int) -> StartUp | DidNotStart:
        # Each start takes ten seconds or more, mostly for importing TensorFlow.
        return startup(self.run.folder, KERAS, threads, image, 1)

    def throughput(self, images: NDArray[np.uint8], threads: int, seconds: float) -> Throughput | None:
        return None


@dataclass(frozen=True)
class Target:
    """A row to measure: loaded, with everything known before the measurement.

    `escalated` is a mask `[N]` of the images that the full model of a cascade answers; None for anything else.
    """

    facts: Facts
    candidate: Candidate
    source: Source
    nodes_on: dict[str, int] | None = None
    escalated: NDArray[np.bool_] | None = None


def keras_target(run: Run, threads: int, accuracy: float | None) -> Target:
    """The run's Keras model; `accuracy` is the model's on the test split. Raises OptionError as `KerasSession`."""
    # TensorFlow can be configured only before it is imported.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))
    from cxr_edge.training.keras_model import KerasSession

    start = time.perf_counter()
    session = KerasSession(run, threads)
    loaded = time.perf_counter() - start
    facts = Facts(
        id=f"model.h5@{KERAS}",
        artifact="model.h5",
        runtime="Keras",
        threads=threads,
        quantization=Quantization.FLOAT32,
        bytes=run.model_file.stat().st_size,
        accuracy=accuracy,
        agreement=None,
        verdict=None,
        ran_on="TensorFlow",
    )
    return Target(facts, Candidate(facts.artifact, facts.runtime, session, loaded), KerasSource(run, session))


def artifact_target(source: ArtifactSource, threads: int, images: NDArray[np.uint8]) -> Target:
    """An artifact on a runtime. The first of the images, uint8 `[N, S, S, 1]`, shows which nodes run on an accelerator.

    Raises:
        ArtifactError, MissingDependencyError, ProviderError.
    """
    artifact, runtime = source.artifact, source.runtime
    start = time.perf_counter()
    session = source.load(threads)
    loaded = time.perf_counter() - start
    parity = None if artifact.parity is None else artifact.parity.result
    facts = Facts(
        id=f"{artifact.name}@{runtime.option}",
        artifact=artifact.name,
        runtime=runtime.title,
        threads=threads,
        quantization=artifact.quantization,
        bytes=artifact.bytes,
        accuracy=None if parity is None else parity.accuracy,
        agreement=None if parity is None else parity.agreement,
        verdict=artifact.verdict,
        ran_on=session.ran_on,
        sha256=artifact.sha256,
    )
    nodes_on = session.placement(images[:1]) or None if isinstance(session, RemoteSession) else None
    escalated = session.escalated(images) if isinstance(session, CascadeSession) else None
    return Target(facts, Candidate(artifact.name, runtime.title, session, loaded), source, nodes_on, escalated)
