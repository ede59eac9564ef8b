"""One cold start, measured from inside: `python -m cxr_edge.benchmarking.probe ARTIFACT RUNTIME THREADS IMAGE`.

ARTIFACT is a file; for a cascade, its bundle; with RUNTIME `keras`, a run's folder. Prints one line of JSON once the
image is classified.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def _peak_memory() -> int | None:
    """Peak resident memory in bytes; None if the system does not report it."""
    try:
        # Not getrusage: on Linux its peak starts from that of the parent process.
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform != "darwin":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    artifact, name, threads, image = sys.argv[1:]
    # Driver output on stdout must not precede the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from cxr_edge.imaging.decode import load_image, open_grey
    from cxr_edge.runtimes.base import Session, runtime_named

    session: Session
    if name == "keras":
        from cxr_edge.runs import Run
        from cxr_edge.training.keras_model import KerasSession

        run = Run(Path(artifact))
        options = run.config().options
        start = time.perf_counter()
        session = KerasSession(run, int(threads))
        loaded = time.perf_counter()
        pixels = load_image(image, options.image_size, options.resize)[None, :, :, None]
    else:
        from cxr_edge.artifacts.artifact import read_artifact
        from cxr_edge.artifacts.bundle import first_listed
        from cxr_edge.runtimes.loaded import load_artifact, picture_for

        path = Path(artifact)
        read = first_listed(path) if path.is_dir() else read_artifact(path)
        runtime = runtime_named(name)
        runtime.prepare()
        start = time.perf_counter()
        # This is already a separate process.
        session = load_artifact(read, runtime, int(threads), apart=False)
        loaded = time.perf_counter()
        pixels = picture_for(read, open_grey(Path(image)))
    ready = time.perf_counter()
    session.run(pixels)
    done = time.perf_counter()
    print(
        json.dumps(
            {
                "load_ms": 1000 * (loaded - start),
                "first_ms": 1000 * (done - ready),
                "peak_memory_bytes": _peak_memory(),
            }
        ),
        file=answer,
        flush=True,
    )


if __name__ == "__main__":
    main()
